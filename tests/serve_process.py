"""`regionresolver serve` as a real process, seen through its log; and clients that count what they lose."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.http_service import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[1]
PATIENCE_S = 20.0

Event = dict[str, object]


@dataclass
class Serve:
    """A running service. Events are read from its log in their order, each once."""

    process: subprocess.Popen[str]
    urls: list[str] = field(default_factory=list)
    admin_urls: list[str] = field(default_factory=list)
    skipped: list[Event] = field(default_factory=list)
    """What `wait_for` has passed over last."""
    lines: queue.Queue[str | None] = field(default_factory=queue.Queue)

    @property
    def port(self) -> int:
        return int(self.urls[0].rpartition(":")[2])

    def workers(self) -> list[int]:
        """The process ids of its children."""
        pid = self.process.pid
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]

    def descriptors(self, pid: int) -> int:
        return len(os.listdir(f"/proc/{pid}/fd"))

    def read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.put(line)
        self.lines.put(None)

    def next_event(self, patience_s: float = PATIENCE_S) -> Event | None:
        """The next event; None at the end of the log."""
        line = self.lines.get(timeout=patience_s)
        return None if line is None else json.loads(line)

    def wait_for(self, name: str) -> Event:
        """Skip the log up to an event of this name."""
        self.skipped = []
        while (found := self.next_event()) is not None:
            if found["event"] == name:
                return found
            self.skipped.append(found)
        raise AssertionError(f"the service ended without {name}; it said {[found['event'] for found in self.skipped]}")

    async def until(self, name: str) -> Event:
        """The same, while clients go on."""
        return await asyncio.to_thread(self.wait_for, name)

    def end(self) -> list[Event]:
        """The rest of the log, once the process has ended with status 0."""
        events = []
        while (found := self.next_event()) is not None:
            events.append(found)
        assert self.process.wait(PATIENCE_S) == 0
        return events


@contextmanager
def serve(
    *arguments: str,
    port: int | None = 0,
    environment: Mapping[str, str] | None = None,
    launcher: Sequence[str] = ("-m", "regionresolver"),
    pass_fds: Sequence[int] = (),
) -> Iterator[Serve]:
    """Run the service until it serves; whatever a test leaves of it is killed."""
    where = [] if port is None else ["--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, *launcher, "serve", *where, *arguments],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True, pass_fds=pass_fds,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip
    found = Serve(process)
    reader = threading.Thread(target=found.read, daemon=True)
    reader.start()
    try:
        event = found.wait_for("serving")
        urls, admin_urls = event["urls"], event.get("admin_urls", [])
        assert isinstance(urls, list)
        assert isinstance(admin_urls, list)
        found.urls, found.admin_urls = urls, admin_urls
        yield found
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the session is its own: its workers, and nobody else
        process.wait(PATIENCE_S)
        reader.join(PATIENCE_S)
        assert process.stderr is not None
        process.stderr.close()


@dataclass
class Load:
    """Clients that ask over kept connections, and connect again when an answer says so."""

    port: int
    clients: int = 8
    pause_s: float = 0.002
    target: str = "/v1/resolve?serving=36801"
    answered: int = 0
    failed: int = 0
    refused: int = 0
    connections: int = 0
    in_flight: int = 0
    longest_s: float = 0.0
    stopped: bool = False

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._ask_on()) for _ in range(self.clients)]
        return self

    async def __aexit__(self, *error: object) -> None:
        self.stopped = True
        await asyncio.gather(*self._tasks)

    async def _ask_on(self) -> None:
        while not self.stopped:
            try:
                reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
            except OSError:
                self.refused += 1
                await asyncio.sleep(0.02)
                continue
            self.connections += 1
            lives = True
            while lives and not self.stopped and not reader.at_eof():
                lives = await self._ask(reader, writer)
                await asyncio.sleep(self.pause_s)
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Ask once; say whether the connection lives on."""
        began = time.monotonic()
        self.in_flight += 1
        try:
            writer.write(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % self.target.encode())
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            self.failed += 1
            return False
        finally:
            self.in_flight -= 1
        self.longest_s = max(self.longest_s, time.monotonic() - began)
        if head.startswith(b"HTTP/1.1 200 "):
            self.answered += 1
        else:
            self.failed += 1
        return b"connection: close" not in head.lower()
