"""Errors as the contract says: request x status x code x the words of the answer; and that no input is echoed."""

import asyncio
import hashlib
import json
import logging
import random
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from regionresolver import Resolver
from regionresolver.errors import DatabaseError
from regionresolver.service import logs, problems
from regionresolver.service.problems import Kind
from regionresolver.settings import Settings
from tests.http_service import Service, parse_answer, running
from tests.worlds import city_database

LIMIT = 16 * 1024
JSON = {"Content-Type": "application/json"}
TRACKED = "0189b3f0-6d9a-7c3e-8f57-2f0a5f0e9d11"
SECRET = "evil-words-368019876543210"


async def problem(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """Check what holds of every problem, and give its document."""
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    text = await response.text()
    assert "evil" not in text
    document: dict[str, Any] = json.loads(text)
    assert document["status"] == response.status
    assert document["type"] == "/problems/" + document["code"].lower().replace("_", "-")
    assert document["request_id"] == response.headers["X-Request-Id"]
    assert {"type", "title", "status", "detail", "code", "request_id"} <= set(document)
    return document


def ping(text: str) -> bytes:
    return text.replace("SECRET", SECRET).encode()


BODIES = [
    pytest.param(b"", 400, "BODY_NOT_JSON", None, id="empty"),
    pytest.param(b"serving=36801", 400, "BODY_NOT_JSON", None, id="a form"),
    pytest.param(ping('{"SECRET": '), 400, "BODY_NOT_JSON", None, id="cut off"),
    pytest.param(b"{'ip': 1}", 400, "BODY_NOT_JSON", None, id="single quotes"),
    pytest.param(b'{"ip": "1.2.3.4"} {}', 400, "BODY_NOT_JSON", None, id="two documents"),
    pytest.param(b'{"ip": "1.2.3.4",}', 400, "BODY_NOT_JSON", None, id="trailing comma"),
    pytest.param(b'{"a": NaN}', 400, "BODY_NOT_JSON", None, id="NaN"),
    pytest.param(b'{"a": "\xff"}', 400, "BODY_NOT_JSON", None, id="not UTF-8"),
    pytest.param(b'{"a": "\\ud800"}', 400, "BODY_NOT_JSON", None, id="half a surrogate pair"),
    pytest.param(b'\xef\xbb\xbf{"serving": "36801"}', 400, "BODY_NOT_JSON", None, id="byte order mark"),
    pytest.param('{"serving": "36801"}'.encode("utf-16"), 400, "BODY_NOT_JSON", None, id="UTF-16"),
    pytest.param(b"[" * 8000, 400, "BODY_NOT_JSON", None, id="8,000 open brackets"),
    pytest.param(b"[]", 400, "BODY_NOT_OBJECT", None, id="array"),
    pytest.param(b'"36801"', 400, "BODY_NOT_OBJECT", None, id="string"),
    pytest.param(b"null", 400, "BODY_NOT_OBJECT", None, id="null"),
    pytest.param(ping('{"serving": "SECRET", "serving": "36801"}'), 400, "DUPLICATE_KEY", None, id="a signal twice"),
    pytest.param(ping('{"serving": "36801", "SECRET": {"a": 1, "a": 2}}'), 400, "DUPLICATE_KEY", None, id="deep duplicate"),
    pytest.param(b"{}", 422, "NO_SIGNAL", None, id="empty ping"),
    pytest.param(b'{"ip": null, "sku": "x"}', 422, "NO_SIGNAL", None, id="null signal"),
    pytest.param(b'{"serving": 36801}', 422, "PLMN_NOT_STRING", "/serving", id="a PLMN as number"),
    pytest.param(b'{"sim": {"mcc": "368", "mnc": 1}}', 422, "PLMN_NOT_STRING", "/sim/mnc", id="an MNC as number"),
    pytest.param(b'{"ip": "' + b"x" * LIMIT + b'"}', 413, "BODY_TOO_LARGE", None, id="over 16 KiB"),
]


@pytest.mark.parametrize("path", ["/v1/decisions", "/v1/resolve"])
@pytest.mark.parametrize(("body", "status", "code", "pointer"), BODIES)
async def test_bodies(client: aiohttp.ClientSession, path: str, body: bytes, status: int, code: str, pointer: str | None) -> None:
    async with client.post(path, data=body, headers=JSON) as response:
        document = await problem(response)
    assert (response.status, document["code"], document.get("pointer")) == (status, code, pointer)


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        (ping('{"ip": "SECRET"}'), "IP_INVALID", "/ip"),
        (ping('{"serving": "SECRET"}'), "PLMN_INVALID", "/serving"),
        (ping('{"sim": {"mcc": "SECRET", "mnc": "01"}}'), "PLMN_INVALID", "/sim"),
        (b'{"ip": ["1.2.3.4"]}', "IP_INVALID", "/ip"),
        (b'{"serving": true}', "PLMN_INVALID", "/serving"),
    ],
)
@pytest.mark.parametrize("strict", ["strict=true", "strict=1", "strict"])
async def test_strict(client: aiohttp.ClientSession, body: bytes, code: str, pointer: str, strict: str) -> None:
    async with client.post(f"/v1/decisions?{strict}", data=body, headers=JSON) as response:
        document = await problem(response)
        assert (response.status, document["code"], document["pointer"]) == (422, code, pointer)
    async with client.post("/v1/decisions", data=body, headers=JSON) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json"}, 200),
        ({"Content-Type": "Application/JSON; charset=UTF-8"}, 200),
        ({"Content-Type": 'application/json;charset="utf-8"'}, 200),
        ({"Content-Type": "application/vnd.maker.ping+json"}, 200),
        ({}, 200),
        ({"Content-Type": "application/json", "Content-Encoding": "identity"}, 200),
        ({"Content-Type": "application/json; charset=latin-1"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "text/json"}, 415),
        ({"Content-Type": "application/jsonp"}, 415),
        ({"Content-Type": "application/xml+jsonx"}, 415),
        ({"Content-Type": "application/x-ndjson"}, 415),
        ({"Content-Type": "evil"}, 415),
        ({"Content-Type": ""}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "identity, gzip"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "identity\r\nContent-Encoding: gzip"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "identity\r\nContent-Encoding: Identity"}, 200),
    ],
)
async def test_media_types(service: Service, headers: Mapping[str, str], status: int) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    body = b'{"serving":"36801"}'
    head = f"POST /v1/decisions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
    answer = parse_answer(await service.exchange(head.encode() + body))
    assert answer.status == status
    assert status == 200 or answer.document["code"] == "MEDIA_TYPE"
    assert b"evil" not in answer.body


