"""What a batch of 1,000 pings costs in process, compiled and in Python ping by ping: bytes in, bytes out, no HTTP.

Fixed input: the pings of `make bench-batches`, of random addresses and real PLMNs. The answers of both ways are compared.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from _fastpath.texts import Texts
from benchmarks.http.requests import bodies
from regionresolver import Resolver
from regionresolver.service.batch_answers import Batch
from regionresolver.service.pages import Pages
from regionresolver.service.protocol import compose
from regionresolver.service.state import Generation, ServiceState
from regionresolver.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

PINGS = 1_000


@pytest.fixture(scope="module")
def states() -> Iterator[dict[str, ServiceState]]:
    """A state with compiled answers, and one without."""
    page = Pages(1).take(0, 0)
    assert page is not None
    with Resolver.open() as resolver:
        plain = ServiceState(Generation.of(resolver), Settings(), page)
        yield {"compiled": replace(plain, texts=Texts(resolver.engine, compose)), "python": plain}


def stream(state: ServiceState, pings: list[bytes]) -> bytes:
    batch = Batch(state)
    return b"".join([*batch.lines(b"\n".join(pings) + b"\n"), *batch.last_lines()])


def array(state: ServiceState, pings: list[bytes]) -> bytes:
    return b"".join(Batch(state).array(b"[" + b",".join(pings) + b"]"))


@pytest.mark.parametrize("way", ["compiled", "python"])
@pytest.mark.parametrize("answer", [stream, array])
def test_a_batch(
    benchmark: BenchmarkFixture, states: dict[str, ServiceState], answer: Callable[[ServiceState, list[bytes]], bytes], way: str
) -> None:
    pings = bodies()[:PINGS]
    benchmark.group = f"batch of {PINGS} pings, {answer.__name__}"
    benchmark.extra_info["pings"] = PINGS
    found = benchmark(answer, states[way], pings)
    assert found == answer(states["python"], pings)
