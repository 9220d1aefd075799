"""Shedding: what is refused, what is spared, and that the connection lives on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from _fastpath.lane import Lane
from _fastpath.texts import Texts
from regionresolver import Resolver
from regionresolver.service import metrics
from regionresolver.service.overload import FULL_TICKS
from regionresolver.service.pages import Pages
from regionresolver.service.protocol import Memory, compose
from regionresolver.settings import Settings
from tests.http_service import Service, parse_answer, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from regionresolver.service.overload import Pressure

ODD = b"GET /v1/resolve/84.0.1.1 HTTP/1.1\r\nHost: a\r\n\r\n"
PLAIN = b"GET /v1/resolve?serving=36801 HTTP/1.1\r\nHost: a\r\n\r\n"
READY = b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"
POSTED = b'POST /v1/resolve HTTP/1.1\r\nHost: a\r\nContent-Length: 19\r\n\r\n{"serving":"36801"}'
LAST = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def resolver() -> Iterator[Resolver]:
    with Resolver.open() as opened:
        yield opened


@pytest_asyncio.fixture(params=[True, False], ids=["lane", "no lane"])
async def service(request: pytest.FixtureRequest, resolver: Resolver) -> AsyncIterator[Service]:
    async with running(resolver, Settings(port=0, lane=request.param, shed_lag_s=0.5)) as found:
        yield found


@pytest.fixture
def late(service: Service) -> Pressure:
    """The pressure of a loop that is late, and stays so."""
    pressure = service.fronts.pressure
    pressure.stop()
    pressure.lag_s = 1.0
    return pressure


def answers(raw: bytes) -> list[tuple[int, dict[str, str]]]:
    found = []
    while raw:
        answer = parse_answer(raw)
        found.append((answer.status, answer.headers))
        raw = answer.rest
    return found


async def test_a_late_loop_refuses_and_spares_what_operators_need(service: Service, late: Pressure) -> None:
    found = answers(await service.exchange(ODD + ODD + PLAIN + READY + LAST))
    plain = 200 if service.state.settings.lane else 503
    assert [status for status, _ in found] == [503, 503, plain, 503, 200]
    assert [headers.get("retry-after") for _, headers in found[:2]] == ["1", "1"]
    assert late.shed == (2 if plain == 200 else 3)
    late.lag_s = 0.0
    assert [status for status, _ in answers(await service.exchange(ODD + READY + LAST))] == [200, 200, 200]


async def test_readiness_tells_of_it(service: Service, late: Pressure) -> None:
    answer = parse_answer(await service.exchange(READY + LAST))
    assert (answer.status, answer.document["code"]) == (503, "NOT_READY")
    assert answer.document["checks"]["overload"] == {"ok": False, "why": "lag"}  # type: ignore[index]


async def test_a_refusal_is_a_problem_that_keeps_the_connection(service: Service, late: Pressure) -> None:
    answer = parse_answer(await service.exchange(ODD + LAST))
    assert answer.document["code"] == "OVERLOADED"
    assert answer.headers["content-type"] == "application/problem+json"
    assert "connection" not in answer.headers
    assert answer.headers["x-request-id"] == answer.document["request_id"]
    assert answer.rest.startswith(b"HTTP/1.1 200 ")


async def test_a_long_pipeline_is_refused_one_by_one(service: Service, late: Pressure) -> None:
    found = answers(await service.exchange(ODD * 1000 + LAST))
    assert [status for status, _ in found] == [503] * 1000 + [200]


async def test_a_body_on_its_way_is_not_waited_for(service: Service, late: Pressure) -> None:
    if not service.state.settings.lane:
        pytest.skip("aiohttp refuses it, and reads on for a while")
    head = b"POST /v1/resolve HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n"
    (status, headers), *rest = answers(await service.exchange(head + b'{"ip"'))
    assert (status, rest) == (503, [])
    assert headers["connection"] == "close"


async def test_what_is_in_flight_counts(resolver: Resolver) -> None:
    begun = b"POST /v1/resolve HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n"
    async with running(resolver, Settings(port=0, shed_in_flight=2)) as service:
        writers = []
        for _ in range(2):
            _, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.write(begun)
            writers.append(writer)
        while service.fronts.pressure.in_flight < 2:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        assert service.fronts.pressure.reason == "in_flight"
        assert [status for status, _ in answers(await service.exchange(ODD + LAST))] == [503, 200]
        for writer in writers:
            writer.close()
        while service.fronts.pressure.in_flight:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        assert [status for status, _ in answers(await service.exchange(ODD + LAST))] == [200, 200]


async def test_a_queue_that_stands_is_kept_short_and_ends(resolver: Resolver) -> None:
    """The looks are taken by hand; the requests that wait are made up, and those that come are real."""
    page = Pages(1).take(0, 0)
    async with running(resolver, Settings(port=0, shed_waiting=16)) as service:
        pressure, lane = service.fronts.pressure, service.fronts.lane
        pressure.stop()
        loop = asyncio.get_running_loop()
        pressure.page = page

        def look() -> str | None:
            pressure._tick(loop, loop.time())
            pressure.stop()
            return pressure.reason

        lane.waiting = 16
        for _ in range(FULL_TICKS - 1):
            look()
        lane.waiting = 15  # a burst was no queue
        look()
        assert answers(await service.exchange(ODD + LAST))[0][0] == 200
        lane.waiting = 16
        assert [look() for _ in range(FULL_TICKS)] == [None] * (FULL_TICKS - 1) + ["waiting"]
        lane.waiting = 1  # of the two that may
        assert [status for status, _ in answers(await service.exchange(ODD + PLAIN + LAST))] == [200] * 3
        assert lane.waiting == 1
        lane.waiting = 2
        (refused, headers), *others = answers(await service.exchange(ODD + PLAIN + ODD + POSTED + LAST))
        assert (refused, headers["retry-after"]) == (503, "1")
        assert [status for status, _ in others] == [200, 503, 503, 200]
        assert lane.waiting == 2
        look()
        assert page is not None
        assert page.block(metrics.SHED).tolist() == [0, 0, 3]
        assert pressure.shed == 3
        lane.waiting = 0
        assert [look() for _ in range(FULL_TICKS)] == ["waiting"] * (FULL_TICKS - 1) + [None]
        lane.waiting = 2
        assert answers(await service.exchange(ODD + LAST))[0][0] == 200
        lane.waiting = 0


async def test_what_the_lane_refuses_is_what_python_refuses(resolver: Resolver) -> None:
    async with running(resolver, Settings(port=0)) as service:
        pressure, lane = service.fronts.pressure, service.fronts.lane
        pressure.stop()
        pressure.lag_s = 5.0
        by_python = parse_answer(await service.exchange(ODD + LAST))
        pressure.lag_s, lane.refuse_from = 0.0, 0
        by_lane = [parse_answer(await service.exchange(ODD + LAST)) for _ in range(2)]
        identities = {found.headers.pop("x-request-id") for found in (by_python, *by_lane)}
        assert len(identities) == 3
        documents = [found.document for found in (by_python, *by_lane)]
        assert {str(document.pop("request_id")) for document in documents} == identities
        assert by_lane[0].headers == by_lane[1].headers == by_python.headers
        assert documents[0] == documents[1] == documents[2]
        assert lane.refused == 2


@pytest.mark.parametrize("by_lane", [True, False])
async def test_a_refused_head_has_no_body(resolver: Resolver, *, by_lane: bool) -> None:
    async with running(resolver, Settings(port=0)) as service:
        service.fronts.pressure.stop()
        service.fronts.pressure.lag_s, service.fronts.lane.refuse_from = (0.0, 0) if by_lane else (5.0, 1)
        raw = await service.exchange(ODD.replace(b"GET", b"HEAD") + LAST)
        head, _, rest = raw.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"Content-Length: " in head
        assert rest.startswith(b"HTTP/1.1 200 OK\r\n")
        assert service.fronts.lane.refused == by_lane


async def test_a_body_on_its_way_does_not_stand_in_line(resolver: Resolver) -> None:
    begun = b"POST /v1/resolve HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n"
    async with running(resolver, Settings(port=0)) as service:
        _, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(begun)
        while service.fronts.pressure.in_flight < 1:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        assert service.fronts.lane.waiting == 0
        writer.close()


async def test_a_client_that_goes_leaves_the_line(resolver: Resolver) -> None:
    async with running(resolver, Settings(port=0)) as service:
        front = service.fronts.connect()
        transport = Memory(front)
        front.connection_made(transport)
        front.data_received(ODD)
        assert service.fronts.lane.waiting == 1
        front.connection_lost(None)
        assert service.fronts.lane.waiting == 0
        await asyncio.sleep(0.01)
        assert service.fronts.lane.waiting == 0


@pytest.mark.parametrize("parts", [[b"a", b"b"], [b"a" * 30_000, b"b", b"c"]])
def test_a_refusal_that_does_not_fit_is_none(resolver: Resolver, parts: list[bytes]) -> None:
    lane = Lane(Texts(resolver.engine, compose), bytes(31) + b"1", 1024)
    with pytest.raises(ValueError, match="three parts"):
        lane.set_refusal(parts, [])


async def test_the_loop_is_measured(resolver: Resolver) -> None:
    import time

    async with running(resolver, Settings(port=0)) as service:
        await asyncio.sleep(0.05)
        assert service.fronts.pressure.lag_s < 1
        time.sleep(0.4)  # noqa: ASYNC251 - which is the fault
        await asyncio.sleep(0.001)
        assert service.fronts.pressure.lag_s > 0.2