async def test_a_body_of_exactly_the_limit_is_taken(client: aiohttp.ClientSession) -> None:
    body = b'{"serving":"36801","pad":"' + b"x" * (LIMIT - 28) + b'"}'
    assert len(body) == LIMIT
    async with client.post("/v1/decisions", data=body, headers=JSON) as response:
        assert response.status == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_refused_before_it_has_arrived(service: Service, *, chunked: bool) -> None:
    length = b"Transfer-Encoding: chunked\r\n\r\n10000\r\n" if chunked else b"Content-Length: 1000000000\r\n\r\n"
    raw = b"POST /v1/decisions HTTP/1.1\r\nHost: a\r\n" + length + b'{"a":"' + b"x" * LIMIT
    answer = parse_answer(await service.exchange(raw))
    assert (answer.status, answer.document["code"]) == (413, "BODY_TOO_LARGE")
    assert answer.headers["connection"] == "close"
    assert answer.rest == b""


async def test_a_body_over_the_limit_is_refused_before_it_is_asked_for(service: Service) -> None:
    head = "POST /v1/decisions HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n"
    answer = parse_answer(await service.exchange(head.format(LIMIT + 1).encode()))
    assert (answer.status, answer.headers["connection"], answer.rest) == (413, "close", b"")
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(head.format(2).encode())
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"{}")
    assert await reader.readline() == b"HTTP/1.1 422 Unprocessable Entity\r\n"
    writer.close()


async def test_a_refusal_instead_of_the_continue_ends_the_connection(service: Service) -> None:
    head = (
        b"POST /v1/decisions HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n"
    )
    answer = parse_answer(await service.exchange(head))
    assert (answer.status, answer.headers["connection"], answer.rest) == (415, "close", b"")


async def test_a_client_that_goes_in_the_middle_of_a_body_is_no_error(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(b"POST /v1/resolve HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
    await asyncio.sleep(0.05)
    writer.transport.abort()
    await asyncio.sleep(0.05)
    assert {found.levelname for found in caplog.records if found.name != "asyncio"} <= {"INFO"}
    assert "connection_error" in [found.getMessage() for found in caplog.records]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("explain=evil", "explain must be none or reasons or full"),
        ("explain=", "explain must be"),
        ("explain=full&explain=full", "explain is given more than once"),
        ("strict=evil", "strict must be true"),
        ("include=evil", "include must be record"),
        ("ip=1.2.3.4&ip=1.2.3.4", "ip is given more than once"),
        ("serving=&serving=36801", "serving is given more than once"),
        ("%73im=1&sim=evil", "sim is given more than once"),
    ],
)
async def test_query_parameters(client: aiohttp.ClientSession, query: str, words: str) -> None:
    async with client.get(f"/v1/resolve?ip=8.8.8.8&{query}" if "ip=" not in query else f"/v1/resolve?{query}") as response:
        document = await problem(response)
    assert (response.status, document["code"]) == (400, "BAD_REQUEST")
    assert words in document["detail"]


