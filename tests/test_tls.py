"""TLS and the admin listener: the lane never writes past the transport, and each listener answers what is its own."""

from __future__ import annotations

import asyncio
import datetime as dt
import http.client
import json
import os
import signal
import socket
import ssl
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from regionresolver import Resolver
from regionresolver.errors import ServeError, SettingsError
from regionresolver.service.app import make_app
from regionresolver.service.pages import Pages
from regionresolver.service.server import serving
from regionresolver.service.sockets import listen_tcp, listening
from regionresolver.service.state import STATE
from regionresolver.service.tls import Tls, open_tls
from regionresolver.settings import Settings
from tests.http_service import LOOPBACK, parse_answer
from tests.serve_process import serve
from tests.worlds import city_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("cryptography", reason="cryptography, of the extra `signing`, makes the certificates of these tests")


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a certificate for localhost that signs itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    start = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, private


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resolver]:
    with Resolver.open(city_database(tmp_path_factory.mktemp("tls") / "city.mmdb")) as opened:
        yield opened


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("certificates")
    return {name: make_certificate(folder, name) for name in ("one", "two")}


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


GET = b"GET /v1/resolve?serving=36801 HTTP/1.1\r\nHost: a\r\n\r\n"
ODD = b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /version HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
BODY = b'{"serving":"36801","ip":"84.0.1.1"}'
POST = b"POST /v1/decisions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY

PINGS = b'{"serving":"36801"}\n' * 2000
LINES_HEAD = b"POST /v1/decisions/batch HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\n"
LINES = LINES_HEAD + b"Content-Length: %d\r\n\r\n" % len(PINGS) + PINGS


async def test_the_lane_answers_through_tls_and_never_beside_it(
    resolver: Resolver, certificates: dict[str, tuple[Path, Path]]
) -> None:
    certificate, key = certificates["one"]
    settings = Settings(port=0, tls_certificate=certificate, tls_key=key)
    page = Pages(1).take(0, 0)
    assert page is not None
    app = make_app(resolver, settings, page)
    (listeners,) = listen_tcp(LOOPBACK, 0)
    async with serving(app, settings, listeners) as acceptor:
        port = listeners[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(LOOPBACK, port, ssl=trusting(certificate), server_hostname="localhost")
        secured = writer.get_extra_info("ssl_object")
        assert secured.version() in {"TLSv1.2", "TLSv1.3"}
        assert secured.selected_alpn_protocol() in {None, "http/1.1"}
        # One plain byte on the wire would break the client's TLS; some of these answers have to wait in the transport.
        writer.write((GET + POST + ODD) * 400 + LAST)
        found = await asyncio.wait_for(reader.read(), 30)
        statuses = []
        while found:
            answer = parse_answer(found)
            statuses.append(answer.status)
            found = answer.rest
        assert statuses == [200] * 1201
        assert acceptor.fronts.lane.counts()[0] == {"resolve": 400, "decisions": 400}
        writer.close()
        reader, writer = await asyncio.open_connection(
            LOOPBACK, port, ssl=trusting(certificate), server_hostname="localhost", limit=1 << 24
        )
        writer.write(LINES)
        streamed = await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), 30)
        assert streamed.count(b'"decision":"deny"') == 2000
        assert b'"complete":true' in streamed
        assert acceptor.fronts.batches == 1
        writer.close()
        raw_reader, raw_writer = await asyncio.open_connection(LOOPBACK, port)
        raw_writer.write(GET)
        assert b"HTTP/1.1" not in await asyncio.wait_for(raw_reader.read(), 10), "plain HTTP is not answered in the clear"
        raw_writer.close()
    assert app[STATE].closing


def test_old_versions_of_tls_are_refused(certificates: dict[str, tuple[Path, Path]]) -> None:
    context = Tls(*certificates["one"]).context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        client.maximum_version = client.minimum_version = ssl.TLSVersion.TLSv1_1
    client.set_ciphers("DEFAULT:@SECLEVEL=0")
    asking = client.wrap_bio(theirs, ours)
    answering = context.wrap_bio(ours, theirs, server_side=True)
    with suppress(ssl.SSLWantReadError):
        asking.do_handshake()
    with pytest.raises(ssl.SSLError, match=r"(?i)version|protocol"):
        answering.do_handshake()


