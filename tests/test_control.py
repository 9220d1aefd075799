"""Control socket, status, watched files, and what a generation must pass before it is served."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from regionresolver import Resolver
from regionresolver.errors import CanaryError, GenerationError, ServeError, SettingsError
from regionresolver.index.extent import Extent
from regionresolver.service import watch
from regionresolver.service.checks import check_generation
from regionresolver.service.control import Control, address_of, ask
from regionresolver.settings import Settings
from tests.serve_process import PATIENCE_S, ROOT, serve
from tests.test_supervisor import fetch
from tests.worlds import CITY_NETWORKS, city_database

if TYPE_CHECKING:
    from collections.abc import Sequence


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "regionresolver", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


# --- the commands


def test_reload_and_status(tmp_path: Path) -> None:
    path = city_database(tmp_path / "city.mmdb")
    with serve("--db", str(path), "--workers", "2") as running:
        where = ("--port", str(running.port))
        shown = json.loads(command("status", *where, "--json").stdout)
        assert (shown["state"], shown["data"], shown["latest_reload"]) == ("serving", "g1", None)
        found = [(one["index"], one["data"], one["state"]) for one in shown["workers"]]
        assert found == [(0, "g1", "serving"), (1, "g1", "serving")]
        assert {one["pid"] for one in shown["workers"]} == set(running.workers())
        assert all(one["rss_bytes"] > 1 << 20 for one in shown["workers"])

        done = command("reload", *where)
        assert (done.returncode, done.stdout[:13]) == (0, "reloaded: g2 "), done.stderr
        workers = fetch(running.port, "/v1/metadata")["workers"]
        assert [(one["index"], one["data"]) for one in workers] == [(0, "g2"), (1, "g2")]  # type: ignore[attr-defined]

        path.write_bytes(b"nonsense")
        failed = command("reload", *where, "--json")
        assert failed.returncode == 1
        assert json.loads(failed.stdout)["detail"].startswith(f"{path}: it is not a MaxMind DB")
        assert "not reloaded, g2 is still served" in command("reload", *where).stderr

        table = command("status", *where)
        assert table.returncode == 0
        assert "generation g2" in table.stdout
        assert "failed: " in table.stdout
        told = fetch(running.port, "/readyz")
        assert told["status"] == "ready"
        assert told["checks"]["reload"]["latest"]["outcome"] == "failed"  # type: ignore[index]
        assert any("is still served" in warning for warning in told["warnings"])  # type: ignore[attr-defined]

        os.kill(running.workers()[0], signal.SIGKILL)
        running.wait_for("worker_replaced")
        latest = {fetch(running.port, "/readyz")["checks"]["reload"]["latest"]["outcome"] for _ in range(20)}  # type: ignore[index]
        assert latest == {"failed"}, "a worker that was forked later knows it too"


def test_nobody_there(tmp_path: Path) -> None:
    for name in ("reload", "status"):
        done = command(name, "--control-socket", str(tmp_path / "nothing"))
        assert done.returncode == 1
        assert done.stderr.startswith("regionresolver: error: no service is reached at ")
        assert len(done.stderr.splitlines()) == 1


def test_a_control_socket_by_path(tmp_path: Path) -> None:
    path = tmp_path / "control"
    settings = Settings(control_socket=path)
    left = Control.open(settings)
    with pytest.raises(ServeError, match="in use"):
        Control.open(settings)
    assert path.stat().st_mode & 0o777 == 0o600
    left.listener.close()  # as a service does that is killed
    again = Control.open(settings)
    again.close()
    assert not path.exists()
    path.write_text("precious")
    with pytest.raises(ServeError, match="cannot listen on the control socket"):
        Control.open(settings)
    assert path.read_text() == "precious"


def test_the_same_settings_lead_to_the_same_socket(tmp_path: Path) -> None:
    assert address_of(Settings(port=0), 8081) == address_of(Settings(port=8081)) == "\0regionresolver/127.0.0.1:8081"
    assert address_of(Settings(unix_socket=tmp_path / "http")) == f"\0regionresolver/{tmp_path}/http"


@pytest.mark.parametrize("request_", [b"", b"\n", b"nonsense\n", b"[]\n", b'{"do":"else"}\n', b"x" * 5000])
def test_what_is_no_request_is_hung_up_on(request_: bytes, tmp_path: Path) -> None:
    control = Control.open(Settings(control_socket=tmp_path / "control"))
    import socket

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "control"))
        client.sendall(request_)
        client.shutdown(socket.SHUT_WR)
        asker = control.accept()
        assert asker is not None
        while asker.hear():
            time.sleep(0.001)
        assert asker.request is None or asker.request == {"do": "else"}
        asker.leave()
    control.close()


def test_a_service_that_does_not_answer(tmp_path: Path) -> None:
    control = Control.open(Settings(control_socket=tmp_path / "control"))
    with pytest.raises(ServeError, match="does not answer"):
        ask(Settings(control_socket=tmp_path / "control"), {"do": "status"}, 0.2)
    control.close()


# --- checks


HALF = dict(list(CITY_NETWORKS.items())[: len(CITY_NETWORKS) // 2])


def test_an_extent_counts_what_is_known(tmp_path: Path) -> None:
    with Resolver.open(city_database(tmp_path / "a.mmdb", {"84.0.0.0/16": ("CU", None), "2a02:10::/32": ("RU", None)})) as one:
        found = one.extent()
    assert (found.ipv4_places, found.ipv6_places) == (16, 1)
    assert found.trie_bytes > 0


@pytest.mark.parametrize(
    ("extent", "words"),
    [
        (Extent(81, 100, 100), None),
        (Extent(79, 100, 100), "the known IPv4 addresses fall by 21%"),
        (Extent(200, 0, 100), "the known IPv6 addresses fall by 100%"),
        (Extent(100, 100, 50), "the known networks fall by 50%"),
    ],
)
def test_the_shrink_limit(extent: Extent, words: str | None) -> None:
    assert extent.shrunk(Extent(100, 100, 100), 0.2) == words


def test_a_database_that_knows_much_less_is_refused_and_forced(tmp_path: Path) -> None:
    path = city_database(tmp_path / "city.mmdb")
    with serve("--db", str(path), "--workers", "1") as running:
        where = ("--port", str(running.port))
        city_database(path, HALF)
        refused = command("reload", *where)
        assert refused.returncode == 1
        assert "g1 is still served: the known IPv4 addresses fall by " in refused.stderr
        assert command("reload", *where, "--force").returncode == 0
        city_database(path, HALF)
        assert command("reload", *where).returncode == 0, "the same again is no less"


CANARIES = """
[[canary]]
ip = "46.0.0.1"
region = "UA-43"
[[canary]]
serving = "36801"
sim = "36801"
country = "CU"
decision = "deny"
"""


def test_canaries(tmp_path: Path) -> None:
    file = tmp_path / "canaries.toml"
    file.write_text(CANARIES)
    settings = Settings(canaries=file)
    with Resolver.open(city_database(tmp_path / "a.mmdb")) as good:
        check_generation(good, settings)
        assert good.breaker._totals() == good.breaker._baseline, "they were no pings"
    with Resolver.open(city_database(tmp_path / "b.mmdb", HALF | {"46.0.0.0/16": ("RU", None)})) as bad:
        with pytest.raises(CanaryError, match=r"canary 1: region is RU, expected is UA-43") as caught:
            check_generation(bad, settings)
        assert "46.0" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "is not TOML"),
        ("", "Field required"),
        ("[[canary]]\nip='1.2.3.4'", "canary 1: it expects nothing"),
        ("[[canary]]\nregion='CU'", "canary 1: it has no signal"),
        ("[[canary]]\nip='1.2.3.4'\nregion='CU'\n[[canary]]\nserving=36801\nregion='CU'", "canary 2.serving: "),
        ("[[canary]]\nip='46.0.0.1234567890'\nregion='CU'", "canary 1: "),
    ],
)
def test_a_file_of_canaries_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "canaries.toml"
    file.write_text(text)
    with Resolver.open(city_database(tmp_path / "a.mmdb")) as resolver, pytest.raises(CanaryError) as caught:
        check_generation(resolver, Settings(canaries=file))
    assert words in str(caught.value)
    assert "1234567890" not in str(caught.value)


def test_old_databases(tmp_path: Path) -> None:
    built = int(time.time()) - 40 * 86_400
    with Resolver.open(city_database(tmp_path / "city.mmdb", build_epoch=built)) as resolver:
        check_generation(resolver, Settings(max_age_refuse_days=41))
        with pytest.raises(GenerationError, match="the database city was built 40 days ago: older than max_age_refuse_days"):
            check_generation(resolver, Settings(max_age_refuse_days=39))


# --- watched files


def renamed(folder: Path) -> None:
    (folder / "new").write_bytes(b"another")
    (folder / "new").rename(folder / "file")


def overwritten(folder: Path) -> None:
    with (folder / "file").open("r+b") as file:
        for letter in b"another thing":
            file.write(bytes([letter]))
            file.flush()
            time.sleep(0.02)


def patched(folder: Path) -> None:
    """In place, and as long as before: only the time tells."""
    (folder / "file").write_bytes(b"two")


def removed(folder: Path) -> None:
    (folder / "file").unlink()


def turned(folder: Path) -> None:
    """As Kubernetes does it: `..data` is a link that is renamed over, the files are links through it."""
    (folder / "..2").mkdir()
    (folder / "..2" / "file").write_bytes(b"another")
    (folder / "..data_tmp").symlink_to("..2")
    (folder / "..data_tmp").rename(folder / "..data")


def kubernetes(folder: Path) -> None:
    (folder / "..1").mkdir()
    (folder / "..1" / "file").write_bytes(b"one")
    (folder / "..data").symlink_to("..1")
    (folder / "file").symlink_to("..data/file")


def plain(folder: Path) -> None:
    (folder / "file").write_bytes(b"one")


@pytest.mark.parametrize(
    ("made", "changed", "content"),
    [
        (plain, renamed, b"another"),
        (plain, overwritten, b"another thing"),
        (plain, patched, b"two"),
        (plain, removed, None),
        (kubernetes, turned, b"another"),
    ],
)
def test_files_that_a_worker_reads_are_read_anew_once_for_each_change(
    tmp_path: Path, made: object, changed: object, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    made(tmp_path)  # type: ignore[operator]
    taken = list[bytes]()

    def read() -> dict[str, object]:
        try:
            taken.append((tmp_path / "file").read_bytes())
        except OSError:
            raise SettingsError("it is gone") from None
        return {"bytes": len(taken[-1])}

    (tmp_path / "beside").write_bytes(b"the same all the time")
    reread = watch.Reread((tmp_path / "beside", tmp_path / "file"), read, taken="file_taken", failed="file_failed")
    with caplog.at_level(logging.INFO, logger="regionresolver"):
        for _ in range(2):
            reread.look()
        assert (taken, caplog.records) == ([], [])
        time.sleep(0.02)  # the clock of the file's time is coarse
        changed(tmp_path)  # type: ignore[operator]
        for _ in range(2):
            reread.look()
        (tmp_path / "other").write_bytes(b"nobody cares")
        reread.look()
    assert taken == ([] if content is None else [content])
    (told,) = caplog.records
    failed = ("file_failed", "ERROR", {"detail": "it is gone"})
    said = failed if content is None else ("file_taken", "INFO", {"bytes": len(content)})
    assert (told.getMessage(), told.levelname, told.__dict__["fields"]) == said


@pytest.mark.parametrize(("made", "changed"), [(plain, renamed), (plain, overwritten), (plain, patched), (kubernetes, turned)])
def test_a_file_that_is_replaced_is_seen_once_it_has_come_to_rest(tmp_path: Path, made: object, changed: object) -> None:
    made(tmp_path)  # type: ignore[operator]
    stop, seen = threading.Event(), list[tuple[float, object]]()

    def note() -> None:
        for found in watch.changes((tmp_path / "file",), stop, settle_s=0.2):
            seen.append((time.monotonic(), found))

    watcher = threading.Thread(target=note)
    watcher.start()
    try:
        time.sleep(0.3)
        (tmp_path / "other").write_bytes(b"nobody cares")
        time.sleep(0.4)
        assert seen == []
        changed(tmp_path)  # type: ignore[operator]
        ended = time.monotonic()
        while not seen and time.monotonic() < ended + PATIENCE_S:
            time.sleep(0.02)
        assert len(seen) == 1
        assert seen[0][0] - ended > 0.1, "it had come to rest"
        changed_again = tmp_path / ("..2/file" if made is kubernetes else "file")
        changed_again.write_bytes(b"once more")
        while len(seen) < 2 and time.monotonic() < ended + PATIENCE_S:
            time.sleep(0.02)
        assert len(seen) == 2
    finally:
        stop.set()
        watcher.join(PATIENCE_S)


def test_a_missing_file_is_no_change(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"one")
    stop, seen = threading.Event(), list[object]()
    watcher = threading.Thread(target=lambda: seen.extend(watch.changes((tmp_path / "file",), stop, settle_s=0.1)))
    watcher.start()
    time.sleep(0.2)
    (tmp_path / "file").unlink()
    time.sleep(0.6)
    stop.set()
    watcher.join(PATIENCE_S)
    assert seen == []


def test_what_is_watched(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    named: Sequence[str] = ("a.mmdb", "v4.mmdb, v6.mmdb")
    found = watch.watched_files(Settings(db=named, policy=policies, catalogue="c.toml"))
    names = ("a.mmdb", "v4.mmdb", "v6.mmdb", "c.toml")
    assert found == (*(Path(name).absolute() for name in names), policies / "active")
    assert watch.watched_files(Settings(policy="observe-only")) == ()
    kubernetes(tmp_path)
    assert watch.folders_of([tmp_path / "file"]) == {tmp_path, tmp_path / "..1", tmp_path / "..data"}


async def test_a_service_that_watches_reloads_by_itself(tmp_path: Path) -> None:
    path = city_database(tmp_path / "city.mmdb")
    with serve("--db", str(path), "--workers", "1", "--watch") as running:
        await asyncio.sleep(0.5)
        (watcher,) = set(running.workers()) - {fetch(running.port, "/livez")["worker"]["pid"]}  # type: ignore[index]
        city_database(tmp_path / "new.mmdb", CITY_NETWORKS | {"84.0.0.0/16": ("ES", None)}).rename(path)
        assert (await running.until("reloaded"))["data"] == "g2"
        assert "files_changed" in [found["event"] for found in running.skipped]
        assert fetch(running.port, "/v1/resolve?ip=84.0.1.1")["region"] == "ES"
        os.kill(watcher, signal.SIGKILL)
        assert (await running.until("watcher_died"))["pid"] == watcher
        running.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(running.end)
