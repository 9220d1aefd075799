"""Everything that the service counts and measures: one table, from which pages, exposition and documentation are made.

To add a metric, define it here in one line of `counter`, `gauge`, `histogram` or `fact`, with what it means (`says`) and
what to do about it (`advice`), write its row in docs/metrics.md (a test compares), and count where it happens:

    page.count(SHED, "in_flight")           a counter goes up by 1, or `by` something
    page.observe(DURATION, took_s, "GET", "/v1/resolve")
    page.set(LOOP_LAG, lag_s)               a gauge of one process, which ends with it

`page` is the process's own `WorkerPage` (the `state.page` of a request, and `Pages.supervisor` in the supervisor). One thread
of one process writes there, the one of its event loop. A label whose values are known beforehand is a `OneOf`; a value
that is not among them counts as its last one, which is then called "other". Values that only a run knows, such as the
rules of a policy, are `Named`: at most `capacity` of them are told apart since the start of the service, later ones count
as "(other)"; `page.pages.names` learns them (`service.names`). A name keeps its place for good, so no series ever falls.

A `fact` has no word in the pages: a function of `service.exposition`, of the same name, tells it when it is asked for.

Names are Prometheus', without the prefix `regionresolver_` and, for counters, without `_total`; units are base units.
Words are integers: what is counted in seconds is kept in nanoseconds (`words_per_unit`).
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from enum import StrEnum
from math import prod
from typing import TYPE_CHECKING, Final

from regionresolver.model import Conflict, Effect, Signal, SignalStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIX: Final = "regionresolver_"
OTHER: Final = "other"
OTHERS: Final = "(other)"
NONE: Final = "(none)"
DEFAULT: Final = "(default)"
NANOSECONDS: Final = 1_000_000_000


class Kind(StrEnum):
    """What sort of metric it is, in Prometheus' words; `FACT` is a gauge that lies in no page."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    FACT = "fact"


@dataclass(frozen=True, slots=True)
class OneOf:
    """A label with values that are known beforehand."""

    label: str
    values: tuple[str, ...]

    def place(self, value: str) -> int:
        """Give a value's place. Raises ValueError for one that is not known, where no value is called "other"."""
        try:
            return self.values.index(value)
        except ValueError:
            if self.values[-1] == OTHER:
                return len(self.values) - 1
            raise


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """Labels with values that become known at run time, each kept under `key`. Place 0 is `(other)`, `first` follow it."""

    key: str
    labels: tuple[str, ...]
    capacity: int
    first: tuple[tuple[str, ...], ...] = ()

    @property
    def standing(self) -> tuple[tuple[str, ...], ...]:
        """The names that have a place from the beginning."""
        return ((OTHERS,) * len(self.labels), *self.first)


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """A row of the table. `named`, if there is one, is the outermost dimension of its words; `least` are a histogram's edges.

    `told_at_zero`: series that count 0 are exposed too, once their names are known. `by_worker`: of several processes of
    one worker the sum is told ("sum") or the largest ("max"). `grows`: a fact that is a counter.
    """

    name: str
    kind: Kind
    says: str
    advice: str
    named: Named | None = None
    labels: tuple[OneOf, ...] = ()
    words_per_unit: int = 1
    edges_s: tuple[float, ...] = ()
    told_at_zero: bool = True
    by_worker: str = ""
    grows: bool = False
    first_word: int = field(default=-1, compare=False)

    @property
    def full_name(self) -> str:
        """The name of its family as Prometheus knows it; a counter's series have `_total` behind it."""
        return PREFIX + self.name

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels in their order."""
        return (*(self.named.labels if self.named else ()), *(one.label for one in self.labels))

    @property
    def cell_words(self) -> int:
        """How many words one series has: a histogram its buckets, one for what is longer, and the sum."""
        return len(self.edges_s) + 2 if self.kind is Kind.HISTOGRAM else 1

    @property
    def row_words(self) -> int:
        """How many words the series of one name have, or all of them without names."""
        return prod(len(one.values) for one in self.labels) * self.cell_words

    @property
    def words(self) -> int:
        """How many words it has in a page."""
        return self.row_words * (self.named.capacity if self.named else 1)

    @property
    def edges_ns(self) -> tuple[int, ...]:
        """The upper edges of a histogram's buckets, in nanoseconds."""
        return tuple(round(edge * NANOSECONDS) for edge in self.edges_s)

    def place(self, row: int, values: tuple[str, ...]) -> int:
        """Give the first word of a series: `row` is its name's place, `values` those of `labels`."""
        place = row
        for one, value in zip(self.labels, values, strict=True):
            place = place * len(one.values) + one.place(value)
        return self.first_word + place * self.cell_words

    def bucket(self, seconds: float) -> int:
        """Give the word of a histogram's cell in which a duration is counted."""
        return bisect_left(self.edges_s, seconds)


