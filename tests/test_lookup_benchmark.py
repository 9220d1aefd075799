"""The lookup benchmark's own logic: streams, turns, figures, targets, tables. Nothing here depends on how fast anything is."""

from __future__ import annotations

import io
import json
import shutil
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.lookup import bare_walk, report
from benchmarks.lookup.__main__ import database_of, machine, parser, plan_of, timed
from benchmarks.lookup.databases import EVERY_NAME, IMAGES, REGIONS, Database, compiled
from benchmarks.lookup.figures import Key, Spread, Target, Timings, call_ns, targets_of
from benchmarks.lookup.forms import (
    BARE_WALK,
    C_CALL,
    GET,
    LINES,
    MANY,
    RUST_MANY,
    RUST_PATH,
    TEXT,
    Contestant,
    Name,
    check_agreement,
    names,
)
from benchmarks.lookup.memory import compile_once, memory_bytes, open_often
from benchmarks.lookup.plan import PLMNS, Plan
from benchmarks.lookup.streams import PLMN_STREAMS, STREAMS, plmns_of, stream_of
from regionresolver.index import Index
from tests.worlds import city_database

COUNT = 3000


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return Database("city", str(city_database(tmp_path_factory.mktemp("bench") / "city.mmdb")))


# ---- streams ----


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_says_the_same_in_every_form(name: str) -> None:
    stream = stream_of(name, COUNT)
    assert stream == stream_of(name, COUNT), "drawn with a fixed seed"
    addresses = [ip_address(text) for text in stream.texts]
    assert (stream.addresses, stream.numbers) == (addresses, list(map(int, addresses)))
    assert stream.lines.decode().split("\n") == stream.texts
    assert len(stream.packed16) == 16 * COUNT
    for place, address in enumerate(addresses):
        sixteen = IPv6Address(stream.packed16[16 * place : 16 * place + 16])
        assert (sixteen.ipv4_mapped or sixteen) == address == ip_address(stream.packed[place])


def test_what_the_streams_are() -> None:
    by_name = {name: stream_of(name, COUNT) for name in STREAMS}
    share = {name: sum(address.version == 4 for address in stream.addresses) / COUNT for name, stream in by_name.items()}
    assert all(share[name] == 1 for name in STREAMS if not name.endswith("mixed"))
    assert all(0.67 < share[name] < 0.73 for name in STREAMS if name.endswith("mixed"))
    different = {name: len(set(stream.texts)) for name, stream in by_name.items()}
    assert different["hot"] == 1
    assert different["sequential v4"] == COUNT
    assert different["uniform v4"] > 0.99 * COUNT
    assert different["zipf v4"] < 0.5 * COUNT
    numbers = by_name["sequential v4"].numbers
    assert numbers == list(range(numbers[0], numbers[0] + COUNT))


@pytest.mark.parametrize("name", PLMN_STREAMS)
def test_plmn_streams_are_plmns(name: str) -> None:
    texts = plmns_of(name, COUNT)
    assert len(texts) == COUNT
    assert all(text.replace("-", "").isdecimal() and (len(text) == 15) is (name == "IMSI") for text in texts)


# ---- turns ----


def test_turns_go_forwards_and_backwards() -> None:
    database = Database("d", "")
    turns = list(Plan((database,), ("zipf v4",), 10, 3).turns())
    wanted = names("zipf v4")
    rounds = [[(turn.form, turn.image) for turn in turns if turn.round == number] for number in range(3)]
    assert rounds == [wanted, wanted[::-1], wanted]
    assert len(turns) == 3 * len(wanted)


def test_plmns_are_asked_once_whatever_the_databases() -> None:
    turns = list(Plan((Database("a", ""), Database("b", "")), ("hot", "IMSI"), 10, 1).turns())
    assert [turn.database.name for turn in turns if turn.stream == "IMSI"].count(PLMNS.name) == 5
    assert {turn.database.name for turn in turns if turn.stream == "hot"} == {"a", "b"}


# ---- figures ----


def timing(key: Key, round_number: int, ns: float, count: int = 1000) -> dict[str, Any]:
    return {"extra_info": {**key._asdict(), "round": round_number, "count": count}, "stats": {"median": ns * count / 1e9}}


OURS = Key("city", "zipf v4", TEXT, REGIONS)
THEIRS = Key("city", "zipf v4", GET)


def test_a_figure_is_the_median_of_the_rounds() -> None:
    timings = Timings(timing(OURS, number, ns) for number, ns in enumerate((10.0, 20.0, 30.0, 40.0, 50.0)))
    found = timings.ns(OURS)
    assert found is not None
    assert (found.median, found.low, found.high, found.rounds) == pytest.approx((30.0, 20.0, 40.0, 5))
    assert timings.ns(THEIRS) is None


