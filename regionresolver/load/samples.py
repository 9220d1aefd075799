"""A closer look at some answers, in Python, while the engine runs: that they are JSON, and to the ping that was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from regionresolver.load.report import SamplesPart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regionresolver.load.requests import Requests

_TOLD: Final = 10


class Samples:
    """Counts what was looked at. What differs is told by the ping's number and the member's name, never by its content."""

    def __init__(self, requests: Requests) -> None:
        """Keep what was sent."""
        self._requests = requests
        self._checked = 0
        self._wrong = 0
        self._wrong_at: list[str] = []

    def check(self, samples: Iterable[tuple[int, bytes]]) -> None:
        """Look at (number of the request, body)."""
        for number, body in samples:
            self._checked += 1
            wrong = self._differs(number, body)
            if wrong is None:
                continue
            self._wrong += 1
            if len(self._wrong_at) < _TOLD:
                self._wrong_at.append(f"ping {number + 1}: {wrong}")

    def _differs(self, number: int, body: bytes) -> str | None:
        """Say what is wrong with an answer, None when nothing is."""
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            return "not JSON"
        if not isinstance(answer, dict):
            return "not a JSON object"
        name = self._requests.names[self._requests.kinds[number]]
        if name == "batch":
            results, summary = answer.get("results"), answer.get("summary")
            whole = isinstance(results, list) and isinstance(summary, dict) and summary.get("total") == len(results)
            return None if whole else "results"
        sent = self._requests.pings[number].get("id") if name == "decisions" else None
        if sent is not None and answer.get("id") != sent:
            return "id"
        due = self._requests.due
        if due is None or number >= len(due):
            return None
        return next((member for member, value in due[number].items() if answer.get(member) != value), None)

    def part(self) -> SamplesPart:
        """Give the counts."""
        return SamplesPart(checked=self._checked, wrong=self._wrong, wrong_at=self._wrong_at)
