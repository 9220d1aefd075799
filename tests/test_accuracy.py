"""Accuracy: the arithmetic by hand, the shipped labelled pings, and floors that follow from the domain, not from the code."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import os
import re
import tomllib
from collections import Counter
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from benchmarks.accuracy.__main__ import main, page
from benchmarks.accuracy.labelled import Label, LabelledPing, read_lines, read_scenarios
from benchmarks.accuracy.measure import MAX_REASONS, MAX_SCENARIOS, Decided, Judge, Outcome, Run
from benchmarks.accuracy.metrics import Band, Tally, brier, calibration_error, wilson
from benchmarks.accuracy.report import SCHEMA, document_of, percent
from benchmarks.make_labelled_pings import PINGS, SCENARIOS, TEST_MSIN, World, labelled_lines
from regionresolver import Resolver
from regionresolver.errors import FileError
from regionresolver.model import Conflict, Effect
from regionresolver.policy import CompiledPolicy
from regionresolver.sources.catalogue import Catalogue
from regionresolver.sources.plmn import PlmnTable
from tests.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

AT = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
CATALOGUE = Catalogue.load()
RESTRICTED = {"CU", "IR", "SY", "SD", "KP", "crimea", "UA-43", "UA-40"}


@pytest.fixture(scope="module")
def embedded() -> Iterator[Resolver]:
    with Resolver.open() as opened:
        yield opened


@pytest.fixture(scope="module")
def pings() -> list[LabelledPing]:
    """Every line of the shipped file; it has no line that cannot be used."""
    with PINGS.open("rb") as stream:
        found = list(read_lines(stream, PINGS.name, CATALOGUE))
    assert not [error for error in found if isinstance(error, FileError)]
    return [line for line in found if isinstance(line, LabelledPing)]


@pytest.fixture(scope="module")
def measured(embedded: Resolver, pings: list[LabelledPing]) -> Run:
    run = Run("embedded", embedded, CATALOGUE, AT)
    for line in pings:
        run.ask(line, PINGS.name)
    return run


def lines_of(*documents: object) -> bytes:
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


def labelled(ping: Mapping[str, object], region: str, **more: object) -> dict[str, object]:
    return {"ping": ping, "label": {"region": region}, **more}


def run_of(resolver: Resolver, content: bytes) -> Run:
    run = Run("test", resolver, CATALOGUE, AT)
    for line in read_lines(io.BytesIO(content), "test", CATALOGUE):
        assert isinstance(line, LabelledPing), line
        run.ask(line, "test")
    return run


# The arithmetic.


@pytest.mark.parametrize(
    ("share", "trials", "low", "high"),
    [
        # Computed by hand from z = 1.96: (p + z2/2n -+ z sqrt(p(1-p)/n + z2/4n2)) / (1 + z2/n).
        (0.8, 10, 0.4902, 0.9433),
        (0.0, 10, 0.0, 0.2775),
        (1.0, 10, 0.7225, 1.0),
        (0.5, 100, 0.4038, 0.5962),
        (0.0, 0, 0.0, 1.0),
    ],
)
def test_wilson_interval(share: float, trials: float, low: float, high: float) -> None:
    assert wilson(share, trials) == pytest.approx((low, high), abs=5e-5)


def test_a_tally_of_weights() -> None:
    tally = Tally()
    tally.add(4, 3)
    tally.add(1, 1, weight=2.0)
    assert (tally.trials, tally.hits) == (6.0, 5.0)
    assert tally.share == pytest.approx(5 / 6)
    assert tally.effective == pytest.approx(36 / 8)
    assert tally.interval == wilson(5 / 6, 4.5)
    assert Tally().share is None
    assert Tally().interval == (0.0, 1.0)


def bands() -> list[Band]:
    sure, unsure = Tally(), Tally()
    sure.add(10, 6)
    unsure.add(10, 9)
    return [Band(0.8, sure), Band(0.6, unsure), Band(0.4, Tally())]


def test_calibration_error_and_brier_score() -> None:
    # (|8 - 6| + |6 - 9|) / 20, and (6 x 0.2^2 + 4 x 0.8^2 + 9 x 0.4^2 + 1 x 0.6^2) / 20.
    assert calibration_error(bands()) == pytest.approx(0.25)
    assert brier(bands()) == pytest.approx(0.23)
    assert calibration_error([]) is None
    assert brier([Band(0.4, Tally())]) is None


def test_verdicts_of_bands() -> None:
    many = Tally()
    many.add(1000, 600)
    assert [Band(confidence, many).verdict for confidence in (0.5, 0.6, 0.8)] == ["too modest", "fits", "too sure"]
    assert Band(0.9, Tally()).verdict == "fits"


@pytest.mark.parametrize(
    ("share", "text"), [(None, "-"), (1.0, "100.0"), (0.9999, ">99.9"), (0.0, "0.0"), (0.0001, "<0.1"), (0.125, "12.5")]
)
def test_a_share_is_not_rounded_to_all_or_nothing(share: float | None, text: str) -> None:
    assert percent(share) == text


# What is right.


@pytest.fixture(scope="module")
def judge(embedded: Resolver) -> Judge:
    return Judge(CompiledPolicy(embedded.policy, CATALOGUE), CATALOGUE, AT)


@pytest.mark.parametrize(
    ("region", "outside", "answer", "outcome"),
    [
        ("CU", (), "CU", Outcome.RIGHT),
        ("CU", (), "ES", Outcome.WRONG),
        ("CU", (), None, Outcome.UNANSWERED),
        ("UA-43", (), "UA-43", Outcome.RIGHT),
        ("UA-43", (), "crimea", Outcome.RIGHT),
        ("UA-43", (), "UA-40", Outcome.WRONG),
        ("UA-43", (), "UA", Outcome.COARSE),
        ("UA-43", (), "RU", Outcome.COARSE),
        ("UA-43", (), "DE", Outcome.WRONG),
        ("crimea", (), "UA-40", Outcome.RIGHT),
        ("crimea", (), "UA", Outcome.COARSE),
        ("UA", (), "UA-23", Outcome.UNJUDGED),
        ("UA", (), "crimea", Outcome.UNJUDGED),
        ("UA", ("crimea",), "UA-23", Outcome.UNJUDGED),
        ("UA", ("crimea",), "UA-43", Outcome.WRONG),
        ("RU", ("crimea",), "crimea", Outcome.WRONG),
        ("RU", (), "UA-43", Outcome.UNJUDGED),
        ("RU", (), "UA", Outcome.WRONG),
        ("DE", (), "UA-43", Outcome.WRONG),
    ],
)
def test_outcomes(judge: Judge, region: str, outside: tuple[str, ...], answer: str | None, outcome: Outcome) -> None:
    assert judge.outcome(Label(region, outside), answer) is outcome


def test_the_regions_of_the_default_policy(judge: Judge) -> None:
    assert judge.words == ("CU", "IR", "SY", "SD", "KP", "crimea")
    assert judge.members("UA-40") == {"crimea"}
    assert judge.members("UA") == judge.members(None) == frozenset()
    groups = [judge.group(region) for region in ("CU", "UA-43", "UA", "UA-14", "DE", None)]
    assert groups == ["CU", "crimea", "UA", "other subdivision", "elsewhere", "none"]
    assert set(groups[:-1]) <= set(judge.groups)


SMALL = lines_of(
    labelled({"serving": "36801"}, "CU", scenario="home"),
    labelled({"serving": "25060"}, "UA-43", scenario="home"),
    labelled({"serving": "25001"}, "UA-43", scenario="leak", reason="over the strait"),
    labelled({"serving": "21407"}, "FR", scenario="leak", reason="over the Pyrenees"),
    labelled({"serving": "36801"}, "US", scenario="leak", reason="over the sea"),
    labelled({"ip": "10.0.0.1"}, "CU", scenario="dark", reason="nothing to go by"),
)


def test_a_small_file_counted_by_hand(embedded: Resolver) -> None:
    document = document_of(run_of(embedded, SMALL), {})
    overall = document["overall"]
    assert overall["outcomes"] == {"right": 2, "coarse": 1, "wrong": 2, "unanswered": 1, "unjudged": 0}
    assert overall["unweighted"]["right"]["share"] == 2 / 5
    assert overall["weighted"] is None
    # Cuba and Crimea are denied rightly; Crimea seen as Russia and Cuba in the dark are missed; the United States suffer.
    assert {key: count for key, count in overall["decisions"].items() if count} == {
        "deny_deny": 2, "deny_allow": 2, "allow_allow": 1, "allow_deny": 1,
    }  # fmt: skip
    assert overall["unweighted"]["missed_denials"]["share"] == 1 / 2
    assert overall["unweighted"]["false_denials"]["share"] == 1 / 2
    cuba, crimea = document["regions"][0], document["regions"][-1]
    assert (cuba["region"], cuba["in_it"], cuba["said"], cuba["both"]) == ("CU", 2, 2, 1)
    assert (crimea["region"], crimea["in_it"], crimea["said"], crimea["both"]) == ("crimea", 2, 1, 1)
    assert document["confusion"]["cells"]["crimea"] == {"crimea": {"right": 1, "other": 0}, "RU": {"right": 0, "other": 1}}
    stated = {band["confidence"]: (band["pings"], band["right"]) for band in document["bands"]}
    assert sum(count for count, _ in stated.values()) == 5
    assert sum(right for _, right in stated.values()) == 2
    assert [row["scenario"] for row in document["worst"]] == ["dark", "leak"]
    assert document["worst"][1]["faults"][0]["first_line"] == 3
    assert {row["basis"]: row["pings"] for row in document["bases"]} == {"serving_plmn": 5, "none": 1}


def test_weights_count_scenarios_by_their_share(embedded: Resolver, tmp_path: Path) -> None:
    shares = tmp_path / "shares.toml"
    shares.write_text("[scenarios]\nhome = { share = 0.9 }\nleak = { share = 0.06 }\ndark = { share = 0.04 }\n")
    overall = document_of(run_of(embedded, SMALL), read_scenarios(shares))["overall"]
    # 0.9 of the traffic is right, 0.06 is wrong, and what is unanswered is not judged.
    assert overall["weighted"]["right"]["share"] == pytest.approx(0.9 / 0.96)
    assert overall["weighted"]["effective_pings"] == pytest.approx(0.96**2 / (2 * 0.45**2 + 3 * 0.02**2))
    assert overall["weighted"]["missed_denials"]["share"] == pytest.approx((0.02 + 0.04) / (0.9 + 0.02 + 0.04))
    assert overall["unweighted"]["right"]["share"] == 2 / 5


def test_the_policy_is_asked_with_the_facts_of_the_ping(embedded: Resolver) -> None:
    before = {"serving": "36801", "first_activated_at": "2021-06-01T00:00:00Z"}
    elsewhere = {"serving": "36801", "sold_in": "DE"}
    scores = run_of(embedded, lines_of(labelled(before, "CU"), labelled(elsewhere, "CU"))).scores
    assert {(decided.expected, decided.given) for decided in scores.decisions} == {
        (Effect.ALLOW, Effect.ALLOW), (Effect.REVIEW, Effect.REVIEW),
    }  # fmt: skip


def test_what_is_kept_does_not_grow_with_the_pings(embedded: Resolver) -> None:
    many = (labelled({"serving": "36801"}, "US", reason=f"reason {number}") for number in range(500))
    scores = run_of(embedded, lines_of(*many)).scores
    assert len(scores.answers) == len(scores.decisions) == len(scores.confusion) == 1
    assert len(scores.faults["all"]) == MAX_REASONS + 1
    assert sum(scores.faults["all"].values()) == 500


# The command.


def accuracy(*arguments: str, content: bytes = b"") -> Result:
    return CliRunner().invoke(main, list(arguments), input=content, env={"COLUMNS": "200"})


BAD_LINES = [
    (b"{", "is not JSON"),
    (b"[1]", "is no JSON object"),
    (b"\xff{}", "is not JSON"),
    (lines_of({"label": {"region": "CU"}}), "ping: no object"),
    (lines_of(labelled({"sku": "X"}, "CU")), "ping: has no signal"),
    (lines_of(labelled({"ip": None}, "CU")), "ping: has no signal"),
    (lines_of(labelled({"serving": 36801}, "CU")), "ping.serving: would be refused: PLMN_NOT_STRING"),
    (lines_of({"ping": {"serving": "36801"}}), "label: no object"),
    (lines_of(labelled({"serving": "36801"}, "UK")), "label.region: is no region of the region catalogue (did you mean GB?)"),
    (lines_of({"ping": {"serving": "36801"}, "label": {"region": 5}}), "label.region: is no region"),
    (lines_of({"ping": {"serving": "36801"}, "label": {"region": "UA", "outside": "crimea"}}), "label.outside: no list"),
    (lines_of({"ping": {"serving": "36801"}, "label": {"region": "UA", "outside": ["krim"]}}), "label.outside: is no region"),
    (lines_of(labelled({"serving": "36801"}, "CU", scenario=7)), "scenario: is no text"),
    (b'{"x": "' + b"y" * 20_000 + b'"}', "is longer than 16384 bytes"),
]


@pytest.mark.parametrize(("line", "words"), BAD_LINES, ids=[words for _, words in BAD_LINES])
def test_a_bad_line_is_named_and_the_others_are_measured(tmp_path: Path, line: bytes, words: str) -> None:
    file = tmp_path / "pings.ndjson"
    good = lines_of(labelled({"serving": "36801", "sim": "368010123456789"}, "CU"))
    file.write_bytes(good + b"\n" + line.rstrip(b"\n") + b"\n" + good)
    done = accuracy("--pings", str(file), "--json", str(tmp_path / "out.json"))
    assert done.exit_code == 1
    assert f"{file}:3: {words}" in done.stderr
    assert done.stderr.count("\n") == 1
    report = json.loads((tmp_path / "out.json").read_bytes())
    assert (report["pings"]["good"], report["pings"]["bad"]) == (2, 1)
    assert report["runs"][0]["overall"]["outcomes"]["right"] == 2


def test_of_many_bad_lines_the_first_are_named() -> None:
    done = accuracy("--pings", "-", content=b"nonsense\n" * 30)
    assert done.exit_code == 1
    assert done.stderr.count("is not JSON") == 20
    assert "10 more lines cannot be used" in done.stderr
    assert "no line could be used" in done.stderr
    assert done.stdout == ""


def test_an_empty_file_is_a_finding() -> None:
    done = accuracy("--pings", "-")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "no line could be used" in done.stderr


def test_scenarios_are_limited() -> None:
    content = lines_of(*(labelled({"serving": "36801"}, "CU", scenario=str(number)) for number in range(MAX_SCENARIOS + 2)))
    done = accuracy("--pings", "-", content=content)
    assert done.exit_code == 1
    assert f"-:{MAX_SCENARIOS + 1}: scenario: is one scenario more than {MAX_SCENARIOS}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--pings", "missing.ndjson"), "missing.ndjson: No such file"),
        (("--against", "missing.mmdb"), "missing.mmdb"),
        (("--at", "yesterday"), "RFC 3339"),
        (("--scenarios", "missing.toml"), "missing.toml"),
    ],
)
def test_what_cannot_be_used_is_usage(arguments: tuple[str, ...], words: str) -> None:
    done = accuracy(*arguments)
    assert done.exit_code == 2
    assert words in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[scenarios", "is no TOML"),
        ("x = 1", "has no table scenarios"),
        ("[scenarios]\na = { share = 2 }", "scenarios.a.share: is no number from 0 to 1"),
        ("[scenarios]\na = { share = true }", "scenarios.a.share: is no number from 0 to 1"),
        ("[scenarios]\na = { share = 0.5 }", "the shares: do not sum to 1"),
    ],
)
def test_a_scenario_file_is_checked(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "shares.toml"
    file.write_text(text)
    with pytest.raises(FileError, match=re.escape(words)):
        read_scenarios(file)


def test_runs_stand_side_by_side(tmp_path: Path) -> None:
    file, out, text = tmp_path / "pings.ndjson", tmp_path / "out.json", tmp_path / "out.md"
    file.write_bytes(SMALL)
    done = accuracy("--pings", str(file), "--against", "embedded", "--json", str(out), "--markdown", str(text))
    assert (done.exit_code, done.stderr) == (0, "")
    report = json.loads(out.read_bytes())
    assert report["schema"] == SCHEMA == "regionresolver.accuracy/1"
    first, second = report["runs"]
    assert first == second
    assert [source["name"] for source in first["sources"]] == ["embedded"]
    assert text.read_text(encoding="utf-8").startswith("6 labelled pings of `pings.ndjson`")
    assert "## Side by side" in text.read_text(encoding="utf-8")
    for title in ("By scenario", "By confidence", "By row of the fusion table", "Confusion", "Worst scenarios"):
        assert title in done.stdout


# The shipped file.


def documents() -> Iterable[dict[str, Any]]:
    with PINGS.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def digits_of(plmn: object) -> str:
    text = f"{plmn['mcc']}{plmn['mnc']}" if isinstance(plmn, dict) else str(plmn)
    return text.replace("-", "").replace(" ", "")


def test_every_line_says_where_why_and_whence(pings: list[LabelledPing]) -> None:
    assert len(pings) >= 2_000
    for line in documents():
        assert line.keys() == {"ping", "label", "scenario", "reason", "source"}
        assert line["ping"].keys() <= {"ip", "serving", "sim"}
        assert line["label"]["place"]
        assert line["reason"]
        assert re.fullmatch(r"(ip|plmn): [\w .-]+(; (ip|plmn): [\w .-]+)*", line["source"])
    texts = [json.dumps(line["ping"], sort_keys=True) for line in documents()]
    assert len(set(texts)) == len(texts), "a ping stands twice"


def test_every_scenario_has_its_count(pings: list[LabelledPing]) -> None:
    wanted = {name: row["count"] for name, row in tomllib.loads(SCENARIOS.read_text())["scenarios"].items()}
    assert Counter(line.scenario for line in pings) == wanted
    assert min(wanted.values()) >= 40
    assert sum(row.share for row in read_scenarios(SCENARIOS).values()) == pytest.approx(1)


def test_no_imsi_but_of_test_digits() -> None:
    imsis = 0
    for line in documents():
        for field in ("serving", "sim"):
            digits = digits_of(line["ping"].get(field, ""))
            if digits.isdigit() and len(digits) > 6:
                imsis += 1
                assert field == "sim"
                assert len(digits) == 15
                assert digits[5:] == TEST_MSIN or digits[6:] == TEST_MSIN[:9]
    assert imsis > 100


def test_the_file_holds_every_hard_case_of_the_domain() -> None:
    table = PlmnTable.load(catalogue=CATALOGUE)
    serving = Counter(digits_of(line["ping"].get("serving", "")) for line in documents())
    crimean = {row.prefix for row in table.rows if set(row.candidates) <= {"crimea", "UA-43", "UA-40"} and row.candidates}
    assert crimean - {"25061"} <= set(serving)  # 250-61 is not operating
    assert {"99999", "00101", "25096", "25097"} <= set(serving)
    assert {digits[:3] for digits in serving} >= {"310", "340", "362", "425", "505", "647", "208", "228", "234", "368", "467"}
    addresses = [str(line["ping"].get("ip", "")) for line in documents()]
    for start in ("::ffff:", "2002:", "2001:0:", "64:ff9b::", "10.", "100.", "192.168.", "fd00:", "fe80:", "169.254.", "2a"):
        assert any(address.startswith(start) for address in addresses), start
    assert any(":" in address and ip_address(address).is_global for address in addresses if "%" not in address and address)


@pytest.mark.parametrize("scenario", ["home_mobile", "restricted_home", "vpn_third_country", "crimea_wifi_only", "wifi_abroad"])
def test_addresses_that_place_a_phone_are_global(scenario: str) -> None:
    for line in documents():
        if line["scenario"] == scenario:
            assert IPv4Address(line["ping"]["ip"]).is_global


def test_it_can_be_made_again(tmp_path: Path) -> None:
    folder = Path(os.environ.get("REGIONRESOLVER_LABEL_SOURCES", ROOT / "build" / "labelled-sources"))
    if not folder.is_dir():
        pytest.skip("the sources of the labelled pings are not here: make label-pings fetches them")
    scenarios = tomllib.loads(SCENARIOS.read_text())["scenarios"]
    assert b"".join(labelled_lines(World(folder), scenarios)) == PINGS.read_bytes()


# Floors: what the domain promises, whatever the database says.


def decisions_in(measured: Run, *scenarios: str) -> Counter[tuple[Effect, Effect]]:
    found: Counter[tuple[Effect, Effect]] = Counter()
    for decided, count in measured.scores.decisions.items():
        if decided.scenario in scenarios:
            found[decided.expected, decided.given] += count
    assert found.total() >= 40 * len(scenarios)
    return found


def test_a_restricted_serving_network_is_always_denied(measured: Run) -> None:
    """DOMAIN rows 1 to 4 and 14: neither a VPN nor a foreign SIM nor a useless address lifts a denial."""
    found = decisions_in(
        measured, "restricted_home", "restricted_vpn", "restricted_visitor", "restricted_reserved_address", "crimea_mobile",
        "crimea_visitor", "crimea_vpn",
    )  # fmt: skip
    assert set(found) == {(Effect.DENY, Effect.DENY)}


def test_nobody_is_denied_for_a_vpn_a_sim_or_a_holiday(measured: Run) -> None:
    """DOMAIN rows 3, 4, 15 and 16: a serving network elsewhere wins, and without one a doubtful region gets a review."""
    found = decisions_in(
        measured, "roaming_home_routed", "roaming_local_breakout", "travel_sim", "travel_sim_901", "wifi_abroad",
        "embargoed_traveller", "embargoed_traveller_wifi", "crimean_traveller", "vpn_third_country", "vpn_into_restricted",
        "home_mobile", "home_mobile_ipv6", "home_ukraine", "home_russia", "ukraine_crimean_address",
    )  # fmt: skip
    assert {expected for expected, _ in found} == {Effect.ALLOW}
    assert Effect.DENY not in {given for _, given in found}


def test_a_vpn_leaves_no_trace_where_the_serving_network_is_known(measured: Run) -> None:
    """DOMAIN rows 4, 14 and 15: the region is the serving network's, and the conflict is named."""
    found = [
        answer
        for answer in measured.scores.answers
        if answer.scenario in {"restricted_vpn", "vpn_third_country", "vpn_into_restricted"}
        and answer.row in {"3", "4", "14", "15"}
    ]
    assert found
    assert {answer.outcome for answer in found} == {Outcome.RIGHT}
    assert not measured.scores.silent["restricted_vpn"]


