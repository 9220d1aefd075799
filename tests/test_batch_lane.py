"""Batches in the lane: the answers are aiohttp's, however the bytes come and whatever stands around them."""

from __future__ import annotations

import asyncio
import random
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import orjson
import pytest

from _fastpath.lane import scan_head
from regionresolver.service import batch_lane, protocol
from regionresolver.service.batch_answers import HELD_BYTES, MOST_PINGS
from regionresolver.service.protocol import Place
from regionresolver.settings import Settings
from tests.http_service import LOOPBACK, Service, parse_answer, running
from tests.test_lane import GET, ID, LAST, ODD, POST, in_aiohttp, in_lane, in_memory, pair, until

if TYPE_CHECKING:
    from regionresolver import Resolver

__all__ = ["pair"]

LINES = b"Content-Type: application/x-ndjson\r\n"
ARRAY = b"Content-Type: application/json\r\n"
MINIMAL = b"Prefer: return=minimal\r\n"
CUBAN = b'{"id":"p","serving":"36801"}'
SPANIARD = b'{"serving":"21401","lang":"es"}'
ODD_PINGS = [
    b'{"id":"\\u0041","serving":36801}', b"{}", b"1", b'{"ip":"bad"}', b'{"id":"\xc3\xa9","serving":"21401"}', b"x" * 17_000,
]  # fmt: skip


def batch(body: bytes, lines: bytes) -> bytes:
    head = b"POST /v1/decisions/batch HTTP/1.1\r\nHost: a\r\n" + ID + lines
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


BODIES = [
    b"", b" ", b"\n", CUBAN, CUBAN + b"\n", b"\n".join([CUBAN, SPANIARD, *ODD_PINGS, b" \t\r", CUBAN]),
    b"[]", b"[", b"[ ]x", b"[1,]",
    b"[" + b",".join([CUBAN, SPANIARD, *ODD_PINGS[:-1]]) + b"]", b" [\n" + CUBAN + b" ,\t" + SPANIARD + b" ]\r\n",
    b"[" + b",".join([ODD_PINGS[-1], SPANIARD]) + b"]", b"[{]", b'["', b"[" + CUBAN + b" " + CUBAN + b"]",
]  # fmt: skip
REQUESTS = [batch(body, kind + more) for body in BODIES for kind in (LINES, ARRAY) for more in (b"", MINIMAL)]
OTHERS = [
    batch(CUBAN, b""),
    batch(CUBAN, LINES.replace(b"\r\n", b"; charset=UTF-8\r\n")),
    batch(CUBAN, LINES + b"Prefer: return=representation\r\n"),
    batch(CUBAN, LINES + MINIMAL + MINIMAL),
    batch(CUBAN, b"Content-Type: text/plain\r\n"),
    batch(CUBAN, LINES + b"Content-Encoding: gzip\r\n"),
    batch(CUBAN, LINES).replace(b"batch HTTP", b"batch?explain=full HTTP"),
    batch(CUBAN, LINES).replace(b"batch HTTP", b"batch?strict HTTP"),
    batch(CUBAN, LINES).replace(b"POST", b"GET"),
]


def joined(raw: bytes) -> bytes:
    """Join the chunks of every answer: how large they are depends on how the bytes come."""
    out, rest = [], raw
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        out.append(head + b"\r\n\r\n")
        if b"Transfer-Encoding: chunked" not in head:
            found = re.search(rb"Content-Length: (\d+)", head)
            length = int(found[1]) if found else 0
            out.append(rest[:length])
            rest = rest[length:]
            continue
        size = -1
        while size:
            line, _, rest = rest.partition(b"\r\n")
            size = int(line, 16)
            out.append(rest[:size])
            assert rest[size : size + 2] == b"\r\n"
            rest = rest[size + 2 :]
    return b"".join(out)


async def test_both_ways_give_the_same_bytes(pair: tuple[Service, Service]) -> None:
    with_lane, without = pair
    for request in [*REQUESTS, *OTHERS]:
        found = joined(await in_lane(with_lane, [request, LAST]))
        assert found == joined(await in_aiohttp(without, [request, LAST])), request
        assert found.count(b"HTTP/1.1 ") == 2
    assert with_lane.fronts.batches > 40
    assert without.fronts.batches == 0


