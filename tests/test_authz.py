"""`/v1/authz`: who may pass, whose word counts, and that no forged header outlives the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from aiohttp import hdrs

from regionresolver import Resolver
from regionresolver.service.authz import DECISION_HEADERS
from regionresolver.settings import Settings
from tests.http_service import Answer, Service, parse_answer, running
from tests.worlds import city_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CUBA, SPAIN, CRIMEA = "84.0.1.1", "80.0.1.1", "46.0.1.1"
DENIED = {
    "x-region-code": "CU",
    "x-region-confidence": "0.7",
    "x-decision": "deny",
    "x-decision-rule": "embargo-six",
    "x-decision-reason": "REGION_NOT_PERMITTED",
    "x-policy-version": "activation@1",
}
FORGED = [f"{name}: forged" for name in DECISION_HEADERS]


def request(*lines: str, method: str = "GET", target: str = "/v1/authz", client: str | None = None, body: bytes = b"") -> bytes:
    forwarded = [] if client is None else [f"X-Forwarded-For: {client}"]
    length = [f"Content-Length: {len(body)}"] if body else []
    head = [f"{method} {target} HTTP/1.1", "Host: a", "Connection: close", *forwarded, *length, *lines, "", ""]
    return "\r\n".join(head).encode("utf-8", "surrogateescape") + body


def decision_of(answer: Answer) -> dict[str, str]:
    return {name: answer.headers[name] for name in map(str.lower, DECISION_HEADERS)}


@pytest_asyncio.fixture
async def behind_proxy(resolver: Resolver) -> AsyncIterator[Service]:
    """A service that trusts its peer, loopback."""
    async with running(resolver, Settings(port=0, trusted_proxies=("127.0.0.0/8",))) as found:
        yield found


async def ask(service: Service, *lines: str, **how: Any) -> Answer:
    answer = parse_answer(await service.exchange(request(*lines, **how)))
    assert answer.rest == b""
    assert answer.headers["cache-control"] == "no-store"
    return answer


async def test_a_denied_caller(behind_proxy: Service) -> None:
    answer = await ask(behind_proxy, client=CUBA)
    assert (answer.status, answer.body, answer.headers["content-length"]) == (403, b"", "0")
    found = decision_of(answer)
    assert found == DENIED | {"x-region-confidence": found["x-region-confidence"]}
    assert 0 < float(found["x-region-confidence"]) <= 1


async def test_an_allowed_caller(behind_proxy: Service) -> None:
    answer = await ask(behind_proxy, *FORGED, client=SPAIN)
    assert (answer.status, answer.body) == (200, b"")
    found = decision_of(answer)
    assert (found["x-region-code"], found["x-decision"], found["x-policy-version"]) == ("ES", "allow", "activation@1")
    assert "forged" not in found.values()


async def test_a_caller_in_review_passes_and_is_marked(behind_proxy: Service) -> None:
    answer = await ask(behind_proxy, "X-Device-Serving: 25001", client=CRIMEA)
    assert (answer.status, decision_of(answer)["x-decision"]) == (200, "review")
    assert decision_of(answer)["x-decision-reason"] == "LOW_CONFIDENCE"


async def test_without_a_region_its_header_is_there_and_empty(behind_proxy: Service) -> None:
    answer = await ask(behind_proxy, *FORGED, client="192.0.2.1")
    assert answer.status == 200
    assert decision_of(answer) | {"x-policy-version": ""} == dict.fromkeys(map(str.lower, DECISION_HEADERS), "") | {
        "x-decision": "allow", "x-decision-reason": "NO_EVIDENCE", "x-region-confidence": "0",
    }  # fmt: skip


@pytest.mark.parametrize("method", [*sorted(hdrs.METH_ALL - {"CONNECT"}), "PROPFIND", "PURGE", "REPORT"])
async def test_any_method(behind_proxy: Service, method: str) -> None:
    for client, status in ((CUBA, 403), (SPAIN, 200)):
        raw = await behind_proxy.exchange(request(method=method, client=client))
        answer = parse_answer(raw)
        assert (answer.status, answer.rest) == (status, b""), method
        assert decision_of(answer)["x-decision"] == ("deny" if status == 403 else "allow")


@pytest.mark.parametrize(
    "target",
    ["/v1/authz/", "/v1/authz/activate?x=1", "/v1/authz//x", "/v1/authz?a=b", "/v1/authz/%0a%00", "/v1/authz/v1/decisions",
     "/v1/authz/../../livez", "/v1/authz/%2e%2e/%2e%2e/livez", "/v1/authz/..", "/v1/authz/a/../../../livez"],
)  # fmt: skip
async def test_the_original_path_behind_the_prefix_changes_nothing(behind_proxy: Service, target: str) -> None:
    """Also not by its dots: a path that left the prefix would get the answer of another route, and pass."""
    answer = await ask(behind_proxy, target=target, client=CUBA)
    assert (answer.status, decision_of(answer)["x-decision"]) == (403, "deny")


@pytest.mark.parametrize("target", ["/v1/authzx", "/v1/authz.", "/V1/authz"])
async def test_other_paths_are_not_this_one(behind_proxy: Service, target: str) -> None:
    answer = await ask(behind_proxy, target=target, client=SPAIN)
    assert answer.status == 404
    assert "x-decision" not in answer.headers


async def test_a_body_is_not_looked_at(behind_proxy: Service) -> None:
    answer = await ask(behind_proxy, "Content-Type: text/plain", method="POST", client=CUBA, body=b"\xff" * 5000)
    assert answer.status == 403
    expecting = request("Expect: 100-continue", "Content-Length: 9", method="POST", client=SPAIN)
    assert (await behind_proxy.exchange(expecting)).startswith(b"HTTP/1.1 200 ")


# --- whose word counts

PHONE = ["X-Device-Serving: 36801", "X-Device-Sim: 368019876543210", "X-Device-Sku: M2101K7AG", "X-Device-Id: h:9c1e"]


async def test_the_headers_of_a_phone_count_from_a_trusted_peer(behind_proxy: Service) -> None:
    for line in PHONE[:2]:
        answer = await ask(behind_proxy, line, client=SPAIN)
        evidence = decision_of(answer)["x-region-code"]
        assert evidence == ("CU" if "Serving" in line else "ES"), line
    assert (await ask(behind_proxy, *PHONE, client=SPAIN)).status == 403


async def test_and_from_nobody_else(resolver: Resolver) -> None:
    settings = Settings(port=0, trusted_proxies=("10.0.0.0/8",))
    async with running(resolver, settings) as service:
        answer = await ask(service, *PHONE, client=CUBA)
        assert (answer.status, decision_of(answer)["x-region-code"]) == (200, "")
        # Nor do they make an error: what does not count is not read.
        assert (await ask(service, PHONE[0], PHONE[0], "Forwarded: ;;", client="junk")).status == 200


SKU_POLICY = """
[policy]
name = "skus"
version = 3

