"""`/v1/authz`: may this caller pass? For proxies that ask before they forward a request, whatever its method.

In: a request as the proxy makes it for the one that it holds; any method, any path below `/v1/authz/` (Envoy and others put
the original path behind the prefix), a body that is not looked at. The ping is the client's address, seen through the
trusted proxies, and what the proxy says of the phone in `X-Device-*`, which nobody else may say.

Out: 200 without a body for allow and review, 403 without a body for deny: nginx turns anything but 2xx, 401 and 403 into a
500, Envoy forwards on nothing but 200. A request that cannot be judged is 400, a fault of ours 503, so that the proxy's
own setting then fails open or closed. The six headers of the decision are on every answer, empty where there is nothing to
say: the proxy copies them over whatever the client forged under these names.
"""

import dataclasses
import logging

from aiohttp import web

from regionresolver.errors import PingError
from regionresolver.model import Effect
from regionresolver.resolver import Decision
from regionresolver.service import logs
from regionresolver.service.asked import asked
from regionresolver.service.client_address import client_address, is_trusted
from regionresolver.service.problems import INTERNAL, ProblemError
from regionresolver.service.state import ServiceState

PATH = "/v1/authz"
BELOW = PATH + r"/{original:[\s\S]*}"  # also over an escaped line feed

DECISION_HEADERS = (
    "X-Region-Code",
    "X-Region-Confidence",
    "X-Decision",
    "X-Decision-Rule",
    "X-Decision-Reason",
    "X-Policy-Version",
)

# What a trusted peer says of the phone.
SERVING, SIM, SKU, DEVICE_ID = "X-Device-Serving", "X-Device-Sim", "X-Device-Sku", "X-Device-Id"

# Review is for a person to look at later: the phone is not denied meanwhile, as /v1/decisions does not deny it either.
_STATUSES = {Effect.ALLOW: 200, Effect.REVIEW: 200, Effect.DENY: 403}

# A proxy fails open or closed on a 5xx of its own choice, and 503 is the one that says "not now".
FAULT = dataclasses.replace(INTERNAL, status=503)

_log = logging.getLogger("regionresolver.service")


async def authorize(request: web.Request) -> web.Response:
    """Answer `/v1/authz`."""
    try:
        decision = _decided(request, asked(request).state)
    except PingError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever fails, the proxy has to be told that it was not the client
        logs.event(_log, logging.ERROR, "unexpected_error", error)
        raise ProblemError(FAULT, "the fault is logged under this request_id or its digest") from None
    asked(request).state.record(decision)
    return web.Response(status=_STATUSES[decision.effect], headers=decision_headers(decision))


def complete_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Put the headers of a decision on every answer below `/v1/authz`, empty where the answer has none."""
    if request.path == PATH or request.path.startswith(PATH + "/"):
        for name in DECISION_HEADERS:
            response.headers.setdefault(name, "")


def decision_headers(decision: Decision) -> dict[str, str]:
    """Give a decision as headers; each value is one of the policy's or the catalogue's own names, all of them ASCII."""
    verdict = decision.verdict
    values = (
        decision.region or "",
        f"{decision.confidence:g}",
        verdict.effect.value,
        verdict.rule or "",
        verdict.reason or "",
        decision.policy,
    )
    return dict(zip(DECISION_HEADERS, values, strict=True))


def _decided(request: web.Request, state: ServiceState) -> Decision:
    """Decide on the caller. Raises PingError."""
    trusted = state.settings.trusted_proxies
    forwarded_for, forwarded = (request.headers.getall(name, []) for name in ("X-Forwarded-For", "Forwarded"))
    ip = str(client_address(request.remote, forwarded_for, forwarded, trusted))
    if not is_trusted(request.remote, trusted):
        return state.resolver.decide(ip=ip)
    return state.resolver.decide(
        ip=ip,
        serving=_only(request, SERVING),
        sim=_only(request, SIM),
        sku=_only(request, SKU),
        device_id=_only(request, DEVICE_ID),
    )


def _only(request: web.Request, name: str) -> str | None:
    """Give the value of a header; an empty one counts as not given. Raises PingError."""
    values = [value for value in request.headers.getall(name, []) if value]
    if len(values) > 1:  # the client's and the proxy's: taking either would be a guess
        raise PingError(f"{name} is given more than once")
    if values and not values[0].isascii():
        raise PingError(f"{name} is not ASCII")
    return values[0] if values else None
