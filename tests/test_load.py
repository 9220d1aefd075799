"""Load tests as a product: plans, pings, reports and what is withheld in them, the command line, the histogram files."""

from __future__ import annotations

import json
import os
import pty
import random
import signal
import subprocess
import sys
import time
from array import array
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from _fastpath.load_client import histogram_places
from regionresolver.cli import main
from regionresolver.errors import LoadError, UnreachableError
from regionresolver.load import SCHEMA, Floor, Mix, Plan, Report, Target, run
from regionresolver.load.floor import constant_answer
from regionresolver.load.histogram import Histogram, log_lines
from regionresolver.load.pings import SITUATIONS, made_pings
from regionresolver.load.report import figure, judge
from regionresolver.load.requests import made_requests
from regionresolver.resolver import Resolver
from tests.scripted_server import GOOD, ScriptedServer, answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUICK: dict[str, Any] = {"rate": 500, "duration_s": 0.4, "warm_up_s": 0.1, "connections": 4, "self_test_s": 0}


@pytest.fixture(scope="module")
def floor() -> Iterator[Floor]:
    with Floor() as found:
        yield found


def load(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["load", *arguments])


QUICK_FLAGS = ("--rate", "500", "--duration", "0.4", "--warm-up", "0.1", "--connections", "4", "--self-test", "0")


# --- Plans ---


@pytest.mark.parametrize(
    ("text", "shown", "name", "prefix"),
    [
        ("http://127.0.0.1", "http://127.0.0.1", "127.0.0.1", ""),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080", "127.0.0.1:8080", ""),
        ("http://[::1]:8080/region/", "http://[::1]:8080/region", "[::1]:8080", "/region"),
        ("unix:/run/x.sock", "unix:/run/x.sock", "localhost", ""),
    ],
)
def test_targets(text: str, shown: str, name: str, prefix: str) -> None:
    target = Target.parse(text)
    assert (target.shown, target.name, target.prefix) == (shown, name, prefix)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://example.org", "TLS is not spoken"),
        ("127.0.0.1:8080", "http://HOST"),
        ("http://", "http://HOST"),
        ("http://127.0.0.1:port", "no URL"),
        ("http://user:secret@127.0.0.1", "http://HOST"),
        ("http://127.0.0.1/?a=b", "http://HOST"),
        ("unix:", "path of a socket"),
        ("http://no-such-name.invalid", "not known"),
    ],
)
def test_targets_that_are_none(text: str, words: str) -> None:
    with pytest.raises(LoadError, match=words) as caught:
        Target.parse(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"rate": 0}, "--rate"),
        ({"rate": -1}, "--rate"),
        ({"rate": 1, "rate_to": -1}, "--rate"),
        ({"duration_s": 0}, "--duration"),
        ({"duration_s": float("nan")}, "--duration"),
        ({"connections": 0}, "--connections"),
        ({"pipeline": 2000}, "--pipeline"),
        ({"pipeline": 2, "keep_alive": False}, "--pipeline"),
        ({"timeout_s": 0}, "--timeout"),
        ({"mix": Mix(0, 0, 0)}, "--mix"),
        ({"mix": Mix(0, 0, 1, batch_size=0)}, "--batch-size"),
        ({"headers": ("X: a\r\nY: b",)}, "--header"),
        ({"headers": ("no colon",)}, "--header"),
    ],
)
def test_plans_that_cannot_be_name_their_flag(more: dict[str, Any], words: str) -> None:
    with pytest.raises(LoadError, match=words):
        Plan("http://127.0.0.1:1", **more)


def test_a_mix_is_read() -> None:
    assert Mix.parse("resolve=1,decisions=3").parts == {"resolve": 1, "decisions": 3}
    assert Mix.parse("batch").parts == {"batch": 1}
    for text in ("", "other=1", "resolve=x", "resolve=-1", "resolve=nan"):
        with pytest.raises(LoadError, match="--mix"):
            Mix.parse(text)


