"""What h11 and llhttp (httptools) read from bytes on the wire, in one form: the oracles of the lane's scanner.

Both are looser than the scanner; a request that it accepts must be the same request to both.
"""

from __future__ import annotations

from typing import NamedTuple

import h11
import httptools


class Message(NamedTuple):
    """One request as a parser reads it."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def h11_messages(raw: bytes) -> list[Message] | None:
    """Read complete requests; None where h11 refuses the bytes."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    messages: list[Message] = []
    head: h11.Request | None = None
    body = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                head, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                messages.append(Message(head.method, head.target, tuple(head.headers), body))
                # Both sides have to be done before the next request of the connection.
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return messages
                connection.start_next_cycle()
            else:
                return messages
    except h11.RemoteProtocolError:
        return None


class _Reader:
    """Collects what httptools tells."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.parser = httptools.HttpRequestParser(self)
        self.on_message_begin()

    def on_message_begin(self) -> None:
        self._target = self._body = b""
        self._headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.messages.append(Message(self.parser.get_method(), self._target, tuple(self._headers), self._body))


def httptools_messages(raw: bytes) -> list[Message] | None:
    """Read complete requests; None where llhttp refuses the bytes."""
    reader = _Reader()
    try:
        reader.parser.feed_data(raw)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    return reader.messages
