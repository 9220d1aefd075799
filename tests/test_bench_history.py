"""The history of records: series, change points, and the page that shows them."""

from __future__ import annotations

import datetime as dt
import json
import re
from argparse import Namespace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.history import page
from benchmarks.history.__main__ import HISTORY, main, order, peers_of
from benchmarks.history.changes import all_series, changes_of
from benchmarks.http.report import record_of, targets
from benchmarks.record import Figure, Histogram, Measurement, Record, Revision, append, make_record, read

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BEGIN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def record(number: int, fusion: float = 100.0, p99: float | None = None) -> Record:
    revision = Revision(
        commit=f"{number:040x}", committed_at=BEGIN + dt.timedelta(days=number), subject=f"Change <{number}> & more"
    )
    counted = Measurement(
        layer="instructions", stage="fusion", figures=(Figure(name="instructions", value=fusion, unit="instructions"),)
    )
    timed = Measurement(layer="micro", stage="fusion", figures=(Figure(name="time", value=fusion / 3, unit="ns"),))
    served = [
        Measurement(
            layer="service",
            stage="decisions",
            conditions={"offered_rate": 1000 * share, "share": share, "workers": 1},
            figures=tuple(Figure(name=name, value=p99 * by, unit="ns") for name, by in (("p50", 0.3), ("p99", 1), ("p999", 4))),
            histograms=(Histogram(name="latency", counts=((1000, 900), (int(p99), 95), (int(p99) * 9, 5))),),
        )
        for share in (0.5, 0.9)
        if p99 is not None
    ]
    return make_record([counted, timed, *served], revision=revision, at=BEGIN + dt.timedelta(days=400))


def changes(records: Sequence[Record]) -> list[tuple[str, int, int]]:
    pytest.importorskip("otava", reason="Apache Otava is not installed: it comes with the extra `bench`")
    return [
        (f"{key.layer} {key.figure}", change.at, round(100 * change.change))
        for key, points in all_series(records).items()
        for change in changes_of(key, points)
    ]


def test_a_step_is_found_where_it_is_and_noise_is_not() -> None:
    noise = (0.1, -0.1, 0.0, 0.2, -0.2, 0.1, 0.0, -0.1)
    flat = [record(number, 100 + wobble) for number, wobble in enumerate(noise)]
    assert changes(flat) == []
    steps = [record(number, 100 + wobble if number < 5 else 120 + wobble) for number, wobble in enumerate(noise)]
    assert changes(steps) == [("instructions instructions", 5, 20), ("micro time", 5, 20)]
    small = [record(number, 100 if number < 4 else 100.5) for number in range(8)]
    assert changes(small) == [], "half a percent is below what is marked"
    assert changes(steps[:3]) == [], "too few to tell"


def test_what_cannot_be_compared_is_another_series() -> None:
    other = record(1).machine.model_copy(update={"fingerprint": "0" * 12})
    here, there = record(0), record(1).model_copy(update={"machine": other})
    series = all_series([here, there])
    assert sorted((key.layer, len(points)) for key, points in series.items()) == [("instructions", 2), ("micro", 1), ("micro", 1)]


def test_records_are_in_the_order_of_their_commits() -> None:
    made = [record(2), record(0), record(1)]
    assert [one.revision.commit for one in sorted(made, key=order)] == [f"{number:040x}" for number in range(3)]


def test_a_record_has_its_place_also_where_a_percentile_was_withheld() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: it comes with the extra `bench`")
    records = [record(number, p99=1e6 * (number + 1)) for number in range(4)]
    kept = [one for one in records[1].measurements if one.conditions.get("share") != 0.5]
    records[1] = records[1].model_copy(update={"measurements": tuple(kept)})
    section = page.latency_over_commits(records, all_series(records), [])
    assert section.picture is not None
    drawn: list[Any] = [line.get_xdata() for line in section.picture.axes[0].get_lines() if line.get_marker() == "o"]
    assert sorted(list(places) for places in drawn if len(places) > 1) == [[0, 1, 2, 3], [0, 2, 3]]


def test_the_history_of_the_tree_is_whole() -> None:
    assert read(HISTORY), "every line is a record"


def test_a_result_of_bench_http_becomes_peers() -> None:
    rounds = [{"cpu_us": cpu, "rate": 100.0, "core": 1.0} for cpu in (8.0, 9.0, 10.0)]
    results = {"get_64": dict.fromkeys(("lane", "nginx"), rounds)}
    written = record_of(results, targets(results, {}), Namespace(rounds=3, seconds=0.7))
    found = peers_of(written)
    assert [(one.layer, one.stage) for one in found] == [("peer", "get_64 lane"), ("peer", "get_64 nginx")]
    cpu = found[0].figure("cpu")
    assert cpu is not None
    assert (cpu.value, cpu.rounds) == (9000.0, 3)


class Places(HTMLParser):
    """Collects what a page would fetch, and whether its elements are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.svgs = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.svgs += tag == "svg"
        assert tag not in {"script", "link", "iframe", "object"}
        self.fetched += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href", "data"}]


def page_of(records: Sequence[Record], folder: Path) -> str:
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed: it comes with the extra `bench`")
    pytest.importorskip("otava", reason="Apache Otava is not installed: it comes with the extra `bench`")
    for one in records:
        append(one, folder / "history.ndjson")
    assert main(["report", "--history", str(folder / "history.ndjson"), "--out", str(folder / "out")]).value == 0
    return (folder / "out" / "report.html").read_text(encoding="utf-8")


def test_the_page_holds_all_it_shows(tmp_path: Path) -> None:
    peer = Measurement(layer="peer", stage="GET lane", figures=(Figure(name="cpu", value=8000, unit="ns"),))
    made = [record(number, 100 if number < 5 else 120, 200_000 if number < 6 else 400_000) for number in range(9)]
    made[-1] = made[-1].model_copy(update={"measurements": (*made[-1].measurements, peer), "notes": ("a <note>",)})
    text = page_of(made, tmp_path)
    places = Places()
    places.feed(text)
    assert places.svgs == 6
    assert all(place.startswith("#") for place in places.fetched)
    assert not re.search(r"https?://", text)
    assert "a &lt;note&gt;" in text
    assert "Change &lt;5&gt; &amp; more" in text
    assert "+20.0% slower" in text
    assert "+100.0% slower" in text
    pictures = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert pictures == ["distribution.png", "instructions.png", "p99.png", "peers.png", "rate.png", "stages.png"]
    assert all((tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG") for name in pictures)


def test_what_is_missing_is_said_with_its_command(tmp_path: Path) -> None:
    text = page_of([record(0)], tmp_path)
    assert "No figure has a change point" in text
    assert text.count("Not recorded") == 4
    assert "make bench-http" in text


def test_an_empty_history_is_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "history.ndjson"
    empty.touch()
    assert main(["report", "--history", str(empty)]).value == 2
    assert "make bench-record first" in capsys.readouterr().err
    assert json.dumps(main(["record", "--commits", "no-such..range", "--history", str(empty)]).value) == "2"


def test_a_peer_is_named_by_what_was_asked_and_who_answered() -> None:
    cpu = Figure(name="cpu", value=4740, unit="ns")
    found = Measurement(layer="service", stage="get_64", conditions={"scenario": "get_64", "server": "lane"}, figures=(cpu,))
    assert page._server(found) == "get_64 lane"
