"""Connections that the lane reads itself: the same bytes as through a transport, and nobody reads twice or never."""

import asyncio
import random
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from regionresolver import Resolver
from regionresolver.service.protocol import Front, Place
from regionresolver.settings import Settings
from tests.http_service import LOOPBACK, Service, running
from tests.test_lane import GET, ID, LAST, ODD, POST, unchanging, until

BATCH = b"POST /v1/decisions/batch HTTP/1.1\r\nHost: a\r\n" + ID + b"Content-Length: 21\r\n\r\n" + b'[{"serving":"36801"}]'
FOREIGN = b"POST /v1/decisions HTTP/1.1\r\nHost: a\r\n" + ID + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"

Run = Callable[[Callable[[Service], Awaitable[None]]], None]


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest, resolver: Resolver) -> Run:
    """Run a scenario against a service, on either loop."""

    def on_a_service(scenario: Callable[[Service], Awaitable[None]]) -> None:
        async def serve() -> None:
            async with running(resolver) as service:
                await scenario(service)

        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(serve())

    return on_a_service


async def connect(service: Service) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Front]:
    """Connect, and have the connection read by the lane."""
    before = set(service.fronts.connections)
    reader, writer = await asyncio.open_connection(LOOPBACK, service.port)
    writer.write(GET)
    await answers(reader, 1)
    (front,) = service.fronts.connections - before
    assert is_read_here(front)
    return reader, writer, front


def is_read_here(front: Front) -> bool:
    return front.is_read_here


async def answers(reader: asyncio.StreamReader, count: int) -> bytes:
    """Read so many answers whose length is said."""
    found = b""
    for _ in range(count):
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        found += head + await asyncio.wait_for(reader.readexactly(length), 5)
    return found


def test_a_connection_is_read_by_the_lane_once_a_whole_segment_was_its(run: Run) -> None:
    async def scenario(service: Service) -> None:
        reader, writer = await asyncio.open_connection(LOOPBACK, service.port)
        writer.write(ODD)
        await answers(reader, 1)
        (front,) = service.fronts.connections
        assert not is_read_here(front)
        writer.write(GET + POST)
        await answers(reader, 2)
        assert is_read_here(front)
        writer.write(GET + ODD)
        await answers(reader, 2)
        assert is_read_here(front)
        unfinished = ODD.replace(ID, ID + b"Content-Length: 3\r\n")
        writer.write(GET + unfinished)
        await until(lambda: front._place is Place.SLOW_REQUEST)
        assert not is_read_here(front)
        writer.write(b"abc")
        await answers(reader, 2)
        assert not is_read_here(front)
        writer.write(GET[:30])
        await until(lambda: front._held == GET[:30])
        writer.write(GET[30:] + GET)
        await answers(reader, 2)
        writer.write(GET)
        await answers(reader, 1)
        assert is_read_here(front)
        writer.write(GET[:30])
        await until(lambda: front._held == GET[:30])
        assert is_read_here(front)
        writer.write(GET[30:])
        await answers(reader, 1)
        assert is_read_here(front)
        writer.write(FOREIGN)
        assert b" 422 " in await answers(reader, 1)
        assert (is_read_here(front), front._place) == (False, Place.SLOW_FOR_GOOD)
        writer.close()

    run(scenario)


def test_whoever_reads_the_bytes_are_the_same(run: Run) -> None:
    """Random pipelines, cut anywhere, on many connections at once: as a service gives them that has no lane."""
    rng = random.Random(5)

    async def ask(service: Service, pipeline: list[bytes]) -> bytes:
        reader, writer = await asyncio.open_connection(LOOPBACK, service.port)
        raw, at = b"".join(pipeline) + LAST, 0
        while at < len(raw):
            size = rng.choice((1, 7, 40, 300, 3000))
            writer.write(raw[at : at + size])
            at += size
            await asyncio.sleep(rng.choice((0, 0, 0.001)))
        found = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        return unchanging(found)

    async def scenario(service: Service) -> None:
        pipelines = [rng.choices((GET, GET, GET, POST, ODD, BATCH), k=rng.randint(1, 40)) for _ in range(60)]
        async with running(service.state.resolver, Settings(port=0, lane=False)) as other:
            expected = [await ask(other, pipeline) for pipeline in pipelines]
        found: list[bytes] = []
        for i in range(0, len(pipelines), 20):
            found += await asyncio.gather(*(ask(service, pipeline) for pipeline in pipelines[i : i + 20]))
        assert found == expected
        counted, _ = service.fronts.lane.counts()
        assert counted["resolve"] > 100

    run(scenario)


