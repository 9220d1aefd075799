"""Shell globs over SKUs as automata: many conditions, one step a character.

In go the conditions' globs, each condition a tuple of alternatives; out come `Automaton`s whose states say which of their
conditions a text satisfies. What a glob means is what `fnmatch.translate` says, brackets included; here are only the ways
to say it of all globs at once:

1. Code points that no glob tells apart are one symbol. Membership in a bracket can only change at a code point that is
   written in it, or right behind one, so asking `fnmatch` for one point of each interval is enough.
2. All globs side by side are one set of positions, an integer (Baeza-Yates and Gonnet's Shift-And): a step is
   `(here & may_advance[symbol]) << 1 | here & stays`, a position that waits at a `*` stays.
3. The sets that can be reached are the states (subset construction).

Few globs give few states, prefixes and suffixes about as many as they have characters; but k globs of the form `*x*`
double them k times. So the conditions are spread over several automata where one would grow beyond `STATES_MAX`.
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

STATES_MAX: Final = 8192
_ASCII: Final = 128
Globs = tuple[str, ...]


class TooManyStatesError(Exception):
    """One condition alone needs more than `STATES_MAX` states; `globs` are its alternatives."""

    def __init__(self, globs: Globs) -> None:
        """Keep the condition."""
        super().__init__(f"needs more than {STATES_MAX} states")
        self.globs = globs


@dataclass(frozen=True, slots=True)
class Automaton:
    """A deterministic automaton; state 0 is the start, and from `first_final` on states lead to themselves only.

    `bounds` ascend from 0; from each on, code points are the symbol of the same place in `symbols`. `steps` are the next
    states by state, then symbol. `satisfied` are, by state, the positions in `conditions` that a text ending there meets.
    """

    conditions: tuple[Globs, ...]
    bounds: tuple[int, ...]
    symbols: tuple[int, ...]
    symbol_count: int
    first_final: int
    steps: tuple[int, ...]
    satisfied: tuple[frozenset[int], ...]

    @property
    def ascii(self) -> list[int]:
        """Answer the symbols of the first 128 code points."""
        ends = (*self.bounds[1:], _ASCII)
        found: list[int] = []
        for end, symbol in zip(ends, self.symbols, strict=True):
            found += [symbol] * (min(end, _ASCII) - len(found))
        return found


def automata(conditions: Sequence[Globs]) -> list[Automaton]:
    """Answer automata that share the conditions among them. Raises TooManyStatesError."""
    if not conditions:
        return []
    built = _build(tuple(conditions))
    if built is not None:
        return [built]
    if len(conditions) == 1:
        raise TooManyStatesError(conditions[0])
    middle = len(conditions) // 2
    return automata(conditions[:middle]) + automata(conditions[middle:])


def pieces(glob: str) -> list[str]:
    """Cut a glob into `*`, `?`, brackets with what they hold, and characters (an escaped `*` is `[*]`)."""
    found: list[str] = []
    here = 0
    while here < len(glob):
        end = _end_of_bracket(glob, here) if glob[here] == "[" else here + 1
        piece = glob[here:end]
        if piece != "*" or found[-1:] != ["*"]:
            found.append(piece)
        here = end
    return found


def _end_of_bracket(glob: str, opening: int) -> int:
    """Answer where a bracket ends; right behind the opening one if nothing closes it, which makes it a character."""
    here = opening + 1
    if glob[here : here + 1] == "!":
        here += 1
    # A bracket that closes at once would be empty, so fnmatch takes the first one as a member.
    closing = glob.find("]", here + 1)
    return opening + 1 if closing < 0 else closing + 1


def _is_bracket(piece: str) -> bool:
    return len(piece) > 1


def _build(conditions: tuple[Globs, ...]) -> Automaton | None:
    """Build one automaton, `None` if it grows too large."""
    patterns = [pieces(glob) for globs in conditions for glob in globs]
    bounds = _bounds(patterns)
    points = [chr(bound) for bound in bounds]
    advance = dict.fromkeys(points, 0)
    start = stays = 0
    ends: list[int] = []
    size = 0
    for pattern in patterns:
        start |= 1 << size
        for piece in pattern:
            if piece == "*":
                stays |= 1 << size
                continue
            for point in _members(piece, points):
                advance[point] |= 1 << size
            size += 1
        ends.append(size)
        size += 1
    classes = {mask: number for number, mask in enumerate(dict.fromkeys(advance.values()))}
    reached = _reached(start, stays, list(classes))
    if reached is None:
        return None
    return _numbered(conditions, reached, ends, bounds, tuple(classes[advance[point]] for point in points), len(classes))


def _bounds(patterns: list[list[str]]) -> tuple[int, ...]:
    """Answer the code points at which a piece may begin or cease to match."""
    written = {ord(letter) for pattern in patterns for piece in pattern if piece not in {"*", "?"} for letter in piece}
    return tuple(sorted({0} | written | {code + 1 for code in written if code < 0x10FFFF}))


def _members(piece: str, points: list[str]) -> list[str]:
    """Answer the points that a piece other than `*` matches."""
    if piece == "?":
        return points
    if not _is_bracket(piece):
        return [piece]
    return list(filter(re.compile(fnmatch.translate(piece)).match, points))


def _reached(start: int, stays: int, advance: list[int]) -> dict[int, list[int]] | None:
    """Follow every symbol from every set of positions that can be reached; `None` beyond `STATES_MAX` sets."""
    reached: dict[int, list[int]] = {}
    pending = [start]
    seen = {start}
    while pending:
        here = pending.pop()
        kept = here & stays
        following = [((here & mask) << 1) | kept for mask in advance]
        reached[here] = following
        fresh = set(following) - seen
        seen |= fresh
        pending += fresh
        if len(seen) > STATES_MAX:
            return None
    return reached


def _numbered(
    conditions: tuple[Globs, ...],
    reached: dict[int, list[int]],
    ends: list[int],
    bounds: tuple[int, ...],
    symbols: tuple[int, ...],
    symbol_count: int,
) -> Automaton:
    """Number the states, those that nothing leaves last, and say what each satisfies."""
    start = next(iter(reached))
    final = {state: None for state, following in reached.items() if state != start and set(following) == {state}}
    order = [*(state for state in reached if state not in final), *final]
    numbers = {state: number for number, state in enumerate(order)}
    owners = [number for number, globs in enumerate(conditions) for _ in globs]
    accepted = dict(zip(ends, owners, strict=True))
    accepting = sum(1 << end for end in ends)
    satisfied = {
        ended: frozenset(accepted[end] for end in _members_of(ended)) for ended in {state & accepting for state in order}
    }
    return Automaton(
        conditions,
        bounds,
        symbols,
        symbol_count,
        len(order) - len(final),
        tuple(numbers[following] for state in order for following in reached[state]),
        tuple(satisfied[state & accepting] for state in order),
    )


def _members_of(positions: int) -> list[int]:
    """Answer the positions in a set, the last first."""
    found = []
    while positions:
        found.append(positions.bit_length() - 1)
        positions ^= 1 << found[-1]
    return found
