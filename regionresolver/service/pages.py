"""A page of shared memory per worker process: what a worker tells of itself and what it counts, readable by all, outliving it.

The supervisor makes the pages before it forks; a page belongs to one process at a time, and then to the next that needs
one. Its words are 64-bit, each written by its owner alone, so that no lock is needed. Words that count go on from where
the former owner left them: the sum over all pages never falls when a worker dies. Gauges begin at 0 with each owner.

    words 0 ...         `Word`: who the owner is and how it does
    TOTALS_WORD ...     `metrics.TALLIES` times decisions and denials, for the breaker; see `WorkerPage.totals_of`
    METRICS_WORD ...    the metrics of `service.metrics.TABLE`, in its order

One page is the supervisor's own. Before the pages lie the names of series that only a run knows (`service.names`). All of
it is one file in memory without a name, mapped by every process.
"""

import mmap
import os
import time
from collections.abc import Iterator, Sequence
from enum import IntEnum
from functools import partial

from regionresolver.resolver import DecisionCounters, Resolver, now
from regionresolver.service import metrics, names
from regionresolver.service.metrics import TABLE, TALLIES, Kind, Metric

TOTALS_WORD = 32
METRICS_WORD = 64

_WORD_BYTES = 8
_BLOCK_BYTES = mmap.PAGESIZE
_BLOCK_WORDS = _BLOCK_BYTES // _WORD_BYTES