async def test_every_segmentation_gives_the_same_bytes(service: Service) -> None:
    for request in REQUESTS:
        raw = request + LAST
        whole = joined(await in_lane(service, [raw]))
        step = max(len(raw) // 40, 1)
        for cut in range(1, len(raw), step):
            assert joined(await in_lane(service, [raw[:cut], raw[cut:]])) == whole, (request, cut)
        if len(raw) < 600:
            assert joined(await in_lane(service, [raw[at : at + 1] for at in range(len(raw))])) == whole, request


async def test_batches_in_a_pipeline_keep_their_order(pair: tuple[Service, Service]) -> None:
    with_lane, without = pair
    last = await in_aiohttp(without, [LAST])
    rng = random.Random(8)
    requests = [*rng.sample(REQUESTS, 16), *OTHERS[:3], GET, POST, ODD]
    requests = [request.replace(b"the-id", b"id-%d" % number) for number, request in enumerate(requests)]
    alone = {request: joined((await in_aiohttp(without, [request, LAST])).removesuffix(last)) for request in requests}
    for _ in range(15):
        order = rng.sample(requests, len(requests))
        raw = b"".join(order) + LAST
        cuts = sorted(rng.randrange(len(raw)) for _ in range(rng.randrange(12)))
        pieces = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
        found = joined(await in_lane(with_lane, pieces))
        assert found == b"".join(alone[request] for request in order) + last


@pytest.mark.parametrize("minimal", [b"", MINIMAL])
@pytest.mark.parametrize("count", [3000, MOST_PINGS, MOST_PINGS + 1])
async def test_long_batches(pair: tuple[Service, Service], count: int, minimal: bytes) -> None:
    with_lane, without = pair
    pings = [b'{"id":"%d","serving":"21401","ip":"84.0.%d.%d"}' % (n, n >> 8 & 255, n & 255) for n in range(count)]
    for raw in (batch(b"[" + b",".join(pings) + b"]", ARRAY + minimal), batch(b"\n".join(pings), LINES + minimal)):
        pieces = [raw[at : at + 100_000] for at in range(0, len(raw), 100_000)]
        assert joined(await in_lane(with_lane, [*pieces, LAST])) == joined(await in_aiohttp(without, [*pieces, LAST]))


async def test_an_array_with_a_long_answer_comes_in_chunks(service: Service) -> None:
    pings = [b'{"id":"%s","serving":"36801","lang":"es"}' % (b"x" * 240)] * MOST_PINGS
    raw = await in_lane(service, [batch(b"[" + b",".join(pings) + b"]", ARRAY), LAST])
    answer = joined(raw)
    body = answer.partition(b"\r\n\r\n")[2].partition(b"HTTP/1.1")[0]
    assert (b"Transfer-Encoding: chunked" in raw) == (len(body) > HELD_BYTES)
    assert len(orjson.loads(body)["results"]) == MOST_PINGS


def test_the_head_of_a_batch() -> None:
    for lines, expected in ((LINES, "canonical"), (ARRAY + MINIMAL, "canonical"), (LINES + b"Prefer: x\r\n", "odd")):
        raw = batch(b"[]", lines)
        assert scan_head(raw)[:3:2] == (expected, "batch")
        for end in range(raw.index(b"\r\n\r\n") + 3):
            assert scan_head(raw[:end])[0] == "more"


async def test_an_array_beyond_the_limit_goes_to_aiohttp(resolver: Resolver) -> None:
    async with running(resolver, Settings(port=0, batch_body_limit_bytes=1000)) as service:
        answer = parse_answer(await in_lane(service, [batch(b"[" + b" " * 1000, ARRAY), LAST]))
        assert (answer.status, answer.document["code"]) == (413, "BODY_TOO_LARGE")
        assert service.fronts.lane.counts()[1]["length"] == 1
        assert (await in_lane(service, [batch(b"\n" * 2000, LINES), LAST])).count(b"HTTP/1.1 200") == 2
        assert service.fronts.batches == 1


async def test_others_have_their_turn(service: Service) -> None:
    """No turn of the loop takes much longer than a slice, of the processor's time."""
    front, transport = in_memory(service)
    front.data_received(batch((SPANIARD + b"\n") * 60_000, LINES))
    turns, longest_s, last = 0, 0.0, time.thread_time()
    while not transport.written.endswith(b"0\r\n\r\n"):
        await asyncio.sleep(0)
        turns, longest_s, last = turns + 1, max(longest_s, time.thread_time() - last), time.thread_time()
    assert turns > 3
    assert longest_s < 0.02


async def test_a_client_that_does_not_read_is_not_read_from(service: Service) -> None:
    front, transport = in_memory(service)
    raw = batch(b"", LINES).replace(b"Content-Length: 0", b"Content-Length: 100000000")
    front.data_received(raw)
    front.pause_writing()
    front.data_received((SPANIARD + b"\n") * 1000)
    for _ in range(10):
        await asyncio.sleep(0)
    assert (transport.is_paused, bytes(transport.written)) == (True, b"")
    front.resume_writing()
    await until(lambda: transport.written.count(b'"allow"') == 1000)
    assert transport.is_paused is False
    front.connection_lost(None)
    assert service.state.page.in_flight == 0


@pytest.mark.parametrize("kind", [LINES, ARRAY])
async def test_a_client_that_goes_ends_the_work(service: Service, monkeypatch: pytest.MonkeyPatch, kind: bytes) -> None:
    monkeypatch.setattr(batch_lane, "SLICE_S", 0.0)  # or a fast machine is through before the client goes
    front, transport = in_memory(service)
    body = b"[" + b",".join([SPANIARD] * MOST_PINGS) + b"]" if kind == ARRAY else (SPANIARD + b"\n") * 100_000
    front.data_received(batch(body, kind))
    await asyncio.sleep(0)
    assert service.state.page.in_flight == 1
    front.connection_lost(ConnectionResetError())
    said = len(transport.written)
    for _ in range(5):
        await asyncio.sleep(0)
    assert (service.state.page.in_flight, len(transport.written)) == (0, said)


@pytest.fixture
def _quick_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "TICK_S", 0.05)


