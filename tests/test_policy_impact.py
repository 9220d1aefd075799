"""What a candidate would change: the counts, the report without personal data, and files of every kind."""

from __future__ import annotations

import datetime as dt
import io
import itertools
import json
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from regionresolver import Resolver
from regionresolver.errors import PingError
from regionresolver.model import Effect
from regionresolver.policy.impact import KEPT_FAULTS, Impact, Outcome, impact
from regionresolver.policy.model import Guardrails
from regionresolver.policy.skus import SkuClasses
from regionresolver.resolver.ndjson import LONGEST_PING_BYTES
from regionresolver.resolver.replay import replay
from tests.policies import HEADER, NOON, policy
from tests.test_cli import invoke
from tests.worlds import city_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("bare_environment", "logging_as_it_was")

NOBODY = policy("")
CUBA = policy('[[rules]]\nid = "cuba"\nwhen = { region = "CU" }\neffect = "deny"\n')
ALLOW = Outcome("CU", Effect.ALLOW, None, None)
DENY = Outcome("CU", Effect.DENY, "ban", None)
REVIEW = Outcome("CU", Effect.REVIEW, "look", None)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(city_database(tmp_path_factory.mktemp("city") / "city.mmdb"))


@pytest.fixture(scope="module")
def data(city: str) -> Iterator[Resolver]:
    with Resolver.open(city) as opened:
        yield opened.with_policy(NOBODY)


def counted(*pairs: tuple[Outcome, Outcome]) -> Impact:
    found = Impact()
    for line, (before, after) in enumerate(pairs, start=1):
        found.count(line, before, after, "any SKU")
    return found


def replayed(data: Resolver, candidate: str, *documents: object, **more: object) -> Impact:
    lines = "\n".join(document if isinstance(document, str) else json.dumps(document) for document in documents)
    return replay(data, policy(candidate), io.BytesIO(lines.encode()), NOON, **more)  # type: ignore[arg-type]


# --- the counts


def test_every_way_from_one_decision_to_another_is_counted_once() -> None:
    found = counted(*itertools.product((ALLOW, DENY, REVIEW), (ALLOW, DENY, REVIEW)))
    assert found.pings == 9
    assert found.matrix() == {before: dict.fromkeys(Effect, 1) for before in Effect}
    assert (found.newly_denied, found.newly_allowed, found.newly_review) == (2, 2, 2)
    assert found.newly_denied_share == pytest.approx(2 / 9)


def test_no_pings_have_no_share() -> None:
    assert (Impact().pings, Impact().newly_denied_share, Impact().changes()) == (0, 0.0, [])


def test_groups_put_the_hardest_hit_first_and_say_which_share_of_them() -> None:
    spain = Outcome("ES", Effect.ALLOW, None, None)
    found = counted((spain, spain), (spain, spain), (ALLOW, DENY), (ALLOW, ALLOW), (ALLOW, REVIEW))
    cuba, other = found.by_region()
    assert (cuba.name, cuba.pings, cuba.newly_denied, cuba.newly_review) == ("CU", 3, 1, 1)
    assert cuba.newly_denied_share == pytest.approx(1 / 3)
    assert (other.name, other.pings, other.newly_denied) == ("ES", 2, 0)
    assert [group.name for group in found.by_rule()] == ["no rule -> ban", "no rule -> look", "no rule -> no rule"]


def test_what_shadow_rules_would_deny_is_no_denial() -> None:
    would = Outcome("CU", Effect.ALLOW, None, Effect.DENY)
    found = counted((ALLOW, would), (ALLOW, would), (ALLOW, ALLOW))
    assert (found.newly_denied, found.shadow_denied) == (0, 2)
    assert [(group.newly_denied, group.shadow_denied) for group in found.by_region()] == [(0, 2)]
    assert found.changes() == []


def test_a_change_names_its_first_lines_only() -> None:
    found = counted(*[(ALLOW, DENY)] * 10, (ALLOW, REVIEW))
    first, second = found.changes()
    assert (first.pings, first.lines, first.kind.rule_after) == (10, (1, 2, 3), "ban")
    assert (second.pings, second.lines) == (1, (11,))


@pytest.mark.parametrize(
    ("pairs", "guardrails", "objections"),
    [
        ([(ALLOW, DENY)] + [(ALLOW, ALLOW)] * 49, {"min_replay_sample": 50}, []),
        (
            [(ALLOW, DENY)] * 2 + [(ALLOW, ALLOW)] * 48,
            {"min_replay_sample": 50},
            ["4.00% of the pings are newly denied, max_newly_denied_share is 2.00%"],
        ),
        ([(ALLOW, ALLOW)] * 49, {"min_replay_sample": 50}, ["49 pings were replayed, min_replay_sample asks for 50"]),
        ([(DENY, DENY)] * 50, {"min_replay_sample": 50}, []),
        ([], {"min_replay_sample": 0}, []),
    ],
)
def test_guardrails(pairs: list[tuple[Outcome, Outcome]], guardrails: dict[str, int], objections: list[str]) -> None:
    assert counted(*pairs).objections(Guardrails(**guardrails)) == objections