def test_made_pings_are_as_the_shares_say_and_the_same_for_a_seed() -> None:
    pings = made_pings(600, 3, phones=600)
    assert pings == made_pings(600, 3, phones=600) != made_pings(600, 4, phones=600)
    # Zipf's law: the first phone comes about 1 / H(600) of the time.
    first = max(sum(ping == one for ping in pings) for one in pings[:50])
    assert first > 600 / 7 * 0.6
    once = {json.dumps(ping, sort_keys=True) for ping in pings}
    assert 150 < len(once) < 400
    phones = [json.loads(text) for text in once]
    assert 0.1 < sum(":" in ping["ip"] for ping in phones) / len(phones) < 0.5
    without_network = sum("serving" not in ping for ping in phones) / len(phones)
    assert without_network == pytest.approx(SITUATIONS["wifi"] + SITUATIONS["wifi_abroad"] + SITUATIONS["address_only"], abs=0.12)
    assert sum(SITUATIONS.values()) == pytest.approx(1)


def test_made_pings_agree_and_disagree_as_phones_do() -> None:
    with Resolver.open() as resolver:
        signals = [{name: ping.get(name) for name in ("ip", "serving", "sim")} for ping in made_pings(300, 5, phones=300)]
        found = [resolver.resolve(**one) for one in signals]  # type: ignore[arg-type]
    assert sum(one.region is not None for one in found) > 0.95 * len(found)
    assert {"home_routed", "sim_foreign"} <= {str(conflict) for one in found for conflict in one.conflicts}


