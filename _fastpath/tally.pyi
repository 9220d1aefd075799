from collections.abc import Iterable
from typing import Final, Self, final

from _typeshed import WriteableBuffer

TOTAL_WORDS: Final[int]

@final
class Counters:
    def __new__(cls, memory: WriteableBuffer) -> Self: ...
    @property
    def count(self) -> int: ...
    def read(self) -> list[int]: ...
    def reset(self) -> None: ...

@final
class Tally:
    def __new__(cls) -> Self: ...
    def read(self) -> tuple[int, int]: ...
    def count_in(
        self,
        totals: Counters,
        signals: Counters,
        conflicts: Counters,
        regions: Counters,
        rules: Counters,
        shadow_rules: Counters,
        region_places: Iterable[int],
        rule_places: Iterable[int],
    ) -> None: ...
