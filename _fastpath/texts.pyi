from collections.abc import Callable
from typing import Any, Self, final

from _fastpath.decision_log import DecisionLog
from _fastpath.engine import Decided, Engine

@final
class Texts:
    log: DecisionLog | None
    def __new__(cls, engine: Engine[Any], compose: Callable[[Decided, bool], bytes]) -> Self: ...
    @property
    def engine(self) -> Engine[Any]: ...
    @property
    def composed(self) -> int: ...
