from array import array
from collections.abc import Sequence

from _typeshed import ReadableBuffer

def merge(
    streams: Sequence[tuple[ReadableBuffer, ReadableBuffer, ReadableBuffer, ReadableBuffer]],
) -> tuple[array[int], array[int], array[int], array[int]]: ...
def build(
    starts_hi: ReadableBuffer, starts_lo: ReadableBuffer, values: ReadableBuffer, value_count: int
) -> tuple[bytes, bytes, bytes, bytes]: ...
