"""An IP database's own record as JSON: MaxMind's types that JSON has not, in words.

MMDB has bytes and unsigned integers of up to 128 bits. Bytes become hexadecimal text, and an integer beyond 64 bits
becomes decimal text, because most readers of JSON would round it.
"""

from collections.abc import Sequence

from regionresolver.model import SourceRecord
from regionresolver.resolver.wire import RecordDocument

_LARGEST_JSON_INTEGER = 2**64 - 1


def record_documents(records: Sequence[SourceRecord]) -> list[RecordDocument]:
    """Give each source's record of an address as JSON types, with the source's name and the network."""
    return [{"source": found.source, "network": found.network, "record": as_json(found.record)} for found in records]


def as_json(value: object) -> object:
    """Give a decoded MMDB value as JSON types."""
    match value:
        case dict():
            return {str(key): as_json(member) for key, member in value.items()}
        case list() | tuple():
            return [as_json(member) for member in value]
        case bytes() | bytearray():
            return value.hex()
        case int() if value > _LARGEST_JSON_INTEGER:
            return str(value)
    return value
