"""The policy file: what it may say, and what it is told when it says something else."""

from __future__ import annotations

import datetime as dt
import json
import tomllib
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from regionresolver.errors import PolicyError
from regionresolver.model import Conflict, Effect, SignalStatus
from regionresolver.policy import CompiledPolicy, RegionNames, load_policy, run_tests, shipped_policy
from regionresolver.policy.load import MAX_POLICY_BYTES, SHIPPED
from regionresolver.policy.model import Mode, Policy
from regionresolver.sources.locate import line_of
from tests.paths import SHARED
from tests.policies import HEADER, LISTING, catalogue, compiled, policy, resolve_by_network

if TYPE_CHECKING:
    from pathlib import Path

RULE = '[[rules]]\nid = "r"\neffect = "deny"\n'


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    return Writer(tmp_path)


class Writer:
    """Writes policy files into a test's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, content: str | bytes, name: str = "policy.toml") -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


def refused(path: Path) -> str:
    """Load a policy that must be refused; return the error without the name of its folder."""
    with pytest.raises(PolicyError) as caught:
        load_policy(path, catalogue())
    assert caught.value.file == str(path)
    return str(caught.value).removeprefix(f"{path}: ")


# The whole format


def test_the_listing_of_the_specification_loads(write: Writer) -> None:
    loaded = load_policy(write(LISTING), catalogue())

    assert loaded.label == "activation@41"
    assert [rule.id for rule in loaded.rules] == [
        "sold-before-the-ban",
        "sold-in-a-regular-market",
        "embargo-six",
        "embargo-six-measure",
    ]
    ban = loaded.rules[2]
    assert ban.mode is Mode.ENFORCE
    assert ban.effect is Effect.DENY
    assert ban.retry_after == dt.timedelta(days=1)
    assert ban.effective is not None
    assert ban.effective.until == at("2021-09-14T08:00:00Z")
    assert ban.rollout is not None
    assert [stage.percent for stage in ban.rollout.stages] == [5, 25, 100]
    assert ban.review_by == dt.date(2021, 12, 31)
    assert loaded.restores[0].versions == (41,)
    assert loaded.guardrails.runtime_breaker is not None
    assert loaded.guardrails.runtime_breaker.window == dt.timedelta(minutes=5)
    assert loaded.tests[0].ping.serving == "36801"


def test_the_listing_here_is_the_one_of_the_specification() -> None:
    if SHARED is None:
        pytest.skip("the specification is not beside this checkout")
    page = SHARED / "POLICY.md"
    assert LISTING.strip() in page.read_text(encoding="utf-8")


def test_the_listing_passes_its_own_test() -> None:
    assert [str(result) for result in run_tests(policy(LISTING), catalogue(), resolve_by_network)] == [
        "a VPN does not lift a denial: passed"
    ]


def test_every_condition_of_the_specification_is_understood() -> None:
    when = (
        policy("""
        [[rules]]
        id = "all"
        effect = "review"
        [rules.when]
        region = ["CU"]
        region_not = ["SY"]
        home_region = ["CU"]
        home_region_not = ["SY"]
        sold_in = ["DE"]
        sold_in_not = ["SY"]
        sku = ["M2*"]
        sku_not = ["*-X"]
        first_activated_before = 2021-08-31T00:00:00Z
        first_activated_after = 2020-08-31T00:00:00+02:00
        conflict = ["ip_disagrees"]
        confidence_at_least = 0.8
        confidence_below = 1
        device_id = { ids = ["h:1"], until = 2027-01-01T00:00:00Z }
        signal_status = { ip = "reserved", home_plmn = ["invalid", "unassigned"] }
    """)
        .rules[0]
        .when
    )

    assert None not in when.model_dump().values()
    assert when.first_activated_after == at("2020-08-30T22:00:00Z")
    assert when.conflict == (Conflict.IP_DISAGREES,)
    assert when.device_id is not None
    assert when.device_id.until == at("2027-01-01T00:00:00Z")
    assert when.signal_status is not None
    assert when.signal_status.home_plmn == (SignalStatus.INVALID, SignalStatus.UNASSIGNED)


def test_what_is_not_written_has_one_default_each() -> None:
    bare = policy(HEADER)

    assert bare.header.default_language == "en"
    assert (bare.defaults.effect, bare.defaults.on_unknown, bare.defaults.min_confidence_to_deny) == ("allow", "allow", 0.8)
    assert (bare.guardrails.max_newly_denied_share, bare.guardrails.min_replay_sample) == (0.02, 100_000)
    assert (bare.rules, bare.tests, bare.restores, dict(bare.messages), dict(bare.regions)) == ((), (), (), {}, {})


def test_json_of_the_same_model_means_the_same(write: Writer) -> None:
    toml = load_policy(write(LISTING), catalogue())
    text = json.dumps(tomllib.loads(LISTING), default=lambda instant: instant.isoformat())

    assert load_policy(write(text, "policy.json"), catalogue()) == toml
    assert load_policy(write(text, "policy-without-a-suffix"), catalogue()) == toml
    assert CompiledPolicy(toml, catalogue()).sha256 == CompiledPolicy(policy(LISTING), catalogue()).sha256


def test_a_policy_survives_its_own_serialisation() -> None:
    original = policy(LISTING)
    assert Policy.model_validate_json(original.model_dump_json(by_alias=True)) == original


def test_a_policy_cannot_be_changed() -> None:
    loaded = policy(LISTING)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(loaded.rules[0], "effect", Effect.DENY)  # noqa: B010 - mypy already knows that it is read-only


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("P1D", dt.timedelta(days=1)),
        ("PT12H", dt.timedelta(hours=12)),
        ("P2W", dt.timedelta(weeks=2)),
        ("P1DT2H3M4S", dt.timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ("90s", dt.timedelta(seconds=90)),
        ("5m", dt.timedelta(minutes=5)),
        ("36h", dt.timedelta(hours=36)),
    ],
)
def test_lengths_of_time(text: str, length: dt.timedelta) -> None:
    assert policy(RULE + f'when = {{}}\nretry_after = "{text}"').rules[0].retry_after == length


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1", "1D", "P1Y", "P1M", "PT1.5H", "-P1D", "P0D", "0s", "5 m", "P1DT", "PT9" + "9" * 30 + "H"]
)
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(ValidationError):
        policy(RULE + f'when = {{}}\nretry_after = "{text}"')


def test_one_word_may_stand_for_a_list() -> None:
    when = policy(RULE + 'when = { region = "CU", sku = "M2*", device_id = "h:1", conflict = "home_routed" }').rules[0].when
    assert (when.region, when.sku, when.conflict) == (("CU",), ("M2*",), (Conflict.HOME_ROUTED,))
    assert when.device_id is not None
    assert when.device_id.ids == ("h:1",)


def test_a_test_ping_takes_a_plmn_in_two_parts() -> None:
    test = '[[tests]]\nname = "t"\nat = 2026-01-01T00:00:00Z\nexpect = { decision = "allow" }\n'
    assert policy(test + 'ping = { sim = { mcc = "368", mnc = "01" } }').tests[0].ping.sim == "368-01"


# The files that ship


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_policies_load_and_pass_their_own_tests(name: str) -> None:
    loaded = load_policy(shipped_policy(name), catalogue())

    results = run_tests(loaded, catalogue(), resolve_by_network)

    assert [str(result) for result in results if not result.passed] == []
    assert len(results) >= 4


def test_no_path_is_the_shipped_default() -> None:
    loaded = load_policy(None, catalogue())

    assert loaded.label == "activation@1"
    assert loaded == load_policy(shipped_policy(), catalogue())
    assert set(loaded.messages["REGION_NOT_PERMITTED"]) == {"en", "es"}


def test_the_shipped_examples_say_that_they_are_examples() -> None:
    for name in SHIPPED:
        head = shipped_policy(name).read_text(encoding="utf-8").partition("[policy]")[0]
        assert "EXAMPLE" in head
        assert "no legal advice" in " ".join(head.replace("#", "").split())


# What is refused

BAD_FILES: list[tuple[str, str | bytes, str]] = [
    ("empty", "", "is empty (a policy needs at least [policy] with name and version)"),
    ("blank", " \n\t\n", "is empty (a policy needs at least [policy] with name and version)"),
    ("not UTF-8", b"\xff\xfe[\x00", "byte 0: is not UTF-8 (a policy is a TOML or JSON text)"),
    ("not TOML", "[policy]\nname = activation\n", "line 2, column 8: not TOML: Invalid value"),
    ("YAML", "policy:\n  name: activation\n", "line 1, column 7: not TOML: Expected '=' after a key in a key/value pair"),
    ("cut off", '[policy]\nname = "a', "end of document: not TOML: Unterminated string"),
    ("a key twice", '[policy]\nname = "a"\nname = "b"\n', "line 3, column 11: not TOML: Cannot overwrite a value"),
    ("a number too long", f"[policy]\nversion = {'9' * 5000}\n", "not TOML: Exceeds the limit"),
    ("too deep", f"a = {'[' * 5000}", "is nested too deeply"),
    ("no header", RULE, "policy: is missing"),
    ("no name", "[policy]\nversion = 1", "line 1, policy.name: is missing"),
    ("version as text", '[policy]\nname = "a"\nversion = "1"', "line 3, policy.version: must be a whole number, not '1'"),
    ("version as fraction", '[policy]\nname = "a"\nversion = 1.5', "line 3, policy.version: must be a whole number, not 1.5"),
    ("version as truth", '[policy]\nname = "a"\nversion = true', "line 3, policy.version: must be a whole number, not True"),
    ("version zero", '[policy]\nname = "a"\nversion = 0', "line 3, policy.version: must be greater than or equal to 1"),
    ("name with a space", '[policy]\nname = "a b"\nversion = 1', "line 2, policy.name: 'a b' is not of the form"),
    ("unknown table", HEADER + "[rule]\n", "line 4, rule: unknown key 'rule', did you mean 'rules'?"),
    ("rules as a table", HEADER + "[rules]\n", "line 4, rules: must be a list, not a table"),
    ("a rule as text", 'rules = ["deny"]\n' + HEADER, "line 1, rules[0]: must be a table, not 'deny'"),
    (
        "unknown key of a rule",
        HEADER + RULE + 'when = { region = "CU" }\nreasn = "X"\n',
        "line 8, rules[0].reasn: unknown key 'reasn', did you mean 'reason'?",
    ),
    (
        "unknown condition",
        HEADER + RULE + 'when = { regoin = ["CU"] }\n',
        "line 7, rules[0].when.regoin: unknown key 'regoin', did you mean 'region'?",
    ),
    ("no conditions", HEADER + RULE, "line 4, rules[0].when: is missing"),
    ("an empty list", HEADER + RULE + "when = { region = [] }", "line 7, rules[0].when.region: must not be empty"),
    (
        "unknown effect",
        HEADER + '[[rules]]\nid = "r"\nwhen = {}\neffect = "denied"\n',
        "line 7, rules[0].effect: must be 'allow', 'deny' or 'review', not 'denied', did you mean 'deny'?",
    ),
    (
        "unknown mode",
        HEADER + RULE + 'when = {}\nmode = "on"',
        "line 8, rules[0].mode: must be 'enforce', 'shadow' or 'off', not 'on'",
    ),
    (
        "a reason in small letters",
        HEADER + RULE + 'when = {}\nreason = "no"',
        "line 8, rules[0].reason: 'no' is not of the form ^[A-Z][A-Z0-9_]{0,63}$",
    ),
    (
        "two rules of one id",
        HEADER + RULE + "when = {}\n" + RULE + "when = {}\n",
        "line 9, rules[1].id: 'r' is the id of rules[0] already",
    ),
    (
        "unknown region",
        HEADER + RULE + 'when = { region = ["CU", "cremia"] }',
        "line 7, rules[0].when.region[1]: unknown region 'cremia', did you mean 'crimea'?",
    ),
    (
        "alpha-3 code",
        HEADER + RULE + 'when = {\n  region = ["SYR"] }'.replace("\n", ""),
        "line 7, rules[0].when.region[0]: unknown region 'SYR', did you mean 'SY'?",
    ),
    (
        "alpha-3 code in a later rule",
        HEADER + RULE + 'when = { region = ["CU"] }\n\n[[rules]]\nid = "s"\neffect = "deny"\n[rules.when]\n'
        'sold_in_not = [\n  "CU",\n  "PRK",\n]\n',
        "line 15, rules[1].when.sold_in_not[1]: unknown region 'PRK', did you mean 'KP'?",
    ),
    (
        "a code in small letters",
        HEADER + RULE + 'when = { home_region = "cu" }',
        "line 7, rules[0].when.home_region[0]: unknown region 'cu', did you mean 'CU'?",
    ),
    (
        "a subdivision that nobody knows",
        HEADER + RULE + 'when = { region = "US-CA" }',
        "line 7, rules[0].when.region[0]: unknown region 'US-CA': the catalogue has no such subdivision of US",
    ),
    (
        "unknown member of a region",
        HEADER + '[regions]\nsix = ["CU", "Iran"]',
        "line 5, regions.six[1]: unknown region 'Iran', did you mean 'iran'?",
    ),
    (
        "a misspelt region of the policy",
        HEADER + RULE + 'when = { region = "embargo-sx" }\n[regions]\nembargo-six = ["CU"]',
        "line 7, rules[0].when.region[0]: unknown region 'embargo-sx', did you mean 'embargo-six'?",
    ),
    (
        "a region like a code",
        HEADER + '[regions]\nCU = ["SY"]',
        "line 5, regions.CU: 'CU' is not of the form ^[a-z][a-z0-9_-]{0,63}$",
    ),
    (
        "a region near a code",
        HEADER + '[regions]\ncu = ["SY"]',
        "line 5, regions.cu: a region must not be called like the code 'CU'",
    ),
    (
        "a region in itself",
        HEADER + '[regions]\na = ["b"]\nb = ["CU", "c"]\nc = ["a"]',
        "line 5, regions.a: region 'a' contains itself: a -> b -> c -> a (and 2 more problems in this file)",
    ),
    (
        "a time without a zone",
        HEADER + RULE + "when = { first_activated_before = 2021-08-31T00:00:00 }",
        "line 7, rules[0].when.first_activated_before: has no time zone; write 2021-08-31T00:00:00Z if that is UTC",
    ),
    (
        "a bare date",
        HEADER + RULE + "when = {}\neffective = { until = 2021-08-31 }",
        "line 8, rules[0].effective.until: is a bare date; an instant needs a time and a zone, such as 2021-08-31T00:00:00Z",
    ),
    (
        "no date at all",
        HEADER + RULE + 'when = {}\nreview_by = "soon"',
        "line 8, rules[0].review_by: is no date; write one like 2021-12-31",
    ),
    (
        "a number for a date",
        HEADER + RULE + "when = {}\nreview_by = 2021",
        "line 8, rules[0].review_by: is no date; write one like 2021-12-31",
    ),
    (
        "the end of time",
        HEADER + RULE + "when = {}\neffective = { from = 0001-01-01T00:00:00+05:00 }",
        "line 8, rules[0].effective.from: is no instant",
    ),
    (
        "a window of nothing",
        HEADER + RULE + "when = {}\neffective = { from = 2021-09-01T00:00:00Z, until = 2021-09-01T00:00:00Z }",
        "line 8, rules[0].effective: 'from' must lie before 'until'",
    ),
    ("an empty window", HEADER + RULE + "when = {}\neffective = {}", "line 8, rules[0].effective: needs 'from', 'until' or both"),
    ("a month", HEADER + RULE + 'when = {}\nretry_after = "P1M"', "line 8, rules[0].retry_after: is no length of time"),
    (
        "seconds as a number",
        HEADER + RULE + "when = {}\nretry_after = 3600",
        "line 8, rules[0].retry_after: is no length of time",
    ),
    (
        "percent above 100",
        HEADER + RULE + "when = {}\n[rules.rollout]\nkey = 'device_id'\nsalt = 's'\n"
        "stages = [ { at = 2021-08-31T00:00:00Z, percent = 101 } ]",
        "line 11, rules[0].rollout.stages[0].percent: must be less than or equal to 100",
    ),
    (
        "percent too fine",
        HEADER + RULE + "when = {}\n[rules.rollout]\nkey = 'device_id'\nsalt = 's'\n"
        "stages = [ { at = 2021-08-31T00:00:00Z, percent = 0.001 } ]",
        "line 11, rules[0].rollout.stages[0].percent: must be a multiple of 0.01",
    ),
    (
        "stages out of order",
        HEADER + RULE + "when = {}\n[rules.rollout]\nkey = 'device_id'\nsalt = 's'\n"
        "stages = [\n"
        "  { at = 2021-09-01T00:00:00Z, percent = 1 },\n  { at = 2021-09-01T00:00:00Z, percent = 5 } ]",
        "line 13, rules[0].rollout.stages[1].at: must lie after the stage before it",
    ),
    (
        "another key for the rollout",
        HEADER + RULE + "when = {}\nrollout = { key = 'ip', salt = 's', stages = [] }",
        "line 8, rules[0].rollout.key: must be 'device_id', not 'ip' (and 1 more problem in this file)",
    ),
    (
        "confidence above 1",
        HEADER + "[defaults]\nmin_confidence_to_deny = 80",
        "line 5, defaults.min_confidence_to_deny: must be",
    ),
    (
        "confidence as text",
        HEADER + '[defaults]\nmin_confidence_to_deny = "0.8"',
        "line 5, defaults.min_confidence_to_deny: must be a number, not '0.8'",
    ),
    (
        "no number",
        HEADER + "[defaults]\nmin_confidence_to_deny = nan",
        "line 5, defaults.min_confidence_to_deny: must be a finite number",
    ),
    ("a message that is no table", HEADER + '[messages]\nX = "no"', "line 5, messages.X: must be a table, not 'no'"),
    ("a message in no language", HEADER + '[messages.X]\nenglish = "no"', "line 5, messages.X.english: is no language tag"),
    ("an empty message", HEADER + '[messages.X]\nen = ""', "line 5, messages.X.en: must have at least 1 character"),
    (
        "a number for a PLMN",
        HEADER + '[[tests]]\nname = "t"\nat = 2021-09-10T12:00:00Z\nping = { serving = 36801 }\nexpect = { decision = "deny" }',
        "line 7, tests[0].ping.serving: must be a string of digits such as '36801'",
    ),
    (
        "a test that expects nothing",
        HEADER + '[[tests]]\nname = "t"\nat = 2021-09-10T12:00:00Z\nping = { serving = "36801" }\nexpect = {}',
        "line 8, tests[0].expect: expects nothing",
    ),
    (
        "a misspelt signal",
        HEADER + RULE + 'when = { signal_status = { home = "invalid" } }',
        "line 7, rules[0].when.signal_status.home: unknown key 'home', did you mean 'home_plmn'?",
    ),
    ("no signal", HEADER + RULE + "when = { signal_status = {} }", "line 7, rules[0].when.signal_status: names no signal"),
]


@pytest.mark.parametrize(("content", "words"), [row[1:] for row in BAD_FILES], ids=[row[0] for row in BAD_FILES])
def test_a_bad_file_is_refused_with_place_and_reason(content: str | bytes, words: str, write: Writer) -> None:
    assert refused(write(content)).startswith(words)


BAD_JSON: list[tuple[str, str]] = [
    ('{"policy": ', "line 1, column 12: not JSON: Expecting value"),
    ('{"policy": {"name": "a", "version": 1, "version": 2}}', "not JSON: the key 'version' stands twice in one object"),
    ('{"policy": {"name": "a", "version": NaN}}', "not JSON: NaN is no JSON number"),
    ("[1]", "is no JSON object"),
    ("[" * 100_000, "is nested too deeply"),
    ('{"policy": {"name": "a", "version": "1"}}', "policy.version: must be a whole number, not '1'"),
    (
        '{"policy": {"name": "a", "version": 1}, "regions": {"six": ["SYR"]}}',
        "regions.six[0]: unknown region 'SYR', did you mean 'SY'?",
    ),
]


@pytest.mark.parametrize(("content", "words"), BAD_JSON, ids=[words for _, words in BAD_JSON])
def test_bad_json_is_refused_with_place_and_reason(content: str, words: str, write: Writer) -> None:
    assert refused(write(content, "policy.json")).startswith(words)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.toml") == "does not exist"


def test_a_directory_is_no_policy(tmp_path: Path) -> None:
    assert refused(tmp_path) == "is a directory, not a policy file"


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    assert refused(tmp_path / "a\0b").startswith("cannot be read")
    assert refused(tmp_path / ("x" * 300)).startswith("cannot be read")


def test_a_huge_file_is_not_read_whole(write: Writer) -> None:
    assert refused(write(b"#" * (MAX_POLICY_BYTES + 1))) == "is larger than 4 MiB (that is no policy file)"


def test_the_largest_file_is_read(write: Writer) -> None:
    padding = MAX_POLICY_BYTES - len(HEADER) - 1
    assert load_policy(write(HEADER + "#" * padding + "\n"), catalogue()).label == "test@1"


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(write: Writer) -> None:
    assert load_policy(write(b"\xef\xbb\xbf" + HEADER.replace("\n", "\r\n").encode()), catalogue()).label == "test@1"


def test_a_policy_made_by_hand_is_checked_too() -> None:
    with pytest.raises(PolicyError, match=r"test@1: rules\[0\]\.when\.region\[0\]: unknown region 'XX'"):
        compiled(RULE + 'when = { region = "XX" }')


# Lines

LINES = """[policy]
name = "a"

