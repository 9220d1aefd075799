"""`/metrics`: what Prometheus reads of a service, of all of its workers, and what docs/metrics.md says of it."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from regionresolver import Resolver
from regionresolver.service import metrics
from regionresolver.service.exposition import FACTS
from regionresolver.service.metrics import PREFIX, TABLE, Kind
from tests.http_service import running
from tests.serve_process import serve
from tests.worlds import city_database

if TYPE_CHECKING:
    from tests.http_service import Service

ROOT = Path(__file__).parents[1]
PROMTOOL = shutil.which("promtool")

Series = dict[tuple[str, ...], float]


def series(text: str, name: str, *labels: str) -> Series:
    """The series of a sample name, by the values of these labels, whatever the others."""
    found: Series = {}
    for family in parse(text):
        for sample in family.samples:
            if sample.name == PREFIX + name:
                key = tuple(sample.labels[label] for label in labels)
                found[key] = found.get(key, 0) + sample.value
    return found


async def ask(url: str, *bodies: dict[str, str], headers: dict[str, str] | None = None) -> tuple[str, str]:
    """Post pings over a connection each, then scrape; give the text and its type."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        for body in bodies:
            async with session.post(f"{url}/v1/decisions", json=body) as answer:
                assert answer.status == 200
        async with session.get(f"{url}/metrics", headers=headers) as answer:
            assert answer.status == 200
            return await answer.text(), answer.headers["Content-Type"]


