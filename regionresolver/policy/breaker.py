"""The runtime breaker: the running service steps back when too many of its latest decisions are denials.

In go the totals of decisions and denials (`_fastpath.tally`, two additions a decision) and, at each check, the instant;
out comes whether the breaker has tripped. The hot path knows no window: a check takes the difference to the totals as
they were one window ago, which the checks before it have kept, at most `SLOTS` of them.

- It trips when at least `min_sample` decisions fell into the window, and more than `deny_share` of them denied.
- Tripped it stays, until a reset or another activation. With action "shadow" every denial, of a rule or a default, counts
  as one in shadow: the next enforced rule that does not deny decides, or the default, `allow` in place of a default that
  denies; the answer's `shadow` says what the policy would have said. With "alert" the answers stay as they are. Either
  way every answer carries a warning.
- Where there is a folder of generations a trip is written there (`Marks`), so that neither a restart nor a crash resets it,
  and a reset is read from there. Trip and reset name the activation that they are about; another one leaves them behind.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from regionresolver.errors import PolicyError
from regionresolver.model import Notice
from regionresolver.policy.describe import zulu

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from regionresolver.policy.model import RuntimeBreaker

SLOTS: Final = 60
"""How finely a window is cut: it is at most a sixtieth longer than asked for."""

CODE: Final = "BREAKER_TRIPPED"


@dataclass(frozen=True, slots=True)
class Trip:
    """That the breaker has tripped: when, on how many decisions of the window, and what follows."""

    at: dt.datetime
    action: str
    decided: int
    denied: int

    @property
    def notice(self) -> Notice:
        """Answer the warning that every answer carries."""
        return Notice(CODE, "", f"the policy's runtime breaker has tripped: {self._follows}")

    def __str__(self) -> str:
        """Write the trip as a sentence."""
        count = f"{self.denied} of {self.decided} decisions denied"
        return f"the runtime breaker tripped at {self.since}: {count}; {self._follows}"

    @property
    def since(self) -> str:
        """Answer the instant as RFC 3339 writes it."""
        return zulu(self.at)

    @property
    def _follows(self) -> str:
        return "denials are counted, not enforced" if self.action == "shadow" else "denials are still enforced"


@dataclass(frozen=True, slots=True)
class Reset:
    """That somebody has reset the breaker: when, who and why."""

    at: dt.datetime
    by: str
    reason: str


class Marks(Protocol):
    """Where trips and resets are kept, for the activation that is served."""

    def read(self) -> Trip | Reset | None:
        """Answer the latest one. Raises PolicyError."""

    def write(self, trip: Trip) -> None:
        """Keep a trip. Raises PolicyError."""


class Change(StrEnum):
    """What a check has changed."""

    TRIPPED = "tripped"
    RESET = "reset"


class _Sample(NamedTuple):
    at: dt.datetime
    decided: int
    denied: int


class Breaker:
    """The breaker of one policy; `limits` None never trips.

    `totals` gives decisions and denials so far; `follow` is told of each trip, and with None of each reset. After a check,
    `decided` and `denied` are those of the window. `fault` is the error that keeps a trip from being written or a reset
    from being read, None while there is none.
    """

    def __init__(
        self,
        limits: RuntimeBreaker | None,
        totals: Callable[[], tuple[int, int]],
        follow: Callable[[Trip | None], None],
        marks: Marks | None = None,
    ) -> None:
        """Begin with an empty window; a trip that is marked holds from the first check on."""
        self.limits = limits
        self.trip: Trip | None = None
        self.last_reset: Reset | None = None
        self.decided = self.denied = 0
        self.fault: PolicyError | None = None
        self._totals, self._follow, self._marks = totals, follow, marks
        self._unmarked = False
        self._samples: deque[_Sample] = deque()
        self._baseline = totals()

    def check(self, at: dt.datetime) -> Change | None:
        """Look at the marks and the window as of an instant (with a zone); answer what has changed, None for nothing.

        Meant to be called about every second, by one thread at a time.
        """
        if self.limits is None:
            return None
        change = self._heed_marks()
        if self.trip is None:
            self._move_window(at, self.limits.window)
            if self.decided >= self.limits.min_sample and self.denied > self.limits.deny_share * self.decided:
                self._stand(Trip(at, self.limits.action, self.decided, self.denied))
                self._unmarked = self._marks is not None
                change = Change.TRIPPED
        self._mark()
        return change

    def count_by(self, totals: Callable[[], tuple[int, int]]) -> None:
        """Take the decisions and denials of all who share this breaker from here, with an empty window. A trip stays."""
        self._totals = totals
        self.begin_anew()

    def take_window(self, before: Breaker) -> None:
        """Go on with the window of a breaker of the same policy, which counts by the same totals. After a trip there is none."""
        if self.trip is None and before.trip is None:
            self._samples, self._baseline = before.window
            self.decided, self.denied = before.decided, before.denied

    @property
    def window(self) -> tuple[deque[_Sample], tuple[int, int]]:
        """A copy of the samples, and where the window begins that has none; another thread may be checking."""
        return self._samples.copy(), self._baseline

    def share(self, wrap: Callable[[Marks | None], Marks]) -> None:
        """Keep trips where `wrap` says too, which is given where they were kept so far. A trip that stands is written there."""
        self._marks = wrap(self._marks)
        self._unmarked = self._unmarked or self.trip is not None

    def begin_anew(self) -> None:
        """Begin with an empty window: what was decided so far were no pings. A trip stays."""
        self._samples.clear()
        self._baseline = self._totals()
        if self.trip is None:
            self.decided = self.denied = 0

    def reset(self) -> None:
        """Let the policy speak again, with an empty window. Where there are marks, the command resets: see `Marks`."""
        self._stand(None)

    def _heed_marks(self) -> Change | None:
        """Do what the latest mark says."""
        if self._marks is None:
            return None
        try:
            mark = self._marks.read()
        except PolicyError as error:
            self.fault = error
            return None
        if not self._unmarked:
            self.fault = None
        if isinstance(mark, Trip) and self.trip is None:
            self._stand(mark)
            return Change.TRIPPED
        if isinstance(mark, Reset) and self.trip is not None and mark.at >= self.trip.at:
            self.last_reset = mark
            self._stand(None)
            return Change.RESET
        return None

    def _mark(self) -> None:
        """Write a trip that is not written yet; while that fails, each check tries again."""
        if self._unmarked and self._marks is not None and self.trip is not None:
            try:
                self._marks.write(self.trip)
            except PolicyError as error:
                self.fault = error
            else:
                self.fault, self._unmarked = None, False

    def _stand(self, trip: Trip | None) -> None:
        self.trip = trip
        self._unmarked = False
        self.begin_anew()
        if trip is not None:
            self.decided, self.denied = trip.decided, trip.denied
        self._follow(trip)

    def _move_window(self, at: dt.datetime, window: dt.timedelta) -> None:
        """Count what was decided since the latest sample that is a window old; without one, since the oldest."""
        samples = self._samples
        decided, denied = self._totals()
        if samples and at < samples[-1].at:
            # The clock was set back. What has been counted since the latest sample is all that can be dated.
            self._baseline = samples[-1][1:]
            samples.clear()
        if not samples:
            samples.append(_Sample(at, *self._baseline))
        while len(samples) > 1 and samples[1].at <= at - window:
            samples.popleft()
        self.decided, self.denied = decided - samples[0].decided, denied - samples[0].denied
        if at - samples[-1].at >= window / SLOTS:
            samples.append(_Sample(at, decided, denied))
