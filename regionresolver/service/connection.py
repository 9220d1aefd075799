"""aiohttp's connection with what it lacks: a deadline for a request's head, and errors that echo nothing.

`handle_error` answers what never became a request: aiohttp's own answer quotes the offending bytes. The deadline is for
the whole head, from the first byte (on a fresh connection: from the start), and more bytes do not extend it. A half-sent
head behind a request that is not answered, or whose body was not read, is ended by the keep-alive time-out instead: never
may a 408 follow an answer to another request.

A head that has grown past its limit is refused while it still arrives (`guard` measures the whole ones), and every
answer is HTTP/1.1, whatever version the request claims. The first line of a head goes to aiohttp's parser whole, for what
the parser says of half a line depends on where it was cut; but not where bytes of that head are with the parser already,
behind another request.
"""

import asyncio
import logging
import re
from http import HTTPStatus
from typing import Protocol, cast

from aiohttp import StreamReader, hdrs, web
from aiohttp.http_exceptions import BadHttpMessage, BadHttpMethod, LineTooLong

from regionresolver.service import logs, request_id
from regionresolver.service.answers import SERVER_NAME
from regionresolver.service.counting import count_answer, count_refusal
from regionresolver.service.pages import WorkerPage
from regionresolver.service.problems import (
    BAD_REQUEST,
    CONTENT_TYPE,
    HEAD_TOO_LARGE,
    HEADERS_TOO_LARGE,
    INTERNAL,
    MAX_HEAD_BYTES,
    METHOD_UNKNOWN,
    Problem,
    head_overdue,
)
from regionresolver.settings import Settings

# Long enough to let a client that is still sending read the refusal before a reset, short enough for slow senders.
LINGER_S = 1.0

# While the service drains, a client that has just connected gets this long to begin its request.
FRESH_S = 0.1

# What may be kept of a request line that is not whole yet: as long as aiohttp's parser lets a line be.
LINE_BYTES = 8190
# What a request line may begin with, and one with a method that the parser does not know.
_LINE_BEGINNING = re.compile(rb"(?:\r\n)?(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+(?: [!-~]*(?: [!-~]*\r?)?)?)?")
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) [!-~]+ HTTP/1\.[01]\r\n")
# The end of chunks without a trailer: a line that is 0 alone is no trailer, for that has a colon.
PLAIN_END = b"\r\n0\r\n\r\n"
HEAD_END = b"\r\n\r\n"
# With an owner, which closes idle connections itself, aiohttp's own timer must not fire: it would end one that is busy there.
NEVER_S = 1e9
_TOO_MANY_HEADERS = "Too many headers received"  # aiohttp has no type for it


class Owner(Protocol):
    """Who shares a connection with aiohttp's handler, and has to know when an answer is wholly written."""

    def begun(self) -> None:
        """Take note that the request in hand waits no more."""

    def answered(self, *, keep_alive: bool) -> None:
        """Take note of it; without `keep_alive` the handler ends the connection now."""