@pytest.mark.parametrize("method", [b"POST", b"GET"])
def test_a_body_for_aiohttp_may_let_the_transport_read_on(run: Run, method: bytes) -> None:
    """Also one that ends as a head does."""
    body = b'{"serving":"36801","id":7}\r\n\r\n'
    head = method + b" /v1/decisions HTTP/1.1\r\nHost: a\r\n" + ID + b"Content-Type: application/json\r\n"
    raw = head + b"Content-Length: %d\r\n\r\n" % len(body) + body

    async def scenario(service: Service) -> None:
        reader, writer, front = await connect(service)
        for _ in range(20):
            writer.write(raw)
            await answers(reader, 1)
            writer.write(GET)
            await answers(reader, 1)
            assert is_read_here(front)
        writer.close()

    run(scenario)


def test_more_than_is_received_at_once(run: Run) -> None:
    async def scenario(service: Service) -> None:
        reader, writer, front = await connect(service)
        writer.write(GET * 5000)
        found = await answers(reader, 5000)
        assert found.count(b'"region":"CU"') == 5000
        assert is_read_here(front)
        writer.close()

    run(scenario)


@pytest.mark.parametrize("behind", [b"", GET[:30]])
def test_an_end_behind_a_request_is_found(run: Run, behind: bytes) -> None:
    async def scenario(service: Service) -> None:
        reader, writer, _ = await connect(service)
        writer.write(GET + behind)
        writer.write_eof()
        found = await asyncio.wait_for(reader.read(), 5)
        assert found.count(b" 200 OK") == 1
        await until(lambda: not service.fronts.connections)
        writer.close()

    run(scenario)


def test_an_end_without_a_request_is_found(run: Run) -> None:
    async def scenario(service: Service) -> None:
        _, writer, _ = await connect(service)
        writer.close()
        await until(lambda: not service.fronts.connections)

    run(scenario)


def test_resets_are_found_and_their_descriptors_used_again(run: Run) -> None:
    async def scenario(service: Service) -> None:
        for _ in range(20):
            found = [await connect(service) for _ in range(8)]
            for _, writer, _ in found:
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.write(GET)
                writer.transport.abort()
            reader, writer, _ = await connect(service)
            writer.write(GET)
            await answers(reader, 1)
            writer.close()
        await until(lambda: not service.fronts.connections)

    run(scenario)


def test_a_fault_ends_one_connection_and_no_other(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(service: Service) -> None:
        broken, good = await connect(service), await connect(service)

        def fail(*_: object) -> None:
            raise RuntimeError("planted")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Front, "left_over", fail)
            broken[1].write(GET + ODD)
            good[1].write(GET)
            await answers(good[0], 1)
            await asyncio.wait_for(broken[0].read(), 5)
        assert service.fronts.connections == {good[2]}
        good[1].write(GET + ODD)
        await answers(good[0], 2)
        good[1].close()
        broken[1].close()

    run(scenario)
    assert [record.msg for record in caplog.records if "lane_failed" in record.getMessage()]


def test_a_client_that_does_not_read_is_not_read_from(run: Run) -> None:
    async def scenario(service: Service) -> None:
        reader, writer, front = await connect(service)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        sent = 0
        while not front.is_writing_paused and sent < 200_000:
            writer.write(GET * 1000)
            sent += 1000
            await asyncio.sleep(0.005)
        assert front.is_writing_paused
        assert not is_read_here(front)
        assert len(front._held) <= 256 * 1024
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert (await answers(reader, sent)).count(b" 200 OK") == sent
        writer.write(GET)
        await answers(reader, 1)
        assert is_read_here(front)
        writer.close()

    run(scenario)


def test_stopping_leaves_no_connection_behind(run: Run) -> None:
    async def scenario(service: Service) -> None:
        async with running(service.state.resolver) as other:
            found = [await connect(other) for _ in range(5)]
        for reader, writer, front in found:
            assert not is_read_here(front)
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
        assert not other.fronts.lane.is_open

    run(scenario)
