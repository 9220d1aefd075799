"""Batches over real sockets: what they answer is what the single path answers, whatever the client does to them."""

import asyncio
import gc
import io
import json
import os
import random
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from regionresolver import Resolver
from regionresolver.service.batch_answers import HELD_BYTES, MOST_PINGS
from regionresolver.service.batch_items import STEP_BYTES, LineSplitter, read_array
from regionresolver.service.problems import ProblemError
from regionresolver.settings import Settings
from tests.http_service import LOOPBACK, Service, parse_answer, running
from tests.serve_process import serve
from tests.worlds import city_database

PATH = "/v1/decisions/batch"
NDJSON = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}
LIMIT = 16 * 1024
CUBAN = b'{"serving":"36801"}'
# What is sent in thousands: so many denials would trip the breaker of the policy.
SPANIARD = b'{"serving":"21401"}'
CRIMEAN = b'{"serving":"25001","ip":"62.0.1.1"}'
HEAD = b"POST /v1/decisions/batch HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

ITEMS = [
    CUBAN,
    SPANIARD,
    CRIMEAN,
    b'{"id":"p","serving":{"mcc":"368","mnc":"01"},"lang":"es","new":[1,{"a":[{}]}]}',
    b' {"id" : "q" ,\t"sim":"368019876543210", "sku":7}  ',
    b'{"id":"brackets ]}[{ and \\" quotes \\\\","serving":"36801"}',
    b'{"ip":"2a02:20::1","first_activated_at":"2021-06-01T00:00:00Z","device_id":"h:9c1e"}',
    b'{"ip":"not an address","id":7}',
    b'{"id":"' + b"x" * 3000 + b'","ip":"84.0.1.1"}',
    b'{"id":"n","serving":36801}',
    b'{"id":"e"}',
    b"{}",
    b'{"serving":"36801","serving":"21401"}',
    b'{"serving":"36801","a":{"b":1,"b":2}}',
    b'{"serving":"36801","a":' + b"[" * 500 + b"]" * 500 + b"}",
    b'{"serving":"36801","a":' + b"[" * 2000 + b"]" * 2000 + b"}",
    b'{"serving":"36801","a":"\\ud800"}',
    b'{"serving":"36801","a":"\xff"}',
    b'{"serving":"36801","a":"\x00"}',
    b'{"serving":"36801","a":"' + b"x" * (LIMIT - 27) + b'"}',
    b'{"serving":"36801","a":"' + b"x" * LIMIT + b'"}',
    b'{"serving":"36801",}',
    b"{'serving':1}",
    b"[]",
    b'[{"serving":"36801"}]',
    b'"36801"',
    b"null",
    b"36801",
    b"nonsense",
    b"-",
]
"""Texts that an array can tell apart, most of them not fit to be a ping."""

LINES = [*ITEMS, b'{"serving":', b"}", b'"', b",", b"\xef\xbb\xbf" + CUBAN, b"\x00", b"a b", b"\x0b", b'{"serving":"36801"} {}']
"""Texts that a line can hold; some would break an array."""


@pytest_asyncio.fixture
async def client(service: Service) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(service.url, headers={"X-Request-Id": "same"}) as session:
        yield session


async def post(client: aiohttp.ClientSession, body: Any, headers: dict[str, str], query: str = "") -> tuple[int, bytes]:
    async with client.post(PATH + query, data=body, headers=headers) as response:
        return response.status, await response.read()


async def stream(client: aiohttp.ClientSession, body: Any, query: str = "", prefer: str = "") -> list[dict[str, Any]]:
    """Send a stream that is answered to its end; give the answers without the last line."""
    status, raw = await post(client, body, NDJSON | {"Prefer": prefer}, query)
    assert status == 200
    assert raw.endswith(b"\n")
    *answers, last = [json.loads(line) for line in raw.splitlines()]
    assert last["complete"] is True
    assert list(last["summary"]) == ["total", "allow", "deny", "review", "failed"]
    return [*answers, last["summary"]]