class Connection(web.RequestHandler):
    """One connection of the slow path: aiohttp's request handler under the service's deadlines."""

    __slots__ = (
        "_busy",
        "_clock",
        "_dropping_body",
        "_fresh_until",
        "_head_bytes",
        "_head_deadline",
        "_head_started",
        "_head_timeout_s",
        "_heads_read",
        "_held",
        "_is_between",
        "_is_stopped",
        "_last_body",
        "_last_is_chunked",
        "_line",
        "_owner",
        "_page",
        "_refused",
        "_tail",
        "is_short",
        "is_vetted",
        "must_end",
    )

    def __init__(
        self,
        server: web.Server,
        settings: Settings,
        loop: asyncio.AbstractEventLoop,
        owner: Owner | None = None,
        page: WorkerPage | None = None,
    ) -> None:
        """Serve the application behind `server` (an `AppRunner`'s) on one connection; count in `page`, if it is given."""
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=settings.keepalive_timeout_s if owner is None else NEVER_S,
            lingering_time=LINGER_S,
            auto_decompress=False,
            access_log=logging.getLogger(logs.ACCESS),
            access_log_class=CompletionLog,
        )
        self._owner = owner
        self._page = page
        self._clock = loop
        self._head_timeout_s = settings.head_timeout_s
        self._head_deadline: asyncio.TimerHandle | None = None
        self._head_started = False
        self._busy = False
        self._dropping_body = False
        self._held = b""
        self._line = b""
        self._is_between = True
        self._is_stopped = False
        self._last_body: StreamReader | None = None
        self._last_is_chunked = False
        self._tail = b""
        self.must_end = False
        self._head_bytes = 0
        self._heads_read = 0
        self._refused = False
        self._fresh_until = 0.0
        self.is_short = False
        """Whether the request whose head is read next came in one piece, and that was not longer than a head may be."""
        self.is_vetted = False
        """Whether the owner answers for it that every parser reads the head of the request in hand alike."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the deadline: a client that connects must ask."""
        super().connection_made(transport)
        self._fresh_until = self._clock.time() + FRESH_S
        self._expect_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the deadline."""
        self._stop_deadline()
        self._owner = None
        super().connection_lost(exc)

    def _is_one_request(self, data: bytes) -> bool:
        """Take note that bytes which followed a whole request were one themselves, as nearly always, if they were."""
        message, body = self._messages[-1]
        is_one = (
            body.is_eof()
            and not getattr(message, "chunked", True)
            and data.find(HEAD_END) + len(HEAD_END) + _bytes_in(body) == len(data)
        )
        if is_one:
            self._last_body, self._last_is_chunked, self._tail = body, False, b""
        return is_one

    def take_whole(self, request: bytes) -> None:
        """Take one whole request that the owner has vetted, with nothing in hand and nothing behind it.

        What `data_received` finds out of bytes that are anything is known of these.
        """
        self.is_vetted = True
        self._line, self._is_between, self._last_body = request, True, None
        super().data_received(request)

    def data_received(self, data: bytes) -> None:
        """Note that a head has begun, unless these bytes belong to the request in hand, and how long it has become."""
        if self._refused:
            return
        reading_head = bool(data) and not self._busy and not self._dropping_body
        if reading_head:
            self._head_started = True
        if self._is_between and data:
            data = self._with_its_line(data)
            if not data:
                if reading_head and self._head_deadline is None:
                    self._expect_head()
                return
        heads_parsed = self._request_count
        body_bytes = _bytes_in(self._last_body)
        chunks_open = self._last_is_chunked and self._last_body is not None and not self._last_body.is_eof()
        super().data_received(data)
        self.is_short = False
        if self._is_between and self._request_count == heads_parsed + 1 and self._is_one_request(data):
            self.is_short = heads_parsed == self._heads_read and len(data) <= MAX_HEAD_BYTES
            return
        self._tail = (self._tail + data[-len(PLAIN_END) :])[-len(PLAIN_END) :]
        self._note_bodies(self._request_count - heads_parsed, chunks_open=chunks_open)
        if data:
            self._is_between = self._ends_a_request(data, body_bytes, has_head=heads_parsed != self._request_count)
        if reading_head and heads_parsed == self._request_count and self._head_deadline is None:
            self._expect_head()
        if reading_head and heads_parsed == self._request_count == self._heads_read:  # every byte is of an unfinished head
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(HEAD_TOO_LARGE)

    def pause_reading(self) -> None:
        """Stop reading: more of a body is here than anybody has read."""
        self._is_stopped = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Read on, if reading was stopped: aiohttp asks for it whenever some of a body is read."""
        if self._is_stopped:
            self._is_stopped = not resume_parser  # then what the parser has kept is for the next time
            super().resume_reading(resume_parser)

    def _note_bodies(self, count: int, *, chunks_open: bool) -> None:
        """Take note that aiohttp has parsed so many messages, and of what became of a body that was `chunks_open`.

        Nothing can follow a body without an end but its parser's error, and aiohttp leaves who reads it, or is going to,
        waiting. And aiohttp reads a trailer as the next request's header: behind chunks that do not end in the plainest
        way, at the end of what has come, nothing more is answered on this connection.
        """
        arrived = list(self._messages)[-count:] if count else []
        ended = [self._last_body.is_eof()] if chunks_open and self._last_body is not None else []
        for body in [self._last_body, *(payload for _, payload in arrived)][:-1] if arrived else []:
            if body is not None and not body.is_eof():
                body.set_exception(web.RequestPayloadError("the body's framing is malformed"))
        ended += [payload.is_eof() for message, payload in arrived if getattr(message, "chunked", False)]
        if arrived:
            message, self._last_body = arrived[-1]
            self._last_is_chunked = bool(getattr(message, "chunked", False))
        if any(ended) and not (ended == [True] and self._last_is_chunked and self._tail == PLAIN_END):
            self.must_end = True

    def _with_its_line(self, data: bytes) -> bytes:
        """Give the bytes that begin a head; none, and keep them, while they may be the beginning of its first line."""
        held = self._held + data if self._held else data
        # A line's end, but for the one that may stand in front, is no part of a beginning: that is quickly seen.
        if held.find(b"\n", 2) < 0 and len(held) <= LINE_BYTES and _LINE_BEGINNING.fullmatch(held):
            self._held = held
            return b""
        self._held, self._line = b"", held
        return held

    def _ends_a_request(self, data: bytes, body_bytes: int, *, has_head: bool) -> bool:
        """Say whether the bytes that aiohttp was given last end where a request does; no where that is not plain to see.

        `has_head`: a head ended among them; if none did, they are of a body that had `body_bytes` before.
        """
        body = self._last_body
        if body is None or not body.is_eof():
            return False
        if not has_head:
            return 0 < _bytes_in(body) - body_bytes == len(data)
        size = 0 if self._last_is_chunked else _bytes_in(body)
        return data.endswith(HEAD_END, 0, len(data) - size)

    @property
    def in_hand(self) -> bool:
        """Say whether a request has begun to arrive and is not answered yet, or is likely to on a fresh connection."""
        fresh = self._heads_read == 0 and self._clock.time() < self._fresh_until
        return not self._refused and (self._busy or self._head_started or fresh)

    def expect_head_by(self, deadline: float) -> None:
        """Take over a deadline, in the loop's seconds, that runs for a head already."""
        self._stop_deadline()
        self._head_deadline = self._clock.call_at(deadline, self._head_overdue)

    def written(self, request: web.BaseRequest, status: int, seconds: float, *, keep_alive: bool) -> None:
        """Count the answer to the request in hand, which is wholly written, and tell the owner."""
        if self._page is not None:
            count_answer(self._page, request, status, seconds)
        if self._owner is not None:
            self._owner.answered(keep_alive=keep_alive)

    def head_read(self) -> None:
        """Take note that a request is in hand."""
        self._busy = True
        self._dropping_body = False
        self._head_started = False
        self._line = b""
        self._head_bytes = 0
        self._heads_read += 1
        if self._owner is not None:
            self._owner.begun()
        if self._head_deadline is not None:
            self._stop_deadline()

    def answered(self, *, body_read: bool) -> None:
        """Take note that the request in hand has its answer; the rest of an unread body is dropped by aiohttp."""
        self._busy = False
        self._dropping_body = not body_read

    def end_writing(self) -> None:
        """Let a client that still sends a body which is not wanted see that the last answer was all; aiohttp drops the body."""
        if self._dropping_body and self.transport is not None and self.transport.can_write_eof():
            self.transport.write_eof()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's text quotes the input
    ) -> web.StreamResponse:
        """Answer what aiohttp could not parse, and what escaped `answering`, with a problem document."""
        self._stop_deadline()
        self.log_exception("connection_error", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("half an answer is sent already")
        if isinstance(exc, ConnectionError):
            return _bare(Problem(BAD_REQUEST, "the connection ended before the request did", close=True))
        if isinstance(exc, LineTooLong):
            return _bare(Problem(HEADERS_TOO_LARGE, "a line of the head is longer than the limit", close=True))
        if isinstance(exc, BadHttpMessage) and exc.message == _TOO_MANY_HEADERS:
            return _bare(Problem(HEADERS_TOO_LARGE, "the head has more lines than the limit", close=True))
        if isinstance(exc, BadHttpMethod) and _is_unknown_method(self._line):
            return _bare(Problem(METHOD_UNKNOWN, "no path takes a method of this name", close=True))
        if status < web.HTTPInternalServerError.status_code:
            return _bare(Problem(BAD_REQUEST, "the bytes are not an HTTP/1.1 request with a known method", close=True))
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
        if self._head_started:
            self._refuse(head_overdue(self._head_timeout_s))
        else:
            self.force_close()

    def _refuse(self, problem: Problem) -> None:
        """Answer in the middle of a head; then drop what still comes, for an early close would lose the answer."""
        self._refused = True
        self._stop_deadline()
        if self.transport is not None:
            self.transport.write(problem_bytes(problem))
            count_refusal(self._page, problem.kind.status)
            if self.transport.can_write_eof():
                self.transport.write_eof()
        self._head_deadline = self._clock.call_later(LINGER_S, self.force_close)


class AdminConnection(Connection):
    """One connection to the admin listener: `answering` lets it ask what only operators ask."""

    __slots__ = ()


class CompletionLog(logs.AccessLog):
    """aiohttp's way of saying that an answer is wholly written: its access logger, which is called just then."""

    def __init__(self, logger: logging.Logger, log_format: str) -> None:
        """Look once whether lines are wanted: a lane has none of them, see `protocol.why_not`."""
        super().__init__(logger, log_format)
        self._writes_lines = super().enabled

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Tell the connection; write a line besides when lines are wanted."""
        if self._writes_lines:
            super().log(request, response, time)
        if isinstance(request.protocol, Connection):
            request.protocol.written(request, response.status, time, keep_alive=bool(response.keep_alive))

    @property
    def enabled(self) -> bool:
        """Ask to be called always."""
        return True


def is_last(request: web.BaseRequest) -> bool:
    """Say whether nothing may be answered behind a request on its connection.

    Because of how its chunks end, or may yet; or because it asks for another protocol, and aiohttp reads what stands behind
    it otherwise than what comes behind it.
    """
    if hdrs.UPGRADE in request.headers:
        return True
    if hdrs.TRANSFER_ENCODING in request.headers and not request.content.is_eof():
        return True
    return cast("Connection", request.protocol).must_end


def _bare(problem: Problem) -> web.Response:
    """Give a problem as an answer with the headers that the application would have added."""
    identity = request_id.taken_or_made([])
    response = problem.response(identity)
    response.headers.update(standing_headers(identity))
    return response


def standing_headers(identity: str) -> dict[str, str]:
    """Give the headers that every answer carries."""
    return {"Server": SERVER_NAME, request_id.HEADER: identity, "Cache-Control": "no-store"}


def _bytes_in(body: StreamReader | None) -> int:
    """Count what of a body has come; a request without one has none."""
    return getattr(body, "total_bytes", 0)


def _is_unknown_method(beginning: bytes) -> bool:
    match = _REQUEST_LINE.match(beginning)
    return match is not None and match[1].decode("ascii") not in hdrs.METH_ALL


def problem_bytes(problem: Problem, *, keep_alive: bool = False, identity: str | None = None) -> bytes:
    """Give a problem as the bytes of an answer, where there is no request that aiohttp could answer."""
    identity = identity or request_id.taken_or_made([])
    body = problem.document(identity)
    headers = standing_headers(identity) | {
        "Content-Type": CONTENT_TYPE,
        "Content-Length": str(len(body)),
        **problem.headers,
        **({} if keep_alive else {"Connection": "close"}),
    }
    status = HTTPStatus(problem.kind.status)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode("ascii") + body


def refusal_parts(problem: Problem) -> list[bytes]:
    """Give a problem as an answer that keeps its connection, cut where its request id stands."""
    place = request_id.taken_or_made([])
    return problem_bytes(problem, keep_alive=True, identity=place).split(place.encode("ascii"))
