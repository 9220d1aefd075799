"""The decision log: what is written; that it is whole, or counted; that it is chained; that it can be decided again."""

from __future__ import annotations

import asyncio
import errno
import gc
import ipaddress
import json
import os
import random
import signal
import time
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from _fastpath.decision_log import DecisionLog, LogWords
from regionresolver import Decision, Resolver
from regionresolver.resolver.log_chain import GENESIS, Verified, segments, verify
from regionresolver.resolver.log_records import MEMBERS, Again, Recorded, data_digest, log_words, text_as_json
from regionresolver.resolver.recorder import Recorder
from regionresolver.service import decision_log
from regionresolver.service.decision_log import LogWriter
from regionresolver.settings import Settings
from tests.http_service import LOOPBACK, parse_answer, running
from tests.reference.decision_line import expected_line
from tests.serve_process import serve
from tests.test_cli import invoke
from tests.worlds import city_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLICY = """
[policy]
name = "logged"
version = 7

[defaults]
effect = "allow"
on_unknown = "review"
min_confidence_to_deny = 0.8

[[rules]]
id = "grandfathered"
when = { region = ["CU"], first_activated_before = 2021-08-31T00:00:00Z }
effect = "allow"
reason = "GRANDFATHERED"

[[rules]]
id = "no-cuba"
when = { region = ["CU", "crimea"], sku_not = ["*-DEMO"] }
effect = "deny"
reason = "REGION_NOT_PERMITTED"
review_by = 2030-01-01
rollout = { key = "device_id", salt = "s", stages = [{ at = 2021-08-31T00:00:00Z, percent = 60 }] }

[[rules]]
id = "watch-spain"
mode = "shadow"
when = { region = ["ES"] }
effect = "deny"
reason = "WATCHED"
review_by = 2030-01-01

[messages]
REGION_NOT_PERMITTED = { en = "No." }
WATCHED = { en = "No." }
"""

CATALOGUE = """
[[networks]]
id = "lab"
network = "10.1.0.0/16"
region = "UA-43"
owner = "o"
reason = "r"
expires = "never"

[[plmns]]
id = "phoenix"
plmn = "250-98"
region = "UA-14"
owner = "o"
reason = "r"
expires = "never"
"""

IPS = (
    None, "84.0.1.77", "46.0.9.9", "80.0.3.3", "37.0.200.1", "10.1.2.3", "10.9.9.9", "9.9.9.9", "::ffff:84.0.1.2", "nonsense",
    "2a02:10:1234:5678::1", "2a02:20:ffff::2", "fe80::1",
)  # fmt: skip
PLMNS = (None, "36801", "368-01", "25034", "25033", "25098", "310470", "90101", "99999", "x", "21401", "340-01")
SIMS = (*PLMNS, "250339876543210", "310410123456789")
SKUS = (None, "M2101K7AG", "X-DEMO", 'quo"te', "é\n\\")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("decision-log")
    (folder / "policy.toml").write_text(POLICY, "utf-8")
    (folder / "catalogue.toml").write_text(CATALOGUE, "utf-8")
    city = city_database(folder / "city.mmdb")
    return {"db": city, "policy": folder / "policy.toml", "catalogue": folder / "catalogue.toml"}


@pytest.fixture(scope="module")
def resolver(files: dict[str, Path]) -> Iterator[Resolver]:
    with Resolver.open(files["db"], files["policy"], catalogue=files["catalogue"]) as opened:
        yield opened


def made_ping(rng: random.Random) -> dict[str, Any]:
    ping = {
        "ip": rng.choice(IPS), "serving": rng.choice(PLMNS), "sim": rng.choice(SIMS), "sku": rng.choice(SKUS),
        "sold_in": rng.choice((None, "DE", "cu", "")), "device_id": rng.choice((None, f"h:{rng.randrange(99)}")),
        "first_activated_at": rng.choice((None, None, "2021-06-01T00:00:00.25Z", "1969-12-31T23:59:59.000001Z")),
        "lang": rng.choice((None, "es")), "id": rng.choice((None, "p1")),
    }  # fmt: skip
    if not any(ping[name] for name in ("ip", "serving", "sim")):
        ping["serving"] = "36801"
    return {name: value for name, value in ping.items() if value is not None}