@pytest.mark.usefixtures("_quick_ticks")
@pytest.mark.parametrize(
    ("kind", "begun", "detail"),
    [(LINES, CUBAN, "no byte of the body came"), (ARRAY, b"[" + CUBAN, "a body must arrive"), (LINES, CUBAN + b"\n", None)],
)
async def test_a_writer_that_stops(resolver: Resolver, kind: bytes, begun: bytes, detail: str | None) -> None:
    async with running(resolver, Settings(port=0, body_timeout_s=0.2)) as service:
        for before in (b"", GET):
            raw = await service.exchange(before + batch(begun + b" " * 50, kind)[:-50])
            answer = parse_answer(raw)
            if before:
                raw, answer = answer.rest, parse_answer(answer.rest)
            if detail is None:
                assert raw.count(b'"deny"') == 1
                assert b"complete" not in raw
                assert not raw.endswith(b"0\r\n\r\n")
            else:
                assert (answer.status, answer.document["code"]) == (408, "REQUEST_TIMEOUT")
                assert detail in str(answer.document["detail"])
        assert service.state.page.in_flight == 0


@pytest.mark.usefixtures("_quick_ticks")
async def test_a_reader_that_stops_is_cut(resolver: Resolver) -> None:
    async with running(resolver, Settings(port=0, body_timeout_s=0.2)) as service:
        front, transport = in_memory(service)
        front.data_received(batch(b"", LINES).replace(b"Length: 0", b"Length: 100000"))
        front.pause_writing()
        front.data_received(CUBAN + b"\n")
        await until(transport.is_closing)
        assert front._place is Place.ENDED


async def test_a_fault_is_answered_by_aiohttp_or_cut(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("regionresolver.service.batch_answers.BatchAnswers", lambda *_: type("X", (), {"lines": broken})())
    monkeypatch.setattr("regionresolver.service.batch_answers.read_array", broken)
    raw = await in_lane(service, [batch(b"[]", ARRAY), LAST])
    assert parse_answer(raw).status == 500
    front, transport = in_memory(service)
    front.data_received(batch(CUBAN + b"\n", LINES))
    assert (transport.is_closing(), bytes(transport.written)) == (True, b"")
    assert service.state.page.in_flight == 0


@pytest.mark.parametrize("chunked", [True, False])
async def test_an_endless_stream_is_cut_when_its_time_is_over(resolver: Resolver, *, chunked: bool) -> None:
    """Of `shutdown_timeout_s` there is one for the whole end, not one for each way to wait."""
    coding = b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Content-Length: 1000000000\r\n\r\n"
    line = CUBAN.replace(b"36801", b"21401") + b"\n"
    piece = b"%x\r\n%s\r\n" % (len(line), line) if chunked else line

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST /v1/decisions/batch HTTP/1.1\r\nHost: a\r\n" + LINES + coding)
        with suppress(ConnectionError):
            while True:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.01)

    async with running(resolver, Settings(port=0, shutdown_timeout_s=0.5)) as service:
        reader, writer = await asyncio.open_connection(LOOPBACK, service.port)
        sending = asyncio.create_task(send(writer))
        await reader.readuntil(b"allow")
        began = time.monotonic()
    assert 0.5 <= time.monotonic() - began < 1.0
    with suppress(ConnectionError):
        assert b"complete" not in await reader.read()
    sending.cancel()
    writer.close()


async def test_a_batch_in_hand_is_finished_at_the_end(resolver: Resolver) -> None:
    raw = batch((SPANIARD + b"\n") * 10, LINES)
    async with running(resolver, Settings(port=0, shutdown_timeout_s=5)) as service:
        reader, writer = await asyncio.open_connection(LOOPBACK, service.port)
        writer.write(raw[:-100])
        await reader.readuntil(b"allow")
        asyncio.get_running_loop().call_later(0.1, writer.write, raw[-100:])
    answer = await reader.read()
    assert answer.endswith(b'"complete":true}\n\r\n0\r\n\r\n')
    writer.close()
