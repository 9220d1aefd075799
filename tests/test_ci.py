"""What `.ci/run` is made of, where it is more than a list of commands."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

MAKE = """#!/bin/sh
# Stands in for make: "slow" ends last, "broken" fails at once, and each says something on both streams.
echo "$1 begins"
case "$1" in slow) sleep 0.3 ;; esac
echo "$1 ends" >&2
case "$1" in *broken) exit 3 ;; esac
"""


@pytest.mark.parametrize(
    ("targets", "failed"),
    [
        (("slow", "quick"), ()),
        (("slow", "broken"), ("broken",)),
        (("broken", "slow"), ("broken",)),
        (("broken", "also-broken"), ("broken", "also-broken")),
    ],
)
def test_jobs_side_by_side_are_all_shown_whole_and_fail_together(
    targets: tuple[str, ...], failed: tuple[str, ...], tmp_path: Path
) -> None:
    make = tmp_path / "make"
    make.write_text(MAKE, encoding="utf-8")
    make.chmod(0o755)
    found = subprocess.run(
        [str(ROOT / ".ci" / "beside"), *targets], env={**os.environ, "MAKE": str(make)},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    for target in targets:
        said = [line for line in found.stdout.splitlines() if line.startswith(f"{target}: ")]
        assert said == [f"{target}: {target} begins", f"{target}: {target} ends"]
    assert found.stderr.splitlines() == [f"beside: {target} failed" for target in failed]
    assert found.returncode == bool(failed)