def test_a_ratio_is_taken_within_each_round() -> None:
    """A round that was slow for both leaves the ratio as it is."""
    slow = (1.0, 1.0, 5.0)
    each = [timing(OURS, number, 10 * factor) for number, factor in enumerate(slow)]
    each += [timing(THEIRS, number, 300 * factor) for number, factor in enumerate(slow)]
    each.append(timing(THEIRS, 3, 1.0))
    timings = Timings(each)
    found = timings.ratio(THEIRS, OURS)
    assert found is not None
    assert (found.median, found.low, found.high, found.rounds) == pytest.approx((30.0, 30.0, 30.0, 3))
    assert timings.ratio(Key("city", "hot", GET), OURS) is None


def test_a_rate_is_the_inverse_of_a_time_with_its_ends_exchanged() -> None:
    assert Spread(10.0, 8.0, 20.0, 3).inverse(1000.0) == Spread(100.0, 50.0, 125.0, 3)
    assert Spread(10.0, 8.0, 20.0, 3).scaled(0.5) == Spread(5.0, 4.0, 10.0, 3)


@pytest.mark.parametrize(
    ("is_least", "reached", "passes"), [(True, 12.0, True), (True, 11.9, False), (False, 12.0, True), (False, 12.1, False)]
)
def test_a_target_is_reached_or_not(is_least: bool, reached: float, passes: bool) -> None:
    assert Target("A1", "x", 12.0, "x", is_least, Spread.of([reached])).passes() is passes


@pytest.mark.parametrize(("scaling", "normalised"), [(1, 10.0), (-1, 40.0), (0, None)])
def test_what_depends_on_the_machine_is_normalised(scaling: int, normalised: float | None) -> None:
    """With calls of twice the time: a time halves, a rate doubles, a ratio stays."""
    target = Target("A2", "x", 1.0, "ns", True, Spread.of([20.0]), scaling)
    assert target.normalised(16.6) == (pytest.approx(normalised) if normalised else None)
    assert target.normalised(None) is None


# ---- a whole run, small ----

FACTS = {"city": {"schema": "nested", "database_type": "City", "bytes": 7000, "files": ["city.mmdb"]}}
OPEN = ("header", "header_cold", "verified", "verified_cold", "served")
IMAGE = {
    "image_bytes": 1000,
    "compile_seconds": [1.0, 2.0, 3.0],
    "compile_cpu_seconds": [1.0, 1.0, 1.0],
    "compile_peak_rss_bytes": 600_000_001,
    "open": {f"{name}_seconds": [10e-6, 20e-6] for name in OPEN},
}
PROCESS = {
    "looked_up": {"rss_bytes": 1 << 20, "private_bytes": 1 << 19},
    "forked": {"rss_bytes": 1 << 20, "private_bytes": 9 << 20},
}
MEMORY = {"city": {REGIONS: {**IMAGE, "process": PROCESS}, EVERY_NAME: IMAGE}}


def made_up() -> Timings:
    """Every contestant in every stream, in two rounds: ours takes 10 ns, a call of C too, all others 1,000."""
    ns = {C_CALL: 10.0, "empty loop": 5.0, BARE_WALK: 40.0, GET: 999.0, RUST_PATH[2]: 120.0, RUST_MANY[1]: 299.0}
    plan = Plan((Database("city", ""),), rounds=2)
    return Timings(
        timing(Key(turn.database.name, turn.stream, turn.form, turn.image), turn.round, ns.get(turn.form, 10.0))
        for turn in plan.turns()
    )


def test_the_targets_of_a_run() -> None:
    found = targets_of(made_up(), FACTS, MEMORY)
    assert [target.id for target in found] == sorted(target.id for target in found)
    assert {target.id for target in found} == {"A1", "A2", "A3", "A4", "A5", "A6"}
    passes = {target.figure: target.passes() for target in found}
    single = "lookup(str) against {}; city (nested), regions, zipf v4"
    assert passes[single.format(BARE_WALK)]
    assert passes[single.format(RUST_PATH[2])]
    assert not passes[single.format(GET)]
    assert passes[f"{LINES}; city, uniform v4"]
    assert not passes[f"{MANY} against {RUST_MANY[1]}; city, zipf v4"]
    assert not passes["compile city, regions"]
    assert not passes["peak memory of compiling city, regions"]
    assert passes["MMDB size by image size; city, every name"]
    assert passes["private memory of a further worker; city"]
    assert call_ns(made_up()) == pytest.approx(10.0)


def test_the_flat_schema_has_a_limit_of_its_own() -> None:
    limits = {
        target.limit
        for target in targets_of(made_up(), {"city": {**FACTS["city"], "schema": "flat"}}, {})
        if GET in target.figure
    }
    assert limits == {14.0}


def test_without_anything_timed_there_are_no_targets() -> None:
    assert targets_of(Timings([]), {}, {}) == []


CONDITIONS = {"count": 10, "rounds": 2, "core": 0, "load_before": 0.5, "load_after": 1.5, "started": "2026-11-22", "seconds": 1.0}


