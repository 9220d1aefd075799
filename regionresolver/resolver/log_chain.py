"""The decision log on disk: segments of chained lines, and whether they are whole.

A segment is a file `decisions-<chain>-<number>.ndjson`. One process at a time continues a chain; it holds a lock for it, and
begins a new segment at its start and at each rotation. Every line of a segment is an object whose last member is `chain`:

    chain of a line = SHA-256 of ( the 32 bytes of the chain before it + all of the line before `,"chain":"` )

The first line (`"log":"segment"`) names the segment before it and that one's last chain, from which its own goes on; the
first segment of all goes on from 32 zero bytes. The last line (`"log":"end"`) says how many decisions were written; a
segment without one was cut: its process was killed, or writes on. A kill may leave half a line, which the next segment
tells (`torn_bytes`); such bytes are no fault. All else that does not fit is.

What the chain shows: a line changed, taken out, put in or moved. What it cannot show by itself: the last lines of the
newest segment taken off, or all of it made anew by somebody who can write the files. Keep the chain that `verify` prints
somewhere else, and give it back as `anchor`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

GENESIS: Final = bytes(32)
FORMAT: Final = 1
_NAME: Final = re.compile(r"decisions-([0-9]{3})-([0-9]{8})\.ndjson")
_LAST: Final = re.compile(rb',"chain":"([0-9a-f]{64})"\}\n\Z')
_TAIL_BYTES: Final = 1024 * 1024
_ADVANCE_LINES: Final = 0x3FFF


def segment_name(chain: int, number: int) -> str:
    """Return the name of a segment's file."""
    return f"decisions-{chain:03}-{number:08}.ndjson"


def numbers_of(path: Path) -> tuple[int, int] | None:
    """Return the chain and the number of a segment from its name, None for another file."""
    found = _NAME.fullmatch(path.name)
    return (int(found[1]), int(found[2])) if found else None


def segments(directory: Path, chain: int | None = None) -> list[Path]:
    """Return the segments in a directory, of one chain or of all, in their order. Raises OSError."""
    found = [(numbers, path) for path in directory.iterdir() if (numbers := numbers_of(path)) is not None]
    return [path for numbers, path in sorted(found) if chain is None or numbers[0] == chain]


def chained(before: bytes, members: dict[str, object]) -> tuple[bytes, bytes]:
    """Return a line of these members, and the chain behind it."""
    body = orjson.dumps(members)[:-1]
    chain = hashlib.sha256(before + body).digest()
    return body + b',"chain":"' + chain.hex().encode() + b'"}\n', chain


@dataclass(frozen=True, slots=True)
class Ending:
    """How a segment ends: its last whole line's chain, the bytes of a torn line behind it, whether it was closed."""

    chain: bytes
    torn_bytes: int
    closed: bool


def ending_of(path: Path) -> Ending | None:
    """Read how a segment ends; None where it has no whole line at all. Raises OSError."""
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - _TAIL_BYTES))
        tail = stream.read()
    whole = tail[: tail.rfind(b"\n") + 1]
    torn_bytes = len(tail) - len(whole)
    found = _LAST.search(whole)
    if found is None:
        return None
    last = whole[whole.rfind(b"\n", 0, len(whole) - 1) + 1 :]
    return Ending(bytes.fromhex(found[1].decode()), torn_bytes, last.startswith(b'{"log":"end"'))


# --- whether it is whole


@dataclass(frozen=True, slots=True)
class Fault:
    """The first line of a chain that does not fit, and why. `line` counts from 1; 0 is the file itself."""

    file: str
    line: int
    reason: str


@dataclass
class Verified:
    """What was found in one chain of segments."""

    chain: int | None
    segments: int = 0
    decisions: int = 0
    missing: int = 0
    """Decisions that were dropped before they were written: the numbers that are not there."""
    cut: int = 0
    """Segments that were not closed: their process was killed, or writes on."""
    torn_bytes: int = 0
    begins_with: str | None = None
    last: str = GENESIS.hex()
    fault: Fault | None = None
    notes: list[str] = field(default_factory=list)


