"""The lane: what it accepts every parser reads alike, and both ways of an answer give the same bytes."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import random
import re
import socket
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import orjson
import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from _fastpath.lane import REASON_WORDS, Lane, is_vetted, scan_head
from _fastpath.texts import Texts
from regionresolver import Resolver
from regionresolver.resolver.documents import decision_document
from regionresolver.service import logs, protocol
from regionresolver.service.connection import Connection
from regionresolver.service.guard import fault_of
from regionresolver.service.problems import MAX_HEAD_BYTES
from regionresolver.service.protocol import HELD_BYTES_MAX, Front, Memory, Place, untested
from regionresolver.service.request_id import loggable
from regionresolver.settings import Settings
from tests.fuzz import differential, fuzz_lane
from tests.http_service import LOOPBACK, Answer, Service, parse_answer, running
from tests.paths import SHARED
from tests.reference.http import httptools_messages
from tests.vectors import vectors
from tests.worlds import city_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from aiohttp import web

ID = b"X-Request-Id: the-id\r\n"
GET = b"GET /v1/resolve?ip=84.0.1.1 HTTP/1.1\r\nHost: a\r\n" + ID + b"\r\n"
ODD = b"GET /version HTTP/1.1\r\nHost: a\r\n" + ID + b"\r\n"
LAST = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + ID + b"\r\n"
FRONT_CASES = int(os.environ.get("REGIONRESOLVER_FRONT_CASES", "150"))


def post(body: bytes, lines: bytes = b"") -> bytes:
    return b"POST /v1/decisions HTTP/1.1\r\nHost: a\r\n" + ID + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body


POST = post(b'{"id":"p","serving":"36801"}')


# --- the scanner


@pytest.mark.parametrize(
    "lines",
    [
        b"Host: api.example.com\r\n",
        b"host:a\r\n",
        b"HOST: \t 127.0.0.1:8080 \t\r\n",
        b"Host: [2a02:10::1]:80\r\n",
        b"Host: a\r\nX-Anything: \x21 \t ~\r\nEmpty:\r\n",
        b"Host: a\r\nConnection: Keep-Alive\r\n",
        b"Host: a\r\nX-Request-Id: " + b"x" * 128 + b"\r\n",
        b"Host: a\r\nContent-Type: text/plain\r\n",
        b"Host: a\r\n" + b"X: y\r\n" * 62,
    ],
)
def test_a_canonical_get(lines: bytes) -> None:
    raw = b"GET /v1/resolve?ip=84.0.1.1 HTTP/1.1\r\n" + lines + b"\r\n"
    assert scan_head(raw)[:6] == ("canonical", "", "resolve", len(raw), 0, b"ip=84.0.1.1")
    fuzz_lane.one(raw)


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"Content-Type: application/json\r\n",
        b"Content-Type: Application/JSON;charset=UTF-8\r\n",
        b"Content-Type: application/json; charset=utf-8\r\n",
    ],
)
def test_a_canonical_post(lines: bytes) -> None:
    raw = post(b"{}", lines)
    assert scan_head(raw) == ("canonical", "", "decisions", len(raw) - 2, 2, None, b"the-id")
    fuzz_lane.one(raw)


@pytest.mark.parametrize(
    ("raw", "outcome", "reason"),
    [
        (b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", "odd", "other_path"),
        (b"HEAD /v1/resolve?ip=1 HTTP/1.1\r\nHost: a\r\n\r\n", "odd", "other_path"),
        (b"GET http://a/v1/resolve?ip=1 HTTP/1.1\r\nHost: a\r\n\r\n", "odd", "other_path"),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "odd", "other_path"),
        (GET.replace(b"Host: a\r\n", b""), "odd", "host"),
        (GET.replace(b"Host: a", b"Host: a\r\nHost: a"), "odd", "host"),
        (GET.replace(b"Host: a", b"Host:"), "odd", "host"),
        (GET.replace(b"Host: a", b"Host: a,b"), "odd", "host"),
        (GET.replace(b"Host: a", b"Host: u@a"), "odd", "host"),
        (GET.replace(b"Host: a", b"Host: a:"), "odd", "host"),
        (GET.replace(b"Host: a", b"Host: a:123456"), "odd", "host"),
        (GET.replace(b"Host: a", b"Host: []"), "odd", "host"),
        (GET.replace(b"Host: a", b"Host: [::1"), "odd", "host"),
        (GET.replace(b"Host: a", b"Host: a\r\nConnection: close"), "odd", "connection"),
        (GET.replace(ID, b"X-Request-Id: a b\r\n"), "odd", "header"),
        (GET.replace(ID, b"X-Request-Id:\r\n"), "odd", "header"),
        (GET.replace(ID, ID + ID), "odd", "header"),
        (GET.replace(ID, b"X-Request-Id: " + b"x" * 129 + b"\r\n"), "odd", "header"),
        (GET.replace(ID, b"X_Y: a\r\n"), "odd", "header"),
        (GET.replace(ID, b"User-Agent: a\r\nuser-agent: a\r\n"), "odd", "header"),
        (GET.replace(ID, b"Content-Type: text/plain\r\nContent-Type: text/plain\r\n"), "odd", "header"),
        *((GET.replace(ID, name + b": 1\r\n"), "odd", "header") for name in (
            b"Content-Location", b"Content-Range", b"ETag", b"Max-Forwards", b"Server", b"Trailer",
        )),
        (GET.replace(ID, b"Content-Length: 0\r\n"), "odd", "length"),
        (post(b"{}", b"Content-Type: text/plain\r\n"), "odd", "header"),
        (post(b"{}", b"Content-Type: application/json; charset=latin1\r\n"), "odd", "header"),
        (post(b"{}", b"Content-Type: application/json\r\nContent-Type: application/json\r\n"), "odd", "header"),
        (post(b"{}", b"Content-Encoding: identity\r\n"), "odd", "header"),
        (b"POST /v1/decisions HTTP/1.1\r\nHost: a\r\n\r\n", "odd", "length"),
        (b"\r\n" + GET, "foreign", "framing"),
        (b"\x16\x03\x01\x02\x00", "foreign", "framing"),
        (b"get /v1/resolve?ip=1 HTTP/1.1\r\n", "foreign", "framing"),
        (b"GET  /v1/resolve?ip=1 HTTP/1.1\r\n", "foreign", "framing"),
        (b"GET /v1/resolve?ip=1 HTTP/1.0\r\n", "foreign", "framing"),
        (b"GET /v1/resolve?ip=1 HTTP/1.1\n", "foreign", "framing"),
        (b"GET /v1/resolve?ip=1 HTTP/1.1\r\r", "foreign", "framing"),
        (b"GET /v1/resolve?ip=\xc3\xa9", "foreign", "framing"),
        (b"GET /v1/resolve?ip=1\r\n", "foreign", "framing"),
        (b"CONNECT a:80 HTTP/1.1\r\n", "foreign", "framing"),
        (b"LONGERTHANANYMETHOD", "foreign", "framing"),
        (GET.replace(ID, b"Transfer-Encoding: chunked\r\n"), "foreign", "framing"),
        (GET.replace(ID, b"Transfer-Encoding:\r\n"), "foreign", "framing"),
        (GET.replace(ID, b"Expect: 100-continue\r\n"), "foreign", "framing"),
        (GET.replace(ID, b"Upgrade: websocket\r\n"), "foreign", "framing"),
        (GET.replace(ID, b"Connection: upgrade\r\n"), "foreign", "framing"),
        (GET.replace(ID, b"Connection: keep-alive, close\r\n"), "foreign", "framing"),
        (GET.replace(ID, b"Proxy-Connection: close\r\n"), "foreign", "framing"),
        (GET.replace(ID, b"Content-Length: 1\r\nContent-Length: 1\r\n"), "foreign", "framing"),
        *((GET.replace(ID, b"Content-Length: " + length + b"\r\n"), "foreign", "framing") for length in (
            b"", b"+1", b"-1", b"01", b"1,1", b"1 1", b"0x1", b"1_0", b"10000000000000000000", b"9223372036854775807", b"\xb2",
        )),
        (GET.replace(ID, b" folded\r\n"), "foreign", "framing"),
        (GET.replace(ID, b"X : a\r\n"), "foreign", "framing"),
        (GET.replace(ID, b": a\r\n"), "foreign", "framing"),
        (GET.replace(ID, b"no colon\r\n"), "foreign", "framing"),
        (GET.replace(ID, b"X: \x00\r\n"), "foreign", "framing"),
        (GET.replace(ID, b"X: \x7f\r\n"), "foreign", "framing"),
        (GET.replace(ID, b"X: \xe9\r\n"), "foreign", "framing"),
        (GET.replace(ID, b"X: a\rb\r\n"), "foreign", "framing"),
        (GET.replace(ID, b"X: a\n"), "foreign", "framing"),
        (GET.replace(ID, b"X: y\r\n" * 64), "foreign", "limit"),
        (GET.replace(ID, b"X: " + b"y" * 8192 + b"\r\n"), "foreign", "limit"),
    ],
)  # fmt: skip
def test_what_the_lane_leaves(raw: bytes, outcome: str, reason: str) -> None:
    assert scan_head(raw)[:2] == (outcome, reason)
    fuzz_lane.one(raw)


def test_every_beginning_of_a_request_is_more_to_come() -> None:
    for raw in (GET, POST, ODD):
        head = raw.index(b"\r\n\r\n") + 4
        assert {scan_head(raw[:end])[0] for end in range(head)} == {"more"}
        assert scan_head(raw[:head])[0] != "more"


def test_a_beginning_that_never_ends_is_refused_at_the_limit() -> None:
    assert scan_head(b"GET /" + b"x" * 8186)[0] == "more"
    assert scan_head(b"GET /" + b"x" * 8187)[:2] == ("foreign", "limit")


def test_made_requests_are_the_same_to_h11_and_llhttp() -> None:
    """In short; `make fuzz-http` compares five million."""
    outcomes: Counter[str] = Counter()
    for block in range(6):
        outcomes += differential.compare_block(block, h11_every=16)  # it takes ten times as long as llhttp
    assert differential.is_balanced(outcomes)
    assert outcomes.total() == 60_000


def test_the_guard_finds_nothing_in_what_is_vetted() -> None:
    rng = random.Random(7)
    counts = dict.fromkeys((True, False), 0)
    for _ in range(4000):
        content = fuzz_lane.mutated(fuzz_lane.made(rng), rng)
        _, _, _, head_bytes, body_bytes, *_ = scan_head(content)
        messages = httptools_messages(content[: head_bytes + body_bytes]) if head_bytes else None
        if not messages:
            continue
        (message,) = messages
        headers = CIMultiDict((name.decode("latin1"), value.strip(b" \t").decode("latin1")) for name, value in message.headers)
        request = make_mocked_request(message.method.decode(), message.target.decode("latin1"), headers)
        counts[is_vetted(content)] += 1
        assert not is_vetted(content) or fault_of(request) is None, content
        assert head_bytes <= MAX_HEAD_BYTES
    assert min(counts.values()) > 20, counts


# --- both ways

_CHANGING = re.compile(rb"(?<=Date: )[^\r]+|(?<=X-Request-Id: )[0-9a-f]{32}(?=\r)|(?<=\"request_id\":\")[0-9a-f]{32}(?=\")")

PINGS = [
    b'{"ip":"84.0.1.1"}', b'{"ip":"62.0.1.1","serving":"25001"}', b'{"ip":"10.0.0.1"}', b'{"ip":"93.0.0.1"}',
    b'{"ip":"x","serving":"y","sim":"z"}', b'{"serving":"36801","lang":"es","id":"ping-7f3a"}',
    b'{"serving":"36801","lang":"es-MX"}', b'{"serving":"36801","lang":"xx"}', b'{"serving":"36801","lang":""}',
    b'{"serving":"36801","lang":"' + b"x" * 36 + b'"}', b'{"serving":"25034"}', b'{"sim":"368019876543210"}',
    b'{"serving":{"mcc":"368","mnc":"01"},"sim":"21401"}', b'{"serving":"00101"}', b'{"serving":"36801","sku":"M2101K7AG"}',
    b'{"serving":"36801","first_activated_at":"2020-01-01T00:00:00Z","sold_in":"CU","device_id":"h:1"}',
    b'{"serving":"36801","first_activated_at":"bad"}', b'{"serving":"36801","id":7}', b'{"serving":36801}', b"{}", b"[]", b"",
    b"{", b'{"ip":"84.0.1.1","ip":"84.0.1.1"}', b'{"ip":"84.0.1.1","new":[1,{"a":2}]}', b'{"ip":"84.0.1.1","id":"\xc3\xa9\\n"}',
]  # fmt: skip
QUERIES = [
    b"ip=84.0.1.1", b"serving=36801&sim=36801&ip=84.0.1.1", b"ip=2a02%3A20%3A%3A1", b"ip=::ffff:84.0.1.1", b"sim=368+01",
    b"ip=nonsense", b"ip=", b"", b"ip=1&ip=2", b"ip=84.0.1.1&strict", b"ip=bad&strict", b"ip=84.0.1.1&explain=full",
    b"ip=84.0.1.1&unknown=1", b"ip=62.0.1.1&serving=25001", b"serving=25099&ip=80.0.1.1", b"serving=34020",
]  # fmt: skip
OTHERS = [
    ODD, GET.replace(ID, b""), POST.replace(b" HTTP", b"?strict HTTP"), ODD.replace(b"GET", b"HEAD"),
    ODD.replace(b"version", b"nope"), post(b"{}", b"Content-Type: text/plain\r\n"), GET.replace(b"GET", b"DELETE"),
    ODD.replace(ID, b"Content-Length: 3\r\n") + b"abc", POST.replace(b"decisions", b"resolve"),
    GET.replace(ID, b"X-Request-Id: a b\r\n"), GET.replace(b"Host: a", b"Host: a\r\nIf-None-Match: *\r\nAccept: text/html"),
]  # fmt: skip
REQUESTS = [
    *map(post, PINGS), *(b"GET /v1/resolve?" + query + b" HTTP/1.1\r\nHost: a\r\n" + ID + b"\r\n" for query in QUERIES), *OTHERS,
]  # fmt: skip
"""Requests that leave the connection open, of the fast paths and others; each gets an id of its own."""
REQUESTS = [request.replace(b"the-id", b"id-%d" % number) for number, request in enumerate(REQUESTS)]


@pytest.fixture
async def pair(resolver: Resolver) -> AsyncIterator[tuple[Service, Service]]:
    """A service with the lane, and one on plain aiohttp, of one generation."""
    async with running(resolver, Settings(port=0)) as with_lane, running(resolver, Settings(port=0, lane=False)) as without:
        assert with_lane.state.lane()["on"] is True
        assert without.state.lane() == {"on": False, "why": "the setting lane is false"}
        yield with_lane, without


def unchanging(raw: bytes) -> bytes:
    """Leave out what differs from answer to answer: dates, and the ids that the service made."""
    return _CHANGING.sub(b"", raw)


async def in_lane(service: Service, segments: Iterable[bytes]) -> bytes:
    return unchanging(await protocol.exchange(service.fronts.connect(), segments))


async def in_aiohttp(service: Service, segments: Iterable[bytes]) -> bytes:
    fronts = service.fronts
    return unchanging(await protocol.exchange(Connection(fronts.server, fronts.settings, fronts.loop), segments))


def answered(service: Service) -> int:
    counts = service.fronts.lane.counts()[0]
    return sum(counts.values())


async def test_both_ways_give_the_same_bytes(pair: tuple[Service, Service]) -> None:
    with_lane, without = pair
    for request in REQUESTS:
        assert await in_lane(with_lane, [request, LAST]) == await in_aiohttp(without, [request, LAST]), request
    assert answered(with_lane) > 25


async def test_every_segmentation_gives_the_same_bytes(service: Service) -> None:
    for request in REQUESTS:
        whole = at_once(service, [request])
        for cut in range(1, len(request)):
            assert at_once(service, [request[:cut], request[cut:]]) == whole, (request, cut)
        if whole:
            continue
        whole = await in_lane(service, [request + LAST])
        for cut in range(1, len(request), 3):
            assert await in_lane(service, [request[:cut], request[cut:] + LAST]) == whole, (request, cut)


def at_once(service: Service, segments: Iterable[bytes]) -> bytes:
    """Give what is written before the loop turns: what the lane answers."""
    front, transport = in_memory(service)
    for segment in segments:
        front.data_received(segment)
    return unchanging(bytes(transport.written))


async def test_byte_by_byte_gives_the_same_bytes(service: Service) -> None:
    for request in REQUESTS:
        raw = request + request + LAST
        before = answered(service)
        whole = await in_lane(service, [raw])
        between = answered(service)
        assert await in_lane(service, [raw[at : at + 1] for at in range(len(raw))]) == whole, raw
        assert answered(service) - between == between - before


async def test_pipelined_requests_are_answered_in_their_order(pair: tuple[Service, Service]) -> None:
    with_lane, without = pair
    last = await in_aiohttp(without, [LAST])
    alone = {request: (await in_aiohttp(without, [request, LAST])).removesuffix(last) for request in REQUESTS}
    rng = random.Random(4)
    for _ in range(20):
        order = rng.sample(REQUESTS, len(REQUESTS))
        raw = b"".join(order) + LAST
        cuts = sorted(rng.randrange(len(raw)) for _ in range(rng.randrange(12)))
        pieces = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
        assert await in_lane(with_lane, pieces) == b"".join(alone[request] for request in order) + last


async def test_what_is_answered_depends_on_nothing_that_was_asked_before(service: Service) -> None:
    """More sets of ids than the lane keeps texts for: none is answered with the text of another."""
    resolver = service.state.resolver
    front, transport = in_memory(service)
    rng = random.Random(2)
    composed = service.fronts.lane.texts.composed
    for _ in range(6000):
        lang, ip = f"l{rng.randrange(9000)}", f"{rng.choice((84, 62, 46, 80, 10))}.0.1.1"
        transport.written.clear()
        front.data_received(post(orjson.dumps({"ip": ip, "serving": "36801", "lang": lang})))
        document = parse_answer(bytes(transport.written)).document
        expected = decision_document(resolver.decide(ip=ip, serving="36801", lang=lang))
        assert document == orjson.loads(orjson.dumps(expected))
    assert service.fronts.lane.texts.composed - composed > 4096


OVERRIDES = """
[[networks]]
id = "lab"
network = "10.1.0.0/16"
region = "CU"
owner = "activation@example.com"
reason = "ticket 17"
expires = "never"

