"""What the tests on folders of generations share: small policies by version, and folders made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regionresolver.policy.load import parse_policy
from tests.policies import NOON, catalogue

if TYPE_CHECKING:
    from pathlib import Path

    from regionresolver.policy.generations import Activation, Generations
    from regionresolver.policy.model import Policy

TEXT = """
[policy]
name = "NAME"
version = VERSION

[[rules]]
id = "cuba"
when = { region = ["CU"] }
effect = "EFFECT"
review_by = 2030-01-01

[guardrails]
min_replay_sample = 0
"""


def text(version: int, *, effect: str = "deny", name: str = "test", more: str = "") -> str:
    """Write a policy of one rule on Cuba."""
    return TEXT.replace("VERSION", str(version)).replace("EFFECT", effect).replace("NAME", name) + more


def write(file: Path, version: int, *, effect: str = "deny", name: str = "test", more: str = "") -> Path:
    file.write_text(text(version, effect=effect, name=name, more=more), encoding="utf-8")
    return file


def parsed(content: bytes, file: Path) -> Policy:
    return parse_policy(file, content, catalogue()).policy


def activate(
    generations: Generations, version: int, *, effect: str = "deny", name: str = "test", replaces: Activation | None = None
) -> Activation:
    """Make a version the active one, after what is active now or after `replaces`."""
    content = text(version, effect=effect, name=name).encode()
    return generations.activate(
        content,
        parsed(content, generations.folder / "candidate.toml"),
        replaces=replaces or generations.active(),
        at=NOON,
        by="ana",
        reason=f"version {version}",
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Read every file of a folder but the lock."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}
