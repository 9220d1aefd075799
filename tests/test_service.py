"""The HTTP contract over a real socket: aiohttp's client for the ordinary, raw bytes for the odd."""

import asyncio
import base64
import datetime as dt
import json
import logging
import random
import re
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, cast

import aiohttp
import orjson
import pytest
import pytest_asyncio

from _fastpath.ping import keys_written
from regionresolver import Resolver
from regionresolver.resolver import parse_instant
from regionresolver.service import request_id
from regionresolver.service.connection import LINGER_S
from regionresolver.service.pings import parse_ping
from regionresolver.service.problems import DUPLICATE_KEY, ProblemError
from regionresolver.service.records import as_json
from regionresolver.settings import Settings
from tests.http_service import LOOPBACK, Answer, Service, parse_answer, running
from tests.paths import SHARED
from tests.worlds import city_database

JSON = {"Content-Type": "application/json"}
CUBAN = {"serving": "36801", "sim": "36801", "ip": "84.0.1.1"}
CRIMEA_RU = "62.0.1.1"


async def post(
    client: aiohttp.ClientSession, path: str, body: object, headers: Mapping[str, str] = JSON
) -> tuple[int, dict[str, object]]:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    async with client.post(path, data=content, headers=headers, skip_auto_headers=["Content-Type"]) as response:
        return response.status, await response.json(content_type=None)


async def get(client: aiohttp.ClientSession, path: str) -> tuple[int, dict[str, object]]:
    async with client.get(path) as response:
        return response.status, await response.json(content_type=None)


# --- a decision


async def test_a_decision_has_the_members_of_the_contract(client: aiohttp.ClientSession) -> None:
    async with client.post("/v1/decisions", json=CUBAN | {"id": "ping-7f3a", "lang": "es", "new_field": [1]}) as response:
        document = await response.json()
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Cache-Control"] == "no-store"
    message = document.pop("message")
    assert "región" in message
    assert document == {
        "id": "ping-7f3a",
        "decision": "deny",
        "region": "CU",
        "country": "CU",
        "subdivision": None,
        "region_name": document["region_name"],
        "confidence": 0.98,
        "basis": "serving_plmn",
        "conflicts": [],
        "rule": "embargo-six",
        "reason": "REGION_NOT_PERMITTED",
        "retry_after": 86400,
        "warnings": [],
        "policy": document["policy"],
        "data": document["data"],
    }


@pytest.mark.parametrize(
    ("ping", "decision", "region"),
    [
        (CUBAN, "deny", "CU"),
        ({"serving": {"mcc": "368", "mnc": "01"}}, "deny", "CU"),
        ({"serving": "368-01"}, "deny", "CU"),
        ({"serving": "25034"}, "deny", "crimea"),
        ({"serving": "25001", "ip": CRIMEA_RU}, "review", "UA-43"),
        ({"serving": "21401", "sim": "36801"}, "allow", "ES"),
        ({"ip": "::ffff:84.0.1.1"}, "deny", "CU"),
        ({"ip": "10.0.0.1"}, "allow", None),
        ({"ip": "93.0.0.1"}, "allow", None),
        ({"ip": "not an address", "serving": "36801"}, "deny", "CU"),
    ],
)
async def test_decisions(client: aiohttp.ClientSession, ping: dict[str, object], decision: str, region: str | None) -> None:
    status, document = await post(client, "/v1/decisions", ping)
    assert (status, document["decision"], document["region"]) == (200, decision, region)


async def test_a_malformed_value_is_a_warning_and_the_others_decide(client: aiohttp.ClientSession) -> None:
    status, document = await post(client, "/v1/decisions?explain=reasons", {"ip": "1.2.3.0/24", "serving": "36801", "sku": 7})
    assert (status, document["decision"]) == (200, "deny")
    warnings = document["warnings"]
    assert isinstance(warnings, list)
    assert [(warning["code"], warning["pointer"]) for warning in warnings] == [("IP_INVALID", "/ip"), ("FIELD_INVALID", "/sku")]
    evidence = document["evidence"]
    assert isinstance(evidence, list)
    assert {found["signal"]: found["status"] for found in evidence}["ip"] == "invalid"


@pytest.mark.parametrize(
    ("explain", "present", "absent"),
    [
        ("none", set(), {"evidence", "rules", "row"}),
        ("reasons", {"evidence", "row"}, {"rules"}),
        ("full", {"evidence", "row", "rules"}, set()),
    ],
)
async def test_explain(client: aiohttp.ClientSession, explain: str, present: set[str], absent: set[str]) -> None:
    _, document = await post(client, f"/v1/decisions?explain={explain}", CUBAN)
    assert present <= set(document)
    assert not absent & set(document)