def shown(service_port: int, *trusted: Path) -> str:
    """The common name of the certificate that a new connection is shown."""
    context = ssl.create_default_context()
    for certificate in trusted:
        context.load_verify_locations(str(certificate))
    with (
        socket.create_connection((LOOPBACK, service_port), 5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        found = secured.getpeercert()
    assert found is not None
    return str(found["subject"][0][0][1])


def test_a_process_speaks_tls_and_takes_a_renewed_certificate(certificates: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    certificate, key = tmp_path / "tls.pem", tmp_path / "tls.key"

    def use(name: str) -> None:
        for source, target in zip(certificates[name], (certificate, key), strict=True):
            beside = tmp_path / "beside"
            beside.write_bytes(source.read_bytes())
            beside.replace(target)

    use("one")
    trusted = [pair[0] for pair in certificates.values()]
    with serve("--workers", "1", "--tls-certificate", str(certificate), "--tls-key", str(key)) as service:
        assert service.urls[0].startswith("https://")
        assert shown(service.port, *trusted) == "one"
        client = http.client.HTTPSConnection("localhost", service.port, timeout=5, context=trusting(trusted[0]))
        for _ in range(3):
            client.request("GET", "/v1/resolve?serving=36801")
            assert json.loads(client.getresponse().read())["region"] == "CU"
        client.request("GET", "/readyz")
        assert json.loads(client.getresponse().read())["lane"]["answered"]["resolve"] == 3
        key.write_text("no key", "utf-8")
        assert "tls_key" in str(service.wait_for("certificate_failed")["detail"])
        assert shown(service.port, *trusted) == "one", "what cannot be used replaces nothing"
        use("two")
        service.wait_for("certificate_loaded")
        deadline = time.monotonic() + 5
        while shown(service.port, *trusted) != "two":
            assert time.monotonic() < deadline
        client.request("GET", "/v1/resolve?serving=36801")
        assert client.getresponse().status == 200, "connections that stand keep what they have"
        client.close()


def test_certificates_that_cannot_be_used_are_refused_at_the_start(
    certificates: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    certificate, _ = certificates["one"]
    _, other_key = certificates["two"]
    (tmp_path / "nonsense").write_text("nonsense", "utf-8")
    for one, key, said in (
        (tmp_path / "none", None, "cannot be read"),
        (tmp_path / "nonsense", None, "cannot be used"),
        (certificate, other_key, "cannot be used"),
        (certificate, None, "cannot be used"),
    ):
        with pytest.raises(SettingsError, match=said):
            Tls(one, key)
    with pytest.raises(SettingsError, match="tls_certificate is not"):
        open_tls(Settings(tls_key=other_key))
    assert open_tls(Settings()) is None


# --- the admin listener


def get(port: int, path: str) -> int:
    client = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        client.request("GET", path)
        return client.getresponse().status
    finally:
        client.close()


def test_each_listener_answers_what_is_its_own(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('{"format": 1, "keys": []}', "utf-8")
    with serve("--workers", "2", "--admin-port", "0", port=0) as service:
        (url,) = service.admin_urls
        admin = int(url.rpartition(":")[2])
        statuses = {path: (get(service.port, path), get(admin, path)) for path in (
            "/livez", "/readyz", "/v1/metadata", "/v1/policy", "/version", "/v1/resolve?serving=36801", "/v1/resolve/84.0.1.1",
        )}  # fmt: skip
        assert statuses == {
            "/livez": (200, 200), "/readyz": (200, 200), "/v1/metadata": (404, 200), "/v1/policy": (404, 200),
            "/version": (404, 200), "/v1/resolve?serving=36801": (200, 404), "/v1/resolve/84.0.1.1": (200, 404),
        }  # fmt: skip
        workers = set()
        for _ in range(60):
            client = http.client.HTTPConnection(LOOPBACK, admin, timeout=5)
            client.request("GET", "/livez")
            workers.add(json.loads(client.getresponse().read())["worker"]["index"])
            client.close()
        assert workers <= {0, 1}
        (first, *_) = service.workers()
        os.kill(first, signal.SIGKILL)
        service.wait_for("worker_replaced")
        assert {get(admin, "/version") for _ in range(20)} == {200}, "the socket is the supervisor's"
        service.process.send_signal(signal.SIGTERM)
        service.end()
    with serve("--workers", "1", "--api-keys", str(keys), "--admin-unix-socket", str(tmp_path / "admin"), port=0) as service:
        assert get(service.port, "/v1/resolve?serving=36801") == 401
        with socket.socket(socket.AF_UNIX) as plain:
            plain.connect(str(tmp_path / "admin"))
            plain.sendall(LAST)
            assert plain.recv(100).startswith(b"HTTP/1.1 200 OK"), "operators need no key"
        service.process.send_signal(signal.SIGTERM)
        service.end()
    assert not (tmp_path / "admin").exists()


def test_one_admin_listener_at_most(tmp_path: Path) -> None:
    settings = Settings(port=0, admin_port=0, admin_unix_socket=tmp_path / "a")
    with pytest.raises(ServeError, match="not both"), listening(settings, 1):
        pass
    with listening(Settings(port=0, admin_port=0), 2) as found:
        assert len(found.admin) == 1
        assert found.admin_urls[0].startswith("http://127.0.0.1:")
        assert found.exposed == []


def test_what_other_machines_reach_is_told() -> None:
    with listening(Settings(host="0.0.0.0", port=0), 1) as found:
        assert found.exposed == found.urls
    with serve("--workers", "1", "--host", "0.0.0.0") as service:
        assert [event["without"] for event in service.skipped if event["event"] == "exposed"] == [["api_keys", "tls_certificate"]]
