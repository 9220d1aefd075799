from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Generic, Protocol, TypeVar, final, type_check_only

from _typeshed import ReadableBuffer

from _fastpath.prefix_trie import PrefixTrie
from _fastpath.value_ids import ValueIds

_Address = str | bytes | int | IPv4Address | IPv6Address
_Value_co = TypeVar("_Value_co", covariant=True)

@type_check_only
class ArrowArray(Protocol):
    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]: ...

@type_check_only
class ArrowStream(Protocol):
    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...

@final
class Lookup(Generic[_Value_co]):
    def __new__(
        cls, trie: PrefixTrie, values: Sequence[_Value_co], invalid: Callable[[], BaseException]
    ) -> Lookup[_Value_co]: ...
    @property
    def values(self) -> tuple[_Value_co | None, ...]: ...
    def lookup(self, ip: _Address, /) -> _Value_co: ...
    def lookup_many(self, addresses: Sequence[object], /) -> list[_Value_co | None]: ...
    def lookup_lines(self, text: ReadableBuffer, /) -> ValueIds: ...
    def lookup_packed(self, packed: ReadableBuffer, /) -> ValueIds: ...
    def lookup_arrow(self, column: ArrowArray | ArrowStream, /) -> ValueIds: ...
