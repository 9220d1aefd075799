"""The public HTTP vectors: Http11Probe's MUST level case by case, and every vector in pieces and behind real proxies.

Behind a proxy the property is not what the client gets, which is the proxy's affair, but that the service reads what the
proxy forwarded as the proxy meant it: as many requests, these targets and bodies, one answer each.

`make conformance` takes every vector and every cut; `make test` a part of them.
"""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from regionresolver.service.protocol import Memory
from regionresolver.settings import Settings
from tests import proxies
from tests.http_service import LOOPBACK, Service, parse_answer, running
from tests.paths import SHARED
from tests.proxies import free_port
from tests.test_lane import unchanging, written
from tests.vectors import Probe, probes, vectors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from regionresolver import Resolver

pytestmark = pytest.mark.skipif(SHARED is None, reason="the public HTTP vectors are not here")

ALL = "REGIONRESOLVER_ALL_VECTORS" in os.environ
CUT_EVERY = 1 if ALL else 23
PROBE = b"GET /version HTTP/1.1\r\nHost: a\r\nX-Request-Id: behind-it\r\n\r\n"
UNDERSTOOD = {"NOT_FOUND", "METHOD_NOT_ALLOWED", "BODY_NOT_JSON", "BODY_NOT_OBJECT", "NO_SIGNAL", "MEDIA_TYPE"}
"""Refusals of what is asked, not of how: the request was read as it was meant, and the next one is."""


# --- Http11Probe's MUST level

EXCEPTIONS = {
    "COMP-OPTIONS-STAR": "404: RFC 9112 (3.2.4) defines the form, and RFC 9110 (9.3.7) asks for no status; it is understood",
    "COMP-NO-CL-IN-204": "405: no path here answers 204, so there is none to carry a length",
}
"""Cases whose status is another one, and why RFC 9112 allows that."""


@dataclass(frozen=True)
class Outcome:
    """What one case got: the final status (None without an answer), its code, whether its connection ended, what came after."""

    status: int | None
    code: str
    closes: bool
    is_probe_answered: bool
    answer: bytes = field(repr=False)


def outcome(raw: bytes) -> Outcome:
    final = re.sub(rb"\AHTTP/1.1 1\d\d [^\r]*\r\n\r\n", b"", raw)
    if not final:
        return Outcome(None, "", closes=False, is_probe_answered=False, answer=raw)
    head = final.partition(b"\r\n\r\n")[0].lower()
    code = re.search(rb'"code":"(\w+)"', final)
    return Outcome(
        int(final.split(b" ", 2)[1]),
        code[1].decode() if code else "",
        closes=b"\r\nconnection: close" in head,
        is_probe_answered=b"X-Request-Id: behind-it\r\n" in final,
        answer=final,
    )


def is_refused(found: Outcome) -> bool:
    return found.status in {400, 501} and found.closes and not found.is_probe_answered and found.code not in UNDERSTOOD


def is_understood(found: Outcome) -> bool:
    """The request was read to its end: answered, and so is what came behind it, unless the answer ends the connection."""
    is_answered = found.status is not None and (found.status < 400 or found.code in UNDERSTOOD)
    return is_answered and (found.is_probe_answered or found.closes)


def never_ends(found: Outcome) -> bool:
    return found.status is None or is_refused(found)


EXPECTATIONS: dict[str, Callable[[Outcome], bool]] = {
    "Exact(400)": lambda found: found.status == 400 and is_refused(found),
    "Range2xx": is_understood,
    "400 or close": is_refused,
    "400/501 or close": is_refused,
    "400/501 or 2xx+close": lambda found: is_refused(found) or (is_understood(found) and found.closes),
    "400 or 2xx+close": lambda found: is_refused(found) or (is_understood(found) and found.closes),
    "400 or 2xx": lambda found: is_refused(found) or is_understood(found),
    "400/close/timeout": never_ends,
    "2xx + echo": is_understood,
    "2xx preferred; 400 warns": is_understood,
    "2xx (Range ignored)": is_understood,
    "2xx + close": lambda found: found.status == 200 and found.closes and not found.is_probe_answered,
    "2xx with Date header": lambda found: is_understood(found) and b"\r\ndate: " in found.answer.lower(),
    "2xx with no body": lambda found: found.answer.partition(b"\r\n\r\n")[2].startswith(b"HTTP/1.1 "),
    "405 + Allow header": lambda found: found.status == 405 and b"\r\nallow: " in found.answer.lower(),
    "!101": lambda found: found.status not in {None, 101},
    "non-101 (426 preferred)": lambda found: found.status not in {None, 101},
    "non-1xx response": lambda found: found.status is not None and found.answer.startswith(b"HTTP/1.1 4"),
    "204 without CL": is_understood,
    "Reject/drop (pass), normalize (fail), preserve (warn)": lambda found: is_refused(found) or is_understood(found),
}
"""Http11Probe's words -> what they come to here, where no path echoes a body and a POST of "hello" is a bad ping."""