[[plmns]]
id = "old"
plmn = "214-07"
region = "CU"
owner = "activation@example.com"
reason = "ticket 18"
expires = 2020-01-01
"""


async def test_overrides_hold_in_the_lane_and_are_counted(tmp_path: Path) -> None:
    (tmp_path / "catalogue.toml").write_text(OVERRIDES)
    database = city_database(tmp_path / "city.mmdb")
    with Resolver.open(db=database, catalogue=tmp_path / "catalogue.toml") as resolver:
        async with running(resolver) as service, running(resolver, Settings(port=0, lane=False)) as without:
            for ping in ({"ip": "10.1.2.3"}, {"serving": "21407"}, {"ip": "10.1.2.3", "serving": "21407"}, {"ip": "10.2.2.3"}):
                request = post(orjson.dumps(ping)) + LAST
                assert await in_lane(service, [request]) == await in_aiohttp(without, [request])
            hits = {found.override.id: found.hits for found in resolver.overrides}
            assert hits == {"lab": 4, "old": 0}


LIFTED = """
[policy]
name = "lifted"
version = 1

[[rules]]
id = "cuba"
when = {{ region = ["CU"] }}
effect = "deny"
reason = "REGION_NOT_PERMITTED"
effective = {{ from = 2021-08-31T00:00:00Z, until = {until} }}

