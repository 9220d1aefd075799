"""Where a value stands in a TOML file that a person wrote: the way of keys to it, and its line, for error messages.

TOML libraries that read do not keep positions, and one that keeps them would be a dependency for this alone. So the
text is searched: first the table header that lies closest above the path, then the remaining keys one after the other.
That is exact for files as people write them; where it finds nothing the error still has the path of keys. JSON has no
headers, and no lines are given for it.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

Path = tuple[str | int, ...]
"""The way to a value: keys, and positions in lists."""

_HEADER: Final = re.compile(r"^[ \t]*(\[\[?)([^\[\]\n,\"']+)\]\]?[ \t]*(?:#.*)?$", re.MULTILINE)


def dotted(path: Path) -> str:
    """Write a path as `rules[3].when.region`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def line_of(text: str, path: Path, value: object = None) -> int | None:
    """Answer the line (from 1) of the deepest step of `path` that the text shows, `None` when it shows none.

    `value` helps to find an element of a list: where it is text, its quoted form is looked for.
    """
    start, end, depth = _section(text, path)
    position = start
    for index in range(depth, len(path)):
        step, before = path[index], path[index - 1] if index > depth else None
        if isinstance(step, str):
            key = re.compile(rf"(?:^|[\s{{,.\"'])({re.escape(step)})[\"']?\s*[=.]", re.MULTILINE)
            # The n-th table of an inline list is the one with the n-th of these keys.
            for _ in range(before + 1 if isinstance(before, int) else 1):
                found = key.search(text, position, end)
                position = found.end(1) if found else position
    if isinstance(value, str) and isinstance(path[-1], int):
        found = re.compile(rf"[\"']{re.escape(value)}[\"']").search(text, position, end)
        position = found.start() if found else position
    return None if position == 0 and depth == 0 else text.count("\n", 0, position) + 1


def _section(text: str, path: Path) -> tuple[int, int, int]:
    """Answer start and end of the table that holds a path, and how many steps of the path its header stands for."""
    headers = list(_HEADER.finditer(text))
    best = (0, headers[0].start() if headers else len(text), 0)
    seen: Counter[str] = Counter()
    latest: dict[str, int] = {}
    for header, follower in zip(headers, [*headers[1:], None], strict=False):
        name = header[2].strip()
        if header[1] == "[[":
            latest[name] = seen[name]
            seen[name] += 1
        steps = _steps(name, latest)
        if len(steps) >= best[2] and path[: len(steps)] == steps:
            best = (header.start(2), follower.start() if follower else len(text), len(steps))
    return best


def _steps(name: str, latest: dict[str, int]) -> Path:
    """Turn a header's name into a path, with the position of each list of tables that it lies in."""
    steps: list[str | int] = []
    dotted = ""
    for key in name.split("."):
        dotted = f"{dotted}.{key}" if dotted else key
        steps.append(key.strip())
        if dotted in latest:
            steps.append(latest[dotted])
    return tuple(steps)
