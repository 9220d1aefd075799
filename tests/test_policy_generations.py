"""Folders of generations: activation, rollback, and what is left when one is cut off, overtaken, or has no room."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import stat
import threading
import warnings
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from regionresolver import Resolver
from regionresolver.errors import PolicyError
from regionresolver.policy import generations as module
from regionresolver.policy.breaker import Reset, Trip
from regionresolver.policy.generations import Activation, BreakerTripped, Generations
from tests.generation_folders import activate, contents, parsed, text
from tests.http_service import running
from tests.policies import NOON
from tests.worlds import city_database

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STEPS = ("open", "write", "fchmod", "fsync", "replace", "unlink", "mkdir")
KILLED = 9


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def generations(tmp_path: Path) -> Generations:
    return Generations(tmp_path / "policies")


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return city_database(tmp_path_factory.mktemp("city") / "city.mmdb")


# --- what stands in a folder


def test_an_activation_says_what_who_when_and_why(generations: Generations) -> None:
    first, second = activate(generations, 1), activate(generations, 2)
    assert generations.active() == second
    assert generations.chain() == [second, first] == generations.history()[::-1]
    assert (second.sequence, second.generation, second.previous, second.label) == (2, 2, 1, "test@2")
    assert (second.at, second.by, second.reason, second.event) == (NOON, "ana", "version 2", "activate")
    assert generations.content(second) == text(2).encode()
    assert generations.content(first) == text(1).encode()


def test_a_generation_is_immutable_and_named_by_its_bytes(generations: Generations) -> None:
    file = generations.file(activate(generations, 1))
    assert file.name.startswith(f"000001-{hashlib.sha256(text(1).encode()).hexdigest()[:16]}")
    assert stat.S_IMODE(file.stat().st_mode) == 0o444
    assert sorted(contents(generations.folder)) == [file.name, "active", "history.ndjson"]


def test_json_keeps_its_suffix(generations: Generations) -> None:
    content = b'\n{"policy": {"name": "json", "version": 1}}'
    made = generations.activate(content, parsed(content, generations.folder / "p.json"), replaces=None, at=NOON, by="ana")
    assert generations.file(made).suffix == ".json"


def test_a_folder_that_is_not_there_has_nothing(generations: Generations) -> None:
    assert generations.active() is None
    assert generations.chain() == generations.history() == []
    assert generations.files() == {}
    assert not generations.folder.exists(), "reading makes nothing"


def test_a_rollback_makes_the_same_bytes_active_again(generations: Generations) -> None:
    first, second = activate(generations, 1), activate(generations, 2)
    made = generations.roll_back(first, replaces=second, at=NOON, by="ana", reason="denies too many")
    assert generations.active() == made
    assert (made.generation, made.label, made.event, made.previous) == (1, "test@1", "rollback", 2)
    assert len(generations.files()) == 2
    third = activate(generations, 3)
    assert (third.generation, third.previous) == (3, 3)


def test_history_is_only_added_to(generations: Generations) -> None:
    before = b""
    for version in range(1, 5):
        activate(generations, version)
        after = (generations.folder / "history.ndjson").read_bytes()
        assert after.startswith(before)
        before = after


# --- concurrent, overtaken


def test_an_activation_that_was_overtaken_is_refused(generations: Generations) -> None:
    first = activate(generations, 1)
    activate(generations, 2)
    before = contents(generations.folder)
    with pytest.raises(PolicyError, match="another policy was activated while this command ran"):
        activate(generations, 3, replaces=first)
    assert contents(generations.folder) == before


def test_of_many_at_once_each_is_whole_and_follows_the_one_before(generations: Generations) -> None:
    activate(generations, 1)
    outcomes: list[str] = []
    refusals: list[str] = []
    gate = threading.Barrier(8)

    def run(version: int) -> None:
        gate.wait()
        for _ in range(200):
            try:
                activate(generations, version)
            except PolicyError as error:
                refusals.append(error.reason)
            else:
                outcomes.append("made")
                return

    threads = [threading.Thread(target=run, args=(version,)) for version in range(2, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    chain = generations.chain()
    assert outcomes == ["made"] * 8
    assert set(refusals) <= {"another policy was activated while this command ran"}
    assert [found.sequence for found in chain] == list(range(9, 0, -1))
    assert sorted(found.version for found in chain) == list(range(1, 10))
    assert all(generations.content(found) == text(found.version).encode() for found in chain)


def test_a_lock_that_is_held_too_long_is_told(generations: Generations, monkeypatch: pytest.MonkeyPatch) -> None:
    activate(generations, 1)
    monkeypatch.setattr(module, "LOCK_TIMEOUT_S", 0.05)
    with generations._locked(), pytest.raises(PolicyError, match="another command is writing to it"):
        activate(generations, 2)


# --- killed, and without room


def faulty_os(number: int, fault: Callable[[], None]) -> tuple[Any, list[int]]:
    """Make an `os` whose n-th changing call fails; a write fails after half of its bytes."""
    made = [0]

    def wrapped(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*arguments: Any, **more: Any) -> Any:
            made[0] += 1
            if made[0] == number:
                if name == "write":
                    real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                fault()
            return real(*arguments, **more)

        return call

    return SimpleNamespace(**(vars(os) | {name: wrapped(name) for name in STEPS})), made


def in_a_child(work: Callable[[], None]) -> int:
    """Run something in a child process; answer its exit status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on, where other threads live
        child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - a child of the test must not become a second test run
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("what", ["activate", "roll back"])
def test_killed_at_any_step_the_old_one_is_active_or_the_new_one_is(tmp_path: Path, what: str) -> None:
    """Each call that changes something is the last of a process, which no clean-up follows; then everything goes on."""
    outcomes = []
    for number in range(1, 100):
        generations = Generations(tmp_path / f"killed-{number}")
        first, second = activate(generations, 1), activate(generations, 2)

        def work(generations: Generations = generations, first: Activation = first, number: int = number) -> None:
            vars(module)["os"] = faulty_os(number, lambda: os._exit(KILLED))[0]
            if what == "activate":
                activate(generations, 3)
            else:
                generations.roll_back(first, replaces=generations.active(), at=NOON, by="ana", reason="undone")

        status = in_a_child(work)
        active = generations.active()
        assert active is not None
        outcomes.append(active.sequence)
        assert generations.content(active) == text({1: 1, 2: 2, 3: 3}[active.version]).encode()
        assert generations.chain()[-2:] == [second, first]
        after = activate(generations, 4)
        assert generations.active() == after
        assert after.previous == active.sequence
        assert not [name for name in contents(generations.folder) if name.startswith(".new-")]
        if status == 0:
            break
        assert status == KILLED
    assert status == 0, "a run without a fault must end the series"
    assert outcomes == sorted(outcomes), "before one step it is the old one, from it on the new one"
    assert {2, 3} == set(outcomes)
    assert len(outcomes) > 10


