"""Who may ask: keys, limits, and that the lane and the slow path let the same requests in."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from typing import TYPE_CHECKING

import pytest

from _fastpath.access import UNKNOWN, KeyRing, same_secret
from regionresolver import Resolver
from regionresolver.errors import SettingsError
from regionresolver.service.access import EXEMPT, Access, make_key, read_keys, write_keys
from regionresolver.settings import Settings
from tests.http_service import LOOPBACK, Answer, Service, parse_answer, running
from tests.test_cli import invoke
from tests.worlds import city_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BODY = b'{"serving":"36801"}'


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resolver]:
    with Resolver.open(city_database(tmp_path_factory.mktemp("access") / "city.mmdb")) as opened:
        yield opened


def keys_file(tmp_path: Path, **more: object) -> tuple[Path, str]:
    key, text = make_key("one", **more)
    write_keys(tmp_path / "keys.json", (key,))
    return tmp_path / "keys.json", text


def asking(target: str, *headers: str, body: bytes = b"") -> bytes:
    method = "POST" if body else "GET"
    lines = [f"{method} {target} HTTP/1.1", "Host: a", *headers, *([f"Content-Length: {len(body)}"] if body else [])]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def ask(service: Service, target: str, *headers: str, body: bytes = b"") -> Answer:
    """Ask alone on a connection that lives on: in the lane, where that answers such a thing."""
    reader, writer = await asyncio.open_connection(LOOPBACK, service.port)
    try:
        writer.write(asking(target, *headers, body=body))
        return await read(reader)
    finally:
        writer.close()


async def read(reader: asyncio.StreamReader) -> Answer:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return parse_answer(head + await reader.readexactly(length))


RESOLVE = "/v1/resolve?serving=36801"
DECIDE = "/v1/decisions"


async def test_both_ways_let_the_same_requests_in(resolver: Resolver, tmp_path: Path) -> None:
    file, text = keys_file(tmp_path)
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    good = f"Authorization: Bearer {text}"
    bad = f"Authorization: Bearer {wrong}"
    refused: dict[int, list[tuple[str, ...]]] = {
        401: [()],
        403: [
            (bad,), (f"Authorization: Basic {text}",), (f"Authorization: {text}",), ("Authorization:",), (good + "x",),
            (good, good), (good, bad), ("Authorization: Bearer rr_00000000_" + "A" * 43,),
        ],
    }  # fmt: skip
    async with running(resolver, Settings(port=0, api_keys=file)) as service:
        for more in ((), ("X_Odd: 1",)):
            for target, body in ((RESOLVE, b""), (DECIDE, BODY)):
                for fine in (good, f"authorization:bearer   {text} "):
                    assert (await ask(service, target, fine, *more, body=body)).status == 200
                for status, headers in refused.items():
                    for given in headers:
                        answer = await ask(service, target, *given, *more, body=body)
                        assert answer.status == status, given
                        assert answer.headers["www-authenticate"].startswith('Bearer realm="regionresolver"')
                        code = {401: "AUTHORIZATION_REQUIRED", 403: "AUTHORIZATION_INVALID"}[status]
                        assert answer.document["code"] == code
        answered, declined = service.fronts.lane.counts()
        assert answered == {"resolve": 2, "decisions": 2}
        assert declined["access"] == 2 * 7
        for path in EXEMPT:
            assert (await ask(service, path)).status == 200
        for path in ("/v1/policy", "/v1/metadata", "/version", "/nothing", "/v1/resolve/me", "/v1/authz"):
            assert (await ask(service, path)).status == 401, path


BATCH = "/v1/decisions/batch"
ARRAY = b'[{"serving":"36801"},{"serving":"26201"}]'
LINES = b'{"serving":"36801"}\n{"serving":"26201"}\n'


@pytest.mark.parametrize(("body", "kind"), [(ARRAY, "application/json"), (LINES, "application/x-ndjson")])
async def test_batches_need_a_key_on_both_ways(body: bytes, kind: str, resolver: Resolver, tmp_path: Path) -> None:
    """Also when the body has not come yet: nobody may make the service wait for one without a key."""
    file, text = keys_file(tmp_path, rate_per_s=0.001, burst=3)
    good, as_kind = f"Authorization: Bearer {text}", f"Content-Type: {kind}"
    async with running(resolver, Settings(port=0, api_keys=file)) as service:
        for more in ((), ("X_Odd: 1",)):
            assert (await ask(service, BATCH, as_kind, *more, body=body)).status == 401
            assert (await ask(service, BATCH, as_kind, good + "x", *more, body=body)).status == 403
        reader, writer = await asyncio.open_connection(LOOPBACK, service.port)
        writer.write(asking(BATCH, as_kind, body=body)[: -len(body)])
        assert (await read(reader)).status == 401
        writer.close()
        answered = [await exchanged(service, asking(BATCH, as_kind, good, "Connection: keep-alive", body=body)) for _ in range(2)]
        assert all(head.startswith(b"HTTP/1.1 200 ") for head in answered)
        assert (await ask(service, RESOLVE, good)).status == 200
        assert (await ask(service, BATCH, as_kind, good, body=body)).status == 429


async def exchanged(service: Service, raw: bytes) -> bytes:
    """Send a request whose answer may come in chunks; give what comes until the answer's end."""
    reader, writer = await asyncio.open_connection(LOOPBACK, service.port)
    try:
        writer.write(raw)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        if b"chunked" in head:
            return head + await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 5)
        return head
    finally:
        writer.close()


