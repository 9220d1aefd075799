"""The names of series that only a run knows (routes, regions, rules, overrides), each with its place, in shared memory.

A name that has a place keeps it, for every process and for good: what was counted under it is never counted under another.
Any process may add names; a lock on the memory's file, which the kernel takes from a process that dies, lets one at a time
write. A name is written before the number of names, so readers need no lock. When there is no place left, a name is told
as `(other)`, place 0, and `overflowed` says so.

A name has several parts where several labels have a value together (an override's id and owner). At most NAME_BYTES of it
are kept; longer ones are cut.
"""

import fcntl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from regionresolver.service.metrics import Named

NAME_BYTES: Final = 256
_SEPARATOR: Final = "\x1f"
_WORD: Final = 8
_LENGTH_BYTES: Final = 2

Name = tuple[str, ...]


def bytes_needed(sorts: Iterable[Named]) -> int:
    """Give how much memory the names of these sorts take."""
    return sum(2 * _WORD + sort.capacity * NAME_BYTES for sort in sorts)


class Names:
    """The names of all sorts, in `memory`, which lies in the file `descriptor` for the lock's sake."""

    def __init__(self, memory: memoryview, descriptor: int, sorts: Sequence[Named]) -> None:
        """Use memory of `bytes_needed(sorts)` bytes, which is zero at first, or has been used for the same sorts."""
        self._descriptor = descriptor
        self._lists = {}
        start = 0
        for sort in sorts:
            size = bytes_needed([sort])
            self._lists[sort] = _List(memory[start : start + size], sort)
            start += size
        with self.locked():
            for sort, found in self._lists.items():
                found.add(sort.standing)

    def learn(self, sort: Named, names: Iterable[Name]) -> None:
        """Give every name a place that has none yet, as long as there are places."""
        wanted = list(names)
        found = self._lists[sort]
        found.read()
        if all(_cut(name) in found.places for name in wanted):
            return
        with self.locked():
            found.read()
            found.add(wanted)

    def place(self, sort: Named, name: Name) -> int:
        """Give the place of a name; 0 for one that has none."""
        return self._lists[sort].place(name)

    def all(self, sort: Named) -> list[Name]:
        """Give every name, by its place."""
        found = self._lists[sort]
        found.read()
        return list(found.places)

    def overflowed(self, sort: Named) -> int:
        """Give how often a name found no place."""
        return self._lists[sort].overflowed

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from adding names; what is done meanwhile takes microseconds."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)


class _List:
    """The names of one sort: how many there are, how many found no place, and the names."""

    def __init__(self, memory: memoryview, sort: Named) -> None:
        self._words = memory[: 2 * _WORD].cast("Q")
        self._slots = memory[2 * _WORD :]
        self._sort = sort
        self.places: dict[Name, int] = {}

    @property
    def overflowed(self) -> int:
        return self._words[1]

    def place(self, name: Name) -> int:
        if len(self.places) < self._words[0]:
            self.read()
        return self.places.get(_cut(name), 0)

    def read(self) -> None:
        """Take in the names that others have added."""
        for number in range(len(self.places), self._words[0]):
            slot = self._slots[number * NAME_BYTES : (number + 1) * NAME_BYTES]
            length = int.from_bytes(slot[:_LENGTH_BYTES], "little")
            written = bytes(slot[_LENGTH_BYTES : _LENGTH_BYTES + length]).decode("utf-8")
            self.places[tuple(written.split(_SEPARATOR))] = number

    def add(self, names: Iterable[Name]) -> None:
        """Append the names that are new; called under the lock, after `read`."""
        self.read()
        for name in map(_cut, names):
            if name in self.places:
                continue
            number = len(self.places)
            if number >= self._sort.capacity:
                self._words[1] += 1
                continue
            written = _SEPARATOR.join(name).encode("utf-8")
            start = number * NAME_BYTES
            self._slots[start : start + _LENGTH_BYTES] = len(written).to_bytes(_LENGTH_BYTES, "little")
            self._slots[start + _LENGTH_BYTES : start + _LENGTH_BYTES + len(written)] = written
            self.places[name] = number
            self._words[0] = number + 1


def _cut(name: Name) -> Name:
    """Shorten a name to what a slot holds; the number of its parts stays."""
    most = NAME_BYTES - _LENGTH_BYTES
    written = _SEPARATOR.join(part.replace(_SEPARATOR, " ") for part in name).encode("utf-8", "replace")
    if len(written) <= most:
        return tuple(written.decode("utf-8").split(_SEPARATOR))
    each = (most - len(name) + 1) // len(name)
    return tuple(part.replace(_SEPARATOR, " ").encode("utf-8", "replace")[:each].decode("utf-8", "ignore") for part in name)
