"""docs/catalogue.md does what it says: its file is good, and its commands answer as shown."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from regionresolver.cli import main

PAGE = (Path(__file__).parents[1] / "docs" / "catalogue.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
SESSIONS = [
    session
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    for session in re.findall(r"^\$ regionresolver (.*?)\n(.*?)(?=^\$ |\Z)", block, flags=re.MULTILINE | re.DOTALL)
]

pytestmark = pytest.mark.usefixtures("bare_environment")


@pytest.mark.parametrize(("command", "shown"), [session for session in SESSIONS if session[1]])
def test_a_command_answers_as_shown(command: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("catalogue.toml").write_text(EXAMPLE, encoding="utf-8")
    done = CliRunner().invoke(main, shlex.split(command))
    assert (done.exit_code, done.stderr) == (0, "")
    if "--json" not in command:
        assert done.stdout == shown
        return
    answer, expected = json.loads(done.stdout), json.loads(shown)
    if "data" in expected:
        # Generations are counted in the process, and this one has made others.
        assert re.fullmatch(r"g\d+", answer.pop("data"))
        del expected["data"]
    assert answer == expected


def test_every_command_that_is_shown_exists() -> None:
    assert len(SESSIONS) == 4
    for command, _ in SESSIONS:
        words = shlex.split(command)
        help_ = CliRunner().invoke(main, [*words[: 2 if words[0] == "catalogue" else 1], "--help"])
        assert help_.exit_code == 0
        assert all(option in help_.stdout for option in words if option.startswith("--"))


def test_every_finding_is_listed() -> None:
    room = Path(__file__).parents[1] / "regionresolver" / "resolver"
    sources = "".join((room / f"{name}.py").read_text(encoding="utf-8") for name in ("catalogue_lint", "extended"))
    codes = set(re.findall(r'"((?:region|alias|network|override|hides)(?:-[a-z]+)+)"', sources))
    listed = {
        code for row in re.findall(r"^\| (.*?) \| (?:error|warning) \|", PAGE, flags=re.MULTILINE) for code in row.split(", ")
    }
    assert {f"`{code}`" for code in codes} == listed - {"`catalogue-invalid`"}
    assert len(codes) >= 14
