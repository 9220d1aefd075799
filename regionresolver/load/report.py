"""What a load test found: one JSON schema, and the rule by which a latency is withheld.

The engine keeps two histograms: of latencies, and of what is left of each when all that the generator may have caused is
taken off (`at_least`). A percentile is given when at least three quarters of it are sure; else `us` is null, and `at_least_us`
is all that can be said. The same holds for the maximum and for the windowed percentile. Errors are counted by kind, and those
that are an age (timeout, not_sent) are in the histogram too.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final, Literal

from pydantic import BaseModel, ConfigDict

from regionresolver.load.plan import Schedule  # pydantic asks for it

if TYPE_CHECKING:
    from _fastpath.load_client import Client
    from regionresolver.load.histogram import Histogram

SCHEMA: Final = "regionresolver.load/1"
SURE_SHARE: Final = 0.75
BUSY_SHARE_MAX: Final = 0.97
PERCENTILES: Final = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9}
JUDGED: Final = ("p50", "p90", "p99")
"""The figures that the exit status is about. Of a thousandth one stall decides, wherever it came from."""
_NS_IN_US: Final = 1_000
_NS_IN_S: Final = 1_000_000_000


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Latency(_Part):
    """One figure: microseconds, or null when it is withheld, and how much of it is surely not the generator's."""

    us: float | None
    at_least_us: float


class PlanPart(_Part):
    """What was asked for."""

    target: str
    schedule: Schedule
    rate: float | None
    rate_to: float | None
    duration_s: float
    warm_up_s: float
    requests_max: int
    connections: int
    pipeline: int
    keep_alive: bool
    timeout_s: float
    mix: dict[str, float]
    batch_size: int
    seed: int
    pings: str
    core: int | None


class CeilingPart(_Part):
    """What the generator reached against a constant server on this machine, just before."""

    requests_per_s: float
    seconds: float
    connections: int
    pipeline: int
    over: Literal["tcp", "unix"]
    generator_core: int | None
    server_core: int | None
    busy_share: float


class CountsPart(_Part):
    """Requests: of the whole run, and (`counted`, `in_time`) of those that were planned after the warm-up."""

    planned: int
    sent: int
    answered: int
    counted: int
    in_time: int
    unfinished: int
    connections_opened: int
    connections_closed_idle: int
    sent_bytes: int
    received_bytes: int


class RatesPart(_Part):
    """A second: what the plan offers behind the warm-up (null in a closed loop), and the good answers until its end."""

    offered_per_s: float | None
    achieved_per_s: float
    limited_by: Literal["generator", "server", "plan"]


class OwnPart(_Part):
    """The generator itself: the bound of its delays, and how its processor treated it."""

    p50_us: float
    p99_us: float
    max_us: float
    busy_share: float
    cpu_s: float
    starved_s: float
    starved_share: float


class SamplesPart(_Part):
    """Answers that were looked at more closely; `wrong_at` are the first of those that differ: a line, and a member."""

    checked: int
    wrong: int
    wrong_at: list[str]


class IntervalPart(_Part):
    """About a second of the run, from the end of the warm-up."""

    at_s: float
    seconds: float
    answered: int
    errors: int
    p50_us: float
    p99_us: float


class Report(_Part):
    """A whole run."""

    schema_name: str
    version: str
    started_at: str
    counted_s: float
    interrupted: bool
    plan: PlanPart
    ceiling: CeilingPart | None
    counts: CountsPart
    rates: RatesPart
    latency_from: Literal["planned", "sent"]
    latency: dict[str, Latency]
    mean_us: float
    windows: int
    own: OwnPart
    errors: dict[str, int]
    statuses: dict[str, int]
    answered: dict[str, int]
    samples: SamplesPart
    intervals: list[IntervalPart]
    verdict: Literal["ok", "errors", "withheld"]
    reasons: list[str]

    @property
    def errors_total(self) -> int:
        """How much went wrong."""
        return sum(self.errors.values()) + self.samples.wrong

    def document(self) -> dict[str, object]:
        """Return JSON types; `schema` comes first."""
        found = self.model_dump(mode="json")
        return {"schema": found.pop("schema_name"), **found}


