"""The routes about regions: each handler names the steps from a request to an answer.

Nothing here waits but the reading of a body: a resolution takes microseconds, so it runs on the loop.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import hdrs, web

from regionresolver.errors import InvalidAddressError
from regionresolver.model import Explanation, Resolution
from regionresolver.resolver import Decision, Resolver
from regionresolver.resolver.documents import Explain, decision_document, ping_arguments, resolution_document, signal_arguments
from regionresolver.resolver.pings import Fields
from regionresolver.resolver.wire import RecordDocument, RecordMembers, ResolutionDocument
from regionresolver.service import pings
from regionresolver.service.answers import JsonAnswer
from regionresolver.service.asked import asked
from regionresolver.service.client_address import client_address
from regionresolver.service.records import record_documents
from regionresolver.service.state import StandingDocument

# The data behind one address changes with a generation only; five minutes of staleness are in the contract.
ADDRESS_CACHE_CONTROL = "private, max-age=300"
DOCUMENT_CACHE_CONTROL = "no-cache"

_ETAGS = re.compile(r'"[^"]*"')


async def decide(request: web.Request) -> web.StreamResponse:
    """Answer `POST /v1/decisions`: one ping, its region and the decision."""
    state = asked(request).state
    choices = pings.wanted(request, "explain", "strict")
    ping = await pings.read_ping(request, state.settings.body_limit_bytes, state.settings.body_timeout_s)
    decision = decided(state.resolver, ping, strict=choices.strict)
    answer = _json(decision_document(decision, choices.explain))
    state.record(decision)
    return answer


def decided(resolver: Resolver, ping: Mapping[str, object], *, strict: bool) -> Decision:
    """Decide on a ping as it was parsed. Raises PingError."""
    arguments: dict[str, Any] = ping_arguments(ping)  # values of any JSON type: the resolver answers wrong ones with a notice
    return resolver.decide(**arguments, strict=strict)


async def resolve_ping(request: web.Request) -> web.StreamResponse:
    """Answer `POST /v1/resolve`: the region of one ping, without the policy."""
    state = asked(request).state
    explain, strict, include = pings.wanted(request, "explain", "strict", "include")
    ping = await pings.read_ping(request, state.settings.body_limit_bytes, state.settings.body_timeout_s)
    arguments: dict[str, Any] = signal_arguments(ping)
    fields = Fields()
    id_ = fields.text("id", ping.get("id"))
    found, explanation = _resolved(state.resolver, explain, **arguments, strict=strict)
    resolution = dataclasses.replace(found, warnings=(*found.warnings, *fields.notices))
    records = _records(state.resolver, ping.get("ip")) if include else None
    return _json(resolve_document(resolution, explanation, records, id_))


async def resolve_query(request: web.Request) -> web.StreamResponse:
    """Answer `GET /v1/resolve?ip=&serving=&sim=`: the region of the signals in the query, which are texts always."""
    state = asked(request).state
    explain, strict, include = pings.wanted(request, "explain", "strict", "include")
    ip, serving, sim = (pings.signal(request, name) for name in ("ip", "serving", "sim"))
    found = _resolved(state.resolver, explain, ip=ip, serving=serving, sim=sim, strict=strict)
    return _json(resolve_document(*found, _records(state.resolver, ip) if include else None))


async def resolve_address(request: web.Request) -> web.StreamResponse:
    """Answer `GET /v1/resolve/{ip}`: the region of one address; an invalid one is refused, for it is the resource."""
    state = asked(request).state
    explain, _, include = pings.wanted(request, "explain", "include")
    ip = asked(request).variable("ip")
    found = _resolved(state.resolver, explain, ip=ip, strict=True)
    caching = {"ETag": state.data_etag, "Cache-Control": ADDRESS_CACHE_CONTROL}
    if is_current(request, state.data_etag):
        return web.Response(status=304, headers=caching)
    return _json(resolve_document(*found, _records(state.resolver, ip) if include else None), caching)


async def resolve_caller(request: web.Request) -> web.StreamResponse:
    """Answer `GET /v1/resolve/me`: the region of whoever asks, seen through the trusted proxies."""
    state = asked(request).state
    explain, _, include = pings.wanted(request, "explain", "include")
    forwarded_for, forwarded = (request.headers.getall(name, []) for name in ("X-Forwarded-For", "Forwarded"))
    ip = str(client_address(request.remote, forwarded_for, forwarded, state.settings.trusted_proxies))
    found = _resolved(state.resolver, explain, ip=ip)
    return _json(resolve_document(*found, _records(state.resolver, ip) if include else None))


async def show_policy(request: web.Request) -> web.StreamResponse:
    """Answer `/v1/policy`: the active policy, expanded."""
    return _standing(request, asked(request).state.policy)


async def show_metadata(request: web.Request) -> web.StreamResponse:
    """Answer `/v1/metadata`: what the answers were made from."""
    return _standing(request, asked(request).state.metadata)


def _resolved(resolver: Resolver, explain: Explain, **arguments: Any) -> tuple[Resolution, Explanation | None]:
    """Resolve signals, and explain where that was asked for; without a policy `full` has no more to say than `reasons`."""
    if explain == "none":
        return resolver.resolve(**arguments), None
    explanation = resolver.explain(**arguments)
    return explanation.resolution, explanation


def resolve_document(
    resolution: Resolution,
    explanation: Explanation | None = None,
    records: list[RecordDocument] | None = None,
    id_: str | None = None,
) -> ResolutionDocument:
    """Give a resolution's answer: a decision's members without the policy's, and the records where they were asked for."""
    recorded: RecordMembers = {} if records is None else {"records": records}
    return {"id": id_, **resolution_document(resolution, explanation), **recorded}


def _records(resolver: Resolver, ip: object) -> list[RecordDocument]:
    """Give the databases' records of an address; none for an invalid one, which the resolution already tells."""
    try:
        return record_documents(resolver.records(ip)) if isinstance(ip, str) else []
    except InvalidAddressError:
        return []


def _standing(request: web.Request, document: StandingDocument) -> web.StreamResponse:
    caching = {"ETag": document.etag, "Cache-Control": DOCUMENT_CACHE_CONTROL}
    if is_current(request, document.etag):
        return web.Response(status=304, headers=caching)
    return JsonAnswer(document.body, caching)


def is_current(request: web.Request, etag: str) -> bool:
    """Say whether `If-None-Match` holds `etag` (RFC 9110, section 13.1.2: weak comparison, or a bare * on its own)."""
    if hdrs.IF_NONE_MATCH not in request.headers:
        return False
    known = ",".join(request.headers.getall(hdrs.IF_NONE_MATCH))
    return known.strip(" \t") == "*" or etag in _ETAGS.findall(known)


def _json(document: Mapping[str, object], headers: dict[str, str] | None = None) -> JsonAnswer:
    return JsonAnswer(orjson.dumps(document), headers)
