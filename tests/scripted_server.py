"""A server on loopback that answers from a script, on a thread: what a load generator may meet."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD = b'{"decision":"allow","region":"DE","confidence":0.9,"policy":"p@1"}'


def answer(body: bytes = GOOD, *, status: str = "200 OK", head: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status.encode(), len(body), head, body)


class ScriptedServer:
    """Gives each request what `script` says for its number (from 0, over all connections); None ends the connection."""

    def __init__(self, script: Callable[[int], bytes | None], *, reset: bool = False, then_close: bool = False) -> None:
        self._script = script
        self._reset = reset
        self._then_close = then_close
        self._lock = threading.Lock()
        self._asked = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def asked(self) -> int:
        return self._asked

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        kept = b""
        with caller:
            while True:
                try:
                    received = caller.recv(65536)
                except OSError:
                    return
                if not received:
                    return
                kept += received
                while (end := kept.find(b"\r\n\r\n")) >= 0:
                    head = kept[:end].lower()
                    _, found, length = head.partition(b"content-length:")
                    size = end + 4 + (int(length.split(b"\r\n")[0]) if found else 0)
                    if len(kept) < size:
                        break
                    kept = kept[size:]
                    if not self._answer(caller):
                        return

    def _answer(self, caller: socket.socket) -> bool:
        with self._lock:
            number = self._asked
            self._asked += 1
        found = self._script(number)
        try:
            if found is not None:
                caller.sendall(found)
        except OSError:
            return False
        if found is None and self._reset:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        return found is not None and not self._then_close

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
