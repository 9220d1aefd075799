"""The Python sessions in the documents run as they are shown."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
SESSION = re.compile(r"^```pycon\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = sorted(page for page in DOCS.glob("*.md") if SESSION.search(page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sessions(page: Path) -> None:
    """All blocks of a page are one session."""
    sessions = "\n".join(SESSION.findall(page.read_text(encoding="utf-8")))
    if "pyarrow" in sessions:
        pytest.importorskip("pyarrow", reason="pyarrow is not installed: it comes with the extra `arrow`")
    test = doctest.DocTestParser().get_doctest(sessions, {}, page.name, str(page), 0)
    report: list[str] = []
    failed, tried = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert tried > 0
    assert failed == 0, "".join(report)