def array(items: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"


# --- an answer is the single path's


async def single(client: aiohttp.ClientSession, body: bytes, query: str) -> bytes:
    """What the single path answers; of a problem what a batch adds to it: the id in front."""
    async with client.post("/v1/decisions" + query, data=body, headers=JSON) as response:
        raw = await response.read()
    if response.status == 200:
        return raw
    try:
        document = orjson.loads(body)
        is_read = isinstance(document, dict) and orjson.loads(raw)["code"] != "DUPLICATE_KEY"
    except orjson.JSONDecodeError:
        is_read = False
    id_ = document.get("id") if is_read and len(body) <= LIMIT else None
    return b'{"id":' + orjson.dumps(id_ if isinstance(id_, str) else None) + b"," + raw[1:]


def generated(count: int) -> list[bytes]:
    chance = random.Random(6)
    plmns: list[object] = ["36801", "25034", "21401", "368-01", "", 36801, None, {"mcc": "250", "mnc": "33"}, {"mcc": 250}, []]
    addresses: list[object] = ["84.0.1.1", "62.0.1.1", "10.0.0.1", "2a02:20::1", "::ffff:84.0.1.1", "1.2.3.0/24", 7, None]
    pings = []
    for number in range(count):
        ping: dict[str, object] = {"id": chance.choice([f"p{number}", "é\u2028\n", 7, None])}
        choices = (("ip", addresses), ("serving", plmns), ("sim", plmns), ("lang", ["es", "xx", 1]), ("sku", ["A", []]))
        for name, values in choices:
            if chance.random() < 0.6:
                ping[name] = chance.choice(values)
        text = orjson.dumps(ping) if chance.random() < 0.5 else json.dumps(ping).encode()
        pings.append(text if chance.random() < 0.9 else text[: chance.randrange(1, len(text))] + b"}")
    return pings


@pytest.mark.parametrize("query", ["", "?strict=true", "?explain=reasons", "?explain=full&strict"])
async def test_every_answer_is_the_single_paths_byte_for_byte(client: aiohttp.ClientSession, query: str) -> None:
    lines = LINES + generated(150)
    expected = [await single(client, line, query) for line in lines]
    status, raw = await post(client, b"\n".join(lines), NDJSON, query)
    assert status == 200
    assert raw.split(b"\n")[:-2] == expected

    items = ITEMS + [line for line in generated(150) if line.count(b'"') % 2 == 0 and line.count(b"{") == line.count(b"}")]
    expected = [await single(client, item, query) for item in items]
    status, raw = await post(client, array(items), JSON, query)
    assert status == 200
    assert raw.startswith(b'{"results":[' + b",".join(expected) + b'],"summary":{"total":%d,' % len(items))


async def test_an_array_is_summed_up(client: aiohttp.ClientSession) -> None:
    async with client.post(PATH, data=array([CUBAN, SPANIARD, CRIMEAN, b"{}", b"1"]), headers=JSON) as response:
        document = await response.json()
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Content-Length"]
    assert [found.get("decision", found.get("code")) for found in document["results"]] == [
        "deny", "allow", "review", "NO_SIGNAL", "BODY_NOT_OBJECT",
    ]  # fmt: skip
    assert document["summary"] == {"total": 5, "allow": 1, "deny": 1, "review": 1, "failed": 2}
    assert (document["policy"], document["data"]) == (document["results"][0]["policy"], document["results"][0]["data"])
    assert list(document) == ["results", "summary", "policy", "data"]


@pytest.mark.parametrize("text", [b"[]", b" \r\n[\t] \n"])
async def test_an_empty_array(client: aiohttp.ClientSession, text: bytes) -> None:
    status, raw = await post(client, text, JSON)
    document = json.loads(raw)
    assert (status, document["results"], document["summary"]["total"]) == (200, [], 0)


@pytest.mark.parametrize(
    "text",
    [
        b"", b" ", b"{}", CUBAN, b"null", b'"[]"', b"]", b"[", b"[,]", b"[1,]", b"[,1]", b"[1 2]", b"[{} {}]", b"[{},{}",
        b"[{},{}]]", b"[[]", b'["]', b'["\\"]', b"[{}]x", b"[{}],", b"[{}][]", b"[{}\x00]", b"[{]", b"\xef\xbb\xbf[]",
        "[{}]".encode("utf-16"), b"[" * 100_000, b"[" + b" " * 100_000, b'["' + b"\\" * 100_000, b"[" + b"1" * 100_000,
        b'[{"a":' + b"[" * 60_000 + b"]" * 59_999 + b"}]", b"[{}" + b" " * 100_000 + b"1]",
    ],
)  # fmt: skip
async def test_what_is_no_array_is_refused_whole(client: aiohttp.ClientSession, text: bytes) -> None:
    status, raw = await post(client, text, JSON)
    assert (status, json.loads(raw)["code"]) == (400, "BODY_NOT_ARRAY")


async def test_an_array_may_hold_ten_thousand_pings(client: aiohttp.ClientSession) -> None:
    status, raw = await post(client, array([b"1"] * MOST_PINGS), JSON)
    assert (status, json.loads(raw)["summary"]["total"]) == (200, MOST_PINGS)
    status, raw = await post(client, array([b"1"] * (MOST_PINGS + 1)), JSON)
    assert (status, json.loads(raw)["code"]) == (422, "BATCH_TOO_LARGE")


async def test_an_array_has_a_limit_of_its_own(resolver: Resolver) -> None:
    settings = Settings(port=0, batch_body_limit_bytes=20_000)
    async with running(resolver, settings) as service, aiohttp.ClientSession(service.url) as client:
        exact = array([CUBAN]).ljust(20_000)
        assert (await post(client, exact, JSON))[0] == 200
        status, raw = await post(client, exact + b" ", JSON)
        assert (status, json.loads(raw)["code"]) == (413, "BODY_TOO_LARGE")
        assert len(await stream(client, (SPANIARD + b"\n") * 10_000)) == 10_001


async def test_a_long_answer_to_an_array_is_streamed(client: aiohttp.ClientSession) -> None:
    count = MOST_PINGS
    async with client.post(PATH + "?explain=full", data=array([SPANIARD] * count), headers=JSON) as response:
        raw = await response.read()
        assert response.headers["Transfer-Encoding"] == "chunked"
    assert len(raw) > HELD_BYTES
    assert len(json.loads(raw)["results"]) == count


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/vnd.pings+json"}, 200),
        ({"Content-Type": "application/json; charset=UTF-8"}, 200),
        ({}, 200),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/x-ndjson; charset=latin-1"}, 415),
        (JSON | {"Content-Encoding": "gzip"}, 415),
        (NDJSON | {"Content-Encoding": "gzip"}, 415),
    ],
)
async def test_media_types(service: Service, headers: dict[str, str], status: int) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    raw = f"POST {PATH} HTTP/1.1\r\nHost: a\r\n{lines}Content-Length: 2\r\nConnection: close\r\n\r\n[]"
    answer = parse_answer(await service.exchange(raw.encode()))
    assert answer.status == status
    assert status == 200 or answer.document["code"] == "MEDIA_TYPE"
    if headers.get("Content-Type") == "text/plain":
        assert answer.headers["accept"] == "application/json, application/x-ndjson"


