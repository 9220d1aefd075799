"""Is it alive, is it ready, what is it: for load balancers, orchestrators and people.

`/livez` says that the loop turns. `/readyz` says that this instance should get traffic, with every check; while one
fails it is a 503 problem that carries the same `checks`.
"""

from collections.abc import Iterator

import orjson
from aiohttp import web

from regionresolver.resolver import Breaker
from regionresolver.service.answers import JsonAnswer
from regionresolver.service.asked import asked
from regionresolver.service.checks import too_old
from regionresolver.service.problems import DRAINING, NOT_READY, ProblemError
from regionresolver.service.state import ServiceState

RETRY_AFTER_S = 5


async def live(request: web.Request) -> JsonAnswer:
    """Answer `/livez` and `/healthz`."""
    return _json({"status": "ok", "worker": asked(request).state.worker})


async def ready(request: web.Request) -> JsonAnswer:
    """Answer `/readyz`."""
    state = asked(request).state
    checks = checks_of(state)
    if all(check["ok"] for check in checks.values()):
        warnings = list(warnings_of(state))
        return _json({"status": "ready", "worker": state.worker, "checks": checks, "lane": state.lane(), "warnings": warnings})
    kind = DRAINING if state.draining else NOT_READY
    extra = {"worker": state.worker, "checks": checks}
    raise ProblemError(kind, kind.title, headers={"Retry-After": str(RETRY_AFTER_S)}, extra=extra)


async def show_version(request: web.Request) -> JsonAnswer:
    """Answer `/version`."""
    return _json({"name": "regionresolver", "version": asked(request).state.version})


def checks_of(state: ServiceState) -> dict[str, dict[str, object]]:
    """Give every readiness check by name. Data and policy are loaded before the service listens, and stay.

    A breaker that has tripped leaves the instance ready: another instance would answer no better.
    """
    resolver = state.resolver
    return {
        "overload": {"ok": state.pressure.reason is None, "why": state.pressure.reason},
        "data": {"ok": True, "digest": state.data_digest},
        "policy": {
            "ok": True,
            "digest": state.policy.etag.strip('"'),
            "generation": resolver.policy_generation,
            "in_place_of_the_active": resolver.policy_is_fallback,
        },
        "reload": {"ok": True, "latest": state.latest_reload},
        "breaker": {"ok": True, **_breaker(resolver.breaker)},
        "draining": {"ok": not state.draining},
    }


def warnings_of(state: ServiceState) -> Iterator[str]:
    """Give what an operator should know of: what was found at the start, and what the breaker has done since."""
    yield from state.resolver.warnings
    limit_days = state.settings.max_age_warn_days
    if limit_days is not None and (aged := too_old(state.resolver, limit_days)) is not None:
        yield f"{aged}: update it"
    if state.latest_reload is not None and state.latest_reload["outcome"] == "failed":
        yield f"the latest reload failed, and {state.resolver.generation} is still served: {state.latest_reload['detail']}"
    breaker = state.resolver.breaker
    if breaker.trip is not None:
        yield str(breaker.trip)
    if breaker.fault is not None:
        yield f"the runtime breaker: {breaker.fault}"


def _breaker(breaker: Breaker) -> dict[str, object]:
    """Give the breaker's state: its limits, what the last check saw, and the trip if there was one."""
    if breaker.limits is None:
        return {"state": "none"}
    return {
        "state": "closed" if breaker.trip is None else "tripped",
        "action": breaker.limits.action,
        "since": None if breaker.trip is None else breaker.trip.since,
        "decided": breaker.decided,
        "denied": breaker.denied,
    }


def _json(document: dict[str, object]) -> JsonAnswer:
    return JsonAnswer(orjson.dumps(document))
