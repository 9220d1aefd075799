"""NDJSON of any size: a stream of bytes to numbered objects, one line in memory at a time.

A line that is no JSON object, or is too long, is told to whoever asked for that, by number and reason; nothing of what
stands in it is repeated. Empty lines are passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONGEST_PING_BYTES: Final = 16 * 1024
"""The longest line of pings, as the service takes them."""

LONGEST_RECORD_BYTES: Final = 1024 * 1024
"""The longest line of a log: an answer with every rule explained is longer than a ping."""


def objects(
    stream: BinaryIO, longest_bytes: int, refuse: Callable[[int, str], None], advance: Callable[[int], None] | None = None
) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield (line number, object) for each line that is one; `refuse` gets the others, `advance` the bytes read so far."""
    bytes_read = 0
    for number, line in enumerate(_lines(stream, longest_bytes), start=1):
        bytes_read += len(line)
        if advance is not None and not number & 0x3FF:
            advance(bytes_read)
        if len(line) - line.endswith(b"\n") > longest_bytes:
            refuse(number, f"longer than {longest_bytes // 1024} KiB")
            continue
        if not line.strip():
            continue
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            refuse(number, "not JSON")
            continue
        if isinstance(found, dict):
            yield number, found
        else:
            refuse(number, "not a JSON object")


def _lines(stream: BinaryIO, longest_bytes: int) -> Iterator[bytes]:
    """Yield each line with its end; of a longer one only the first `longest_bytes` + 1 bytes."""
    while line := stream.readline(longest_bytes + 1):
        yield line
        while line and not line.endswith(b"\n"):
            line = stream.readline(longest_bytes)
