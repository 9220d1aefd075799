"""docs/policy.md does what it says: its listings are run, and its reference names every key and every check."""

from __future__ import annotations

import inspect
import re
import sys
from typing import TYPE_CHECKING

import pytest

from regionresolver.cli.policy import COMMANDS
from regionresolver.policy import lint
from regionresolver.policy.schema import policy_schema
from tests.paths import ROOT
from tests.policies import catalogue
from tests.sessions import played

if TYPE_CHECKING:
    from pathlib import Path

lint_module = sys.modules[lint.__module__]
PAGES = sorted((ROOT / "docs").glob("*.md"))
PAGE = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
REFERENCE = PAGE.partition("\n## Reference\n")[2]


@pytest.mark.usefixtures("bare_environment", "logging_as_it_was")
def test_every_listing_is_what_the_commands_print(tmp_path: Path) -> None:
    assert played(PAGE, tmp_path) == PAGE, "python -m tests.sessions docs/policy.md writes it anew"


def test_the_reference_names_every_key() -> None:
    schema = policy_schema(catalogue())
    parts = [schema["properties"], *(part.get("properties", {}) for part in schema["$defs"].values())]
    words = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`[^`]+`", REFERENCE))))
    for key in (key for part in parts for key in part):
        assert key in words, key


def test_the_reference_lists_every_finding_with_its_severity() -> None:
    source = inspect.getsource(lint_module)
    found = {(code, severity) for severity, code in re.findall(r"_(error|warning)\(\s*\"([a-z-]+)\"", source)}
    assert len(found) > 8
    listed = set(re.findall(r"^\| `([a-z-]+)` \| (error|warning) \|", REFERENCE, flags=re.MULTILINE))
    assert listed == found | {("policy-invalid", "error")}


def test_every_command_is_told_of_on_some_page() -> None:
    told = "\n".join(page.read_text("utf-8") for page in PAGES)
    for name in COMMANDS:
        assert f"policy {name}" in told, name
