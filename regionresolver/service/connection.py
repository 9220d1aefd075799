"""aiohttp's connection with what it lacks: a deadline for a request's head, and errors that echo nothing.

`handle_error` answers what never became a request: aiohttp's own answer quotes the offending bytes. The deadline is for
the whole head, from the first byte (on a fresh connection: from the start), and more bytes do not extend it. A half-sent
head behind a request that is not answered, or whose body was not read, is ended by the keep-alive time-out instead: never
may a 408 follow an answer to another request.
"""

import asyncio
import logging

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from regionresolver.service import logs, request_id
from regionresolver.service.problems import BAD_REQUEST, HEADERS_TOO_LARGE, INTERNAL, REQUEST_TIMEOUT, Handler, Problem
from regionresolver.settings import Settings

SERVER_NAME = "regionresolver"

# Long enough to let a client that is still sending read the refusal before a reset, short enough for slow senders.
LINGER_S = 1.0


class Connection(web.RequestHandler):
    """One connection of the slow path: aiohttp's request handler under the service's deadlines."""

    __slots__ = ("_busy", "_clock", "_dropping_body", "_head_deadline", "_head_started", "_head_timeout_s")

    def __init__(self, server: web.Server, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        """Serve the application behind `server` (an `AppRunner`'s) on one connection."""
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=settings.keepalive_timeout_s,
            lingering_time=LINGER_S,
            auto_decompress=False,
            access_log=logging.getLogger(logs.ACCESS),
            access_log_class=logs.AccessLog,
        )
        self._clock = loop
        self._head_timeout_s = settings.head_timeout_s
        self._head_deadline: asyncio.TimerHandle | None = None
        self._head_started = False
        self._busy = False
        self._dropping_body = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the deadline: a client that connects must ask."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the deadline."""
        self._stop_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Note that a head has begun, unless these bytes belong to the request in hand."""
        if data and not self._busy and not self._dropping_body:
            self._head_started = True
            if self._head_deadline is None:
                self._expect_head()
        super().data_received(data)

    @property
    def in_hand(self) -> bool:
        """Say whether a request has begun to arrive and is not answered yet."""
        return self._busy or self._head_started

    def head_read(self) -> None:
        """Take note that a request is in hand (called by the first middleware)."""
        self._busy = True
        self._dropping_body = False
        self._head_started = False
        self._stop_deadline()

    def answered(self, *, body_read: bool) -> None:
        """Take note that the request in hand has its answer; the rest of an unread body is dropped by aiohttp."""
        self._busy = False
        self._dropping_body = not body_read

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's text quotes the input
    ) -> web.StreamResponse:
        """Answer what aiohttp could not parse, and what escaped every middleware, with a problem document."""
        self._stop_deadline()
        self.log_exception("connection_error", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("half an answer is sent already")
        if isinstance(exc, LineTooLong):
            return _bare(Problem(HEADERS_TOO_LARGE, "a line of the head is longer than the limit", close=True))
        if status < web.HTTPInternalServerError.status_code:
            return _bare(Problem(BAD_REQUEST, "the bytes are not an HTTP/1.1 request", close=True))
        return _bare(Problem(INTERNAL, "the service could not answer", close=True))

    def _expect_head(self) -> None:
        self._head_deadline = self._clock.call_later(self._head_timeout_s, self._head_overdue)

    def _stop_deadline(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _head_overdue(self) -> None:
        """Close; with 408 when half a head is there, silently when the client never began one."""
        self._head_deadline = None
        if self._head_started and self.transport is not None:
            self.transport.write(_overdue_bytes(self._head_timeout_s))
        self.force_close()


@web.middleware
async def note_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell the connection, when it is ours, that its head has arrived and later that the request is answered."""
    connection = request.protocol
    if not isinstance(connection, Connection):
        return await handler(request)
    connection.head_read()
    try:
        return await handler(request)
    finally:
        connection.answered(body_read=request.content.is_eof())


def _bare(problem: Problem) -> web.Response:
    """Give a problem as an answer with the headers that the application would have added."""
    identity = request_id.taken_or_made([])
    response = problem.response(identity)
    response.headers.update(standing_headers(identity))
    return response


def standing_headers(identity: str) -> dict[str, str]:
    """Give the headers that every answer carries."""
    return {"Server": SERVER_NAME, request_id.HEADER: identity, "Cache-Control": "no-store"}


def _overdue_bytes(timeout_s: float) -> bytes:
    """Give the 408 as bytes: there is no request that aiohttp could answer."""
    identity = request_id.taken_or_made([])
    problem = Problem(REQUEST_TIMEOUT, f"the head took more than {timeout_s:g} seconds")
    body = problem.document(identity)
    headers = standing_headers(identity) | {
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 408 Request Timeout\r\n{head}\r\n".encode("ascii") + body
