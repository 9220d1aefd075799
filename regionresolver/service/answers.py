"""How answers are written: always as HTTP/1.1, and a document of JSON in one go, head and body.

aiohttp's responses gather headers of any kind in a dictionary, complete and serialise it, and take a third of the time of a
request for that. Nearly every answer here is 200 with JSON, whose head is always the same but for four values.
"""

import time
from collections.abc import Coroutine, Mapping
from email.utils import formatdate
from typing import Any, Protocol, cast

from aiohttp import HttpVersion10, hdrs, web
from aiohttp.http import StreamWriter
from multidict import CIMultiDict

from regionresolver.service import request_id

SERVER_NAME = "regionresolver"


class _Ending(Protocol):
    def end_writing(self) -> None:
        """See `Connection`."""


class Http11Writer(StreamWriter):
    """A writer of answers that are HTTP/1.1 always: aiohttp repeats the version of the request, be it HTTP/9.9.

    `is_last`: the answer ends its connection.
    """

    is_last = False

    def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> Coroutine[Any, Any, None]:
        """Write the head of an answer under our own version (RFC 9110, section 2.5)."""
        self.is_last = headers.get(hdrs.CONNECTION) == "close"
        return super().write_headers("HTTP/1.1 " + status_line.partition(" ")[2], headers)

    def write_eof(self, chunk: bytes = b"") -> Coroutine[Any, Any, None]:
        """End the answer, and our side of the connection where it is the last and its request still comes."""
        return self._write_last(chunk) if self.is_last else super().write_eof(chunk)

    async def _write_last(self, chunk: bytes) -> None:
        await super().write_eof(chunk)
        cast("_Ending", self.protocol).end_writing()


class JsonAnswer(web.StreamResponse):
    """An answer of 200 with a document of JSON. `headers` are its own; those of every answer are added by `complete`."""

    def __init__(self, document: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Keep the document. What aiohttp's class keeps for a head of its making is not needed."""
        self._document = document
        self._own = headers
        self._bytes = b""
        self._lives_on: bool | None = None

    @property
    def status(self) -> int:
        """Say 200."""
        return 200

    @property
    def reason(self) -> str:
        """Say OK."""
        return "OK"

    @property
    def keep_alive(self) -> bool | None:
        """Say whether the connection lives on after it, which `complete` decides."""
        return self._lives_on

    def complete(self, request: web.BaseRequest, identity: str, *, keep_alive: bool) -> None:
        """Write head and document, to be sent by `write_eof`."""
        own = "".join([f"{name}: {value}\r\n" for name, value in self._own.items()]) if self._own else ""
        caching = "" if self._own and hdrs.CACHE_CONTROL in self._own else "Cache-Control: no-store\r\n"
        self._lives_on = keep_alive
        if not keep_alive:
            end = "\r\nConnection: close\r\n\r\n"
        else:
            end = "\r\n\r\n" if request.version != HttpVersion10 else "\r\nConnection: keep-alive\r\n\r\n"
        head = (
            f"HTTP/1.1 200 OK\r\n{own}Content-Type: application/json\r\nServer: {SERVER_NAME}\r\n"
            f"{request_id.HEADER}: {identity}\r\n{caching}Content-Length: {len(self._document)}\r\nDate: {_clock.date()}{end}"
        )
        self._bytes = head.encode("ascii")
        if request.method != hdrs.METH_HEAD:
            self._bytes += self._document

    async def prepare(self, request: web.BaseRequest) -> StreamWriter:
        """Take note where it is to be written."""
        writer = self._writer = cast("Http11Writer", request.writer)
        writer.is_last = not self._lives_on
        return writer

    async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002 - there is nothing behind the document
        """Send all of it. Raises ConnectionError when the client is gone."""
        await self._writer.write_eof(self._bytes)


class _Clock:
    """The Date of answers, made once a second: it may be a second old, as the lane's."""

    def __init__(self) -> None:
        self._second = -1
        self._date = ""

    def date(self) -> str:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._date = second, formatdate(usegmt=True)
        return self._date


_clock = _Clock()
