"""`regionresolver policy`: lint, test, show, diff and restores, as people and programs use them."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

import pytest

from regionresolver import Resolver
from regionresolver.cli.policy import COMMANDS
from regionresolver.policy import SHIPPED, load_policy, shipped_policy
from regionresolver.policy.describe import describe, span
from regionresolver.policy.restore import RestoreCounts, restores
from tests.policies import HEADER, LISTING, catalogue, policy
from tests.test_cli import invoke
from tests.worlds import city_database, country_database

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("bare_environment", "logging_as_it_was")

AT = "2026-11-22T12:00:00Z"
LIFT = dt.datetime(2021, 9, 14, 8, tzinfo=dt.UTC)
DENIED = {"id": "p1", "decision": "deny", "rule": "embargo-six", "policy": "activation@41"}
DENY = '[[rules]]\nid = "r"\nwhen = { region = "crimea" }\neffect = "deny"\nreview_by = 2099-01-01\n'


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(city_database(tmp_path_factory.mktemp("city") / "city.mmdb"))


@pytest.fixture
def write(tmp_path: Path) -> Path:
    """Answer a file for a policy."""
    return tmp_path / "activation.toml"


def test_help_lists_every_command_with_an_example() -> None:
    help_ = invoke("policy", "--help").stdout
    assert all(f"\n  {name} " in help_ for name in COMMANDS)
    for name in COMMANDS:
        assert f"regionresolver policy {name}" in invoke("policy", name, "--help").stdout


def test_an_unknown_command_is_a_wrong_usage() -> None:
    assert invoke("policy", "lnt").exit_code == 2


# --- names


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_policy_goes_by_its_name(name: str) -> None:
    assert load_policy(name, catalogue()) == load_policy(shipped_policy(name), catalogue())


def test_a_file_of_such_a_name_needs_its_directory(write: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write.parent)
    (write.parent / "default").write_text(HEADER)
    assert load_policy("default", catalogue()).label == "activation@1"
    assert load_policy("./default", catalogue()).label == load_policy(write.parent / "default", catalogue()).label == "test@1"


def test_the_library_and_decide_take_the_names_too(city: str) -> None:
    with Resolver.open(city, "observe-only") as resolver:
        assert resolver.policy.label == "observe-only@1"
    shown = json.loads(invoke("decide", "--serving", "36801", "--policy", "observe-only", "--db", city, "--json").stdout)
    assert (shown["decision"], shown["policy"]) == ("allow", "observe-only@1")


# --- lint


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_policies_have_no_findings(name: str) -> None:
    result = invoke("policy", "lint", name, "--at", AT)
    assert (result.exit_code, result.stdout) == (0, f"{name}: good\n")


def test_lint_points_at_the_line(write: Path, city: str) -> None:
    write.write_text(
        HEADER + '[[rules]]\nid = "a"\nwhen = {}\neffect = "allow"\n\n[[rules]]\nid = "b"\nwhen = {}\neffect = "deny"\n'
    )
    result = invoke("policy", "lint", str(write), "--db", city)
    assert result.exit_code == 1
    assert result.stdout == (
        f"{write}: line 9, rules[1]: error: rule 'b' can never decide: rules[0] 'a' matches wherever it does [rule-shadowed]\n"
        f"{write}: line 9, rules[1]: error: rule 'b' denies without an end: give it effective.until, or review_by "
        "[deny-without-end]\n"
    )


def test_lint_says_everything_that_is_wrong_with_a_file_that_is_no_policy(write: Path) -> None:
    write.write_text(HEADER + '[[rules]]\nid = "r"\nwhen = { region = "cremia" }\neffect = "deny"\n[regions]\nx = ["SYR"]\n')
    result = invoke("policy", "lint", str(write), "--format", "json")
    assert result.exit_code == 1
    assert [(one["code"], one["where"], one["text"]) for one in json.loads(result.stdout)["findings"]] == [
        ("policy-invalid", "line 9, regions.x[0]", "unknown region 'SYR', did you mean 'SY'?"),
        ("policy-invalid", "line 6, rules[0].when.region[0]", "unknown region 'cremia', did you mean 'crimea'?"),
    ]


def test_lint_goes_on_after_a_file_that_is_none(write: Path, city: str) -> None:
    result = invoke("policy", "lint", "nowhere.toml", "observe-only", "--db", city, "--at", AT, "--format", "json")
    first, second = map(json.loads, result.stdout.splitlines())
    assert (first["good"], first["findings"][0]["text"]) == (False, "does not exist")
    assert second == {"file": "observe-only", "good": True, "findings": []}
    assert result.exit_code == 1


def test_lint_asks_the_databases_what_they_can_see(write: Path, city: str, tmp_path: Path) -> None:
    write.write_text(HEADER + DENY)
    assert invoke("policy", "lint", str(write), "--db", city).exit_code == 0
    blind = str(country_database(tmp_path / "country.mmdb"))
    result = invoke("policy", "lint", str(write), "--db", blind)
    assert result.exit_code == 1
    assert f"{write}: line 6, rules[0].when.region: warning: no loaded IP database can tell UA-40, UA-43" in result.stdout
    assert invoke("policy", "lint", str(write), "--db", blind, "--fail-on", "error").exit_code == 0


def test_lint_compares_with_the_active_policy(write: Path, city: str) -> None:
    write.write_text(LISTING.replace("embargo-2021-08", "other"))
    arguments = ("policy", "lint", str(write), "--active", "example-2021", "--db", city)
    result = invoke(*arguments, "--at", "2021-09-05T00:00:00Z")
    assert "line 4, policy.version: error: the version must be above the active 41 [version-not-above]" in result.stdout
    assert "[salt-changed]" in result.stdout
    assert "[salt-changed]" not in invoke(*arguments, "--at", "2021-09-09T00:00:00Z").stdout


# --- test


def test_the_shipped_policies_pass_their_tests() -> None:
    for name in SHIPPED:
        result = invoke("policy", "test", name, "--format", "json")
        found = json.loads(result.stdout)
        assert (result.exit_code, found["good"]) == (0, True)
        assert len(found["tests"]) >= 4
        assert all(test["passed"] for test in found["tests"])


def test_a_test_that_fails_shows_what_was_expected_and_what_came(write: Path, city: str) -> None:
    test = '[[tests]]\nname = "Cuba"\nat = 2021-09-10T14:00:00+02:00\nping = { serving = "36801" }\n'
    write.write_text(HEADER + test + 'expect = { decision = "deny", rule = "r", region = "CU" }\n')
    result = invoke("policy", "test", str(write), "--db", city)
    assert result.exit_code == 1
    assert result.stdout == (
        "FAILED  2021-09-10T12:00:00Z  Cuba (line 4)\n"
        "        decision  expected deny\n"
        "                  got      allow\n"
        "        rule      expected r\n"
        "                  got      nothing\n"
        f"{write}: test@1: 0 passed, 1 failed\n"
    )
    found = json.loads(invoke("policy", "test", str(write), "--db", city, "--format", "json").stdout)
    assert found["tests"][0]["differences"] == [
        {"field": "decision", "expected": "deny", "got": "allow"},
        {"field": "rule", "expected": "r", "got": None},
    ]


def test_a_ping_without_a_signal_is_told(write: Path, city: str) -> None:
    write.write_text(HEADER + '[[tests]]\nname = "t"\nat = 2021-09-10T12:00:00Z\nping = {}\nexpect = { decision = "deny" }\n')
    result = invoke("policy", "test", str(write), "--db", city)
    assert result.exit_code == 1
    assert "the ping is refused: at least one of ip, serving and sim must be given" in result.stdout


# --- show


def test_show_says_what_is_in_force_and_what_comes() -> None:
    shown = invoke("policy", "show", "example-2021", "--at", "2021-09-05T00:00:00Z").stdout
    for words in (
        "activation@41 at 2021-09-05T00:00:00Z",
        "  3. embargo-six: in force for 25 % of the devices",
        "deny (REGION_NOT_PERMITTED, ask again after 1 day) where it is in embargo-six",
        "embargo-six: CU, IR, KP, SD, SY, UA-40, UA-43",
        "  2021-09-08T00:00:00Z  embargo-six: in force for 25 % of the devices -> in force for all devices",
        "from 2021-09-14T08:00:00Z: denials of 'embargo-six' in version 41 (ACCESS_RESTORED)",
    ):
        assert words in shown
    assert "2021-09-03T00:00:00Z  embargo-six" not in shown, "what is past is not next"


@pytest.mark.parametrize(
    ("at", "standing"),
    [
        ("2021-08-30T23:59:59Z", "waits until 2021-08-31T00:00:00Z"),
        ("2021-08-31T00:00:00Z", "in force for 5 % of the devices"),
        ("2021-09-14T07:59:59Z", "in force for all devices"),
        ("2021-09-14T08:00:00Z", "ended at 2021-09-14T08:00:00Z"),
    ],
)
def test_how_a_rule_stands(at: str, standing: str) -> None:
    found = describe(policy(LISTING), catalogue(), dt.datetime.fromisoformat(at))
    assert found.rules[2].standing == standing


def test_how_other_rules_stand() -> None:
    rows = """
