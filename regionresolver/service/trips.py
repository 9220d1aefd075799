"""Trips of the runtime breaker in shared memory, so that what one worker sees holds in all, with a folder and without one.

A worker that sees the breaker trip marks it in its page, and every worker reads the pages at its next check; marks outlive
their worker and are of one generation. Where the policy comes from a folder of generations the trip is kept there too, and
resets are read from there: the later of the two counts. A trip that the folder lacks after OVERDUE, because who should have
written it is gone, is written by whoever notices.
"""

import datetime as dt

from regionresolver.errors import PolicyError
from regionresolver.resolver import Marks, Reset, Trip, now
from regionresolver.service.pages import WorkerPage

OVERDUE = dt.timedelta(seconds=5)

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


class SharedMarks:
    """The marks of one generation's breaker, as one worker reads and writes them."""

    def __init__(self, page: WorkerPage, serial: int, action: str, kept: Marks | None) -> None:
        """Mark in `page`, read in all; `kept` are the folder's marks, None without a folder."""
        self._page, self._serial, self._action, self._kept = page, serial, action, kept
        self._told: Trip | None = None

    def read(self) -> Trip | Reset | None:
        """Answer the latest trip or reset. Raises PolicyError, but never before it has told a trip of the pages."""
        shared = self._shared()
        if self._kept is None:
            return shared
        try:
            kept = self._kept.read()
            if shared is None or (isinstance(kept, Reset) and kept.at >= shared.at):
                return kept
            if not isinstance(kept, Trip) and now() - shared.at > OVERDUE:
                self._kept.write(shared)
        except PolicyError:
            if shared is None or shared == self._told:
                raise
        self._told = shared
        return shared

    def write(self, trip: Trip) -> None:
        """Keep a trip, here and in the folder. Raises PolicyError: then it is kept here."""
        self._page.mark_trip(self._serial, (trip.at - _EPOCH) // _MICROSECOND, trip.decided, trip.denied)
        self._told = trip
        if self._kept is not None and not isinstance(self._kept.read(), Trip):
            self._kept.write(trip)

    def _shared(self) -> Trip | None:
        mark = self._page.pages.trip_mark(self._serial)
        if mark is None:
            return None
        at_us, decided, denied = mark
        return Trip(_EPOCH + at_us * _MICROSECOND, self._action, decided, denied)