def lines_of(recorder: Recorder) -> list[dict[str, Any]]:
    """Everything in the ring, as documents; the chain is checked on the way."""
    found: list[dict[str, Any]] = []
    chain = GENESIS
    while True:
        lines, count, _, after = recorder.take(chain)
        if not count:
            return found
        assert lines.count(b"\n") == count
        found += [orjson.loads(line) for line in lines.splitlines()]
        chain = after


def cut(address: str | None) -> str | None:
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None) or found
    return str(ipaddress.ip_network(f"{mapped}/{24 if mapped.version == 4 else 48}", strict=False))


# --- what is written


def test_lines_say_what_was_decided_and_can_be_decided_again(resolver: Resolver) -> None:
    rng, recorder = random.Random(7), Recorder("all", ring_bytes=1 << 16)
    again = Again(resolver)
    seen: set[str] = set()
    for number in range(1, 4001):
        ping = made_ping(rng)
        decision = resolver.decide(**ping)
        recorder.note(decision)
        (line,) = lines_of(recorder)
        check_line(line, decision, ping)
        assert line["number"] == number
        recorded = Recorded.of(line)
        assert again.said(again.decide(recorded)) == recorded.said, ping
        assert again.why_different(recorded) == []
        seen |= {str(line["rule"]), str(line["reason"]), line["row"], line["decision"], str(line["shadow"]), *line["conflicts"]}
    assert {"grandfathered", "no-cuba", "None", "LOW_CONFIDENCE", "allow", "deny", "review", "home_routed"} <= seen
    assert str({"decision": "deny", "rule": "watch-spain"}) in seen


def check_line(line: dict[str, Any], decision: Decision, ping: dict[str, Any]) -> None:
    expected = expected_line(decision, cut(ping.get("ip")))
    evidence = expected.pop("evidence")
    assert {name: line[name] for name in expected} == expected
    for name in ("sku", "sold_in", "device_id"):
        assert line[name] == ping.get(name)
    for name, signal_ in evidence.items():
        found = line["evidence"][name]
        if signal_ is None:
            assert found is None
            continue
        said = signal_.pop("said", None)
        assert {key: found[key] for key in signal_} == signal_, name
        assert said is None or said in (found["subdivision"], found["country"])
    activated = ping.get("first_activated_at")
    assert (line["first_activated_at"] is None) == (activated is None)
    if activated is not None:
        assert line["first_activated_at"].replace("0000Z", "Z") == activated


def test_an_imsi_is_cut_where_the_length_of_its_mnc_is_not_known(resolver: Resolver) -> None:
    recorder = Recorder("all")
    for sim in ("250339876543210", "310410123456789", "310-410", "999990123456789"):
        recorder.note(resolver.decide(sim=sim))
    shown = [line["evidence"]["sim"].get("plmn") for line in lines_of(recorder)]
    assert shown == ["25033", "31041", "310410", "99999"]


def test_what_is_logged_depends_on_the_mode(resolver: Resolver) -> None:
    pings = [{"serving": "21401"}, {"serving": "36801", "sku": "M", "device_id": "h:1"}, {"sim": "90101"}]
    effects = [str(resolver.decide(**ping).effect) for ping in pings]  # type: ignore[arg-type]
    assert set(effects) >= {"allow", "review"}
    denials, sampled, none = Recorder("denials"), Recorder("sampled", 0.25), Recorder("sampled", 1e-12)
    for recorder in (denials, sampled, none):
        for _ in range(2000):
            for ping in pings:
                recorder.note(resolver.decide(**ping))  # type: ignore[arg-type]
    assert {line["decision"] for line in lines_of(denials)} == set(effects) - {"allow"}
    assert denials.noted == 2000 * sum(effect != "allow" for effect in effects)
    assert 1200 < sampled.noted < 1800
    assert none.noted == 0


