"""One ping's fields: from what a caller wrote to parsed ones, with a notice for each that cannot be used.

A malformed value spoils its own signal only (one bad field must not lock a phone); `strict` raises instead.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address

from _fastpath.digit_trie import ParsedPlmn, parse_pair
from _fastpath.digit_trie import parse_plmn as parse_digits
from _fastpath.engine import MAX_FIELD_CHARACTERS
from _fastpath.lookup import parse_address
from regionresolver.errors import InvalidAddressError, InvalidPlmnError, PlmnNotStringError
from regionresolver.model import Notice

AddressLike = str | bytes | int | IPv4Address | IPv6Address
PlmnLike = str | tuple[str, str] | Mapping[str, object]

# `date-time` of RFC 3339, section 5.6. `datetime.fromisoformat` takes much more: ISO 8601's weeks, basic forms and commas.
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


def parse_instant(text: str) -> dt.datetime | None:
    """Return the instant that RFC 3339 text names, None for any other text (and for a leap second, which has no datetime)."""
    if _RFC3339.fullmatch(text) is None or text[11:13] == "24":
        return None
    try:
        return dt.datetime.fromisoformat(text.upper())
    except ValueError:
        return None


def parse_plmn(value: object, pointer: str, *, is_sim: bool) -> ParsedPlmn | None:
    """Return the PLMN of a digit string, a pair or a mapping with `mcc` and `mnc`; of an IMSI only where `is_sim`.

    Raises PlmnNotStringError for a number: it has lost its leading zeros.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise PlmnNotStringError(f"{pointer[1:].replace('/', '.')}: got a number", pointer)
    if isinstance(value, str):
        return parse_digits(value, allow_imsi=is_sim)
    if isinstance(value, Mapping):
        for part in ("mcc", "mnc"):
            if isinstance(value.get(part), int | float) and not isinstance(value.get(part), bool):
                raise PlmnNotStringError(f"{pointer[1:]}.{part}: got a number", f"{pointer}/{part}")
        value = (value.get("mcc"), value.get("mnc"))
    if isinstance(value, tuple) and len(value) == 2:
        mcc, mnc = value
        if isinstance(mcc, str) and isinstance(mnc, str):
            return parse_pair(mcc, mnc)
    return None


class ParsedSignals:
    """The three signals of a ping after parsing.

    `parsed` holds, for the IP, the serving PLMN and the SIM's, what was parsed (None where absent or invalid) and
    whether it was given and is invalid.
    """

    __slots__ = ("parsed",)

    def __init__(self, ip: object, serving: object, sim: object, *, strict: bool) -> None:
        """Parse; with `strict` an invalid value raises InvalidAddressError or InvalidPlmnError."""
        address = None if ip is None else parse_address(ip)
        network = None if serving is None else parse_plmn(serving, "/serving", is_sim=False)
        home = None if sim is None else parse_plmn(sim, "/sim", is_sim=True)
        invalid = [given is not None and parsed is None for given, parsed in ((ip, address), (serving, network), (sim, home))]
        if strict and invalid[0]:
            raise InvalidAddressError("ip: not an IPv4 or IPv6 address", "/ip")
        if strict and invalid[1]:
            raise InvalidPlmnError("serving: not a PLMN (five or six digits)", "/serving")
        if strict and invalid[2]:
            raise InvalidPlmnError("sim: not a PLMN (five or six digits, or an IMSI)", "/sim")
        self.parsed = (address, invalid[0], network, invalid[1], home, invalid[2])


class Fields:
    """The fields of a ping that are no signal; one that cannot be used counts as missing and leaves a notice."""

    def __init__(self) -> None:
        """Begin without notices."""
        self.notices: list[Notice] = []

    def text(self, field: str, value: object) -> str | None:
        """Return a text of at most MAX_FIELD_CHARACTERS, None for anything else."""
        if value is None or (isinstance(value, str) and len(value) <= MAX_FIELD_CHARACTERS):
            return value
        self._refuse(field, f"not a text of at most {MAX_FIELD_CHARACTERS} characters")
        return None

    def instant(self, field: str, value: object) -> dt.datetime | None:
        """Return an instant with its zone from a datetime or RFC 3339 text, None for anything else."""
        if value is None:
            return None
        instant = value
        if isinstance(value, str) and len(value) <= MAX_FIELD_CHARACTERS:
            instant = parse_instant(value)
        if isinstance(instant, dt.datetime) and instant.tzinfo is not None:
            return instant
        self._refuse(field, "not an instant with a time zone (RFC 3339)")
        return None

    def _refuse(self, field: str, reason: str) -> None:
        self.notices.append(Notice("FIELD_INVALID", f"/{field}", f"{reason}; the field was not used"))