[messages.REGION_NOT_PERMITTED]
en = "Not here."
"""


async def test_the_calendar_of_the_policy_holds_in_the_lane(tmp_path: Path) -> None:
    """Texts are composed anew for each table of the policy: what all its answers carry is no part of the ids."""
    until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
    (tmp_path / "policy.toml").write_text(LIFTED.format(until=until.isoformat()))
    other = post(b'{"serving":"21401"}')
    with Resolver.open(db=city_database(tmp_path / "city.mmdb"), policy=tmp_path / "policy.toml") as resolver:
        async with running(resolver) as service, running(resolver, Settings(port=0, lane=False)) as without:
            decisions = []
            for wait_s in (0.0, 0.0, 1.05, 0.0):
                await asyncio.sleep(wait_s)
                raw = POST + other + LAST
                found = await in_lane(service, [raw])
                assert found == await in_aiohttp(without, [raw])
                decisions.append(re.findall(rb'"decision":"(\w+)"', found))
            assert decisions == [[b"deny", b"allow"], [b"deny", b"allow"], [b"allow", b"allow"], [b"allow", b"allow"]]
            assert service.fronts.lane.texts.composed == 4


async def test_the_breaker_counts_the_decisions_of_the_lane(tmp_path: Path) -> None:
    # A resolver of its own: the shared one has denied so much by now that its breaker may have tripped.
    with Resolver.open(db=city_database(tmp_path / "city.mmdb")) as resolver:
        async with running(resolver) as service:
            decided, denied = resolver.breaker._totals()
            await in_lane(service, [POST + post(b'{"serving":"21401"}') + GET + LAST])
            assert answered(service) == 3
            assert resolver.breaker._totals() == (decided + 2, denied + 1)
            # The self-test at the start asked too, but it was no phone.
            resolver.breaker.check(dt.datetime.now(dt.UTC))
            assert (resolver.breaker.decided, resolver.breaker.denied) == (2, 1)


async def test_a_fault_in_composing_is_answered_by_the_slow_path(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise RuntimeError

    for compose in (broken, lambda *_: b"{}", lambda *_: b'{"id":null' + b" " * 20_000 + b"}"):
        lane = Lane(Texts(service.state.resolver.engine, compose), b"\x01" * 32, 16_384)
        monkeypatch.setattr(service.fronts, "lane", lane)
        assert parse_answer(await in_lane(service, [GET, LAST])).document["region"] == "CU"
        assert lane.counts()[1]["fault"] == 1


def test_a_lane_needs_a_seed_and_a_date(resolver: Resolver) -> None:
    standard_input = os.fstat(0)
    texts = Texts(resolver.engine, protocol.compose)
    for seed in (b"", b"\0" * 32, b"x" * 31):
        with pytest.raises(ValueError, match="seed"):
            Lane(texts, seed, 16_384)
    with pytest.raises(ValueError, match="29 bytes"):
        Lane(texts, b"x" * 32, 16_384).set_date(b"today")
    assert os.fstat(0) == standard_input, "a lane that was refused closed a descriptor that was not its own"


async def test_request_ids_are_made_and_differ(service: Service) -> None:
    raw = await protocol.exchange(service.fronts.connect(), [GET.replace(ID, b"") * 500, LAST])
    ids = re.findall(rb"X-Request-Id: ([0-9a-f]{32})\r\n", raw)
    assert len(set(ids)) == 500


# --- vectors


@pytest.mark.skipif(SHARED is None, reason="the public HTTP vectors are not here")
async def test_public_vectors_give_the_same_answers_both_ways(pair: tuple[Service, Service]) -> None:
    with_lane, without = pair
    last = await in_aiohttp(without, [LAST])
    different = []
    for vector in vectors():
        # A head is judged when it is whole, or no longer plain; aiohttp judges some that still lack the end of a line.
        raw = vector + b"\r\n\r\n" if scan_head(vector)[0] == "more" else vector
        found = await settled(with_lane, raw, lane=True)
        assert found.removesuffix(last).count(b"HTTP/1.1 ") <= 2 + raw.count(b"HTTP/"), "a double answer"
        # aiohttp drops the answers of a segment that also holds a bad request, and byte by byte it does not.
        if found != await settled(without, raw, lane=False) and found != await settled(without, raw, lane=False, pieces=True):
            different.append((raw, found))
    assert different == []


async def settled(service: Service, raw: bytes, *, lane: bool, pieces: bool = False) -> bytes:
    """The same as `written`, without what changes."""
    return unchanging(await written(service, raw, lane=lane, pieces=pieces))


async def written(service: Service, raw: bytes, *, lane: bool, pieces: bool = False) -> bytes:
    """Send bytes that may be no whole request; give what is written when the loop has nothing more to do for them."""
    fronts = service.fronts
    connection = fronts.connect() if lane else Connection(fronts.server, fronts.settings, fronts.loop)
    transport = Memory(connection)
    connection.connection_made(transport)
    for segment in [raw[at : at + 1] for at in range(len(raw))] if pieces else [raw]:
        connection.data_received(segment)
    for _ in range(30):
        await asyncio.sleep(0)
    transport.close()
    await asyncio.sleep(0)
    return bytes(transport.written)


async def test_mutated_pipelines_give_the_same_answers_both_ways(pair: tuple[Service, Service]) -> None:
    """The whole front against plain aiohttp, on a few requests with a few bytes changed, in random pieces."""
    with_lane, without = pair
    rng = random.Random(20261127)
    answers = compared = 0
    for _ in range(FRONT_CASES):
        requests = [GET, POST, ODD, *rng.sample(REQUESTS, 3), fuzz_lane.made(rng)]
        raw = fuzz_lane.mutated(b"".join(rng.choices(requests, k=rng.randrange(1, 4))), rng)
        if scan_head(raw)[0] == "more":
            raw += b"\r\n\r\n"
        expected, is_refused = before_a_refusal(await settled(without, raw, lane=False, pieces=True))
        for pieces in (False, True):
            found, is_refused_here = before_a_refusal(await settled(with_lane, raw, lane=True, pieces=pieces))
            # Of a segment that also holds a bad request aiohttp drops valid answers, and the lane those that it left to it.
            assert found == expected or ((is_refused or is_refused_here) and expected.startswith(found)), raw
            answers += found.count(b"HTTP/1.1 ")
            compared += found == expected
    assert answers > 2 * FRONT_CASES
    assert compared > 1.5 * FRONT_CASES


def before_a_refusal(raw: bytes) -> tuple[bytes, bool]:
    """Give the answers before a pipeline was refused, and whether it was: with 400, 431 or 501, and the connection's end."""
    found = re.split(rb"HTTP/1.1 (?:400|431|501) [^\0]*?\r\nConnection: close\r\n", raw, maxsplit=1)
    return found[0], len(found) > 1