async def test_the_lane_the_slow_path_and_batches_write_the_same(resolver: Resolver, tmp_path: Path) -> None:
    rng = random.Random(3)
    pings = [made_ping(rng) for _ in range(150)]
    settings = Settings(port=0, decision_log="all", decision_log_dir=tmp_path)
    async with running(resolver, settings) as service:
        for path, lines in (("/v1/decisions", ""), ("/v1/decisions", "X-Odd_Name: 1\r\n")):
            for ping in pings:
                body = json.dumps(ping).encode()
                head = f"POST {path} HTTP/1.1\r\nHost: a\r\n{lines}Content-Type: application/json\r\n"
                raw = f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
                if not lines:
                    raw = (
                        raw.replace(b"Connection: close\r\n", b"")
                        + b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
                    )
                assert parse_answer(await service.exchange(raw)).status == 200
        body = json.dumps(pings).encode()
        head = f"POST /v1/decisions/batch HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        assert parse_answer(await service.exchange(head.encode() + body)).status == 200
        answered, _ = service.fronts.lane.counts()
    assert answered["decisions"] > 60, "hardly any of these went through the lane"
    written = logged(tmp_path)
    kept = [{name: value for name, value in line.items() if name not in {"number", "at", "chain"}} for line in written]
    assert len(kept) == 450
    assert kept[:150] == kept[150:300] == kept[300:]
    assert [line["number"] for line in written] == list(range(1, 451))


def logged(folder: Path) -> list[dict[str, Any]]:
    documents = (orjson.loads(line) for path in segments(folder) for line in path.read_bytes().splitlines())
    return [document for document in documents if "number" in document]


# --- the ring


def test_a_full_ring_drops_and_counts_and_the_rest_is_whole(resolver: Resolver) -> None:
    recorder, rng = Recorder("all", ring_bytes=1 << 16), random.Random(5)
    written, noted = [], 0
    for _ in range(40):
        for _ in range(rng.randrange(1, 400)):
            recorder.note(resolver.decide(serving="36801", device_id="d" * rng.randrange(256), id=str(noted := noted + 1)))
        written += lines_of(recorder)
    assert recorder.noted == noted
    assert recorder.dropped == noted - len(written) > 500
    assert all(line["id"] == str(line["number"]) for line in written)
    assert [line["number"] for line in written] == sorted({line["number"] for line in written})


def test_a_ring_needs_a_power_of_two() -> None:
    for wrong in (0, 1000, (1 << 16) + 1, 1 << 15):
        with pytest.raises(ValueError, match="power of two"):
            DecisionLog(log_words, "all", 1.0, wrong)
    with pytest.raises(ValueError, match="share"):
        DecisionLog(log_words, "all", 1.5)
    with pytest.raises(ValueError, match="5 sizes"):
        LogWords(b"", [1], lambda _kind, _id: b"")


def test_words_that_cannot_be_made_drop_the_record_and_never_the_answer(resolver: Resolver) -> None:
    def words_of(words: Any, table: Any) -> LogWords:
        raise RuntimeError

    log = DecisionLog(words_of, "all")
    log.note_decided(resolver.decide(serving="36801"), text_as_json)
    assert (log.noted, log.dropped, log.waiting_bytes) == (1, 1, 0)


def test_half_a_surrogate_pair_is_written_as_a_question_mark() -> None:
    assert text_as_json("a\ud800") == b"a?"
    assert text_as_json(b"\xed\xa0\x80") == b"?"


# --- segments


@contextmanager
def writing(resolver: Resolver, folder: Path, **more: Any) -> Iterator[LogWriter]:
    settings = Settings(decision_log="all", decision_log_dir=folder, **more)
    writer = LogWriter(settings, lambda: resolver, Recorder("all", ring_bytes=1 << 18), worker=0)
    writer.begin()
    try:
        yield writer
    finally:
        writer.end()