async def test_a_key_holds_for_its_connection_alone(resolver: Resolver, tmp_path: Path) -> None:
    """One connection's key lets no other in, and a connection that has shown a good key is not let in with another."""
    file, text = keys_file(tmp_path)
    good = asking(RESOLVE, f"Authorization: Bearer {text}")
    wrong = asking(RESOLVE, f"Authorization: Bearer {text[:-1]}~")
    async with running(resolver, Settings(port=0, api_keys=file)) as service:
        one, other = [await asyncio.open_connection(LOOPBACK, service.port) for _ in range(2)]
        for (reader, writer), raw, status in (
            (one, good, 200), (other, asking(RESOLVE), 401), (one, good, 200), (one, wrong, 403), (one, asking(RESOLVE), 401),
            (other, wrong, 403), (other, good, 200), (one, good, 200),
        ):  # fmt: skip
            writer.write(raw)
            assert (await read(reader)).status == status
        one[1].write(good + asking(RESOLVE) + good + wrong + good)
        assert [(await read(one[0])).status for _ in range(5)] == [200, 401, 200, 403, 200]
        for _, writer in (one, other):
            writer.close()


async def test_a_revoked_key_is_refused_on_a_connection_that_has_shown_it(resolver: Resolver, tmp_path: Path) -> None:
    file, text = keys_file(tmp_path)
    raw = asking(RESOLVE, f"Authorization: Bearer {text}")
    async with running(resolver, Settings(port=0, api_keys=file)) as service:
        access = service.state.access
        assert access is not None
        reader, writer = await asyncio.open_connection(LOOPBACK, service.port)
        for content, status in (
            (None, 200), ("{broken", 200), ('{"format": 2}', 200), ('{"format": 1, "keys": []}', 403),
        ):  # fmt: skip
            if content is not None:
                file.write_text(content, "utf-8")
                access.reread.look()
            writer.write(raw)
            assert (await read(reader)).status == status, content
        file.unlink()
        access.reread.look()
        writer.write(raw)
        assert (await read(reader)).status == 403
        writer.close()


async def test_a_changed_file_is_taken_by_itself(resolver: Resolver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regionresolver.service.watch.LOOK_S", 0.02)
    file, _ = keys_file(tmp_path)
    async with running(resolver, Settings(port=0, api_keys=file)) as service:
        key, text = make_key("two")
        write_keys(file, (key,))
        deadline = time.monotonic() + 5
        while (await ask(service, RESOLVE, f"Authorization: Bearer {text}")).status != 200:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


async def test_an_expired_key_is_refused(resolver: Resolver, tmp_path: Path) -> None:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=0.4)
    file, text = keys_file(tmp_path, expires_at=soon)
    async with running(resolver, Settings(port=0, api_keys=file)) as service:
        reader, writer = await asyncio.open_connection(LOOPBACK, service.port)
        raw = asking(RESOLVE, f"Authorization: Bearer {text}")
        writer.write(raw)
        assert (await read(reader)).status == 200
        await asyncio.sleep(0.5)
        writer.write(raw)
        assert (await read(reader)).status == 403
        writer.close()


