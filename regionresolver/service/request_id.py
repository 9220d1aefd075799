"""Who is asking, for logs: the request id (taken or made) and the trace id of a `traceparent`.

A request id is at most 128 visible ASCII characters (0x21-0x7E); anything else is replaced, never repaired. It is echoed
as it came, but a client may have put an address or an IMSI there: what is not shaped like a random id goes into the log
as a digest, which `printf %s ID | sha256sum` finds again. The trace id
is the second field of W3C Trace Context level 1, section 3.2: `version "-" trace-id "-" parent-id "-" flags`, lower-case
hexadecimal, neither id all zeros, version not ff. It goes into log lines only.
"""

import hashlib
import random
import re
from collections.abc import Sequence

from multidict import istr

HEADER = istr("X-Request-Id")
TRACEPARENT = istr("traceparent")

DIGEST_CHARACTERS = 16

_VISIBLE_ASCII = re.compile(r"[!-~]{1,128}")

# UUIDs; else letters and digits alone, where an IP address has no place, without the digits of an IMSI or a phone number.
_RANDOM = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|(?![0-9A-Za-z]*[0-9]{10})[0-9A-Za-z]{16,64}")

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]*)?")


def taken_or_made(values: Sequence[str]) -> str:
    """Take the one `X-Request-Id` of a request if it may be echoed, else make one of 32 hexadecimal digits."""
    if len(values) == 1 and _VISIBLE_ASCII.fullmatch(values[0]):
        return values[0]
    return f"{random.getrandbits(128):032x}"  # to differ, not to be secret; seeded anew in each fork


def loggable(taken: str) -> str:
    """Give an id that a client chose as the log may hold it: itself when it looks random, else `sha256:` and a digest."""
    if _RANDOM.fullmatch(taken) is not None:
        return taken
    return "sha256:" + hashlib.sha256(taken.encode()).hexdigest()[:DIGEST_CHARACTERS]


def trace_id(values: Sequence[str]) -> str | None:
    """Read the trace id of the one `traceparent`; `None` when there is none that holds to the rules."""
    if len(values) != 1 or (match := _TRACEPARENT.fullmatch(values[0])) is None:
        return None
    if values[0].startswith("00") and len(values[0]) != 55:
        return None  # version 00 has four fields and nothing behind them
    return match[1]
