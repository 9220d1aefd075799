"""A batch whose request is canonical, answered without aiohttp: its body comes in pieces, its answer goes out in parts.

    head -> [ body gathered | piece of lines ] -> Batch -> parts -> send

An array is answered when its body is whole, and in one piece with its length unless that is longer than `HELD_BYTES`; what
is refused of it is refused by aiohttp, which gets the request as it came. A stream is answered piece by piece, in chunks.
The loop is shared after `SLICE_S` of work. What is in memory of a stream is a piece in hand, at most one more behind it, and
what the client has not taken: nothing is answered while the transport holds more than it wants to, and nothing is read while
a piece waits.
"""

import contextvars
import math
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from regionresolver.service import logs, metrics, request_id
from regionresolver.service.batch_answers import HELD_BYTES, SEND_BYTES, SLICE_S, Batch
from regionresolver.service.problems import body_overdue, problem_of, stream_overdue
from regionresolver.service.state import ServiceState

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from regionresolver.service.protocol import Front

LAST_CHUNK = b"0\r\n\r\n"
ROUTE = ("POST", "/v1/decisions/batch")


class BatchHead(NamedTuple):
    """What the head of a canonical request says, and its bytes."""

    raw: bytes
    body_bytes: int
    is_stream: bool
    is_minimal: bool
    request_id: bytes | None