def test_requests_are_of_the_mix(tmp_path: Path) -> None:
    file = tmp_path / "pings.ndjson"
    file.write_text('{"ip":"2001:db8::1","sim":{"mcc":"262","mnc":"01"}}\n{"ping":{"ip":"1.1.1.1","id":"a"},"label":{}}\n')
    made = made_requests(Plan("http://127.0.0.1:1/x", pings=file, mix=Mix(1, 0, 0), headers=("X-Api-Key: k",)))
    assert made.content[0].startswith(b"GET /x/v1/resolve?ip=2001:db8::1&sim=262-01 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n")
    assert all(b"\r\nX-Api-Key: k\r\n" in one for one in made.content)
    made = made_requests(Plan("http://127.0.0.1:1", pings=file, mix=Mix(0, 1, 0), keep_alive=False))
    assert b'"id":"a"' in made.content[1]
    assert b"\r\nConnection: close\r\n" in made.content[0]
    made = made_requests(Plan("http://127.0.0.1:1", pings=file, mix=Mix(0, 0, 1, batch_size=3)))
    assert len(json.loads(made.content[0].partition(b"\r\n\r\n")[2])) == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not one ping"),
        ("{}\nno\n", "line 2: not JSON"),
        ("[]\n", "line 1: not a JSON object"),
        ('{"ping":1}\n', "line 1: `ping`"),
    ],
)
def test_files_of_pings_that_cannot_be_used(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "pings.ndjson"
    file.write_text(content)
    with pytest.raises(LoadError, match=words):
        made_requests(Plan("http://127.0.0.1:1", pings=file))
    with pytest.raises(LoadError, match="No such file"):
        made_requests(Plan("http://127.0.0.1:1", pings=tmp_path / "none"))


# --- Histograms ---


def counts_of(values: list[int]) -> bytes:
    words = array("q", bytes(8 * 33 * 1024))
    for place in histogram_places(values):
        words[place] += 1
    return words.tobytes()


def drawn(seed: int, count: int) -> list[int]:
    rng = random.Random(seed)
    return [int(rng.lognormvariate(11, 2)) for _ in range(count)]


@pytest.mark.parametrize("count", [1, 2, 99, 100, 5000])
def test_percentiles_are_those_of_the_sorted_values(count: int) -> None:
    values = sorted(drawn(count, count))
    found = Histogram(counts_of(values))
    for percent in (0, 1, 25, 50, 90, 99, 99.9, 100):
        exact = values[max(1, int(percent / 100 * count + 0.5)) - 1]
        assert exact <= found.percentile_ns(percent) <= exact * 1.001 + 1
    assert values[-1] <= found.max_ns <= values[-1] * 1.001 + 1


def test_an_empty_histogram_is_zero() -> None:
    empty = Histogram(counts_of([]))
    assert (empty.total, empty.percentile_ns(99), empty.max_ns) == (0, 0, 0)


def test_the_encoding_is_hdrhistograms_own(tmp_path: Path) -> None:
    hdrh = pytest.importorskip("hdrh.histogram", reason="hdrhistogram is not installed: it comes with the extra `test`")
    hdrh_log = pytest.importorskip("hdrh.log", reason="hdrhistogram is not installed: it comes with the extra `test`")
    values = [*drawn(1, 3000), 0, 3_600 * 10**9]
    found = Histogram(counts_of(values))
    decoded = hdrh.HdrHistogram.decode(found.encoded())
    theirs = hdrh.HdrHistogram(1, 3_600 * 10**9, 3)
    for value in values:
        theirs.record_value(value)
    assert decoded.get_total_count() == found.total == len(values)
    for percent in (0, 50, 90, 99, 99.9, 100):
        assert decoded.get_value_at_percentile(percent) == theirs.get_value_at_percentile(percent) == found.percentile_ns(percent)
    half = Histogram(counts_of(values[:1000]))
    file = tmp_path / "x.hlog"
    file.write_text("".join(log_lines(1.0, [("interval", 0, 1, half), ("interval", 1, 1, found.since(half))])))
    reader = hdrh_log.HistogramLogReader(str(file), hdrh.HdrHistogram(1, 3_600 * 10**9, 3))
    whole = hdrh.HdrHistogram(1, 3_600 * 10**9, 3)
    while (one := reader.get_next_interval_histogram()) is not None:
        whole.add(one)
    reader.close()
    assert whole.get_total_count() == len(values)


def test_the_table_of_percentiles_ends_at_one() -> None:
    lines = Histogram(counts_of(drawn(2, 500))).hgrm().splitlines()
    assert lines[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    rows = [line.split() for line in lines[2:-1]]
    assert float(rows[-1][1]) == 1
    assert int(rows[-1][2]) == 500
    assert [float(row[0]) for row in rows] == sorted(float(row[0]) for row in rows)


# --- Reports ---


def test_a_figure_that_is_not_sure_is_withheld() -> None:
    assert figure(1000, 750).us == 1
    assert figure(1000, 749).us is None
    assert figure(1000, 749).at_least_us == 0.749
    assert figure(0, 0).us == 0


def test_a_report_of_a_good_run(floor: Floor) -> None:
    seen: list[Any] = []
    kept: list[Any] = []
    report = run(Plan(floor.target, **QUICK), seen.append, kept.append)
    assert report.errors_total == 0
    assert report.counts.planned == report.counts.answered == 250
    assert report.counts.in_time >= 195
    assert report.rates.offered_per_s == pytest.approx(500)
    assert report.answered.keys() == {"resolve", "decisions"}
    assert report.statuses == {"200": 250}
    assert report.samples.checked > 0
    assert report.samples.wrong == 0
    assert report.latency_from == "planned"
    assert {"p50", "p90", "p99", "p999", "max"} <= report.latency.keys()
    assert report.verdict in {"ok", "withheld"}  # whether the machine left the generator its processor
    assert report.ceiling is None
    assert kept[0].latency.total == 200
    assert sum(part.answered for part in report.intervals) == 200
    assert {moment.phase for moment in seen} <= {"new", "connecting", "warming_up", "counting", "draining", "done"}
    assert sum(histogram.total for _, _, histogram in kept[0].intervals) == 200


def test_the_schema_is_held() -> None:
    with Floor() as floor:
        document = run(Plan(floor.target, **QUICK | {"self_test_s": 0.1})).document()
    assert document["schema"] == SCHEMA == "regionresolver.load/1"
    assert next(iter(document)) == "schema"
    jsonschema = pytest.importorskip("jsonschema", reason="needs the extra `test`")
    ceiling = document["ceiling"]
    assert isinstance(ceiling, dict)
    assert ceiling["requests_per_s"] > 100
    as_modelled = {"schema_name": SCHEMA, **{name: value for name, value in document.items() if name != "schema"}}
    jsonschema.validate(as_modelled, Report.model_json_schema())
    assert Report.model_validate(as_modelled).document() == document


def good_report() -> Report:
    with Floor() as floor:
        report = run(Plan(floor.target, **QUICK))
    sure = {name: one.model_copy(update={"us": one.at_least_us}) for name, one in report.latency.items()}
    rates = report.rates.model_copy(update={"limited_by": "plan"})
    return report.model_copy(update={"latency": sure, "rates": rates})


def test_verdicts() -> None:
    report = good_report()
    judged = judge(report)
    assert (judged.verdict, judged.reasons) == ("ok", [])
    unsure = {"us": None}
    for name, verdict in {"p50": "withheld", "p99": "withheld", "p999": "ok", "max": "ok"}.items():
        latency = report.latency | {name: report.latency[name].model_copy(update=unsure)}
        judged = judge(report.model_copy(update={"latency": latency}))
        assert judged.verdict == verdict, name
        assert verdict == "ok" or name in judged.reasons[0]
    limited = report.model_copy(update={"rates": report.rates.model_copy(update={"limited_by": "generator"})})
    assert judge(limited).verdict == "withheld"
    wrong = judge(report.model_copy(update={"errors": report.errors | {"reset": 2}}))
    assert (wrong.verdict, wrong.reasons[0]) == ("errors", "errors: 2 reset")
    starved = limited.model_copy(update={"own": report.own.model_copy(update={"starved_s": 1.0, "starved_share": 0.5})})
    assert "--core" in judge(starved).reasons[1]


def test_a_generator_that_is_held_up_withholds(floor: Floor) -> None:
    """Stopped for two thirds of the time, it knows that the latencies which it sees are its own."""
    flags = ["--rate", "500", "--duration", "1.5", "--warm-up", "0", "--self-test", "0", "--json", "-"]
    command = [sys.executable, "-m", "regionresolver", "load", floor.target, *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None:
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.1)
    out, err = process.communicate()
    document = json.loads(out)
    assert process.returncode == 3
    assert document["verdict"] == "withheld"
    assert document["latency"]["p90"]["us"] is None
    assert "withheld" in document["reasons"][0]
    assert b"withheld: at least" in err


def test_wrong_answers_are_told_by_line_and_member(tmp_path: Path) -> None:
    pings, expect = tmp_path / "pings.ndjson", tmp_path / "expect.ndjson"
    pings.write_text('{"ip":"1.1.1.1","id":"a"}\n')
    expect.write_text('{"region":"DE","decision":"deny"}\n')
    good = b'{"id":"a",' + GOOD[1:]
    plan = Plan("http://127.0.0.1:1", pings=pings, expect=expect, mix=Mix(0, 1, 0), **QUICK)
    with ScriptedServer(lambda _: answer(good)) as server:
        report = run(replace(plan, target=server.url))
    assert report.samples.wrong == report.samples.checked > 0
    assert report.samples.wrong_at[0] == "ping 1: decision"
    assert len(report.samples.wrong_at) <= 10
    assert report.verdict == "errors"
    with ScriptedServer(lambda _: answer(b'{"id":"b",' + GOOD[1:])) as server:
        assert run(replace(plan, target=server.url, expect=None)).samples.wrong_at[0] == "ping 1: id"
    with ScriptedServer(lambda _: answer(GOOD[:-1] + b",}")) as server:
        assert run(replace(plan, target=server.url, expect=None)).samples.wrong_at[0] == "ping 1: not JSON"


def test_batches_are_checked() -> None:
    body = b'{"results":[{},{}],"summary":{"total":2}}'
    plan = Plan("http://127.0.0.1:1", mix=Mix(0, 0, 1, batch_size=2), **QUICK | {"rate": 50})
    with ScriptedServer(lambda _: answer(body)) as server:
        assert run(replace(plan, target=server.url)).errors_total == 0
    with ScriptedServer(lambda _: answer(body.replace(b"2}}", b"3}}"))) as server:
        assert run(replace(plan, target=server.url)).samples.wrong_at[0].endswith("results")


def test_nobody_listens() -> None:
    with ScriptedServer(lambda _: None) as server:
        url = server.url
    with pytest.raises(UnreachableError, match="refused"):
        run(Plan(url, **QUICK))


def test_the_constant_answer_is_as_long_as_it_is_to_be() -> None:
    for size in (300, 450, 1200):
        assert abs(len(constant_answer(size)) - size) <= 1
        body = constant_answer(size).partition(b"\r\n\r\n")[2]
        assert isinstance(json.loads(body), dict)


# --- The command line ---


def test_the_command_reports(floor: Floor, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    found = load(floor.target, *QUICK_FLAGS, "--poisson", "--json", str(file), "--hdr", str(tmp_path / "run"))
    assert found.exit_code in {0, 3}, found.output
    document = json.loads(file.read_bytes())
    assert document["verdict"] == {0: "ok", 3: "withheld"}[found.exit_code]
    assert document["plan"]["schedule"] == "poisson"
    assert "a second of" in found.output
    assert "p99.9" in found.output
    assert (tmp_path / "run.hlog").read_text().startswith("#[Histogram log format version 1.3]")
    assert "TotalCount" in (tmp_path / "run.hgrm").read_text()


def test_the_json_goes_to_standard_output_alone(floor: Floor) -> None:
    command = [sys.executable, "-m", "regionresolver", "load", floor.target, *QUICK_FLAGS, "--json", "-"]
    found = subprocess.run(command, capture_output=True, check=False)
    assert json.loads(found.stdout)["schema"] == SCHEMA
    assert b"answered" in found.stderr


def test_a_terminal_sees_it_live(floor: Floor) -> None:
    """Under a terminal the view names the target and the figures while the run goes on, and the report follows it."""
    ours, theirs = pty.openpty()
    flags = ["--rate", "500", "--duration", "1", "--self-test", "0"]
    command = [sys.executable, "-m", "regionresolver", "load", floor.target, *flags]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    seen = b""
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        with suppress(OSError):  # EIO: the other end was closed
            while chunk := os.read(ours, 65536):
                seen += chunk
    os.close(ours)
    assert process.returncode in {0, 3}, seen
    live, mark, _ = seen.partition(b"p99.9")
    assert mark, seen
    assert b"counting" in live
    assert b"p50 us" in live
    assert live.count(b"p50 us") > 1, "it was drawn once"
    assert b"a second of" in seen


def test_errors_are_status_1(tmp_path: Path) -> None:
    with ScriptedServer(lambda _: answer(status="503 No")) as server:
        found = load(server.url, *QUICK_FLAGS)
    assert found.exit_code == 1
    assert "status" in found.output
    assert load(server.url, *QUICK_FLAGS).exit_code == 1  # nobody listens any more
    assert "refused" in load(server.url, *QUICK_FLAGS).output


@pytest.mark.parametrize(
    "flags", [("--rate", "x"), ("--rate", "1..2..3"), ("--mix", "x"), ("--core", "4000"), ("--pings", "/none"), ()]
)
def test_a_command_line_that_cannot_be_used_is_status_2(flags: tuple[str, ...], floor: Floor) -> None:
    found = load(floor.target, *QUICK_FLAGS, *flags) if flags else load("ftp://x")
    assert found.exit_code == 2
    assert "error" in found.output


def test_interrupted_it_reports_what_was_until_then() -> None:
    with ScriptedServer(lambda _: answer()) as server:
        flags = ["--rate", "200", "--duration", "60", "--self-test", "0", "--warm-up", "0", "--json", "-"]
        command = [sys.executable, "-m", "regionresolver", "load", server.url, *flags]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 20
        while server.asked < 50 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    document = json.loads(out)
    assert document["interrupted"] is True
    assert 40 < document["counts"]["answered"] < 2000
    assert document["counted_s"] < 20
    assert process.returncode in {0, 3}
    assert b"interrupted" in err


def test_help_names_every_flag() -> None:
    found = load("--help").output
    for flag in ("--rate", "--poisson", "--closed", "--pings", "--expect", "--hdr", "--self-test", "Exit status"):
        assert flag in found
