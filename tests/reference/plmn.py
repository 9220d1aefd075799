"""PLMNs the obvious way: what text is one, which prefix decides, and how each encoding writes one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def read_text(text: str, *, allow_imsi: bool = False, allow_mcc: bool = False) -> tuple[str, bool] | None:
    """Return (the leading digits, six at most; whether they end where the MNC does), None for what is no PLMN."""
    if re.fullmatch(r"[0-9]{3}[- ][0-9]{2,3}", text):
        return text[:3] + text[4:], True
    if re.fullmatch(r"[0-9]{5}", text):
        return text, True
    if re.fullmatch(r"[0-9]{6}", text) or (allow_mcc and re.fullmatch(r"[0-9]{3}", text)):
        return text, False
    if allow_imsi and re.fullmatch(r"[0-9]{7,15}", text):
        return text[:6], False
    return None


def longest_prefix(rows: Iterable[tuple[str, int, bool]], digits: str, *, mnc_known: bool) -> tuple[int, int]:
    """Return (value, number of digits) of the longest row that may speak for these digits, (0, 0) without one."""
    may_speak = [
        (len(prefix), value)
        for prefix, value, exact in rows
        if digits.startswith(prefix) and not (len(prefix) == 5 and (len(digits) != 5 if mnc_known else exact))
    ]
    length, value = max(may_speak, default=(0, 0))
    return value, length


def _octets(nibbles: str) -> bytes:
    """Pack hex digits two an octet, the first one low."""
    return bytes(int(high + low, 16) for low, high in zip(nibbles[::2], nibbles[1::2], strict=True))


def encode_bcd(mcc: str, mnc: str) -> bytes:
    """TS 24.008 10.5.1.3: the third digit of the MNC, or F, goes before the first two."""
    return _octets(mcc + (mnc[2:] or "f") + mnc[:2])


def encode_s1ap(mcc: str, mnc: str) -> bytes:
    """TS 36.413 9.2.3.8: the digits in their order; F stands before an MNC of two digits."""
    return _octets(mcc + mnc.rjust(3, "f"))


def encode_ef_imsi(imsi: str) -> bytes:
    """TS 31.102 4.2.2: length, then type and parity, then the digits; nine octets, filled with F."""
    odd = len(imsi) % 2
    body = _octets(("9" if odd else "1") + imsi + ("" if odd else "f"))
    return (bytes([len(body)]) + body).ljust(9, b"\xff")