[[rules]]
id = "one"
when = { region = ["CU"] }

[[rules]]
id = "two"
[rules.when]
region = [
  "SY",
]
"""


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (("policy",), None, 1),
        (("policy", "name"), None, 2),
        (("rules", 0, "when", "region"), None, 6),
        (("rules", 1, "when", "region"), None, 11),
        (("rules", 1, "when", "region", 0), "SY", 12),
        (("rules", 1, "when", "region", 0), "not there", 11),
        (("rules", 1, "mode"), None, 8),
        (("regions",), None, None),
    ],
)
def test_the_line_of_a_value(path: tuple[str | int, ...], value: object, line: int | None) -> None:
    assert line_of(LINES, path, value) == line


# Regions


@pytest.mark.parametrize(
    ("words", "matches", "does_not"),
    [
        (["CU"], ["CU"], ["SY", "crimea", None]),
        (["UA"], ["UA", "UA-43", "UA-40", "UA-14", "crimea"], ["RU"]),
        (["RU"], ["RU"], ["UA", "UA-43", "crimea"]),
        (["UA-43"], ["UA-43"], ["UA", "RU", "UA-40", "crimea"]),
        (["RU-CR"], ["UA-43"], ["UA", "RU", "crimea"]),
        (["UA-43", "UA-40"], ["UA-43", "UA-40", "crimea"], ["UA", "RU", "UA-14"]),
        (["crimea"], ["UA-43", "UA-40", "crimea"], ["UA", "RU", "UA-14"]),
        (["cuba"], ["CU"], ["SY"]),
        (["outer"], ["CU", "UA-43", "crimea", "UA-14"], ["UA", "SY"]),
        (["half"], ["UA-43"], ["UA-40", "crimea"]),
    ],
)
def test_what_a_region_word_matches(words: list[str], matches: list[str], does_not: list[str | None]) -> None:
    declared = {"outer": ("inner", "UA-14"), "inner": ("CU", "crimea"), "half": ("UA-43",)}
    names = RegionNames(declared, catalogue())
    held = names.expand(words)

    for region in matches:
        assert held.has(*names.place(region)), region
    for other in does_not:
        assert not held.has(*((None, None, None) if other is None else names.place(other))), other


def test_a_policy_can_replace_a_region_of_the_catalogue() -> None:
    names = RegionNames({"crimea": ("UA-43", "UA-40", "UA-65")}, catalogue())

    assert names.expand(["crimea"]).subdivisions == {"UA-43", "UA-40", "UA-65"}
    assert names.expand(["crimea"]).has("crimea", "UA", None)
    assert not names.expand(["UA-65"]).has("crimea", "UA", None)


@pytest.mark.parametrize(
    ("region", "name"),
    [("CU", "cuba"), ("UA-43", "crimea"), ("UA-40", "crimea"), ("crimea", "crimea"), ("SD", "sudan"), ("ES", None), ("UA", None)],
)
def test_the_name_of_a_region_under_the_default_policy(region: str, name: str | None) -> None:
    names = RegionNames(load_policy(None, catalogue()).regions, catalogue())
    assert names.name_of(*names.place(region)) == name


def test_the_narrowest_name_counts_and_of_equals_the_policys() -> None:
    names = RegionNames({"wide": ("UA", "MD"), "the-isle": ("CU",), "ukraine": ("UA",), "also-ukraine": ("UA",)}, catalogue())

    assert names.name_of("CU", "CU", None) == "the-isle"
    assert names.name_of("UA-43", "UA", "UA-43") == "crimea"
    assert names.name_of("UA", "UA", None) == "ukraine"
    assert names.name_of("MD", "MD", None) == "wide"
    assert names.name_of(None, None, None) is None


def test_the_document_is_expanded_and_holds_no_device() -> None:
    document = compiled(
        '[regions]\nsix = ["CU", "crimea"]\n'
        + RULE
        + 'when = { region = "six", device_id = ["h:1", "h:2"] }\nretry_after = "P1D"'
    ).document()

    json.dumps(document)
    assert document["regions"] == {
        "crimea": ["UA-40", "UA-43"],
        "cuba": ["CU"],
        "iran": ["IR"],
        "north-korea": ["KP"],
        "six": ["CU", "UA-40", "UA-43"],
        "sudan": ["SD"],
        "syria": ["SY"],
    }
    assert "h:1" not in json.dumps(document)
    assert document["policy"] == {"name": "test", "version": 1, "default_language": "en"}


def test_the_subdivisions_that_a_policy_needs() -> None:
    assert compiled(LISTING).subdivisions == {"UA-43", "UA-40"}
    assert compiled(RULE + 'when = { region = "crimea" }\nmode = "off"').subdivisions == frozenset()


def test_the_line_in_a_file_without_headers() -> None:
    assert line_of("# x\nrules = 3\n", ("rules",)) == 2
