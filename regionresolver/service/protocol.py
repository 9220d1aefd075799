"""The front of every connection: the compiled lane is offered the bytes first, aiohttp answers what it leaves.

A `Front` is the protocol of one connection and owns its transport. Where the bytes of a request go:

    LANE             to the lane, which answers what is canonical; a beginning is kept until more comes
    BATCH            to a BatchExchange, which answers a batch; then the connection is back in the LANE
    SLOW_REQUEST     one odd request is with aiohttp: exactly its bytes, and what comes behind them is kept. When its answer
                     is wholly written the connection is back in the LANE
    SLOW_FOR_GOOD    the end of a request is not ours to tell: this and all that follows goes to aiohttp
    ENDED            nothing is read any more

In the LANE the lane reads by itself as soon as it has answered a whole segment (`LaneConnection.is_read_here`), and goes on
while aiohttp has a request without a body; everywhere else, and while reading is paused, the transport is in charge
of that.

aiohttp's handler is made on first need and stays with the connection. What is relied upon of aiohttp, and nothing else:
`web.Server` knows its handlers from `connection_made` to `connection_lost`; a handler reads whole requests by
`data_received` and answers them in order; its access logger is called when an answer is wholly written and never before;
`response.keep_alive` says then whether it will end the connection. `self_test` tries all of that, and that both ways give
the same bytes, before the first connection is taken; without it, or under an aiohttp that was not tested with this
release, every connection is served by aiohttp alone.

What keeps memory bounded: a beginning in the lane has at most a head's and a body's limit; behind a request that is in
hand at most HELD_BYTES_MAX are kept before reading is paused; a client that does not read its answers is not read from.
"""

import asyncio
import logging
import math
import re
import secrets
from collections.abc import Iterable
from email.utils import formatdate
from enum import Enum, auto
from http import HTTPStatus
from typing import Final, cast

import aiohttp
import orjson
from aiohttp import web

from _fastpath.engine import Decided
from _fastpath.lane import (
    BATCH_REQUEST,
    FOREIGN_BYTES,
    MORE_TO_COME,
    ODD_REQUEST,
    ROUTE_WORDS,
    WRITING_PAUSED,
    Lane,
    LaneConnection,
)
from _fastpath.tally import Counters
from _fastpath.texts import Texts
from regionresolver.resolver import Decision, Resolver
from regionresolver.resolver.documents import decision_document
from regionresolver.resolver.recorder import Recorder
from regionresolver.service import logs, metrics
from regionresolver.service.batch_lane import BatchExchange, BatchHead
from regionresolver.service.connection import FRESH_S, HEAD_END, LINGER_S, Connection, problem_bytes, refusal_parts
from regionresolver.service.counting import count_refusal
from regionresolver.service.handlers import resolve_document
from regionresolver.service.overload import SPARED_STARTS, Pressure, overloaded
from regionresolver.service.pages import WorkerPage
from regionresolver.service.problems import Problem, body_overdue, head_overdue
from regionresolver.service.state import ServiceState
from regionresolver.settings import Settings

_BEGINNING_BYTES: Final = 32  # more than the longest line that tells a spared request
HELD_BYTES_MAX: Final = 64 * 1024
TICK_S: Final = 1.0
SELF_TEST_S: Final = 5.0

# The releases of aiohttp that the tests of this release ran with: from the first on, before the second.
AIOHTTP_TESTED: Final = ((3, 14, 3), (3, 15, 0))

_log = logging.getLogger("regionresolver.service")


class Place(Enum):
    """Where the bytes of a connection go; see the head of this module."""

    LANE = auto()
    BATCH = auto()
    SLOW_REQUEST = auto()
    SLOW_FOR_GOOD = auto()
    ENDED = auto()


class Awaited(Enum):
    """What the beginning that the lane keeps has yet to get."""

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


