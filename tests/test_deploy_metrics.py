"""The alert rules and the dashboard: they parse, fire on what they are for, and name metrics that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from regionresolver import Resolver
from regionresolver.service.exposition import NAMES, Exposed
from regionresolver.service.metrics import TABLE, Kind, Metric
from tests.http_service import running
from tests.worlds import city_database

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
RULES = ROOT / "deploy" / "prometheus" / "regionresolver.rules.yml"
TESTS = ROOT / "deploy" / "prometheus" / "regionresolver.test.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "regionresolver.json"
PROMTOOL = shutil.which("promtool")

SAMPLES = NAMES | {
    metric.full_name + suffix
    for metric in TABLE.metrics
    if metric.kind is Kind.HISTOGRAM
    for suffix in ("_bucket", "_sum", "_count")
}


def named(text: str) -> set[str]:
    return set(re.findall(r"\bregionresolver_\w+", text))


@pytest.mark.parametrize("file", [RULES, TESTS, DASHBOARD], ids=lambda path: path.name)
def test_every_metric_that_is_named_is_one(file: Path) -> None:
    found = named(file.read_text(encoding="utf-8"))
    assert len(found) > 5
    assert found <= SAMPLES


def test_every_alert_has_a_runbook_and_a_test() -> None:
    rules = RULES.read_text(encoding="utf-8")
    alerts = re.findall(r"- alert: (\w+)", rules)
    runbooks = re.findall(r"runbook: (docs/\S+\.md)#(\S+)", rules)
    assert len(alerts) == len(runbooks) == len(set(alerts)) > 5
    for page, anchor in runbooks:
        headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    tests = TESTS.read_text(encoding="utf-8")
    for alert in alerts:
        fires = re.findall(rf"alertname: {alert}\n\s+exp_alerts:\n\s+- exp_labels", tests)
        rests = re.findall(rf"alertname: {alert}\n\s+exp_alerts: \[\]", tests)
        assert (len(fires), len(rests)) == (1, 1), alert


def test_the_dashboard_s_panels_have_a_place_and_a_query_of_their_own() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len({str(panel["gridPos"]) for panel in panels}) == len(panels)
    assert all(named(panel["targets"][0]["expr"]) for panel in panels)


# --- what the queries ask of the metrics


SCRAPED = {"instance", "job"}
"""What Prometheus puts on every series."""

ON_NOTHING_OF_OURS = {"up": SCRAPED}


def samples_of(metric: Metric) -> list[str]:
    """The samples of a metric that a query may name: a histogram is none, its parts are."""
    if metric.kind is Kind.HISTOGRAM:
        return [f"{metric.full_name}_{part}" for part in ("bucket", "sum", "count")]
    return [metric.full_name + ("_total" if metric.kind is Kind.COUNTER or metric.grows else "")]


def labels_of_samples() -> dict[str, set[str]]:
    """The labels of every sample."""
    found: dict[str, set[str]] = dict(ON_NOTHING_OF_OURS)
    for metric in TABLE.metrics:
        labels = SCRAPED | set(metric.label_names) | ({"worker"} if metric.kind is Kind.GAUGE else set())
        found |= {name: labels | ({"le"} if name.endswith("_bucket") else set()) for name in samples_of(metric)}
    return found


LABELS = labels_of_samples()


def argument(text: str) -> str:
    """What stands in the parentheses that a text begins with."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[1:place]
    raise AssertionError(f"no argument: {text}")


def bare(query: str) -> str:
    """A query without its strings, in which anything may stand."""
    return re.sub(r'"[^"]*"', '""', query)


def samples(query: str) -> set[str]:
    """The samples that a query names."""
    return set(re.findall(r"\b(?:regionresolver_\w+|up)\b", bare(query)))


def matchers(query: str) -> Iterator[tuple[str, str, str, str]]:
    """Each sample with a label that is asked of it, the operator and the value."""
    for sample, inner in re.findall(r"(\w+)\{([^}]*)\}", query):
        for label, operator, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', inner):
            yield sample, label, operator, value


def faults(query: str, legend: str = "") -> list[str]:
    """What a query names that there is not: samples, and labels where it selects, groups, joins and writes the legend."""
    named = samples(query)
    found = [f"{sample} is no sample" for sample in named if sample not in LABELS]
    if not named or found:
        return found or ["it names no sample"]
    asked = [(label, {sample}) for sample, label, _, _ in matchers(query)]
    told, text = set[str](), bare(query)
    for match in re.finditer(r"\b(by|on|ignoring)\s*\(([^)]*)\)\s*", text):
        labels = {label.strip() for label in match[2].split(",")}
        of = samples(argument(text[match.end() :])) if match[1] == "by" else named
        asked += [(label, of) for label in labels]
        told |= labels if match[1] == "by" else set()
    found += [f"{sample} has no {label}" for label, of in asked for sample in of if label not in LABELS[sample]]
    shown = told or set.union(*(LABELS[sample] for sample in named))
    return found + [f"the legend has {label}" for label in re.findall(r"\{\{\s*(\w+)\s*\}\}", legend) if label not in shown]


def rule_queries() -> list[str]:
    text = RULES.read_text(encoding="utf-8")
    found = re.findall(r"expr: >-\n((?: {10}.*\n)+)", text)
    assert len(found) == text.count("expr:") > 5
    return [" ".join(line.strip() for line in query.splitlines()) for query in found]


def panel_queries() -> list[tuple[str, str]]:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [(target["expr"], target["legendFormat"]) for panel in dashboard["panels"] for target in panel["targets"]]


