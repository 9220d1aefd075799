from collections.abc import Callable, Sequence
from typing import Any, Final, Self, final

from _fastpath.engine import Decided
from _fastpath.policy_table import PolicyTable

MODES: Final[dict[str, int]]
KIND_NAMES: Final[tuple[str, ...]]

@final
class LogWords:
    def __new__(cls, head: bytes, sizes: Sequence[int], render: Callable[[int, int], bytes]) -> Self: ...
    @property
    def head(self) -> bytes: ...

@final
class DecisionLog:
    def __new__(
        cls,
        words_of: Callable[[Any, PolicyTable], LogWords],
        mode: str,
        share: float = 1.0,
        ring_bytes: int = ...,
        seed: int = ...,
    ) -> Self: ...
    @property
    def noted(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    @property
    def waiting_bytes(self) -> int: ...
    def note_decided(self, decided: Decided, as_json: Callable[[str | bytes], bytes]) -> None: ...
    def forget(self) -> None: ...
    def take(self, chain: bytes, sha256: Callable[[bytes], Any]) -> tuple[bytes, int, int, bytes]: ...