class Fronts:
    """What the connections of one process share: the lane, aiohttp's server, the clock of their time-outs."""

    def __init__(
        self,
        resolver: Resolver,
        server: web.Server,
        settings: Settings,
        loop: asyncio.AbstractEventLoop,
        pressure: Pressure | None = None,
    ) -> None:
        """Make a lane over the resolver's engine; `start` sets its clock going."""
        self.lane = Lane(Texts(resolver.engine, compose), secrets.token_bytes(32), settings.body_limit_bytes)
        self.server = server
        self.lane.set_refusal(refusal_parts(overloaded()), SPARED_STARTS)
        self.pressure = pressure or Pressure(settings)
        self.pressure.lane = self.lane
        self.settings = settings
        self.loop = loop
        self.head_s = settings.head_timeout_s - early_s(settings.head_timeout_s)
        self.body_s = settings.body_timeout_s - early_s(settings.body_timeout_s)
        self.connections: set[Front] = set()
        self.page: WorkerPage | None = None
        self.state: ServiceState | None = None
        self.batches = 0
        self._timer: asyncio.TimerHandle | None = None

    def log_requests(self) -> None:
        """Let the lane's requests be logged from now on, if requests are logged."""
        if logs.log_requests():
            self.lane.log_requests(logs.log_from_lane, logs.AccessLog.share)

    def log_to(self, recorder: Recorder) -> None:
        """Let the lane's decisions be logged from now on."""
        self.lane.texts.log = recorder.ring

    def count_in(self, page: WorkerPage) -> None:
        """Count requests in a page from now on."""
        self.page = page
        routes = (("GET", "/v1/resolve"), ("POST", "/v1/decisions"))  # as ROUTE_WORDS
        self.lane.count_in(
            [Counters(page.cell(metrics.LANE_ANSWERED, path)) for path in ROUTE_WORDS],
            [Counters(page.cell(metrics.REQUESTS, *route, "200")) for route in routes],
            [Counters(page.cell(metrics.DURATION, *route)) for route in routes],
            Counters(page.block(metrics.LANE_DECLINED)),
            metrics.DURATION.edges_ns,
        )

    def take_batches(self, state: ServiceState) -> None:
        """Answer batches too from now on, on what is in force in the state."""
        self.state = state
        self.lane.array_bytes_max = self.settings.batch_body_limit_bytes

    def connect(self) -> "Front":
        """Make the protocol of a new connection."""
        return Front(self.lane, self)

    def start(self) -> None:
        """Keep the answers' Date right, and end connections that are overdue, once a second."""
        now = self.loop.time()
        if self._timer is None:
            self.loop.add_reader(self.lane.open(), self.lane.answer_ready)
        self._timer = self.loop.call_later(TICK_S, self.start)  # first: it comes again, whatever fails below
        date = formatdate(usegmt=True)
        self.lane.set_date(date.encode("ascii"))
        # The lane sets it without looking at the clock, so it may be up to a tick old when it does.
        self.lane.idle_deadline = now + self.settings.keepalive_timeout_s + TICK_S
        for front in [found for found in self.connections if found.deadline <= now]:
            front.overdue(now)

    def use(self, resolver: Resolver) -> Texts:
        """Answer with another generation from the next request on; give its texts."""
        texts = Texts(resolver.engine, compose)
        texts.log = self.lane.texts.log
        self.lane.use(texts)
        return texts

    def leave_to_aiohttp(self) -> None:
        """Leave every further request to aiohttp, whose answers now end their connections."""
        self.lane.is_draining = True

    def stop(self) -> None:
        """End every connection, what is written first, and stop the clock."""
        if self._timer is not None:
            self._timer.cancel()
        for front in list(self.connections):
            front.end()
        if self.lane.is_open:
            self.loop.remove_reader(self.lane.open())
            self.lane.close()

    @property
    def any_in_hand(self) -> bool:
        """Say whether a request has begun to arrive somewhere and is not answered yet."""
        return any(front.in_hand for front in self.connections)


def early_s(timeout_s: float) -> float:
    """Say how much earlier a time-out ends than it is set, so that the sweep, once a tick, is not late."""
    return min(TICK_S, timeout_s / 10)