# --- a connection's life


def in_memory(service: Service) -> tuple[Front, Memory]:
    front = service.fronts.connect()
    transport = Memory(front)
    front.connection_made(transport)
    return front, transport


async def connect(service: Service) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(LOOPBACK, service.port)


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    length = parse_answer(head).headers["content-length"]
    return parse_answer(head + await reader.readexactly(int(length)))


async def test_a_connection_comes_back_after_an_odd_request(service: Service) -> None:
    reader, writer = await connect(service)
    for number in range(1, 6):
        for request in (GET, ODD, POST, ODD):
            writer.write(request)
            assert (await read_answer(reader)).status == 200
        assert answered(service) == 2 * number
    (front,) = service.fronts.connections
    assert front._place is Place.LANE
    assert len(service.fronts.server.connections) == 1
    writer.close()


async def test_a_connection_whose_framing_is_not_plain_stays_with_aiohttp(service: Service) -> None:
    chunked = b'POST /v1/decisions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nf\r\n{"sim":"36801"}\r\n0\r\n\r\n'
    reader, writer = await connect(service)
    for request in (GET, chunked, GET, POST):
        writer.write(request)
        assert (await read_answer(reader)).status == 200
    assert answered(service) == 1
    assert service.fronts.lane.counts()[1]["framing"] == 1
    writer.close()