# --- a region without the policy


@pytest.mark.parametrize(
    ("query", "region"),
    [
        ("serving=36801&ip=&sim=", "CU"),
        ("serving=368-01", "CU"),
        ("serving=368+01", "CU"),
        ("ip=84.0.1.1", "CU"),
        (f"ip={CRIMEA_RU}", "UA-43"),
        ("ip=2a02:20::1", "IR"),
        ("ip=2a02%3A20%3A%3A1&unknown=1&unknown=2", "IR"),
        ("ip=%FF%FE", None),
        ("sim=368019876543210", "CU"),
        ("ip=84.0.1.1&strict", "CU"),
        ("ip=bad&strict=false", None),
    ],
)
async def test_resolve_by_query(client: aiohttp.ClientSession, query: str, region: str | None) -> None:
    async with client.get(f"/v1/resolve?{query}") as response:
        document = await response.json()
        assert response.headers["Cache-Control"] == "no-store"
    assert (response.status, document["region"]) == (200, region)
    assert not {"decision", "rule", "reason", "policy"} & set(document)


async def test_resolve_by_body_echoes_the_id(client: aiohttp.ClientSession) -> None:
    status, document = await post(client, "/v1/resolve", CUBAN | {"id": "p"})
    assert (status, document["id"], document["region"]) == (200, "p", "CU")
    assert document["warnings"] == []
    status, document = await post(client, "/v1/resolve", CUBAN | {"id": 7})
    assert (status, document["id"]) == (200, None)
    _, decided = await post(client, "/v1/decisions", CUBAN | {"id": 7})
    assert document["warnings"] == decided["warnings"]
    assert [found["pointer"] for found in cast("list[dict[str, str]]", document["warnings"])] == ["/id"]


async def test_query_and_body_answer_the_same(client: aiohttp.ClientSession) -> None:
    _, by_query = await get(client, "/v1/resolve?ip=84.0.1.1&serving=36801&sim=36801&explain=full")
    _, by_body = await post(client, "/v1/resolve?explain=full", CUBAN)
    assert by_query == by_body


@pytest.mark.parametrize("path", ["/v1/resolve?ip=46.0.1.1&include=record", "/v1/resolve/46.0.1.1?include=record"])
async def test_the_record_of_an_address(client: aiohttp.ClientSession, path: str) -> None:
    _, document = await get(client, path)
    assert document["records"] == [
        {
            "source": "city",
            "network": "46.0.0.0/16",
            "record": {"country": {"iso_code": "UA"}, "subdivisions": [{"iso_code": "43"}]},
        }
    ]


@pytest.mark.parametrize("query", ["ip=bad", "ip=10.0.0.1", "serving=36801"])
async def test_no_record_where_there_is_none(client: aiohttp.ClientSession, query: str) -> None:
    _, document = await get(client, f"/v1/resolve?{query}&include=record")
    assert document["records"] == []


def test_a_record_becomes_json() -> None:
    record = {"a": b"\x00\xff", "b": 2**127, "c": [1, {"d": 2.5}], "e": True, "f": 2**64 - 1}
    assert orjson.loads(orjson.dumps(as_json(record))) == {
        "a": "00ff", "b": str(2**127), "c": [1, {"d": 2.5}], "e": True, "f": 2**64 - 1,
    }  # fmt: skip


async def test_one_address_is_cacheable(client: aiohttp.ClientSession) -> None:
    async with client.get("/v1/resolve/84.0.1.1") as response:
        assert response.status == 200
        assert response.headers["Cache-Control"] == "private, max-age=300"
        etag = response.headers["ETag"]
        assert etag.startswith('"g')
        assert (await response.json())["region"] == "CU"
    for known, status in [
        ([etag], 304),
        ([f"W/{etag}"], 304),
        (["*"], 304),
        ([f'"x", {etag}'], 304),
        (['"x"', etag], 304),
        (['"x"'], 200),
        (['"*"'], 200),
        (['"x", *'], 200),
        ([etag.strip('"')], 200),
        (["garbage"], 200),
    ]:
        lines = [("If-None-Match", line) for line in known]
        async with client.get("/v1/resolve/84.0.1.1", headers=lines) as response:
            assert response.status == status, known
            assert response.headers["ETag"] == etag
            assert response.headers["Cache-Control"] == "private, max-age=300"
            assert bool(await response.read()) == (status == 200)


