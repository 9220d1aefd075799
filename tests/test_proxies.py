"""`/v1/authz` asked by real proxies: the files of docs/proxies.md, run as they stand but for the ports.

Clients come from addresses of the loopback network, which overrides of the catalogue put into regions.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from regionresolver import Resolver
from regionresolver.service.authz import DECISION_HEADERS
from regionresolver.settings import Settings
from tests import proxies
from tests.http_service import LOOPBACK, Answer, Service, parse_answer, running
from tests.proxies import free_port
from tests.worlds import city_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

PAGE = (Path(__file__).parents[1] / "docs" / "proxies.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
CUBAN, SPANISH, PROXY = "127.0.84.1", "127.0.80.1", "127.0.99.1"
OVERRIDES = "".join(
    f"""
[[networks]]
id = "{region.lower()}"
network = "{network}"
region = "{region}"
owner = "tests@example.com"
reason = "clients of the tests"
expires = "never"
"""
    for region, network in (("CU", "127.0.84.0/24"), ("ES", "127.0.80.0/24"))
)
POLICY = """
[policy]
name = "proxied"
version = 7

[[rules]]
id = "cuba"
when = { region = ["CU"] }
effect = "deny"
reason = "REGION_NOT_PERMITTED"
review_by = 2100-01-01

[[rules]]
id = "look-at-it"
when = { sku = ["ODD*"] }
effect = "review"
reason = "ODD_MODEL"

