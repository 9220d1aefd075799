from collections.abc import Sequence
from typing import Final, Self, final

ROW_NAMES: Final[dict[int, str]]
STATUS_IDS: Final[dict[str, int]]
SIGNAL_BITS: Final[dict[str, int]]
CONFLICT_BITS: Final[dict[str, int]]
SIGNAL_ALONE: Final[dict[str, int]]

@final
class Fusion:
    @property
    def region_count(self) -> int: ...
    @property
    def plmn_count(self) -> int: ...
    @property
    def ip_count(self) -> int: ...
    def __new__(
        cls,
        regions: Sequence[tuple[int, Sequence[int], Sequence[int], Sequence[int], bool, bool, bool]],
        plmns: Sequence[tuple[Sequence[int], bool, int]],
        ips: Sequence[tuple[int, int, bool, bool, bool]],
    ) -> Self: ...
    def resolve(
        self,
        ip_status: int,
        ip_value: int,
        serving_status: int,
        serving_value: int,
        home_status: int,
        home_value: int,
    ) -> tuple[int, int, int, int, int, int, int, int]: ...
