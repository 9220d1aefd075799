"""From the file that pytest-benchmark writes to figures: nanoseconds an item, ratios, and targets reached or not.

A contestant has one figure a round, the median of its passes. What is reported is the median over the rounds, and the
quartiles beside it as the spread. A ratio is taken within each round first, then its median over the rounds.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.lookup.databases import EVERY_NAME, REGIONS
from benchmarks.lookup.forms import (
    ARROW,
    BARE_WALK,
    C_CALL,
    GET,
    LINES,
    MANY,
    PLMN_LINES,
    PLMN_TEXT,
    RUST_MANY,
    RUST_PATH,
    TEXT,
)
from benchmarks.lookup.plan import PLMNS
from benchmarks.lookup.streams import HOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

REFERENCE_CALL_NS = 8.3
"""What a C no-op call cost on the machine for which the absolute targets were set."""

_MIB = 1 << 20
_NS_A_SECOND = 1e9


class Key(NamedTuple):
    """Whose time it is."""

    database: str
    stream: str
    form: str
    image: str | None = None


@dataclass(frozen=True)
class Spread:
    """A median, the quartiles around it, and of how many values."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0], 1)
        low, middle, high = quantiles(values, n=4, method="inclusive")
        return cls(middle, low, high, len(values))

    def scaled(self, factor: float) -> Spread:
        """Return it in another unit."""
        return Spread(self.median * factor, self.low * factor, self.high * factor, self.rounds)

    def inverse(self, numerator: float) -> Spread:
        """Return `numerator` divided by it."""
        return Spread(numerator / self.median, numerator / self.high, numerator / self.low, self.rounds)


class Timings:
    """Nanoseconds an item, by whose they are and by round."""

    def __init__(self, benchmarks: Iterable[Mapping[str, Any]]) -> None:
        """Read the list `benchmarks` of pytest-benchmark's JSON."""
        self._rounds: dict[Key, dict[int, float]] = defaultdict(dict)
        for each in benchmarks:
            told = each["extra_info"]
            key = Key(told["database"], told["stream"], told["form"], told["image"])
            self._rounds[key][told["round"]] = each["stats"]["median"] * _NS_A_SECOND / told["count"]

    def __iter__(self) -> Iterator[Key]:
        """Iterate over the keys, in the order in which they were timed first."""
        return iter(self._rounds)

    def ns(self, key: Key) -> Spread | None:
        """Return the time of one item, None when it was not timed."""
        rounds = self._rounds.get(key)
        return Spread.of(list(rounds.values())) if rounds else None

    def ratio(self, slower: Key, faster: Key) -> Spread | None:
        """Return how many times as long one takes as the other, None when no round timed both."""
        one, other = self._rounds.get(slower, {}), self._rounds.get(faster, {})
        both = [one[number] / other[number] for number in one if number in other]
        return Spread.of(both) if both else None


# ---- targets ----


@dataclass(frozen=True)
class Target:
    """A figure to reach.

    `scaling` says how it changes with the speed of the machine: 1 as a time does, -1 as a rate, 0 as a ratio, not at all.
    """

    id: str
    figure: str
    limit: float
    unit: str
    is_least: bool
    reached: Spread
    scaling: int = 0

    def passes(self) -> bool:
        """Tell whether the median reaches it."""
        return self.reached.median >= self.limit if self.is_least else self.reached.median <= self.limit

    def normalised(self, call_ns: float | None) -> float | None:
        """Return what it would be if all speed were that of a call of a C function; None for a ratio."""
        if not self.scaling or not call_ns:
            return None
        return self.reached.median * (REFERENCE_CALL_NS / call_ns) ** self.scaling

    def document(self, call_ns: float | None) -> dict[str, object]:
        """Return it for the JSON report."""
        return {
            "id": self.id,
            "figure": self.figure,
            "limit": self.limit,
            "unit": self.unit,
            "at_least": self.is_least,
            "reached": self.reached.median,
            "low": self.reached.low,
            "high": self.reached.high,
            "normalised": self.normalised(call_ns),
            "passes": self.passes(),
        }


