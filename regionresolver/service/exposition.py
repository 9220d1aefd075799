"""`/metrics`: the table of `service.metrics` in Prometheus' text format, or in OpenMetrics', as the client asks.

Any worker tells it for all: counters and histograms are sums over the pages of every process, gauges stand for each worker,
and facts are asked for here. prometheus-client writes the format; nothing else of it is used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from regionresolver.resolver import now
from regionresolver.service.asked import asked
from regionresolver.service.metrics import PREFIX, TABLE, Kind, Metric
from regionresolver.service.pages import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from prometheus_client.metrics_core import Metric as Family

    from regionresolver.service.pages import WorkerPage
    from regionresolver.service.state import ServiceState

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGESIZE")

# Behind the process's name in /proc/PID/stat (proc(5)): fields 14, 15 and 24, of which the first is number 3 there.
_USER_TICKS, _SYSTEM_TICKS, _RESIDENT_PAGES = 11, 12, 21

Labelled = tuple[tuple[str, ...], float]


async def show(request: web.Request) -> web.Response:
    """Answer `/metrics`."""
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Exposed(asked(request).state))
    return web.Response(body=encode(registry), headers={"Content-Type": content_type})


class Exposed(Collector):
    """The metrics of a service, read when they are collected."""

    def __init__(self, state: ServiceState) -> None:
        """Read the pages and the state of one worker."""
        self._state = state

    def describe(self) -> Iterable[Family]:
        """Tell nothing before it is collected."""
        return ()

    def collect(self) -> Iterator[Family]:
        """Yield each metric of the table with its series."""
        for metric in TABLE.metrics:
            match metric.kind:
                case Kind.HISTOGRAM:
                    yield self._histogram(metric)
                case Kind.COUNTER:
                    yield _family(metric, self._counted(metric))
                case Kind.GAUGE:
                    yield _family(metric, self._stood(metric))
                case Kind.FACT:
                    yield _family(metric, FACTS[metric.name](self._state))

    def _series(self, metric: Metric) -> Iterator[tuple[tuple[str, ...], Sequence[int]]]:
        """Yield the label values of each series with its words, summed over all pages."""
        pages = self._state.page.pages
        words, size = pages.sums(metric), metric.cell_words
        names = pages.names.all(metric.named) if metric.named is not None else [()]
        combinations = [(*name, *values) for name in names for values in _products(metric)]
        for number, values in enumerate(combinations):
            yield values, words[number * size : (number + 1) * size]

    def _counted(self, metric: Metric) -> Iterator[Labelled]:
        for values, (count,) in self._series(metric):
            if count or metric.told_at_zero:
                yield values, count / metric.words_per_unit

    def _histogram(self, metric: Metric) -> Family:
        family = HistogramMetricFamily(metric.full_name, metric.says, labels=metric.label_names)
        for values, words in self._series(metric):
            total, buckets = 0, []
            for edge, count in zip((*map(_written, metric.edges_s), "+Inf"), words, strict=False):
                total += count
                buckets.append((edge, total))
            if total:
                family.add_metric(values, buckets, words[-1] / metric.words_per_unit)
        return family

    def _stood(self, metric: Metric) -> Iterator[Labelled]:
        """Yield a gauge for each worker and each of its series."""
        found: dict[tuple[str, ...], int] = {}
        for page in self._state.page.pages.alive():
            for values, word in zip(_products(metric), page.block(metric), strict=True):
                key = (str(page.worker), *values)
                found[key] = found.get(key, 0) + word if metric.by_worker == "sum" else max(found.get(key, 0), word)
        yield from ((key, word / metric.words_per_unit) for key, word in found.items())


def _family(metric: Metric, series: Iterable[Labelled]) -> Family:
    labels = ("worker", *metric.label_names) if metric.kind is Kind.GAUGE else metric.label_names
    is_counter = metric.kind is Kind.COUNTER or metric.grows
    family = (CounterMetricFamily if is_counter else GaugeMetricFamily)(metric.full_name, metric.says, labels=labels)
    for values, value in series:
        family.add_metric(values, value)
    return family


def _products(metric: Metric) -> list[tuple[str, ...]]:
    """Give every combination of the values that are known beforehand, the last label turning fastest."""
    found: list[tuple[str, ...]] = [()]
    for one in metric.labels:
        found = [(*head, value) for head in found for value in one.values]
    return found


def _written(edge_s: float) -> str:
    """Write an edge as a decimal number without an exponent."""
    return f"{edge_s:.6f}".rstrip("0").removesuffix(".") if edge_s < 1 else f"{edge_s:.1f}"


# --- facts


def _workers(state: ServiceState) -> Iterator[Labelled]:
    serving = {page.worker for page in state.page.pages.alive() if page.state is State.SERVING}
    yield ("serving",), len(serving)
    yield ("wanted",), state.page.pages.wanted


def _newest(state: ServiceState) -> Iterator[WorkerPage]:
    """Yield the page of each worker's latest process, in the order of their numbers."""
    found: dict[int, WorkerPage] = {}
    for page in sorted(state.page.pages.alive(), key=lambda page: page.started_us):
        found[page.worker] = page
    yield from (found[worker] for worker in sorted(found))