def test_a_ping_that_is_refused_is_not_counted() -> None:
    def refuse(_: int) -> Outcome:
        raise PingError("serving: got a number")

    found = impact(lambda _: ALLOW, refuse, [(7, 0)], lambda _: "any SKU")
    assert (found.pings, found.refused, found.faults) == (0, 1, [(7, "serving: got a number")])


# --- SKU classes


def test_classes_of_skus_are_those_that_rules_tell_apart() -> None:
    classes = SkuClasses([policy('[[rules]]\nid = "r"\nwhen = { sku = "A*", sku_not = ["*-X", "*-Y"] }\neffect = "deny"')])
    named = {sku: classes.name(classes.of(sku)) for sku in ("A1", "B-X", "A-Y", "B", None)}
    assert named == {"A1": "A*", "B-X": "*-X | *-Y", "A-Y": "A* and *-X | *-Y", "B": "other SKUs", None: "no SKU"}
    assert {classes.name(one) for one in classes.every()} == set(named.values())


def test_without_globs_there_is_one_class() -> None:
    classes = SkuClasses([CUBA])
    assert {classes.name(one) for one in classes.every()} == {"any SKU"} == {classes.name(classes.of("A1"))}


def test_classes_that_no_sku_can_be_in_are_not_named() -> None:
    classes = SkuClasses([policy('[[rules]]\nid = "r"\nwhen = { sku = "A", sku_not = "B*" }\neffect = "deny"')])
    assert [classes.name(one) for one in classes.every()] == ["no SKU", "other SKUs", "A", "B*"]


# --- a replay


def test_a_ping_is_decided_as_of_its_own_time(data: Resolver) -> None:
    dated = (
        '[[rules]]\nid = "cuba"\nwhen = { region = "CU" }\neffect = "deny"\n'
        "effective = { from = 2021-08-31T00:00:00Z, until = 2021-09-14T08:00:00Z }"
    )
    before, within = "2021-08-30T23:59:59.999999Z", "2021-09-14T09:59:59+02:00"
    pings = [{"serving": "36801", "at": when} for when in (before, within)]
    assert replayed(data, dated, *pings).newly_denied == 1
    assert replayed(data, dated, *pings, at=dt.datetime(2021, 9, 1, tzinfo=dt.UTC)).newly_denied == 2
    assert replayed(data, dated, *pings, time_field="when").newly_denied == 0, "now is after the end"


def test_lines_that_are_no_pings_are_counted_with_their_numbers(data: Resolver) -> None:
    found = replayed(
        data,
        "",
        {"serving": "36801"},
        "",
        "{not json 203.0.113.7",
        "[1]",
        {"sku": "A"},
        {"serving": 36801},
        {"serving": "36801", "at": "yesterday"},
        {"serving": "36801", "at": 7},
        json.dumps({"serving": "36801", "sku": "A" * LONGEST_PING_BYTES}),
        {"ip": "no address at all"},
    )
    assert found.pings == 2
    assert found.faults == [
        (3, "not JSON"),
        (4, "not a JSON object"),
        (5, "at least one of ip, serving and sim must be given"),
        (6, "serving: got a number"),
        (7, "at: not an instant with a time zone (RFC 3339)"),
        (8, "at: not an instant with a time zone (RFC 3339)"),
        (9, "longer than 16 KiB"),
    ]


def test_only_the_first_faults_are_kept(data: Resolver) -> None:
    found = replayed(data, "", *["x"] * 1000)
    assert (found.refused, len(found.faults)) == (1000, KEPT_FAULTS)


def test_a_line_of_the_longest_length_is_a_ping(data: Resolver) -> None:
    empty = json.dumps({"serving": "36801", "more": ""})
    longest = json.dumps({"serving": "36801", "more": "x" * (LONGEST_PING_BYTES - len(empty))})
    assert len(longest) == LONGEST_PING_BYTES
    found = replayed(data, "", longest, longest + " ", {"serving": "36801"})
    assert (found.pings, found.faults) == (2, [(2, "longer than 16 KiB")])