@pytest.mark.parametrize("query", ["explain=all", "strict=maybe", "strict&strict"])
@pytest.mark.parametrize("headers", [JSON, NDJSON])
async def test_a_bad_parameter_refuses_the_batch(client: aiohttp.ClientSession, headers: dict[str, str], query: str) -> None:
    status, raw = await post(client, array([CUBAN]), headers, "?" + query)
    assert (status, json.loads(raw)["code"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        (["return=minimal"], True),
        (["respond-async, RETURN = Minimal ; x=1"], True),
        (["handling=lenient", "return=minimal"], True),
        (["return=representation, return=minimal"], False),
        (['x="a, return=minimal"'], False),
        (["returns=minimal"], False),
    ],
)
async def test_a_minimal_answer_says_no_allowed(client: aiohttp.ClientSession, prefer: list[str], *, applied: bool) -> None:
    items = [SPANIARD, CUBAN, SPANIARD, CRIMEAN, b"{}", SPANIARD]
    said = ["deny", "review", "NO_SIGNAL"] if applied else ["allow", "deny", "allow", "review", "NO_SIGNAL", "allow"]
    for headers, body in ((JSON, array(items)), (NDJSON, b"\n".join(items))):
        lines = [*headers.items(), *(("Prefer", value) for value in prefer)]
        async with client.post(PATH, data=body, headers=lines) as response:
            raw = await response.read()
            assert response.headers.get("Preference-Applied") == ("return=minimal" if applied else None)
        if headers is JSON:
            document = json.loads(raw)
            results, summary = document["results"], document["summary"]
        else:
            *results, last = [json.loads(line) for line in raw.splitlines()]
            summary = last["summary"]
        assert [found.get("decision", found.get("code")) for found in results] == said
        assert summary == {"total": 6, "allow": 3, "deny": 1, "review": 1, "failed": 1}
    status, raw = await post(client, array([SPANIARD]), JSON | {"Prefer": ", ".join(prefer)})
    assert (status, len(json.loads(raw)["results"])) == (200, 0 if applied else 1)