def note(writer: LogWriter, resolver: Resolver, count: int, *, wait: bool = True) -> None:
    before = writer.recorder.noted
    for number in range(count):
        writer.recorder.note(resolver.decide(serving="36801", id=f"p{before + number}"))
    if wait:
        until(lambda: writer.counts.written + writer.recorder.dropped >= before + count)


def until(condition: Any) -> None:
    patience = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.005)


def check(folder: Path, *anchors: str) -> Verified:
    (found,) = verify(segments(folder), None, anchors)
    return found


def test_a_process_goes_on_with_the_chain_of_the_one_before(resolver: Resolver, tmp_path: Path) -> None:
    for _ in range(3):
        with writing(resolver, tmp_path) as writer:
            note(writer, resolver, 20)
    found = check(tmp_path)
    assert (found.fault, found.segments, found.decisions, found.missing, found.cut) == (None, 3, 60, 0, 0)
    heads = [orjson.loads(path.read_bytes().splitlines()[0]) for path in segments(tmp_path)]
    assert [head["previous"] and head["previous"]["segment"] for head in heads] == [
        None, "decisions-000-00000001.ndjson", "decisions-000-00000002.ndjson",
    ]  # fmt: skip
    assert heads[0]["generation"]["policy"]["label"] == "logged@7"
    assert check(tmp_path, found.last).fault is None


def test_nothing_is_written_while_nothing_is_decided(resolver: Resolver, tmp_path: Path) -> None:
    with writing(resolver, tmp_path):
        time.sleep(0.12)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_have_two_chains(resolver: Resolver, tmp_path: Path) -> None:
    with writing(resolver, tmp_path) as one, writing(resolver, tmp_path) as other:
        note(one, resolver, 5)
        note(other, resolver, 7)
    found = list(verify(segments(tmp_path)))
    assert [(chain.chain, chain.decisions, chain.fault) for chain in found] == [(0, 5, None), (1, 7, None)]


def test_segments_are_closed_by_size_and_by_age_and_the_oldest_deleted(resolver: Resolver, tmp_path: Path) -> None:
    more = {"decision_log_segment_bytes": 4096, "decision_log_keep_segments": 3}
    (tmp_path / "size").mkdir()
    with writing(resolver, tmp_path / "size", **more) as writer:
        for _ in range(6):
            note(writer, resolver, 10)
    assert len(segments(tmp_path / "size")) == 3
    found = check(tmp_path / "size")
    assert (found.fault, found.missing) == (None, 0)
    assert found.begins_with == segments(tmp_path / "size")[0].name
    (tmp_path / "age").mkdir()
    with writing(resolver, tmp_path / "age", decision_log_segment_s=0.1) as writer:
        note(writer, resolver, 1)
        until(lambda: writer.counts.segments and b'"log":"end"' in segments(tmp_path / "age")[0].read_bytes())
        note(writer, resolver, 1)
    assert check(tmp_path / "age").segments == 2
    (tmp_path / "bytes").mkdir()
    more = {"decision_log_segment_bytes": 4096, "decision_log_keep_bytes": 12_000}
    with writing(resolver, tmp_path / "bytes", **more) as writer:
        for _ in range(6):
            note(writer, resolver, 10)
    assert sum(path.stat().st_size for path in segments(tmp_path / "bytes")[:-1]) <= 12_000