def verify(
    paths: Iterable[Path], advance: Callable[[int], None] | None = None, anchors: Sequence[str] = ()
) -> Iterator[Verified]:
    """Check segments, chain by chain, each up to its first fault; `advance` gets the bytes read so far.

    `anchors` are chains (64 digits) that were noted before: one that is met in no line is a fault of the last chain.
    Raises OSError.
    """
    chains: dict[int | None, list[Path]] = {}
    for path in paths:
        numbers = numbers_of(path)
        chains.setdefault(numbers and numbers[0], []).append(path)
    read_bytes, unmet = 0, {anchor.lower() for anchor in anchors}
    results = []
    for chain, files in sorted(chains.items(), key=lambda one: -1 if one[0] is None else one[0]):
        walk = _Walk(Verified(chain), unmet)
        for path in sorted(files):
            read_bytes = walk.segment(path, read_bytes, advance)
            if walk.found.fault is not None:
                break
        results.append(walk.found)
    if unmet and results and results[-1].fault is None:
        results[-1].fault = Fault("", 0, f"the anchor {min(unmet)[:16]}... is in no line: lines that were there are gone")
    yield from results


class _Walk:
    """Goes through the segments of one chain."""

    def __init__(self, found: Verified, unmet: set[str]) -> None:
        self.found = found
        self._unmet = unmet
        self._before: bytes | None = None
        self._file_before: str | None = None
        self._torn_before = 0
        self._closed = True

    def segment(self, path: Path, read_bytes: int, advance: Callable[[int], None] | None) -> int:
        """Check a segment; return the bytes read so far."""
        found, number, decisions, expected = self.found, 0, 0, 0
        torn_bytes, self._closed = 0, False
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                read_bytes += len(line)
                if advance is not None and not number & _ADVANCE_LINES:
                    advance(read_bytes)
                if not line.endswith(b"\n"):
                    torn_bytes = len(line)
                    break
                document = self._line(path, number, line)
                if isinstance(document, str):
                    found.fault = Fault(str(path), number, document)
                    return read_bytes
                if "number" in document:
                    decisions += 1
                    found.missing += max(0, document["number"] - expected - 1)
                    expected = document["number"]
                elif document.get("log") == "segment":
                    expected = document.get("noted", 0)
                elif document.get("log") == "end":
                    found.missing += max(0, document.get("noted", 0) - expected)
        if number == 0 or (number == 1 and torn_bytes):
            found.notes.append(f"{path.name}: empty, its process was killed at once")
        found.segments += 1
        found.decisions += decisions
        found.cut += not self._closed
        found.torn_bytes += torn_bytes
        if self._before is not None:
            found.last = self._before.hex()
        if number - bool(torn_bytes):
            self._file_before, self._torn_before = path.name, torn_bytes
        if advance is not None:
            advance(read_bytes)
        return read_bytes

    def _line(self, path: Path, number: int, line: bytes) -> dict[str, Any] | str:
        """Check a whole line; say what is wrong with one that is at fault."""
        match = _LAST.search(line)
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError:
            document = None
        if match is None or not isinstance(document, dict):
            return "not a chained line of a decision log"
        if self._closed:
            return "stands behind the end of its segment"
        if number == 1 and (reason := self._begin(path, document)) is not None:
            return reason
        if number > 1 and document.get("log") == "segment":
            return "the head of another segment"
        before = self._before if self._before is not None else GENESIS
        chain = hashlib.sha256(before + line[: match.start()]).hexdigest()
        if chain != match[1].decode():
            return "its chain does not fit: the line, or one before it, was changed, taken out, put in or moved"
        self._before = bytes.fromhex(chain)
        self._unmet.discard(chain)
        self._closed = document.get("log") == "end"
        return document

    def _begin(self, path: Path, head: dict[str, Any]) -> str | None:
        """Check a segment's head against the segment before it; say what is wrong with it."""
        if head.get("log") != "segment" or head.get("format") != FORMAT:
            return f"not the head of a segment of format {FORMAT}"
        previous = head.get("previous")
        if self._file_before is None:
            if previous is None:
                self._before = GENESIS
            else:
                try:
                    self._before = bytes.fromhex(previous["chain"])
                except (TypeError, KeyError, ValueError):
                    return "names no chain that it goes on from"
                self.found.begins_with = path.name
            return None
        if previous is None or previous.get("chain") != (self._before or GENESIS).hex():
            return f"does not go on from the end of {self._file_before}: lines or whole segments are missing between them"
        if previous.get("torn_bytes") != self._torn_before:
            return f"says that {self._file_before} ends in another way than it does"
        return None