class Meddled:
    """A resolver that counts its decisions, and does something at one of them. Nothing is compiled for it."""

    engine = None

    def __init__(self, resolver: Resolver, at: int = -1, meddle: Any = None) -> None:
        self._resolver, self._at, self._meddle = resolver, at, meddle
        self.decisions = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._resolver, name)

    def decide(self, **arguments: Any) -> Any:
        self.decisions += 1
        if self.decisions == self._at:
            self._meddle()
        return self._resolver.decide(**arguments)


def answer_by(service: Service, resolver: Any) -> None:
    """Put a resolver into the place of the one that answers, with the documents that are there."""
    service.state.generation = replace(service.state.generation, resolver=resolver)


async def test_a_fault_of_ours_is_the_items_and_logged_once(
    resolver: Resolver, service: Service, client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Meddled):
        def decide(self, **arguments: Any) -> Any:
            if arguments.get("id") == "bad":
                raise RuntimeError("secret")
            return super().decide(**arguments)

    answer_by(service, Broken(resolver))
    bad = b'{"id":"bad","serving":"36801"}'
    found = await stream(client, b"\n".join([CUBAN, bad, bad, CUBAN]))
    assert [one.get("code") for one in found[:-1]] == [None, "INTERNAL", "INTERNAL", None]
    assert [one.get("id") for one in found[:-1]] == [None, "bad", "bad", None]
    assert found[-1]["failed"] == 2
    assert [record.getMessage() for record in caplog.records if record.name.startswith("regionresolver")] == ["unexpected_error"]
    assert "secret" not in caplog.text.replace("RuntimeError", "")


@pytest.fixture
def newer(tmp_path: Path) -> Iterator[Resolver]:
    with Resolver.open(db=city_database(tmp_path / "newer.mmdb")) as opened:
        yield opened


async def test_an_array_has_one_generation_and_a_stream_may_have_more(
    resolver: Resolver, newer: Resolver, service: Service, client: aiohttp.ClientSession
) -> None:
    def reload() -> None:
        answer_by(service, newer)

    answer_by(service, Meddled(resolver, 3, reload))
    document = json.loads((await post(client, array([CUBAN] * 5), JSON))[1])
    assert {found["data"] for found in document["results"]} | {document["data"]} == {resolver.generation}

    answer_by(service, resolver)

    async def body() -> AsyncIterator[bytes]:
        yield CUBAN + b"\n"
        await answered.wait()
        reload()
        yield CUBAN + b"\n"

    answered = asyncio.Event()
    async with client.post(PATH, data=body(), headers=NDJSON) as response:
        answers = [json.loads(await response.content.readline())]
        answered.set()
        answers += [json.loads(line) async for line in response.content]
    assert [found.get("data") for found in answers] == [resolver.generation, newer.generation, None]


# --- the loop and the client


@pytest.mark.parametrize(("headers", "glue"), [(JSON, array), (NDJSON, b"\n".join)])
async def test_others_have_their_turn_during_a_batch(client: aiohttp.ClientSession, headers: dict[str, str], glue: Any) -> None:
    longest_s = turns = 0.0

    async def turn() -> None:
        nonlocal longest_s, turns
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            longest_s, turns, last = max(longest_s, time.thread_time() - last), turns + 1, time.thread_time()

    body = glue([SPANIARD] * MOST_PINGS)
    turning = asyncio.create_task(turn())
    gc.disable()  # it would look through what all the tests have left
    try:
        status, _ = await post(client, body, headers)
    finally:
        gc.enable()
    turning.cancel()
    assert status == 200
    assert turns > 10
    assert longest_s < 0.05, "of the processor's time; a slice is half a millisecond, and the client is in this loop too"


