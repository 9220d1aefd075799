"""Heads of requests: what `_fastpath.lane` accepts, h11 and llhttp read as the same requests.

And what it says never depends on how much of the bytes is there: a beginning is MORE or what the whole is.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from _fastpath.lane import scan_head
from tests.fuzz.engine import main
from tests.reference.http import Message, h11_messages, httptools_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Reader = Callable[[bytes], list[Message] | None]

READERS: tuple[Reader, ...] = (httptools_messages, h11_messages)
LINES = (
    b"Host: api.example.com", b"host:a", b"HOST: [::1]:8080", b"Host: 127.0.0.1:80 ", b"Host: a, b", b"Host:", b"Host: a b",
    b"Content-Length: 2", b"Content-Length: 0", b"content-length:\t2\t", b"Content-Length: +2", b"Content-Length: 02",
    b"Content-Length: 2, 2", b"Content-Length: 18446744073709551618", b"Content-Length: 9223372036854775807", b"Content-Length:",
    b"Content-Length : 2", b"Content_Length: 2", b"Transfer-Encoding: chunked", b"Transfer-Encoding:",
    b"transfer-encoding: identity",
    b"Transfer_Encoding: chunked", b"Connection: keep-alive", b"Connection: Keep-Alive", b"Connection: close",
    b"Connection: Upgrade",
    b"Connection: keep-alive, close", b"Connection:", b"Upgrade: websocket", b"Expect: 100-continue", b"Proxy-Connection: close",
    b"Content-Type: application/json", b"Content-Type: application/json; charset=utf-8", b"Content-Type: text/plain",
    b"Content-Type: application/x-ndjson", b"Prefer: return=minimal", b"Prefer: respond-async",
    b"Content-Encoding: gzip", b"X-Request-Id: abc-123", b"X-Request-Id: a b", b"X-Request-Id:", b"User-Agent: okhttp/4.12.0",
    b"Accept-Encoding: gzip", b"Accept: */*", b"X: a\tb  c ", b"X-\xc3\xa9: a", b"X: \xc3\xa9", b" folded", b"\tfolded",
    b": no name",
    b"no colon", b"Trailer: X", b"TE: trailers", b"Keep-Alive: 5", b"Cookie: a=b; c=d", b"X: " + b"v" * 300, b"Http2-Settings: x",
)  # fmt: skip
REQUEST_LINES = (
    b"GET /v1/resolve?ip=84.0.1.1 HTTP/1.1", b"POST /v1/decisions HTTP/1.1", b"GET /livez HTTP/1.1",
    b"HEAD /v1/resolve?ip=1 HTTP/1.1",
    b"POST /v1/decisions/batch HTTP/1.1", b"POST /v1/decisions/batch/ HTTP/1.1",
    b"GET /v1/resolve?ip=84.0.1.1 HTTP/1.0", b"GET  /v1/resolve?ip=1 HTTP/1.1", b"get /v1/resolve?ip=1 HTTP/1.1",
    b"GET /v1/resolve?ip=1 HTTP/1.1 ", b"GET /v1/resolve?ip=1", b"GET http://a/v1/resolve?ip=1 HTTP/1.1", b"OPTIONS * HTTP/1.1",
    b"CONNECT a:80 HTTP/1.1", b"PRI * HTTP/2.0", b"POST /v1/decisions?strict HTTP/1.1", b"GET /v1/resolve?\xc3\xa9 HTTP/1.1",
    b"GET /v1/resolve?ip=1#x HTTP/1.1", b"POST /v1/decisions\tHTTP/1.1", b"GET /v1/resolve? HTTP/1.1", b"GET\x00/ HTTP/1.1",
)  # fmt: skip
ENDS = (b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n", b"\r\n ", b"\x00\r\n")


def one(content: bytes, readers: Sequence[Reader] = READERS) -> None:
    """Scan the bytes as a pipeline of requests, and beginnings of it."""
    accepted: list[Message] = []
    at = 0
    while at < len(content):
        outcome, _, route, head_bytes, body_bytes, query, _ = scan_head(content[at:])
        end = at + head_bytes + body_bytes
        if outcome not in {"canonical", "odd"} or end > len(content):
            break
        method, target, _ = content[at:end].split(b" ", 2)
        message = Message(method, target, (), content[at + head_bytes : end])
        if outcome == "odd":
            check_odd(content[at:end], message, readers)
            break
        targets = {"resolve": b"/v1/resolve?" + (query or b""), "decisions": b"/v1/decisions", "batch": b"/v1/decisions/batch"}
        assert (method, target) == (b"GET" if route == "resolve" else b"POST", targets[route or ""])
        accepted.append(message)
        at = end
    for read in readers if at else ():
        found = bare(read(content[:at]))
        assert found == accepted, f"{read.__name__} reads {found} in {content[:at]!r}, the lane {accepted}"
    check_beginnings(content)


def bare(messages: list[Message] | None) -> list[Message] | None:
    return None if messages is None else [message._replace(headers=()) for message in messages]


def check_odd(content: bytes, message: Message, readers: Sequence[Reader]) -> None:
    """See that a request which is cut out for aiohttp ends there for the others, if they take it at all."""
    for read in readers:
        found = bare(read(content))
        assert found is None or found == [message], f"{read.__name__} reads {found} in {content!r}, cut out as {message}"


def check_beginnings(content: bytes) -> None:
    """Scan beginnings: each says MORE until the whole, or says what the whole says."""
    whole = scan_head(content)
    for end in {0, 1, len(content) // 3, len(content) // 2, len(content) - 1, whole[3] - 1, whole[3]}:
        if 0 <= end < len(content):
            found = scan_head(content[:end])
            same = (found[0], found[2:]) == (whole[0], whole[2:])
            assert found[0] == "more" or same, f"{content[:end]!r}: {found}, then {whole}"
            assert end != whole[3] or end == 0 or found == whole, f"{content!r}: {found}, and with more behind it {whole}"


def made(rng: random.Random) -> bytes:
    """Make a request or a pipeline of some, mostly of the grammar."""
    pieces = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        line = REQUEST_LINES[rng.randrange(2)] if rng.random() < 0.85 else rng.choice(REQUEST_LINES)
        lines = [LINES[rng.randrange(4)]] if rng.random() < 0.95 else []
        if line.startswith(b"POST") and rng.random() < 0.95:
            lines.append(LINES[7 + 2 * (rng.random() < 0.3)])
        usual = (b"User-Agent: okhttp/4.12.0", b"Accept-Encoding: gzip", b"Connection: Keep-Alive", b"X-Request-Id: abc-123")
        lines += [rng.choice(LINES) if rng.random() < 0.08 else rng.choice(usual) for _ in range(rng.randrange(4))]
        rng.shuffle(lines)
        end = b"\r\n" if rng.random() < 0.9 else rng.choice(ENDS)
        head = b"".join(written + (end if rng.random() < 0.2 else b"\r\n") for written in [line, *lines])
        pieces.append(head + b"\r\n" + (b"{}" if line.startswith(b"POST") else b""))
    return b"".join(pieces)


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Change, put in, take out or double a byte or a few."""
    changed = bytearray(content)
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
        at = rng.randrange(len(changed) + 1)
        how = rng.randrange(4)
        if how == 0:
            changed[at:at] = bytes([rng.choice((rng.randrange(256), *b"\r\n\t :,;\x00\x0b\x0c\x7f\x80\xff"))])
        elif how == 1:
            del changed[at : at + rng.randrange(1, 4)]
        elif how == 2 and at < len(changed):
            changed[at] = rng.randrange(256)
        else:
            changed[at:at] = changed[at : at + rng.randrange(1, 40)]
    return bytes(changed)


def seeds() -> Iterator[bytes]:
    rng = random.Random(3)
    yield from (made(rng) for _ in range(60))
    yield from (REQUEST_LINES[1] + b"\r\n" + line + b"\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}" for line in LINES)
    yield from (line + b"\r\nHost: a\r\n\r\n" for line in REQUEST_LINES)


if __name__ == "__main__":
    main("lane", one, seeds, input_bytes=1024, words=[*LINES, *REQUEST_LINES, b"\r\n", b"\r\n\r\n", b"\n", b"\r", b": "])
