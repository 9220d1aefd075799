"""Where the tests find what lies outside the package."""

from pathlib import Path

ROOT = Path(__file__).parents[1]

_shared = ROOT.parent / "shared"
SHARED = _shared if _shared.is_dir() else None
"""The folder of facts beside the repository; None where there is none, as in an sdist."""
