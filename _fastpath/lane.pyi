from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Self, final

from typing_extensions import disjoint_base

from _fastpath.access import KeyRing
from _fastpath.tally import Counters
from _fastpath.texts import Texts

MORE_TO_COME: Final[int]
ODD_REQUEST: Final[int]
FOREIGN_BYTES: Final[int]
WRITING_PAUSED: Final[int]
BATCH_REQUEST: Final[int]
OUTCOME_WORDS: Final[dict[int, str]]
ROUTE_WORDS: Final[tuple[str, ...]]
REASON_WORDS: Final[tuple[str, ...]]
BODY_LIMIT_BYTES: Final[int]

@final
class Lane:
    idle_deadline: float
    is_draining: bool
    array_bytes_max: int
    keys: KeyRing | None
    def __new__(cls, texts: Texts, seed: bytes, body_limit_bytes: int) -> Self: ...
    @property
    def texts(self) -> Texts: ...
    def use(self, texts: Texts) -> None: ...
    @property
    def batch(self) -> tuple[int, int, bool, bool, bytes | None]: ...
    @property
    def date(self) -> bytes: ...
    def set_date(self, date: bytes) -> None: ...
    def count_in(
        self,
        answered: Sequence[Counters],
        requests: Sequence[Counters],
        histograms: Sequence[Counters],
        declined: Counters,
        edges_ns: Iterable[int],
    ) -> None: ...
    def log_requests(self, tell: Callable[[str, bytes, bool, int], None] | None, share: float) -> None: ...
    def counts(self) -> tuple[dict[str, int], dict[str, int]]: ...

@disjoint_base
class LaneConnection:
    transport: Any
    deadline: float
    is_elsewhere: bool
    is_writing_paused: bool
    may_be_queued: bool
    has_asked: bool
    def __new__(cls, lane: Lane, *arguments: object) -> Self: ...
    @property
    def lane(self) -> Lane: ...
    def connection_made(self, transport: Any) -> None: ...
    def data_received(self, received: bytes) -> None: ...
    def offer(self, received: bytes) -> int: ...
    def send_part(self, part: bytes, as_chunk: bool) -> int: ...

def scan_head(text: bytes) -> tuple[str, str, str | None, int, int, bytes | None, bytes | None]: ...
def is_vetted(text: bytes) -> bool: ...