@pytest.mark.parametrize(
    "text", ["bad", "1.2.3.4.5", "1.2.3.0%2F24", "fe80::1%25eth0", "1.2.3.4:80", "%00", "%FF", "me2", "01.2.3.4"]
)
async def test_an_invalid_address_in_the_path_is_refused(client: aiohttp.ClientSession, text: str) -> None:
    async with client.get(f"/v1/resolve/{text}", headers={"If-None-Match": "*"}) as response:
        document = await response.json(content_type="application/problem+json")
        assert (response.status, document["code"]) == (422, "IP_INVALID")
        assert response.headers["Cache-Control"] == "no-store"


async def test_a_reserved_or_unknown_address_is_an_answer(client: aiohttp.ClientSession) -> None:
    for ip, found in [("10.0.0.1", "reserved"), ("93.0.0.1", "not_found")]:
        status, document = await get(client, f"/v1/resolve/{ip}?explain=reasons")
        evidence = document["evidence"]
        assert isinstance(evidence, list)
        assert (status, evidence[0]["status"]) == (200, found)


async def test_the_caller(client: aiohttp.ClientSession) -> None:
    status, document = await get(client, "/v1/resolve/me?explain=reasons")
    evidence = document["evidence"]
    assert isinstance(evidence, list)
    assert (status, evidence[0]["status"], evidence[0]["detail"]) == (200, "reserved", "loopback")


async def test_the_caller_behind_a_trusted_proxy(resolver: Resolver) -> None:
    settings = Settings(port=0, trusted_proxies=("127.0.0.0/8",))
    async with running(resolver, settings) as service, aiohttp.ClientSession(service.url) as client:
        async with client.get("/v1/resolve/me", headers={"X-Forwarded-For": "8.8.8.8, 84.0.1.1"}) as response:
            assert (await response.json())["region"] == "CU"
            assert response.headers["Cache-Control"] == "no-store"
        async with client.get("/v1/resolve/me", headers={"Forwarded": 'for="84.0.1.1:80"'}) as response:
            assert (await response.json())["region"] == "CU"
        async with client.get("/v1/resolve/me", headers={"X-Forwarded-For": "evil"}) as response:
            document = await response.json(content_type="application/problem+json")
            assert (response.status, document["code"]) == (400, "CLIENT_IP_UNTRUSTED")


# --- operations


@pytest.mark.parametrize("path", ["/v1/policy", "/v1/metadata"])
async def test_standing_documents_have_strong_etags(client: aiohttp.ClientSession, path: str) -> None:
    async with client.get(path) as response:
        assert response.status == 200
        etag = response.headers["ETag"]
        assert etag.startswith('"')
        assert await response.json()
    async with client.get(path, headers={"If-None-Match": etag}) as response:
        assert (response.status, await response.read()) == (304, b"")


async def test_metadata_names_what_the_answers_were_made_from(client: aiohttp.ClientSession) -> None:
    _, document = await get(client, "/v1/metadata")
    _, answer = await post(client, "/v1/decisions", CUBAN)
    assert document["data"] == answer["data"]
    assert {"version", "sources", "policy", "worker"} <= set(document)


async def test_metadata_counts_the_hits_of_overrides_and_an_end_changes_the_etag(tmp_path: Path) -> None:
    catalogue = tmp_path / "catalogue.toml"
    signed = 'region = "CU"\nowner = "o"\nreason = "r"\n'
    soon = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).isoformat()
    catalogue.write_text(
        f'[[networks]]\nid = "lab"\nnetwork = "203.0.113.0/24"\nexpires = {soon}\n{signed}'
        f'[[plmns]]\nid = "old"\nplmn = "999-40"\nexpires = 2020-01-01\n{signed}',
        encoding="utf-8",
    )
    with Resolver.open(db=city_database(tmp_path / "city.mmdb"), catalogue=catalogue) as opened:
        async with running(opened) as service, aiohttp.ClientSession(service.url) as client:
            for hits in (0, 1):
                document: Any = (await get(client, "/v1/metadata"))[1]
                assert [(one["id"], one["hits"], one["prefix"]) for one in document["overrides"]] == [
                    ("lab", hits, "203.0.113.0/24"), ("old", 0, "999-40"),
                ]  # fmt: skip
                assert document["region_catalogue"]["file"] == "catalogue.toml"
                _, answer = await post(client, "/v1/decisions", {"ip": "203.0.113.7"})
                assert answer["region"] == "CU"
            async with client.get("/v1/resolve/203.0.113.7") as response:
                assert response.headers["ETag"] == f'"{service.state.data_digest}-1"', "one override has expired"


@pytest.mark.parametrize(
    ("path", "member", "value"),
    [
        ("/livez", "status", "ok"),
        ("/healthz", "status", "ok"),
        ("/readyz", "status", "ready"),
        ("/version", "name", "regionresolver"),
    ],
)
async def test_operations(client: aiohttp.ClientSession, path: str, member: str, value: str) -> None:
    status, document = await get(client, path)
    assert (status, document[member]) == (200, value)