def figure(value_ns: int, at_least_ns: int) -> Latency:
    """Give a latency, or withhold it."""
    sure = at_least_ns >= SURE_SHARE * value_ns
    return Latency(us=value_ns / _NS_IN_US if sure else None, at_least_us=at_least_ns / _NS_IN_US)


def latencies(client: Client, latency: Histogram, at_least: Histogram) -> dict[str, Latency]:
    """Give every figure; none when there was no answer."""
    if not latency.total:
        return {}
    found = {name: figure(latency.percentile_ns(at), at_least.percentile_ns(at)) for name, at in PERCENTILES.items()}
    totals = client.totals()
    found["max"] = figure(totals["latency_max_ns"], totals["at_least_max_ns"])
    if windows := client.window_p99s_ns():
        found["windowed_p99"] = figure(int(median(one for one, _ in windows)), int(median(sure for _, sure in windows)))
    return found


def own_part(client: Client, own: Histogram, cpu_s: float, starved_s: float, whole_s: float) -> OwnPart:
    """Tell of the generator."""
    totals = client.totals()
    return OwnPart(
        p50_us=own.percentile_ns(50) / _NS_IN_US,
        p99_us=own.percentile_ns(99) / _NS_IN_US,
        max_us=totals["own_max_ns"] / _NS_IN_US,
        busy_share=max(0.0, 1 - totals["idle_ns"] / _NS_IN_S / whole_s),
        cpu_s=cpu_s,
        starved_s=starved_s,
        starved_share=min(1.0, starved_s / whole_s),
    )


def rates_part(client: Client, plan: PlanPart, own: OwnPart) -> RatesPart:
    """Tell what was offered and what came of it. In a closed loop a generator that never waits is what was measured."""
    totals, seconds = client.totals(), counted_s(client)
    achieved = totals["in_time"] / seconds
    if plan.schedule == "closed":
        limited_by = "generator" if own.busy_share > BUSY_SHARE_MAX else "server"
        return RatesPart(offered_per_s=None, achieved_per_s=achieved, limited_by=limited_by)
    planned = totals["counted_planned"] / seconds
    kept_up = achieved >= 0.98 * planned or totals["in_time"] + 100 >= totals["counted_planned"]
    limited_by = "plan" if kept_up else "generator" if own.busy_share > BUSY_SHARE_MAX else "server"
    return RatesPart(offered_per_s=planned, achieved_per_s=achieved, limited_by=limited_by)


def counted_s(client: Client) -> float:
    """Give how long was counted; of a run that was stopped in its warm-up next to nothing."""
    return max((client.counted_until_ns - client.counting_since_ns) / _NS_IN_S, 1e-9)


def judge(report: Report) -> Report:
    """Add the verdict and the reasons for it, in words."""
    reasons = []
    if report.errors_total:
        kinds = [f"{count:,} {kind}" for kind, count in report.errors.items() if count]
        kinds += [f"{report.samples.wrong:,} wrong on a closer look"] if report.samples.wrong else []
        reasons.append(f"errors: {', '.join(kinds)}")
    withheld = [name for name in JUDGED if name in report.latency and report.latency[name].us is None]
    if withheld:
        reasons.append(
            f"withheld: {', '.join(withheld)}: more than a quarter of it may be the generator's own "
            f"(its delays: p50 {report.own.p50_us:.0f} us, p99 {report.own.p99_us:.0f} us)"
        )
    limited = report.rates.limited_by == "generator"
    if limited:
        reasons.append(f"the generator never waited (busy {report.own.busy_share:.0%}): the server may be faster than this")
    if (withheld or limited) and report.own.starved_share > 0.01:
        reasons.append(f"the generator waited {report.own.starved_s:.2f} s for a processor: give it one of its own (--core)")
    if report.rates.limited_by == "server" and report.rates.offered_per_s is not None:
        reasons.append("the server did not keep up with the plan, so latencies grow with its duration")
    verdict: Literal["ok", "errors", "withheld"] = "ok"
    if report.errors_total or not report.counts.answered:
        verdict = "errors"
    elif withheld or limited:
        verdict = "withheld"
    return report.model_copy(update={"verdict": verdict, "reasons": reasons})