def _started(state: ServiceState) -> Iterator[Labelled]:
    return (((str(page.worker),), page.started_us / 1e6) for page in _newest(state))


def _measured(state: ServiceState) -> Iterator[tuple[str, list[str]]]:
    """Yield each worker with what the system says of its process; one that has just ended is passed over."""
    for page in _newest(state):
        try:
            text = Path(f"/proc/{page.pid}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            continue
        yield str(page.worker), text.rpartition(")")[2].split()


def _cpu(state: ServiceState) -> Iterator[Labelled]:
    for worker, fields in _measured(state):
        yield (worker,), (int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])) / _TICKS_PER_S


def _memory(state: ServiceState) -> Iterator[Labelled]:
    for worker, fields in _measured(state):
        yield (worker,), int(fields[_RESIDENT_PAGES]) * _PAGE_BYTES


def _built(state: ServiceState) -> Iterator[Labelled]:
    return (((source.name,), source.build_epoch) for source in state.resolver.sources)


def _breaker(state: ServiceState) -> Iterator[Labelled]:
    breaker = state.resolver.breaker
    if breaker.limits is not None:
        yield (str(breaker.limits.action),), breaker.trip is not None


def _breaker_window(state: ServiceState) -> Iterator[Labelled]:
    breaker = state.resolver.breaker
    if breaker.limits is not None:
        yield ("all",), breaker.decided
        yield ("deny",), breaker.denied


def _left_out(state: ServiceState) -> Iterator[Labelled]:
    names = state.page.pages.names
    return (((sort.key,), names.overflowed(sort)) for sort in TABLE.named)


FACTS: dict[str, Callable[[ServiceState], Iterable[Labelled]]] = {
    "workers": _workers,
    "worker_start_time_seconds": _started,
    "worker_cpu_seconds": _cpu,
    "worker_resident_memory_bytes": _memory,
    "build_info": lambda state: [((state.version,), 1)],
    "generation_info": lambda state: [((state.resolver.generation, state.resolver.policy.label), 1)],
    "database_build_timestamp_seconds": _built,
    "policy_version": lambda state: [((state.resolver.policy.header.name,), state.resolver.policy.header.version)],
    "policy_is_fallback": lambda state: [((), state.resolver.policy_is_fallback)],
    "overrides_expired": lambda state: [((), state.resolver.expired_overrides(now()))],
    "policy_breaker_tripped": _breaker,
    "policy_breaker_window_decisions": _breaker_window,
    "lane_on": lambda state: [((), bool(state.lane()["on"]))],
    "metric_names_left_out": _left_out,
}
"""What tells each fact of the table, by its name."""

NAMES = frozenset(
    metric.full_name + ("_total" if metric.kind is Kind.COUNTER or metric.grows else "") for metric in TABLE.metrics
)
"""Every family as queries name it, `_bucket` and the like of histograms apart."""

__all__ = ["FACTS", "NAMES", "PREFIX", "Exposed", "show"]