class Front(LaneConnection, asyncio.Protocol):
    """One connection: answered in the lane, or handed to aiohttp for a request or for good."""

    __slots__ = (
        "_awaited",
        "_batch",
        "_fronts",
        "_handler",
        "_held",
        "_is_answered",
        "_is_reading_paused",
        "_is_waiting",
        "_place",
        "_unread_bytes",
    )

    def __init__(self, lane: Lane, fronts: Fronts) -> None:  # noqa: ARG002 - the compiled base has taken the lane
        """Begin in the lane."""
        self._fronts = fronts
        self._handler: Connection | None = None
        self._batch: BatchExchange | None = None
        self._place = Place.LANE
        self._awaited = Awaited.NOTHING
        self._held = b""
        self._unread_bytes = 0
        self._is_answered = False
        self._is_reading_paused = False
        self._is_waiting = False

    # --- what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the deadline: a client that connects must ask."""
        super().connection_made(transport)
        self.deadline = self._fronts.loop.time() + self._fronts.head_s
        self._fronts.connections.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection, and let aiohttp forget it."""
        self._fronts.connections.discard(self)
        self._leave(Place.ENDED)
        self._stop_batch()
        self._held = b""
        self.transport = None
        if self._handler is not None:
            self._handler.connection_lost(exc)
            self._handler = None

    def eof_received(self) -> None:
        """Let the transport close when it has written what it has, as aiohttp does."""

    def pause_writing(self) -> None:
        """Stop reading: a client that does not read its answers gets no more of them."""
        self.is_writing_paused = self.is_elsewhere = True
        if self._place is Place.LANE:
            self._pause_reading()
        if self._handler is not None:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        """Go on with what was kept."""
        self.is_writing_paused = False
        if self._handler is not None:
            self._handler.resume_writing()
        if self._place is Place.LANE:
            self._go_on()
        elif self._batch is not None:
            self._batch.resume()

    # --- what the lane leaves

    def received_elsewhere(self, received: bytes) -> None:
        """Take bytes that the lane is not offered as they come."""
        match self._place:
            case Place.LANE if self.is_writing_paused:
                self._hold(received)
            case Place.LANE:
                self._held += received
                self._go_on()
            case Place.SLOW_REQUEST:
                self._received_behind_a_request(received)
            case Place.BATCH if self._batch is not None:
                if rest := self._batch.received(received):
                    self._hold(rest)
            case Place.SLOW_FOR_GOOD if self._handler is not None:
                self.deadline = self.lane.idle_deadline
                self._handler.data_received(received)

    def left_over(self, rest: bytes, is_behind: bool, outcome: int, size: int, is_vetted: bool) -> None:
        """Take what the lane leaves of received bytes, see `LaneConnection`."""
        if is_behind:
            self._awaited = Awaited.NOTHING
        if outcome == WRITING_PAUSED:
            self._hold(rest)
        elif outcome == MORE_TO_COME:
            self._await(rest, Awaited.BODY if size else Awaited.HEAD)
        elif outcome == BATCH_REQUEST:
            self._begin_batch(rest)
        elif outcome == ODD_REQUEST:
            self._hand_over(rest, size, is_vetted=is_vetted)
        elif outcome == FOREIGN_BYTES:
            self._hand_over_for_good(rest)

    def _await(self, beginning: bytes, awaited: Awaited) -> None:
        """Keep the beginning of a request. More bytes do not extend its deadline, only the end of its head does."""
        self._held, self.is_elsewhere = beginning, True
        if awaited is self._awaited:
            return
        fronts = self._fronts
        if awaited is Awaited.BODY:
            self.deadline = fronts.loop.time() + fronts.body_s
        elif self.has_asked:  # on a fresh connection the deadline for a head runs already
            self.deadline = fronts.loop.time() + fronts.head_s
        self._awaited = awaited

    def _begin_batch(self, rest: bytes) -> None:
        """Answer a batch, of whose body there may be some bytes or all, and more behind it."""
        head_bytes, body_bytes, is_stream, is_minimal, identity = self.lane.batch
        fronts = self._fronts
        if fronts.state is None:
            raise RuntimeError("the lane takes batches, and there is no state to answer them from")
        self._leave(Place.BATCH)
        self.has_asked = True
        head = BatchHead(rest[:head_bytes], body_bytes, is_stream, is_minimal, identity)
        self._batch = BatchExchange(self, fronts.state, head, fronts.loop)
        if behind := self._batch.received(rest[head_bytes:]):
            self._hold(behind)

    def batch_answered(self) -> None:
        """Take note that a batch is wholly answered; what is behind it is offered in the next turn."""
        self._fronts.batches += 1
        self._batch = None
        self._place, self.deadline = Place.LANE, self.lane.idle_deadline
        self._fronts.loop.call_soon(self._go_on_after_batch)

    def batch_refused(self, request: bytes) -> None:
        """Give a batch that was taken and is not answered to aiohttp, whole."""
        self._batch = None
        self._hand_over(request, len(request), is_vetted=False)

    def _go_on_after_batch(self) -> None:
        if self._place is Place.LANE and not self.is_writing_paused:
            self._go_on()

    def refuse(self, problem: Problem) -> None:
        """Answer with a problem, where there is no request that aiohttp could answer."""
        self.transport.write(problem_bytes(problem))
        count_refusal(self._fronts.page, problem.kind.status)

    def _stop_batch(self) -> None:
        if self._batch is not None:
            self._batch.stop()
            self._batch = None

    def _hand_over(self, rest: bytes, size: int, *, is_vetted: bool) -> None:
        """Give one request of `size` bytes to aiohttp, as much of it as is there, and keep what stands behind it."""
        if self._fronts.pressure.refuses(rest[:_BEGINNING_BYTES]):
            self._refuse(rest, size)
            return
        is_whole = size <= len(rest)
        if not is_whole or size > HELD_BYTES_MAX:  # aiohttp has a say in how such a body is read
            self.leave_to_transport()
        self._go_to(Place.SLOW_REQUEST)
        self._is_answered = False
        handler = self._handler or self._make_handler()
        self.has_asked = True
        self._unread_bytes = 0 if is_whole else size - len(rest)
        if len(rest) > size:
            self._hold(rest[size:])
            rest = rest[:size]
        if is_whole:
            self._is_waiting = True
            self.lane.waiting += 1
        if is_whole and is_vetted:
            handler.take_whole(rest)
        else:
            handler.is_vetted = is_vetted
            handler.data_received(rest)

    def _refuse(self, rest: bytes, size: int) -> None:
        """Answer one request of `size` bytes with 503; one whose body is still to come ends the connection."""
        self.has_asked, self.may_be_queued = True, True
        is_whole = len(rest) >= size
        refusal = problem_bytes(overloaded(), keep_alive=is_whole)
        if rest.startswith(b"HEAD "):
            refusal = refusal[: refusal.index(HEAD_END) + len(HEAD_END)]
        self.transport.write(refusal)
        count_refusal(self._fronts.page, HTTPStatus.SERVICE_UNAVAILABLE)
        if not is_whole:
            self.end()
            return
        self._awaited, self.deadline = Awaited.NOTHING, self.lane.idle_deadline
        if len(rest) > size:  # in the next turn: a pipeline of them would be as deep a recursion
            self._held, self.is_elsewhere = rest[size:], True
            self._fronts.loop.call_soon(self._go_on_after_refusal)

    def _go_on_after_refusal(self) -> None:
        if self._place is Place.LANE and self.is_elsewhere and not self.is_writing_paused:
            self._go_on()

    def _hand_over_for_good(self, rest: bytes) -> None:
        """Give these and all later bytes to aiohttp. A deadline that runs for their head goes with them."""
        expires = self.deadline if self._awaited is Awaited.HEAD or not self.has_asked else None
        self._leave(Place.SLOW_FOR_GOOD)
        self.deadline = self.lane.idle_deadline
        handler = self._handler or self._make_handler()
        handler.is_vetted = False
        if expires is not None:
            handler.expect_head_by(expires)
        self.has_asked = True
        handler.data_received(rest)

    def _leave(self, place: Place) -> None:
        """Leave the lane, and the reading to the transport."""
        self.begun()
        self.leave_to_transport()
        self._go_to(place)

    def _go_to(self, place: Place) -> None:
        """Leave the lane; no deadline of ours runs."""
        self._place, self.is_elsewhere, self.may_be_queued = place, True, True
        self._awaited, self.deadline = Awaited.NOTHING, math.inf

    def _make_handler(self) -> Connection:
        fronts = self._fronts
        handler = self._handler = Connection(fronts.server, fronts.settings, fronts.loop, self, fronts.page)
        handler.connection_made(self.transport)
        if self.is_writing_paused:
            handler.pause_writing()
        return handler

    def _received_behind_a_request(self, received: bytes) -> None:
        """Take bytes while aiohttp has a request: the rest of its body, then what is kept."""
        rest = received
        if self._unread_bytes and self._handler is not None:
            rest = received[self._unread_bytes :]
            self._unread_bytes -= len(received) - len(rest)
            self._handler.data_received(received[: len(received) - len(rest)])
        if rest:
            self._hold(rest)
        if self._is_answered and not self._unread_bytes:
            self._return()

    def _hold(self, received: bytes) -> None:
        """Keep bytes; beyond the limit, stop reading."""
        self._held += received
        if len(self._held) > HELD_BYTES_MAX:
            self._pause_reading()

    def _pause_reading(self) -> None:
        """Stop reading; aiohttp may have started it again since we last did."""
        self._is_reading_paused = True
        self.stop_reading_here()
        self.transport.pause_reading()

    # --- back to the lane

    def begun(self) -> None:
        """Take note that the request that aiohttp has does not wait any more."""
        if self._is_waiting:
            self._is_waiting = False
            self.lane.waiting -= 1

    def answered(self, *, keep_alive: bool) -> None:
        """Take note that aiohttp has wholly written an answer, and whether it will end the connection."""
        if self._place is not Place.SLOW_REQUEST:
            return
        if not keep_alive:
            self._leave(Place.ENDED)
            return
        self._is_answered = True
        if not self._unread_bytes:
            self._return()

    def _return(self) -> None:
        self._place = Place.LANE
        self.deadline = self.lane.idle_deadline
        if not self.is_writing_paused:
            self._go_on()

    def _go_on(self) -> None:
        """Offer the lane what was kept, and read on unless that had to stop again."""
        held, self._held = self._held, b""
        self.is_elsewhere = False
        if held:
            self.offer(held)
        if not self._held:
            self._awaited = Awaited.NOTHING
        if self._is_reading_paused and not self.is_writing_paused and len(self._held) <= HELD_BYTES_MAX:
            self._is_reading_paused = False
            self.transport.resume_reading()

    # --- the end

    @property
    def in_hand(self) -> bool:
        """Say whether a request has begun to arrive and is not answered yet, or is likely to on a fresh connection."""
        match self._place:
            case Place.LANE:
                fresh = not self.has_asked and self._fronts.loop.time() < self.deadline - self._fronts.head_s + FRESH_S
                return fresh or bool(self._held)
            case Place.SLOW_REQUEST | Place.BATCH:
                return True
            case Place.SLOW_FOR_GOOD:
                return self._handler is not None and self._handler.in_hand
            case _:
                return False

    def overdue(self, now: float) -> None:
        """End the connection, whose deadline is over: with 408 where half a request is there."""
        settings = self._fronts.settings
        if self._place is Place.SLOW_FOR_GOOD and self._handler is not None and self._handler.in_hand:
            self.deadline = now + settings.keepalive_timeout_s
            return
        if self._batch is not None:
            self._batch.overdue(now)
            return
        if self.is_writing_paused:
            self.transport.abort()  # the client reads nothing, so there is no use in waiting until all is written
            self.end()
        elif self._awaited is Awaited.HEAD:
            self._refuse_midway(head_overdue(settings.head_timeout_s), now)
        elif self._awaited is Awaited.BODY:
            self._refuse_midway(body_overdue(settings.body_timeout_s), now)
        else:
            self.end()

    def _refuse_midway(self, problem: Problem, now: float) -> None:
        """Answer in the middle of a request; then drop what still comes, for an early close would lose the answer."""
        self.refuse(problem)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._leave(Place.ENDED)
        self._held = b""
        self.deadline = now + LINGER_S

    def failed(self, error: Exception) -> None:
        """End the connection for a fault in the lane."""
        logs.event(_log, logging.ERROR, "lane_failed", error)
        self.transport.abort()
        self.end()

    def end(self) -> None:
        """Close the connection when what is written has gone out."""
        self._leave(Place.ENDED)
        self._stop_batch()
        self._held = b""
        self.transport.close()


def compose(decided: Decided, is_decision: bool) -> bytes:
    """Give the document of an answer as the handlers give it, with a null `id`."""
    decision = cast("Decision", decided)
    return orjson.dumps(decision_document(decision) if is_decision else resolve_document(decision.resolution))


# --- whether there is a lane


async def why_not(resolver: Resolver, server: web.Server, settings: Settings) -> str | None:
    """Say why connections cannot have a lane; None when they can."""
    if not settings.lane:
        return "the setting lane is false"
    if (version := untested(aiohttp.__version__)) is not None:
        return f"aiohttp {version} is not one that this release was tested with"
    try:
        with logs.no_requests():
            async with asyncio.timeout(SELF_TEST_S):
                fault = await self_test(Fronts(resolver, server, settings, asyncio.get_running_loop()))
    except Exception as error:  # noqa: BLE001 - whatever fails there would fail with clients
        logs.event(_log, logging.ERROR, "lane_self_test_failed", error)
        return f"its self-test failed: {type(error).__name__}"
    finally:
        resolver.forget_counts()
    return None if fault is None else f"its self-test failed: {fault}"


def untested(version: str) -> str | None:
    """Give back a version of aiohttp that the tests of this release did not run with, None for one that they did."""
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    found = tuple(int(number) for number in numbers.groups()) if numbers else (0, 0, 0)
    return None if AIOHTTP_TESTED[0] <= found < AIOHTTP_TESTED[1] else version


_HEAD = b" HTTP/1.1\r\nHost: self-test\r\nX-Request-Id: self-test\r\n"
_RESOLVE = b"GET /v1/resolve?serving=36801&ip=192.0.2.1" + _HEAD + b"\r\n"
_ODD = b"GET /version" + _HEAD + b"\r\n"
_LAST = b"GET /version" + _HEAD + b"Connection: close\r\n\r\n"
_PING = b'{"id":"self-test","serving":"36801","sim":"36801","ip":"nonsense","lang":"es"}'
_DECIDE = b"POST /v1/decisions%sContent-Length: %d\r\n\r\n%s" % (_HEAD, len(_PING), _PING)
_SEGMENTS = (_RESOLVE, _ODD, _DECIDE, _ODD + _RESOLVE + _ODD, _DECIDE[:-9], _DECIDE[-9:] + _RESOLVE, _LAST)
_DATE = re.compile(rb"Date: [^\r]{29}\r\n")


async def self_test(fronts: Fronts) -> str | None:
    """Serve a client in memory with and without the lane; say what differs, None when nothing does."""
    fronts.lane.set_date(formatdate(usegmt=True).encode("ascii"))
    expected = await exchange(Connection(fronts.server, fronts.settings, fronts.loop), _SEGMENTS)
    found = await exchange(fronts.connect(), _SEGMENTS)
    answered, _ = fronts.lane.counts()
    if answered != {"resolve": 3, "decisions": 2}:
        return f"the lane answered {answered}"
    if _DATE.sub(b"", found) != _DATE.sub(b"", expected):
        return "the lane and the slow path answer differently"
    return None


async def exchange(connection: Front | Connection, segments: Iterable[bytes]) -> bytes:
    """Serve a client in memory; its last request must end the connection. Give all that was written."""
    transport = Memory(connection)
    connection.connection_made(transport)
    for segment in segments:
        connection.data_received(segment)
        await asyncio.sleep(0)
    await transport.closed.wait()
    return bytes(transport.written)


class Memory(asyncio.Transport):
    """A transport without a socket: what is written is kept."""

    def __init__(self, connection: Front | Connection) -> None:
        """Begin open."""
        super().__init__()
        self._connection = connection
        self.written = bytearray()
        self.closed = asyncio.Event()
        self.is_paused = False

    def write(self, content: bytes | bytearray | memoryview) -> None:
        """Keep what is written."""
        if not self.closed.is_set():
            self.written += content

    def is_closing(self) -> bool:
        """Say whether `close` was called."""
        return self.closed.is_set()

    def close(self) -> None:
        """Lose the connection in the next turn of the loop."""
        if not self.closed.is_set():
            self.closed.set()
            asyncio.get_running_loop().call_soon(self._connection.connection_lost, None)

    def abort(self) -> None:
        """Lose the connection likewise: nothing here waits to be sent."""
        self.close()

    def can_write_eof(self) -> bool:
        """Say that there is but one end."""
        return False

    def get_write_buffer_size(self) -> int:
        """Say that all is sent."""
        return 0

    def pause_reading(self) -> None:
        """Note it: nothing comes by itself here."""
        self.is_paused = True

    def resume_reading(self) -> None:
        """Note it."""
        self.is_paused = False