class Table:
    """All metrics in the order of their definition, each with its place in a page."""

    def __init__(self) -> None:
        """Begin with none."""
        self.metrics: list[Metric] = []
        self.words = 0

    def add(self, metric: Metric) -> Metric:
        """Give a metric its words, behind those of the ones before."""
        if metric.kind is not Kind.FACT:
            object.__setattr__(metric, "first_word", self.words)
            self.words += metric.words
        self.metrics.append(metric)
        return metric

    @property
    def named(self) -> tuple[Named, ...]:
        """Every sort of name, each once."""
        return tuple(dict.fromkeys(metric.named for metric in self.metrics if metric.named is not None))


TABLE: Final = Table()


def counter(
    name: str,
    says: str,
    advice: str,
    *labels: OneOf,
    named: Named | None = None,
    told_at_zero: bool = True,
    seconds: bool = False,
) -> Metric:
    """Define what only grows; `told_at_zero` false leaves out series that never were counted."""
    per_unit = NANOSECONDS if seconds else 1
    return TABLE.add(Metric(name, Kind.COUNTER, says, advice, named, labels, words_per_unit=per_unit, told_at_zero=told_at_zero))


def gauge(name: str, says: str, advice: str, *labels: OneOf, of_processes: str = "sum", seconds: bool = False) -> Metric:
    """Define what a process is at, told for each worker; of a worker's processes the "sum" or the "max"."""
    per_unit = NANOSECONDS if seconds else 1
    return TABLE.add(Metric(name, Kind.GAUGE, says, advice, None, labels, words_per_unit=per_unit, by_worker=of_processes))


def histogram(name: str, says: str, advice: str, edges_s: Iterable[float], *labels: OneOf, named: Named | None = None) -> Metric:
    """Define a distribution of seconds over the upper edges of buckets; series without an observation are left out."""
    edges = tuple(edges_s)
    return TABLE.add(
        Metric(name, Kind.HISTOGRAM, says, advice, named, labels, words_per_unit=NANOSECONDS, edges_s=edges, told_at_zero=False)
    )


def fact(name: str, says: str, advice: str, *labels: str, grows: bool = False) -> Metric:
    """Define what is told when it is asked for: `exposition` has a function of this name, which gives labels and values."""
    return TABLE.add(Metric(name, Kind.FACT, says, advice, None, tuple(OneOf(label, ()) for label in labels), grows=grows))


ROUTES: Final = Named("route", ("method", "route"), 64)
REGIONS: Final = Named("region", ("region",), 512, ((NONE,),))
RULES: Final = Named("rule", ("rule",), 2048, ((DEFAULT,),))
OVERRIDES: Final = Named("override", ("override", "owner"), 2048)

STATUSES: Final = (
    *("200", "204", "304"),
    *("400", "401", "403", "404", "405", "406", "408", "413", "414", "415", "417", "421", "422", "429", "431"),
    *("500", "501", "503", OTHER),
)
LANE_ROUTES: Final = ("resolve", "decisions", "batch")
LANE_REASONS: Final = (
    *("other_path", "host", "connection", "header", "length", "framing", "limit", "ping", "draining", "fault", "access"),
)
EFFECTS: Final = (Effect.ALLOW, Effect.DENY, Effect.REVIEW)
SIGNALS: Final = (Signal.IP, Signal.SERVING_PLMN, Signal.HOME_PLMN)
SIGNAL_STATUSES: Final = ("absent", *SignalStatus)
EDGES_S: Final = (
    *(25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3),
    *(1.0, 2.5, 5.0, 10.0, 30.0),
)

