"""When a file has changed: the one place that knows, for a generation's files and for those that workers read anew.

A file is another one when `look` sees another: device, inode, size or time, behind all its links. So a rename, a link that
is turned to another folder (`..data` of a Kubernetes volume) and a file that is overwritten in place are all seen.

`Reread` is for small files (keys, certificates): each worker looks at its own once a second and reads them as they are; half
written they cannot be used, and are read again once they are whole.

The watcher is for a generation's files: a process that tells the supervisor when one was replaced and has come to rest.
What is watched are the folders that the files are in, and those that their symbolic links lead through. What counts is not
the event but whether the files are others than before, and only when nothing has changed for `SETTLE_S` is the supervisor
told. A file that is missing or half written then is not reported, and is looked at again with its next event. The process
is a child of the supervisor, which has no threads because it forks; when it dies it is started again.
"""

import asyncio
import logging
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from watchfiles import watch

from regionresolver.errors import SettingsError
from regionresolver.service import channel, logs
from regionresolver.settings import Settings

LOOK_S = 1.0
"""How often a worker looks at the files that it reads anew."""

SETTLE_S = 1.0
RECHECK_S = 5.0
"""How often the files are looked at without an event: file systems that tell of none (NFS) are watched so."""

_log = logging.getLogger("regionresolver.service")

Look = tuple[tuple[int, int, int, int] | None, ...]
"""Device, inode, size and modification time in nanoseconds of each file; None for one that is not there."""


def watched_files(settings: Settings) -> tuple[Path, ...]:
    """Give the files of a generation: databases, image, catalogue, canaries, and the policy or its folder's pointer."""
    named = [part.strip() for spec in settings.db for part in spec.split(",")]
    files = [Path(name) for name in named]
    files += [path for path in (settings.index, settings.catalogue, settings.canaries) if path is not None]
    if settings.policy is not None and settings.policy.exists():  # else it is the name of a shipped one
        files.append(settings.policy / "active" if settings.policy.is_dir() else settings.policy)
    return tuple(file.absolute() for file in files)


def folders_of(files: Iterable[Path]) -> frozenset[Path]:
    """Give the folders whose entries decide what the files are: their own, and those on the way of each symbolic link."""
    found: set[Path] = set()
    for file in files:
        _follow(file, found, 0)
    return frozenset(folder for folder in found if folder.is_dir())


def _follow(path: Path, found: set[Path], depth: int) -> None:
    """Add the folder of a path, and what its links lead to, links among its folders too."""
    found.add(path.parent)
    if depth >= 40:  # as many links as the kernel follows
        return
    for part in (path, *path.parents):
        if part.is_symlink():
            found.add(part.parent)
            target = Path(os.path.normpath(part.parent / os.readlink(part)))
            _follow(target / path.relative_to(part), found, depth + 1)
            return


def look(files: Sequence[Path]) -> Look:
    """See what each file is at present, behind its links."""
    return tuple(map(_seen, files))


def _seen(file: Path) -> tuple[int, int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


@dataclass(eq=False)
class Reread:
    """Files that a worker reads anew when they have changed.

    `read` takes them, and gives the fields of the log's event `taken`. Where it raises SettingsError what was read before
    holds, and `failed` is logged, once for each change. Make this before the files are first read, or a change is missed.
    """

    files: tuple[Path, ...]
    read: Callable[[], Mapping[str, object]]
    taken: str
    failed: str
    _known: Look = field(init=False)

    def __post_init__(self) -> None:
        """See what the files are before they are read."""
        self._known = look(self.files)

    async def keep_looking(self) -> None:
        """Look once in `LOOK_S` until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Read the files if they are others than at the last look."""
        found = look(self.files)
        if found == self._known:
            return
        self._known = found
        try:
            fields = self.read()
        except SettingsError as error:
            logs.event(_log, logging.ERROR, self.failed, detail=str(error))
        else:
            logs.event(_log, logging.INFO, self.taken, None, **fields)


def changes(files: Sequence[Path], stop: threading.Event, settle_s: float = SETTLE_S) -> Iterator[Look]:
    """Yield what the files are each time when they have become others and then come to rest."""
    known = look(files)
    while not stop.is_set():
        folders = folders_of(files)
        for _ in watch(*folders, stop_event=stop, recursive=False, debounce=50, step=20, yield_on_timeout=True,
                       rust_timeout=int(RECHECK_S * 1000), raise_interrupt=False, watch_filter=None):  # fmt: skip
            found = _at_rest(files, stop, settle_s)
            if found != known and None not in found:
                known = found
                yield found
            if folders_of(files) != folders:
                break  # a link leads elsewhere now


def _at_rest(files: Sequence[Path], stop: threading.Event, settle_s: float) -> Look:
    found, since = look(files), time.monotonic()
    while time.monotonic() - since < settle_s and not stop.wait(min(settle_s / 5, 0.2)):
        now = look(files)
        if now != found:
            found, since = now, time.monotonic()
    return found


@dataclass(eq=False, slots=True)
class Watcher:
    """The supervisor's end of the process: `end` gets a message for every change."""

    pid: int
    end: socket.socket

    def has_ended(self) -> bool:
        """Reap the process; say whether it is gone."""
        return os.waitpid(self.pid, os.WNOHANG)[0] != 0

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def start_watcher(files: Sequence[Path], inherited: Iterable[socket.socket]) -> Watcher:
    """Start the process; the signals are blocked when this is called. `inherited` are sockets that it must not hold open.

    Raises OSError where the system has no process for it.
    """
    ours, theirs = channel.pair()
    with theirs:
        if (pid := channel.fork_or_close(ours)) == 0:
            _be_the_watcher(files, theirs, (ours, *inherited))
    return Watcher(pid, ours)


def _be_the_watcher(files: Sequence[Path], end: socket.socket, inherited: Iterable[socket.socket]) -> None:
    """Watch in a child of the supervisor until that is gone. Never returns."""
    try:
        for other in inherited:
            other.close()
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        stop = threading.Event()
        end.setblocking(True)
        threading.Thread(target=_wait_for_the_end, args=(end,), daemon=True).start()
        for _ in changes(files, stop):
            channel.send(end, b"changed")
    finally:
        os._exit(1)


def _wait_for_the_end(end: socket.socket) -> None:
    """Exit when the supervisor is gone: it sends nothing."""
    channel.receive(end)
    os._exit(0)
