"""The alert rules and the dashboard: they parse, fire on what they are for, and name metrics that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from regionresolver.service.exposition import NAMES
from regionresolver.service.metrics import TABLE, Kind

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