async def test_a_scrape_tells_what_was_answered(service: Service) -> None:
    before, content_type = await ask(service.url)
    assert content_type.startswith("text/plain; version=")
    lane = b"POST /v1/decisions HTTP/1.1\r\nHost: a\r\nContent-Length: 38\r\n\r\n" + b'{"serving":"36801","ip":"not.an.addr"}'
    await service.exchange(lane * 3 + b"GET /nowhere/84.0.1.1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    after, _ = await ask(service.url, {"serving": "21401", "first_activated_at": "yesterday"})

    def rise(name: str, *labels: str) -> Series:
        old = series(before, name, *labels)
        return {key: value - old.get(key, 0) for key, value in series(after, name, *labels).items() if value != old.get(key, 0)}

    assert rise("decisions_total", "region", "effect") == {("CU", "deny"): 3, ("(other)", "allow"): 1}
    assert rise("policy_rule_decisions_total", "rule") == {("embargo-six",): 3, ("(default)",): 1}
    assert rise("http_requests_total", "method", "route", "status") == {
        ("POST", "/v1/decisions", "200"): 4,
        ("(other)", "(other)", "404"): 1,
        ("GET", "/metrics", "200"): 1,
    }
    assert rise("lane_answered_total", "path") == {("decisions",): 3}
    assert rise("lane_declined_total", "reason")["other_path",] == 2
    assert rise("signals_total", "signal", "status") == {
        ("ip", "invalid"): 3,
        ("ip", "absent"): 1,
        ("serving_plmn", "ok"): 4,
        ("home_plmn", "absent"): 4,
    }
    assert rise("http_request_duration_seconds_count", "route") == {("/v1/decisions",): 4, ("(other)",): 1, ("/metrics",): 1}
    buckets = rise("http_request_duration_seconds_bucket", "route", "le")
    assert buckets["/v1/decisions", "+Inf"] == 4
    assert 0 < rise("http_request_duration_seconds_sum", "route")["/v1/decisions",] < 5
    told = series(after, "http_request_duration_seconds_bucket", "route", "le")
    edges = [float(le) for route, le in told if route == "/metrics"]
    assert edges == [*metrics.EDGES_S, float("inf")]


async def test_openmetrics_is_offered(service: Service) -> None:
    text, content_type = await ask(service.url, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert content_type.startswith("application/openmetrics-text")
    families = parse_openmetrics(text)  # type: ignore[no-untyped-call]
    assert {family.name for family in families} == {metric.full_name for metric in TABLE.metrics}


async def test_every_metric_of_the_table_is_told_with_its_help_and_type(service: Service) -> None:
    text, _ = await ask(service.url)
    found = {family.name: family for family in parse(text)}
    assert set(found) == {metric.full_name for metric in TABLE.metrics}
    for metric in TABLE.metrics:
        kind = "counter" if metric.grows else "gauge" if metric.kind is Kind.FACT else str(metric.kind)
        assert (found[metric.full_name].type, found[metric.full_name].documentation) == (kind, metric.says)
    assert set(FACTS) == {metric.name for metric in TABLE.metrics if metric.kind is Kind.FACT}


async def test_the_start_s_self_test_is_nobody_s(resolver: Resolver) -> None:
    async with running(resolver) as service:
        text, _ = await ask(service.url)
    assert sum(series(text, "decisions_total").values()) == 0
    assert series(text, "http_requests_total", "route") == {}
    assert series(text, "lane_answered_total", "path") == {(path,): 0 for path in metrics.LANE_ROUTES}


async def test_lines_that_the_log_leaves_out_are_counted(resolver: Resolver, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("aiohttp.server").filters[:] = []  # it may just have written a line: begin anew
    broken = b"POST /v1/resolve HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n"
    with caplog.at_level(logging.WARNING):
        async with running(resolver) as service:
            before, _ = await ask(service.url)
            for _ in range(7):
                assert (await service.exchange(broken)).startswith(b"HTTP/1.1 400 ")
            after, _ = await ask(service.url)
    written = [record for record in caplog.records if record.getMessage() == "connection_error"]
    assert series(before, "log_lines_suppressed_total") == {(): 0}
    assert len(written) >= 1
    assert series(after, "log_lines_suppressed_total") == {(): 7 - len(written)}
    assert len(written) < 7


async def test_overrides_are_told_by_id_and_owner_and_never_by_prefix(tmp_path: Path) -> None:
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text(
        '[[networks]]\nid = "lab"\nnetwork = "203.0.113.0/24"\nregion = "UA-43"\nowner = "field test"\n'
        'reason = "a lab"\nexpires = "never"\n',
        encoding="utf-8",
    )
    with Resolver.open(db=city_database(tmp_path / "city.mmdb"), catalogue=catalogue) as opened:
        async with running(opened) as service:
            text, _ = await ask(service.url, {"ip": "203.0.113.7"}, {"ip": "203.0.113.8"})
    assert series(text, "override_hits_total", "override", "owner") == {("lab", "field test"): 2, ("(other)", "(other)"): 0}
    assert "203.0.113" not in text


async def test_any_worker_tells_for_all_and_no_count_falls_when_workers_die(tmp_path: Path) -> None:
    with serve("--db", str(city_database(tmp_path / "city.mmdb")), "--workers", "2") as found:
        asked = 0
        last: Series = {}
        for _ in range(3):
            await ask(found.urls[0], *({"serving": "36801"} for _ in range(8)))
            asked += 8
            counts = [series((await ask(found.urls[0]))[0], "decisions_total", "region") for _ in range(6)]
            assert all(count["CU",] == asked for count in counts), "whichever worker answers"
            assert all(counts[0][key] >= value for key, value in last.items())
            last = counts[0]
            os.kill(found.workers()[0], signal.SIGKILL)
            await found.until("worker_replaced")
        text, _ = await ask(found.urls[0])
        assert series(text, "decisions_total", "region")["CU",] == asked
        assert series(text, "worker_restarts_total") == {(): 3}
        assert series(text, "workers", "state") == {("serving",): 2, ("wanted",): 2}
        assert set(series(text, "worker_resident_memory_bytes", "worker")) == {("0",), ("1",)}
        assert all(2**22 < value < 2**32 for value in series(text, "worker_resident_memory_bytes", "worker").values())
        found.process.send_signal(signal.SIGHUP)
        await found.until("reloaded")
        await asyncio.sleep(0.1)
        text, _ = await ask(found.urls[0], {"serving": "36801"})
        assert series(text, "decisions_total", "region")["CU",] == asked + 1, "a reload goes on counting"
        assert series(text, "reloads_total", "outcome") == {("succeeded",): 1, ("failed",): 0}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
async def test_promtool_finds_nothing_amiss(service: Service) -> None:
    text, _ = await ask(service.url, {"serving": "36801"})
    found = await asyncio.to_thread(
        subprocess.run, [str(PROMTOOL), "check", "metrics"], input=text, text=True, capture_output=True, timeout=30, check=False
    )
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


# --- docs/metrics.md


def described() -> dict[str, list[str]]:
    """The rows of the page: the cells behind each name."""
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(regionresolver_\w+)` \| (.*) \|$", page, re.MULTILINE)
    assert len(rows) == len({name for name, _ in rows})
    return {name: rest.split(" | ") for name, rest in rows}


def test_the_page_describes_every_metric_and_nothing_else() -> None:
    expected = {}
    for metric in TABLE.metrics:
        kind = "counter" if metric.grows else "gauge" if metric.kind is Kind.FACT else str(metric.kind)
        labels = ("worker", *metric.label_names) if metric.kind is Kind.GAUGE else metric.label_names
        name = metric.full_name + ("_total" if kind == "counter" else "")
        expected[name] = [kind, ", ".join(f"`{label}`" for label in labels), metric.says, metric.advice]
    assert described() == expected
