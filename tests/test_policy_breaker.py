"""The runtime breaker: its window, what it makes of a policy when it trips, and how it is reset, in library and service."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import os
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regionresolver import Resolver
from regionresolver.errors import PolicyError
from regionresolver.model import Effect, Signal, SignalStatus
from regionresolver.policy.breaker import SLOTS, Breaker, Change, Reset, Trip
from regionresolver.policy.generations import Generations
from regionresolver.policy.load import read_policy
from regionresolver.policy.model import RuntimeBreaker
from regionresolver.resolver.parcel import pack, unpack
from regionresolver.service import breaker as service_breaker
from tests.http_service import running
from tests.policies import NOON, NOTHING, catalogue, compiled, decide, evidence, resolved
from tests.serve_process import serve
from tests.worlds import CITY_NETWORKS, city_database

if TYPE_CHECKING:
    from pathlib import Path

    from regionresolver.policy.breaker import Marks
    from tests.http_service import Service

SECOND = dt.timedelta(seconds=1)
POLICY = """
[policy]
name = "watched"
version = 1

[[rules]]
id = "cuba"
when = { region = ["CU"] }
effect = "deny"
review_by = 2030-01-01

[guardrails]
min_replay_sample = 0
runtime_breaker = { window = "1m", deny_share = 0.5, min_sample = 10, action = "ACTION" }
"""


class Totals:
    """What a process has counted."""

    def __init__(self) -> None:
        self.decided = self.denied = 0

    def add(self, decided: int, denied: int) -> None:
        self.decided += decided
        self.denied += denied

    def __call__(self) -> tuple[int, int]:
        return self.decided, self.denied


class Kept:
    """Marks in memory; `fault` makes both ways fail."""

    def __init__(self, mark: Trip | Reset | None = None) -> None:
        self.mark = mark
        self.fault: PolicyError | None = None

    def read(self) -> Trip | Reset | None:
        return self.mark

    def write(self, trip: Trip) -> None:
        if self.fault is not None:
            raise self.fault
        self.mark = trip


def limits(**changes: object) -> RuntimeBreaker:
    return RuntimeBreaker.model_validate({"window": "1m", "deny_share": 0.5, "min_sample": 10, "action": "shadow"} | changes)


def breaker(totals: Totals, marks: Marks | None = None, **changes: object) -> tuple[Breaker, list[Trip | None]]:
    told: list[Trip | None] = []
    return Breaker(limits(**changes), totals, told.append, marks), told


# --- the window


@pytest.mark.parametrize(
    ("decided", "denied", "trips"),
    [(10, 6, True), (10, 5, False), (9, 9, False), (10, 10, True), (0, 0, False), (1_000_000, 500_001, True)],
)
def test_it_trips_above_the_share_and_not_below_the_sample(decided: int, denied: int, trips: bool) -> None:
    totals = Totals()
    found, told = breaker(totals)
    found.check(NOON)
    totals.add(decided, denied)
    assert (found.check(NOON + SECOND) is Change.TRIPPED) is trips
    assert told == ([Trip(NOON + SECOND, "shadow", decided, denied)] if trips else [])


def test_denials_leave_the_window_with_time() -> None:
    totals = Totals()
    found, _ = breaker(totals, deny_share=0.6, min_sample=1)
    found.check(NOON)
    totals.add(100, 50)
    found.check(NOON + SECOND)
    assert (found.decided, found.denied) == (100, 50)
    for second in range(2, 62 + 60 // SLOTS):
        totals.add(1, 0)
        found.check(NOON + second * SECOND)
    assert (found.decided, found.denied) == (60, 0)


def test_a_slow_rise_over_many_windows_does_not_trip_and_a_burst_does() -> None:
    totals = Totals()
    found, _ = breaker(totals, deny_share=0.2, min_sample=100)
    for second in range(600):
        totals.add(10, 2)
        assert found.check(NOON + second * SECOND) is None
    totals.add(600, 400)
    assert found.check(NOON + 600 * SECOND) is Change.TRIPPED


@given(
    st.lists(st.tuples(st.integers(0, 40_000), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=200),
    st.integers(1, 30),
)
@settings(max_examples=200, deadline=None)
def test_the_window_is_what_a_list_of_all_checks_would_say(steps: list[tuple[int, int, int]], window_s: int) -> None:
    """Against the obvious way, up to the width of a slot."""
    totals = Totals()
    found, _ = breaker(totals, window=f"{window_s}s", deny_share=1)
    window, slot = dt.timedelta(seconds=window_s), dt.timedelta(seconds=window_s) / SLOTS
    seen: list[tuple[dt.datetime, int]] = []
    at = NOON
    for milliseconds, allowed, denied in steps:
        totals.add(allowed + denied, denied)
        at += dt.timedelta(milliseconds=milliseconds)
        seen.append((at, allowed + denied))
        found.check(at)
        surely = sum(count for when, count in seen if when > at - window)
        before = [when for when, _ in seen if when <= at - window]
        oldest = max(before, default=NOON) - slot
        at_most = sum(count for when, count in seen if when > oldest or not before)
        assert surely <= found.decided <= at_most
        assert len(found._samples) <= SLOTS + 2


def test_a_clock_that_is_set_back_begins_the_window_anew() -> None:
    totals = Totals()
    found, _ = breaker(totals, min_sample=100)
    found.check(NOON)
    totals.add(50, 0)
    found.check(NOON + 10 * SECOND)
    totals.add(7, 1)
    found.check(NOON - dt.timedelta(days=1))
    assert (found.decided, found.denied) == (7, 1)


def test_without_limits_it_never_trips() -> None:
    totals = Totals()
    told: list[Trip | None] = []
    found = Breaker(None, totals, told.append)
    totals.add(100, 100)
    assert found.check(NOON) is None
    assert told == []


# --- tripped it stays


def test_tripped_it_stays_tripped_until_it_is_reset() -> None:
    totals = Totals()
    found, told = breaker(totals)
    totals.add(10, 10)
    assert found.check(NOON) is Change.TRIPPED
    totals.add(100_000, 0)
    assert [found.check(NOON + hours * 3600 * SECOND) for hours in range(48)] == [None] * 48
    assert found.trip is not None
    found.reset()
    assert told[1:] == [None]
    assert found.check(NOON + dt.timedelta(days=3)) is None, "the denials before the reset are out of the window"


def test_a_mark_of_a_trip_holds_after_a_restart_and_a_later_reset_ends_it() -> None:
    marks = Kept()
    totals = Totals()
    first, _ = breaker(totals, marks)
    totals.add(10, 10)
    first.check(NOON)
    second, told = breaker(Totals(), marks)
    assert second.check(NOON + SECOND) is Change.TRIPPED
    assert second.trip == first.trip == marks.mark
    marks.mark = Reset(NOON + 5 * SECOND, "ana", "a load test")
    assert (first.check(NOON + 6 * SECOND), second.check(NOON + 6 * SECOND)) == (Change.RESET, Change.RESET)
    assert (first.trip, second.trip) == (None, None)
    assert told[-1] is None
    assert second.last_reset == Reset(NOON + 5 * SECOND, "ana", "a load test")


def test_a_reset_from_before_the_trip_does_not_end_it() -> None:
    marks = Kept(Reset(NOON - SECOND, "ana", "earlier"))
    marks.fault = PolicyError("policies", "cannot be written: No space left on device")
    totals = Totals()
    found, _ = breaker(totals, marks)
    totals.add(10, 10)
    assert found.check(NOON) is Change.TRIPPED
    assert found.check(NOON + SECOND) is None
    assert found.trip is not None


def test_a_trip_that_cannot_be_marked_holds_and_is_marked_later() -> None:
    marks = Kept()
    marks.fault = PolicyError("policies", "cannot be written: No space left on device")
    totals = Totals()
    found, _ = breaker(totals, marks)
    totals.add(10, 10)
    assert found.check(NOON) is Change.TRIPPED
    assert "No space left" in str(found.fault)
    marks.fault = None
    found.check(NOON + SECOND)
    assert (found.fault, marks.mark) == (None, found.trip)


# --- what a policy says that has stepped back


STANDING_BACK = """
[defaults]
effect = "DEFAULT"
on_unknown = "UNKNOWN"

