"""Is it alive, is it ready, what is it: for load balancers, orchestrators and people.

`/livez` says that the loop turns. `/readyz` says that this instance should get traffic, with every check; while one
fails it is a 503 problem that carries the same `checks`.
"""

import orjson
from aiohttp import web

from regionresolver.service.problems import DRAINING, NOT_READY, ProblemError
from regionresolver.service.state import STATE, ServiceState

RETRY_AFTER_S = 5


async def live(request: web.Request) -> web.Response:
    """Answer `/livez` and `/healthz`."""
    return _json({"status": "ok", "worker": request.app[STATE].worker})


async def ready(request: web.Request) -> web.Response:
    """Answer `/readyz`."""
    state = request.app[STATE]
    checks = checks_of(state)
    if all(check["ok"] for check in checks.values()):
        warnings = list(state.resolver.warnings)
        return _json({"status": "ready", "worker": state.worker, "checks": checks, "warnings": warnings})
    kind = DRAINING if state.draining else NOT_READY
    extra = {"worker": state.worker, "checks": checks}
    raise ProblemError(kind, kind.title, headers={"Retry-After": str(RETRY_AFTER_S)}, extra=extra)


async def show_version(request: web.Request) -> web.Response:
    """Answer `/version`."""
    return _json({"name": "regionresolver", "version": request.app[STATE].version})


def checks_of(state: ServiceState) -> dict[str, dict[str, object]]:
    """Give every readiness check by name. Data and policy are loaded before the service listens, and stay."""
    return {
        "data": {"ok": True, "digest": state.data_digest},
        "policy": {"ok": True, "digest": state.policy.etag.strip('"')},
        "draining": {"ok": not state.draining},
    }


def _json(document: dict[str, object]) -> web.Response:
    return web.Response(body=orjson.dumps(document), content_type="application/json")
