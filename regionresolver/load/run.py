"""`run(plan) -> report`: self-test, load, watch, judge.

The engine has a thread of its own that never takes the GIL. Another one, of a lower priority, takes a copy of the histograms
each second, looks at sampled answers and shows how it goes; the caller's waits, and SIGINT ends the run early.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, Self

from regionresolver.load.ceiling import measure_ceiling
from regionresolver.load.engine import Engine
from regionresolver.load.report import (
    SCHEMA,
    CeilingPart,
    CountsPart,
    IntervalPart,
    PlanPart,
    Report,
    counted_s,
    judge,
    latencies,
    own_part,
    rates_part,
)
from regionresolver.load.requests import made_requests
from regionresolver.load.samples import Samples
from regionresolver.resolver import now

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from regionresolver.load.histogram import Histogram
    from regionresolver.load.plan import Plan
    from regionresolver.load.requests import Requests

LOOK_EVERY_S: Final = 0.1
INTERVAL_S: Final = 1.0
_NICE: Final = 10
_NS_IN_S: Final = 1_000_000_000
_NS_IN_US: Final = 1_000


@dataclass(frozen=True)
class Moment:
    """How it goes: shown while it runs."""

    phase: str
    elapsed_s: float
    totals: dict[str, int]
    errors: dict[str, int]
    interval: IntervalPart | None
    ceiling: CeilingPart | None


@dataclass(frozen=True)
class Recorded:
    """The histograms behind a report: whole, and by interval as (begin, length, histogram), seconds from the warm-up's end."""

    latency: Histogram
    at_least: Histogram
    own: Histogram
    intervals: list[tuple[float, float, Histogram]]


def run(
    plan: Plan,
    watch: Callable[[Moment], None] | None = None,
    keep: Callable[[Recorded], None] | None = None,
) -> Report:
    """Run a load test. On the main thread SIGINT ends it early, and the report is of what was until then.

    `watch` is called about ten times a second from another thread; `keep` gets the histograms. Raises LoadError for a plan
    or a file that cannot be used, UnreachableError when nobody listens.
    """
    requests = made_requests(plan)
    started = now()
    with _Interrupt() as interrupt:
        ceiling = _self_test(plan, requests, interrupt) if plan.self_test_s else None
        engine = Engine(plan, requests)
        interrupt.stops(engine)
        watcher = _Watcher(engine, Samples(requests), watch, ceiling)
        _run_engine(engine, watcher.look)
    recorded = watcher.finish()
    if keep is not None:
        keep(recorded)
    return _report(engine, requests, watcher, recorded, started, ceiling, interrupted=interrupt.is_set)


class _Interrupt:
    """SIGINT while it is entered stops the engine at hand, and every later one; on another thread than the main one nothing."""

    def __init__(self) -> None:
        self.is_set = False
        self._engine: Engine | None = None
        self._before: Any = None

    def stops(self, engine: Engine) -> None:
        """Name the engine that is to be stopped."""
        self._engine = engine
        if self.is_set:
            engine.client.stop()

    def _handle(self, *_: object) -> None:
        self.is_set = True
        if self._engine is not None:
            self._engine.client.stop()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)


def _self_test(plan: Plan, requests: Requests, interrupt: _Interrupt) -> CeilingPart:
    """Measure the ceiling on a thread like the engine's."""
    found: list[CeilingPart] = []
    _Thread(lambda: found.append(measure_ceiling(plan, requests, interrupt.stops))).wait()
    return found[0]


def _run_engine(engine: Engine, look: Callable[[], None]) -> None:
    """Run the engine and the watcher on threads."""
    over = threading.Event()

    def watch() -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while not over.wait(LOOK_EVERY_S):
            look()

    watcher = threading.Thread(target=watch, name="load-watch", daemon=True)
    thread = _Thread(engine.run)
    watcher.start()
    try:
        thread.wait()
    finally:
        over.set()
        watcher.join()


class _Thread:
    """Runs a call beside the caller, who waits."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._call()
        except BaseException as error:  # noqa: BLE001  # it is raised again where it is waited for
            self._error = error

    def wait(self) -> None:
        """Wait. Raises what the call raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error


