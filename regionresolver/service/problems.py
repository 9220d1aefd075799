"""Errors as RFC 9457 documents: every answer from 400 up goes through here, and none echoes bytes of the input.

A handler raises a `PingError` or a `ProblemError`; aiohttp raises its own `HTTPException`s (404, 405 and 417); whatever
else escapes is a fault of ours: 500 without details, and one log line with the type and the places it passed.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson
from aiohttp import web

from regionresolver.errors import PingError, RegionResolverError
from regionresolver.service import logs

CONTENT_TYPE = "application/problem+json"

# Request line and headers together. nginx lets 4 buffers of 8 KiB through by default, so nothing that passed one is lost;
# aiohttp alone limits lines and their number, which comes to 2 MB.
MAX_HEAD_BYTES = 32 * 1024

_log = logging.getLogger("regionresolver.service")


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of the catalogue of errors: HTTP status, stable code, and the title that goes with the code."""

    status: int
    code: str
    title: str


BAD_REQUEST = Kind(400, "BAD_REQUEST", PingError.title)
BODY_NOT_JSON = Kind(400, "BODY_NOT_JSON", "The body is not JSON")
BODY_NOT_ARRAY = Kind(400, "BODY_NOT_ARRAY", "The body is not a JSON array")
BODY_NOT_OBJECT = Kind(400, "BODY_NOT_OBJECT", "The body is not a JSON object")
DUPLICATE_KEY = Kind(400, "DUPLICATE_KEY", "A key of an object is given twice")
AUTHORIZATION_REQUIRED = Kind(401, "AUTHORIZATION_REQUIRED", "An API key is needed")
AUTHORIZATION_INVALID = Kind(403, "AUTHORIZATION_INVALID", "The API key does not hold")
NOT_FOUND = Kind(404, "NOT_FOUND", "There is nothing at this path")
METHOD_NOT_ALLOWED = Kind(405, "METHOD_NOT_ALLOWED", "This path does not take this method")
REQUEST_TIMEOUT = Kind(408, "REQUEST_TIMEOUT", "The request did not arrive in time")
BODY_TOO_LARGE = Kind(413, "BODY_TOO_LARGE", "The body is too large")
MEDIA_TYPE = Kind(415, "MEDIA_TYPE", "The body is of a type that is not taken here")
EXPECTATION_FAILED = Kind(417, "EXPECTATION_FAILED", "The request expects what is not offered")
HEADERS_TOO_LARGE = Kind(431, "HEADERS_TOO_LARGE", "The request's head is too large")
BATCH_TOO_LARGE = Kind(422, "BATCH_TOO_LARGE", "The array holds too many pings")
RATE_LIMITED = Kind(429, "RATE_LIMITED", "The API key has asked too often")
INTERNAL = Kind(500, "INTERNAL", "The service failed to answer")
METHOD_UNKNOWN = Kind(501, "METHOD_UNKNOWN", "The method is not known")
OVERLOADED = Kind(503, "OVERLOADED", "The service has too much to do")
NOT_READY = Kind(503, "NOT_READY", "The service is not ready")
DRAINING = Kind(503, "DRAINING", "The service is shutting down")


@dataclass(frozen=True, slots=True)
class Problem:
    """One error as it is answered. `pointer` is a JSON pointer, "" where no field is to blame; `extra` adds members."""

    kind: Kind
    detail: str
    pointer: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, object] = field(default_factory=dict)
    close: bool = False

    def members(self, identity: str) -> dict[str, object]:
        """Give the members of the problem's document, in the order of the contract."""
        members: dict[str, object] = {
            "type": "/problems/" + self.kind.code.lower().replace("_", "-"),
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "code": self.kind.code,
        }
        if self.pointer:
            members["pointer"] = self.pointer
        return members | {"request_id": identity, **self.extra}

    def document(self, identity: str) -> bytes:
        """Give the problem as JSON."""
        return orjson.dumps(self.members(identity))

    def response(self, identity: str) -> web.Response:
        """Give the problem as an answer; `close` ends the connection after it."""
        response = web.Response(
            status=self.kind.status, body=self.document(identity), headers=self.headers, content_type=CONTENT_TYPE
        )
        if self.close:
            close_after(response)
        return response


def head_overdue(timeout_s: float) -> Problem:
    """Give the problem of a head that did not arrive in time."""
    return Problem(REQUEST_TIMEOUT, f"a head must arrive within {timeout_s:g} seconds", close=True)


def body_overdue(timeout_s: float) -> Problem:
    """Give the problem of a body that did not arrive in time."""
    return Problem(REQUEST_TIMEOUT, f"a body must arrive within {timeout_s:g} seconds", close=True)


def stream_overdue(timeout_s: float) -> Problem:
    """Give the problem of a stream that stopped before anything of it was answered."""
    return Problem(REQUEST_TIMEOUT, f"no byte of the body came for {timeout_s:g} seconds", close=True)


HEAD_TOO_LARGE = Problem(HEADERS_TOO_LARGE, f"the head is longer than {MAX_HEAD_BYTES} bytes", close=True)


def close_after(response: web.StreamResponse) -> None:
    """End the connection after an answer, and say so: aiohttp says nothing to HTTP/1.0."""
    response.headers["Connection"] = "close"
    response.force_close()


class ProblemError(RegionResolverError):
    """A request that is answered with a problem of the service's own."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, object] | None = None,
        close: bool = False,
    ) -> None:
        """Keep the problem; `detail` must not quote the input."""
        self.problem = Problem(kind, detail, headers=headers or {}, extra=extra or {}, close=close)
        super().__init__(detail)


def problem_of(error: Exception) -> Problem:
    """Give the problem that an exception is answered with; what is nobody's input is logged, and is a bare 500."""
    match error:
        case ProblemError():
            return error.problem
        case PingError():
            return Problem(Kind(error.status, error.code, error.title), error.detail, error.pointer)
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            return Problem(METHOD_NOT_ALLOWED, f"allowed: {allowed}", headers={"Allow": allowed})
        case web.HTTPNotFound():
            return Problem(NOT_FOUND, "the path is not one of this service's")
        case web.HTTPExpectationFailed():
            return Problem(EXPECTATION_FAILED, "Expect may only be 100-continue", close=True)
        case web.HTTPException() if error.status < web.HTTPInternalServerError.status_code:
            return Problem(BAD_REQUEST, "the request's head asks for something that is not served", close=True)
        case web.RequestPayloadError():
            return Problem(BAD_REQUEST, "the body's framing is malformed", close=True)
    logs.event(_log, logging.ERROR, "unexpected_error", error)
    return Problem(INTERNAL, "the fault is logged under this request_id or its digest")