@pytest.mark.parametrize("more", [(), ("X_Odd: 1",)], ids=["lane", "slow path"])
async def test_a_key_asks_as_often_as_it_may(resolver: Resolver, tmp_path: Path, more: tuple[str, ...]) -> None:
    file, text = keys_file(tmp_path, rate_per_s=2, burst=5)
    async with running(resolver, Settings(port=0, api_keys=file)) as service:
        answers = [await ask(service, RESOLVE, f"Authorization: Bearer {text}", *more) for _ in range(9)]
        assert [answer.status for answer in answers[:5]] == [200] * 5
        assert [answer.status for answer in answers[6:]].count(429) >= 2
        last = next(answer for answer in reversed(answers) if answer.status == 429)
        assert last.headers["retry-after"] == "1"
        assert last.document["code"] == "RATE_LIMITED"
        assert (await ask(service, "/livez")).status == 200
        await asyncio.sleep(0.6)
        assert (await ask(service, RESOLVE, f"Authorization: Bearer {text}", *more)).status == 200


def test_a_ping_that_the_lane_leaves_costs_one_token() -> None:
    ring = KeyRing([(None, 1.0, 2.0)], lambda value: 0 if value == b"k" else UNKNOWN)
    assert [ring.take(0, 1_000_000) for _ in range(2)] == [0.0, 0.0]
    assert ring.take(0, 1_000_000) == pytest.approx(1.0)
    assert ring.take(0, 1_500_000) == pytest.approx(0.5)
    assert ring.take(0, 2_000_000) == 0.0
    assert ring.take(0, 500_000_000) == ring.take(0, 500_000_000) == 0.0
    assert ring.take(0, 500_000_000) > 0, "no more than the burst was saved"
    assert ring.take(0, 1) > 0, "a clock that is set back gives nothing"
    assert ring.take(0, 1_100_001) == 0.0, "and takes nothing for long"
    with pytest.raises(IndexError):
        ring.take(1, 0)
    assert (ring.row_of(b"k"), ring.row_of(b"x"), ring.count) == (0, UNKNOWN, 1)


def test_workers_share_a_limit(tmp_path: Path) -> None:
    file, _ = keys_file(tmp_path, rate_per_s=8, burst=12)
    rings = [Access(file, 4).ring for _ in range(4)]
    let_in = sum(ring.take(0, 1_000_000) == 0.0 for ring in rings for _ in range(100))
    later = sum(ring.take(0, 2_000_000) == 0.0 for ring in rings for _ in range(100))
    assert (let_in, later) == (12, 8)


def test_secrets_are_compared_whole() -> None:
    assert same_secret(b"", b"")
    assert same_secret(b"abc", b"abc")
    for other in (b"abd", b"bbc", b"ab", b"abcd", b"\xe1bc"):
        assert not same_secret(b"abc", other)


# --- the file and its commands


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    where = ["--api-keys", str(file)]
    made = invoke("keys", "add", "one", *where)
    assert made.exit_code == 0, made.output
    text = made.stdout.strip()
    assert file.stat().st_mode & 0o777 & ~0o640 == 0
    assert text.split("_", 2)[2] not in file.read_text("utf-8")
    more = invoke("keys", "add", "two", *where, "--rate", "5", "--burst", "9", "--expires", "2030-01-01T00:00:00Z", "--json")
    assert json.loads(more.stdout)["key"] != text
    assert invoke("keys", "add", "one", *where).exit_code == 2
    assert invoke("keys", "add", "bad name", *where).exit_code == 2
    assert invoke("keys", "add", "three", *where, "--burst", "2").exit_code == 2
    assert invoke("keys", "add", "three", *where, "--rate", "-1").exit_code == 2
    listed = [json.loads(line) for line in invoke("keys", "list", *where, "--json").stdout.splitlines()]
    assert [(row["name"], row["rate_per_s"], row["burst"]) for row in listed] == [("one", None, None), ("two", 5.0, 9)]
    assert all("salt" not in row and "sha256" not in row for row in listed)
    assert "2030-01-01" in invoke("keys", "list", *where).stdout
    access = Access(file, 1)
    assert access.ring.row_of(f"Bearer {text}".encode()) == 0
    assert invoke("keys", "revoke", "one", *where).exit_code == 0
    assert invoke("keys", "revoke", "one", *where).exit_code == 2
    access.reread.look()
    assert access.ring.row_of(f"Bearer {text}".encode()) == UNKNOWN
    assert invoke("keys", "list").exit_code == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the file"),
        ("[]", "the file"),
        ('{"keys": [{"name": "a"}]}', "keys.0.id"),
        ('{"keys": [], "more": 1}', "more"),
        ('{"format": 2, "keys": []}', "format"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_without_what_stands_in_it(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(content, "utf-8")
    with pytest.raises(SettingsError, match=said):
        read_keys(file)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_keys(tmp_path / "none")
    key, _ = make_key("one")
    write_keys(file, (key, key))
    with pytest.raises(SettingsError, match="the same name"):
        read_keys(file)