def test_the_report_is_one_document_and_its_tables_say_the_same() -> None:
    run = {"machine": machine(), "versions": {"python": "3"}, "conditions": CONDITIONS, "notes": ["no walk"]}
    timings = made_up()
    told = report.document(run, timings, FACTS, MEMORY, targets_of(timings, FACTS, MEMORY))
    assert json.loads(json.dumps(told)) == told
    assert told["schema"] == "regionresolver.bench-lookup/1"
    assert {"machine", "versions", "conditions", "notes", "call_ns", "databases", "timings", "ratios", "memory", "targets"} < {
        *told
    }
    assert {each["image"] for each in told["ratios"]} == set(IMAGES)
    text = report.markdown(told)
    assert "| >= 100 x | 99.9 x (99.9-99.9) | - | SHORT |" in text
    assert "nested schema. get builds the whole record as a dict" in text
    assert "no walk" in text
    widths = [
        {line.count(" | ") for line in table.splitlines() if line.startswith("|")}
        for table in text.split("### ")
        if table.count("\n| ") > 1
    ]
    assert all(len(width) == 1 for width in widths), "every row has as many cells as the heading"
    out = io.StringIO()
    for sheet in report.sheets(told):
        sheet.show(Console(file=out, width=300))
    assert out.getvalue().count("SHORT") == text.count("SHORT") > 0


def test_a_small_run_by_pytest_benchmark(city: Database, capfd: pytest.CaptureFixture[str]) -> None:
    timings = Timings(timed(Plan((city,), ("hot", "zipf mixed", "PLMN"), 300, 2)))
    capfd.readouterr()
    wanted = {"hot": {TEXT, C_CALL}, "zipf mixed": {TEXT, MANY, LINES, GET}}
    for stream, forms in wanted.items():
        assert forms <= {key.form for key in timings if key.stream == stream}
    found = timings.ns(Key("city", "zipf mixed", TEXT, EVERY_NAME))
    assert found is not None
    assert found.rounds == 2
    assert found.low > 0


def test_an_image_that_answers_otherwise_than_maxminddb_ends_the_run(city: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    city.check(["46.0.0.1", "2a02:20::1", "9.9.9.9"])
    monkeypatch.setattr(type(city.maxminddb), "record", lambda _peer, _text: {"country": {"iso_code": "ZM"}})
    with pytest.raises(AssertionError, match="maxminddb ZM, index None"):
        city.check(["9.9.9.9"])


def test_a_batch_that_answers_otherwise_than_lookup_ends_the_run(city: Database) -> None:
    stream = stream_of("uniform mixed", 300)
    wrong: dict[Name, Contestant] = {(MANY, REGIONS): Contestant(lambda: [None] * 300, 1)}
    with pytest.raises(AssertionError, match="answers otherwise than lookup"):
        check_agreement(wrong, city.lookups, stream.texts)


# ---- databases, memory, the command ----


def test_every_name_keeps_the_subdivisions_that_the_catalogue_leaves_out(city: Database) -> None:
    found = {}
    for image in IMAGES:
        index = Index.open(compiled(city.spec, image))
        found[image] = {region.subdivision_code for (region,) in index.values}
    assert len(found[EVERY_NAME]) >= len(found[REGIONS])
    assert city.schema == "nested"
    assert city.facts["bytes"] == Path(city.spec).stat().st_size


def test_memory_and_openings_are_measured(city: Database, tmp_path: Path) -> None:
    out = tmp_path / "image.rrx"
    compiling = compile_once(city.spec, REGIONS, str(out))
    assert compiling["image_bytes"] == out.stat().st_size
    assert compiling["peak_rss_bytes"] > 1 << 20
    assert all(seconds > 0 for seconds in open_often(str(out)).values())
    memory = memory_bytes()
    assert memory["peak_rss_bytes"] >= memory["rss_bytes"] >= memory["private_bytes"] > 0


def test_without_a_compiler_the_walk_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(bare_walk.UnavailableError, match="no C compiler: no-such-compiler"):
        bare_walk.library(tmp_path)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_what_cannot_be_compiled_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", "gcc")
    monkeypatch.setattr(bare_walk, "_source", lambda _release, build: build)
    with pytest.raises(bare_walk.UnavailableError, match=r"libmaxminddb cannot be compiled: .*error"):
        bare_walk.library(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--stream", "all"], "invalid choice"),
        (["--rounds", "0"], "not a number above 0"),
        (["--addresses", "many"], "not a number above 0"),
        (["--database", "file.mmdb"], "write NAME=FILE"),
        (["--database", "x=/no/such.mmdb"], "no such file"),
    ],
)
def test_the_command_refuses(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(arguments)
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err


def test_the_command_plans(city: Database, capsys: pytest.CaptureFixture[str]) -> None:
    database = f"city={city.spec}"
    assert database_of(database) == city
    assert plan_of(parser().parse_args(["--database", database])) == Plan((city,))
    quick = plan_of(parser().parse_args(["--quick", "--database", database, "--stream", "hot", "--rounds", "5"]))
    assert (quick.streams, quick.rounds) == (("hot",), 5)
    assert quick.count < Plan((city,)).count
    with pytest.raises(SystemExit, match="0"):
        parser().parse_args(["--help"])
    assert "make bench-lookup ARGS=" in capsys.readouterr().out


def test_without_a_database_the_command_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.lookup.__main__.default_databases", list)
    with pytest.raises(SystemExit, match="make bench-lookup"):
        plan_of(parser().parse_args([]))
