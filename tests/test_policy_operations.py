"""The commands that operate policies, in process; and docs/policy-operations.md, each of whose listings is run."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from regionresolver.cli import main
from regionresolver.policy.breaker import Trip
from regionresolver.policy.generations import Generations
from regionresolver.sources.plmn import PlmnTable
from tests.generation_folders import text, write
from tests.paths import ROOT
from tests.policies import NOON, plmns
from tests.worlds import city_database

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("bare_environment", "logging_as_it_was")

FAILING_TEST = """
[[tests]]
name = "no"
at = 2026-01-01T00:00:00Z
ping = { serving = "36801" }
expect = { decision = "allow" }
"""
PAGE = ROOT / "docs" / "policy-operations.md"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, city: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGIONRESOLVER_DB", str(city))
    # Most of a command's time: reading the same table again, and waiting for the disk.
    table = plmns()
    monkeypatch.setattr(PlmnTable, "load", lambda **_: table)
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return city_database(tmp_path_factory.mktemp("city") / "city.mmdb")


def invoke(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments, prog_name="regionresolver")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def policy(*arguments: str) -> Result:
    return invoke("policy", *arguments)


def done(*arguments: str) -> str:
    """Run a policy command that must succeed; answer what it prints."""
    result = policy(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str, status: int = 1) -> str:
    """Run a policy command that must fail; answer what it says."""
    result = policy(*arguments)
    assert result.exit_code == status, result.output
    return result.stderr


def pings(count: int, denied: int) -> str:
    """Write a log of pings, some of them from Cuba."""
    lines = ['{"serving": "36801"}'] * denied + ['{"serving": "21401"}'] * (count - denied)
    Path("pings.ndjson").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return "pings.ndjson"


def guarded(file: str, version: int, *, share: float = 0.02, sample: int = 100, **more: str) -> str:
    written = text(version, **more).replace("min_replay_sample = 0", f"min_replay_sample = {sample}")
    Path(file).write_text(written + f"max_newly_denied_share = {share}\n", encoding="utf-8")
    return file


# --- activate


def test_a_good_policy_becomes_the_active_one() -> None:
    write(Path("p.toml"), 1)
    assert done("activate", "p.toml", "--dir", "policies") == "policies: generation 1, test@1, is active\n"
    active = Generations("policies").active()
    assert active is not None
    assert (active.version, active.reason, active.overridden) == (1, None, ())


def test_the_same_bytes_again_change_nothing() -> None:
    write(Path("p.toml"), 1)
    done("activate", "p.toml", "--dir", "policies")
    before = Path("policies/history.ndjson").read_bytes()
    assert done("activate", "p.toml", "--dir", "policies") == "policies: generation 1, test@1, is active\n"
    assert Path("policies/history.ndjson").read_bytes() == before


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (text(2).replace("review_by = 2030-01-01\n", ""), "denies without an end"),
        (text(1) + "# another\n", "the version must be above the active 1"),
        (
            text(2) + FAILING_TEST,
            "'no': decision: expected allow, got deny",
        ),
    ],
)
@pytest.mark.parametrize("force", [[], ["--force", "--reason", "I want it"]])
def test_what_cannot_be_served_is_refused_even_with_force(candidate: str, words: str, force: list[str]) -> None:
    write(Path("p.toml"), 1)
    done("activate", "p.toml", "--dir", "policies")
    Path("q.toml").write_text(candidate, encoding="utf-8")
    said = refused("activate", "q.toml", "--dir", "policies", *force)
    assert words in said
    assert "policies: nothing has changed" in said
    active = Generations("policies").active()
    assert active is not None
    assert active.version == 1


def test_a_version_that_has_been_active_is_not_given_again() -> None:
    for version in (1, 2):
        write(Path("p.toml"), version)
        done("activate", "p.toml", "--dir", "policies")
    done("rollback", "--dir", "policies", "--reason", "denies too many")
    Path("q.toml").write_text(text(2, effect="allow"), encoding="utf-8")
    said = refused("activate", "q.toml", "--dir", "policies", "--force", "--reason", "x")
    assert "the version must be above 2, which has been active (give it version 3 or more)" in said


def test_too_few_replayed_pings_are_refused_and_told_what_to_do() -> None:
    guarded("p.toml", 1)
    assert "0 pings were replayed, min_replay_sample asks for 100 (replay recorded pings with --pings LOG" in refused(
        "activate", "p.toml", "--dir", "policies"
    )
    assert "99 pings were replayed" in refused("activate", "p.toml", "--dir", "policies", "--pings", pings(99, 0))
    done("activate", "p.toml", "--dir", "policies", "--pings", pings(100, 0))


@pytest.mark.parametrize(("denied", "passes"), [(20, True), (21, False)])
def test_too_many_newly_denied_are_refused(denied: int, passes: bool) -> None:
    guarded("p.toml", 1, effect="review")
    done("activate", "p.toml", "--dir", "policies")
    guarded("q.toml", 2)
    result = policy("activate", "q.toml", "--dir", "policies", "--pings", pings(1000, denied))
    assert (result.exit_code == 0) is passes
    if not passes:
        assert "2.10% of the pings are newly denied, max_newly_denied_share is 2.00%" in result.stderr


def test_a_candidate_cannot_loosen_its_own_guardrails() -> None:
    guarded("p.toml", 1, effect="review")
    done("activate", "p.toml", "--dir", "policies")
    guarded("q.toml", 2, share=1.0, sample=0)
    log = pings(1000, 500)
    assert "max_newly_denied_share is 2.00%" in refused("activate", "q.toml", "--dir", "policies", "--pings", log)
    assert "min_replay_sample asks for 100" in refused("activate", "q.toml", "--dir", "policies")


def test_a_policy_that_cannot_deny_needs_no_replay() -> None:
    guarded("p.toml", 1, effect="review")
    done("activate", "p.toml", "--dir", "policies")


def test_force_is_recorded_with_its_reason_and_what_it_passed_over() -> None:
    guarded("p.toml", 1)
    done("activate", "p.toml", "--dir", "policies", "--force", "--reason", "ticket 4711", "--by", "ana")
    (line,) = map(json.loads, Path("policies/history.ndjson").read_text().splitlines())
    assert (line["by"], line["reason"]) == ("ana", "ticket 4711")
    assert line["overridden"] == ["guardrails: 0 pings were replayed, min_replay_sample asks for 100"]


@pytest.mark.parametrize("reason", [[], ["--reason", ""], ["--reason", "  "]])
def test_force_needs_a_reason(reason: list[str]) -> None:
    write(Path("p.toml"), 1)
    assert "--force needs --reason" in refused("activate", "p.toml", "--dir", "policies", "--force", *reason, status=2)


def test_a_salt_that_changes_in_the_middle_of_a_ramp_needs_force() -> None:
    ramp = 'rollout = { key = "device_id", salt = "SALT", stages = [{ at = 2021-01-01T00:00:00Z, percent = 50 }] }\n'
    for version, salt in ((1, "one"), (2, "two")):
        content = text(version).replace("review_by", ramp.replace("SALT", salt) + "review_by")
        Path(f"{salt}.toml").write_text(content, encoding="utf-8")
    done("activate", "one.toml", "--dir", "policies")
    assert "the salt changes at 50 %" in refused("activate", "two.toml", "--dir", "policies")
    done("activate", "two.toml", "--dir", "policies", "--force", "--reason", "shuffle them")


def test_a_broken_active_policy_does_not_keep_a_good_one_out() -> None:
    write(Path("p.toml"), 1)
    done("activate", "p.toml", "--dir", "policies")
    Generations("policies").files()[1].unlink()
    write(Path("p.toml"), 2)
    result = policy("activate", "p.toml", "--dir", "policies")
    assert result.exit_code == 0
    assert "generation 1 (test@1) is gone" in result.stderr


def test_activate_for_programs() -> None:
    guarded("p.toml", 1)
    result = policy("activate", "p.toml", "--dir", "policies", "--format", "json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert not document["activated"]
    assert [(one["code"], one["may_force"]) for one in document["objections"]] == [("guardrail", True)]
    log = pings(100, 0)
    document = json.loads(done("activate", "p.toml", "--dir", "policies", "--pings", log, "--format", "json"))
    assert (document["activated"], document["generation"], document["policy"]) == (True, 1, "test@1")


@pytest.mark.parametrize("content", ["", "not toml [", "[policy]\n", "\x00", '[policy]\nname = "x"\nversion = 1\nrules = 3'])
def test_what_is_no_policy_changes_nothing(content: str) -> None:
    Path("p.toml").write_text(content, encoding="utf-8")
    refused("activate", "p.toml", "--dir", "policies")
    assert not Path("policies").exists()


# --- roll back, list


def activated(*versions: int) -> Generations:
    for version in versions:
        write(Path("p.toml"), version)
        done("activate", "p.toml", "--dir", "policies")
    return Generations("policies")


def test_a_rollback_goes_back_step_by_step() -> None:
    generations = activated(1, 2, 3)
    for generation in (2, 1):
        assert done("rollback", "--dir", "policies", "--reason", "x") == (
            f"policies: generation {generation}, test@{generation}, is active again\n"
        )
    assert "there is no generation before 1" in refused("rollback", "--dir", "policies", "--reason", "x")
    done("rollback", "--dir", "policies", "--to", "3", "--reason", "it was the network")
    active = generations.active()
    assert active is not None
    assert active.label == "test@3"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "9", "--reason", "x"], "generation 9 has never been active (choose one of: regionresolver policy generations"),
        (["--dir", "elsewhere", "--reason", "x"], "no generation has ever been active here"),
    ],
)
def test_a_rollback_to_nowhere_is_told(arguments: list[str], words: str) -> None:
    activated(1)
    assert words in refused("rollback", "--dir", "policies", *arguments)


def test_a_rollback_to_what_could_not_be_served_is_refused() -> None:
    generations = activated(1, 2)
    file = generations.files()[1]
    file.unlink()
    file.write_bytes(b"# altered")
    assert "has been altered since it was activated" in refused("rollback", "--dir", "policies", "--reason", "x")


def test_a_rollback_mends_a_damaged_pointer() -> None:
    generations = activated(1, 2)
    (generations.folder / "active").write_bytes(b"")
    assert "active: is damaged" in refused("generations", "--dir", "policies")
    done("rollback", "--dir", "policies", "--to", "2", "--reason", "mended")
    assert [found.sequence for found in generations.chain()] == [3, 2, 1]


def test_generations_for_people_and_for_programs() -> None:
    generations = activated(1, 2)
    done("rollback", "--dir", "policies", "--reason", "denies too many", "--by", "ana")
    shown = done("generations", "--dir", "policies")
    assert re.search(r"1 .* active .* test@1 .* rollback .* ana .* denies too many", shown)
    rows = [json.loads(line) for line in done("generations", "--dir", "policies", "--format", "json").splitlines()]
    assert [(row["generation"], row["state"]) for row in rows] == [(1, "active"), (2, "was active")]
    events = [json.loads(line) for line in done("generations", "--dir", "policies", "--history", "--format", "json").splitlines()]
    assert [event["event"] for event in events] == ["activate", "activate", "rollback"]
    generations.files()[2].unlink()
    result = policy("generations", "--dir", "policies")
    assert result.exit_code == 1
    assert "gone" in result.stdout
    assert "is no folder" in refused("generations", "--dir", "nowhere")


# --- sign, verify, and what keys change


def keys(name: str = "policy.key") -> str:
    pytest.importorskip("cryptography", reason="the extra 'signing' is not installed")
    done("keygen", "--out", name)
    return name


def test_sign_and_verify() -> None:
    key = keys()
    write(Path("p.toml"), 1)
    assert done("sign", "p.toml", "--key", key) == "p.toml.sig: test@1 signed\n"
    assert "test@1, signed with key" in done("verify", "p.toml", "--public-key", f"{key}.pub")
    Path("p.toml").write_text(text(1) + "\n", encoding="utf-8")
    assert "does not fit its signature" in refused("verify", "p.toml", "--public-key", f"{key}.pub")
    assert "no key to verify with" in refused("verify", "p.toml", status=2)
    document = json.loads(done("keygen", "--out", "other.key", "--format", "json"))
    done("sign", "p.toml", "--key", "other.key", "--out", "elsewhere.sig", "--format", "json")
    Path("elsewhere.sig").rename("p.toml.sig")
    verified = json.loads(done("verify", "p.toml", "--public-key", document["base64"], "--format", "json"))
    assert verified["key"] == document["key"]


def test_what_cannot_be_signed_is_told() -> None:
    key = keys()
    write(Path("p.toml"), 1)
    assert "is no private Ed25519 key" in refused("sign", "p.toml", "--key", "p.toml", status=2)
    assert "the key cannot be read" in refused("sign", "p.toml", "--key", "missing", status=2)
    Path("p.toml").write_text("[policy]", encoding="utf-8")
    assert "is missing" in refused("sign", "p.toml", "--key", key)
    assert not Path("p.toml.sig").exists()


def test_with_keys_an_unsigned_candidate_is_refused_and_a_signed_one_keeps_its_signature() -> None:
    key = keys()
    write(Path("p.toml"), 1)
    trusting = ["--dir", "policies", "--policy-public-key", f"{key}.pub"]
    assert "is not signed" in refused("activate", "p.toml", *trusting)
    done("sign", "p.toml", "--key", key)
    done("activate", "p.toml", *trusting)
    (generation,) = Generations("policies").files().values()
    assert Path(f"{generation}.sig").read_bytes() == Path("p.toml.sig").read_bytes()
    assert done("verify", str(generation), "--public-key", f"{key}.pub")


def test_with_keys_a_rollback_needs_a_signed_permission() -> None:
    key = keys()
    trusting = ["--dir", "policies", "--policy-public-key", f"{key}.pub"]
    for version in (1, 2):
        write(Path("p.toml"), version)
        done("sign", "p.toml", "--key", key)
        done("activate", "p.toml", *trusting)
    assert "sign the rollback: regionresolver policy rollback --key KEY" in refused("rollback", *trusting, "--reason", "x")
    other = keys("other.key")
    assert "is version 1, and 2 has been served" in refused("rollback", *trusting, "--reason", "x", "--key", other)
    done("rollback", *trusting, "--reason", "x", "--key", key)
    answer = invoke(
        "decide",
        "--serving",
        "36801",
        "--json",
        "--policy",
        "policies",
        "--config",
        settings(f'policy_public_keys = ["{key}.pub"]'),
    )
    assert json.loads(answer.stdout)["policy"] == "test@1"
    done("rollback", *trusting, "--to", "2", "--reason", "forwards needs no permission")


def settings(line: str) -> str:
    Path("settings.toml").write_text(line + "\n", encoding="utf-8")
    return "settings.toml"


# --- the breaker


def test_breaker_show_and_reset() -> None:
    generations = activated(1)
    assert "has not tripped" in done("breaker", "show", "--dir", "policies")
    active = generations.active()
    assert active is not None
    generations.mark_trip(active, Trip(NOON, "shadow", 20_000, 5_000), by="service")
    result = policy("breaker", "show", "--dir", "policies")
    assert result.exit_code == 1
    assert "tripped at 2026-11-22T12:00:00Z: 5000 of 20000 decisions denied; denials are counted" in result.stdout
    shown = json.loads(policy("breaker", "show", "--dir", "policies", "--format", "json").stdout)
    assert shown["tripped"] == {"at": "2026-11-22T12:00:00Z", "action": "shadow", "decided": 20_000, "denied": 5_000}
    assert done("breaker", "reset", "--dir", "policies", "--reason", "a load test") == "policies: the breaker is reset\n"
    assert "has not tripped" in done("breaker", "show", "--dir", "policies")
    assert "has no active policy" in refused("breaker", "reset", "--dir", "nowhere", "--reason", "x")


# --- the page


LISTINGS = re.findall(
    r"^```(console|toml|json)(?: ([\w.-]+))?\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


def sessions(body: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console listing with what is shown below it."""
    for command, shown in re.findall(r"^\$ (.*?(?:\\\n.*?)*)\n((?:(?!\$ ).*\n)*)", body, re.MULTILINE):
        yield command.replace("\\\n", " "), shown


