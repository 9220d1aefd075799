"""Write the decision log: one thread of a worker takes lines out of the ring and appends them to segments.

Nothing here may hold up or fail an answer. The deciding thread puts records into a ring (`_fastpath.decision_log`) and
never waits; this thread writes what is there in one go every `GROUP_S` or sooner (group commit), and calls `fdatasync`
every `decision_log_fsync_s`. While the disk is slow, full or gone, half a line is taken back, what was taken out of the
ring is tried again, and the ring fills; when it is full, further decisions are dropped, counted by reason, and told in one
log line a minute. Their numbers are missing in the log.

Which chain a process continues: the lowest one whose lock is free (`chain-<n>.lock`); the lock ends with the process,
however that ends. So successors, and several services on one directory, never write into one segment.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from regionresolver.errors import ServeError
from regionresolver.resolver import Resolver, now
from regionresolver.resolver.log_chain import FORMAT, GENESIS, Ending, chained, ending_of, numbers_of, segment_name, segments
from regionresolver.resolver.recorder import MUCH_BYTES, Recorder
from regionresolver.service import logs
from regionresolver.settings import Settings

GROUP_S = 0.05
BUSY_S = 0.002
MOST_CHAINS = 1000
RETRY_S = 1.0
TELL_AGAIN_S = 60.0

_log = logging.getLogger("regionresolver.service")


@dataclass(slots=True)
class Counts:
    """What became of the decisions that were to be logged, since the start of the process.

    `dropped_slow` found the ring full while the disk was written, `dropped_failed` while it could not be.
    """

    written: int = 0
    written_bytes: int = 0
    dropped_slow: int = 0
    dropped_failed: int = 0
    segments: int = 0


def check_directory(settings: Settings) -> None:
    """See at the start that the directory can be used, and make it. Raises ServeError."""
    if settings.decision_log == "off":
        return
    directory = settings.decision_log_dir
    if directory is None:
        raise ServeError("decision_log is on, and decision_log_dir is not set (say where its segments shall be)")
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        probe = directory / f".probe-{os.getpid()}"
        probe.touch(mode=0o640)
        probe.unlink()
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise ServeError(f"{directory}: the decision log cannot be written there: {reason} (decision_log_dir)") from None


@dataclass(eq=False)
class LogWriter:
    """The writing thread of one process. `begin` starts it, `end` writes what is left and closes the segment."""

    settings: Settings
    resolver: Callable[[], Resolver]
    recorder: Recorder
    worker: int
    told: Callable[[Counts], None] = lambda _counts: None
    counts: Counts = field(default_factory=Counts)
    _chain_number: int = -1
    _number: int = 0
    _lock: int = -1
    _segment: int = -1
    _chain: bytes = GENESIS
    _previous: dict[str, object] | None = None
    _size_bytes: int = 0
    _opened_at: float = 0.0
    _generation: str = ""
    _synced_at: float = 0.0
    _is_dirty: bool = False
    _pending: tuple[bytes, int, int, bytes] = (b"", 0, 0, GENESIS)
    _is_pending: bool = False
    _last_number: int = 0
    _retry_at: float = 0.0
    _failing: str | None = None
    _told_at: float = -TELL_AGAIN_S
    _dropped: int = 0
    _dropped_told: int = 0
    _ending: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="decision-log", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Write what is in the ring, close the segment, and end the thread. Takes as long as the disk does."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()

    # --- the thread

    def _run(self) -> None:
        while not self._ending.is_set():
            self._ending.wait(BUSY_S if self._turn() else GROUP_S)
        self._retry_at = 0.0
        while self._turn():
            pass
        if self._segment >= 0:
            self._attempt(self._close)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        self._count_drops()
        self.told(self.counts)

    def _turn(self) -> bool:
        """Write what is there; say whether there may be more."""
        self._count_drops()
        self.told(self.counts)
        if time.monotonic() < self._retry_at:
            return False
        if self._segment < 0:
            if self.recorder.is_empty or not self._attempt(self._open):
                return False
        elif self._is_old() and not self._attempt(self._close):
            return False
        return self._segment < 0 or (self._attempt(self._write) and len(self._pending[0]) >= MUCH_BYTES)

    def _write(self) -> None:
        """Append the next lines to the segment, all or none of them; those are tried again next time. Raises OSError."""
        if not self._is_pending:
            self._pending = self.recorder.take(self._chain)
            self._is_pending = True
        lines, count, number, chain = self._pending
        if count:
            self._append(lines)
            self._chain, self._last_number, self._is_dirty = chain, number, True
            self.counts.written += count
        self._is_pending = False
        if self._is_dirty and time.monotonic() - self._synced_at >= self.settings.decision_log_fsync_s:
            os.fdatasync(self._segment)
            self._synced_at, self._is_dirty = time.monotonic(), False

    def _append(self, lines: bytes) -> None:
        """Write all of these bytes; where that fails, take back what was written of them. Raises OSError."""
        written = 0
        try:
            while written < len(lines):
                written += os.write(self._segment, memoryview(lines)[written:])
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._segment, self._size_bytes)
            raise
        self._size_bytes += len(lines)
        self.counts.written_bytes += len(lines)

    def _attempt(self, step: Callable[[], None]) -> bool:
        """Do what needs the disk. When it fails that is told once, nothing is lost but what the ring has no room for."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - whatever it is, the service answers on, and the log tries again
            reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
            self._retry_at = time.monotonic() + RETRY_S
            if self._failing != reason:
                self._failing = reason
                logs.event(_log, logging.ERROR, "decision_log_failed", error, worker=self.worker, reason=reason)
            return False
        if self._failing is not None:
            self._failing = None
            logs.event(_log, logging.WARNING, "decision_log_resumed", worker=self.worker, dropped=self.recorder.dropped)
        return True

    def _count_drops(self) -> None:
        """Count what the ring has dropped since the last turn, and tell of it now and then."""
        new = self.recorder.dropped - self._dropped
        if not new:
            return
        self._dropped += new
        if self._failing is None:
            self.counts.dropped_slow += new
        else:
            self.counts.dropped_failed += new
        if time.monotonic() - self._told_at >= TELL_AGAIN_S:
            why = "the disk is too slow" if self._failing is None else self._failing
            fields = {"worker": self.worker, "dropped": self._dropped - self._dropped_told, "reason": why}
            logs.event(_log, logging.WARNING, "decision_log_dropped", None, **fields)
            self._told_at, self._dropped_told = time.monotonic(), self._dropped

    def _is_old(self) -> bool:
        settings = self.settings
        too_old = time.monotonic() - self._opened_at >= settings.decision_log_segment_s
        is_other = self.resolver().generation != self._generation  # whose description stands in the head
        return not self._is_pending and (too_old or is_other or self._size_bytes >= settings.decision_log_segment_bytes)

    # --- segments

    def _open(self) -> None:
        """Begin a segment that goes on from the last one of the chain. Raises OSError."""
        directory = self.settings.decision_log_dir
        if directory is None:
            raise OSError("no directory")
        if self._lock < 0:
            self._take_chain(directory)
        self._number += 1
        self._generation = self.resolver().generation
        path = directory / segment_name(self._chain_number, self._number)
        head, chain = chained(self._chain, self._head())
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._segment = os.open(path, flags, 0o640)
        self._size_bytes = 0
        try:
            self._append(head)
        except OSError:
            os.close(self._segment)
            self._segment = -1
            with suppress(OSError):
                path.unlink()
            self._number -= 1
            raise
        self._chain, self._opened_at = chain, time.monotonic()
        self.counts.segments += 1
        self._make_room(directory)

    def _take_chain(self, directory: Path) -> None:
        """Take the lowest chain that nobody continues, and see how it ends. Raises OSError."""
        for chain in range(MOST_CHAINS):
            descriptor = os.open(directory / f"chain-{chain:03}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            except OSError:
                os.close(descriptor)
                raise
            self._lock, self._chain_number = descriptor, chain
            self._find_end(directory)
            return
        raise OSError(f"{MOST_CHAINS} chains are in use")

    def _find_end(self, directory: Path) -> None:
        """See where the chain goes on: behind the last segment that has a whole line."""
        there = segments(directory, self._chain_number)
        if not there:
            return
        last = numbers_of(there[-1])
        self._number = last[1] if last else 0
        for path in reversed(there):
            if (ending := ending_of(path)) is not None:
                self._chain, self._previous = ending.chain, _described(path, ending)
                return

    def _head(self) -> dict[str, object]:
        settings = self.settings
        return {
            "log": "segment",
            "format": FORMAT,
            "opened_at": now().isoformat().replace("+00:00", "Z"),
            "worker": self.worker,
            "pid": os.getpid(),
            "mode": settings.decision_log,
            "share": settings.decision_log_share if settings.decision_log == "sampled" else 1.0,
            "noted": self._last_number,
            "previous": self._previous,
            "generation": _generation(self.resolver()),
        }

    def _close(self) -> None:
        """End the segment; the next decision begins another. Raises OSError."""
        members: dict[str, object] = {
            "log": "end",
            "closed_at": now().isoformat().replace("+00:00", "Z"),
            "noted": self.recorder.noted if self._ending.is_set() and self.recorder.is_empty else self._last_number,
        }
        line, chain = chained(self._chain, members)
        self._append(line)
        with suppress(OSError):
            os.fdatasync(self._segment)
        os.close(self._segment)
        self._segment, self._chain = -1, chain
        name = segment_name(self._chain_number, self._number)
        self._previous = {"segment": name, "chain": chain.hex(), "closed": True, "torn_bytes": 0}
        # Who keeps the service's log elsewhere has an anchor there for what is here.
        logs.event(_log, logging.INFO, "decision_log_segment", segment=name, chain=chain.hex(), bytes=self._size_bytes)

    def _make_room(self, directory: Path) -> None:
        """Delete the oldest segments of the chain beyond what is to be kept; never the one that is written."""
        settings = self.settings
        there = segments(directory, self._chain_number)[:-1]
        sizes = [path.stat().st_size for path in there]
        while there and (len(there) >= settings.decision_log_keep_segments or sum(sizes) > settings.decision_log_keep_bytes):
            there.pop(0).unlink(missing_ok=True)
            sizes.pop(0)


def _generation(resolver: Resolver) -> dict[str, object]:
    """Give what the data and the policy are, without what is long: lines of a log are read whole."""
    found = resolver.metadata()
    sources = cast("list[dict[str, object]]", found["sources"])
    kept = ("version", "data", "image", "plmn_table", "region_catalogue", "precedence", "policy")
    return {name: found[name] for name in kept} | {
        "sources": [{name: source[name] for name in ("name", "files", "build_epoch", "sha256")} for source in sources]
    }


def _described(path: Path, ending: Ending) -> dict[str, object]:
    return {"segment": path.name, "chain": ending.chain.hex(), "closed": ending.closed, "torn_bytes": ending.torn_bytes}
