"""Draw what a decision costs with 1 to 1,000 rules: the compiled table, and the same rules asked one after the other.

    python -m benchmarks.policy_rules --svg docs/images/policy-rules.svg

Both sides get the same pings with the resolution already made, and are called from Python: `PolicyTable.verdict`, and a
loop over the rules' conditions up to the first that decides. A figure is CPU time, since other work may share the host:
the best of at least REPEATS passes over all pings, in at least half a second, divided by their number. The compiled side
is measured twice (A/A): that is the noise. The policies are those of `test_policy`.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from _fastpath.fusion import CONFLICT_BITS
from benchmarks.made_policies import catalogue
from benchmarks.test_policy import AT, PINGS, codes, pings, policy
from regionresolver.model import Conflict, Evidence, PingFacts, Resolution, Signal, SignalStatus
from regionresolver.policy import CompiledPolicy
from regionresolver.policy.model import Mode
from regionresolver.policy.table import from_microseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.test_policy import Ping
    from regionresolver.policy.rules import CompiledRule

COUNTS = (1, 3, 10, 30, 100, 300, 1000)
REPEATS = 7
LEAST_NS = 500_000_000
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 420, 70, 50, 690, 360
NS_LOW, NS_HIGH = 50, 2_000_000


class Row(NamedTuple):
    """What one policy costs, in nanoseconds a decision and seconds to compile."""

    rules: int
    table_ns: float
    again_ns: float
    one_by_one_ns: float
    compile_s: float


def main() -> None:
    """Measure, print the table, and write the picture."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--svg", type=Path, help="write the picture here")
    svg: Path | None = arguments.parse_args().svg
    rows = [measured(count) for count in COUNTS]
    print(f"CPython {platform.python_version()}, {PINGS} pings, CPU time, best of {REPEATS} passes or more")
    print("| rules | compiled table | again (A/A) | rule after rule, in Python | compile |")
    print("|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.rules:,} | {row.table_ns:,.0f} ns | {row.again_ns:,.0f} ns | {row.one_by_one_ns:,.0f} ns "
            f"| {row.compile_s * 1000:,.0f} ms |"
        )
    if svg is not None:
        svg.write_text(drawn(rows), encoding="utf-8")


def measured(count: int) -> Row:
    """Measure both sides on the policy of `count` rules."""
    began = time.process_time()
    compiled = CompiledPolicy(policy(count), catalogue(), codes())
    table = compiled.timeline.at(AT)
    compile_s = time.process_time() - began
    words = [in_words(ping) for ping in pings()]
    rules = [(number, rule) for number, rule in enumerate(compiled.rules) if rule.rule.mode is Mode.ENFORCE and rule.limit(AT)]
    for ping, worded in zip(pings(), words, strict=True):
        assert table.verdict(*ping)[0] == first(rules, *worded), "the two sides must decide alike"

    def by_table() -> None:
        for ping in pings():
            table.verdict(*ping)

    def one_by_one() -> None:
        for resolution, facts in words:
            first(rules, resolution, facts)

    return Row(count, best_ns(by_table), best_ns(by_table), best_ns(one_by_one), compile_s)


def best_ns(once: Callable[[], None]) -> float:
    """Return the CPU time of the fastest pass, in nanoseconds a ping."""
    passes: list[int] = []
    while len(passes) < REPEATS or sum(passes) < LEAST_NS:
        began = time.process_time_ns()
        once()
        passes.append(time.process_time_ns() - began)
    return min(passes) / PINGS


def first(rules: list[tuple[int, CompiledRule]], resolution: Resolution, facts: PingFacts) -> int | None:
    """Return the position of the first of the rules whose conditions all hold."""
    return next((number for number, rule in rules if all(one.met(resolution, facts, AT) for one in rule.conditions)), None)


