"""PLMNs and IMSIs: every encoding is read as the readable form reads it, and the trie finds the longest prefix."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from _fastpath import digit_trie
from _fastpath.digit_trie import DigitTrie, ParsedPlmn
from tests.fuzz.engine import Cursor, main
from tests.reference import plmn

if TYPE_CHECKING:
    from collections.abc import Iterator

Rows = tuple[tuple[str, int, bool], ...]

SHIPPED: Rows = (
    ("250", 1, False), ("25033", 2, True), ("25060", 3, False), ("255", 4, False), ("25506", 5, False), ("255061", 6, False),
    ("310", 7, False), ("310110", 8, False), ("901", 9, False), ("00101", 10, True), ("36801", 11, False), ("999999", 12, False),
)  # fmt: skip
ROWS = 24


def one(content: bytes) -> None:
    """Take the first byte as the encoding, and the rest as what was sent."""
    cursor = Cursor(content)
    kind = cursor.number(1)
    body = cursor.rest()
    if kind < 96:
        check_text(body, allow_imsi=bool(kind & 1), allow_mcc=bool(kind & 2))
    elif kind < 128:
        check_pair(body)
    elif kind < 192:
        check_octets(body)
    else:
        check_rows(body)


def same(parsed: ParsedPlmn | None, expected: tuple[str, bool] | None, what: object) -> None:
    """Hold a parsed PLMN to (digits, whether they end where the MNC does)."""
    assert (parsed is None) == (expected is None), f"{what!r}: {parsed!r}, expected {expected}"
    if parsed is None or expected is None:
        return
    digits, mnc_known = expected
    assert parsed.digits == digits, f"{what!r}: {parsed!r}, expected {expected}"
    assert (parsed.mcc, parsed.mnc) == (digits[:3], digits[3:] if mnc_known else None), f"{what!r}: {parsed!r}"
    assert trie(SHIPPED).match(parsed) == plmn.longest_prefix(SHIPPED, digits, mnc_known=mnc_known), f"{what!r}"


@cache
def trie(rows: Rows) -> DigitTrie:
    return DigitTrie(rows)


def check_text(body: bytes, *, allow_imsi: bool, allow_mcc: bool) -> None:
    for encoding in ("latin-1", "utf-8", "utf-16-le"):
        text = body.decode(encoding, "replace")
        parsed = digit_trie.parse_plmn(text, allow_imsi=allow_imsi, allow_mcc=allow_mcc)
        same(parsed, plmn.read_text(text, allow_imsi=allow_imsi, allow_mcc=allow_mcc), text)


def check_pair(body: bytes) -> None:
    mcc, _, mnc = body.decode("latin-1").partition("/")
    expected = plmn.read_text(f"{mcc}-{mnc}") if len(mcc) == 3 else None
    same(digit_trie.parse_pair(mcc, mnc), expected, (mcc, mnc))


def nibbles_of(octets: bytes) -> str:
    return "".join(f"{octet & 15:x}{octet >> 4:x}" for octet in octets)


def digits_of(mcc: str, mnc: str) -> tuple[str, bool] | None:
    """Judge nibbles as digits; an F in the third place of the MNC has been taken off."""
    return (mcc + mnc, True) if (mcc + mnc).isdecimal() else None


def check_octets(body: bytes) -> None:
    """Read octets as a PLMN in both orders, and as EF_IMSI."""
    nibbles = nibbles_of(body)
    bcd = s1ap = imsi = None
    if len(body) == 3:
        bcd = digits_of(nibbles[:3], nibbles[4:6] + nibbles[3].removesuffix("f"))
        s1ap = digits_of(nibbles[:3], nibbles[3:].removeprefix("f"))
    if 2 <= len(body) <= 9 and 4 <= body[0] < len(body) and body[1] & 7 == 1:
        end = 2 * body[0] + 2 - (not body[1] & 8)
        digits, unused = nibbles[3:end], nibbles[end:]
        imsi = (digits[:6], False) if digits.isdecimal() and not unused.strip("f") else None
    same(digit_trie.parse_bcd(body), bcd, body)
    same(digit_trie.parse_s1ap(body), s1ap, body)
    same(digit_trie.parse_ef_imsi(body), imsi, body)


def check_rows(body: bytes) -> None:
    """Build a trie of made-up rows, which may be bad, and ask it for every row and its neighbours."""
    cursor = Cursor(body)
    rows: list[tuple[str, int, bool]] = []
    asked: list[str] = []
    for _ in range(ROWS):
        if not cursor:
            break
        number, form = cursor.number(3), cursor.number(1)
        digits = f"{number % 1_000_000:06}"[: (3, 5, 6, 6, 5, 4, 0, 2)[form & 7]]
        rows.append((digits, form >> 4 & 7 if form & 8 else 1 + form, bool(form & 128)))
        asked += [digits, digits[:5], f"{digits}000"[:6], digits[:3]]
    prefixes = [digits for digits, _, _ in rows]
    is_good = len(set(prefixes)) == len(prefixes) and all(
        len(digits) in {3, 5, 6} and value > 0 and (len(digits) == 5 or not exact) for digits, value, exact in rows
    )
    try:
        built = DigitTrie(rows)
    except ValueError:
        assert not is_good, f"refused: {rows}"
        return
    assert is_good, f"accepted: {rows}"
    for digits in asked:
        parsed = digit_trie.parse_plmn(digits, allow_mcc=True)
        assert parsed is not None
        expected = plmn.longest_prefix(rows, digits, mnc_known=parsed.mnc is not None)
        assert built.match(parsed) == expected, f"{digits} in {rows}"


def seeds() -> Iterator[bytes]:
    for text in ("36801", "368-01", "255 061", "255061", "250331234567890", "310", "368-", "٣٦٨٠١", "25-033", "2550612345678901"):
        yield from (bytes([kind]) + text.encode() for kind in range(4))
    yield from (b"\x60" + pair for pair in (b"368/01", b"255/061", b"36/801", b"368/", b"368/0101", b"368/-1"))
    for encoded in (plmn.encode_bcd("368", "01"), plmn.encode_bcd("255", "061"), plmn.encode_s1ap("255", "061")):
        yield b"\x80" + encoded
    yield from (b"\x80" + plmn.encode_ef_imsi(imsi) for imsi in ("255061234567890", "36801123456789", "3680112"))
    yield b"\xc0" + b"".join(int(digits).to_bytes(3, "big") + bytes([form]) for digits, form in (("250330", 0x84), ("255061", 2)))


if __name__ == "__main__":
    main("plmn", one, seeds, input_bytes=128, words=[b"250", b"25506", b"-", b" ", b"/", b"\xff", b"\x08\x29"])