@pytest.mark.parametrize("query", ["", "ip=", "ip=&serving=&sim=", "explain=full", "strict=true", "ips=8.8.8.8"])
async def test_a_query_without_a_signal(client: aiohttp.ClientSession, query: str) -> None:
    async with client.get(f"/v1/resolve?{query}") as response:
        document = await problem(response)
    assert (response.status, document["code"]) == (422, "NO_SIGNAL")


@pytest.mark.parametrize(
    "path", ["/nope", "/v1", "/v1/", "/v1/resolve/", "/v1/resolve/1.2.3.4/", "/livez/", "/evil-words", "/%2e%2e/etc"]
)
async def test_unknown_paths(client: aiohttp.ClientSession, path: str) -> None:
    async with client.get(path) as response:
        document = await problem(response)
    assert (response.status, document["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/decisions", "POST"),
        ("HEAD", "/v1/decisions", "POST"),
        ("PUT", "/v1/resolve", "GET, HEAD, POST"),
        ("POST", "/v1/resolve/1.2.3.4", "GET, HEAD"),
        ("DELETE", "/v1/policy", "GET, HEAD"),
        ("OPTIONS", "/livez", "GET, HEAD"),
        ("PATCH", "/livez", "GET, HEAD"),
    ],
)
async def test_methods(client: aiohttp.ClientSession, method: str, path: str, allow: str) -> None:
    async with client.request(method, path) as response:
        assert (response.status, response.headers["Allow"]) == (405, allow)
        if method != "HEAD":
            assert (await problem(response))["code"] == "METHOD_NOT_ALLOWED"


class BrokenResolver(Resolver):
    """A resolver that, once it is open, fails on every ping with input in the exception's message."""

    is_open = False

    def resolve(self, **arguments: Any) -> Any:
        if not self.is_open:
            return super().resolve(**arguments)  # the policy's own tests
        raise DatabaseError(SECRET, SECRET) if arguments.get("sim") else RuntimeError(SECRET)


