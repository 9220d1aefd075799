"""What a load test is: whom to ask, how fast, for how long. Everything is checked here, with the flag's name in the error.

A `Plan` is immutable and says all that is needed to do the same again, but for the pings of a file.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from regionresolver.errors import LoadError

if TYPE_CHECKING:
    from pathlib import Path

Schedule = Literal["constant", "ramp", "poisson", "closed"]

CONNECTIONS_MAX: Final = 65_536
PIPELINE_MAX: Final = 1_024
RATE_MAX: Final = 10_000_000
HOUR_S: Final = 3_600
_HTTP_PORT: Final = 80
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]*[\x20-\x7e\x80-\xff]*")


@dataclass(frozen=True, slots=True)
class Target:
    """A server: a numeric address or the path of a Unix socket, the Host to name, and a prefix of paths."""

    family: socket.AddressFamily
    host: bytes
    port: int
    name: str
    prefix: str
    shown: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read `http://HOST[:PORT][/PREFIX]` or `unix:PATH`; a name is resolved once, here. Raises LoadError."""
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if not path:
                raise LoadError("unix: needs the path of a socket")
            return cls(socket.AF_UNIX, path.encode(), 0, "localhost", "", text)
        try:
            parts = urlsplit(text)
            port = _HTTP_PORT if parts.port is None else parts.port
        except ValueError:
            raise LoadError("the target is no URL: http://HOST:PORT, or unix:PATH") from None
        if parts.scheme == "https":
            raise LoadError("TLS is not spoken: name a plain listener behind it, or one that ends TLS on this machine")
        if parts.scheme != "http" or not parts.hostname or parts.query or parts.fragment or parts.username is not None:
            raise LoadError("the target is http://HOST[:PORT][/PREFIX] or unix:PATH")
        family, host = _resolve(parts.hostname, port)
        shown = f"http://{parts.netloc}{parts.path.rstrip('/')}"
        return cls(family, host, port, parts.netloc, parts.path.rstrip("/"), shown)


def _resolve(name: str, port: int) -> tuple[socket.AddressFamily, bytes]:
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise LoadError(f"the host of the target is not known ({type(error).__name__})") from None
    family, _, _, _, address = found[0]
    return family, str(address[0]).encode()


@dataclass(frozen=True, slots=True)
class Mix:
    """How many parts of the requests are which; `batch_size` pings in each batch."""

    resolve: float = 1
    decisions: float = 1
    batch: float = 0
    batch_size: int = 100

    @classmethod
    def parse(cls, text: str, batch_size: int = 100) -> Mix:
        """Read `resolve=1,decisions=3`; what is not named has no part. Raises LoadError."""
        parts: dict[str, float] = {"resolve": 0, "decisions": 0, "batch": 0}
        for one in text.split(","):
            name, _, number = one.strip().partition("=")
            try:
                value = float(number or 1)
            except ValueError:
                value = -1
            if name not in parts or not 0 <= value <= RATE_MAX:
                raise LoadError("--mix is of resolve=N, decisions=N, batch=N, joined by commas")
            parts[name] = value
        return cls(**parts, batch_size=batch_size)

    @property
    def parts(self) -> dict[str, float]:
        """The parts by their names, without those that are none."""
        found = {"resolve": self.resolve, "decisions": self.decisions, "batch": self.batch}
        return {name: part for name, part in found.items() if part > 0}


@dataclass(frozen=True)
class Plan:
    """A load test. Raises LoadError for what cannot be done.

    `rate` is in requests a second, of all connections together; with `rate_to` it goes there in a straight line; `closed`
    keeps every connection busy instead. `warm_up_s` goes before `duration_s` and is not counted. `pings` is an NDJSON file,
    `expect` one of the answers that are due to them. `core` is the processor that the engine is to stay on.
    """

    target: str | Target
    rate: float = 100
    rate_to: float | None = None
    poisson: bool = False
    closed: bool = False
    duration_s: float = 10
    warm_up_s: float = 1
    requests_max: int = 0
    connections: int = 64
    pipeline: int = 1
    keep_alive: bool = True
    timeout_s: float = 5
    mix: Mix = field(default_factory=Mix)
    seed: int = 1
    pings: Path | None = None
    expect: Path | None = None
    headers: tuple[str, ...] = ()
    core: int | None = None
    self_test_s: float = 0.5

    def __post_init__(self) -> None:
        """Check all of it."""
        if isinstance(self.target, str):
            object.__setattr__(self, "target", Target.parse(self.target))
        self._between("--rate", self.rate, 0, RATE_MAX)
        self._between("--rate", self.rate if self.rate_to is None else self.rate_to, 0, RATE_MAX)
        if not self.closed and self.rate + (self.rate_to or 0) <= 0:
            raise LoadError("--rate: nothing is sent at 0 requests a second")
        self._between("--duration", self.duration_s, 0.05, 24 * HOUR_S)
        self._between("--warm-up", self.warm_up_s, 0, HOUR_S)
        self._between("--requests", self.requests_max, 0, 2**62)
        self._between("--connections", self.connections, 1, CONNECTIONS_MAX)
        self._between("--pipeline", self.pipeline, 1, PIPELINE_MAX)
        self._between("--timeout", self.timeout_s, 0.001, HOUR_S)
        self._between("--batch-size", self.mix.batch_size, 1, 10_000)
        self._between("--self-test", self.self_test_s, 0, 60)
        if not self.mix.parts:
            raise LoadError("--mix: no part is more than 0")
        if self.expect is not None and (self.pings is None or self.mix.batch):
            raise LoadError("--expect needs --pings, line by line, and a mix without batches")
        if self.pipeline > 1 and not self.keep_alive:
            raise LoadError("--pipeline needs connections that are kept")
        for header in self.headers:
            if _HEADER.fullmatch(header) is None:
                raise LoadError("--header is 'Name: value', in one line")

    @staticmethod
    def _between(flag: str, value: float, least: float, most: float) -> None:
        if not least <= value <= most:
            raise LoadError(f"{flag} is of {least:g} to {most:g}")

    @property
    def whom(self) -> Target:
        """The target, parsed."""
        assert isinstance(self.target, Target)
        return self.target

    @property
    def schedule(self) -> Schedule:
        """In a word."""
        if self.closed:
            return "closed"
        if self.rate_to is not None and self.rate_to != self.rate:
            return "ramp"
        return "poisson" if self.poisson else "constant"
