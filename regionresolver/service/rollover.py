"""A new generation on its way into every worker: built aside, opened by all, then swapped to by all.

    BUILDING     a child of the supervisor builds and checks it (`builder`); what it says no to is refused
    PREPARING    the supervisor has opened its parcel and told every worker to do the same, beside what it serves. One that
                 cannot, two that die of it, or one that is not ready in time: all forget it, and nothing has changed
    SWAPPING     all have it open, so it is the generation of the service: workers are forked with it from now on, and those
                 that serve swap between two requests. Who does not within `SWAP_S` is killed, for its successor has it

So all workers come to the same generation, or stay with the one that they had. A worker that was forked before the third
step and serves after it goes through the second by itself.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from regionresolver.resolver import Resolver
from regionresolver.resolver.parcel import Parcel
from regionresolver.service.builder import Builder
from regionresolver.service.channel import Command
from regionresolver.service.control import Asker
from regionresolver.service.processes import Process

SWAP_S = 10.0
DEATHS_MAX = 1
"""How many workers may die while they open a generation: one may have died of something else."""


@dataclass(eq=False, slots=True)
class Rollover:
    """One reload, from the wish for it to its end. `askers` are connections that wait for the outcome."""

    builder: Builder
    deadline: float
    askers: list[Asker]
    began: float = field(default_factory=time.monotonic)
    resolver: Resolver | None = None
    is_decided: bool = False
    preparing: set[Process] = field(default_factory=set)
    deaths: int = 0
    _parcel: Parcel | None = None

    def prepare(self, resolver: Resolver, parcel: Parcel, workers: Iterable[Process]) -> None:
        """Begin the second step."""
        self.resolver, self._parcel = resolver, parcel
        for worker in workers:
            self.ask(worker)

    def ask(self, worker: Process) -> None:
        """Tell a worker to open the generation, when there is one to open."""
        if self._parcel is not None and self.resolver is not None and worker.generation != self.resolver.generation:
            self.preparing.add(worker)
            worker.tell(Command.PREPARE, self._parcel.descriptors)

    def prepared(self, worker: Process, generation: str) -> None:
        """Take note that a worker has opened a generation: it may be one that was given up."""
        if self.resolver is None or generation != self.resolver.generation:
            return
        worker.prepared = generation
        self.preparing.discard(worker)
        if self.is_decided:
            worker.tell(Command.SWAP)

    def died(self, worker: Process) -> None:
        """Take note that a worker is gone."""
        if worker in self.preparing:
            self.preparing.discard(worker)
            self.deaths += 1

    @property
    def fault(self) -> str | None:
        """Why the second step cannot be finished, None while it can."""
        if self.is_decided:
            return None
        if self.deaths > DEATHS_MAX:
            return f"{self.deaths} workers died while they opened the new generation"
        if time.monotonic() > self.deadline:
            return "not every worker has opened the new generation in time (reload_timeout_s)"
        return None

    def decide(self, workers: Iterable[Process]) -> None:
        """Begin the third step."""
        self.is_decided = True
        self.deadline = time.monotonic() + SWAP_S
        for worker in workers:
            if self.resolver is not None and worker.prepared == self.resolver.generation:
                worker.tell(Command.SWAP)

    def give_up(self, workers: Iterable[Process]) -> None:
        """Let everybody forget the generation."""
        if self._parcel is not None:
            for worker in workers:
                worker.prepared = None
                worker.tell(Command.FORGET)
