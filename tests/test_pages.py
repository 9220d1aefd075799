"""The pages of shared memory: places of metrics, names that runs learn, owners that come and go, sums that never fall."""

from __future__ import annotations

import os
import random
import warnings
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regionresolver.service import metrics
from regionresolver.service.metrics import TABLE, Kind, Metric, Named, OneOf
from regionresolver.service.names import NAME_BYTES, Names, bytes_needed
from regionresolver.service.pages import METRICS_WORD, TOTALS_WORD, Pages, Word, WorkerPage, summed

if TYPE_CHECKING:
    from collections.abc import Callable

    from regionresolver import Resolver


def taken(pages: Pages, worker: int = 0) -> WorkerPage:
    page = pages.take(worker, 0)
    assert page is not None
    return page


def in_a_child(action: Callable[[], object]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the threads of other tests: the child needs none of their locks
        child = os.fork()
    if child == 0:
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# --- the table


def test_no_two_series_share_a_word() -> None:
    taken_words = sorted(
        word
        for metric in TABLE.metrics
        if metric.kind is not Kind.FACT
        for word in range(metric.first_word, metric.first_word + metric.words)
    )
    assert taken_words == list(range(TABLE.words))
    assert max(Word) < TOTALS_WORD
    assert TOTALS_WORD + 2 * metrics.TALLIES <= METRICS_WORD


@given(st.data())
def test_the_places_of_a_metric_are_all_of_its_words(data: st.DataObject) -> None:
    labels = tuple(OneOf(f"l{size}", tuple(map(str, range(size)))) for size in data.draw(st.lists(st.integers(1, 3), max_size=3)))
    named = data.draw(st.sampled_from([None, Named("n", ("n",), 3)]))
    histogram = data.draw(st.booleans())
    kind = Kind.HISTOGRAM if histogram else Kind.COUNTER
    metric = Metric("m", kind, "", "", named, labels, edges_s=(0.1, 0.2) if histogram else (), first_word=11)
    combinations: list[tuple[str, ...]] = [()]
    for label in labels:
        combinations = [(*head, value) for head in combinations for value in label.values]
    rows = range(named.capacity) if named else range(1)
    places = [metric.place(row, values) for row in rows for values in combinations]
    assert places == list(range(11, 11 + metric.words, metric.cell_words))


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0, 0), (25e-6, 0), (25.1e-6, 1), (0.001, 5), (0.0011, 6), (30.0, 18), (31.0, 19)]
)
def test_a_duration_is_counted_in_the_bucket_that_ends_at_or_above_it(seconds: float, bucket: int) -> None:
    page = taken(Pages(1))
    page.observe(metrics.DURATION, seconds, "GET", "/x")
    cell = list(page.cell(metrics.DURATION, "GET", "/x"))
    assert cell.index(1) == bucket
    assert cell[-1] == round(seconds * 1e9)
    assert sum(cell[:-1]) == 1


def test_a_value_that_is_not_known_counts_as_other_and_is_refused_where_there_is_no_other() -> None:
    page = taken(Pages(1))
    page.count(metrics.REQUESTS, "GET", "/x", "299")
    assert page.cell(metrics.REQUESTS, "GET", "/y", "other")[0] == 1, "neither the status nor the route is known"
    with pytest.raises(ValueError, match="not in tuple"):
        page.count(metrics.RELOADS, "perhaps")


# --- names


def some_names(capacity: int = 4, labels: int = 1) -> tuple[Names, Named, memoryview, int]:
    sort = Named("some", tuple(f"l{number}" for number in range(labels)), capacity, ((metrics.NONE,) * labels,))
    descriptor = os.memfd_create("names")
    os.ftruncate(descriptor, bytes_needed([sort]))
    memory = memoryview(bytearray(bytes_needed([sort])))
    return Names(memory, descriptor, [sort]), sort, memory, descriptor


def test_a_name_keeps_its_place_and_one_too_many_has_none() -> None:
    known, sort, memory, descriptor = some_names()
    known.learn(sort, [("a",), ("b",), ("a",)])
    assert [known.place(sort, (name,)) for name in ("(other)", "(none)", "a", "b", "c")] == [0, 1, 2, 3, 0]
    known.learn(sort, [("c",), ("b",)])
    assert known.place(sort, ("c",)) == 0
    assert known.overflowed(sort) == 1
    assert known.all(sort) == [("(other)",), ("(none)",), ("a",), ("b",)]
    again = Names(memory, descriptor, [sort])
    assert again.all(sort) == known.all(sort)
    os.close(descriptor)


