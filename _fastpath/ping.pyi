from typing import NamedTuple

from _fastpath.address import Canonical
from _fastpath.digit_trie import ParsedPlmn

class Read(NamedTuple):
    ip: Canonical | None
    ip_is_invalid: bool
    serving: ParsedPlmn | None
    serving_is_invalid: bool
    home: ParsedPlmn | None
    home_is_invalid: bool
    sku: bytes | None
    sold_in: bytes | None
    device_id: bytes | None
    first_activated_us: int | None
    lang: bytes | None
    id: bytes | None

def keys_written(body: bytes) -> int: ...
def read_query(query: bytes) -> Read | None: ...
def read_json(body: bytes, behind: bytes = b"") -> Read | None: ...