class BatchExchange:
    """One batch on a connection; it tells the connection when it is answered, or is for aiohttp after all."""

    def __init__(self, front: "Front", state: ServiceState, head: BatchHead, loop: "asyncio.AbstractEventLoop") -> None:
        """Begin; the body has yet to come."""
        given = [] if head.request_id is None else [head.request_id.decode("ascii")]
        self._identity = request_id.taken_or_made(given)
        self._front, self._state, self._head, self._loop = front, state, head, loop
        self._batch = Batch(state, minimal=head.is_minimal, identity=self._identity)
        self._context = contextvars.copy_context()
        logged = request_id.loggable(self._identity) if given else self._identity
        self._context.run(logs.request_id_var.set, logged)
        self._timeout_s = state.settings.body_timeout_s
        self._left_bytes = head.body_bytes
        self._pieces: deque[bytes] = deque()
        self._parts: Iterator[bytes] | None = None
        self._is_last = False
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._sending: deque[bytes] = deque()
        self._begun = self._chunked = self._is_over = self._is_reading_paused = False
        self._turning: asyncio.Handle | None = None
        self._unsent_bytes = -1
        state.page.count(metrics.IN_FLIGHT)
        self._started_s = time.perf_counter()
        front.deadline = loop.time() + self._timeout_s

    # --- what the connection tells

    def received(self, received: bytes) -> bytes:
        """Take what has come; give back what is behind the body."""
        piece = received if len(received) <= self._left_bytes else received[: self._left_bytes]
        self._left_bytes -= len(piece)
        if piece:
            self._pieces.append(piece)
        if self._turning is None and not self._front.is_writing_paused:
            self._turn()
        if self._head.is_stream and self._pieces and not self._is_over:
            self._is_reading_paused = True
            self._front.transport.pause_reading()
        return received[len(piece) :]

    def resume(self) -> None:
        """Go on: the client has read."""
        if self._turning is None and not self._is_over:
            self._turn()

    @property
    def is_body_whole(self) -> bool:
        """Whether nothing of the body is to come."""
        return self._left_bytes == 0

    def stop(self) -> None:
        """Forget the batch: the connection is gone, or ends."""
        if self._turning is not None:
            self._turning.cancel()
            self._turning = None
        if not self._is_over:
            self._is_over = True
            self._state.page.count(metrics.IN_FLIGHT, by=-1)

    def overdue(self, now: float) -> None:
        """End the connection: nothing came, or nothing was taken, for too long."""
        front = self._front
        if front.is_writing_paused:
            before, self._unsent_bytes = self._unsent_bytes, front.transport.get_write_buffer_size()
            if self._unsent_bytes != before:
                front.deadline = now + self._timeout_s
                return
            front.transport.abort()
        elif not self._begun:
            overdue = stream_overdue if self._head.is_stream else body_overdue
            front.refuse(overdue(self._timeout_s))
        front.end()

    # --- the work

    def _turn(self) -> None:
        """Work until it is the turn of others, the client has to read first, or there is nothing to do."""
        self._turning = None
        ends, front = time.perf_counter() + SLICE_S, self._front
        while not front.is_writing_paused:
            if self._sending:
                front.send_part(self._sending.popleft(), self._chunked)
            elif not self._step():
                return
            if time.perf_counter() >= ends:
                front.deadline = math.inf
                self._turning = self._loop.call_soon(self._turn)
                return
        self._unsent_bytes, front.deadline = -1, self._loop.time() + self._timeout_s

    def _step(self) -> bool:
        """Answer a little more; say whether there is anything to do now."""
        if self._parts is None:
            return self._next()
        try:
            part = self._context.run(next, self._parts, None)
        except Exception as error:  # noqa: BLE001 - refused, or a fault: aiohttp says so where it still can
            self._fail(error)
            return False
        if part is None:
            self._parts = None
            if self._head.is_stream or self._is_last:
                self._flush()
        elif part:
            self._out.append(part)
            self._out_bytes += len(part)
            if self._out_bytes >= (SEND_BYTES if self._begun or self._head.is_stream else HELD_BYTES):
                self._begin(None)
                self._flush()
        return True

    def _next(self) -> bool:
        """Begin with the next piece, or with what is last."""
        if self._is_last:
            self._finish()
            return False
        if not self._head.is_stream:
            if self._left_bytes:
                return False
            self._parts, self._is_last = self._batch.array(b"".join(self._pieces)), True
        elif self._pieces:
            self._parts = self._batch.lines(self._pieces.popleft())
            self._resume_reading()
        elif self._left_bytes == 0:
            self._parts, self._is_last = self._batch.last_lines(), True
        else:
            self._front.deadline = self._loop.time() + self._timeout_s
            return False
        return True

    def _resume_reading(self) -> None:
        if self._is_reading_paused and not self._pieces:
            self._is_reading_paused = False
            self._front.transport.resume_reading()

    def _flush(self) -> None:
        """Let what is said be sent; without a length before it where more will follow."""
        if not self._begun and self._out:
            self._begin(None if self._head.is_stream else self._out_bytes)
        parts, self._out, self._out_bytes = self._out, [], 0
        if len(parts) > 1 and sum(map(len, parts)) <= 2 * SEND_BYTES:
            parts = [b"".join(parts)]
        self._sending.extend(parts)

    def _begin(self, length: int | None) -> None:
        """Send the head of the answer, once."""
        if self._begun:
            return
        self._begun, self._chunked = True, length is None
        date, lines = self._front.lane.date, [b"HTTP/1.1 200 OK"]
        if self._head.is_minimal:
            lines.append(b"Preference-Applied: return=minimal")
        lines.append(b"Content-Type: application/x-ndjson" if self._head.is_stream else b"Content-Type: application/json")
        if length is not None:
            lines.append(b"Content-Length: %d" % length)
        lines += [b"Server: regionresolver", b"X-Request-Id: " + self._identity.encode("ascii"), b"Cache-Control: no-store"]
        if length is None:
            lines.append(b"Transfer-Encoding: chunked")
        lines.append(b"Date: " + date + b"\r\n\r\n")
        self._front.send_part(b"\r\n".join(lines), False)

    def _finish(self) -> None:
        if self._chunked:
            self._front.send_part(LAST_CHUNK, False)
        self._resume_reading()
        self.stop()
        page, took_s = self._state.page, time.perf_counter() - self._started_s
        page.count(metrics.REQUESTS, *ROUTE, "200")
        page.count(metrics.LANE_ANSWERED, "batch")
        page.observe(metrics.DURATION, took_s, *ROUTE)
        if logs.log_requests() and logs.AccessLog.takes():
            was_given = self._head.request_id is not None
            logs.log_from_lane("batch", self._identity.encode("ascii"), was_given, round(took_s * 1e6))
        self._front.batch_answered()

    def _fail(self, error: Exception) -> None:
        """Leave an array of which nothing is answered to aiohttp; cut anything else, and log why."""
        self.stop()
        if self._begun or self._head.is_stream:
            self._context.run(problem_of, error)
            self._front.transport.abort()
            self._front.end()
        else:
            self._front.batch_refused(self._head.raw + b"".join(self._pieces))