def in_words(ping: Ping) -> tuple[Resolution, PingFacts]:
    """Return a ping of the compiled side as the objects that conditions ask."""
    region_id, conflicts, confidence, home_id, _, _, home_status, sku, sold_in, device, activated = ping
    region, home = codes()[region_id], codes()[home_id]
    evidence = Evidence(Signal.HOME_PLMN, SignalStatus.OK, None, (home,) if home else (), 0.4, used=False)
    resolution = Resolution(
        region=region,
        country=None,
        subdivision=None,
        region_name=None,
        confidence=confidence / 100,
        basis=None,
        conflicts=tuple(conflict for conflict in Conflict if conflicts & CONFLICT_BITS[conflict]),
        evidence=(evidence,) if home_status or home else (),
        row="",
        warnings=(),
        data="",
    )
    facts = PingFacts(
        sku=sku.decode(),
        sold_in=None if sold_in is None else sold_in.decode(),
        device_id=device.decode(),
        first_activated_at=None if activated is None else from_microseconds(activated),
    )
    return resolution, facts


def drawn(rows: list[Row]) -> str:
    """Return the picture: both axes are logarithmic."""
    decades = [100, 1_000, 10_000, 100_000, 1_000_000]
    names = ["100 ns", "1 µs", "10 µs", "100 µs", "1 ms"]
    style = 'font-family="sans-serif" font-size="13" role="img"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {style}>',
        "<title>Time of one decision by the number of rules, both axes logarithmic</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="26" font-size="16">Time of one decision by the number of rules</text>',
    ]
    for value, name in zip(decades, names, strict=True):
        parts.append(f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{name}</text>')
    for count in (1, 10, 100, 1000):
        parts.append(f'<line x1="{x(count):.1f}" x2="{x(count):.1f}" y1="{TOP}" y2="{BOTTOM}" stroke="#eee"/>')
        parts.append(f'<text x="{x(count):.1f}" y="{BOTTOM + 20}" text-anchor="middle">{count:,}</text>')
    parts.append(f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 44}" text-anchor="middle">rules in the policy</text>')
    parts += line([(row.rules, row.one_by_one_ns) for row in rows], "#b5651d", "rule after rule, in Python", -12)
    parts += line([(row.rules, row.table_ns) for row in rows], "#1b6ca8", "compiled table", -12)
    return "\n".join([*parts, "</svg>", ""])


def line(points: list[tuple[int, float]], colour: str, name: str, shift: int) -> list[str]:
    """Return one series with its dots, its name, and its first and last figure."""
    path = " ".join(f"{x(rules):.1f},{y(ns):.1f}" for rules, ns in points)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>']
    parts += [f'<circle cx="{x(rules):.1f}" cy="{y(ns):.1f}" r="4" fill="{colour}"/>' for rules, ns in points]
    middle = points[len(points) // 2]
    style = f'text-anchor="end" fill="{colour}" font-weight="bold"'
    parts.append(f'<text x="{x(middle[0]):.1f}" y="{y(middle[1]) + shift:.1f}" {style}>{name}</text>')
    for (rules, ns), anchor, below in ((points[0], "start", 20), (points[-1], "end", 28)):
        text = f"{ns:,.0f} ns" if ns < 10_000 else f"{ns / 1000:,.0f} µs"
        parts.append(f'<text x="{x(rules):.1f}" y="{y(ns) + below:.1f}" text-anchor="{anchor}" fill="{colour}">{text}</text>')
    return parts


def x(rules: float) -> float:
    """Return the place of a number of rules."""
    return LEFT + 16 + (RIGHT - LEFT - 32) * log_share(rules, 1, 1000)


def y(ns: float) -> float:
    """Return the place of a time."""
    return BOTTOM - (BOTTOM - TOP) * log_share(ns, NS_LOW, NS_HIGH)


def log_share(value: float, low: float, high: float) -> float:
    """Return where a value lies between two others, by its logarithm."""
    return math.log(value / low) / math.log(high / low)


if __name__ == "__main__":
    main()