[[rules]]
id = "old-model"
when = { sku = ["OLD*"] }
effect = "deny"
reason = "MODEL_NOT_SERVED"
review_by = 2100-01-01

[messages.MODEL_NOT_SERVED]
en = "Not this model."
"""


async def test_the_model_reaches_the_policy(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(SKU_POLICY)
    with Resolver.open(db=city_database(tmp_path / "city.mmdb"), policy=tmp_path / "policy.toml") as resolver:
        async with running(resolver, Settings(port=0, trusted_proxies=("127.0.0.0/8",))) as service:
            denied = await ask(service, "X-Device-Sku: OLD-1", client=SPAIN)
            assert (denied.status, decision_of(denied)["x-decision-rule"]) == (403, "old-model")
            assert decision_of(denied)["x-policy-version"] == "skus@3"
            for line in ("X-Device-Sku: NEW-1", "X-Device-Sku:"):
                assert (await ask(service, line, client=SPAIN)).status == 200


@pytest.mark.parametrize(
    "lines",
    [
        ["X-Device-Serving: nonsense"],
        ["X-Device-Serving: +3680"],
        ["X-Device-Sim: 1"],
        ["X-Device-Sku: " + "x" * 1000],
        ["X-Device-Id: " + "x" * 1000],
        ["X-Device-Serving:", "X-Device-Sim:", "X-Device-Sku:", "X-Device-Id:"],
        ["X-Device-Serving:", "X-Device-Serving: 21401"],
    ],
)
async def test_a_malformed_value_does_not_lock_a_phone(behind_proxy: Service, lines: list[str]) -> None:
    assert (await ask(behind_proxy, *lines, client=SPAIN)).status == 200
    assert (await ask(behind_proxy, *lines, client=CUBA)).status in {200, 403}


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["X-Device-Serving: 21401", "X-Device-Serving: 36801"], "BAD_REQUEST"),
        (["X-Device-Id: a", "x-device-id: b"], "BAD_REQUEST"),
        (["X-Device-Sku: \xe9"], "BAD_REQUEST"),
        (["X-Device-Id: \udcff"], "BAD_REQUEST"),
        (["X-Forwarded-For: evil"], "CLIENT_IP_UNTRUSTED"),
        (["X-Forwarded-For: 127.0.0.2"], "CLIENT_IP_UNTRUSTED"),
        (["Forwarded: for=80.0.1.1", "X-Forwarded-For: 84.0.1.1"], "CLIENT_IP_UNTRUSTED"),
        ([], "CLIENT_IP_UNTRUSTED"),
    ],
)
async def test_what_cannot_be_judged_is_refused(behind_proxy: Service, lines: list[str], code: str) -> None:
    client = None if code == "CLIENT_IP_UNTRUSTED" else SPAIN
    answer = await ask(behind_proxy, *lines, *FORGED, client=client)
    assert (answer.status, answer.document["code"]) == (400, code)
    assert decision_of(answer) == dict.fromkeys(map(str.lower, DECISION_HEADERS), "")


async def test_refusals_of_the_guard_carry_the_headers_too(behind_proxy: Service) -> None:
    raw = request(*FORGED, client=SPAIN).replace(b"Host: a", b"Host: a,b")
    answer = parse_answer(await behind_proxy.exchange(raw))
    assert answer.status == 400
    assert decision_of(answer) == dict.fromkeys(map(str.lower, DECISION_HEADERS), "")


async def test_a_fault_of_ours_is_a_503(
    behind_proxy: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("evil-words")

    monkeypatch.setattr(behind_proxy.state.resolver, "decide", broken)
    answer = await ask(behind_proxy, *FORGED, client=CUBA)
    assert (answer.status, answer.document["status"], answer.document["code"]) == (503, 503, "INTERNAL")
    assert decision_of(answer) == dict.fromkeys(map(str.lower, DECISION_HEADERS), "")
    (record,) = [found for found in caplog.records if found.name == "regionresolver.service"]
    assert record.getMessage() == "unexpected_error"
    assert "evil" not in str(record.__dict__["fields"])


async def test_a_connection_to_the_proxy_is_kept(behind_proxy: Service) -> None:
    raw = request(client=CUBA).replace(b"Connection: close\r\n", b"") + request(client=SPAIN)
    first = parse_answer(await behind_proxy.exchange(raw))
    second = parse_answer(first.rest)
    assert (first.status, second.status, second.rest) == (403, 200, b"")


async def test_decisions_count_for_the_breaker(tmp_path: Path) -> None:
    with Resolver.open(db=city_database(tmp_path / "city.mmdb")) as resolver:
        async with running(resolver, Settings(port=0, trusted_proxies=("127.0.0.0/8",))) as service:
            decided, denied = resolver.breaker._totals()
            for client in (CUBA, SPAIN):
                await ask(service, client=client)
            assert resolver.breaker._totals() == (decided + 2, denied + 1)
