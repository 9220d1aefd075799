"""Logging in one place: one line an event, as JSON or as text, on standard error.

No line holds bytes of a request, but for ids that look random (a trace id, and a request id that is not digested, see
`request_id`): our events have constant names and chosen fields, an exception is logged as its type
and the places it passed (never its message, which may quote input), and what aiohttp says of a broken connection is cut
to one line of our own, at most one a second.
"""

import datetime as dt
import logging
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from traceback import extract_tb
from types import TracebackType
from typing import ClassVar, TextIO

import orjson
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError

from regionresolver.service.asked import asked
from regionresolver.service.request_id import HEADER, loggable

request_id_var: ContextVar[str | None] = ContextVar("request_id", default=None)
trace_id_var: ContextVar[str | None] = ContextVar("trace_id", default=None)

OURS = "regionresolver"
ACCESS = "regionresolver.access"
TRACEBACK_PLACES = 6
FOREIGN_MESSAGE_CHARACTERS = 200

LANE_ROUTES = {
    "resolve": ("GET", "/v1/resolve"),
    "decisions": ("POST", "/v1/decisions"),
    "batch": ("POST", "/v1/decisions/batch"),
}


def configure(level: str, form: str, *, access: bool = False, share: float = 1.0, stream: TextIO | None = None) -> None:
    """Send every log record to `stream` (standard error) as `form`, "json" or "text".

    With `access` a line is written for a `share` of the requests.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger(ACCESS).disabled = not access
    AccessLog.share = share
    guard_aiohttp_log()


def guard_aiohttp_log(suppressed: Callable[[], None] | None = None) -> None:
    """Keep attackers' bytes out of what aiohttp logs: put the scrubber on its server logger, once.

    `suppressed` is called for each line that it leaves out, in place of what was called before.
    """
    logger = logging.getLogger("aiohttp.server")
    scrubber = next((found for found in logger.filters if isinstance(found, AiohttpScrubber)), None)
    if scrubber is None:
        scrubber = AiohttpScrubber()
        logger.addFilter(scrubber)
    if suppressed is not None:
        scrubber.told = suppressed


def event(logger: logging.Logger, level: int, name: str, error: BaseException | None = None, **fields: object) -> None:
    """Log the event `name` with `fields`; of `error` only the type and the places."""
    if logger.isEnabledFor(level):
        logger.log(level, name, extra={"fields": fields | (describe(error) if error else {})})


def describe(error: BaseException) -> dict[str, object]:
    """Give an exception's type and the last places that it passed, without its message."""
    return {"error": type(error).__name__, "at": places(error.__traceback__)}


def places(trace: TracebackType | None) -> list[str]:
    """Give the innermost places of a traceback as `file:line function`, innermost first."""
    frames = extract_tb(trace)[-TRACEBACK_PLACES:]
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames)]


def _document(record: logging.LogRecord) -> dict[str, object]:
    document: dict[str, object] = {
        "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": _words(record),
    }
    if (request_id := request_id_var.get()) is not None:
        document["request_id"] = request_id
    if (trace_id := trace_id_var.get()) is not None:
        document["trace_id"] = trace_id
    fields = getattr(record, "fields", None)
    if isinstance(fields, dict):
        document |= fields
    elif record.exc_info and record.exc_info[1] is not None:
        document |= describe(record.exc_info[1])
    return document


def _words(record: logging.LogRecord) -> str:
    """Take the message of our own records whole, of others the template without its arguments, which may be input."""
    if record.name == OURS or record.name.startswith(OURS + "."):
        return record.getMessage()
    return str(record.msg)[:FOREIGN_MESSAGE_CHARACTERS]


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the record as one line of JSON."""
        return orjson.dumps(_document(record), default=str).decode()


class TextFormatter(logging.Formatter):
    """One line for people: time, level, event, then the fields as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the record as one line of text, control characters escaped."""
        document = _document(record)
        head = f"{document.pop('time')} {document.pop('level')!s:<7} {document.pop('event')}"
        del document["logger"]
        line = " ".join([head, *(f"{name}={value}" for name, value in document.items())])
        return "".join(character if character.isprintable() else repr(character)[1:-1] for character in line)


class AiohttpScrubber(logging.Filter):
    """Replace what aiohttp's server logs by the exception's type and places, at most one in `interval_s` seconds.

    `told` is called for each record that the limit leaves out; a client that goes is none where INFO is not logged.
    """

    def __init__(self, interval_s: float = 1.0) -> None:
        """Start with nothing logged yet."""
        super().__init__()
        self._interval_s = interval_s
        self._next_s = 0.0
        self._suppressed = 0
        self.told: Callable[[], None] = lambda: None

    def filter(self, record: logging.LogRecord) -> bool:
        """Scrub the record in place; `False` when one has just been logged."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, ConnectionError):  # nobody's fault: clients go
            if not logging.getLogger(record.name).isEnabledFor(logging.INFO):
                return False
            record.levelno, record.levelname = logging.INFO, "INFO"
        elif isinstance(error, HttpProcessingError):  # the client's fault
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        now_s = time.monotonic()
        if now_s < self._next_s:
            self._suppressed += 1
            self.told()
            return False
        self._next_s = now_s + self._interval_s
        record.fields = (describe(error) if error else {}) | {"suppressed": self._suppressed}
        record.msg, record.args, record.exc_info, record.exc_text = "connection_error", None, None, None
        self._suppressed = 0
        return True


def log_requests() -> bool:
    """Say whether requests are logged."""
    return logging.getLogger(ACCESS).isEnabledFor(logging.INFO)


@contextmanager
def no_requests() -> Iterator[None]:
    """Log no request while the context lasts: what the service asks itself was asked by nobody."""
    share, AccessLog.share = AccessLog.share, 0.0
    try:
        yield
    finally:
        AccessLog.share = share


def log_from_lane(route: str, identity: bytes, was_given: bool, duration_us: int) -> None:
    """Log a request that the lane has answered, as `AccessLog` logs the others."""
    found = identity.decode("ascii")
    method, template = LANE_ROUTES[route]
    fields = {"method": method, "route": template, "status": 200, "duration_ms": duration_us / 1e3}
    logged = loggable(found) if was_given else found
    logging.getLogger(ACCESS).info("request", extra={"fields": fields | {"request_id": logged}})


class AccessLog(AbstractAccessLogger):
    """One line a request: method, route (the template, for a path may hold an address), status and duration.

    Written for a `share` of them, chosen by chance.
    """

    share: ClassVar[float] = 1.0

    @classmethod
    def takes(cls) -> bool:
        """Say by chance whether a request is one of the share."""
        return cls.share >= 1.0 or random.random() < cls.share  # noqa: S311 - a sample, no secret

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Log an answered request, if it is one of the share; `time` is in seconds."""
        if not self.takes():
            return
        taken = asked(request)
        _, template = taken.route or (None, None)
        fields = {"method": taken.method, "route": template, "status": response.status, "duration_ms": round(time * 1e3, 3)}
        identity = taken.logged_identity or response.headers.get(HEADER)  # without the first nothing could be parsed
        self.logger.info("request", extra={"fields": fields | {"request_id": identity}})

    @property
    def enabled(self) -> bool:
        """Say whether a line would be written at all."""
        return self.logger.isEnabledFor(logging.INFO)
