from collections.abc import Iterable
from typing import Self, final

from _fastpath.address import Canonical
from _fastpath.digit_trie import DigitTrie, ParsedPlmn
from _fastpath.prefix_trie import PrefixTrie
from _fastpath.tally import Counters

@final
class Overrides:
    def __new__(
        cls,
        networks: PrefixTrie,
        plmns: DigitTrie,
        network_rows: list[tuple[int, int]],
        plmn_rows: list[tuple[int, int, int, bool]],
        counters: Counters,
    ) -> Self: ...
    @property
    def counters(self) -> Counters: ...
    @property
    def network_count(self) -> int: ...
    @property
    def plmn_count(self) -> int: ...
    def network_at(self, address: Canonical, at_us: int) -> int: ...
    def plmn_at(self, plmn: ParsedPlmn, at_us: int) -> tuple[int, int]: ...
    def count_in(self, counters: Counters, places: Iterable[int]) -> None: ...
    def hits(self) -> list[int]: ...
