"""Tables of what was measured, the targets and what was reached of them, and the record of a run."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.record import Figure, Layer, Measurement, Record, make_record

if TYPE_CHECKING:
    import argparse

    from benchmarks.http.bench import Round

Results = dict[str, dict[str, "list[Round]"]]

COLUMNS = (("p50_us", "p50 us"), ("p99_us", "p99 us"), ("p999_us", "p99.9 us"), ("windowed_p99_us", "windowed p99"))
OURS = {"lane", "lane_again", "lane_get", "lane_rules", "lane_two_databases", "lane_unix", "no_lane", "workers_1", "workers_2"}
YARDSTICKS = {"floor", "floor_unix", "uvloop", "plain"}


@dataclass(frozen=True)
class Target:
    """A ratio to be reached: of rates (`is_least`), or of latencies or costs, which are to be at most so much."""

    figure: str
    scenario: str
    ours: str
    theirs: str
    limit: float
    is_least: bool = True
    column: str = "rate"
    their_scenario: str = ""


TARGETS = (
    *(
        Target("B1", scenario, "lane", theirs, limit)
        for scenario in ("get_64", "get_256")
        for theirs, limit in (("nginx", 1.2), ("haproxy", 1.45), ("plain", 4.5), ("floor", 0.84))
    ),
    Target("B1, stretch", "get_64", "lane", "floor", 0.95),
    Target("B2", "post_64", "lane", "floor", 0.8),
    *(
        Target("B3", f"open_{share}", "lane", "nginx", 1.05, is_least=False, column="windowed_p99_us")
        for share in ("30%", "50%", "70%")
    ),
    *(
        Target(
            "B3, same rate", f"open_nginx_{share}", "lane", "nginx", 1, is_least=False, column="windowed_p99_us",
            their_scenario=f"open_{share}",
        )
        for share in ("30%", "50%", "70%")
    ),
    Target("B4", "pipelined_16", "lane", "nginx", 10),
    Target("B4", "unix_socket", "lane_unix", "nginx_unix", 1.3),
    Target("B4", "odd_5_percent", "lane", "lane_get", 0.7),
    *(
        Target("B7", scenario, ours, "plain", 1.05, is_least=False, column="cpu_us")
        for scenario in ("slow_get", "slow_post")
        for ours in ("lane", "no_lane")
    ),
    *(
        Target("B9", scenario, ours, "lane", 0.97)
        for scenario in ("more_get", "more_post")
        for ours in ("lane_again", "lane_rules", "lane_two_databases")
    ),
)  # fmt: skip
FOOTPRINT = (
    ("B4", "idle_connection_bytes", 3 * 1024, "KiB an idle connection", 1024),
    ("B8", "worker_private_bytes", 60 << 20, "MiB private, 1,000 connections", 1 << 20),
    ("B8", "start_s", 1, "s from start to ready, compiled image", 1),
)


def middle(rounds: list[Round], column: str) -> tuple[float, float]:
    """Give the median of a column, and its spread."""
    return median_and_spread([one[column] for one in rounds])


def median_and_spread(values: list[float]) -> tuple[float, float]:
    """Give the median, and half of the range of the middle half of the values over it."""
    median = statistics.median(values)
    quarters = statistics.quantiles(values, n=4) if len(values) > 1 else [median] * 3
    return median, (quarters[2] - quarters[0]) / 2 / median if median else 0.0


def ratio(ours: list[Round], theirs: list[Round], column: str) -> float:
    """Give the median of the rounds' ratios."""
    return statistics.median(a[column] / b[column] for a, b in zip(ours, theirs, strict=True))


def show(results: Results, left_out: dict[str, str]) -> None:
    """Print what was measured."""
    print(f"{'':18}{'':18}{'requests/s':>17}{'CPU us/request':>17}{'core':>6}" + "".join(f"{title:>14}" for _, title in COLUMNS))
    for scenario, found in results.items():
        for name, rounds in found.items():
            rate, rate_spread = middle(rounds, "rate")
            cpu, cpu_spread = middle(rounds, "cpu_us")
            core, _ = middle(rounds, "core")
            rest = "".join(f"{middle(rounds, column)[0]:14,.0f}" for column, _ in COLUMNS if column in rounds[0])
            print(f"{scenario:18}{name:18}{rate:11,.0f} ±{rate_spread:4.0%}{cpu:11.2f} ±{cpu_spread:4.0%}{core:6.2f}{rest}")
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}")