async def test_a_large_body_is_streamed_to_aiohttp_and_the_connection_comes_back(resolver: Resolver) -> None:
    async with running(resolver, Settings(port=0, body_limit_bytes=1024 * 1024)) as service:
        reader, writer = await connect(service)
        body = orjson.dumps({"serving": "36801", "pad": "x" * 300_000})
        for raw in (post(body) + GET, post(body)[:-1], post(body)[-1:] + GET):
            writer.write(raw)
        for _ in range(4):
            assert (await read_answer(reader)).document["region"] == "CU"
        assert service.fronts.lane.counts()[0] == {"resolve": 2, "decisions": 0}
        writer.close()


async def test_the_body_limit_holds_in_the_lane(resolver: Resolver) -> None:
    async with running(resolver, Settings(port=0, body_limit_bytes=256)) as service:
        small, large = (post(b'{"ip":"84.0.1.1","x":"' + b"x" * count + b'"}') for count in (256 - 24, 256 - 23))
        assert parse_answer(await service.exchange(small + LAST)).status == 200
        assert parse_answer(await service.exchange(large)).status == 413
        assert answered(service) == 1


async def test_answers_wait_for_a_client_that_does_not_read(service: Service) -> None:
    """It pipelines without end: what is kept for it stays bounded, and what it asked is answered when it reads at last."""
    client = socket.create_connection((LOOPBACK, service.port))
    client.setblocking(False)
    sent = 0
    for _ in range(400):
        try:
            sent += client.send((GET * 1000)[sent % len(GET) :])
        except BlockingIOError:
            if (front := next(iter(service.fronts.connections))).is_writing_paused:
                break
        await asyncio.sleep(0.005)
    assert front.is_writing_paused
    assert front.transport.get_write_buffer_size() < 512 * 1024
    assert len(front._held) < 512 * 1024
    client.setblocking(True)
    whole, partial = divmod(sent, len(GET))
    reader, writer = await asyncio.open_connection(sock=client)
    writer.write(GET[partial:] + LAST)
    answers = await asyncio.wait_for(reader.read(), 20)
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == answers.count(b'"region":"CU"') + 1 == whole + 2
    assert answered(service) == whole + 1
    writer.close()