async def test_a_client_that_goes_ends_the_work(resolver: Resolver, service: Service) -> None:
    body = array([SPANIARD] * MOST_PINGS)
    _, writer = await asyncio.open_connection(LOOPBACK, service.port)
    meddled = Meddled(resolver, 100, writer.transport.abort)
    answer_by(service, meddled)
    head = HEAD.replace(b"x-ndjson", b"json") + b"Content-Length: %d\r\n\r\n" % len(body)
    writer.write(head + body)
    await until(lambda: meddled.decisions >= 100)
    await until(lambda: service.state.page.in_flight == 0)
    assert meddled.decisions < MOST_PINGS / 2


async def until(condition: Any, patience_s: float = 5.0) -> None:
    async with asyncio.timeout(patience_s):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


# --- streams


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


END = b"0\r\n\r\n"


async def lines_of(reader: asyncio.StreamReader) -> list[bytes]:
    """Read a chunked answer to its end or its cut; give the head and its lines."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert b"Transfer-Encoding: chunked" in head
    body = bytearray()
    with suppress(asyncio.IncompleteReadError, ConnectionResetError):
        while size := int(await asyncio.wait_for(reader.readuntil(b"\r\n"), 10), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return [head, *bytes(body).splitlines(), b"the end of the answer"]
    return [head, *bytes(body).splitlines()]


@asynccontextmanager
async def connected(service: Service) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(LOOPBACK, service.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def test_a_line_is_answered_when_it_is_whole(service: Service) -> None:
    async with connected(service) as (reader, writer):
        writer.write(CHUNKED)
        for number, ping in enumerate([CUBAN, SPANIARD, b"{", CRIMEAN]):
            writer.write(chunk(ping[:3]))
            await asyncio.sleep(0.02)
            writer.write(chunk(ping[3:] + b"\n"))
            if number == 0:
                assert b" 200 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            size = int(await asyncio.wait_for(reader.readuntil(b"\r\n"), 5), 16)
            found = json.loads((await reader.readexactly(size + 2))[:-2])
            assert found.get("decision", found.get("code")) == ["deny", "allow", "BODY_NOT_JSON", "review"][number]
        writer.write(END)
        assert b'"complete":true' in await asyncio.wait_for(reader.readuntil(END), 5)


async def test_line_ends_and_empty_lines(client: aiohttp.ClientSession) -> None:
    body = b"\n\r\n" + CUBAN + b"\r\n \t\r\n\n" + SPANIARD + b"\n\n\n" + CRIMEAN
    found = await stream(client, body)
    assert [one["decision"] for one in found[:-1]] == ["deny", "allow", "review"]
    for empty in (b"", b"\n", b"\r\n \n\n"):
        assert await stream(client, empty) == [{"total": 0, "allow": 0, "deny": 0, "review": 0, "failed": 0}]


async def test_a_line_of_twenty_megabytes_is_one_failed_item(client: aiohttp.ClientSession) -> None:
    long = b'{"serving":"36801","x":"' + b"x" * 20_000_000 + b'"}'
    for body in (b"\n".join([CUBAN, long, CUBAN]), b"\n".join([CUBAN, CUBAN, long])):
        found = await stream(client, io.BytesIO(body))
        assert sorted(one.get("code", "") for one in found[:-1]) == ["", "", "BODY_TOO_LARGE"]
        assert found[-1] == {"total": 3, "allow": 0, "deny": 2, "review": 0, "failed": 1}


async def test_a_line_of_exactly_the_limit_is_taken(client: aiohttp.ClientSession) -> None:
    for size, codes in ((LIMIT, [None, None]), (LIMIT + 1, ["BODY_TOO_LARGE", None])):
        found = await stream(client, CUBAN.ljust(size) + b"\n" + CUBAN)
        assert [one.get("code") for one in found[:-1]] == codes


async def test_a_stream_is_answered_the_same_split_at_every_byte(service: Service) -> None:
    lines = b"\n".join([CUBAN, b"", b"{", b'{"id":"\xc3\xa9","serving":"21401"}\r', CRIMEAN])
    raw = HEAD + b"X-Request-Id: 1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(lines) + END
    async with connected(service) as (reader, writer):
        writer.write(raw)
        _, *whole = await lines_of(reader)
        assert len(whole) == 6
    for place in range(len(raw)):  # a stream that is answered while it comes ends its connection
        async with connected(service) as (reader, writer):
            writer.write(raw[:place])
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            writer.write(raw[place:])
            assert (await lines_of(reader))[1:] == whole, place
    async with connected(service) as (reader, writer):
        for byte in raw:
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await lines_of(reader))[1:] == whole


async def test_many_streams_at_once_keep_to_themselves(service: Service) -> None:
    async def one(client: aiohttp.ClientSession, name: str) -> None:
        async def body() -> AsyncIterator[bytes]:
            for number in range(100):
                yield b'{"id":"%s-%d","serving":"36801"}\n' % (name.encode(), number)
                if number % 10 == 0:
                    await asyncio.sleep(0)

        found = await stream(client, body())
        assert [answer["id"] for answer in found[:-1]] == [f"{name}-{number}" for number in range(100)]

    async with aiohttp.ClientSession(service.url) as client:
        await asyncio.gather(*(one(client, f"s{number}") for number in range(30)))


async def test_the_connection_lives_on_after_a_stream(service: Service) -> None:
    body = CUBAN + b"\n"
    raw = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    async with connected(service) as (reader, writer):
        for _ in range(3):
            writer.write(raw)
            assert len(await lines_of(reader)) == 4


async def test_a_client_of_http_1_0_sees_the_end_by_the_close(service: Service) -> None:
    body = CUBAN + b"\n"
    head = HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Connection: keep-alive\r\nContent-Length: %d\r\n\r\n" % len(body)
    head, _, lines = (await service.exchange(head + body)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close" in head
    assert b"Transfer-Encoding" not in head
    assert [json.loads(line).get("complete") for line in lines.splitlines()] == [None, True]


@pytest.mark.parametrize("kind", [b"x-ndjson", b"json"])
async def test_a_client_that_waits_to_be_asked_for_the_body(service: Service, kind: bytes) -> None:
    body = array([CUBAN]) + b"\n"
    head = HEAD.replace(b"x-ndjson", kind) + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with connected(service) as (reader, writer):
        writer.write(head)
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body[:-1])
        await asyncio.sleep(0.02)
        writer.write(body[-1:])
        answered = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert b" 200 " in answered
        assert b"Connection: close" not in answered
        await asyncio.wait_for(reader.readuntil(b'"summary"'), 5)
    answer = parse_answer(await service.exchange(head.replace(kind, b"gzip")))
    assert (answer.status, answer.headers["connection"]) == (415, "close")


@pytest_asyncio.fixture
async def impatient(resolver: Resolver) -> AsyncIterator[Service]:
    async with running(resolver, Settings(port=0, body_timeout_s=0.3)) as found:
        yield found


async def test_a_slow_writer_is_waited_for_between_its_bytes_only(impatient: Service) -> None:
    async with connected(impatient) as (reader, writer):
        writer.write(CHUNKED)
        for byte in CUBAN + b"\n":
            writer.write(chunk(bytes([byte])))
            await asyncio.sleep(0.03)
        head, answer, *rest = await lines_of(reader)
        assert b" 200 " in head
        assert b'"deny"' in answer
        assert rest == [], "the stream was cut: no summary, no last chunk"


@pytest.mark.parametrize("headers", [b"application/x-ndjson", b"application/json"])
async def test_a_writer_that_stops_before_anything_is_answered_gets_a_408(impatient: Service, headers: bytes) -> None:
    answer = parse_answer(await impatient.exchange(CHUNKED.replace(b"application/x-ndjson", headers) + chunk(b'[{"serving"')))
    assert (answer.status, answer.document["code"], answer.headers["connection"]) == (408, "REQUEST_TIMEOUT", "close")


@pytest.mark.parametrize("whole_line", [True, False])
async def test_malformed_framing(service: Service, *, whole_line: bool) -> None:
    async with connected(service) as (reader, writer):
        writer.write(CHUNKED + chunk(CUBAN + (b"\n" if whole_line else b"")))
        await asyncio.sleep(0.05)
        writer.write(b"ZZ\r\n")
        if whole_line:
            assert [b'"deny"' in line for line in (await lines_of(reader))[1:]] == [True]
        else:
            answer = parse_answer(await asyncio.wait_for(reader.read(), 5))
            assert (answer.status, answer.document["code"], answer.headers["connection"]) == (400, "BAD_REQUEST", "close")


async def test_a_stream_that_its_client_cuts_is_no_error(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    for rest in (b"", CUBAN[:5]):
        async with connected(service) as (reader, writer):
            writer.write(CHUNKED + chunk(CUBAN + b"\n" + rest))
            await asyncio.wait_for(reader.readuntil(b"deny"), 5)
            writer.transport.abort()
        await until(lambda: service.state.page.in_flight == 0)
    assert [record.getMessage() for record in caplog.records if record.levelname in {"WARNING", "ERROR"}] == []


LONG = b'{"id":"%s","serving":"21401"}\n' % (b"x" * 200)


def send_until_it_blocks(client: socket.socket, data: bytes, patience: int = 1) -> int:
    """Send again and again what are lines of one length; give the bytes sent when nothing was taken `patience` times."""
    sent = 0
    while patience:
        try:
            sent += client.send(data[sent % len(LONG) :])
        except TimeoutError:
            patience -= 1
    return sent


def connect(port: int) -> socket.socket:
    """Connect with small buffers and half a second of patience."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.settimeout(0.5)
    client.connect((LOOPBACK, port))
    return client