class Targets:
    """Collects the targets of which this run can tell."""

    def __init__(self, timings: Timings) -> None:
        """Take the timings that most of them are about."""
        self.timings = timings
        self.found: list[Target] = []

    def at_least(self, number: str, figure: str, limit: float, unit: str, reached: Spread | None, scaling: int = 0) -> None:
        """Add a target that is reached from below."""
        if reached:
            self.found.append(Target(number, figure, limit, unit, True, reached, scaling))

    def at_most(self, number: str, figure: str, limit: float, unit: str, reached: Spread | None, scaling: int = 0) -> None:
        """Add a target that is reached from above."""
        if reached:
            self.found.append(Target(number, figure, limit, unit, False, reached, scaling))

    def single(self, database: str, schema: str) -> None:
        """A1: one address of Zipf's IPv4 against the peers."""
        for image in (REGIONS, EVERY_NAME):
            ours = Key(database, "zipf v4", TEXT, image)
            limits = ((BARE_WALK, 4.0), (RUST_PATH[2], 12.0), (GET, {"nested": 100.0, "flat": 14.0}[schema]))
            for form, limit in limits:
                reached = self.timings.ratio(Key(database, "zipf v4", form), ours)
                self.at_least("A1", f"lookup(str) against {form}; {database} ({schema}), {image}, zipf v4", limit, "x", reached)

    def hot(self, database: str) -> None:
        """A2: the same address again and again, against a call that does nothing."""
        ours = Key(database, HOT, TEXT, REGIONS)
        self.at_most("A2", "hot lookup(str) in C no-op calls", 2.5, "x", self.timings.ratio(ours, Key(database, HOT, C_CALL)))
        self.at_most("A2", "hot lookup(str)", 20.0, "ns", self.timings.ns(ours), 1)

    def texts(self, database: str) -> None:
        """A3, A4: text in batches."""
        for stream in ("uniform v4", "zipf v4", "sequential v4"):
            for form in (LINES, ARROW):
                ns = self.timings.ns(Key(database, stream, form, REGIONS))
                rate = ns.inverse(1000.0) if ns else None
                self.at_least("A3", f"{form}; {database}, {stream}", 100.0, "million/s", rate, -1)
        for form in (LINES, ARROW):
            ns = self.timings.ns(Key(database, "zipf mixed", form, REGIONS))
            self.at_most("A4", f"{form}; {database}, zipf mixed", 25.0, "ns", ns, 1)
        for stream in ("zipf v4", "zipf mixed"):
            for form in RUST_MANY.values():
                reached = self.timings.ratio(Key(database, stream, form), Key(database, stream, MANY, REGIONS))
                self.at_least("A4", f"{MANY} against {form}; {database}, {stream}", 30.0, "x", reached)

    def image(self, database: str, facts: Mapping[str, Any], memory: Mapping[str, Any]) -> None:
        """A5: compiling, opening, memory."""
        for image, figures in memory.items():
            compiling = Spread.of(figures["compile_seconds"])
            self.at_most("A5", f"compile {database}, {image}", 1.5, "s", compiling, 1)
            peak = Spread.of([figures["compile_peak_rss_bytes"] / 1e6])
            self.at_most("A5", f"peak memory of compiling {database}, {image}", 600.0, "MB", peak)
            size = Spread.of([facts["bytes"] / figures["image_bytes"]])
            self.at_least("A5", f"MMDB size by image size; {database}, {image}", 7.0, "x", size)
            opening = figures["open"]
            self.at_most("A5", f"open; {database}, {image}", 50.0, "us", Spread.of(opening["header_seconds"]).scaled(1e6), 1)
            verified = Spread.of(opening["verified_seconds"]).scaled(1e3)
            self.at_most("A5", f"verified open; {database}, {image}", 5.0, "ms", verified, 1)
            if "process" in figures:
                private = Spread.of([figures["process"]["forked"]["private_bytes"] / _MIB])
                self.at_most("A5", f"private memory of a further worker; {database}", 10.0, "MiB", private)

    def digits(self) -> None:
        """A6: PLMNs."""
        name = PLMNS.name
        for stream in ("hot PLMN", "PLMN"):
            reached = self.timings.ratio(Key(name, stream, PLMN_TEXT), Key(name, stream, C_CALL))
            self.at_most("A6", f"{PLMN_TEXT} in C no-op calls, {stream}", 2.5, "x", reached)
        ns = self.timings.ns(Key(name, "PLMN", PLMN_LINES))
        self.at_least("A6", f"{PLMN_LINES}, PLMN", 100.0, "million/s", ns.inverse(1000.0) if ns else None, -1)


def targets_of(timings: Timings, databases: Mapping[str, Mapping[str, Any]], memory: Mapping[str, Any]) -> list[Target]:
    """Return the targets A1 to A6: A1 on each database, A2 to A5 on the first, whose size they were set for."""
    targets = Targets(timings)
    for name, facts in databases.items():
        targets.single(name, str(facts["schema"]))
    first = next(iter(databases), None)
    if first is not None:
        targets.hot(first)
        targets.texts(first)
        targets.image(first, databases[first], memory.get(first, {}))
    targets.digits()
    return targets.found


def call_ns(timings: Timings) -> float | None:
    """Return what a C no-op call cost here, with one object again and again; None when it was not timed."""
    found = [spread.median for key in timings if key.form == C_CALL and key.stream == HOT and (spread := timings.ns(key))]
    return median(found) if found else None
