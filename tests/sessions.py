"""Console sessions in the documents: play a page, and give it back with the outputs that its commands have now.

A block whose info string has a second word is a file of that name (```` ```toml ban.toml ````). In a `console` block each
`$` line is a command of ours (or `echo $?`), and what follows is its standard output; pages are played from top to bottom,
in a folder of their own. `python -m tests.sessions docs/policy.md` writes a page anew after outputs have changed.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
import tempfile
from pathlib import Path

from tests.test_cli import invoke

BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GENERATION = re.compile(r"(?<=│ )g\d+ *(?= │)")
COMMAND = re.compile(r"^\$ (.*?(?:\\\n.*?)*)\n", re.MULTILINE)


def played(page: str, folder: Path) -> str:
    """Return a page with the outputs of its commands, played in an empty folder."""
    status = 0

    def answer(command: re.Match[str]) -> str:
        nonlocal status
        words = shlex.split(command[1].replace("\\\n", " "), comments=True)
        if words == ["echo", "$?"]:
            return f"{command[0]}{status}\n"
        assert words[0] == "regionresolver", f"this page may only run commands of ours: {command[1]}"
        result = invoke(*words[1:])
        status = result.exit_code
        # Which generation of data it is depends on how many were opened before in this process.
        output = GENERATION.sub(lambda found: "g1".ljust(len(found[0])), result.stdout)
        return command[0] + "".join(f"{line.rstrip()}\n" for line in output.splitlines())

    def block(found: re.Match[str]) -> str:
        language, file, body = found.groups()
        if file:
            (folder / file).write_text(body, encoding="utf-8")
        if language == "console":
            body = "".join(answer(command) for command in COMMAND.finditer(body))
        return f"```{language}{' ' + file if file else ''}\n{body}```"

    with contextlib.chdir(folder):
        return BLOCK.sub(block, page)


def main() -> None:
    """Write the named pages anew."""
    for name in sys.argv[1:]:
        page = Path(name).resolve()
        with tempfile.TemporaryDirectory() as folder:
            page.write_text(played(page.read_text(encoding="utf-8"), Path(folder)), encoding="utf-8")


if __name__ == "__main__":
    main()