def test_both_policies_decide_on_the_same_data(data: Resolver) -> None:
    sold = {"serving": "36801", "sold_in": "DE", "sku": "A-X", "device_id": "h:1", "first_activated_at": "2021-01-01T00:00:00Z"}
    candidate = (
        '[[rules]]\nid = "r"\nwhen = { region = "CU", sold_in = "DE", sku = "*-X", device_id = "h:1", '
        'first_activated_before = 2021-08-31T00:00:00Z }\neffect = "deny"\n'
    )
    found = replayed(data, candidate, sold, {**sold, "sku": "A"}, {**sold, "first_activated_at": None}, {"ip": "84.0.0.1"})
    assert found.newly_denied == 1
    assert {group.name: group.pings for group in found.by_sku_class()} == {"*-X": 2, "other SKUs": 1, "no SKU": 1}


def test_memory_does_not_grow_with_the_log(data: Resolver) -> None:
    peaks = []
    for count in (500, 500, 4_000):
        stream = io.BytesIO(b"".join(b'{"serving": "36801", "device_id": "h:%08d"}\n' % number for number in range(count)))
        tracemalloc.start()
        assert replay(data, CUBA, stream, NOON).newly_denied == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 50_000, "the first pass also makes what is made once"


# --- the command


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    file = tmp_path / "next.toml"
    file.write_text(
        HEADER.replace("version = 1", "version = 2")
        + '[[rules]]\nid = "cuba"\nwhen = { region = "CU" }\neffect = "deny"\n'
        + "[guardrails]\nmin_replay_sample = 3\nmax_newly_denied_share = 0.5\n"
    )
    return file


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "pings.ndjson"
    pings = [
        {"id": "secret-1", "serving": "36801", "sim": "368010123456789", "device_id": "h:secret", "ip": "84.0.0.77"},
        {"id": "secret-2", "serving": "21407", "ip": "80.0.0.77"},
        {"id": "secret-3", "serving": "21407"},
    ]
    file.write_text("\n".join([*map(json.dumps, pings), "secret-line"]))
    return file


def test_the_report_for_programs(city: str, candidate: Path, log: Path) -> None:
    result = invoke("policy", "impact", "--candidate", str(candidate), "--baseline", "observe-only", "--pings", str(log),
                    "--db", city, "--format", "json")  # fmt: skip
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert (found["pings"], found["newly_denied"], found["newly_denied_share"]) == (3, 1, pytest.approx(1 / 3))
    assert (found["baseline"], found["candidate"]) == ("observe-only@1", "test@2")
    assert found["decisions"]["allow"] == {"allow": 2, "deny": 1, "review": 0}
    assert found["changes"] == [
        {
            "region": "CU",
            "sku_class": "any SKU",
            "before": {"decision": "allow", "rule": None},
            "after": {"decision": "deny", "rule": "cuba"},
            "pings": 1,
            "first_lines": [1],
        }
    ]
    assert (found["refused_lines"], found["first_refused"]) == (1, [{"line": 4, "reason": "not JSON"}])
    assert found["guardrails"]["kept"] is True


@pytest.mark.parametrize("format_", ["text", "json"])
def test_the_report_holds_nothing_of_a_ping(format_: str, city: str, candidate: Path, log: Path) -> None:
    result = invoke("policy", "impact", "--candidate", str(candidate), "--pings", str(log), "--db", city, "--format", format_)
    assert "deny" in result.output
    for personal in ("secret", "0123456789", "84.0.0", "80.0.0"):
        assert personal not in result.output


def test_a_guardrail_that_is_exceeded_is_exit_status_1(city: str, candidate: Path, log: Path) -> None:
    candidate.write_text(candidate.read_text().replace("0.5", "0.1"))
    result = invoke(
        "policy", "impact", "--candidate", str(candidate), "--baseline", "observe-only", "--pings", str(log), "--db", city
    )
    assert result.exit_code == 1
    assert "guardrail: 33.33% of the pings are newly denied, max_newly_denied_share is 10.00%" in result.stdout
    assert "line 4: not JSON" in result.stdout


def test_pings_from_standard_input(city: str, candidate: Path, log: Path) -> None:
    arguments = ("policy", "impact", "--candidate", str(candidate), "--baseline", "observe-only", "--pings", "-", "--db", city)
    assert invoke(*arguments, stdin=log.read_text()).exit_code == 0


def test_an_empty_log_keeps_no_guardrail(city: str, candidate: Path) -> None:
    result = invoke("policy", "impact", "--candidate", str(candidate), "--pings", "-", "--db", city, stdin="")
    assert result.exit_code == 1
    assert "0 pings were replayed, min_replay_sample asks for 3" in result.stdout


def test_a_log_that_is_not_there_is_a_wrong_usage(candidate: Path) -> None:
    assert invoke("policy", "impact", "--candidate", str(candidate), "--pings", "nowhere.ndjson").exit_code == 2