@pytest.mark.usefixtures("_quick_ticks")
async def test_a_client_that_never_reads_is_ended(resolver: Resolver) -> None:
    async with running(resolver, Settings(port=0, keepalive_timeout_s=0.2)) as service:
        client = socket.create_connection((LOOPBACK, service.port))
        client.setblocking(False)
        sent = 0
        while not any(front.is_writing_paused for front in service.fronts.connections):
            with suppress(BlockingIOError):
                sent += client.send((GET * 1000)[sent % len(GET) :])
            await asyncio.sleep(0.005)
        await until(lambda: not service.fronts.connections)
        client.close()


async def test_what_comes_behind_a_slow_request_is_kept_and_bounded(service: Service) -> None:
    front, transport = in_memory(service)
    front.data_received(ODD)
    while len(front._held) <= HELD_BYTES_MAX:
        assert not is_paused(transport)
        front.data_received(GET * 10)
    assert is_paused(transport)
    kept = len(front._held) // len(GET)
    await until(lambda: transport.written.count(b"HTTP/1.1 200 OK") == kept + 1)
    assert not is_paused(transport)
    assert (front._place, front._held) == (Place.LANE, b"")


def is_paused(transport: Memory) -> bool:
    return transport.is_paused


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


@pytest.fixture
def _quick_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "TICK_S", 0.05)


