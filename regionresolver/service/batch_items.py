"""From the bytes of a batch to its pings: the elements of a JSON array, the lines of a stream.

Neither looks further into a ping than to find where it ends: what stands in it is for `pings.parse_ping`, one by one, so
that one bad ping spoils no other. An array is refused whole only when its elements cannot be told apart: no brackets, no
commas, strings or brackets without an end, anything behind it.

What is long is walked in steps of at most `STEP_BYTES`, so that the caller can let others have the loop in between.
"""

import re
from collections.abc import Generator, Iterator

from regionresolver.service.pings import BLANKS, STRING
from regionresolver.service.problems import BODY_NOT_ARRAY, ProblemError

STEP_BYTES = 16 * 1024
_STEPS_MARKS = 1024

Span = tuple[int, int]

_OBJECT = rb'[^"{}\[\]]*+(?:%s[^"{}\[\]]*+)*+'

# A ping of the usual kind, an object with other objects one level deep at most, and the comma or bracket behind it.
_FLAT = rb"\{" + _OBJECT % STRING + rb"\}"
_USUAL = re.compile(
    rb"(\{" + _OBJECT % (rb"(?:" + STRING + rb"|" + _FLAT + rb")") + rb"\})" + BLANKS + rb"([,\]])" + BLANKS, re.DOTALL
)

_BLANKS = re.compile(BLANKS)
_SCALAR = re.compile(rb'[^ \t\r\n,"\[\]{}]*+')
_MARK = re.compile(rb'["\[\]{}]')
_MARK_IN_STRING = re.compile(rb'["\\]')


def spans(body: bytes | bytearray) -> Iterator[Span | None]:
    """Yield where each element of a JSON array begins and ends, None after a step without one. Raises ProblemError."""
    position = yield from _run(_BLANKS, body, 0)
    if body[position : position + 1] != b"[":
        raise ProblemError(BODY_NOT_ARRAY, "a batch is one JSON array of pings")
    position = yield from _run(_BLANKS, body, position + 1)
    more = body[position : position + 1] != b"]"
    if not more:
        position += 1
    while more:
        usual = _USUAL.match(body, position, position + STEP_BYTES)
        if usual is not None:
            yield usual.span(1)
            more, position = usual[2] == b",", usual.end()
            continue
        position = yield from _run(_BLANKS, body, position)
        end = yield from _end_of_value(body, position)
        yield position, end
        end = yield from _run(_BLANKS, body, end)
        more, position = body[end : end + 1] == b",", end + 1
        if not more and body[end : end + 1] != b"]":
            raise _cannot_be_told_apart()
    position = yield from _run(_BLANKS, body, position)
    if position != len(body):
        raise _cannot_be_told_apart()


Walk = Generator[None, None, int]
"""Steps of a walk over bytes, and the place where it ends."""


def _run(pattern: re.Pattern[bytes], body: bytes | bytearray, position: int) -> Walk:
    """Walk over the bytes of a pattern that is a class of them, any number of times."""
    while (found := pattern.match(body, position, position + STEP_BYTES)) is not None:
        if found.end() - position < STEP_BYTES:
            return found.end()
        position = found.end()
        yield None
    return position


def _end_of_value(body: bytes | bytearray, start: int) -> Walk:
    """Walk to the end of any value: over nested brackets (of which sort does not matter), a string, or what else is there."""
    if body[start : start + 1] not in (b'"', b"{", b"["):
        end = yield from _run(_SCALAR, body, start)
        if end == start:
            raise _cannot_be_told_apart()
        return end
    depth, in_string, position, marks = 0, False, start, 0
    while position < len(body):
        mark = (_MARK_IN_STRING if in_string else _MARK).search(body, position, position + STEP_BYTES)
        marks += 1
        if mark is None or not marks % _STEPS_MARKS:
            yield None
        if mark is None:
            position += STEP_BYTES
            continue
        position = mark.end()
        match mark[0]:
            case b"\\":
                position += 1
            case b'"':
                in_string = not in_string
            case b"{" | b"[":
                depth += 1
            case _:
                depth -= 1
        if depth == 0 and not in_string:
            return position
    raise _cannot_be_told_apart()


def _cannot_be_told_apart() -> ProblemError:
    return ProblemError(BODY_NOT_ARRAY, "the array's elements cannot be told apart: a bracket, a comma or a quote is amiss")


class LineSplitter:
    """The lines of a stream, which comes in pieces; of a line that is too long nothing is kept."""

    def __init__(self, longest_bytes: int) -> None:
        """Take lines of at most `longest_bytes`, their line feeds not counted."""
        self._longest_bytes = longest_bytes
        self._begun = bytearray()
        self._is_too_long = False

    def lines(self, piece: bytes) -> Iterator[bytes | None]:
        """Yield the lines that end in the next piece, without their line feeds; None for one that is too long."""
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            if self._begun or self._is_too_long:
                self._keep(piece[start:end])
                yield from self.rest()
            else:
                yield piece[start:end] if end - start <= self._longest_bytes else None
            start = end + 1
        self._keep(piece[start:])

    def rest(self) -> Iterator[bytes | None]:
        """Yield the line that has begun, at the end of the stream."""
        line = None if self._is_too_long else bytes(self._begun)
        self._begun.clear()
        self._is_too_long = False
        yield line

    def _keep(self, part: bytes) -> None:
        if self._is_too_long:
            return
        if len(self._begun) + len(part) > self._longest_bytes:
            self._begun.clear()
            self._is_too_long = True
        else:
            self._begun += part