REQUESTS: Final = counter(
    "http_requests",
    "Requests answered, by method, route (its template, `(other)` for a path that is none) and status.",
    "The base of every rate. A share of 5xx above nothing is for you: look for `request_failed` in the log. 4xx are the "
    "clients' faults: tell them, or look for who scans you.",
    OneOf("status", STATUSES),
    named=ROUTES,
    told_at_zero=False,
)
DURATION: Final = histogram(
    "http_request_duration_seconds",
    "From the moment when a request is read to the one when its answer is handed to the kernel. Requests that came in one "
    "segment to the compiled lane took as long as all of them.",
    "When the upper quantiles grow: see whether the CPU is used up (more workers, more instances), whether `lane_declined` "
    "rises, whether batches share the instance.",
    EDGES_S,
    named=ROUTES,
)
LANE_ANSWERED: Final = counter(
    "lane_answered",
    "Requests that the compiled lane answered.",
    "Nothing. Its share of `http_requests` says how much of the traffic goes the fast way.",
    OneOf("path", LANE_ROUTES),
)
LANE_DECLINED: Final = counter(
    "lane_declined",
    "Requests that the compiled lane left to aiohttp, by the reason (docs/lane.md).",
    "A steady share of `ping`, `header`, `host` or `connection` on the two fast paths: the clients send what the lane does not "
    "read, at the cost of twenty times the CPU. `fault` should be 0: the log says why an answer could not be composed.",
    OneOf("reason", LANE_REASONS),
)
LOGGED: Final = counter(
    "decision_log_decisions",
    "Decisions that were to be logged: written, or dropped because the buffer was full while the disk was slow or failed.",
    "Any `dropped`: docs/decision-log.md has what to do; `decision_log_failed` in the log says what is wrong with the disk.",
    OneOf("outcome", ("written", "dropped_slow", "dropped_failed")),
)
LOGGED_BYTES: Final = counter(
    "decision_log_bytes",
    "Bytes written to segments of the decision log.",
    "Size the disk by its rate and by what is kept (`decision_log_keep_segments`, `decision_log_keep_bytes`).",
)
LOG_LINES_SUPPRESSED: Final = counter(
    "log_lines_suppressed",
    "Lines of the log that were left out: of what went wrong with connections (event `connection_error`) at most one a second "
    "is written by each worker.",
    "A rate here is broken requests, or clients that go in the middle of one: the line `connection_error` has the exception's "
    "type and place, and how many were left out before it (`suppressed`). Look for who scans you; from a client of yours, see "
    "what it sends.",
)
REFUSED: Final = counter(
    "access_refused",
    "Requests that were not let in: without an API key, with one that does not hold, or too often.",
    "`invalid` after a revocation names a client that was not told; a step in `required` is one that lost its key, or a scan.",
    OneOf("reason", ("required", "invalid", "rate_limited")),
)
DECISIONS: Final = counter(
    "decisions",
    "Decisions as of now, by region and effect. Regions are those that the policy or the catalogue names; the others are "
    "`(other)`, and `(none)` is for pings that say nothing of a region.",
    "A step in denials without a change of policy or data: look at `policy_rule_decisions` for the rule, at `signals` for the "
    "evidence; `policy rollback` takes a policy back.",
    OneOf("effect", tuple(EFFECTS)),
    named=REGIONS,
)
RULE_DECISIONS: Final = counter(
    "policy_rule_decisions",
    "Decisions by the rule that made them; `(default)` is for those that no rule made.",
    "A rule that should decide and stays at 0 does not match: `regionresolver decide --explain` on a ping says why.",
    named=RULES,
)
SHADOW_DECISIONS: Final = counter(
    "policy_shadow_decisions",
    "Decisions that would have been others if the rules in shadow were enforced, by the rule that would have made them.",
    "Before enforcing a rule, its rate here over that of `decisions` is the share of phones that it will touch.",
    named=RULES,
)
SIGNALS_SEEN: Final = counter(
    "signals",
    "Signals of pings, by what they were worth before they were weighed.",
    "`not_found` of the IP rises as databases age: update them. `invalid` is a client that writes wrong values. `unassigned` "
    "PLMNs may be new networks: see docs/catalogue.md for an override.",
    OneOf("signal", tuple(SIGNALS)),
    OneOf("status", tuple(SIGNAL_STATUSES)),
)
CONFLICTS: Final = counter(
    "conflicts",
    "Conflicts and limits of the evidence, as answers name them (docs/fusion.md); an answer may have several.",
    "`subdivision_unknown`: load a database that sees subdivisions. `sources_disagree` after an update: compare the databases.",
    OneOf("conflict", tuple(Conflict)),
)
OVERRIDE_HITS: Final = counter(
    "override_hits",
    "Signals that an override of the operator's catalogue has spoken for, by the override's id and owner.",
    "An override that stays at 0 for weeks is not needed: ask its owner, and delete it.",
    named=OVERRIDES,
)
IN_FLIGHT: Final = gauge(
    "http_requests_in_flight",
    "Requests that aiohttp is answering, and batches. Else what the compiled lane answers is never between two turns.",
    "Steadily high: slow bodies, long batches, or clients that do not read; see `http_request_duration_seconds` by route.",
)
RELOADS: Final = counter(
    "reloads",
    "Reloads of data and policy, by how they ended.",
    "`failed`: the old generation serves on. The event `reload_failed` says why; mend that and send SIGHUP again.",
    OneOf("outcome", ("succeeded", "failed")),
)
GENERATION: Final = gauge(
    "generation",
    "The number of the generation that a worker serves, as in `data` of its answers.",
    "All workers should be at the same one but for the moment of a reload; one that stays behind is killed after 10 s.",
    of_processes="max",
)
SHED: Final = counter(
    "requests_shed",
    "Requests refused with 503 OVERLOADED, by what was too much.",
    "More workers or instances. `in_flight`: look for slow bodies and long batches; `lag`: for what holds the loop up; "
    "`waiting`: for why so many requests are left by the lane.",
    OneOf("reason", ("in_flight", "lag", "waiting")),
)
LOOP_LAG: Final = gauge(
    "loop_lag_seconds",
    "How late a worker's loop was at its latest tick, of which it has 50 a second.",
    "Every request waits for so long at least. Near `shed_lag_s` requests are refused.",
    of_processes="max",
    seconds=True,
)
WORKER_RESTARTS: Final = counter(
    "worker_restarts",
    "Workers that had to be replaced because they died.",
    "Should be 0. The event `worker_died` has the signal or the exit status: SIGKILL without our doing is the system's "
    "memory limit; others are for a bug report.",
)
WORKERS: Final = fact(
    "workers",
    "Workers that serve, and how many there are to be (`state`).",
    "`serving` below `wanted` for longer than a minute: workers die as they start; the events `worker_died` say why.",
    "state",
)
WORKER_START: Final = fact(
    "worker_start_time_seconds",
    "When the present process of a worker was started, in Unix time.",
    "Nothing. A recent one on an old instance is a restart, or a new generation's successor.",
    "worker",
)
WORKER_CPU: Final = fact(
    "worker_cpu_seconds",
    "CPU time of the present process of a worker, user and system; begins anew with each process.",
    "A rate near 1 on every worker is saturation: add CPUs or instances.",
    "worker",
    grows=True,
)
WORKER_MEMORY: Final = fact(
    "worker_resident_memory_bytes",
    "Resident memory of the present process of a worker, what workers share included in each.",
    "A rise without end is a leak: report it with the output of `/v1/metadata`. A restart of the worker (SIGTERM) helps for now.",
    "worker",
)
BUILD_INFO: Final = fact("build_info", "The release that serves; the value is 1.", "Nothing.", "version")
GENERATION_INFO: Final = fact(
    "generation_info",
    "The generation that the answering worker serves: data and policy as answers name them; the value is 1.",
    "Different values on instances that should be equal: one of them missed an update, see `reloads`.",
    "data",
    "policy",
)
DATABASE_BUILT: Final = fact(
    "database_build_timestamp_seconds",
    "When a database that is served was built, in Unix time, by its source.",
    "When it grows old, update it: docs/databases.md.",
    "source",
)
POLICY_VERSION: Final = fact(
    "policy_version",
    "The version of the policy that is served.",
    "Should be the one that was activated last, on every instance.",
    "policy",
)
POLICY_FALLBACK: Final = fact(
    "policy_is_fallback",
    "1 while an older policy is served because the active one of its folder is broken.",
    "The warnings of `/readyz` say what is broken: activate a good one, or roll back.",
)
OVERRIDES_EXPIRED: Final = fact(
    "overrides_expired",
    "Overrides of the operator's catalogue that have expired and change nothing any more.",
    "Delete or renew them; `regionresolver catalogue lint` names them with their owners.",
)
BREAKER: Final = fact(
    "policy_breaker_tripped",
    "1 while the policy's runtime breaker has tripped.",
    "See docs/policy-operations.md, the runtime breaker: look for what denied so much, then roll the policy back, or reset.",
    "action",
)
BREAKER_WINDOW: Final = fact(
    "policy_breaker_window_decisions",
    "Decisions of all workers in the breaker's window as of its last check, by `effect`: all of them, and those denied.",
    "Denials over all, against `deny_share`, say how near the breaker is to trip.",
    "effect",
)
LANE_ON: Final = fact(
    "lane_on",
    "1 where the compiled lane answers, 0 where everything goes to aiohttp.",
    "0 without the setting: the event `lane_off` says why. The service works, at twenty times the CPU.",
)
NAMES_LEFT_OUT: Final = fact(
    "metric_names_left_out",
    "How often a route, region, rule or override found no place of its own in the counters, and counts as `(other)`.",
    "Above 0: since the start more names came than there are places. A restart of the service forgets those that are gone.",
    "sort",
)


TALLIES: Final = 8
"""How many policies have totals of their own at a time; see `WorkerPage.totals_of`."""