@pytest.mark.usefixtures("_quick_ticks")
@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(b"", None, id="silence"),
        pytest.param(GET[:9], 408, id="half a request line"),
        pytest.param(GET[:-2], 408, id="half a head"),
        pytest.param(POST[:-3], 408, id="half a body"),
        pytest.param(ODD[:-1], 408, id="half an odd head"),
        pytest.param(GET.replace(ID, b"X: \xe9\r\n")[:-2], 408, id="half a foreign head"),
    ],
)
async def test_slow_clients_are_ended(resolver: Resolver, raw: bytes, status: int | None) -> None:
    async with running(resolver, Settings(port=0, head_timeout_s=0.2, body_timeout_s=0.2)) as service:
        for before in (b"", GET):
            answers = await service.exchange(before + raw) if raw or not before else b""
            if before and raw:
                first = parse_answer(answers)
                assert first.status == 200
                answers = first.rest
            if status is None or not raw:
                assert answers == b""
                continue
            answer = parse_answer(answers)
            assert (answer.status, answer.document["code"], answer.rest) == (status, "REQUEST_TIMEOUT", b"")


@pytest.mark.usefixtures("_quick_ticks")
@pytest.mark.parametrize("before", [b"", GET, ODD, GET + ODD])
async def test_idle_connections_are_closed(resolver: Resolver, before: bytes) -> None:
    async with running(resolver, Settings(port=0, head_timeout_s=0.2, keepalive_timeout_s=0.2)) as service:
        answers = await service.exchange(before)
        assert answers.count(b"HTTP/1.1 200 OK") == before.count(b"GET")
        assert b"408" not in answers


@pytest.mark.usefixtures("_quick_ticks")
async def test_a_connection_that_is_busy_in_the_lane_is_not_closed(resolver: Resolver) -> None:
    async with running(resolver, Settings(port=0, head_timeout_s=0.2, keepalive_timeout_s=0.2)) as service:
        reader, writer = await connect(service)
        for request in (ODD, *[GET] * 10):
            writer.write(request)
            assert (await read_answer(reader)).status == 200
            await asyncio.sleep(0.08)
        writer.close()


async def test_draining_ends_each_connection_with_its_next_answer(service: Service) -> None:
    reader, writer = await connect(service)
    writer.write(GET)
    assert "connection" not in (await read_answer(reader)).headers
    service.state.drain()
    writer.write(GET + GET)
    answer = await read_answer(reader)
    assert (answer.status, answer.headers["connection"], await reader.read()) == (200, "close", b"")
    assert service.fronts.lane.counts()[1]["draining"] == 1
    writer.close()


async def test_shutting_down_loses_no_answer(resolver: Resolver) -> None:
    """Clients ask without a pause while the service ends; each gets whole answers, the last of them with close."""
    ends: list[str] = []

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        headers: dict[str, str] = {}
        while "connection" not in headers:
            writer.write(GET if len(ends) % 2 else POST)
            headers = (await read_answer(reader)).headers
        assert await reader.read() == b""
        writer.close()
        ends.append(headers["connection"])

    async with running(resolver) as service:
        clients = [asyncio.ensure_future(client(service.port)) for _ in range(16)]
        await until(lambda: answered(service) > 200)
        service.state.drain()
        await asyncio.gather(*clients)
    assert ends == ["close"] * 16