async def test_draining_un_readies_and_closes_connections(service: Service, client: aiohttp.ClientSession) -> None:
    service.state.drain()
    async with client.get("/readyz") as response:
        document = await response.json(content_type="application/problem+json")
        assert (response.status, document["code"]) == (503, "DRAINING")
        assert response.headers["Retry-After"]
        assert response.headers["Connection"] == "close"
        assert document["checks"]["draining"] == {"ok": False}
    status, _ = await post(client, "/v1/decisions", CUBAN)
    assert status == 200, "requests are still answered"
    status, _ = await get(client, "/livez")
    assert status == 200


@pytest.mark.parametrize(
    "path", ["/v1/resolve?ip=84.0.1.1", "/v1/resolve/84.0.1.1", "/v1/resolve/me", "/v1/policy", "/readyz", "/version"]
)
async def test_head_answers_as_get_without_a_body(client: aiohttp.ClientSession, path: str) -> None:
    async with client.get(path) as response:
        length, got = response.headers["Content-Length"], set(response.headers)
    async with client.head(path) as response:
        assert response.status == 200
        assert response.headers["Content-Length"] == length
        assert set(response.headers) == got
        assert await response.read() == b""


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (["abc-123"], True),
        (["!~" * 64], True),
        (["x" * 129], False),
        (["has blank"], False),
        (["é"], False),
        ([""], False),
        (["one", "two"], False),
        ([], False),
    ],
)
def test_request_id(given: list[str], *, taken: bool) -> None:
    found = request_id.taken_or_made(given)
    assert (found == (given[0] if given else None)) is taken
    assert taken or len(found) == 32


@pytest.mark.parametrize(
    ("identity", "logged"),
    [
        ("0189b3f0-6d9a-7c3e-8f57-2f0a5f0e9d11", True),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", True),
        ("4bf92f3577b34da6a3ce929d0e0e4736", True),
        ("368019876543210", False),
        ("imsi368019876543210", False),
        ("ping-84.0.1.1-0123456789", False),
        ("2a02:20:0:0:1:2:3:4", False),
        ("84-0-1-1-abcdefgh", False),
        ("short", False),
        ("x" * 65, False),
    ],
)
def test_only_an_id_that_looks_random_is_logged_as_it_is(identity: str, *, logged: bool) -> None:
    found = request_id.loggable(identity)
    assert (found == identity) is logged
    assert logged or re.fullmatch("sha256:[0-9a-f]{16}", found)


async def test_the_request_id_is_on_answers_and_problems(client: aiohttp.ClientSession) -> None:
    for path in ("/livez", "/nope"):
        async with client.get(path, headers={"X-Request-Id": "my-id"}) as response:
            assert response.headers["X-Request-Id"] == "my-id"
        async with client.get(path, headers={"X-Request-Id": "my id"}) as response:
            assert len(response.headers["X-Request-Id"]) == 32


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([f"00-{TRACE}-00f067aa0ba902b7-01"], TRACE),
        ([f"cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-brings"], TRACE),
        ([f"00-{TRACE}-00f067aa0ba902b7-01-extra"], None),
        ([f"ff-{TRACE}-00f067aa0ba902b7-01"], None),
        ([f"00-{'0' * 32}-00f067aa0ba902b7-01"], None),
        ([f"00-{TRACE}-{'0' * 16}-01"], None),
        ([f"00-{TRACE.upper()}-00f067aa0ba902b7-01"], None),
        ([f"00-{TRACE}-00f067aa0ba902b7-01"] * 2, None),
        (["garbage"], None),
        ([], None),
    ],
)
def test_traceparent(values: list[str], found: str | None) -> None:
    assert request_id.trace_id(values) == found


async def test_no_answer_tells_versions(client: aiohttp.ClientSession, service: Service) -> None:
    async with client.get("/livez") as response:
        assert response.headers["Server"] == "regionresolver"
    async with client.get("/nope") as response:
        assert response.headers["Server"] == "regionresolver"
    answer = parse_answer(await service.exchange(b"\x16\x03\x01nonsense\r\n\r\n"))
    assert answer.headers["server"] == "regionresolver"


# --- what is no HTTP, or HTTP that two parsers read differently

