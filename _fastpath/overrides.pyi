from typing import Self, final

from _typeshed import WriteableBuffer

from _fastpath.address import Canonical
from _fastpath.digit_trie import DigitTrie, ParsedPlmn
from _fastpath.prefix_trie import PrefixTrie

@final
class HitCounters:
    def __new__(cls, memory: WriteableBuffer) -> Self: ...
    @property
    def count(self) -> int: ...
    def read(self) -> list[int]: ...
    def reset(self) -> None: ...

@final
class Overrides:
    def __new__(
        cls,
        networks: PrefixTrie,
        plmns: DigitTrie,
        network_rows: list[tuple[int, int]],
        plmn_rows: list[tuple[int, int, int, bool]],
        counters: HitCounters,
    ) -> Self: ...
    @property
    def counters(self) -> HitCounters: ...
    @property
    def network_count(self) -> int: ...
    @property
    def plmn_count(self) -> int: ...
    def network_at(self, address: Canonical, at_us: int) -> int: ...
    def plmn_at(self, plmn: ParsedPlmn, at_us: int) -> tuple[int, int]: ...