def test_a_first_activation_that_was_killed_can_be_done_again(tmp_path: Path) -> None:
    for number in range(1, 100):
        generations = Generations(tmp_path / f"first-{number}")

        def work(generations: Generations = generations, number: int = number) -> None:
            vars(module)["os"] = faulty_os(number, lambda: os._exit(KILLED))[0]
            activate(generations, 1)

        status = in_a_child(work)
        if generations.active() is None:
            activate(generations, 1)
        active = generations.active()
        assert active is not None
        assert generations.content(active) == text(1).encode()
        if status == 0:
            return
    pytest.fail("the series did not end")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_without_room_at_any_step_nothing_changes(generations: Generations, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    activate(generations, 1)
    activate(generations, 2)
    before = contents(generations.folder)

    def fault() -> None:
        raise OSError(code, os.strerror(code))

    for number in range(1, 100):
        with monkeypatch.context() as patched:
            faulty, calls = faulty_os(number, fault)
            patched.setattr(module, "os", faulty)
            try:
                activate(generations, 3)
            except PolicyError as error:
                assert os.strerror(code) in str(error)  # noqa: PT017 - which step fails decides what is said
                if "may not outlast a power cut" in str(error):
                    break
                assert "nothing has changed" in str(error)  # noqa: PT017
            else:
                break
        assert contents(generations.folder) == before, f"step {number}"
    assert number > 10
    assert number == calls[0]
    active = generations.active()
    assert active is not None
    assert active.version == 3


def test_a_disk_that_is_full_is_told(generations: Generations) -> None:
    """The kernel refuses the bytes, as it does on a full disk: the process may write no larger file."""
    activate(generations, 1)
    before = contents(generations.folder)

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        with pytest.raises(PolicyError, match=r"cannot be written: File too large \(nothing has changed"):
            activate(generations, 2)

    assert in_a_child(work) == 0
    assert contents(generations.folder) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_of_somebody_else_is_told(generations: Generations) -> None:
    activate(generations, 1)
    generations.folder.chmod(0o555)
    try:
        with pytest.raises(PolicyError, match="Permission denied"):
            activate(generations, 2)
    finally:
        generations.folder.chmod(0o755)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be written: No such file or directory"):
        activate(Generations(tmp_path / "missing" / "policies"), 1)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(PolicyError, match="Not a directory"):
        activate(Generations(file), 1)


# --- damaged


def test_torn_lines_of_the_history_are_passed_over(generations: Generations) -> None:
    first = activate(generations, 1)
    with (generations.folder / "history.ndjson").open("ab") as history:
        history.write(b'{"sequence":2,"at":"20')
    second = activate(generations, 2)
    assert generations.chain() == [second, first]
    assert b'"20\n{' in (generations.folder / "history.ndjson").read_bytes()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"sequence": 1}', b"\xff\xfe"])