GET = b"GET /livez HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /v1/decisions HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LONG = b"x" * 9000


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(b"nonsense\r\n\r\n", 400, id="no request line"),
        pytest.param(b"GET /livez HTTP/1.1\r\n\r\n", 400, id="no Host"),
        pytest.param(b"GET /livez HTTP/1.1\r\nHost: \r\n\r\n", 400, id="empty Host"),
        pytest.param(GET + b"Host: b\r\n\r\n", 400, id="two Hosts"),
        pytest.param(b"GET /livez HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, id="two Hosts joined"),
        pytest.param(b"GET /livez HTTP/1.1\r\nHost: user@a\r\n\r\n", 400, id="Host with userinfo"),
        pytest.param(b"GET /livez HTTP/1.1\r\nHost : a\r\n\r\n", 400, id="blank before the colon"),
        pytest.param(b"GET /xHTTP/1.1\r\nHost: a\r\n\r\n", 400, id="read as HTTP/0.9 by some"),
        pytest.param(b"GET /v1/resolve/\xd9\xa1.1.1.1 HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="raw UTF-8 in the target"),
        pytest.param(b"GET /livez HTTP/1.2\r\nHost: a\r\n\r\n", 400, id="HTTP/1.2"),
        pytest.param(b"GET /livez HTTP/2.0\r\nHost: a\r\n\r\n", 400, id="HTTP/2.0"),
        pytest.param(POST + b"Content-Length: +2\r\n\r\n{}", 400, id="signed length"),
        pytest.param(POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400, id="two lengths"),
        pytest.param(POST + b"Content-Length: 2\r\n" + CHUNKED + b"\r\n0\r\n\r\n", 400, id="length and chunked"),
        pytest.param(POST + b"Content-Length: 2\r\nTransfer-Encoding:\r\n\r\n{}", 400, id="length and an empty coding"),
        pytest.param(POST.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n0\r\n\r\n", 400, id="HTTP/1.0 and chunked"),
        pytest.param(POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, id="gzip, chunked"),
        pytest.param(POST + CHUNKED + b"\r\nZZ\r\n{}\r\n0\r\n\r\n", 400, id="bad chunk size"),
        pytest.param(GET + b"X: a\x00b\r\n\r\n", 400, id="NUL in a header"),
        pytest.param(GET + b"X: a\rb\r\n\r\n", 400, id="bare CR"),
        pytest.param(b"GET /livez HTTP/0.9\r\nHost: a\r\n\r\n", 400, id="HTTP/0.9"),
        pytest.param(b"FOO /livez HTTP/1.1\r\nHost: a\r\n\r\n", 501, id="unknown method"),
        pytest.param(b"F(O /livez HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="no method"),
        pytest.param(GET + b"X: y\r\n" * 130 + b"\r\n", 431, id="too many headers"),
        pytest.param(GET + (b"X: " + b"x" * 8100 + b"\r\n") * 120 + b"\r\n", 431, id="1 MB of headers"),
        pytest.param(GET + (b"X: " + b"x" * 8100 + b"\r\n") * 5 + b"\r\n", 431, id="40 KB of headers"),
        pytest.param(GET + (b"X: " + b"x" * 8100 + b"\r\n") * 5, 431, id="40 KB of a head without an end"),
        pytest.param(GET + b"X: " + LONG + b"\r\n\r\n", 431, id="long header"),
        pytest.param(b"GET /" + LONG + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431, id="long request line"),
        pytest.param(GET + b"Expect: evil-words\r\n\r\n", 417, id="unknown Expect"),
        pytest.param(b"GET /nope HTTP/1.1\r\nHost: a\r\nExpect: evil\r\n\r\n", 417, id="unknown Expect, unknown path"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00evil-words\r\n\r\n", 400, id="TLS"),
    ],
)
async def test_odd_bytes_are_refused_and_the_connection_closed(service: Service, raw: bytes, status: int) -> None:
    answered = await service.exchange(raw)
    answer = parse_answer(answered)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    assert answered.startswith(b"HTTP/1.1 ")
    assert answer.document["status"] == status
    assert answer.document["request_id"] == answer.headers["x-request-id"]
    assert b"evil" not in answer.body
    assert answer.rest == b""


async def test_a_body_that_breaks_its_framing_later_is_refused_at_once(service: Service) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, service.port)
    writer.write(POST + CHUNKED + b"\r\n1\r\n{\r\n")
    await asyncio.sleep(0.05)
    writer.write(b"ZZ\r\n")
    answer = parse_answer(await asyncio.wait_for(reader.read(), LINGER_S + 2))
    writer.close()
    assert (answer.status, answer.document["code"], answer.headers["connection"]) == (400, "BAD_REQUEST", "close")
    assert answer.rest == b""


async def test_the_public_vectors_that_must_be_refused_are(service: Service) -> None:
    if SHARED is None:
        pytest.skip("the public HTTP vectors are not on this machine")
    rows = [json.loads(line) for line in (SHARED / "data" / "http-vectors" / "http11probe.jsonl").read_text("utf-8").splitlines()]
    must = {row["id"]: base64.b64decode(row["raw"]) for row in rows if (row["level"], row["status"]) == ("Must", "Exact(400)")}
    assert len(must) > 30
    found = await asyncio.gather(*(service.exchange(raw) for raw in must.values()))
    answers = {name: parse_answer(raw) for name, raw in zip(must, found, strict=True)}
    assert {name: answer.status for name, answer in answers.items() if answer.status != 400 or answer.rest} == {}


CLOSE = b"Connection: close\r\n\r\n"
CHUNKS = b'8\r\n{"servin\r\nb\r\ng":"36801"}\r\n0\r\n\r\n'


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(b"GET /livez HTTP/1.0\r\n\r\n", 200, id="HTTP/1.0 without Host"),
        pytest.param(b"GET http://a/livez HTTP/1.1\r\nHost: a\r\n" + CLOSE, 200, id="absolute form"),
        pytest.param(b"GET /livez HTTP/1.1\r\nHost: [::1]:8080\r\n" + CLOSE, 200, id="IPv6 Host"),
        pytest.param(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n" + CLOSE, 404, id="asterisk form"),
        pytest.param(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n" + CLOSE, 404, id="CONNECT"),
        pytest.param(GET + b"Upgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n", 200, id="an upgrade is not taken"),
        pytest.param(POST + CHUNKED + CLOSE + CHUNKS, 200, id="chunked body"),
        pytest.param(b"GET //v1//resolve HTTP/1.1\r\nHost: a\r\n" + CLOSE, 404, id="doubled slashes"),
    ],
)
async def test_unusual_but_right(service: Service, raw: bytes, status: int) -> None:
    answered = await service.exchange(raw)
    answer = parse_answer(answered)
    assert answered.startswith(b"HTTP/1.1 ")
    assert answer.status == status
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] in {"application/json", "application/problem+json"}


async def test_a_head_and_a_body_within_their_limits_are_taken(service: Service) -> None:
    head = POST + CLOSE[:-2] + (b"X: " + b"x" * 8000 + b"\r\n") * 4 + b"Content-Length: 16000\r\n\r\n"
    body = b'{"serving":"36801"}'.ljust(16000)
    assert parse_answer(await service.exchange(head + body)).status == 200
    reader, writer = await asyncio.open_connection(LOOPBACK, service.port)
    for start in range(0, len(head + body), 4000):
        writer.write((head + body)[start : start + 4000])
        await asyncio.sleep(0.001)
    assert parse_answer(await asyncio.wait_for(reader.read(), 5)).status == 200
    writer.close()


async def test_a_head_that_grows_past_its_limit_is_refused_while_it_arrives(service: Service) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, service.port)
    writer.write(GET)
    answering = asyncio.ensure_future(reader.read())
    for _ in range(40):
        writer.write(b"X: " + b"x" * 1000 + b"\r\n")
        await asyncio.sleep(0.001)
    answer = parse_answer(await asyncio.wait_for(answering, 0.5))
    assert (answer.status, answer.headers["connection"]) == (431, "close")
    writer.close()


