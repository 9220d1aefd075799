"""When to refuse, so that what is admitted is answered in time: by how late the loop is, and how much is in flight.

Requests of the slow path are refused with 503 OVERLOADED and Retry-After where they come in, before aiohttp has made anything of
them. Three things are too much:

    waiting     as many whole requests as `shed_waiting` wait for their turn, and at each of the last FULL_TICKS looks did:
                a queue that stands is no burst, it is as much more than can be answered. From then on a few may wait, the
                others are refused, until FULL_TICKS looks long none had to be. What is admitted is then answered as soon as
                that few allow. The lane refuses by itself, for a microsecond: time spent on refusals is not there for answers
    in_flight   aiohttp has `shed_in_flight` requests in hand: bodies on their way, long batches
    lag         a timer of the loop was called later than `shed_lag_s`: so long does a turn of the loop take, which every
                request waits for at least once

Probes, metrics and what operators look at are never refused, for /readyz has to tell of it.

What the lane answers itself is never refused: a refusal would be read, written and sent as the answer is, and save only what
lies between.
"""

import asyncio
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import web

from _fastpath.lane import Lane
from regionresolver.service import metrics
from regionresolver.service.counting import count_refusal
from regionresolver.service.pages import WorkerPage
from regionresolver.service.problems import OVERLOADED, Problem, ProblemError
from regionresolver.settings import Settings

TICK_S = 0.02
FULL_TICKS = 5
# Of the queue that is too long, the part that may stand while it is kept short.
KEPT_SHARE = 8
# With fewer refusals than this share of the others the end has come.
END_SHARE = 8
NEVER = 2**62
RETRY = {"Retry-After": "1"}
SPARED = ("/livez", "/healthz", "/readyz", "/version", "/metrics", "/v1/metadata", "/v1/policy")
SPARED_STARTS = tuple(f"GET {path}".encode() for path in SPARED)


@dataclass(eq=False, slots=True)
class Pressure:
    """How a worker's loop does.

    `lag_s` is how late it was at the latest tick, `in_flight` what aiohttp has in hand. `lane` is the one whose requests wait,
    if there is one, `is_full` whether their queue is kept short, and `shed` counts what was refused.
    """

    settings: Settings
    page: WorkerPage | None = None
    lag_s: float = 0.0
    in_flight: int = 0
    lane: Lane | None = None
    is_full: bool = False
    shed: int = 0
    _timer: asyncio.TimerHandle | None = field(default=None)
    _ticks: int = 0
    _counted: tuple[int, int] = (0, 0)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Measure from now on."""
        self._timer = loop.call_later(TICK_S, self._tick, loop, loop.time() + TICK_S)

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self.lag_s = max(0.0, loop.time() - due, self.lag_s / 2)  # one timely turn does not end what a late one has begun
        if self.page is not None:
            self.page.set(metrics.LOOP_LAG, self.lag_s)
        if self.lane is not None:
            self._look_at_queue(self.lane)
        self.start(loop)

    def _look_at_queue(self, lane: Lane) -> None:
        """Begin or end to keep the queue short when it has been time to for FULL_TICKS looks."""
        (refused, left), before = (lane.refused, lane.left), self._counted
        self._counted = refused, left
        refused, left = refused - before[0], left - before[1]
        if refused:
            self.count("waiting", refused)
            count_refusal(self.page, HTTPStatus.SERVICE_UNAVAILABLE, refused)
        most = self.settings.shed_waiting
        is_time = refused * END_SHARE <= left if self.is_full else lane.waiting >= most
        self._ticks = self._ticks + 1 if is_time else 0
        if self._ticks == FULL_TICKS:
            self.is_full, self._ticks = not self.is_full, 0
            lane.refuse_from = most // KEPT_SHARE if self.is_full else NEVER

    @property
    def reason(self) -> str | None:
        """Why requests of the slow path are refused at present: "waiting", "in_flight" or "lag"; None when they are not."""
        return "waiting" if self.is_full else self.late

    @property
    def late(self) -> str | None:
        """Why whatever comes would be answered late: "in_flight" or "lag"; None when it would not."""
        if self.in_flight >= self.settings.shed_in_flight:
            return "in_flight"
        return "lag" if self.lag_s > self.settings.shed_lag_s else None

    def refuses(self, beginning: bytes) -> bool:
        """Say whether a request that begins so is to be refused because it would be late, and count it if it is."""
        reason = self.late
        if reason is None or beginning.startswith(SPARED_STARTS):
            return False
        self.count(reason)
        return True

    def count(self, reason: str, number: int = 1) -> None:
        """Count requests that are refused."""
        self.shed += number
        if self.page is not None:
            self.page.count(metrics.SHED, reason, by=number)


def overloaded() -> Problem:
    """Give the problem of a request that is refused."""
    return Problem(OVERLOADED, "the service has more to do than it can; ask again later", headers=RETRY)


def check_pressure(request: web.BaseRequest, pressure: Pressure) -> None:
    """Refuse what no `Front` has looked at. Raises ProblemError."""
    reason = pressure.late
    if reason is not None and request.path not in SPARED:
        pressure.count(reason)
        raise ProblemError(OVERLOADED, overloaded().detail, headers=RETRY)