def test_a_damaged_pointer_is_told_and_mended_by_a_rollback(generations: Generations, damage: bytes) -> None:
    first, second = activate(generations, 1), activate(generations, 2)
    (generations.folder / "active").write_bytes(damage)
    with pytest.raises(PolicyError, match=r"active: is damaged \(make a generation the active one again"):
        generations.active()
    assert generations.remembered() == [second, first]
    made = generations.roll_back(second, replaces=None, at=NOON, by="ana", reason="mended")
    assert generations.chain() == [made, second, first]


def test_a_missing_pointer_is_not_taken_for_a_new_folder(generations: Generations) -> None:
    activate(generations, 1)
    activate(generations, 2)
    (generations.folder / "active").unlink()
    with pytest.raises(PolicyError, match="is missing, and the folder has a history"):
        generations.active()


@pytest.mark.parametrize(("damage", "words"), [(b"altered", "has been altered since"), (None, "is gone")])
def test_a_generation_that_is_not_what_was_activated_is_told(generations: Generations, damage: bytes | None, words: str) -> None:
    made = activate(generations, 1)
    file = generations.file(made)
    file.unlink()
    if damage is not None:
        file.write_bytes(damage)
    with pytest.raises(PolicyError, match=words):
        generations.content(made)


def test_a_history_that_goes_in_circles_ends(generations: Generations) -> None:
    made = activate(generations, 1)
    line = made.model_copy(update={"sequence": 5, "previous": 7}).model_dump_json(exclude_none=True)
    with (generations.folder / "history.ndjson").open("a") as history:
        history.write(line + "\n" + line.replace('"sequence":5', '"sequence":7').replace('"previous":7', '"previous":5') + "\n")
    assert len(generations.remembered()) <= 3


# --- what is served


def test_the_active_generation_is_served_and_named(generations: Generations, city: Path) -> None:
    activate(generations, 1, effect="allow")
    second = activate(generations, 2)
    with Resolver.open(city, generations.folder) as resolver:
        assert resolver.decide(serving="36801").policy == "test@2"
        assert resolver.policy_generation == 2
        assert not resolver.policy_is_fallback
        origin = resolver.policy_document()["origin"]
        assert origin == {
            "sha256": second.sha256,
            "key": None,
            "generation": 2,
            "activated_at": "2026-11-22T12:00:00Z",
            "event": "activate",
            "forced": False,
        }
        policy = resolver.metadata()["policy"]
        assert isinstance(policy, dict)
        assert policy["origin"] == origin


def break_by(how: str, generations: Generations) -> None:
    active = generations.active()
    assert active is not None
    file = generations.file(active)
    if how == "gone":
        file.unlink()
    elif how == "altered":
        file.unlink()
        file.write_bytes(b"# nothing")
    else:
        (generations.folder / "active").write_bytes(b"{")
        file.unlink()