async def test_pipelined_requests_are_answered_in_order(service: Service) -> None:
    one = b"GET /v1/resolve/84.0.1.1 HTTP/1.1\r\nHost: a\r\nX-Request-Id: 1\r\n\r\n"
    two = b"GET /livez HTTP/1.1\r\nHost: a\r\nX-Request-Id: 2\r\nConnection: close\r\n\r\n"
    first = parse_answer(await service.exchange(one + two))
    second = parse_answer(first.rest)
    assert [found.headers["x-request-id"] for found in (first, second)] == ["1", "2"]
    assert second.rest == b""


async def test_a_request_is_answered_the_same_byte_by_byte(service: Service) -> None:
    body = orjson.dumps(CUBAN)
    raw = (
        b"POST /v1/resolve HTTP/1.1\r\nHost: a\r\nX-Request-Id: 1\r\nConnection: close\r\nContent-Type: application/json\r\n"
        + b"Content-Length: %d\r\n\r\n" % len(body)
        + body
    )
    whole = await service.exchange(raw)
    reader, writer = await asyncio.open_connection(LOOPBACK, service.port)
    for place in range(len(raw)):
        writer.write(raw[place : place + 1])
        await writer.drain()
        await asyncio.sleep(0)
    split = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert parse_answer(split).document == parse_answer(whole).document


# --- time