[[rules]]
id = "spared"
when = { region = ["CU"], sold_in = ["DE"] }
effect = "allow"

[[rules]]
id = "cuba"
when = { region = ["CU"] }
effect = "deny"
reason = "NO"
review_by = 2030-01-01

[[rules]]
id = "iran-measured"
mode = "shadow"
when = { region = ["IR"] }
effect = "deny"
review_by = 2030-01-01

[[rules]]
id = "asked"
when = { region = ["CU", "SY"] }
effect = "review"
"""


@pytest.mark.parametrize(
    ("default", "unknown", "region", "says"),
    [
        ("allow", "allow", "CU", (Effect.REVIEW, "asked", Effect.DENY, "cuba")),
        ("allow", "allow", "SY", (Effect.REVIEW, "asked", None, None)),
        ("allow", "allow", "IR", (Effect.ALLOW, None, Effect.DENY, "iran-measured")),
        ("allow", "allow", "FR", (Effect.ALLOW, None, None, None)),
        ("deny", "allow", "FR", (Effect.ALLOW, None, Effect.DENY, None)),
        ("deny", "allow", None, (Effect.ALLOW, None, None, None)),
        ("review", "deny", None, (Effect.ALLOW, None, Effect.DENY, None)),
        ("review", "deny", "FR", (Effect.REVIEW, None, None, None)),
        ("deny", "deny", "IR", (Effect.ALLOW, None, Effect.DENY, "iran-measured")),
    ],
)
def test_every_denial_counts_as_one_in_shadow(
    default: str, unknown: str, region: str | None, says: tuple[Effect, str | None, Effect | None, str | None]
) -> None:
    rules = compiled(STANDING_BACK.replace("DEFAULT", default).replace("UNKNOWN", unknown))
    verdict = decide(rules.standing_back, region)
    assert (verdict.effect, verdict.rule, verdict.shadow_effect, verdict.shadow_rule) == says
    assert verdict.effect is not Effect.DENY
    as_written = decide(rules, region)
    if as_written.effect is Effect.DENY:
        assert verdict.shadow_effect is Effect.DENY
    assert verdict.message is None


def test_a_denial_that_is_not_sure_enough_steps_back_too() -> None:
    rules = compiled(
        STANDING_BACK.replace("DEFAULT", "allow").replace("UNKNOWN", "allow").replace('region = ["CU", "SY"]', 'region = ["SY"]')
    )
    unsure = resolved("CU", confidence=0.6)
    assert decide(rules, unsure).effect is Effect.REVIEW
    verdict = decide(rules.standing_back, unsure)
    assert (verdict.effect, verdict.shadow_effect, verdict.shadow_rule) == (Effect.ALLOW, Effect.REVIEW, "cuba")


def test_the_explanation_shows_the_rules_as_they_stand() -> None:
    rules = compiled(STANDING_BACK.replace("DEFAULT", "allow").replace("UNKNOWN", "allow"))
    found = resolved("CU", evidence=(evidence(Signal.SERVING_PLMN, "CU", status=SignalStatus.OK),))
    traces = rules.standing_back.traces(found, NOTHING, NOON)
    assert [(trace.rule, trace.mode) for trace in traces] == [
        ("spared", "enforce"),
        ("cuba", "shadow"),
        ("iran-measured", "shadow"),
        ("asked", "enforce"),
    ]


# --- in a resolver


def write(path: Path, action: str) -> Path:
    path.write_text(POLICY.replace("ACTION", action), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return city_database(tmp_path_factory.mktemp("city") / "city.mmdb")


def folder_of(path: Path, file: Path) -> Generations:
    generations = Generations(path)
    read = read_policy(file, catalogue())
    generations.activate(file.read_bytes(), read.policy, replaces=None, at=NOON, by="ana", reason="a test")
    return generations


def test_what_is_decided_at_a_given_instant_is_not_counted(city: Path, tmp_path: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    with Resolver.open(city, write(tmp_path / "policy.toml", "shadow")) as resolver:
        for plmn in ("36801", ("368", "01")):
            assert {resolver.decide(serving=plmn, at=now).effect for _ in range(10)} == {Effect.DENY}
        assert resolver.breaker.check(NOON) is None


def test_a_resolver_steps_back_with_its_next_decision(city: Path, tmp_path: Path) -> None:
    with Resolver.open(city, write(tmp_path / "policy.toml", "shadow")) as resolver:
        kept = [resolver.decide(serving="36801") for _ in range(10)]
        assert resolver.breaker.check(NOON) is Change.TRIPPED
        stepped_back = resolver.decide(serving="36801")
        assert (stepped_back.effect, stepped_back.verdict.shadow_effect) == (Effect.ALLOW, Effect.DENY)
        assert stepped_back.verdict.shadow_rule == "cuba"
        assert [notice.code for notice in stepped_back.resolution.warnings] == ["BREAKER_TRIPPED"]
        assert all(decision.effect is Effect.DENY and not decision.resolution.warnings for decision in kept), "answers stay"
        assert resolver.resolve(serving="36801").warnings == ()
        assert [(rule.rule, rule.mode) for rule in stepped_back.explanation.rules] == [("cuba", "shadow")]
        assert [(rule.rule, rule.mode) for rule in kept[0].explanation.rules] == [("cuba", "enforce")]
        resolver.breaker.reset()
        assert resolver.decide(serving="36801").effect is Effect.DENY


def test_an_alert_leaves_the_answers_as_they_are(city: Path, tmp_path: Path) -> None:
    with Resolver.open(city, write(tmp_path / "policy.toml", "alert")) as resolver:
        for _ in range(10):
            resolver.decide(serving="36801")
        assert resolver.breaker.check(NOON) is Change.TRIPPED
        decision = resolver.decide(serving="36801")
        assert decision.effect is Effect.DENY
        assert [notice.code for notice in decision.resolution.warnings] == ["BREAKER_TRIPPED"]


def test_a_restart_does_not_reset_it_and_another_activation_does(city: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "policy.toml", "shadow")
    generations = folder_of(tmp_path / "policies", file)
    with Resolver.open(city, generations.folder) as resolver:
        for _ in range(10):
            resolver.decide(serving="36801")
        resolver.breaker.check(NOON)
        assert resolver.breaker.fault is None
    with Resolver.open(city, generations.folder) as resolver:
        assert resolver.breaker.check(NOON + SECOND) is Change.TRIPPED
        assert resolver.decide(serving="36801").effect is Effect.ALLOW
    file.write_text(file.read_text().replace("version = 1", "version = 2"), encoding="utf-8")
    read = read_policy(file, catalogue())
    generations.activate(file.read_bytes(), read.policy, replaces=generations.active(), at=NOON, by="ana")
    with Resolver.open(city, generations.folder) as resolver:
        assert resolver.breaker.check(NOON + 2 * SECOND) is None
        assert resolver.decide(serving="36801").effect is Effect.DENY


def test_a_damaged_mark_is_told_and_keeps_nothing_from_being_served(city: Path, tmp_path: Path) -> None:
    generations = folder_of(tmp_path / "policies", write(tmp_path / "policy.toml", "shadow"))
    (generations.folder / "breaker").write_bytes(b"{torn")
    with Resolver.open(city, generations.folder) as resolver:
        assert resolver.breaker.check(NOON) is None
        assert "is damaged" in str(resolver.breaker.fault)
        assert resolver.decide(serving="36801").effect is Effect.DENY


# --- in the service


async def ask(client: aiohttp.ClientSession, path: str = "/v1/decisions") -> dict[str, object]:
    request = client.post(path, json={"serving": "36801"}) if path == "/v1/decisions" else client.get(path)
    async with request as answer:
        assert answer.status == 200
        found: dict[str, object] = await answer.json()
        return found


async def test_the_service_says_so_and_heeds_the_reset(
    city: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    generations = folder_of(tmp_path / "policies", write(tmp_path / "policy.toml", "shadow"))
    monkeypatch.setattr(service_breaker, "CHECK_INTERVAL_S", 3600)
    with caplog.at_level(logging.INFO, logger="regionresolver"), Resolver.open(city, generations.folder) as resolver:
        async with running(resolver) as service:
            await check_the_service(service, resolver, generations)
    events = [(record.getMessage(), record.levelname) for record in caplog.records if record.getMessage().startswith("breaker")]
    assert events == [("breaker_tripped", "ERROR"), ("breaker_reset", "WARNING")]
    assert [line["event"] for line in map(json.loads, (generations.folder / "history.ndjson").read_text().splitlines())] == [
        "activate",
        "breaker-tripped",
        "breaker-reset",
    ]


async def check_the_service(service: Service, resolver: Resolver, generations: Generations) -> None:
    async with aiohttp.ClientSession(service.url) as client:
        for _ in range(10):
            assert (await ask(client))["decision"] == "deny"
        service_breaker.check(service.state.page, resolver)
        answer = await ask(client)
        assert (answer["decision"], answer["shadow"], answer["rule"]) == ("allow", {"decision": "deny", "rule": "cuba"}, None)
        assert [warning["code"] for warning in answer["warnings"]] == ["BREAKER_TRIPPED"]  # type: ignore[attr-defined]
        ready = await ask(client, "/readyz")
        checks = ready["checks"]
        assert isinstance(checks, dict)
        assert checks["breaker"]["ok"]
        assert checks["breaker"]["state"] == "tripped"
        assert checks["policy"]["generation"] == 1
        assert "the runtime breaker tripped at" in str(ready["warnings"])
        generations.reset_breaker(at=dt.datetime.now(dt.UTC), by="ana", reason="a test")
        service_breaker.check(service.state.page, resolver)
        answer = await ask(client)
        assert (answer["decision"], answer["warnings"]) == ("deny", [])
        ready = await ask(client, "/readyz")
        assert ready["checks"]["breaker"]["state"] == "closed"  # type: ignore[index]


async def test_the_service_checks_by_itself(city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_breaker, "CHECK_INTERVAL_S", 0.01)
    with Resolver.open(city, write(tmp_path / "policy.toml", "shadow")) as resolver:
        async with running(resolver) as service, aiohttp.ClientSession(service.url) as client:
            for _ in range(10):
                await ask(client)
            async with asyncio.timeout(5):
                while (await ask(client))["decision"] == "deny":
                    pass
        assert resolver.breaker.trip is not None


def test_other_totals_begin_an_empty_window_and_leave_a_trip() -> None:
    totals, others = Totals(), Totals()
    found, _ = breaker(totals)
    found.check(NOON)
    totals.add(100, 40)
    others.add(7, 7)
    found.count_by(others)
    others.add(3, 2)
    found.check(NOON + SECOND)
    assert (found.decided, found.denied, found.trip) == (3, 2, None)
    others.add(10, 10)
    assert found.check(NOON + 2 * SECOND) is Change.TRIPPED
    found.count_by(totals)
    assert found.trip is not None


def test_a_window_goes_on_in_the_breaker_that_comes_after() -> None:
    totals = Totals()
    first, _ = breaker(totals, min_sample=100)
    first.check(NOON)
    totals.add(60, 60)
    first.check(NOON + 30 * SECOND)
    totals.add(10, 0)  # after the last check
    second, told = breaker(totals, min_sample=100)
    second.take_window(first)
    assert (second.decided, second.denied) == (60, 60)
    totals.add(30, 0)
    first.check(NOON + 31 * SECOND)  # one that a thread is still at
    assert second.check(NOON + 40 * SECOND) is Change.TRIPPED
    assert told == [Trip(NOON + 40 * SECOND, "shadow", 100, 60)]
    third, _ = breaker(totals)
    third.take_window(second)
    assert (third.check(NOON + 41 * SECOND), third.decided) == (None, 0), "a trip leaves no window"


def test_a_window_that_is_taken_over_ends_when_it_would_have() -> None:
    totals = Totals()
    first, _ = breaker(totals)
    first.check(NOON)
    totals.add(9, 9)
    first.check(NOON + SECOND)
    second, _ = breaker(totals)
    second.take_window(first)
    second.check(NOON + 50 * SECOND)
    assert second.decided == 9
    second.check(NOON + 62 * SECOND)
    assert second.decided == 0


def test_a_policy_keeps_its_number_until_another_one_or_another_activation(city: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "policy.toml", "shadow")
    generations = folder_of(tmp_path / "policies", file)
    with ExitStack() as opened:

        def after(before: Resolver, policy: Path) -> Resolver:
            resolver = opened.enter_context(Resolver.open(city, policy))
            resolver.follow(before)
            return opened.enter_context(unpack(pack(resolver)))  # as a worker gets it

        first = opened.enter_context(Resolver.open(city, file))
        second = after(first, file)
        third = after(second, generations.folder)
        fourth = after(third, generations.folder)
        active = generations.active()
        assert active is not None
        generations.roll_back(active, replaces=active, at=NOON, by="ana", reason="the same once more")
        fifth = after(fourth, generations.folder)
        file.write_text(file.read_text("utf-8") + "# one byte more\n", encoding="utf-8")
        numbers = [found.policy_serial - first.serial for found in (first, second, third, fourth, fifth, after(first, file))]
    assert numbers == [0, 0, 1, 1, 2, 1]


async def test_what_was_counted_before_a_reload_counts_after_it_unless_the_policy_is_another(tmp_path: Path) -> None:
    policy, data = tmp_path / "watched.toml", city_database(tmp_path / "served.mmdb")
    text = POLICY.replace("ACTION", "alert").replace("min_sample = 10", "min_sample = 40")
    policy.write_text(text, encoding="utf-8")

    async def deny(count: int) -> None:
        for _ in range(count):
            async with aiohttp.ClientSession() as session, session.post(
                f"{process.urls[0]}/v1/decisions", json={"serving": "36801"}
            ) as answer:  # fmt: skip
                assert (await answer.json())["decision"] == "deny"

    async def reload() -> None:
        process.process.send_signal(signal.SIGHUP)
        await process.until("reloaded")

    with serve("--db", str(data), "--policy", str(policy), "--workers", "2") as process:
        await deny(25)
        policy.write_text(text.replace("version = 1", "version = 2"), encoding="utf-8")
        await reload()
        await deny(25)
        await asyncio.sleep(2.2)  # two checks
        for networks in (CITY_NETWORKS, CITY_NETWORKS | {"84.0.0.0/16": ("ES", None)}):  # two reloads in one window
            city_database(tmp_path / "new.mmdb", networks).rename(data)
            await reload()
            assert not [event for event in process.skipped if event["event"] == "breaker_tripped"]
            await deny(5)
        await deny(10)
        tripped = await process.until("breaker_tripped")
        assert tripped["decided"] == tripped["denied"]
        assert 40 <= int(str(tripped["decided"])) <= 45, "those of the first policy are not among them"


async def test_a_trip_holds_in_every_worker_and_its_successors_until_a_new_generation(city: Path, tmp_path: Path) -> None:
    """Without a folder of generations; the decisions that trip it are spread over the workers, and the log says it once."""
    policy = tmp_path / "watched.toml"
    policy.write_text(POLICY.replace("ACTION", "shadow").replace("min_sample = 10", "min_sample = 40"), encoding="utf-8")

    async def ask(count: int = 1) -> list[str]:
        found = []
        for _ in range(count):  # each over a connection of its own, so that all workers are met
            async with aiohttp.ClientSession() as session, session.post(
                f"{process.urls[0]}/v1/decisions", json={"serving": "36801"}
            ) as answer:  # fmt: skip
                found.append((await answer.json())["decision"])
        return found

    async def states() -> dict[int, str]:
        found = {}
        for _ in range(16):
            async with aiohttp.ClientSession() as session, session.get(f"{process.urls[0]}/readyz") as answer:
                document = await answer.json()
                found[document["worker"]["index"]] = document["checks"]["breaker"]["state"]
        return found

    with serve("--db", str(city), "--policy", str(policy), "--workers", "2") as process:
        assert set(await ask(41)) == {"deny"}
        await process.until("breaker_tripped")
        await asyncio.sleep(1.3)
        assert await states() == {0: "tripped", 1: "tripped"}
        assert set(await ask(8)) == {"allow"}
        os.kill(process.workers()[0], signal.SIGKILL)
        await process.until("worker_replaced")
        assert not any(event["event"].startswith("breaker") for event in process.skipped if isinstance(event["event"], str))
        assert await states() == {0: "tripped", 1: "tripped"}
        process.process.send_signal(signal.SIGHUP)
        await process.until("reloaded")
        skipped = process.skipped
        assert set(await ask(8)) == {"deny"}
        told = [event for event in skipped if event["event"] == "breaker_reset"]  # its check may come first
        reset = told[0] if told else await process.until("breaker_reset")
        assert reset["by"] == "a new generation"
        assert await states() == {0: "closed", 1: "closed"}
        process.process.send_signal(signal.SIGTERM)
        assert not [event for event in process.end() if str(event["event"]).startswith("breaker")]