async def test_a_client_that_does_not_read_is_not_read_from(service: Service) -> None:
    with closing(connect(service.port)) as client:
        client.sendall(HEAD + b"Content-Length: 1000000000000\r\n\r\n")
        sent = await asyncio.to_thread(send_until_it_blocks, client, LONG * 1000)
        assert sent < 30_000_000, "what the kernel's buffers and ours hold"
        assert service.state.page.in_flight == 1
        received = b""
        while received.count(b"allow") < 10_000:
            received += await asyncio.to_thread(client.recv, 1_000_000)
    await until(lambda: service.state.page.in_flight == 0)


async def test_a_client_that_never_reads_is_cut(impatient: Service) -> None:
    with closing(connect(impatient.port)) as client:
        client.sendall(HEAD + b"Content-Length: 1000000000000\r\n\r\n")
        with pytest.raises(ConnectionError):
            await asyncio.to_thread(send_until_it_blocks, client, LONG * 1000, patience=20)
        assert impatient.state.page.in_flight == 0


@pytest.mark.parametrize("client_ends", [True, False])
async def test_shutting_down_finishes_a_stream_or_cuts_it(resolver: Resolver, *, client_ends: bool) -> None:
    async with running(resolver, Settings(port=0, shutdown_timeout_s=0.3)) as service:
        reader, writer = await asyncio.open_connection(LOOPBACK, service.port)
        writer.write(CHUNKED + chunk(CUBAN + b"\n"))
        await until(lambda: service.state.page.in_flight == 1)
        if client_ends:
            asyncio.get_running_loop().call_later(0.1, writer.write, chunk(SPANIARD + b"\n") + END)
    found = await lines_of(reader)
    writer.close()
    last = b"".join(found[2:])
    assert (b'"complete":true' in last, b"the end of the answer" in last) == (client_ends, client_ends)


