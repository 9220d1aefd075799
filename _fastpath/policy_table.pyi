from collections.abc import Mapping, Sequence
from typing import Any, Final, Self, final

ATTRIBUTE_IDS: Final[dict[str, int]]
EFFECT_IDS: Final[dict[str, int]]
MATCHERS_MAX: Final[int]
FOREVER: Final[int]

@final
class PolicyRows:
    @property
    def rule_count(self) -> int: ...
    @property
    def place_count(self) -> int: ...
    def __new__(
        cls,
        rules: Sequence[tuple[int, int, bool, int, int]],
        salts: Sequence[bytes],
        defaults: tuple[int, int, int, int, int, int, int],
        attributes: Sequence[Sequence[int]],
        place_count: int,
        cuts_us: Sequence[int],
        spellings: Mapping[bytes, int],
        devices: Mapping[bytes, int],
        matchers: Sequence[tuple[Sequence[int], Sequence[int], Sequence[int], int, int, Sequence[int], Sequence[int], int]],
    ) -> Self: ...

@final
class PolicyTable:
    @property
    def rows(self) -> PolicyRows: ...
    @property
    def valid_from(self) -> int: ...
    @property
    def valid_until(self) -> int: ...
    @property
    def notices(self) -> tuple[Any, ...]: ...
    def __new__(
        cls,
        rows: PolicyRows,
        active: int,
        limits: Sequence[int],
        valid_from: int,
        valid_until: int,
        notices: tuple[Any, ...] = (),
    ) -> Self: ...
    def verdict(
        self,
        region: int,
        conflicts: int,
        confidence: int,
        home_region: int,
        ip_status: int,
        serving_status: int,
        home_status: int,
        sku: bytes | None,
        sold_in: bytes | None,
        device_id: bytes | None,
        first_activated_us: int | None,
    ) -> tuple[int | None, int, int, int | None, int]: ...

def rollout_bucket(salt: bytes, key: bytes) -> int: ...
