"""Time: one place reads the clock, dated rules flip on the microsecond in a resolver that lives on, a year takes a second."""

from __future__ import annotations

import ast
import datetime as dt
import re
import time
from typing import TYPE_CHECKING

import pytest

from regionresolver import Resolver
from regionresolver.policy.clock import now
from tests.paths import ROOT
from tests.worlds import city_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The wall clock by its names in Python and in C. What only measures how long something takes is none.
WALL_CLOCK = {
    "time.time",
    "time.time_ns",
    "time.clock_gettime",
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
}
C_CLOCK = re.compile(r"\b(?:clock_gettime|gettimeofday|time)\s*\((?!CLOCK_MONOTONIC)|\bdatetime\.now\b|\btime\.time\b")

YEAR = 2026
DAYS = [dt.datetime(YEAR, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=number) for number in range(365)]
MICROSECOND = dt.timedelta(microseconds=1)


def dotted_names(source: str) -> Iterator[str]:
    """Yield the last two names of each dotted expression, whatever module `datetime` was imported from."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            yield f"{owner}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (f"time.{alias.name}" for alias in node.names)


def test_the_clock_is_read_in_one_place() -> None:
    files = [*ROOT.glob("regionresolver/**/*.py")]
    assert len(files) > 80
    readers = {
        str(path.relative_to(ROOT)): sorted(found)
        for path in files
        if (found := WALL_CLOCK.intersection(dotted_names(path.read_text(encoding="utf-8"))))
    }
    assert readers == {}
    compiled = {path.name: C_CLOCK.findall(path.read_text(encoding="utf-8")) for path in ROOT.glob("_fastpath/*.py[xd]")}
    assert {name: len(found) for name, found in compiled.items() if found} == {"engine.pyx": 1}


@pytest.mark.parametrize(
    "source",
    ["import time\ntime.time()", "from datetime import datetime\ndatetime.now()", "import datetime as dt\ndt.date.today()"],
)
def test_the_scan_sees_a_clock(source: str) -> None:
    assert WALL_CLOCK.intersection(dotted_names(source))


def test_now_is_the_time_of_the_system() -> None:
    assert abs(now().timestamp() - time.time()) < 5
    assert now().tzinfo is dt.UTC


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return city_database(tmp_path_factory.mktemp("city") / "city.mmdb")


def test_a_window_opens_and_closes_on_the_microsecond_in_a_resolver_that_lives_on(city: Path, tmp_path: Path) -> None:
    opens, closes = (
        dt.datetime(2026, 3, 1, tzinfo=dt.UTC),
        dt.datetime(2026, 3, 1, 0, 0, 0, 1, tzinfo=dt.UTC) + dt.timedelta(hours=1),
    )
    file = tmp_path / "window.toml"
    file.write_text(
        '[policy]\nname = "window"\nversion = 1\n[[rules]]\nid = "cuba"\nwhen = { region = ["CU"] }\neffect = "deny"\n'
        f"effective = {{ from = {opens.isoformat()}, until = {closes.isoformat()} }}\n",
        encoding="utf-8",
    )
    with Resolver.open(city, file) as resolver:
        steps = [opens - MICROSECOND, opens, closes - MICROSECOND, closes]
        for order in (steps, steps[::-1], steps):  # forwards, back, and forwards again: no table is kept too long
            said = {at: resolver.decide(serving="36801", at=at).effect.value for at in order}
            assert [said[at] for at in steps] == ["allow", "deny", "deny", "allow"]


def test_a_whole_year_of_a_policy_takes_a_second(city: Path, tmp_path: Path) -> None:
    """Every day of the year has a rule of its own, which denies from noon to one o'clock."""
    noons = [day + dt.timedelta(hours=12) for day in DAYS]
    rules = "".join(
        f'[[rules]]\nid = "day-{number}"\nwhen = {{ region = ["CU"] }}\neffect = "deny"\n'
        f"effective = {{ from = {noon.isoformat()}, until = {(noon + dt.timedelta(hours=1)).isoformat()} }}\n"
        for number, noon in enumerate(noons)
    )
    file = tmp_path / "year.toml"
    file.write_text('[policy]\nname = "year"\nversion = 1\n' + rules, encoding="utf-8")
    with Resolver.open(city, file) as resolver:
        began_s = time.perf_counter()
        denials = [
            (number, hour)
            for number, day in enumerate(DAYS)
            for hour in range(24)
            if resolver.decide(serving="36801", at=day + dt.timedelta(hours=hour)).verdict.rule == f"day-{number}"
        ]
        took_s = time.perf_counter() - began_s
    assert denials == [(number, 12) for number in range(365)]
    assert took_s < 10, "8,760 decisions with 730 changes of the calendar; a second on an idle core"
