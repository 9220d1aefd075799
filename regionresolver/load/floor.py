"""A constant server in a process of its own (`_fastpath.load_floor`): the self-test's other side, and a yardstick.

It ends with its parent: it holds the reading end of a pipe, and goes when that is closed.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

_ANSWER_BYTES: Final = 450
_SERVE: Final = """
import os, sys
from _fastpath.load_floor import serve
core, listener, size = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
if core >= 0:
    try:
        os.sched_setaffinity(0, {core})
    except OSError:
        pass
answer = sys.stdin.buffer.read(size)
sys.stdout.write("ready\\n")
sys.stdout.flush()
serve(listener, 0, answer)
"""


def constant_answer(size_bytes: int = _ANSWER_BYTES) -> bytes:
    """Return an answer of that many bytes, as long as ours are, that holds every member which is looked for."""
    content = b'{"decision":"allow","region":"DE","confidence":0.98,"policy":"floor","results":[],"summary":{},"rest":"'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    body_bytes = max(size_bytes - len(head % size_bytes), len(content) + 2)
    return head % body_bytes + content + b"x" * (body_bytes - len(content) - 2) + b'"}'


class Floor:
    """A constant server, on loopback or on a Unix socket, that answers until it is closed."""

    def __init__(self, *, unix: bool = False, core: int | None = None, answer: bytes | None = None) -> None:
        """Start it and wait until it answers; `core` is where it is to stay, if it may. Raises OSError."""
        self._folder = tempfile.TemporaryDirectory() if unix else None
        if self._folder is not None:
            self.target = f"unix:{Path(self._folder.name) / 'floor'}"
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(self.target.removeprefix("unix:"))
        else:
            listener = socket.socket()
            listener.bind(("127.0.0.1", 0))
            self.target = f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.listen(4096)
        listener.setblocking(False)
        content = constant_answer() if answer is None else answer
        with listener:
            # Behind the standard descriptors: the child's pipes take their places, and ours may be closed.
            passed = fcntl.fcntl(listener, fcntl.F_DUPFD_CLOEXEC, 3)
        arguments = [str(-1 if core is None else core), str(passed), str(len(content))]
        try:
            self._process = subprocess.Popen(  # noqa: S603  # this interpreter, and text of ours
                [sys.executable, "-c", _SERVE, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[passed]
            )
        finally:
            os.close(passed)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(content)
        self._process.stdin.flush()
        if self._process.stdout.readline() != b"ready\n":
            self.close()
            raise OSError("the constant server did not start")

    @property
    def pid(self) -> int:
        """The process that answers."""
        return self._process.pid

    def close(self) -> None:
        """End it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._process.wait()
        if self._folder is not None:
            self._folder.cleanup()

    def __enter__(self) -> Self:
        """Give it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.close()


def another_core(own: int | None) -> int | None:
    """Return a processor that is not `own`, None where there is no other, or where nobody chose one."""
    if own is None:
        return None
    # What a pinned process may use is not what it is pinned to: all that are there are tried.
    return next((core for core in range(os.cpu_count() or 1) if core != own), None)