@pytest_asyncio.fixture
async def impatient(resolver: Resolver) -> AsyncIterator[Service]:
    async with running(resolver, Settings(port=0, head_timeout_s=0.2, body_timeout_s=0.2, keepalive_timeout_s=0.5)) as found:
        yield found


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(b"", None, id="silence"),
        pytest.param(b"GET /livez HT", 408, id="half a head"),
        pytest.param(b"POST /v1/decisions HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{", 408, id="half a body"),
        pytest.param(
            b"POST /v1/decisions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", 408, id="half chunked"
        ),
        pytest.param(b"POST /nope HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{", 404, id="half a body that nobody reads"),
    ],
)
async def test_slow_clients_are_ended(impatient: Service, raw: bytes, status: int | None) -> None:
    started = asyncio.get_running_loop().time()
    answered = await impatient.exchange(raw)
    assert asyncio.get_running_loop().time() - started < 0.2 + LINGER_S + 1
    if status is None:
        assert answered == b""
        return
    answer = parse_answer(answered)
    assert (answer.status, answer.document["status"], answer.rest) == (status, status, b"")
    assert status != 408 or answer.document["code"] == "REQUEST_TIMEOUT"


async def test_more_bytes_do_not_extend_the_deadline_of_a_head(impatient: Service) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, impatient.port)
    # Only the first line: bytes that cross the close on their way are answered with a reset.
    answering = asyncio.ensure_future(reader.readline())
    writer.write(b"GET /livez HTTP/1.1\r\nX: ")
    for _ in range(40):
        if answering.done():
            break
        writer.write(b"x")
        await asyncio.sleep(0.02)
    assert b" 408 " in await asyncio.wait_for(answering, 1)
    writer.close()


async def test_an_idle_connection_outlives_the_deadline_of_a_head(impatient: Service) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, impatient.port)
    request = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
    writer.write(request)
    assert b" 200 " in await reader.readline()
    await asyncio.sleep(0.3)
    writer.write(request)
    rest = await asyncio.wait_for(reader.read(), 3)
    assert rest.count(b"HTTP/1.1 200 OK") == 1
    assert b"408" not in rest
    writer.close()


async def test_shutting_down_finishes_the_request_in_hand(resolver: Resolver) -> None:
    body = orjson.dumps(CUBAN)
    async with running(resolver) as service:
        reader, writer = await asyncio.open_connection(LOOPBACK, service.port)
        writer.write(b"POST /v1/decisions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
        await asyncio.sleep(0.05)
        asyncio.get_running_loop().call_later(0.1, writer.write, body)
    answer = parse_answer(await reader.read())
    writer.close()
    assert (answer.status, answer.document["decision"]) == (200, "deny")


@pytest.mark.parametrize("late", [0.0, 0.03])
async def test_shutting_down_answers_who_has_connected_already(resolver: Resolver, late: float) -> None:
    """The loop does not turn between the connects and the end, so all of them wait in the listener's queue."""
    async with running(resolver) as service:
        clients = [socket.create_connection((LOOPBACK, service.port)) for _ in range(50)]
        if late:
            for client in clients:
                asyncio.get_running_loop().call_later(late, client.sendall, GET + b"\r\n")
        else:
            for client in clients:
                client.sendall(GET + b"\r\n")
    for client in clients:
        with client:
            answer = parse_answer(client.recv(9999))
            assert (answer.status, answer.headers["connection"]) == (200, "close")


async def test_shutting_down_answers_what_has_been_sent_on_an_idle_connection(resolver: Resolver) -> None:
    async with running(resolver) as service:
        reader, writer = await asyncio.open_connection(LOOPBACK, service.port)
        writer.write(GET + b"\r\n")
        assert await reader.readuntil(b"\r\n\r\n")
        assert await reader.readuntil(b"}")
        writer.get_extra_info("socket")._sock.send(GET + b"\r\n")
    answer = parse_answer(await reader.read())
    writer.close()
    assert (answer.status, answer.headers["connection"]) == (200, "close")


# --- bodies


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":2}',
        b'{"ip":"1.2.3.4","\\u0069p":"5.6.7.8"}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":[1,{"b":1,"c":[{"d":1,"d":2}]}]}',
        b'{"a" :1, "a"\t:\n2}',
    ],
)
def test_duplicate_keys_are_found(body: bytes) -> None:
    with pytest.raises(ProblemError) as caught:
        parse_ping(body)
    assert caught.value.problem.kind is DUPLICATE_KEY


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"a":"b","b":"a"}',
        b'{"a":":","b":"\\":","c":"\\\\"}',
        b'{"a:":{"a:":["a:","x\\": 1"]}}',
        b'{"a":["a","a",{"a":"a"}],"b":{"a":1}}',
        b'{"":"","\\"":1}',
    ],
)
def test_keys_that_only_look_doubled_are_not(body: bytes) -> None:
    assert parse_ping(body) == json.loads(body)