[[rules]]
id = "off"
mode = "off"
when = {}
effect = "deny"
[[rules]]
id = "counted"
mode = "shadow"
when = { sku = ["A*", "B*"], signal_status = { ip = ["reserved", "not_found"] }, conflict = "sim_only" }
effect = "review"
[[rules]]
id = "listed"
when = { device_id = { ids = ["h:secret"], until = 2026-01-01T00:00:00Z }, first_activated_after = 2020-01-01T00:00:00Z }
effect = "allow"
[[rules]]
id = "ramp"
when = { home_region_not = "CU", confidence_below = 0.9 }
effect = "deny"
rollout = { key = "device_id", salt = "s", stages = [{ at = 2027-01-01T00:00:00Z, percent = 5 }] }
"""
    found = describe(policy(rows), catalogue(), LIFT.replace(year=2026))
    assert [rule.standing for rule in found.rules] == [
        "is off", "counts only", "its list of devices has ended", "waits until 2027-01-01T00:00:00Z",
    ]  # fmt: skip
    off, counted, listed, ramp = (rule.sentence for rule in found.rules)
    assert off == "deny for every ping"
    assert counted == (
        "review where its SKU matches A* or B* and the evidence has the conflict sim_only and its ip is reserved or not_found"
    )
    assert listed == (
        "allow where it was first activated at 2020-01-01T00:00:00Z or later and it is one of 1 listed devices "
        "until 2026-01-01T00:00:00Z"
    )
    assert ramp == "deny where its SIM is of a region outside CU and the confidence is below 0.90"
    assert "secret" not in str(found)


def test_show_for_programs() -> None:
    found = json.loads(invoke("policy", "show", "observe-only", "--format", "json").stdout)
    assert found["label"] == "observe-only@1"
    assert [rule["standing"] for rule in found["rules"]] == ["counts only"] * 3
    assert found["regions"]["embargo-six"][:2] == ["CU", "IR"]


@pytest.mark.parametrize(
    ("length", "words"),
    [(dt.timedelta(days=1), "1 day"), (dt.timedelta(minutes=90), "1 hour 30 minutes"), (dt.timedelta(weeks=2), "2 weeks")],
)
def test_lengths_of_time_in_words(length: dt.timedelta, words: str) -> None:
    assert span(length) == words


# --- diff


def test_diff_in_words_and_its_exit_status() -> None:
    result = invoke("policy", "diff", "observe-only", "default")
    assert result.exit_code == 1
    assert "CU, IR, KP, SD, SY, UA-40, UA-43, crimea; any SKU; always" in result.stdout
    assert "\n       else only counted: deny (REGION_NOT_PERMITTED, ask again after 1 day)\n       else allow\n" in result.stdout
    alike = invoke("policy", "diff", "default", "default")
    assert (alike.exit_code, alike.stdout) == (0, "activation@1 -> activation@1: no difference\n")


def test_diff_writes_nearly_all_regions_as_all_but_some(write: Path) -> None:
    write.write_text(HEADER + '[[rules]]\nid = "r"\nwhen = { region_not = ["CU", "IR"] }\neffect = "review"\n')
    (write.parent / "before.toml").write_text(HEADER)
    result = invoke("policy", "diff", str(write.parent / "before.toml"), str(write))
    assert "everywhere but CU, IR, unknown region; any SKU; always" in result.stdout


def test_diff_for_programs() -> None:
    result = invoke("policy", "diff", "default", "example-2021", "--format", "json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["different"], found["before"], found["after"]) == (1, True, "activation@1", "activation@41")
    assert found["changes"][0]["until"] == "2021-08-31T00:00:00Z"
    assert found["changes"][0]["since"] is None


def test_diff_of_what_is_no_policy_is_trouble() -> None:
    result = invoke("policy", "diff", "default", "nowhere.toml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "nowhere.toml: does not exist" in result.stderr


# --- restores


@pytest.mark.parametrize(
    ("change", "given", "is_restored"),
    [
        ({}, None, True),
        ({}, "2021-09-10T00:00:00Z", True),
        ({}, "2021-09-14T07:59:59Z", True),
        ({}, "2021-09-14T08:00:00Z", False),
        ({"decision": "review"}, None, False),
        ({"decision": "allow"}, None, False),
        ({"rule": "other"}, None, False),
        ({"rule": None}, None, False),
        ({"policy": "activation@40"}, None, False),
        ({"policy": "other@41"}, None, False),
        ({"policy": ["activation@41"]}, None, False),
    ],
)
def test_which_denials_are_asked_again(change: dict[str, object], given: str | None, is_restored: bool) -> None:
    log = [({**DENIED, **change}, dt.datetime.fromisoformat(given) if given else None)]
    found = [(one.id, one.reason) for one in restores(policy(LISTING), log, LIFT)]
    assert found == ([("p1", "ACCESS_RESTORED")] if is_restored else [])


def test_nothing_is_asked_again_before_its_time() -> None:
    counts = RestoreCounts()
    assert list(restores(policy(LISTING), [(DENIED, None)], LIFT - dt.timedelta(microseconds=1), counts)) == []
    assert (counts.decisions, counts.restored, counts.waiting) == (1, 0, {"embargo-six": LIFT})


def test_the_first_restore_of_a_rule_counts() -> None:
    second = '[[restores]]\nrule = "embargo-six"\nversions = [41, 40]\nsince = 2021-09-20T00:00:00Z\nreason = "AGAIN"\n'
    log = [(DENIED, None), ({**DENIED, "policy": "activation@40"}, None)]
    found = restores(policy(LISTING + second), log, LIFT.replace(year=2022))
    assert [one.reason for one in found] == ["ACCESS_RESTORED", "AGAIN"]


def test_restores_over_a_log() -> None:
    log = [DENIED, {**DENIED, "id": None}, {**DENIED, "id": "p2", "at": "2021-09-14T08:00:00Z"}, {**DENIED, "at": "soon"}]
    text = "\n".join([*map(json.dumps, log), "{", ""])
    result = invoke("policy", "restores", "example-2021", "--log", "-", stdin=text)
    assert (result.exit_code, result.stdout) == (1, "p1\tACCESS_RESTORED\n")
    assert result.stderr.splitlines() == [
        "regionresolver: warning: line 4: at: not an instant with a time zone (RFC 3339)",
        "regionresolver: warning: line 5: not JSON",
        "regionresolver: 3 decisions, 2 to ask again, 1 of them without an id; 2 lines refused",
    ]


def test_restores_for_programs_and_with_a_field_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "decisions.ndjson"
    file.write_text(json.dumps({**DENIED, "time": "2021-09-14T08:00:00Z"}) + "\n" + json.dumps(DENIED))
    result = invoke("policy", "restores", "example-2021", "--log", str(file), "--time-field", "time", "--format", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "id": "p1", "rule": "embargo-six", "policy": "activation@41", "reason": "ACCESS_RESTORED",
    }  # fmt: skip


def test_restores_says_when_one_is_not_due() -> None:
    result = invoke("policy", "restores", "example-2021", "--log", "-", "--at", "2021-09-14T07:59:59Z", stdin=json.dumps(DENIED))
    assert (result.exit_code, result.stdout) == (0, "")
    assert "the restore of 'embargo-six' is due at 2021-09-14T08:00:00Z, not before" in result.stderr
