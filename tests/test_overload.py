"""Shedding: what is refused, what is spared, and that the connection lives on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from regionresolver import Resolver
from regionresolver.settings import Settings
from tests.http_service import Service, parse_answer, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from regionresolver.service.overload import Pressure

ODD = b"GET /v1/resolve/84.0.1.1 HTTP/1.1\r\nHost: a\r\n\r\n"
PLAIN = b"GET /v1/resolve?serving=36801 HTTP/1.1\r\nHost: a\r\n\r\n"
READY = b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"
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


async def test_the_loop_is_measured(resolver: Resolver) -> None:
    import time

    async with running(resolver, Settings(port=0)) as service:
        await asyncio.sleep(0.05)
        assert service.fronts.pressure.lag_s < 1
        time.sleep(0.4)  # noqa: ASYNC251 - which is the fault
        await asyncio.sleep(0.001)
        assert service.fronts.pressure.lag_s > 0.2