def test_keys_are_counted_as_an_obvious_reader_counts_them() -> None:
    rng = random.Random(8259)

    def made(depth: int) -> object:
        kind = rng.randrange(8 if depth else 5)
        if kind < 3:
            return "".join(rng.choice('":\\{}[], \tk\u00e9') for _ in range(rng.randrange(6)))
        if kind < 5:
            return rng.choice([None, True, 1.5, -3])
        if kind == 5:
            return [made(depth - 1) for _ in range(rng.randrange(4))]
        return {made(0) if rng.random() < 0.5 else "k": made(depth - 1) for _ in range(rng.randrange(4))}

    for _ in range(20_000):
        document = made(4)
        pairs = 0

        def count(found: list[tuple[str, object]]) -> None:
            nonlocal pairs
            pairs += len(found)

        blank = rng.choice([" ", "", "\n", "\t\r\n "])
        text = json.dumps(document, separators=(blank + "," + blank, blank + ":" + blank), ensure_ascii=rng.random() < 0.5)
        json.loads(text, object_pairs_hook=count)
        assert keys_written(text.encode()) == pairs, text


@pytest.mark.parametrize("text", [b"", b'"', b'"\\', b'"\\"', b'":', b'"a" ', b"\\"])
def test_counting_keys_reads_nothing_behind_the_end(text: bytes) -> None:
    assert keys_written(text) == 0


def test_deep_nesting_is_refused_and_breaks_nothing() -> None:
    depth = 8000
    with pytest.raises(ProblemError):
        parse_ping(b'{"a":' + b"[" * depth + b"]" * depth + b"}")
    assert parse_ping(b'{"a":' + b"[" * 900 + b"]" * 900 + b"}")


@pytest.mark.parametrize(
    "text",
    ["2021-06-01T00:00:00Z", "2021-06-01t00:00:00z", "2021-06-01T02:30:00.5+02:30", "2021-06-01T00:00:00.123456789-00:00"],
)
def test_an_instant_of_rfc_3339(text: str) -> None:
    found = parse_instant(text)
    assert found is not None
    assert found.replace(microsecond=0).isoformat().startswith("2021-06-01T0")
    assert found.astimezone(dt.UTC).replace(microsecond=0) == dt.datetime(2021, 6, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2021W011T00+00", "20210101T000000Z", "2021-06-01T00:00:00,5Z", "2021-06-01T00:00:00+01:00:30", "2021-06-01T00:00Z",
        "2021-06-01T00:00:00", "2021-06-01", "2021-06-01 00:00:00Z", "2021-02-29T00:00:00Z", "2021-06-01T24:00:00Z",
        "2021-06-01T00:00:00+24:00", "2021-06-01T00:00:00+01:60", "2021-06-01T00:00:00+0100", "2021-06-01T00:00:00.Z",
        "\u0662021-06-01T00:00:00Z", "2021-06-01T00:00:00Z\n", "",
    ],
)  # fmt: skip
async def test_an_instant_that_rfc_3339_does_not_know(client: aiohttp.ClientSession, text: str) -> None:
    assert parse_instant(text) is None
    _, document = await post(client, "/v1/decisions", CUBAN | {"first_activated_at": text})
    assert [found["pointer"] for found in cast("list[dict[str, str]]", document["warnings"])] == ["/first_activated_at"]


# --- logs


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    return caplog


async def test_a_flood_of_bad_bytes_logs_one_scrubbed_line(service: Service, lines: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        await service.exchange(b"GET /evil-words\x00 HTTP/1.1\r\n\r\n")
    found = [record for record in lines.records if record.name == "aiohttp.server"]
    assert len(found) <= 2
    assert all(record.exc_info is None and "evil" not in record.getMessage() for record in found)


async def test_no_log_line_holds_an_address_or_an_imsi(service: Service, lines: pytest.LogCaptureFixture) -> None:
    async with aiohttp.ClientSession(service.url) as client:
        await post(client, "/v1/decisions", {"ip": "84.0.1.1", "sim": "368019876543210"})
        await get(client, "/v1/resolve/84.0.1.1")
        await get(client, "/v1/resolve?sim=368019876543210")
    ours = [record.getMessage() + str(record.__dict__.get("fields")) for record in lines.records if record.name != "asyncio"]
    assert not [line for line in ours if "84.0.1.1" in line or "9876543210" in line]


def test_the_answer_parser_of_these_tests() -> None:
    answer = parse_answer(b"HTTP/1.1 204 No Content\r\nA: b: c\r\nContent-Length: 2\r\n\r\n{}HTTP")
    assert answer == Answer(204, {"a": "b: c", "content-length": "2"}, b"{}", b"HTTP")