def on_our_paths(raw: bytes) -> bytes:
    """Aim a case at a path that exists: the root is none here."""
    target = b"/v1/decisions" if raw.startswith(b"POST") else b"/livez"
    return re.sub(rb"\A([A-Z]+ )/(?:echo)?(?= )", rb"\1" + target, raw)


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "no-lane"])
async def test_the_must_level_of_http11probe(resolver: Resolver, *, lane: bool) -> None:
    must = [case for case in probes() if case.level == "Must"]
    assert len(must) == 96
    failed = []
    async with running(resolver, Settings(port=0, lane=lane)) as service:
        for case in must:
            for pieces in (False, True):
                behind = b"" if case.expected == "2xx + close" else PROBE
                found = outcome(await written(service, on_our_paths(case.raw) + behind, lane=lane, pieces=pieces))
                if not is_as_expected(case, found):
                    failed.append((case.name, case.expected, pieces, found))
    assert failed == [], "\n".join(map(str, failed))


def is_as_expected(case: Probe, found: Outcome) -> bool:
    if case.name in EXCEPTIONS:
        return is_understood(found) and str(found.status) == EXCEPTIONS[case.name].partition(":")[0]
    if case.expected == "400/close/timeout":
        return True  # what is behind it is its body: see the next test
    return EXPECTATIONS[case.expected](found)


async def test_a_case_that_never_ends_is_refused_or_timed_out(service: Service) -> None:
    names = []
    for case in probes():
        if case.level == "Must" and case.expected == "400/close/timeout":
            found = outcome(await written(service, on_our_paths(case.raw), lane=True))
            assert found.status in {None, 413} or is_refused(found), case
            names.append(case.name)
    assert len(names) == 3


# --- every vector, in pieces


def whole_vectors() -> Iterator[bytes]:
    """Give the vectors with their heads' ends, which smuggler's lack."""
    for raw in vectors(smuggler_every=1 if ALL else 60):
        yield raw if b"\r\n\r\n" in raw or b"\n\n" in raw else raw + b"\r\n\r\n"


async def test_a_vector_gets_the_same_answers_however_it_is_cut(service: Service) -> None:
    """Of a pipeline with a bad request aiohttp may drop valid answers, and more of them the more of it comes together."""
    different = []
    for number, raw in enumerate(whole_vectors()):
        if not ALL and number % 12:
            continue
        whole = await written(service, raw, lane=True)
        pieces = await written(service, raw, lane=True, pieces=True)
        expected = {known(whole), known(pieces)}
        for cut in range(1 + number % CUT_EVERY, len(raw), CUT_EVERY if len(raw) < 2000 else 500):
            found = known(await cut_in_two(service, raw, cut))
            if found not in expected and not is_between(found, known(pieces)):
                different.append((raw, cut, found))
    assert different == []


def known(raw: bytes) -> tuple[int, ...]:
    """Give the statuses of all answers."""
    return tuple(int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", raw))


def is_between(found: tuple[int, ...], pieces: tuple[int, ...]) -> bool:
    """Say whether an exchange is that of the single bytes, cut short by the refusal of what came behind."""
    return found[-1:] in {(400,), (431,), (501,)} and found[:-1] == pieces[: len(found) - 1] and len(found) <= len(pieces)


async def cut_in_two(service: Service, raw: bytes, cut: int) -> bytes:
    front = service.fronts.connect()
    transport = Memory(front)
    front.connection_made(transport)
    front.data_received(raw[:cut])
    await asyncio.sleep(0)
    if not transport.is_closing():
        front.data_received(raw[cut:])
    for _ in range(12):
        await asyncio.sleep(0)
    transport.close()
    await asyncio.sleep(0)
    return bytes(transport.written)


# --- behind proxies

NGINX = """
upstream service {{ server 127.0.0.1:{asked}; keepalive 8; }}
server {{
    listen 127.0.0.1:{port};
    client_header_timeout 1s;
    client_body_timeout 1s;
    keepalive_timeout 200ms;
    lingering_close off;
    location / {{
        proxy_pass http://service;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header X-Request-Id $request_id;
        proxy_request_buffering {buffering};
    }}
}}
"""
HAPROXY = """
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout http-request 1s
    timeout http-keep-alive 200ms
    timeout server 30s
    option http-keep-alive
    http-reuse always
frontend clients
    bind 127.0.0.1:{port}
    http-request set-header X-Request-Id %[uuid()]
    default_backend service
backend service
    server service 127.0.0.1:{asked}
"""
PROXIES: dict[str, tuple[Callable[[Path, str, int], AbstractContextManager[None]], str]] = {
    "nginx": (proxies.nginx, NGINX.replace("{buffering}", "on")),
    "nginx, streaming": (proxies.nginx, NGINX.replace("{buffering}", "off")),
    "haproxy": (proxies.haproxy, HAPROXY),
}


@dataclass
class Line:
    """What went over one connection between the proxy and the service."""

    asked: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)


