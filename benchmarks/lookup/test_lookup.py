"""The turns of a plan as benchmarks: pytest-benchmark times them, `benchmarks.lookup` makes the report of its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.lookup.plan import Turn, plan_of, prepared

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    turns = list(plan_of(metafunc.config).turns())
    metafunc.parametrize(
        "turn", turns, ids=(f"{turn.form} - {turn.image} - {turn.database.name} - {turn.stream}" for turn in turns)
    )


def test_lookup(benchmark: BenchmarkFixture, turn: Turn, pytestconfig: pytest.Config) -> None:
    count = plan_of(pytestconfig).count
    contestant = prepared(turn.database, turn.stream, count).get((turn.form, turn.image))
    if contestant is None:
        pytest.skip(f"{turn.form} cannot run here")
    benchmark.group = f"{turn.database.name}, {turn.stream}"
    benchmark.extra_info |= {
        "database": turn.database.name,
        "image": turn.image,
        "stream": turn.stream,
        "form": turn.form,
        "round": turn.round,
        "count": count,
    }
    benchmark.pedantic(contestant.run, rounds=contestant.passes)  # type: ignore[no-untyped-call]
