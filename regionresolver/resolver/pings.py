"""One ping's signals: from what a caller wrote to parsed signals, with a notice for each that cannot be used.

A malformed value spoils its own signal only (one bad field must not lock a phone); `strict` raises instead.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address

from _fastpath.address import Canonical, from_int, parse, parse_packed
from _fastpath.digit_trie import ParsedPlmn, parse_pair
from _fastpath.digit_trie import parse_plmn as parse_digits
from regionresolver.errors import InvalidAddressError, InvalidPlmnError, PlmnNotStringError
from regionresolver.model import Notice

AddressLike = str | bytes | int | IPv4Address | IPv6Address
PlmnLike = str | tuple[str, str] | Mapping[str, object]

MAX_FIELD_CHARACTERS = 256
"""Longest text of a field that is echoed or matched (id, device_id, sku): far above what back ends send."""


def parse_address(ip: object) -> Canonical | None:
    """Return the canonical address of text, packed bytes, an integer (IPv4 below 2**32) or an `ipaddress` object."""
    if isinstance(ip, str):
        return parse(ip)
    if isinstance(ip, bytes):
        return parse_packed(ip)
    if isinstance(ip, IPv4Address | IPv6Address):
        return parse_packed(ip.packed) if not getattr(ip, "scope_id", None) else None
    if isinstance(ip, int) and not isinstance(ip, bool) and 0 <= ip < 1 << 128:
        return from_int(ip, 4 if ip < 1 << 32 else 6)
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
    """The three signals after parsing: `None` where absent or invalid, and a notice for each invalid one."""

    __slots__ = ("home", "home_invalid", "ip", "ip_invalid", "notices", "serving", "serving_invalid")

    def __init__(self, ip: object, serving: object, sim: object, *, strict: bool) -> None:
        """Parse; with `strict` an invalid value raises InvalidAddressError or InvalidPlmnError."""
        self.notices: list[Notice] = []
        self.ip = None if ip is None else parse_address(ip)
        self.ip_invalid = ip is not None and self.ip is None
        if self.ip_invalid:
            if strict:
                raise InvalidAddressError("ip: not an IPv4 or IPv6 address", "/ip")
            self.notices.append(Notice("IP_INVALID", "/ip", "not an IPv4 or IPv6 address; the signal was not used"))
        self.serving = None if serving is None else parse_plmn(serving, "/serving", is_sim=False)
        self.serving_invalid = self._check(serving, self.serving, "serving", "five or six digits", strict=strict)
        self.home = None if sim is None else parse_plmn(sim, "/sim", is_sim=True)
        self.home_invalid = self._check(sim, self.home, "sim", "five or six digits, or an IMSI", strict=strict)

    def _check(self, given: object, parsed: object, field: str, form: str, *, strict: bool) -> bool:
        if given is None or parsed is not None:
            return False
        if strict:
            raise InvalidPlmnError(f"{field}: not a PLMN ({form})", f"/{field}")
        self.notices.append(Notice("PLMN_INVALID", f"/{field}", f"not a PLMN ({form}); the signal was not used"))
        return True


def parse_instant(value: object) -> dt.datetime | None:
    """Return an instant with its zone from a datetime or RFC 3339 text; None for anything else."""
    if isinstance(value, str) and len(value) <= MAX_FIELD_CHARACTERS:
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            return None
    return value if isinstance(value, dt.datetime) and value.tzinfo is not None else None