class FullDisk:
    """`os.write` on a disk that takes some bytes of each call and then none, until there is room again."""

    def __init__(self) -> None:
        self.is_full = False
        self._write = os.write
        self._half = True

    def __call__(self, descriptor: int, content: Any) -> int:
        if not self.is_full or len(content) < 100:
            return self._write(descriptor, content)
        self._half = not self._half
        if self._half:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(descriptor, content[: len(content) // 2])


def test_a_full_disk_loses_what_the_ring_has_no_room_for_and_says_so(
    resolver: Resolver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FullDisk()
    monkeypatch.setattr(decision_log, "RETRY_S", 0.02)
    monkeypatch.setattr(os, "write", disk)
    with writing(resolver, tmp_path) as writer:
        note(writer, resolver, 50)
        disk.is_full = True
        note(writer, resolver, 5, wait=False)
        until(lambda: "decision_log_failed" in [record.getMessage() for record in caplog.records])
        note(writer, resolver, 2995, wait=False)
        until(lambda: writer.counts.dropped_failed)
        time.sleep(0.1)
        disk.is_full = False
        until(lambda: writer.recorder.is_empty)
        note(writer, resolver, 5, wait=False)
        until(lambda: writer.recorder.is_empty)
    found = check(tmp_path)
    assert found.fault is None
    assert found.torn_bytes == 0
    assert found.missing == writer.recorder.dropped == writer.counts.dropped_failed > 1000
    assert found.decisions == 3055 - found.missing
    events = [record.getMessage() for record in caplog.records]
    assert [events.count(name) for name in ("decision_log_failed", "decision_log_resumed", "decision_log_dropped")] == [1, 1, 1]


def test_a_folder_that_goes_and_comes_back(resolver: Resolver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision_log, "RETRY_S", 0.02)
    folder = tmp_path / "log"
    with writing(resolver, folder) as writer:
        note(writer, resolver, 10, wait=False)
        time.sleep(0.15)
        assert writer.counts.written == 0
        folder.mkdir()
        until(lambda: writer.counts.written == 10)
    assert check(folder).decisions == 10


def test_half_a_line_is_told_by_the_successor(resolver: Resolver, tmp_path: Path) -> None:
    with writing(resolver, tmp_path) as writer:
        note(writer, resolver, 10)
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    lines = whole.splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:-2]) + lines[-2][:77])  # as a kill in the middle of a write leaves it
    alone = check(tmp_path)
    assert (alone.fault, alone.torn_bytes, alone.cut, alone.decisions) == (None, 77, 1, 9)
    with writing(resolver, tmp_path) as writer:
        note(writer, resolver, 3)
    found = check(tmp_path)
    assert (found.fault, found.torn_bytes, found.cut, found.decisions) == (None, 77, 1, 12)
    head = orjson.loads(segments(tmp_path)[1].read_bytes().splitlines()[0])
    assert head["previous"] == {
        "segment": segment.name, "chain": orjson.loads(lines[-3])["chain"], "closed": False, "torn_bytes": 77,
    }  # fmt: skip
    segment.write_bytes(b"".join(lines[:-2]))
    assert check(tmp_path).fault is not None, "torn bytes that were taken away are not what the successor saw"
    segment.write_bytes(whole)
    assert check(tmp_path).fault is not None, "nor is a line that was completed afterwards"
    segment.write_bytes(b'{"log')
    (tmp_path / "decisions-000-00000002.ndjson").unlink()
    assert check(tmp_path).notes


# --- the chain