def test_every_listing_of_the_page_is_what_happens() -> None:
    """TOML listings with a name become files, the commands run in order, and what is shown is what comes out.

    Instants, users, keys and digests differ from run to run; a shown `…` stands for any text, and a line of it for any lines.
    """
    pytest.importorskip("cryptography", reason="the extra 'signing' is not installed")
    ran = 0
    Path("pings.ndjson").write_text('{"serving": "21401"}\n' * 1_000, encoding="utf-8")
    for language, name, body in LISTINGS:
        if language == "toml" and name:
            Path(name).write_text(body, encoding="utf-8")
        for command, shown in sessions(body) if language == "console" else ():
            words = shlex.split(command, comments=True)
            if words[0] == "sed":
                (old, new), file, target = words[1].split("/")[1:3], words[2], words[4]
                Path(target).write_text(Path(file).read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
                continue
            assert words[0] == "regionresolver", command
            if words[1] == "serve":
                continue
            result = invoke(*words[1:])
            pattern = re.escape(shown.strip()).replace("…", ".*")
            assert re.fullmatch(pattern, result.output.strip(), re.DOTALL), f"$ {command}\n{result.output}"
            ran += 1
    assert ran >= 12


def test_every_command_has_help_with_an_example() -> None:
    for words in (
        ["activate"],
        ["rollback"],
        ["generations"],
        ["breaker"],
        ["breaker", "show"],
        ["breaker", "reset"],
        ["keygen"],
        ["sign"],
        ["verify"],
    ):
        shown = done(*words, "--help")
        assert f"regionresolver policy {' '.join(words)}" in shown
        assert "Example" in shown