@given(st.lists(st.tuples(st.text(max_size=300), st.text(max_size=300)), max_size=8))
def test_any_name_is_kept_or_cut_and_its_parts_stay_apart(given_names: list[tuple[str, str]]) -> None:
    known, sort, memory, descriptor = some_names(capacity=10, labels=2)
    try:
        known.learn(sort, given_names)
        again = Names(memory, descriptor, [sort])
        assert again.all(sort) == known.all(sort)
        for name in given_names:
            place = again.place(sort, name)
            assert place == known.place(sort, name) > 0
            kept = again.all(sort)[place]
            assert len(kept) == 2
            assert len("\x1f".join(kept).encode()) <= NAME_BYTES - 2
            if all(part.isascii() and part.isprintable() and len(part) < 100 for part in name):
                assert kept == name
    finally:
        os.close(descriptor)


def test_processes_that_learn_at_once_agree() -> None:
    pages = Pages(1)
    rules = [(f"rule-{number}",) for number in range(400)]
    children = []
    for seed in range(4):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            status = 1
            try:
                random.Random(seed).shuffle(rules)
                for start in range(0, 400, 7):
                    pages.names.learn(metrics.RULES, rules[start : start + 7])
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    found = pages.names.all(metrics.RULES)
    assert len(found) == len(set(found)) == 402
    assert set(found) > set(rules)


# --- pages


def test_what_a_child_counts_is_summed_after_its_death_and_goes_on_in_its_successor() -> None:
    pages = Pages(2)
    for expected in (1, 2, 3):
        page = taken(pages)
        in_a_child(lambda page=page: page.count(metrics.RELOADS, "failed"))  # type: ignore[misc]
        page.free()
        assert list(pages.sums(metrics.RELOADS)) == [0, expected]
    pages.supervisor.count(metrics.RELOADS, "succeeded")
    assert list(pages.sums(metrics.RELOADS)) == [1, 3]


def test_gauges_end_with_their_owner() -> None:
    pages = Pages(1)
    page = taken(pages)
    page.count(metrics.IN_FLIGHT, by=3)
    page.count(metrics.WORKER_RESTARTS)
    page.free()
    assert page.in_flight == 0
    assert list(pages.sums(metrics.WORKER_RESTARTS)) == [1]


@given(st.lists(st.lists(st.integers(0, 2**61), min_size=3, max_size=3), min_size=1, max_size=6))
def test_blocks_are_added_word_by_word(blocks: list[list[int]]) -> None:
    found = summed([memoryview(b"".join(word.to_bytes(8, "little") for word in block)).cast("Q") for block in blocks])
    assert list(found) == [sum(words) for words in zip(*blocks, strict=True)]


def test_another_policy_goes_on_counting_under_the_names_of_the_one_before(resolver: Resolver) -> None:
    """A reload: a rule keeps its count wherever it stands in the new policy, and one that is gone keeps it too."""
    pages = Pages(1)
    page = taken(pages)
    page.adopt(resolver)
    resolver.decide(serving="36801")

    def counts() -> dict[str, int]:
        return {
            name[0]: count for name, count in zip(pages.names.all(metrics.RULES), pages.sums(metrics.RULE_DECISIONS), strict=True)
        }

    before = counts()
    assert sum(before.values()) == before["embargo-six"] == 1
    rules = (resolver.policy.rules[0].model_copy(update={"id": "newcomer"}), *reversed(resolver.policy.rules))
    other = resolver.with_policy(resolver.policy.model_copy(update={"rules": rules}))
    page.adopt(other)
    assert counts() == before | {"newcomer": 0}
    decided_by = other.decide(serving="36801").verdict.rule
    assert decided_by in before, "a rule that both policies have, and that stands elsewhere in the second"
    resolver.decide(serving="36801")  # of a worker that still serves the first
    after = counts()
    assert after == before | {"newcomer": 0, "embargo-six": 2, decided_by: 1 + before[decided_by] + (decided_by == "embargo-six")}
    assert pages.totals(resolver.policy_serial) == (2, 2)
    assert pages.totals(other.policy_serial)[0] == 1, "each policy has totals of its own"