@pytest.mark.parametrize("query", ["ip=8.8.8.8", "sim=36801"])
async def test_a_fault_of_ours_is_a_500_without_details(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    with BrokenResolver.open(db=city_database(tmp_path_factory.mktemp("city") / "city.mmdb")) as broken:
        monkeypatch.setattr(BrokenResolver, "is_open", True)
        async with running(broken, Settings(port=0, lane=False)) as service, aiohttp.ClientSession(service.url) as client:
            async with client.get(f"/v1/resolve?{query}", headers={"X-Request-Id": "the-id"}) as response:
                document = await problem(response)
                assert (response.status, document["code"], document["request_id"]) == (500, "INTERNAL", "the-id")
            async with client.get("/livez") as response:
                assert response.status == 200
    (record,) = [found for found in caplog.records if found.name == "regionresolver.service"]
    line = logs.JsonFormatter().format(record)
    assert "evil" not in line
    fields = json.loads(line)
    assert (fields["level"], fields["event"]) == ("error", "unexpected_error")
    assert fields["error"] in {"RuntimeError", "DatabaseError"}
    assert any("test_problems.py" in place for place in fields["at"])


def random_json(chance: random.Random, depth: int = 0) -> object:
    """A JSON value as a confused client might send it."""
    texts = ["36801", "250-34", "", "84.0.1.1", "::1", "368019876543210", "\x00", "é" * 300, "2021-01-01T00:00:00Z", "CU", "es"]
    scalars = [None, True, False, 0, -1, 2**63, 10**30, 1e308, chance.choice(texts), chance.choice(texts)]
    if depth < 3 and chance.random() < 0.3:
        keys = chance.sample(["mcc", "mnc", "a", ""], 2)
        return (
            {key: random_json(chance, depth + 1) for key in keys} if chance.random() < 0.6 else [random_json(chance, depth + 1)]
        )
    return chance.choice(scalars)


async def test_no_ping_makes_a_500(client: aiohttp.ClientSession) -> None:
    chance = random.Random(2)
    fields = ["id", "device_id", "ip", "serving", "sim", "sku", "sold_in", "first_activated_at", "lang", "other"]
    for number in range(400):
        document = {field: random_json(chance) for field in chance.sample(fields, chance.randint(1, len(fields)))}
        path = chance.choice(["/v1/decisions", "/v1/resolve"]) + chance.choice(["", "?explain=full", "?strict=1"])
        async with client.post(path, data=json.dumps(document).encode(), headers=JSON) as response:
            await response.read()
        assert response.status in {200, 400, 422}, (number, document)


def test_codes_and_titles_are_a_catalogue() -> None:
    kinds = [value for value in vars(problems).values() if isinstance(value, Kind)]
    assert len({kind.code for kind in kinds}) == len(kinds) > 10
    assert all(400 <= kind.status < 600 and kind.title for kind in kinds)


# --- the log


def record(name: str, message: str, *args: object, fields: object = None) -> logging.LogRecord:
    found = logging.LogRecord(name, logging.INFO, __file__, 1, message, args, None)
    if fields is not None:
        found.fields = fields
    return found


def test_a_foreign_record_loses_its_arguments() -> None:
    line = logs.JsonFormatter().format(record("asyncio", "bytes were %s", SECRET))
    assert json.loads(line)["event"] == "bytes were %s"


def test_a_line_of_json_is_one_line_whatever_the_fields() -> None:
    line = logs.JsonFormatter().format(record("regionresolver.x", "an event", fields={"a": "1\n2", "b": {3}}))
    assert "\n" not in line
    assert json.loads(line)["a"] == "1\n2"


def test_a_line_of_text_is_one_line_whatever_the_fields() -> None:
    line = logs.TextFormatter().format(record("regionresolver.x", "an event", fields={"a": "1\n\x1b[31m2"}))
    assert line.endswith("info    an event a=1\\n\\x1b[31m2")


def test_request_and_trace_are_in_the_line() -> None:
    request, trace = logs.request_id_var.set("r"), logs.trace_id_var.set("t")
    try:
        document = json.loads(logs.JsonFormatter().format(record("regionresolver.x", "an event")))
    finally:
        logs.request_id_var.reset(request)
        logs.trace_id_var.reset(trace)
    assert (document["request_id"], document["trace_id"]) == ("r", "t")


def test_the_scrubber_passes_one_record_an_interval_and_counts_the_rest() -> None:
    scrubber, told = logs.AiohttpScrubber(interval_s=3600), list[None]()
    scrubber.told = lambda: told.append(None)
    first, *others = [record("aiohttp.server", "%s", SECRET) for _ in range(4)]
    assert scrubber.filter(first)
    assert told == []
    assert not any(scrubber.filter(other) for other in others)
    assert len(told) == 3
    assert "evil" not in logs.JsonFormatter().format(first)
    scrubber._next_s = 0.0
    later = record("aiohttp.server", "%s", SECRET)
    assert scrubber.filter(later)
    assert json.loads(logs.JsonFormatter().format(later))["suppressed"] == len(told) == 3


@pytest.mark.parametrize(("level", "passes"), [(logging.INFO, True), (logging.WARNING, False)])
def test_a_client_that_is_gone_is_logged_at_info(caplog: pytest.LogCaptureFixture, level: int, *, passes: bool) -> None:
    caplog.set_level(level, logger="aiohttp.server")
    found = record("aiohttp.server", "%s", SECRET)
    error = ConnectionResetError(SECRET)
    found.levelno, found.exc_info = logging.ERROR, (type(error), error, None)
    assert logs.AiohttpScrubber().filter(found) is passes
    assert (found.levelno == logging.INFO) is passes


async def test_the_access_log_names_routes_and_not_paths(resolver: Resolver, caplog: pytest.LogCaptureFixture) -> None:
    access = logging.getLogger(logs.ACCESS)
    caplog.set_level(logging.INFO, logger=logs.ACCESS)
    assert not access.disabled
    async with running(resolver, Settings(port=0)) as service, aiohttp.ClientSession(service.url) as client:
        await client.get("/v1/resolve/84.0.1.1?sim=368019876543210", headers={"X-Request-Id": TRACKED})
        await client.get("/livez", headers={"X-Request-Id": "imsi-368019876543210"})
        await client.get("/evil-words")
        await service.exchange(b"evil-words\r\n\r\n")
    found = [json.loads(logs.JsonFormatter().format(entry)) for entry in caplog.records if entry.name == logs.ACCESS]
    assert [(line["method"], line["route"], line["status"]) for line in found] == [
        ("GET", "/v1/resolve/{ip}", 200),
        ("GET", "/livez", 200),
        ("GET", None, 404),
        ("UNKNOWN", None, 400),
    ]
    assert found[0]["request_id"] == TRACKED
    assert found[1]["request_id"] == "sha256:" + hashlib.sha256(b"imsi-368019876543210").hexdigest()[:16]
    assert not [line for line in found if "84.0.1.1" in str(line) or "evil" in str(line) or "9876543210" in str(line)]
