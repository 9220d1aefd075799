"""Pings: whatever the bytes, `_fastpath.ping` declines them or reads what the service's own Python reads."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from _fastpath import ping
from tests.fuzz.engine import main
from tests.reference import pings

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESSES = ("84.0.1.1", "2a02:10::1", "::ffff:84.0.1.1", "10.0.0.1", "1.2.3.04", "nonsense", "", "1.2.3.0/24")
PLMNS = ("36801", "368-01", "368 01", "368019876543210", "310410", "25034", "1", "", "36-801")
TEXTS = ("M2101K7AG", "DE", "h:9c1e", "", "x" * 256, "a b~!#$%&'()*+,-./:;<=>?@[]^_`{|}")
INSTANTS = (
    "2021-06-01T00:00:00Z", "2020-02-29T23:59:59.5Z", "2021-02-29T00:00:00Z", "0001-01-01T00:00:00.123456Z",
    "9999-12-31T23:59:59Z", "2021-06-01T00:00:00.1234567Z", "2021-06-01T24:00:00Z", "2021-13-01T00:00:00Z",
    "2021-06-01T00:00:00+02:00", "1969-12-31T23:59:59.999999Z", "2100-02-29T00:00:00Z", "2000-02-29T00:00:00Z",
)  # fmt: skip
VALUES = ("null", "true", "false", "0", "-1", "01", "1.5", "1.", "1e3", "123456789012345", "1234567890123456", '"\\u0041"',
          '"\u00e9"', "[]", "{}", '{"a":1}', '"', "nul", "-", '"a"')  # fmt: skip
FIELDS = ("ip", "serving", "sim", "sku", "sold_in", "device_id", "first_activated_at", "lang", "id", "other", "another", "i", "")
BEHIND = tuple(piece * 80 for piece in (b'"', b"}", b"\n", b'","ip":"84.0.1.1"}', b" ", b"\\"))
BLANKS = ("", "", "", " ", "\n", "\t \r\n", "\v")


def one(content: bytes) -> None:
    """Read the bytes as a query and as a body."""
    for read, reference in ((ping.read_query, pings.query_read), (ping.read_json, pings.json_read)):
        found = read(content)
        if found is not None:
            expected = reference(content)
            assert found == expected, f"{read.__name__} {content!r}: {found}, and Python says {expected}"
    alone = ping.read_json(content)
    for behind in BEHIND:
        assert ping.read_json(content, behind) == alone, f"{content!r}: what stands behind it makes a difference"


def made_body(rng: random.Random) -> bytes:
    """Make a body that is mostly as clients write it."""

    def blank() -> str:
        return rng.choice(BLANKS[:4] if rng.random() < 0.99 else BLANKS)

    def value(field: str) -> str:
        if rng.random() < 0.05:
            return rng.choice(VALUES)
        if field in {"serving", "sim"} and rng.random() < 0.25:
            parts = [f'{blank()}"mcc"{blank()}:{blank()}"{rng.choice(("368", "250", "1", ""))}"{blank()}',
                     f'"mnc":"{rng.choice(("01", "060", "x", ""))}"']  # fmt: skip
            rng.shuffle(parts)
            if rng.random() < 0.1:
                parts.append(rng.choice((parts[0], '"x":1', "")))
            return "{" + ",".join(parts) + "}"
        texts = {"ip": ADDRESSES, "serving": PLMNS, "sim": PLMNS, "first_activated_at": INSTANTS}.get(field, TEXTS)
        return f'"{rng.choice(texts)}"'

    fields = rng.sample(FIELDS, rng.randrange(1, 7)) + rng.choices(FIELDS, k=rng.random() < 0.1)
    members = (f'{blank()}"{field}"{blank()}:{blank()}{value(field)}{blank()}' for field in fields)
    return ("{" + ",".join(members) + "}" + blank()).encode()


def made_query(rng: random.Random) -> bytes:
    """Make a query that is mostly as clients write it."""
    names = rng.sample(("ip", "serving", "sim"), rng.randrange(1, 4)) + rng.choices(("ip", "x", "strict"), k=rng.random() < 0.1)

    def escaped(text: str) -> str:
        rate = rng.choice((0.0, 0.0, 0.3, 1.0))
        return "".join(rng.choice((f"%{ord(c):02X}", f"%{ord(c):02x}")) if rng.random() < rate else c for c in text)

    pairs = (f"{name}={escaped(rng.choice(ADDRESSES if name == 'ip' else PLMNS))}".replace(" ", "+") for name in names)
    return "&".join(pairs).encode()


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Change, put in, take out or double a byte or a few."""
    changed = bytearray(content)
    for _ in range(rng.choice((0, 0, 1, 1, 2, 4))):
        at = rng.randrange(len(changed) + 1)
        how = rng.randrange(4)
        if how == 0:
            changed[at:at] = bytes([rng.choice((rng.randrange(256), *b'"\\{}[]:,%&=+ \x00\x7f\x80'))])
        elif how == 1:
            del changed[at : at + rng.randrange(1, 4)]
        elif how == 2 and at < len(changed):
            changed[at] = rng.randrange(256)
        else:
            changed[at:at] = changed[at : at + rng.randrange(1, 30)]
    return bytes(changed)


def seeds() -> Iterator[bytes]:
    rng = random.Random(5)
    for make in (made_body, made_query):
        yield from (make(rng) for _ in range(40))


if __name__ == "__main__":
    main(
        "ping",
        one,
        seeds,
        input_bytes=512,
        words=[*(f'"{field}":'.encode() for field in FIELDS), b"ip=", b"serving=", b"sim=", b"%3A", b"&", b'{"mcc":"', b'"mnc":"',
               b"null", b"true", b"\\u00", b"2021-06-01T00:00:00Z", b"84.0.1.1", b"36801"],
    )  # fmt: skip