def _whole(size: int, block: int) -> int:
    return -(-size // block) * block


class State(IntEnum):
    """What the owner of a page is doing."""

    FREE = 0
    STARTING = 1
    SERVING = 2
    ENDING = 3
    SUPERVISING = 4


class Word(IntEnum):
    """The place of a word in a page."""

    PID = 0
    WORKER = 1
    STATE = 2
    STARTED_US = 3
    HEARTBEAT_NS = 4
    RESTARTS = 5
    GENERATION = 6
    TRIP_SERIAL = 7
    TRIP_AT_US = 8
    TRIP_DECIDED = 9
    TRIP_DENIED = 10
    TOLD_SERIAL = 11
    """In the supervisor's page, and written under the lock: the generation whose trip is in the log; 0 for none."""


class WorkerPage:
    """The words of one process."""

    def __init__(self, words: memoryview, pages: "Pages") -> None:
        """Read and write `words`, 64-bit unsigned integers; `pages` are all of them."""
        self._words = words
        self._metrics = words[METRICS_WORD:]
        self._places: dict[tuple[Metric, tuple[str, ...]], int] = {}
        self._answers: dict[tuple[tuple[str, str], int], tuple[int, int]] = {}
        self.pages = pages

    def take(self, worker: int, restarts: int, state: State = State.STARTING) -> None:
        """Begin a new owner's life (called by the supervisor just before the fork; `worker` counts from 0)."""
        words = self._words
        self._forget_gauges()
        words[Word.PID], words[Word.WORKER], words[Word.GENERATION] = 0, worker, 0
        words[Word.STARTED_US], words[Word.RESTARTS] = round(now().timestamp() * 1e6), restarts
        self.beat()
        self.state = state

    def free(self) -> None:
        """End the owner's life (called by the supervisor once the process is gone)."""
        self.state = State.FREE
        self._words[Word.PID] = 0
        self._forget_gauges()

    def word(self, word: Word) -> int:
        """Read a word of the page's head."""
        return self._words[word]

    def set_word(self, word: Word, value: int) -> None:
        """Write one."""
        self._words[word] = value

    def beat(self) -> None:
        """Say that the owner's loop turns."""
        self._words[Word.HEARTBEAT_NS] = time.monotonic_ns()

    def _forget_gauges(self) -> None:
        for metric in TABLE.metrics:
            if metric.kind is Kind.GAUGE:
                self.block(metric)[:] = memoryview(bytes(metric.words * _WORD_BYTES)).cast("Q")

    # --- what is counted

    def count(self, metric: Metric, *values: str, by: float = 1) -> None:
        """Let a counter grow, or a gauge by a negative number fall; `values` are those of its labels."""
        self._metrics[self._place(metric, values)] += round(by * metric.words_per_unit)

    def set(self, metric: Metric, value: float, *values: str) -> None:
        """Let a gauge stand at a value that is not negative."""
        self._metrics[self._place(metric, values)] = round(value * metric.words_per_unit)

    def observe(self, metric: Metric, seconds: float, *values: str) -> None:
        """Count a duration in a histogram."""
        self._observe_at(self._place(metric, values), metric, seconds)

    def _observe_at(self, first: int, metric: Metric, seconds: float) -> None:
        self._metrics[first + metric.bucket(seconds)] += 1
        self._metrics[first + metric.cell_words - 1] += max(0, round(seconds * metric.words_per_unit))

    def count_answer(self, route: tuple[str, str], status: int, seconds: float) -> None:
        """Count an answer in `REQUESTS` and `DURATION`: what every request of the slow path pays for, so in one go."""
        places = self._answers.get((route, status))
        if places is None:
            of_request = (*route, str(status))
            places = self._place(metrics.REQUESTS, of_request), self._place(metrics.DURATION, route)
            if (metrics.REQUESTS, of_request) in self._places:
                self._answers[route, status] = places
        self._metrics[places[0]] += 1
        self._observe_at(places[1], metrics.DURATION, seconds)

    def cell(self, metric: Metric, *values: str) -> memoryview:
        """Give the words of one series."""
        place = self._place(metric, values)
        return self._metrics[place : place + metric.cell_words]

    def block(self, metric: Metric) -> memoryview:
        """Give all the words of a metric."""
        return self._metrics[metric.first_word : metric.first_word + metric.words]

    def _place(self, metric: Metric, values: tuple[str, ...]) -> int:
        known = self._places.get((metric, values))
        if known is not None:
            return known
        row, fixed = 0, values
        if metric.named is not None:
            parts = len(metric.named.labels)
            row, fixed = self.pages.names.place(metric.named, values[:parts]), values[parts:]
        place = metric.place(row, fixed)
        if metric.named is None or row:  # a name that has no place may get one yet, and there is no end of such names
            self._places[metric, values] = place
        return place

    def totals_of(self, policy_serial: int) -> memoryview:
        """Give the decisions and denials of a policy, by its number. After TALLIES policies the words are used again.

        So whoever asks takes differences: a worker that still serves the policy before counts in other words.
        """
        start = TOTALS_WORD + 2 * (policy_serial % TALLIES)
        return self._words[start : start + 2]

    def adopt(self, resolver: Resolver) -> None:
        """Let a generation count here from now on what it decides and resolves, and its breaker hear of all workers."""
        known = self.pages.names
        known.learn(metrics.REGIONS, [(code,) for code in resolver.counted_regions])
        known.learn(metrics.RULES, [(rule,) for rule in resolver.rule_ids])
        known.learn(metrics.OVERRIDES, [(one.override.id, one.override.owner) for one in resolver.overrides])
        resolver.count_in(
            DecisionCounters(
                totals=self.totals_of(resolver.policy_serial),
                signals=self.block(metrics.SIGNALS_SEEN),
                conflicts=self.block(metrics.CONFLICTS),
                regions=self.block(metrics.DECISIONS),
                rules=self.block(metrics.RULE_DECISIONS),
                shadow_rules=self.block(metrics.SHADOW_DECISIONS),
                overrides=self.block(metrics.OVERRIDE_HITS),
                region_place=lambda code: known.place(metrics.REGIONS, (code or metrics.NONE,)),
                rule_place=lambda rule: known.place(metrics.RULES, (rule or metrics.DEFAULT,)),
                override_place=lambda override: known.place(metrics.OVERRIDES, (override.id, override.owner)),
            )
        )
        resolver.breaker.count_by(partial(self.pages.totals, resolver.policy_serial))

    def mark_trip(self, serial: int, at_us: int, decided: int, denied: int) -> None:
        """Say that the breaker of a generation has tripped. The mark outlives the owner, as every word does."""
        words = self._words
        words[Word.TRIP_SERIAL] = 0  # until the rest is written
        words[Word.TRIP_AT_US], words[Word.TRIP_DECIDED], words[Word.TRIP_DENIED] = at_us, decided, denied
        words[Word.TRIP_SERIAL] = serial

    def trip_mark(self, serial: int) -> tuple[int, int, int] | None:
        """Give instant, decisions and denials of a trip of this generation that the owner or a former one has marked."""
        words = self._words
        if words[Word.TRIP_SERIAL] != serial:
            return None
        return words[Word.TRIP_AT_US], words[Word.TRIP_DECIDED], words[Word.TRIP_DENIED]

    # --- what the owner tells of itself

    @property
    def state(self) -> State:
        """What the owner is doing."""
        return State(self._words[Word.STATE])

    @state.setter
    def state(self, state: State) -> None:
        self._words[Word.STATE] = state

    @property
    def pid(self) -> int:
        """The owner's process id, 0 until it runs."""
        return self._words[Word.PID]

    @pid.setter
    def pid(self, pid: int) -> None:
        self._words[Word.PID] = pid

    @property
    def worker(self) -> int:
        """The number of the worker, from 0; its successor has the same."""
        return self._words[Word.WORKER]

    @property
    def started_us(self) -> int:
        """When the owner was started, in microseconds of Unix time."""
        return self._words[Word.STARTED_US]

    @property
    def heartbeat_ns(self) -> int:
        """When the owner's loop last told that it turns, on the monotonic clock."""
        return self._words[Word.HEARTBEAT_NS]

    @property
    def generation(self) -> int:
        """The number of the generation that the owner serves, 0 until it does."""
        return self._words[Word.GENERATION]

    @generation.setter
    def generation(self, serial: int) -> None:
        self._words[Word.GENERATION] = serial
        self.set(metrics.GENERATION, serial)

    @property
    def in_flight(self) -> int:
        """How many requests aiohttp is answering."""
        return self.block(metrics.IN_FLIGHT)[0]

    @property
    def restarts(self) -> int:
        """How often a worker of this number had died before this one."""
        return self._words[Word.RESTARTS]


class Pages:
    """All pages, in one mapping that forked processes share; `all` are those of workers."""

    def __init__(self, count: int, wanted: int = 1) -> None:
        """Make `count` free pages, and the supervisor's; `wanted` is the number of workers that there are to be."""
        self.wanted = wanted
        names_bytes = _whole(names.bytes_needed(TABLE.named), _BLOCK_BYTES)
        page_words = _whole(METRICS_WORD + TABLE.words, _BLOCK_WORDS)
        self._descriptor = os.memfd_create("regionresolver-pages", os.MFD_CLOEXEC)
        os.ftruncate(self._descriptor, names_bytes + (count + 1) * page_words * _WORD_BYTES)
        memory = memoryview(mmap.mmap(self._descriptor, 0))
        self.names = names.Names(memory[:names_bytes], self._descriptor, TABLE.named)
        words = memory[names_bytes:].cast("Q")
        self.supervisor, *workers = (
            WorkerPage(words[start : start + page_words], self) for start in range(0, (count + 1) * page_words, page_words)
        )
        self.all = tuple(workers)
        self.supervisor.take(0, 0, State.SUPERVISING)

    def __del__(self) -> None:
        """Close the file; the mapping lives as long as somebody uses it."""
        os.close(self._descriptor)

    def take(self, worker: int, restarts: int) -> WorkerPage | None:
        """Give a free page to a new process; None when all have their owners."""
        for page in self.all:
            if page.state is State.FREE:
                page.take(worker, restarts)
                return page
        return None

    def attended(self, worker: int, within_s: float) -> bool:
        """Say whether a process of this number serves, and its loop turned not longer than `within_s` ago."""
        oldest_ns = time.monotonic_ns() - int(within_s * 1e9)
        return any(page.worker == worker and page.state is State.SERVING and page.heartbeat_ns >= oldest_ns for page in self.all)

    def sums(self, metric: Metric) -> Sequence[int]:
        """Give the words of a metric, summed over all pages; of a named one those of the names that there are."""
        used = metric.row_words * len(self.names.all(metric.named)) if metric.named is not None else metric.words
        return summed([page.block(metric)[:used] for page in (self.supervisor, *self.all)])

    def totals(self, policy_serial: int) -> tuple[int, int]:
        """Give the decisions and denials of a policy in all workers so far; see `WorkerPage.totals_of`."""
        found = [page.totals_of(policy_serial).tolist() for page in self.all]
        return sum(decided for decided, _ in found), sum(denied for _, denied in found)

    def trip_mark(self, serial: int) -> tuple[int, int, int] | None:
        """Give the latest trip of a generation that any worker has marked."""
        return max((mark for page in self.all if (mark := page.trip_mark(serial)) is not None), default=None)

    def told_trip(self) -> int:
        """Give the number of the generation whose trip is in the log and not taken back there; 0 for none."""
        return self.supervisor.word(Word.TOLD_SERIAL)

    def first_to_tell(self, before: int, after: int) -> bool:
        """Say whether the caller is the one to log a change of `told_trip`; of all processes one is."""
        with self.names.locked():
            if self.told_trip() != before:
                return False
            self.supervisor.set_word(Word.TOLD_SERIAL, after)
            return True

    def alive(self) -> Iterator[WorkerPage]:
        """Yield the pages that a worker owns."""
        return (page for page in self.all if page.state is not State.FREE)


def summed(blocks: Sequence[memoryview]) -> Sequence[int]:
    """Add blocks of words, word by word. No sum reaches 2**64, so each block may be taken for one long number."""
    total = sum(int.from_bytes(block, "little") for block in blocks)
    return memoryview(total.to_bytes(blocks[0].nbytes, "little")).cast("Q")