STREAM_BYTES = int(os.environ.get("REGIONRESOLVER_STREAM_BYTES", "50_000_000"))
PADDED = b'{"serving":"21401","padding":"%s"}\n' % (b"x" * 8000)


def high_water_bytes(pid: int) -> int:
    match = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text("ascii"), re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1024


@pytest.mark.parametrize("in_lane", [True, False])
async def test_a_stream_of_any_size_takes_little_memory(*, in_lane: bool) -> None:
    """With REGIONRESOLVER_STREAM_BYTES=1_000_000_000 (`make soak-stream`) a gigabyte; chunked bodies go to aiohttp."""
    block = PADDED * 20 + b"y" * 300_000 + b"\n" + SPANIARD + b"\n"

    async def body() -> AsyncIterator[bytes]:
        for _ in range(STREAM_BYTES // len(block)):
            yield block

    length = {"Content-Length": str(STREAM_BYTES // len(block) * len(block))} if in_lane else {}
    with serve("--workers", "1") as running:
        (pid,) = running.workers()
        async with aiohttp.ClientSession(running.urls[0]) as client:
            await stream(client, CUBAN)
            before = high_water_bytes(pid)
            last, count = b"", 0
            async with client.post(PATH, data=body(), headers=NDJSON | length, timeout=aiohttp.ClientTimeout()) as response:
                async for line in response.content:
                    last, count = line, count + 1
            grown = high_water_bytes(pid) - before
            async with client.get("/readyz") as response:
                lane = (await response.json())["lane"]
    assert lane["answered"]["batch"] == in_lane
    summary = json.loads(last)["summary"]
    assert count == summary["total"] + 1 == STREAM_BYTES // len(block) * 22 + 1
    assert (summary["allow"], summary["failed"]) == (summary["total"] // 22 * 21, summary["total"] // 22)
    assert grown < 16_000_000, "the promise is 64 MB"


async def test_the_documented_stream() -> None:
    text = (Path(__file__).parents[1] / "docs" / "http.md").read_text("utf-8")
    body, shown = (block.encode() for block in re.findall(r"^```ndjson\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    with Resolver.open() as opened:
        async with running(opened) as service, aiohttp.ClientSession(service.url) as client:
            headers = NDJSON | {"Prefer": "return=minimal", "X-Request-Id": "7f3a"}
            _, raw = await post(client, body, headers)
    assert raw.replace(b'"data":"%s"' % opened.generation.encode(), b'"data":"g1"') == shown


# --- where pings begin and end


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(['"', "\\", "]", "},{", "a" * STEP_BYTES]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def elements_of(body: bytes) -> list[bytes]:
    """Read an array; give its elements as they are written."""
    walk = read_array(body, LIMIT, MOST_PINGS)
    try:
        while True:
            assert next(walk) == b""
    except StopIteration as end:
        return [body[slice(*span)] for span in end.value]


@given(st.lists(VALUES, max_size=6), st.sampled_from(["", " ", "\r\n\t ", " " * (STEP_BYTES + 1)]), st.booleans())
def test_the_elements_of_an_array_are_found(values: list[object], blanks: str, ascii: bool) -> None:  # noqa: A002
    texts = [json.dumps(value, ensure_ascii=ascii, indent=len(blanks) % 3 or None).encode() for value in values]
    edge = blanks.encode()
    body = edge + b"[" + edge + (edge + b"," + edge).join(texts) + edge + b"]" + edge
    assert elements_of(body) == texts


@given(st.text('[]{}",\\1 a:', max_size=60).map(str.encode))
def test_an_array_that_json_knows_is_never_refused_or_cut_elsewhere(body: bytes) -> None:
    try:
        values = json.loads(body)
    except ValueError:
        values = None
    try:
        found = elements_of(body)
    except ProblemError:
        assert not isinstance(values, list)
        return
    if values is not None:
        assert [json.loads(text) for text in found] == values


def test_a_hostile_array_is_walked_in_steps() -> None:
    for body in (b"[" * 200_000, b'["' + b"\\" * 200_000, b"[[" + b"[]" * 100_000, b"[" + b" " * 200_000):
        walk, steps = read_array(body, LIMIT, MOST_PINGS), 0
        with suppress(ProblemError):
            for _ in walk:
                steps += 1
        assert steps >= 10


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_lines_are_the_same_however_they_come(pieces: list[bytes]) -> None:
    splitter = LineSplitter(16)
    found = []
    for piece in pieces:
        *ended, begun = piece.split(b"\n")
        found += [splitter.end_line(line) for line in ended]
        splitter.keep(begun)
    found.append(splitter.end_line(b""))
    assert found == [line if len(line) <= 16 else None for line in b"".join(pieces).split(b"\n")]