class _Watcher:
    """Takes copies of the histograms, has samples checked, and tells how it goes."""

    def __init__(
        self, engine: Engine, samples: Samples, watch: Callable[[Moment], None] | None, ceiling: CeilingPart | None
    ) -> None:
        self.samples = samples
        self.intervals: list[IntervalPart] = []
        self._engine = engine
        self._watch = watch
        self._ceiling = ceiling
        self._kept: list[tuple[float, float, Histogram]] = []
        self._last: Histogram | None = None
        self._last_ns = 0
        self._last_errors = 0

    def look(self) -> None:
        """Look once, from whichever thread."""
        client = self._engine.client
        self.samples.check(client.take_samples())
        since_ns, now_ns = client.counting_since_ns, time.monotonic_ns()
        if since_ns and now_ns > since_ns:
            self._last_ns = self._last_ns or since_ns
            if now_ns - self._last_ns >= INTERVAL_S * _NS_IN_S:
                self._close_interval(now_ns)
        if self._watch is not None:
            elapsed_s = (now_ns - client.started_ns) / _NS_IN_S if client.started_ns else 0.0
            last = self.intervals[-1] if self.intervals else None
            self._watch(Moment(client.phase, elapsed_s, client.totals(), client.errors(), last, self._ceiling))

    def _close_interval(self, now_ns: int) -> None:
        whole = self._engine.histogram("latency")
        part = whole.since(self._last)
        errors = sum(self._engine.client.errors().values())
        since_ns = self._engine.client.counting_since_ns
        at_s, seconds = (self._last_ns - since_ns) / _NS_IN_S, (now_ns - self._last_ns) / _NS_IN_S
        self._kept.append((at_s, seconds, part))
        self.intervals.append(
            IntervalPart(
                at_s=at_s,
                seconds=seconds,
                answered=part.total,
                errors=errors - self._last_errors,
                p50_us=part.percentile_ns(50) / _NS_IN_US,
                p99_us=part.percentile_ns(99) / _NS_IN_US,
            )
        )
        self._last, self._last_ns, self._last_errors = whole, now_ns, errors

    def finish(self) -> Recorded:
        """Take the rest, when the engine has stopped."""
        engine = self._engine
        self.samples.check(engine.client.take_samples())
        self._last_ns = self._last_ns or engine.client.counting_since_ns
        if engine.client.finished_ns > self._last_ns:
            self._close_interval(engine.client.finished_ns)
        return Recorded(engine.histogram("latency"), engine.histogram("at_least"), engine.histogram("own"), self._kept)


def _report(
    engine: Engine,
    requests: Requests,
    watcher: _Watcher,
    recorded: Recorded,
    started: dt.datetime,
    ceiling: CeilingPart | None,
    *,
    interrupted: bool,
) -> Report:
    client, totals = engine.client, engine.client.totals()
    plan = _plan_part(engine.plan)
    own = own_part(client, recorded.own, engine.cpu_s, engine.starved_s, engine.whole_s)
    return judge(
        Report(
            schema_name=SCHEMA,
            version=version("regionresolver"),
            started_at=started.isoformat(timespec="milliseconds"),
            counted_s=counted_s(client),
            interrupted=interrupted,
            plan=plan,
            ceiling=ceiling,
            counts=_counts_part(totals),
            rates=rates_part(client, plan, own),
            latency_from="sent" if engine.plan.closed else "planned",
            latency=latencies(client, recorded.latency, recorded.at_least),
            mean_us=totals["sum_ns"] / max(recorded.latency.total, 1) / _NS_IN_US,
            windows=len(client.window_p99s_ns()),
            own=own,
            errors=client.errors(),
            statuses={str(status): count for status, count in client.statuses().items()},
            answered=dict(zip(requests.names, client.answered_by_kind(), strict=True)),
            samples=watcher.samples.part(),
            intervals=watcher.intervals,
            verdict="ok",
            reasons=[],
        )
    )


def _counts_part(totals: dict[str, int]) -> CountsPart:
    same = ("planned", "sent", "answered", "counted", "in_time", "unfinished", "sent_bytes", "received_bytes")
    return CountsPart(
        **{name: totals[name] for name in same},
        connections_opened=totals["opened"],
        connections_closed_idle=totals["closed_idle"],
    )


def _plan_part(plan: Plan) -> PlanPart:
    return PlanPart(
        target=plan.whom.shown,
        schedule=plan.schedule,
        rate=None if plan.closed else plan.rate,
        rate_to=None if plan.closed else plan.rate_to,
        duration_s=plan.duration_s,
        warm_up_s=plan.warm_up_s,
        requests_max=plan.requests_max,
        connections=plan.connections,
        pipeline=plan.pipeline,
        keep_alive=plan.keep_alive,
        timeout_s=plan.timeout_s,
        mix=plan.mix.parts,
        batch_size=plan.mix.batch_size,
        seed=plan.seed,
        pings=plan.pings.name if plan.pings else "made",
        core=plan.core,
    )
