"""From the bytes of a batch to its pings: the elements of a JSON array, the lines of a stream.

The elements of an array are read by the compiled path as far as they are of its grammar. Of any other one is found where
it ends and no more: what stands in it is for `pings.parse_ping`, one by one, so that one bad ping spoils no other. An array
is refused whole only when its elements cannot be told apart: no brackets, no commas, strings or brackets without an end,
anything behind it.

What is long is walked in steps of at most `STEP_BYTES`, so that the caller can let others have the loop in between.
"""

import re
from collections.abc import Generator

from _fastpath.batch import ODD, WHOLE, Elements
from regionresolver.service.problems import BATCH_TOO_LARGE, BODY_NOT_ARRAY, ProblemError

STEP_BYTES = 16 * 1024
_STEPS_MARKS = 1024

_BLANKS = re.compile(rb"[ \t\r\n]*+")
_SCALAR = re.compile(rb'[^ \t\r\n,"\[\]{}]*+')
_MARK = re.compile(rb'["\[\]{}]')
_MARK_IN_STRING = re.compile(rb'["\\]')

Walk = Generator[None, None, int]
"""Steps of a walk over bytes, and the place where it ends."""


def read_array(body: bytes, ping_bytes_max: int, most: int) -> Generator[bytes, None, Elements]:
    """Read a JSON array of at most so many elements, yielding b"" after each step. Raises ProblemError."""
    elements = Elements(body, ping_bytes_max)
    position = yield from _paused(_run(_BLANKS, body, 0))
    if body[position : position + 1] != b"[":
        raise ProblemError(BODY_NOT_ARRAY, "a batch is one JSON array of pings")
    position = yield from _paused(_run(_BLANKS, body, position + 1))
    more = body[position : position + 1] != b"]"
    if not more:
        position += 1
    while more:
        position, stop = elements.read(position, most)
        if stop == ODD:
            position, more = yield from _read_odd(body, position, elements)
        if len(elements) > most:
            raise ProblemError(BATCH_TOO_LARGE, f"an array may hold {most} pings; a stream of lines has no limit")
        more = more and stop != WHOLE
        yield b""
    position = yield from _paused(_run(_BLANKS, body, position))
    if position != len(body):
        raise _cannot_be_told_apart()
    return elements


def _read_odd(body: bytes, position: int, elements: Elements) -> Generator[bytes, None, tuple[int, bool]]:
    """Read an element of any kind with what parts it from the next; give the place behind, and whether there is a next."""
    begin = yield from _paused(_run(_BLANKS, body, position))
    end = yield from _paused(_end_of_value(body, begin))
    elements.add_odd(begin, end)
    behind = yield from _paused(_run(_BLANKS, body, end))
    more = body[behind : behind + 1] == b","
    if not more and body[behind : behind + 1] != b"]":
        raise _cannot_be_told_apart()
    return behind + 1, more


def _paused(walk: Walk) -> Generator[bytes, None, int]:
    """Walk, with a pause after each step."""
    while True:
        try:
            next(walk)
        except StopIteration as end:
            place: int = end.value
            return place
        yield b""


def _run(pattern: re.Pattern[bytes], body: bytes, position: int) -> Walk:
    """Walk over the bytes of a pattern that is a class of them, any number of times."""
    while (found := pattern.match(body, position, position + STEP_BYTES)) is not None:
        if found.end() - position < STEP_BYTES:
            return found.end()
        position = found.end()
        yield None
    return position


def _end_of_value(body: bytes, start: int) -> Walk:
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
    """The line that has begun at the end of a piece of a stream; of one that is too long nothing is kept."""

    def __init__(self, longest_bytes: int) -> None:
        """Take lines of at most `longest_bytes`, their line feeds not counted."""
        self._longest_bytes = longest_bytes
        self._begun = bytearray()
        self._is_too_long = False

    @property
    def has_begun(self) -> bool:
        """Whether a line has begun and not ended."""
        return bool(self._begun) or self._is_too_long

    def keep(self, part: bytes) -> None:
        """Take the next part of a line that does not end in it."""
        if self._is_too_long:
            return
        if len(self._begun) + len(part) > self._longest_bytes:
            self._begun.clear()
            self._is_too_long = True
        else:
            self._begun += part

    def end_line(self, part: bytes) -> bytes | None:
        """Take the last part of a line; give the line, None for one that is too long."""
        self.keep(part)
        line = None if self._is_too_long else bytes(self._begun)
        self._begun.clear()
        self._is_too_long = False
        return line