async def test_shutting_down_closes_idle_connections_and_finishes_what_has_begun(resolver: Resolver) -> None:
    async with running(resolver) as service:
        idle_reader, idle = await connect(service)
        busy_reader, busy = await connect(service)
        idle.write(GET)
        busy.write(POST[:-5])
        assert (await read_answer(idle_reader)).status == 200
        await until(lambda: len(service.fronts.connections) == 2)
        asyncio.get_running_loop().call_later(0.15, busy.write, POST[-5:])
    assert await idle_reader.read() == b""
    answer = await read_answer(busy_reader)
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    idle.close()
    busy.close()


async def test_a_lost_connection_reaches_aiohttp(service: Service) -> None:
    for raw in (ODD, POST.replace(b"decisions", b"resolve")[:-3]):
        _, writer = await connect(service)
        writer.write(raw)
        await until(lambda: service.fronts.server.connections)
        writer.transport.abort()
        await until(lambda: not service.fronts.server.connections and not service.fronts.connections)


# --- whether there is a lane


@pytest.mark.parametrize(
    ("version", "is_tested"),
    [("3.14.3", True), ("3.14.99", True), ("3.14.2", False), ("3.15.0", False), ("4.0.0a1", False), ("nonsense", False)],
)
def test_aiohttp_that_was_not_tested_is_not_relied_upon(version: str, *, is_tested: bool) -> None:
    assert untested(version) == (None if is_tested else version)


class Forgetful(Connection):
    """A handler whose aiohttp no longer says when an answer is written."""

    def written(self, request: web.BaseRequest, status: int, seconds: float, *, keep_alive: bool) -> None:
        return


class Changed(Connection):
    """A handler whose aiohttp writes another byte."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, Memory)
        transport.write(b" ")


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (Forgetful, "its self-test failed: TimeoutError"),
        (Changed, "its self-test failed: the lane and the slow path answer differently"),
    ],
)
async def test_without_its_self_test_the_service_runs_on_plain_aiohttp(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch, handler: type[Connection], why: str
) -> None:
    monkeypatch.setattr(protocol, "Connection", handler)
    monkeypatch.setattr(protocol, "SELF_TEST_S", 0.1)
    async with running(resolver) as service:
        assert service.state.lane() == {"on": False, "why": why}
        monkeypatch.undo()
        ready = parse_answer(await service.exchange(LAST.replace(b"livez", b"readyz")))
        assert (ready.status, ready.document["lane"]) == (200, {"on": False, "why": why})
        assert parse_answer(await service.exchange(GET + LAST)).document["region"] == "CU"
        assert not service.fronts.connections


async def test_the_access_log_is_the_same_on_both_ways(resolver: Resolver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    given = b"X-Request-Id: " + b"a" * 20 + b"\r\n"
    digits = b"X-Request-Id: 250330123456789\r\n"
    raw = GET.replace(ID, given) + GET.replace(ID, digits) + GET.replace(ID, b"") + POST
    async with running(resolver) as service:
        for more in (b"", b"X_Odd: 1\r\n"):
            await service.exchange(raw.replace(b"Host: a\r\n", b"Host: a\r\n" + more) + LAST)
        assert service.fronts.lane.counts()[0] == {"resolve": 3, "decisions": 1}
    lines = [record.fields for record in caplog.records if record.getMessage() == "request"]  # type: ignore[attr-defined]
    assert len(lines) == 10
    for line in lines:
        assert 0 <= line.pop("duration_ms") < 1000
    made = [line.pop("request_id") for line in (lines[2], lines[7])]
    assert all(re.fullmatch("[0-9a-f]{32}", identity) for identity in made)
    assert lines[:5] == lines[5:]
    assert [line.get("request_id") for line in lines[:2]] == ["a" * 20, loggable("250330123456789")]
    assert [(line["method"], line["route"]) for line in lines[2:5]] == [
        ("GET", "/v1/resolve"), ("POST", "/v1/decisions"), ("GET", "/livez"),
    ]  # fmt: skip


async def test_a_share_of_the_requests_is_logged(
    resolver: Resolver, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(logs.AccessLog, "share", 0.25)
    async with running(resolver) as service:
        await service.exchange(GET * 800 + GET.replace(b"Host: a\r\n", b"Host: a\r\nX_Odd: 1\r\n") * 800 + LAST)
    lines = [record for record in caplog.records if record.getMessage() == "request"]
    assert 300 < len(lines) < 500


async def test_ready_counts_what_the_lane_did(service: Service) -> None:
    await service.exchange(GET + POST + GET + ODD + LAST)
    ready = parse_answer(await service.exchange(LAST.replace(b"livez", b"readyz"))).document["lane"]
    assert isinstance(ready, dict)
    assert (ready["on"], ready["answered"]) == (True, {"resolve": 2, "decisions": 1, "batch": 0})
    assert ready["declined"] == dict.fromkeys(REASON_WORDS[1:], 0) | {"other_path": 3}