@dataclass
class Wire:
    """Stands between the proxy and the service, hands on every byte, and keeps it; `pieces`: to the service byte by byte."""

    port: int
    pieces: bool
    lines: list[Line] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.ensure_future(self._carry(reader, writer)))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line()
        self.lines.append(line)
        service_reader, service_writer = await asyncio.open_connection(LOOPBACK, self.port)
        try:
            await asyncio.gather(
                self._copy(reader, service_writer, line.asked, pieces=self.pieces),
                self._copy(service_reader, writer, line.answered, pieces=False),
            )
        finally:
            for one in (service_writer, writer):
                one.close()
                with suppress(OSError):
                    await one.wait_closed()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, kept: bytearray, *, pieces: bool) -> None:
        with suppress(ConnectionError):
            while chunk := await source.read(65536):
                kept += chunk
                for piece in [chunk[at : at + 1] for at in range(len(chunk))] if pieces else [chunk]:
                    sink.write(piece)
                    await sink.drain()
                    if pieces:
                        await asyncio.sleep(0)
        with suppress(OSError, RuntimeError):
            sink.write_eof()


REFUSALS = {400, 408, 413, 417, 431, 501}


@dataclass(frozen=True)
class Forwarded:
    """One request as the proxy wrote it: proxies write their framing plainly, whatever the client's was."""

    id: str
    method: bytes
    target: bytes
    kind: tuple[bytes, ...]
    """Its Content-Type and Content-Encoding, as lines."""
    body: bytes
    is_whole: bool


def forwarded(raw: bytes) -> list[Forwarded]:
    """Read what a proxy forwarded on one connection."""
    found = []
    while (end := raw.find(b"\r\n\r\n")) >= 0:
        line, *lines = raw[:end].split(b"\r\n")
        method, target, version = line.split(b" ")
        assert version in {b"HTTP/1.0", b"HTTP/1.1"}
        headers = [(name.lower(), value.strip()) for name, _, value in (one.partition(b":") for one in lines)]
        named = dict(headers)
        raw, body, is_whole = raw[end + 4 :], b"", True
        if b"content-length" in named:
            length = int(named[b"content-length"])
            body, raw, is_whole = raw[:length], raw[length:], len(raw) >= length
        elif named.get(b"transfer-encoding") == b"chunked":
            body, raw, is_whole = dechunked(raw)
        kind = tuple(one for one in lines if one.lower().startswith((b"content-type:", b"content-encoding:")))
        found.append(Forwarded(named[b"x-request-id"].decode(), method, target, kind, body, is_whole))
    return found


def dechunked(raw: bytes) -> tuple[bytes, bytes, bool]:
    body = b""
    while (end := raw.find(b"\r\n")) >= 0:
        size = int(raw[:end].split(b";")[0], 16)
        if size == 0:
            _, separator, rest = raw[end:].partition(b"\r\n\r\n")
            return body, rest, bool(separator)
        if len(raw) < end + 2 + size + 2:
            break
        body, raw = body + raw[end + 2 : end + 2 + size], raw[end + 4 + size :]
    return body, b"", False


