"""The next generation inside a worker: opened in a thread beside the one that is served, then put into its place.

Opening compiles the policy and the tables of the fusion, which needs the interpreter. So that the loop never waits long
for it, the thread is asked to let go of it every `SHARE_S`; and the collector rests meanwhile, for a collection would hold
it until it had looked at all the new objects. It is always the same thread, for malloc keeps an arena of its own for each
that ever opened something. The swap itself is a pointer assignment between two callbacks of the loop.
"""

import asyncio
import gc
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from regionresolver.resolver import now
from regionresolver.resolver.parcel import Parcel, unpack
from regionresolver.service import logs
from regionresolver.service.channel import Report
from regionresolver.service.state import Generation, ServiceState

SHARE_S = 0.0001

_log = logging.getLogger("regionresolver.service")
_opener = ThreadPoolExecutor(1, "successor")


@dataclass(eq=False, slots=True)
class Successor:
    """What a worker will serve next, if anything. `report` tells the supervisor, with the generation's name."""

    state: ServiceState
    report: Callable[[Report, str], None]
    _opened: Generation | None = None
    _opening: asyncio.Task[None] | None = field(default=None)

    def prepare(self, descriptors: Sequence[int]) -> None:
        """Begin to open the generation of a parcel's descriptors, which become ours."""
        self.forget()
        self._opening = asyncio.create_task(self._open(descriptors))

    def swap(self) -> None:
        """Serve what was opened."""
        if self._opened is not None:
            opened, self._opened = self._opened, None
            self.state.swap(opened)
            self.state.page.generation = opened.resolver.serial
            self.report(Report.SWAPPED, opened.resolver.generation)

    def forget(self) -> None:
        """Open nothing any more, and let go of what was opened."""
        self._opened = None
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None

    async def _open(self, descriptors: Sequence[int]) -> None:
        try:
            opened = await asyncio.get_running_loop().run_in_executor(_opener, opened_in_turn, descriptors)
        except Exception as error:  # noqa: BLE001 - whatever it is, the old generation serves on
            page = self.state.page
            logs.event(_log, logging.ERROR, "generation_refused", error, worker=page.worker, pid=page.pid)
            self.report(Report.REFUSED, "")
        else:
            self._opened = opened
            self.report(Report.PREPARED, opened.resolver.generation)


def opened_in_turn(descriptors: Sequence[int]) -> Generation:
    """Open a generation, sharing the interpreter; called in a thread, one at a time."""
    with _sharing():
        opened = Generation.of(unpack(Parcel.received(descriptors)))
        opened.resolver.breaker.check(now())  # a trip that a folder keeps holds from the first answer on
        return opened


@contextmanager
def _sharing() -> Iterator[None]:
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(SHARE_S)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        sys.setswitchinterval(interval_s)