@pytest.mark.parametrize(("how", "words"), [("gone", "is gone"), ("altered", "has been altered"), ("pointer", "is damaged")])
def test_the_last_good_one_is_served_where_the_newest_is_broken(
    generations: Generations, city: Path, how: str, words: str
) -> None:
    activate(generations, 1)
    activate(generations, 2, effect="allow")
    break_by(how, generations)
    with Resolver.open(city, generations.folder) as resolver:
        assert resolver.decide(serving="36801").policy == "test@1"
        assert resolver.policy_is_fallback
        (warning,) = resolver.warnings
        assert words in warning
        assert "generation 1 (test@1) is served in its place" in warning


async def test_readyz_says_that_an_older_one_is_served(generations: Generations, city: Path) -> None:
    activate(generations, 1)
    activate(generations, 2)
    break_by("gone", generations)
    with Resolver.open(city, generations.folder) as resolver:
        async with (
            running(resolver) as service,
            aiohttp.ClientSession(service.url) as client,
            client.get("/readyz") as answer,
        ):
            assert answer.status == 200
            document = await answer.json()
    assert document["checks"]["policy"]["generation"] == 1
    assert document["checks"]["policy"]["in_place_of_the_active"] is True
    assert "generation 2 (test@2) is gone" in document["warnings"][0]


def test_a_generation_that_fails_its_tests_on_these_databases_is_not_served(generations: Generations, city: Path) -> None:
    activate(generations, 1)
    wrong = '[[tests]]\nname = "no"\nat = 2026-01-01T00:00:00Z\nping = { serving = "36801" }\nexpect = { decision = "allow" }\n'
    content = (text(2) + wrong).encode()
    policy = parsed(content, generations.folder / "candidate.toml")
    generations.activate(content, policy, replaces=generations.active(), at=NOON, by="ana")
    with Resolver.open(city, generations.folder) as resolver:
        assert resolver.decide(serving="36801").policy == "test@1"
        assert "'no': decision: expected allow, got deny" in resolver.warnings[0]


def test_where_nothing_is_good_the_newest_is_complained_of(generations: Generations, city: Path) -> None:
    for version in (1, 2):
        activate(generations, version)
    for file in generations.files().values():
        file.unlink()
    with pytest.raises(PolicyError, match=r"generation 2 \(test@2\) is gone"):
        Resolver.open(city, generations.folder)


def test_a_folder_without_generations_is_no_policy(tmp_path: Path, city: Path) -> None:
    with pytest.raises(PolicyError, match=r"has no active policy \(activate one: regionresolver policy activate"):
        Resolver.open(city, tmp_path)


# --- the marks of the breaker


def test_a_mark_without_a_time_zone_is_damaged(generations: Generations) -> None:
    first = activate(generations, 1)
    generations.mark_trip(first, Trip(NOON, "shadow", 20_000, 5_000), by="service")
    mark = generations.folder / "breaker"
    mark.write_bytes(mark.read_bytes().replace(b"12:00:00Z", b"12:00:00"))
    with pytest.raises(PolicyError, match="breaker: is damaged"):
        generations.breaker_mark(first)


def test_trips_and_resets_are_kept_for_their_activation(generations: Generations) -> None:
    first = activate(generations, 1)
    assert generations.breaker_mark(first) is None
    trip = Trip(NOON, "shadow", 20_000, 5_000)
    generations.mark_trip(first, trip, by="service")
    assert generations.breaker_mark(first) == trip
    assert isinstance(generations.history()[-1], BreakerTripped)
    generations.reset_breaker(at=NOON, by="ana", reason="a load test")
    assert generations.breaker_mark(first) == Reset(NOON, "ana", "a load test")
    generations.mark_trip(first, trip, by="service")
    second = activate(generations, 2)
    assert generations.breaker_mark(second) is None
    with pytest.raises(PolicyError, match="another policy was activated"):
        generations.mark_trip(first, trip, by="service")


def test_a_reset_needs_an_active_policy(generations: Generations) -> None:
    with pytest.raises(PolicyError, match="has no active policy"):
        generations.reset_breaker(at=NOON, by="ana", reason="none")
