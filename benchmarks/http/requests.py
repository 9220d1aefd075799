"""What is asked: random global IPv4 addresses and real PLMNs, with the headers that okhttp sends. A fixed seed.

get         GET /v1/resolve, which the lane answers
post        POST /v1/decisions, the same
odd         get, but one in twenty asks for /version, which the lane leaves
slow_get    GET /v1/resolve/{ip}, which the lane leaves always
slow_post   POST /v1/decisions with an escape in its JSON: the same
"""

from __future__ import annotations

import json
import random
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

REQUESTS = 20_000
ODD_SHARE = 0.05
HEADERS = "Host: 127.0.0.1:8080\r\nConnection: Keep-Alive\r\nAccept-Encoding: gzip\r\nUser-Agent: okhttp/4.12.0\r\n"
PLMNS = ("26201", "20801", "36801", "25001", "25034", "310410", "46000", "40410", "72405", "62120", "43211", "41701")
DEVICES = 1 << 20


def cases() -> dict[str, list[bytes]]:
    """Make the requests of each case."""
    rng = random.Random(1)
    pings = make_pings(rng)
    targets = ["/v1/resolve?" + "&".join(f"{name}={value}" for name, value in ping.items()) for ping in pings]
    posts = [post(ping, rng) for ping in pings]
    return {
        "get": [get(target) for target in targets],
        "post": posts,
        "odd": [get("/version" if rng.random() < ODD_SHARE else target) for target in targets],
        "slow_get": [get(f"/v1/resolve/{ping['ip']}") for ping in pings],
        "slow_post": [escaped(one) for one in posts],
    }


def bodies() -> list[bytes]:
    """Give the pings of `post` alone."""
    return [one.partition(b"\r\n\r\n")[2] for one in cases()["post"]]


def make_pings(rng: random.Random) -> list[dict[str, str]]:
    """Make pings of random global IPv4 addresses, all with a SIM, half of them with a serving network."""
    found: list[dict[str, str]] = []
    while len(found) < REQUESTS:
        octets = [rng.randrange(1, 224), *(rng.randrange(256) for _ in range(3))]
        if octets[0] in {10, 127}:
            continue
        ping = {"ip": ".".join(map(str, octets)), "sim": rng.choice(PLMNS)}
        if rng.random() < 0.5:
            ping["serving"] = ping["sim"] if rng.random() < 0.8 else rng.choice(PLMNS)
        found.append(ping)
    return found


def get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\n{HEADERS}\r\n".encode()


def post(ping: dict[str, str], rng: random.Random) -> bytes:
    facts = {"id": f"{rng.getrandbits(64):016x}", "device_id": f"h:{rng.randrange(DEVICES):08x}", "sku": "M2101K7AG"}
    body = json.dumps(facts | ping | {"lang": "es"}, separators=(",", ":")).encode()
    lines = f"{HEADERS}Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
    return f"POST /v1/decisions HTTP/1.1\r\n{lines}\r\n".encode() + body


def escaped(request: bytes) -> bytes:
    """Write a letter of a ping as an escape, which says the same."""
    request = request.replace(_length(request, 0), _length(request, 5))
    return request.replace(b'"lang":"es"', b'"lang":"\\u0065s"')


def _length(request: bytes, more: int) -> bytes:
    return b"Content-Length: %d\r\n" % (len(request.partition(b"\r\n\r\n")[2]) + more)


def write(requests: Iterable[bytes], path: Path) -> None:
    """Write requests as `load.c` reads them."""
    path.write_bytes(b"".join(struct.pack("=I", len(request)) + request for request in requests))