def targets(results: Results, footprint: dict[str, float]) -> list[Measurement]:
    """Print each target that was measured and what was reached; give them as measurements."""
    print(f"\n{'':15}{'':20}{'':22}{'target':>9}{'reached':>9}{'by CPU':>9}")
    reached = [line for target in TARGETS if (line := _reached(target, results)) is not None]
    if "workers" in results:
        found = results["workers"]
        both = 2 * ratio(found["workers_1"], found["workers_2"], "cpu_us")
        reached.append(_line("B6", "workers", "two against one, from CPU a request", 1.8, None, both, is_least=True))
    if "workers_batch" in results:
        found = results["workers_batch"]
        both = 2 * ratio(found["workers_1"], found["workers_2"], "cpu_us")
        reached.append(_line("B6", "workers_batch", "the same in batches", 1.8, None, both, is_least=True))
    for figure, name, limit, words, unit in FOOTPRINT:
        if name in footprint:
            reached.append(_line(figure, "footprint", words, limit / unit, footprint[name] / unit, None, is_least=False))
    return reached


def _reached(target: Target, results: Results) -> Measurement | None:
    ours = results.get(target.scenario, {}).get(target.ours)
    theirs = results.get(target.their_scenario or target.scenario, {}).get(target.theirs)
    if ours is None or theirs is None:
        return None
    value = ratio(ours, theirs, target.column)
    by_cpu = ratio(theirs, ours, "cpu_us") if target.column == "rate" else None
    words = f"{target.ours} / {target.theirs} {'' if target.column == 'rate' else target.column}"
    return _line(target.figure, target.scenario, words, target.limit, value, by_cpu, is_least=target.is_least)


def _line(
    figure: str, scenario: str, words: str, limit: float, value: float | None, by_cpu: float | None, *, is_least: bool
) -> Measurement:
    judged = value if value is not None else by_cpu
    assert judged is not None
    is_reached = judged >= limit if is_least else judged <= limit
    shown = "".join("         " if one is None else f"{one:9.2f}" for one in (value, by_cpu))
    print(f"{figure:15}{scenario:20}{words:40}{'>=' if is_least else '<='}{limit:5.2f}{shown}  {'' if is_reached else 'SHORT'}")
    figures = [Figure(name="reached", value=judged, unit="ratio", better="higher" if is_least else "lower")]
    figures.append(Figure(name="target", value=limit, unit="ratio", better="neither"))
    return Measurement(layer="service", stage=f"{figure} {words}", conditions={"scenario": scenario}, figures=tuple(figures))


def record_of(results: Results, reached: list[Measurement], options: argparse.Namespace) -> Record:
    """Make the record of a run: every scenario and server, then the targets."""
    measured = [
        Measurement(
            layer=_layer(name),
            stage=f"{scenario} {name}",
            conditions={"scenario": scenario, "server": name},
            figures=tuple(_figures(rounds)),
        )
        for scenario, found in results.items()
        for name, rounds in found.items()
    ]
    return make_record([*measured, *reached], conditions={"rounds": options.rounds, "seconds": options.seconds})


def _layer(name: str) -> Layer:
    return "service" if name in OURS else "yardstick" if name in YARDSTICKS else "peer"


def _figures(rounds: list[Round]) -> list[Figure]:
    names = {"rate": ("rate", "1/s", 1.0), "cpu_us": ("cpu", "ns", 1e3), "core": ("core", "share", 1.0)}
    names |= {column: (column.removesuffix("_us"), "ns", 1e3) for column, _ in COLUMNS}
    figures = []
    for column, (name, unit, factor) in names.items():
        if column in rounds[0]:
            values = [one[column] * factor for one in rounds]
            quarters = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
            better = "higher" if column == "rate" else "neither" if column == "core" else "lower"
            median = statistics.median(values)
            figures.append(
                Figure(name=name, value=median, unit=unit, low=quarters[0], high=quarters[2], rounds=len(values), better=better)
            )
    return figures