@pytest.fixture(scope="module")
def whole(resolver: Resolver, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    for _ in range(3):
        with writing(resolver, folder) as writer:
            note(writer, resolver, 8)
    return folder


def copied(whole: Path, folder: Path) -> list[Path]:
    for path in segments(whole):
        (folder / path.name).write_bytes(path.read_bytes())
    return segments(folder)


def test_every_change_of_a_byte_is_found(whole: Path, tmp_path: Path) -> None:
    rng = random.Random(11)
    (*_, path) = paths = copied(whole, tmp_path)
    good = path.read_bytes()
    for _ in range(400):
        place = rng.randrange(len(good))
        changed = bytearray(good)
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        found = check(tmp_path)
        # A line feed that is gone at the very end is half a line, which only a successor or an anchor could tell.
        if place == len(good) - 1:
            assert found.torn_bytes
            continue
        assert found.fault is not None, place
        assert found.fault.file == str(path)
        assert found.fault.line in (good.count(b"\n", 0, place) + 1, good.count(b"\n", 0, place) + 2)
    assert len(paths) == 3


def test_lines_taken_out_put_in_or_moved_are_found(whole: Path, tmp_path: Path) -> None:
    paths = copied(whole, tmp_path)
    for path in paths:
        good = path.read_bytes()
        lines = good.splitlines(keepends=True)
        last = path == paths[-1]
        for number in range(len(lines)):
            without = lines[:number] + lines[number + 1 :]
            path.write_bytes(b"".join(without))
            fault = check(tmp_path).fault
            if last and number == len(lines) - 1:
                assert fault is None, "the end of all can be taken off unseen, see the anchors"
                assert check(tmp_path, json.loads(lines[-1])["chain"]).fault is not None
            else:
                assert fault is not None, (path.name, number)
            if number + 1 < len(lines):
                path.write_bytes(b"".join([*lines[:number], lines[number + 1], lines[number], *lines[number + 2 :]]))
                assert check(tmp_path).fault is not None
            path.write_bytes(b"".join([*lines[:number], lines[number], *lines[number:]]))
            assert check(tmp_path).fault is not None
        path.write_bytes(good)
    assert check(tmp_path).fault is None
    paths[1].unlink()
    fault = check(tmp_path).fault
    assert fault is not None
    assert (fault.file, fault.line) == (str(paths[2]), 1)


def test_log_verify(whole: Path, tmp_path: Path) -> None:
    good = invoke("log", "verify", str(whole))
    assert good.exit_code == 0
    assert "whole" in good.stdout
    document = json.loads(invoke("log", "verify", str(whole), "--json").stdout)
    assert (document["decisions"], document["segments"], document["fault"]) == (24, 3, None)
    assert invoke("log", "verify", str(whole), "--anchor", document["last"]).exit_code == 0
    missing = invoke("log", "verify", str(whole), "--anchor", "0" * 64)
    assert missing.exit_code == 1
    assert "anchor" in missing.stdout
    paths = copied(whole, tmp_path)
    paths[0].write_bytes(paths[0].read_bytes().replace(b'"decision":"deny"', b'"decision":"allo"', 1).replace(b"p0", b"p9", 1))
    bad = invoke("log", "verify", str(tmp_path))
    assert bad.exit_code == 1
    assert f"broken: {paths[0]}:2: its chain does not fit" in bad.stdout
    assert invoke("log", "verify", str(paths[1]), str(paths[2])).exit_code == 0
    for wrong in ([str(tmp_path / "nothing")], [str(whole), "--anchor", "xyz"], [str(tmp_path.parent)]):
        assert invoke("log", "verify", *wrong).exit_code == 2
    (tmp_path / "other.ndjson").write_bytes(b'{"id":"a"}\n')
    assert invoke("log", "verify", str(tmp_path / "other.ndjson")).exit_code == 1


# --- deciding again


@pytest.fixture(scope="module")
def log(resolver: Resolver, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segment with a denial (line 2), a review and an allowance."""
    folder = tmp_path_factory.mktemp("log")
    denied = next(
        name for name in map(str, range(99)) if resolver.decide(serving="36801", sku="M", device_id=name).effect == "deny"
    )
    with writing(resolver, folder) as writer:
        for ping in ({"serving": "36801", "ip": "84.0.1.9"}, {"ip": "46.0.1.1"}, {"serving": "21401"}):
            writer.recorder.note(resolver.decide(**ping, sku="M", device_id=denied, id="x"))  # type: ignore[arg-type]
        until(lambda: writer.counts.written == 3)
    return segments(folder)[0]


def flags(files: dict[str, Path], **more: Path) -> list[str]:
    return [word for name, path in (files | more).items() for word in (f"--{name}", str(path))]


def test_decide_from_log(files: dict[str, Path], log: Path, tmp_path: Path) -> None:
    for line in (f"{log}:2", log.read_text("utf-8").splitlines()[1]):
        same = invoke("decide", "--from-log", line, *flags(files))
        assert same.exit_code == 0, same.output
        assert "the same" in same.stdout
    other = tmp_path / "policy.toml"
    other.write_text(
        POLICY.replace('region = ["CU", "crimea"]', 'region = ["KP"]').replace("version = 7", "version = 8"), "utf-8"
    )
    different = invoke("decide", "--from-log", "-", "--json", *flags(files, policy=other), stdin=log.read_text().splitlines()[1])
    assert different.exit_code == 1
    document = json.loads(different.stdout)
    assert document["same"] is False
    assert "decision" in document["different"]
    assert (document["then"]["decision"], document["now"]["decision"]) == ("deny", "allow")
    assert document["why"] == ["the policy is another one: logged@7 then, logged@8 now"]
    country = city_database(tmp_path / "country.mmdb", {"5.0.0.0/16": ("DE", None)})
    moved = invoke("decide", "--from-log", f"{log}:2", *flags(files, db=country))
    assert moved.exit_code == 0, "the evidence of the line is decided on, whatever today's data says of the address"
    assert "another generation" in moved.stdout
    tampered = log.read_text("utf-8").splitlines()[1].replace('"decision":"deny"', '"decision":"allow"')
    lied = invoke("decide", "--from-log", tampered, *flags(files))
    assert lied.exit_code == 1
    assert "changed" in lied.stdout


@pytest.mark.parametrize(
    "line",
    ["{}", "[1]", "nothing:1", "{nonsense", "FILE:0", "FILE:99", "FILE:1", '{"evidence":{},"data_digest":"x","at":5}'],
)
def test_a_line_that_cannot_be_decided_again_is_refused(files: dict[str, Path], log: Path, line: str) -> None:
    found = invoke("decide", "--from-log", line.replace("FILE", str(log)), *flags(files))
    assert found.exit_code == 2, found.output
    assert found.stdout == ""


def test_from_log_takes_no_other_field(log: Path, files: dict[str, Path]) -> None:
    assert invoke("decide", "--from-log", f"{log}:2", "--serving", "36801", *flags(files)).exit_code == 2


def test_evidence_that_is_not_as_it_should_be_is_refused(resolver: Resolver, log: Path) -> None:
    line = orjson.loads(log.read_bytes().splitlines()[1])
    again = Again(resolver)
    for change in (
        {"serving": {"status": "wrong"}, "sim": None, "ip": None},
        {"serving": 5, "sim": None, "ip": None},
        {"serving": None, "sim": None},
        {"serving": {"status": "ok", "candidates": ["ZZ"], "exact": False, "confidence": None}, "sim": None, "ip": None},
        {"serving": None, "sim": None, "ip": {"status": "ok", "country": "FR"}},
    ):
        with pytest.raises(Exception, match="evidence: "):
            again.decide(Recorded.of(line | {"evidence": change}))
    for name in ("policy_digest", *MEMBERS):
        with pytest.raises(Exception, match=f"{name}: missing"):
            Recorded.of({key: value for key, value in line.items() if key != name})


def test_impact_and_restores_read_the_log(files: dict[str, Path], log: Path, tmp_path: Path) -> None:
    other = tmp_path / "next.toml"
    restores = '[[restores]]\nrule = "no-cuba"\nversions = [7]\nsince = 2026-01-01T00:00:00Z\nreason = "LIFTED"\n'
    other.write_text(
        POLICY.replace("version = 7", "version = 8").replace('region = ["CU", "crimea"]', 'region = ["KP"]'), "utf-8"
    )
    data = [word for name in ("db", "catalogue") for word in (f"--{name}", str(files[name]))]
    found = invoke(
        "policy",
        "impact",
        "--baseline",
        str(files["policy"]),
        "--candidate",
        str(other),
        "--pings",
        str(log),
        *data,
        "--format",
        "json",
    )
    document = json.loads(found.stdout)
    assert (document["pings"], document["refused_lines"], document["newly_allowed"]) == (3, 0, 2), document
    late = restores.replace("2026-01-01", "2100-01-01")
    other.write_text(POLICY.replace("version = 7", "version = 8") + late, "utf-8")
    again = invoke(
        "policy",
        "restores",
        str(other),
        "--log",
        str(log),
        "--at",
        "2100-01-02T00:00:00Z",
        "--catalogue",
        str(files["catalogue"]),
    )
    assert again.exit_code == 0, again.output
    assert again.stdout == "x\tLIFTED\n"


def test_the_digest_of_the_data_tells_generations_apart(resolver: Resolver, files: dict[str, Path]) -> None:
    with Resolver.open(files["db"], files["policy"]) as other, Resolver.open(**files) as same:  # type: ignore[arg-type]
        digests = [data_digest(one.engine.words) for one in (resolver, other, same)]
    assert digests[0] == digests[2] != digests[1]


def test_a_policy_that_stands_back_is_decided_again_as_it_stood(resolver: Resolver) -> None:
    recorder = Recorder("all")
    resolver.breaker._follow(type("Trip", (), {"action": "shadow", "notice": None})())
    try:
        decision = resolver.decide(serving="36801", sku="M", device_id="h:1")
        recorder.note(decision)
    finally:
        resolver.breaker._follow(None)
    (line,) = lines_of(recorder)
    assert (line["stands_back"], line["decision"]) == (True, "allow")
    again, recorded = Again(resolver), Recorded.of(line)
    assert again.said(again.decide(recorded)) == recorded.said


# --- a worker that is killed


async def asked(port: int, ids: list[str], stop: asyncio.Event, answered: dict[str, float]) -> None:
    while not stop.is_set():
        try:
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        try:
            while not stop.is_set():
                ids.append(name := f"k{len(ids)}")
                body = f'{{"id":"{name}","serving":"36801"}}'.encode()
                writer.write(b"POST /v1/decisions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
                answered[name] = time.monotonic()
        except (OSError, asyncio.IncompleteReadError):
            continue
        finally:
            writer.close()


async def test_a_killed_worker_loses_what_it_had_not_written_and_the_chain_stays_whole(tmp_path: Path) -> None:
    ids: list[str] = []
    answered: dict[str, float] = {}
    kills: list[float] = []
    stop = asyncio.Event()
    with serve("--workers", "1", "--decision-log", "all", "--decision-log-dir", str(tmp_path)) as service:
        clients = [asyncio.create_task(asked(service.port, ids, stop, answered)) for _ in range(4)]
        for _ in range(2):
            await asyncio.sleep(0.5)
            (worker,) = service.workers()
            kills.append(time.monotonic())
            os.kill(worker, signal.SIGKILL)
            await service.until("worker_replaced")
        await asyncio.sleep(0.2)
        stop.set()
        await asyncio.gather(*clients)
        service.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(service.end)
    found = check(tmp_path)
    assert (found.fault, found.cut, found.missing) == (None, 2, 0)
    there = {line["id"] for line in logged(tmp_path)}
    lost = [name for name in answered if name not in there]
    # What is lost was answered just before a kill: in the time of a group, and what the writing of it took.
    late = [name for name in lost if not any(-0.2 < kill - answered[name] < 0.5 for kill in kills)]
    assert late == []
    assert len(lost) < len(answered) / 2


def test_a_generation_that_is_past_is_let_go(files: dict[str, Path], resolver: Resolver) -> None:
    recorder = Recorder("all")
    with Resolver.open(files["db"]) as past:
        kept = weakref.ref(past.engine.words.vocabulary)
        recorder.note(past.decide(serving="36801", id="past"))
    del past
    recorder.forget()
    recorder.note(resolver.decide(serving="36801", id="present"))
    assert [line["id"] for line in lines_of(recorder)] == ["past", "present"]
    gc.collect()
    assert kept() is None
    with Resolver.open(files["db"]) as past:
        kept = weakref.ref(past.engine.words.vocabulary)
        recorder.note(past.decide(serving="36801", id="past again"))
    del past
    recorder.forget()
    assert [line["id"] for line in lines_of(recorder)] == ["past again"]
    gc.collect()
    assert kept() is None, "also where nothing is decided any more"
    recorder.note(resolver.decide(serving="36801", id="again"))
    assert [line["id"] for line in lines_of(recorder)] == ["again"]
