"""The service on an ephemeral loopback port, as it runs in production but for the event loop, and a raw HTTP client."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from regionresolver.resolver import Resolver
from regionresolver.service.app import make_app
from regionresolver.service.pages import Pages
from regionresolver.service.protocol import Fronts
from regionresolver.service.server import serving
from regionresolver.service.sockets import listen_tcp
from regionresolver.service.state import STATE, ServiceState
from regionresolver.settings import Settings

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Service:
    """A running service: where it listens, its state, and what its connections share."""

    port: int
    state: ServiceState
    fronts: Fronts

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def exchange(self, raw: bytes, *, end: bool = False) -> bytes:
        """Send bytes, read until the service closes the connection; `end` closes our sending side first."""
        reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
        try:
            writer.write(raw)
            if end:
                writer.write_eof()
            return await asyncio.wait_for(reader.read(), 5)
        finally:
            writer.close()


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, parsed by hand."""

    status: int
    headers: dict[str, str]
    body: bytes
    rest: bytes = field(repr=False)

    @property
    def document(self) -> dict[str, object]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


def parse_answer(raw: bytes) -> Answer:
    """Parse the first answer in `raw`; its body has a Content-Length."""
    head, _, tail = raw.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("ascii").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    length = int(headers.get("content-length", "0"))
    return Answer(int(status_line.split(" ")[1]), headers, tail[:length], tail[length:])


@asynccontextmanager
async def running(resolver: Resolver, settings: Settings | None = None) -> AsyncIterator[Service]:
    """Serve while the context lasts."""
    settings = settings or Settings(port=0)
    page = Pages(1).take(0, 0)
    assert page is not None
    app = make_app(resolver, settings, page)
    (listeners,) = listen_tcp(LOOPBACK, 0)
    try:
        async with serving(app, settings, listeners) as acceptor:
            yield Service(listeners[0].getsockname()[1], app[STATE], acceptor.fronts)
    finally:
        for listener in listeners:
            listener.close()
