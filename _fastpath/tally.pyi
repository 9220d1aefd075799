from typing import Final, Self, final

from _typeshed import WriteableBuffer

BYTES: Final[int]

@final
class Tally:
    def __new__(cls, page: WriteableBuffer | None = None) -> Self: ...
    def read(self) -> tuple[int, int]: ...
