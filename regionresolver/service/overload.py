"""When to refuse, so that what is admitted is answered in time: by how late the loop is, and how much is in flight.

A timer of the loop measures how late it is called: that is how long a turn of the loop takes, which every request waits for
at least once. Above `shed_lag_s`, or with `shed_in_flight` requests at aiohttp, requests of the slow path are refused with
503 OVERLOADED and Retry-After, where they come in (`Front`), before aiohttp has made anything of them. Probes,
metrics and what operators look at are never refused, for /readyz has to tell of it.

The compiled lane refuses nothing: a refusal there would be read, written and sent as the answer is, and save only what lies
between.
"""

import asyncio
from dataclasses import dataclass, field

from aiohttp import web

from regionresolver.service import metrics
from regionresolver.service.pages import WorkerPage
from regionresolver.service.problems import OVERLOADED, Problem, ProblemError
from regionresolver.settings import Settings

TICK_S = 0.02
RETRY = {"Retry-After": "1"}
SPARED = ("/livez", "/healthz", "/readyz", "/version", "/metrics", "/v1/metadata", "/v1/policy")
_SPARED_STARTS = tuple(f"GET {path}".encode() for path in SPARED)


@dataclass(eq=False, slots=True)
class Pressure:
    """How a worker's loop does. `lag_s` is how late it was at the latest tick, `in_flight` what aiohttp has in hand."""

    settings: Settings
    page: WorkerPage | None = None
    lag_s: float = 0.0
    in_flight: int = 0
    shed: int = 0
    _timer: asyncio.TimerHandle | None = field(default=None)

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
        self.start(loop)

    @property
    def reason(self) -> str | None:
        """Why a request of the slow path is to be refused now: "lag" or "in_flight"; None when it is not."""
        if self.in_flight >= self.settings.shed_in_flight:
            return "in_flight"
        return "lag" if self.lag_s > self.settings.shed_lag_s else None

    def refuses(self, beginning: bytes) -> bool:
        """Say whether a request that begins so is to be refused, and count it if it is."""
        reason = self.reason
        if reason is None or beginning.startswith(_SPARED_STARTS):
            return False
        self.count(reason)
        return True

    def count(self, reason: str) -> None:
        """Count a request that is refused."""
        self.shed += 1
        if self.page is not None:
            self.page.count(metrics.SHED, reason)


def overloaded() -> Problem:
    """Give the problem of a request that is refused."""
    return Problem(OVERLOADED, "the service has more to do than it can; ask again later", headers=RETRY)


def check_pressure(request: web.BaseRequest, pressure: Pressure) -> None:
    """Refuse what no `Front` has looked at. Raises ProblemError."""
    reason = pressure.reason
    if reason is not None and request.path not in SPARED:
        pressure.count(reason)
        raise ProblemError(OVERLOADED, overloaded().detail, headers=RETRY)