def test_every_label_in_rules_and_dashboard_is_one_of_its_metric() -> None:
    queries = [*((query, "") for query in rule_queries()), *panel_queries()]
    wrong = {query: found for query, legend in queries if (found := faults(query, legend))}
    assert wrong == {}
    variables = json.loads(DASHBOARD.read_text(encoding="utf-8"))["templating"]["list"]
    asked = [re.fullmatch(r"label_values\((\w+), (\w+)\)", one["query"]) for one in variables if one["type"] == "query"]
    assert asked
    assert all(one is not None and one[2] in LABELS[one[1]] for one in asked)


def test_every_series_of_the_rules_tests_can_be_exposed() -> None:
    series = re.findall(r"series: '(.*)'", TESTS.read_text(encoding="utf-8"))
    assert len(series) > 20
    assert {one: found for one in series if (found := faults(one))} == {}


@pytest.mark.parametrize(
    ("query", "legend", "said"),
    [
        ("time() > 1", "", "it names no sample"),
        ("regionresolver_reloads > 0", "", "regionresolver_reloads is no sample"),
        ("rate(regionresolver_http_request_duration_seconds[5m])", "", "duration_seconds is no sample"),
        ("regionresolver_lane_on_total", "", "lane_on_total is no sample"),
        ('regionresolver_reloads_total{result="failed"}', "", "reloads_total has no result"),
        ('regionresolver_reloads_total{outcome="failed",le="1"}', "", "reloads_total has no le"),
        ('regionresolver_reloads_total{outcome!~"by (x)"}', "{{outcome}}", ""),
        ("sum by (route, state) (rate(regionresolver_http_requests_total[5m]))", "", "requests_total has no state"),
        ("sum by (le) (rate(regionresolver_http_request_duration_seconds_count[5m]))", "", "count has no le"),
        ("regionresolver_workers - ignoring (what) regionresolver_workers", "", "workers has no what"),
        ("sum by (status) (rate(regionresolver_http_requests_total[5m]))", "{{status}} {{route}}", "the legend has route"),
        ("regionresolver_loop_lag_seconds", "{{worker}} {{pid}}", "the legend has pid"),
        ("sum by (state) (regionresolver_workers) / on (state) up", "", "up has no state"),
    ],
)
def test_a_query_for_what_there_is_not_would_be_found(query: str, legend: str, said: str) -> None:
    found = faults(query, legend)
    assert any(fault.endswith(said) for fault in found) if said else found == []


WATCHED = """
[policy]
name = "watched"
version = 1

[guardrails]
min_replay_sample = 0
runtime_breaker = { window = "1m", deny_share = 0.5, min_sample = 10, action = "shadow" }
"""


async def told_values(tmp_path: Path) -> dict[tuple[str, str], set[str]]:
    """The values that each label of each sample has: those that are known beforehand, and what a service tells."""
    found: dict[tuple[str, str], set[str]] = {}
    for metric in TABLE.metrics:
        for sample in samples_of(metric):
            found |= {(sample, one.label): set(one.values) for one in metric.labels if one.values}
    (tmp_path / "policy.toml").write_text(WATCHED, encoding="utf-8")
    with Resolver.open(city_database(tmp_path / "city.mmdb"), tmp_path / "policy.toml") as resolver:
        async with running(resolver) as service:
            for path in ("/v1/decisions", "/v1/resolve"):
                head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 19\r\nConnection: close\r\n\r\n"
                await service.exchange(head.encode() + b'{"serving":"36801"}')
            for family in Exposed(service.state).collect():
                for one in family.samples:
                    for label, value in one.labels.items():
                        found.setdefault((one.name, label), set()).add(value)
    return found


async def test_every_value_that_rules_and_dashboard_ask_for_is_told(tmp_path: Path) -> None:
    values = await told_values(tmp_path)

    def unmet(query: str) -> list[tuple[str, str, str]]:
        found = []
        for sample, label, operator, value in matchers(query):
            patterns = value.split("|") if operator.endswith("~") else [re.escape(value)]
            known = () if label in SCRAPED else values[sample, label]
            is_met = label in SCRAPED or all(any(re.fullmatch(one, told) for told in known) for one in patterns)
            found += [] if is_met else [(sample, label, value)]
        return found

    queries = [*rule_queries(), *(query for query, _ in panel_queries())]
    assert [found for query in queries for found in unmet(query)] == []
    for wrong in ('status=~"5..|6.."', 'status="5.."', 'route="/v1/decision"', 'method="FETCH"'):
        assert unmet(f"regionresolver_http_requests_total{{{wrong}}}"), wrong
    assert unmet('regionresolver_workers{state="missing"}')


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize(("command", "file"), [("check", RULES), ("test", TESTS)])
def test_promtool_accepts_the_rules_and_their_tests(command: str, file: Path) -> None:
    found = subprocess.run(
        [str(PROMTOOL), command, "rules", file.name], cwd=file.parent, text=True, capture_output=True, timeout=60, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "SUCCESS" in found.stdout


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
def test_an_alert_that_does_not_fire_would_be_found(tmp_path: Path) -> None:
    text = RULES.read_text(encoding="utf-8")
    assert "> 0.001" in text
    (tmp_path / RULES.name).write_text(text.replace("> 0.001", "> 0.5"), encoding="utf-8")
    (tmp_path / TESTS.name).write_text(TESTS.read_text(encoding="utf-8"), encoding="utf-8")
    found = subprocess.run(
        [str(PROMTOOL), "test", "rules", TESTS.name], cwd=tmp_path, text=True, capture_output=True, timeout=60, check=False
    )
    assert found.returncode != 0
    assert "RegionresolverErrors" in found.stdout + found.stderr
