"""The OpenAPI document: it is what the code says, it is valid, the service answers by it, and /docs shows it in a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING, Any

import aiohttp
import jsonschema  # type: ignore[import-untyped]
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator

from regionresolver.resolver import wire
from regionresolver.resolver.documents import FACT_FIELDS, SIGNAL_FIELDS
from regionresolver.resolver.pings import ParsedSignals
from regionresolver.service import authz
from regionresolver.service.app import ROUTES
from regionresolver.service.docs_page import _SHIPPED
from regionresolver.service.openapi import OPERATIONS, as_shipped, openapi_document
from tests.http_service import LOOPBACK, Service, running
from tests.serve_process import serve

if TYPE_CHECKING:
    from pathlib import Path

    from regionresolver.resolver import Resolver

# What people see in a browser is no part of the contract.
FOR_BROWSERS = {("get", "/"), ("get", "/docs"), ("get", "/docs/{file}")}
# Takes any method, and any path below: OpenAPI has one of each.
FOR_PROMETHEUS = {("get", "/metrics")}
FOR_PROXIES = {("*", authz.PATH), ("*", authz.BELOW)}

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found = orjson.loads(_SHIPPED.joinpath("openapi.json").read_bytes())
    assert isinstance(found, dict)
    return found


def test_what_is_shipped_is_what_the_code_says() -> None:
    shipped = _SHIPPED.joinpath("openapi.json").read_bytes()
    assert shipped == as_shipped(openapi_document()), "make openapi"


def test_the_document_is_openapi_3_1(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_is_described_and_nothing_else() -> None:
    routes = {(route.method.lower(), route.path) for route in ROUTES}
    assert routes >= FOR_BROWSERS | FOR_PROXIES | FOR_PROMETHEUS
    assert set(OPERATIONS) == routes - FOR_BROWSERS - FOR_PROXIES - FOR_PROMETHEUS | {("get", authz.PATH)}


@pytest.mark.parametrize("name", ["Ping", "Decision", "Resolution"])
def test_every_member_says_what_it_is(name: str, document: dict[str, Any]) -> None:
    members = document["components"]["schemas"][name]["properties"]
    assert [member for member, schema in members.items() if "description" not in schema] == []


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """The same document, in which an answer may have no member that is not described."""
    found = deepcopy(document)
    open_on_purpose = {"Check", "Ping"}
    for name, schema in found["components"]["schemas"].items():
        if "properties" in schema and name not in open_on_purpose:
            schema["additionalProperties"] = False
    return found


def validator(document: dict[str, Any], path: str, method: str, status: int, media: str) -> jsonschema.Validator:
    answer = document["paths"][path][method]["responses"][str(status)]
    if "$ref" in answer:
        answer = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    schema = answer["content"][media]["schema"]
    return jsonschema.Draft202012Validator({**schema, "components": document["components"]})


@cache
def openapi_schema() -> dict[str, Any]:
    """The schema of a ping, by itself."""
    components = orjson.loads(_SHIPPED.joinpath("openapi.json").read_bytes())["components"]
    found: dict[str, Any] = deepcopy(components["schemas"]["Ping"])
    for name in ("serving", "sim"):
        found["properties"][name]["anyOf"] = [
            components["schemas"]["Plmn"] if "$ref" in one else one for one in found["properties"][name]["anyOf"]
        ]
    return found


REQUESTS: list[tuple[str, str, str, Any]] = [
    ("post", "/v1/decisions", "/v1/decisions", {"ip": "46.172.192.10", "serving": "25034", "lang": "en", "id": "a"}),
    ("post", "/v1/decisions", "/v1/decisions?explain=full", {"ip": "46.172.192.10", "serving": "36801", "sim": "21401"}),
    ("post", "/v1/decisions", "/v1/decisions?explain=reasons", {"ip": "10.0.0.1", "serving": "90128", "sim": "31026"}),
    ("post", "/v1/decisions", "/v1/decisions", {"ip": "x", "serving": "y", "sim": "z", "sku": 5, "first_activated_at": "no"}),
    ("post", "/v1/decisions", "/v1/decisions?strict", {"ip": "x"}),
    ("post", "/v1/decisions", "/v1/decisions?strict=2", {"ip": "x"}),
    ("post", "/v1/decisions", "/v1/decisions", {"serving": 36801}),
    ("post", "/v1/decisions", "/v1/decisions", {}),
    ("post", "/v1/decisions", "/v1/decisions", [1]),
    ("post", "/v1/decisions", "/v1/decisions", b"{"),
    ("post", "/v1/decisions", "/v1/decisions", b'{"a":1,"a":2}'),
    ("post", "/v1/decisions", "/v1/decisions", b" " * 20_000),
    ("post", "/v1/decisions/batch", "/v1/decisions/batch", [{"serving": "36801"}, {"ip": "5.0.192.1"}, {"sim": 1}, 7]),
    ("post", "/v1/decisions/batch", "/v1/decisions/batch?explain=full", [{"serving": "36801", "ip": "5.0.192.1"}]),
    ("post", "/v1/decisions/batch", "/v1/decisions/batch", {"serving": "36801"}),
    ("post", "/v1/decisions/batch", "/v1/decisions/batch", [{}] * 10_001),
    ("get", "/v1/resolve", "/v1/resolve?ip=46.172.192.10&serving=25001&explain=full&include=record", None),
    ("get", "/v1/resolve", "/v1/resolve", None),
    ("post", "/v1/resolve", "/v1/resolve?include=record&explain=reasons", {"ip": "46.172.192.10", "id": "r"}),
    ("get", "/v1/resolve/me", "/v1/resolve/me", None),
    ("get", "/v1/resolve/{ip}", "/v1/resolve/46.172.192.10?include=record", None),
    ("get", "/v1/resolve/{ip}", "/v1/resolve/nowhere", None),
    ("get", "/v1/policy", "/v1/policy", None),
    ("get", "/v1/metadata", "/v1/metadata", None),
    ("get", "/livez", "/livez", None),
    ("get", "/healthz", "/healthz", None),
    ("get", "/readyz", "/readyz", None),
    ("get", "/version", "/version", None),
    ("get", "/openapi.json", "/openapi.json", None),
]


@pytest.mark.parametrize(("method", "path", "target", "body"), REQUESTS)
async def test_answers_are_as_described(
    method: str, path: str, target: str, body: Any, client: aiohttp.ClientSession, service: Service, document: dict[str, Any]
) -> None:
    content = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
    headers = {} if content is None else {"Content-Type": "application/json"}
    async with client.request(method, service.url + target, data=content, headers=headers) as response:
        found = orjson.loads(await response.read())
    validator(closed(document), path, method, response.status, response.content_type).validate(found)


async def test_an_unready_service_answers_as_described(resolver: Resolver, document: dict[str, Any]) -> None:
    async with running(resolver) as service:
        service.state.draining = True
        async with aiohttp.ClientSession() as session, session.get(service.url + "/readyz") as response:
            found = orjson.loads(await response.read())
    assert response.status == 503
    validator(closed(document), "/readyz", "get", 503, response.content_type).validate(found)


async def test_the_lines_of_a_stream_are_as_described(
    client: aiohttp.ClientSession, service: Service, document: dict[str, Any]
) -> None:
    body = b'{"serving":"36801"}\n{"serving":7}\n'
    headers = {"Content-Type": "application/x-ndjson"}
    async with client.post(service.url + "/v1/decisions/batch", data=body, headers=headers) as response:
        lines = (await response.read()).splitlines()
    names = ("Decision", "ProblemItem", "Complete")
    for name, line in zip(names, lines, strict=True):
        schema = {"$ref": f"#/components/schemas/{name}", "components": closed(document)["components"]}
        jsonschema.Draft202012Validator(schema).validate(orjson.loads(line))


@given(
    ip=st.ip_addresses().map(str),
    serving=st.from_regex(re.compile(r"[0-9]{3}[- ]?[0-9]{2,3}"), fullmatch=True),
    sim=st.text("0123456789- ", min_size=3, max_size=17),
)
def test_texts_of_signals_are_taken_exactly_when_the_document_says_so(ip: str, serving: str, sim: str) -> None:
    schema = openapi_schema()
    parsed = ParsedSignals(ip, serving, sim, strict=False).parsed
    for field, invalid in (("ip", parsed[1]), ("serving", parsed[3]), ("sim", parsed[5])):
        value = {"ip": ip, "serving": serving, "sim": sim}[field]
        checker = jsonschema.Draft202012Validator(schema["properties"][field], format_checker=jsonschema.FormatChecker())
        assert checker.is_valid(value) == (not invalid), field


def test_the_readers_of_pings_know_the_fields_that_are_described(document: dict[str, Any]) -> None:
    assert set(SIGNAL_FIELDS) | set(FACT_FIELDS) == set(document["components"]["schemas"]["Ping"]["properties"])
    assert set(wire.PingDocument.__annotations__) == {*SIGNAL_FIELDS, *FACT_FIELDS}


# A query without any signal is refused, which OpenAPI cannot say of parameters.
SCHEMATHESIS = """
[checks]
enabled = false
not_a_server_error.enabled = true
status_code_conformance.enabled = true
content_type_conformance.enabled = true
response_headers_conformance.enabled = true
response_schema_conformance.enabled = true
unsupported_method.enabled = true
positive_data_acceptance.enabled = true

