"""Addresses: whatever the bytes, `_fastpath.address` says what `ipaddress` and the literal registries say.

So does every implementation that this processor has, of single texts and of lines, whatever lies behind a text.
"""

from __future__ import annotations

import ipaddress
from array import array
from functools import lru_cache
from typing import TYPE_CHECKING

from _fastpath import address
from tests.fuzz.engine import main
from tests.reference import addresses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _fastpath.address import Canonical

TEXT_MAX = 45
READABLE = 64


def facts(canonical: Canonical | None) -> addresses.Expected | None:
    if canonical is None:
        return None
    return addresses.Expected(canonical.family, canonical.value, canonical.special, canonical.clothing)


@lru_cache(maxsize=1 << 12)
def expected_of(text: str | bytes) -> addresses.Expected | None:
    # `ipaddress` allows leading zeros without end in a group that fits; the longest text that is an address is 45.
    return addresses.parse(text) if len(text) <= TEXT_MAX else None


def one(content: bytes) -> None:
    """Read the bytes as text, in both forms of it, and as a packed address."""
    canonical = address.parse(content)
    assert facts(canonical) == expected_of(content), f"bytes {content!r}: {facts(canonical)}"
    for encoding in ("latin-1", "utf-8", "utf-16-le"):
        text = content.decode(encoding, "replace")
        assert facts(address.parse(text)) == expected_of(text), f"text {text!r}: {facts(address.parse(text))}"
    if canonical is not None:
        check_again(canonical)
    check_packed(content)
    lines = content.removesuffix(b"\n").split(b"\n") if content else []
    answers = [expected_of(line) for line in lines]
    for implementation in address.implementations():
        check_single(implementation, content)
        check_lines(implementation, content, lines, answers)


def check_again(canonical: Canonical) -> None:
    """Go through the canonical text and the integer once more; an address has no clothes by now."""
    plain = (ipaddress.IPv4Address if canonical.family == 4 else ipaddress.IPv6Address)(canonical.value)
    assert str(plain) == canonical.text == str(canonical)
    for again in (address.parse(canonical.text), address.from_int(canonical.value, canonical.family)):
        assert again is not None
        assert (again.family, again.value, again.special) == (canonical.family, canonical.value, canonical.special)
        assert again == canonical or canonical.clothing is not None
    cut = ipaddress.ip_network((plain, 24 if canonical.family == 4 else 48), strict=False)
    assert canonical.network_text == str(cut)


def check_packed(content: bytes) -> None:
    found = facts(address.parse_packed(content)) if len(content) in {4, 16} else None
    if len(content) not in {4, 16}:
        content = content[:16].ljust(16, b"\0")
        found = facts(address.parse_packed(content))
    assert found == addresses.canonical(ipaddress.ip_address(content)), f"packed {content.hex()}: {found}"


def exact(content: bytes) -> array[int]:
    """Copy bytes to where none is behind the last one, so that the sanitizer sees the first that is read too many."""
    return array("B", content) * 1


def check_single(implementation: str, content: bytes) -> None:
    """Read the bytes as one text, and as the beginning of a longer one."""
    expected = expected_of(content)
    assert facts(address.parse_with(implementation, exact(content))) == expected, f"{implementation}: {content!r}"
    for behind in (b"\0", b"1", b":", b"."):
        padded = exact(content + behind * READABLE)
        found = facts(address.parse_padded_with(implementation, padded, len(content)))
        assert found == expected, f"{implementation}: {content!r} before {behind!r}: {found}"


def check_lines(implementation: str, content: bytes, lines: list[bytes], answers: list[addresses.Expected | None]) -> None:
    """Read the bytes as lines, some of them and all."""
    text = exact(content)
    for limit in (3, len(lines) + 1):
        found, consumed = address.parse_lines_with(implementation, text, limit)
        assert list(map(facts, found)) == answers[:limit], f"{implementation}: {limit} lines of {content!r}: {found}"
        assert consumed == min(sum(len(line) + 1 for line in lines[:limit]), len(content)), f"{implementation}: {content!r}"
    counted = address.count_lines_with(implementation, text)
    assert counted == (len(lines), len(lines) - answers.count(None)), f"{implementation}: {content!r}: {counted}"


def seeds() -> Iterator[bytes]:
    texts = (
        "0.0.0.0", "255.255.255.255", "192.168.1.1", "1.2.3.04", "256.1.1.1", "1.2.3", "1.2.3.4.5", "::", "::1", "1::",
        "2001:db8::8:800:200c:417a", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "::ffff:1.2.3.4", "::1.2.3.4",
        "1:2:3:4:5:6:1.2.3.4", "2002:102:304::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "64:ff9b::8.8.8.8", "fe80::1%eth0",
        ":::", "1::2::3", "12345::", "g::", "0000:0000:0000:0000:0000:ffff:255.255.255.255", " 1.2.3.4", "1.2.3.4\n",
        "100::", "2001:2::", "3fff::", "5f00::", "fec0::", "ff02::1", "\N{FULLWIDTH DIGIT ONE}.2.3.4",
    )  # fmt: skip
    yield from (text.encode() for text in texts)
    yield "\n".join(texts[:12]).encode()
    yield "\n".join(texts[12:22]).encode() + b"\n"
    yield b"\n" * 70 + b"::1\n1.1.1.1\r\n"
    yield from (ipaddress.ip_address(text).packed for text in ("192.0.0.9", "2001:1::3", "::ffff:10.0.0.1"))


if __name__ == "__main__":
    main(
        "address",
        one,
        seeds,
        input_bytes=256,
        words=[b"::", b":", b".", b"ffff", b"2002", b"2001:0:", b"64:ff9b::", b"::ffff:", b"255", b"%", b"\0", b"\n"],
    )