def test_a_traveller_is_where_the_serving_network_is(measured: Run) -> None:
    """DOMAIN row 16: a SIM of a restricted country never moves its owner there."""
    answers = {answer for answer in measured.scores.answers if answer.scenario == "embargoed_traveller"}
    assert {answer.basis for answer in answers} == {"serving_plmn"}
    assert {answer.outcome for answer in answers if answer.row not in {"5"}} == {Outcome.RIGHT}


def test_a_ukrainian_network_is_evidence_against_crimea(measured: Run) -> None:
    """DOMAIN row 6b."""
    answers = {answer for answer in measured.scores.answers if answer.scenario == "ukraine_crimean_address"}
    assert {answer.outcome for answer in answers} == {Outcome.RIGHT}


def test_a_useless_field_spoils_nothing(measured: Run) -> None:
    """DOMAIN row 12, HTTP: one bad field must not lock a phone."""
    found = decisions_in(measured, "reserved_address", "invalid_field", "reserved_only")
    assert set(found) == {(Effect.ALLOW, Effect.ALLOW)}


def test_every_phone_is_decided_once(measured: Run, pings: list[LabelledPing]) -> None:
    scores = measured.scores
    unjudged = sum(count for answer, count in scores.answers.items() if answer.outcome is Outcome.UNJUDGED)
    assert sum(scores.answers.values()) == len(pings)
    assert sum(scores.decisions.values()) == len(pings) - unjudged
    assert all(isinstance(decided, Decided) for decided in scores.decisions)


def test_the_page_of_figures_is_what_is_measured(measured: Run) -> None:
    shown = (ROOT / "docs" / "accuracy-embedded.md").read_text(encoding="utf-8")
    run = document_of(measured, read_scenarios(SCENARIOS))
    assert page({"at": AT.isoformat(), "pings": _file_facts(), "runs": [run]}) == shown, "make accuracy-docs writes it again"


def _file_facts() -> dict[str, object]:
    content = PINGS.read_bytes()
    return {"file": PINGS.name, "sha256": hashlib.sha256(content).hexdigest(), "good": content.count(b"\n"), "bad": 0}


def test_the_docs_name_only_scenarios_and_files_that_exist() -> None:
    text = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
    scenarios = set(read_scenarios(SCENARIOS))
    known = scenarios | {conflict.value for conflict in Conflict} | {"min_confidence_to_deny"}
    for word in re.findall(r"`([a-z]+(?:_[a-z0-9]+)+)`", text):
        assert word in known, word
    for target in re.findall(r"\]\(((?!https?:)[^)#]+)\)", text):
        assert (ROOT / "docs" / target).is_file(), target