[[operations]]
include-name = "GET /v1/resolve"
checks.positive_data_acceptance.enabled = false

[[operations]]
include-path = "/v1/authz"
checks.unsupported_method.enabled = false
"""


def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    """Made requests, right and wrong ones, against a real service: no fault, and every answer as the document says."""
    (tmp_path / "schemathesis.toml").write_text(SCHEMATHESIS, "ascii")
    with serve("--workers", "1") as service:
        command = [
            sys.executable, "-m", "schemathesis.cli", "run", f"http://{LOOPBACK}:{service.port}/openapi.json",
            "--max-examples", "5", "--seed", "1", "--no-color", "--phases", "examples,coverage,fuzzing",
        ]  # fmt: skip
        found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    tested = re.search(r"Tested: +(\d+)", found.stdout)
    assert tested is not None, found.stdout
    assert int(tested[1]) == len(OPERATIONS) - 1, found.stdout  # all but the document itself


# --- the page


async def test_the_page_and_its_files(client: aiohttp.ClientSession, service: Service) -> None:
    async with client.get(service.url + "/", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "docs")
    async with client.get(service.url + "/docs") as response:
        page = await response.text()
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    named = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert set(named) == {
        "docs/swagger-ui.css", "docs/swagger-ui-bundle.js", "docs/start.js", "docs/favicon-32x32.png", "openapi.json",
    }  # fmt: skip
    for name in named:
        async with client.get(f"{service.url}/{name}") as response:
            assert response.status == 200
            assert await response.read()
        headers = {"If-None-Match": response.headers["ETag"]}
        async with client.get(f"{service.url}/{name}", headers=headers) as response:
            assert response.status == 304
    for name in ("page.html", "..%2Fopenapi.json", "NOTICE", "x"):
        async with client.get(f"{service.url}/docs/{name}") as response:
            assert response.status == 404


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
def test_a_browser_shows_the_page_without_an_error(tmp_path: Path) -> None:
    """The document is rendered, nothing is written to the console, and the picture is not blank."""
    assert CHROMIUM is not None
    with serve("--workers", "1") as service:
        flags = [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,1600",
            "--virtual-time-budget=4000", "--enable-logging=stderr",
        ]  # fmt: skip
        url = f"http://{LOOPBACK}:{service.port}/docs"
        picture = tmp_path / "docs.png"
        shown = subprocess.run([CHROMIUM, *flags, "--dump-dom", url], capture_output=True, text=True, timeout=60, check=True)
        screenshot = [CHROMIUM, *flags, f"--screenshot={picture}", url]
        subprocess.run(screenshot, capture_output=True, text=True, timeout=60, check=True)
    assert "CONSOLE" not in shown.stderr, shown.stderr
    for method, path in OPERATIONS:
        assert re.search(rf'data-path="{re.escape(path)}"', shown.stdout), (method, path)
    assert picture.stat().st_size > 20_000