def final_answers(raw: bytes, requests: list[Forwarded]) -> list[tuple[str, int, bytes]]:
    """Read the service's answers on one connection: request id, status and body of each final one.

    A refusal that ends the connection has the status 0 and no body: it must be the last.
    """
    found: list[tuple[str, int, bytes]] = []
    while raw:
        head, separator, rest = raw.partition(b"\r\n\r\n")
        assert separator, "half an answer"
        assert not found or found[-1][1], "an answer behind the last one"
        assert head.startswith(b"HTTP/1.1 "), "bytes between answers"
        status = int(head[9:12])
        if status < 200:
            raw = rest
            continue
        headers = parse_answer(head + separator).headers
        asked = requests[len(found)] if len(found) < len(requests) else None
        is_head = asked is not None and asked.method == b"HEAD" and headers["x-request-id"] == asked.id
        if "transfer-encoding" in headers:
            body, rest, is_whole = dechunked(rest)
            assert is_whole
        else:
            length = 0 if is_head else int(headers.get("content-length", 0))
            assert len(rest) >= length, "half a body"
            body, rest = rest[:length], rest[length:]
        is_refusal = status in REFUSALS and headers.get("connection") == "close"
        found.append((headers["x-request-id"], status, body) if not is_refusal else (headers["x-request-id"], 0, b""))
        raw = rest
    return found


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        pytest.param(name, pieces, id=f"{name}, {'byte by byte' if pieces else 'whole'}")
        for name in PROXIES
        for pieces in (False, True)
        if ALL or pieces is (name == "haproxy")
    ],
)
async def test_behind_a_proxy_each_request_has_its_one_answer(
    resolver: Resolver, tmp_path: Path, name: str, *, pieces: bool
) -> None:
    async with running(resolver, Settings(port=0)) as service:
        async with behind(name, tmp_path, service, pieces=pieces) as (wire, port):
            turns, sent = asyncio.Semaphore(50 if pieces else 200), list(whole_vectors())[:: 1 if ALL else 3]
            await asyncio.gather(*(send(port, raw, turns) for raw in sent))
        seen, unanswered = 0, []
        for line in wire.lines:
            requests = forwarded(bytes(line.asked))
            answers = final_answers(bytes(line.answered), requests)
            assert len(answers) <= len(requests), "more answers than requests"
            for request, (identity, status, body) in zip(requests, answers, strict=False):
                assert status != 500
                if status:
                    seen += 1
                    assert identity == request.id
                    assert (status, unchanging(body)) == await alone(service, request), (request, bytes(line.asked))
            is_refused = bool(answers) and answers[-1][1] == 0  # and what came behind it with it
            unanswered += [request for request in requests[len(answers) :] if request.is_whole and not is_refused]
        assert seen > sum(not lacks_body(raw) for raw in sent) // 4
        assert unanswered == [], "forgotten requests"


def lacks_body(raw: bytes) -> bool:
    """Say whether a vector announces a body that does not come, as smuggler's do: a proxy waits for it, and forwards nothing."""
    return raw.endswith(b"\r\n\r\n") and re.search(rb"(?i)content-|transfer-", raw) is not None


async def alone(service: Service, request: Forwarded) -> tuple[int, bytes]:
    """Answer the request as the proxy meant it, written canonically, over a connection of its own."""
    lines = [b"%b %b HTTP/1.1" % (request.method, request.target), b"Host: a", b"X-Request-Id: " + request.id.encode()]
    lines += request.kind
    lines += [b"Content-Length: %d" % len(request.body)] if request.body else []
    raw = await written(service, b"\r\n".join([*lines, b"", b""]) + request.body, lane=False)
    ((_, status, body),) = final_answers(raw, [request])
    return status, unchanging(body)


@asynccontextmanager
async def behind(name: str, folder: Path, service: Service, *, pieces: bool) -> AsyncIterator[tuple[Wire, int]]:
    """Run a proxy in front of the service, and a wire between the two."""
    run, config = PROXIES[name]
    wire, port = Wire(service.port, pieces), free_port()
    server = await asyncio.start_server(wire.carry, LOOPBACK, 0)
    try:
        with run(folder, config.format(port=port, asked=server.sockets[0].getsockname()[1]), port):
            yield wire, port
        await asyncio.wait_for(asyncio.gather(*wire.tasks), 20)  # the wire's connections end with the proxy
    finally:
        server.close()


async def send(port: int, raw: bytes, turns: asyncio.Semaphore) -> None:
    """Send a vector to the proxy, and take what it answers until it closes or has nothing more to say."""
    async with turns:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        with suppress(ConnectionError):
            writer.write(raw)
            while True:
                try:
                    if not await asyncio.wait_for(reader.read(65536), 4):
                        break
                except TimeoutError:
                    break
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