[messages.REGION_NOT_PERMITTED]
en = "Not here."
"""
FORGED = dict.fromkeys(DECISION_HEADERS, "forged")
NOTHING: Mapping[str, str] = {}


@dataclass
class Application:
    """What stands behind the proxy: it keeps the head of each request that reaches it."""

    port: int = 0
    heads: list[bytes] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    def last(self) -> dict[str, list[str]]:
        """The headers of the last request, names in lower case; the only one since this was asked last."""
        (head,) = self.heads
        self.heads.clear()
        found: dict[str, list[str]] = {}
        for line in head.decode("latin-1").split("\r\n")[1:-2]:
            name, _, value = line.partition(":")
            found.setdefault(name.lower(), []).append(value.strip())
        return found


@dataclass(frozen=True)
class Way:
    """One proxy of the page: how it is run, its files, and how the page opens it."""

    run: Callable[[Path, str, int], AbstractContextManager[None]]
    file: str
    opened: Callable[[str], str]
    failed: int
    unjudged: int
    beside: tuple[str, ...] = ()
    notices_absence_s: float = 0.0


WAYS = {
    # The lines that open nginx end the location and begin another: they stand at its end.
    "nginx": Way(
        proxies.nginx, "activation.conf", lambda site: site.replace("/v1/authz;\n", "/v1/authz;\n" + FILES["open.conf"]), 500, 500
    ),
    "haproxy": Way(
        proxies.haproxy,
        "haproxy.cfg",
        lambda config: "".join(line for line in config.splitlines(keepends=True) if "deny deny_status 503" not in line),
        503,
        503,
        beside=("region.lua",),
        notices_absence_s=1.5,
    ),
    "envoy": Way(
        proxies.envoy,
        "envoy.yaml",
        lambda config: config.replace("failure_mode_allow: false", "failure_mode_allow: true"),
        503,
        400,
    ),
}


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resolver]:
    folder = tmp_path_factory.mktemp("loopback")
    (folder / "catalogue.toml").write_text(OVERRIDES)
    (folder / "policy.toml").write_text(POLICY)
    database = city_database(folder / "city.mmdb")
    with Resolver.open(db=database, catalogue=folder / "catalogue.toml", policy=folder / "policy.toml") as opened:
        yield opened


@dataclass(frozen=True)
class Stand:
    """A proxy between clients and an application, which asks a service."""

    way: Way
    port: int
    service: Service
    application: Application

    async def ask(
        self, client: str, headers: Mapping[str, str] = NOTHING, *, method: str = "GET", target: str = "/x?y=1", body: bytes = b""
    ) -> Answer:
        """Ask as a client of this address."""
        head = [f"{method} {target} HTTP/1.1", "Host: app.example.com", "Connection: close"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        head += [f"Content-Length: {len(body)}"] if body else []
        reader, writer = await asyncio.open_connection(LOOPBACK, self.port, local_addr=(client, 0))
        writer.write("\r\n".join([*head, "", ""]).encode("latin-1") + body)
        raw = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        status = int(raw.split(b" ", 2)[1])
        return Answer(status, {}, b"", b"") if method == "HEAD" else parse_answer(raw)


@asynccontextmanager
async def standing(
    way: Way, folder: Path, resolver: Resolver, *, is_open: bool = False, asked_port: int | None = None
) -> AsyncIterator[Stand]:
    """Run proxy, application and service; the proxy asks at `asked_port` instead of the service."""
    settings = Settings(port=0, trusted_proxies=("127.0.0.1/32", PROXY))
    application, port = Application(), free_port()
    server = await asyncio.start_server(application.answer, LOOPBACK, 0)
    application.port = server.sockets[0].getsockname()[1]
    try:
        async with running(resolver, settings) as service:
            ports = {"8000": port, "8080": asked_port or service.port, "9000": application.port}
            for name in (way.file, *way.beside):
                text = re.sub(
                    r"(127\.0\.0\.1:|address: 127\.0\.0\.1, port_value: )(8000|8080|9000)\b",
                    lambda found: f"{found[1]}{ports[found[2]]}",
                    FILES[name],
                )
                if name != way.file:
                    (folder / name).write_text(text, encoding="utf-8")
                    continue
                config = way.opened(text) if is_open else text
                assert (config != text) is is_open
            with way.run(folder, config, port):  # a fresh process needs nothing of this loop until it listens
                yield Stand(way, port, service, application)
    finally:
        server.close()


@pytest.fixture(params=sorted(WAYS))
def way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


async def test_the_page_s_configuration(way: Way, tmp_path: Path, resolver: Resolver) -> None:
    async with standing(way, tmp_path, resolver) as stand:
        application = stand.application
        # Allowed: what the client forged does not reach the application, what the service says does.
        answer = await stand.ask(SPANISH, FORGED | {"X-Forwarded-For": "127.0.84.9", "X-Device-Sim": "21401"})
        assert (answer.status, answer.body) == (200, b"ok")
        seen = application.last()
        assert [seen[name.lower()] for name in ("X-Region-Code", "X-Decision", "X-Policy-Version")] == [
            ["ES"], ["allow"], ["proxied@7"],
        ]  # fmt: skip
        assert 0 < float(seen["x-region-confidence"][0]) <= 1
        assert "forged" not in str(seen)
        # Denied, by address and by what the phone says; nothing reaches the application.
        assert (await stand.ask(CUBAN, FORGED | {"X-Forwarded-For": "127.0.80.9"})).status == 403
        assert (await stand.ask(SPANISH, {"X-Device-Serving": "36801"})).status == 403
        for method in ("POST", "DELETE", "OPTIONS"):
            assert (await stand.ask(CUBAN, method=method, body=b"x=1" if method == "POST" else b"")).status == 403
        assert (await stand.ask(CUBAN, method="HEAD")).status == 403
        assert (await stand.ask(CUBAN, target="/../../livez")).status in {400, 403}
        assert application.heads == []
        # Allowed with a body, which reaches the application whole.
        assert (await stand.ask(SPANISH, FORGED, method="POST", body=b"x=1")).status == 200
        assert application.last()["x-region-code"] == ["ES"]
        # In review: passes, and is marked.
        assert (await stand.ask(SPANISH, FORGED | {"X-Device-Sku": "ODD-1"})).status == 200
        seen = application.last()
        assert [seen[name] for name in ("x-decision", "x-decision-rule", "x-decision-reason")] == [
            ["review"], ["look-at-it"], ["ODD_MODEL"],
        ]  # fmt: skip
        # What cannot be judged: a client whose address is a trusted proxy's.
        assert (await stand.ask(PROXY)).status == way.unjudged
        assert application.heads == []


@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "open"])
@pytest.mark.parametrize("why", ["fault", "away", "silent"])
async def test_without_an_answer_the_proxy_is_closed_or_open(
    way: Way, tmp_path: Path, resolver: Resolver, monkeypatch: pytest.MonkeyPatch, why: str, *, is_open: bool
) -> None:
    """The service fails, does not listen, or takes the question and says nothing."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError

    if why == "fault":
        monkeypatch.setattr(resolver, "decide", broken)
    with socket.create_server((LOOPBACK, 0)) as silent:
        asked_port = {"fault": None, "away": free_port(), "silent": silent.getsockname()[1]}[why]
        async with standing(way, tmp_path, resolver, is_open=is_open, asked_port=asked_port) as stand:
            await asyncio.sleep(way.notices_absence_s if asked_port else 0)
            began = time.monotonic()
            answer = await stand.ask(CUBAN, FORGED)
            assert answer.status == (200 if is_open else way.failed)
            assert time.monotonic() - began < 2
            if is_open:
                assert "forged" not in str(seen := stand.application.last())
                assert "".join(seen.get("x-decision", [])) == ""
            assert stand.application.heads == []


async def test_open_lets_nobody_pass_who_is_denied(way: Way, tmp_path: Path, resolver: Resolver) -> None:
    async with standing(way, tmp_path, resolver, is_open=True) as stand:
        assert (await stand.ask(CUBAN, FORGED)).status == 403
        assert stand.application.heads == []
        assert (await stand.ask(SPANISH, FORGED)).status == 200
        assert stand.application.last()["x-decision"] == ["allow"]
