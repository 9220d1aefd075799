"""The README's commands do what the README says: each console and Python block is run, and the answer is compared."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.serve_process import serve

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
CONSOLE = [body for language, body in BLOCKS if language == "console"]
COMMANDS = [
    " ".join(shlex.split(command, comments=True))
    for body in CONSOLE
    for command in re.findall(r"^\$ (.*?)(?=^\$ |\Z)", body, flags=re.MULTILINE | re.DOTALL)
]


def curl(command: str, port: int) -> dict[str, object]:
    """Do what `curl -s URL -H HEADER -d BODY` does, on another port."""
    words = shlex.split(command)
    assert words[:2] == ["curl", "-s"]
    options = dict(zip(words[3::2], words[4::2], strict=True))
    name, value = options["-H"].split(": ")
    url = words[2].replace(":8080/", f":{port}/")
    request = urllib.request.Request(url, data=options["-d"].encode(), headers={name: value})
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status == 200
        answer = json.load(response)
        assert isinstance(answer, dict)
        return answer


CURLS = [block for body in CONSOLE for block in re.findall(r"^\$ (curl .*?)(?=^\$ |\Z)", body, flags=re.MULTILINE | re.DOTALL)]


def test_the_first_curl_gets_the_answer_that_is_shown() -> None:
    command, _ = CURLS
    shown = json.loads(next(body for language, body in BLOCKS if language == "json"))
    with serve() as running:
        answer = curl(command, running.port)
    assert answer == shown
    assert list(answer) == list(shown), "the fields stand in the order of the contract"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_second_curl_sends_a_stream(tmp_path: Path) -> None:
    _, command = CURLS
    (tmp_path / "pings.ndjson").write_text('{"serving": "36801"}\n{"serving": "21401"}\n', encoding="utf-8")
    with serve() as running:
        words = shlex.split(command.replace(":8080/", f":{running.port}/"))
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    deny, allow, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert (deny["decision"], allow["decision"], last["complete"]) == ("deny", "allow", True)


@pytest.mark.parametrize(
    "command",
    [
        command
        for command in COMMANDS
        if command.startswith(tuple(f"regionresolver {name}" for name in ("lookup", "decide", "plmn", "policy")))
    ],
)
def test_command_line(command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *shlex.split(command)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1 if " diff " in command else 0, ""), "diff tells that there is a difference"
    assert done.stdout.strip()


def test_the_examples_with_own_files_use_options_that_exist() -> None:
    commands = [command for command in COMMANDS if command.startswith(("regionresolver serve", "regionresolver db"))]
    assert len(commands) == 3
    for command in commands:
        words = shlex.split(command)[1:]
        verb = words[:2] if words[0] == "db" else words[:1]
        usage = subprocess.run(
            [sys.executable, "-m", "regionresolver", *verb, "--help"], capture_output=True, text=True, timeout=60, check=True
        ).stdout
        for option in (word for word in words if word.startswith("--")):
            assert option in usage, f"{command}: no option {option}"


def test_the_library_example() -> None:
    example = next(body for language, body in BLOCKS if language == "python")
    printed = io.StringIO()
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(printed):
        exec(compile(example, "README.md", "exec"), names)
    assert repr(names["region"]) in example
    assert printed.getvalue().splitlines() == ["ES 0.85 (<Conflict.IP_DISAGREES: 'ip_disagrees'>,)", "deny REGION_NOT_PERMITTED"]


def test_make_has_every_target_that_is_named() -> None:
    makefile = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:`|^\$ )make ([a-z-]+)", README, flags=re.MULTILINE))
    assert {"run", "test", "lint", "bench", "package", "help"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_every_link_leads_to_a_file() -> None:
    for target in re.findall(r"\]\(((?!https?:)[^)]+)\)", README):
        assert (Path(__file__).parents[1] / target).is_file(), target


def test_the_first_forty_lines_say_what_it_is_and_how_to_run_it() -> None:
    head = "\n".join(README.splitlines()[:40])
    for needed in ("It is not", "make run", "curl ", "maxminddb", "--db", "--policy"):
        assert needed in head, needed
