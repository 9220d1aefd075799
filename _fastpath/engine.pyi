from collections.abc import Callable
from typing import Any, Final, Generic, Self, TypeVar, final

from typing_extensions import disjoint_base

from _fastpath.address import Canonical
from _fastpath.digit_trie import DigitTrie, ParsedPlmn
from _fastpath.fusion import Fusion
from _fastpath.overrides import Overrides
from _fastpath.policy_table import PolicyRows, PolicyTable
from _fastpath.prefix_trie import PrefixTrie
from _fastpath.tally import Tally

MAX_FIELD_CHARACTERS: Final[int]

def now_us() -> int: ...

@disjoint_base
class Decided:
    @property
    def words(self) -> Any: ...
    @property
    def id(self) -> str | None: ...
    @property
    def lang(self) -> str | None: ...
    @property
    def notices(self) -> list[Any] | None: ...
    @property
    def asked(self) -> tuple[str | bytes | None, str | bytes | None, str | bytes | None, int | None, int]: ...
    @property
    def resolution_ids(self) -> tuple[int, int, int, int, int, int, int, int]: ...
    @property
    def verdict_ids(self) -> tuple[int | None, int, int, int | None, int]: ...
    @property
    def effect_id(self) -> int: ...
    @property
    def region_id(self) -> int: ...
    @property
    def confidence(self) -> float: ...
    @property
    def ip_evidence(self) -> tuple[int, int, Canonical | None]: ...
    @property
    def serving_evidence(self) -> tuple[int, int, str | None]: ...
    @property
    def home_evidence(self) -> tuple[int, int, str | None]: ...
    @property
    def rows(self) -> PolicyRows | None: ...
    @property
    def standing_notices(self) -> tuple[Any, ...]: ...
    cached_resolution: Any
    cached_verdict: Any

_D = TypeVar("_D", bound=Decided)

@final
class Engine(Generic[_D]):
    def __new__(
        cls,
        trie: PrefixTrie,
        digits: DigitTrie,
        fusion: Fusion,
        decided: type[_D],
        words: object,
        table_at: Callable[[int], PolicyTable],
        instant_us: Callable[[Any], int],
        decide_odd: Callable[..., _D],
        tally: Tally,
        overrides: Overrides | None = None,
    ) -> Self: ...
    @property
    def words(self) -> Any: ...
    def forget_table(self) -> None: ...
    def decide(
        self,
        *,
        ip: object = None,
        serving: object = None,
        sim: object = None,
        sku: object = None,
        sold_in: object = None,
        device_id: object = None,
        first_activated_at: object = None,
        lang: object = None,
        at: object = None,
        id: object = None,  # noqa: A002
        strict: bool = False,
    ) -> _D: ...
    def decide_parsed(
        self,
        ip: Canonical | None,
        ip_is_invalid: bool,
        serving: ParsedPlmn | None,
        serving_is_invalid: bool,
        home: ParsedPlmn | None,
        home_is_invalid: bool,
        notices: list[Any],
        *,
        sku: bytes | None = None,
        sold_in: bytes | None = None,
        device_id: bytes | None = None,
        first_activated_us: int | None = None,
        lang: str | None = None,
        id: str | None = None,  # noqa: A002
        at_us: int | None = None,
    ) -> _D: ...
    def resolve_parsed(
        self,
        ip: Canonical | None,
        ip_is_invalid: bool,
        serving: ParsedPlmn | None,
        serving_is_invalid: bool,
        home: ParsedPlmn | None,
        home_is_invalid: bool,
        notices: list[Any],
        *,
        at_us: int | None = None,
    ) -> _D: ...
