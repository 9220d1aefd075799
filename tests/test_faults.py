"""The faults of `tests.faults`, each for a moment; `make soak` has them for long."""

from __future__ import annotations

import asyncio
import re
import signal
from typing import TYPE_CHECKING

import pytest

from regionresolver import Resolver
from regionresolver.errors import DatabaseError
from tests import faults
from tests.paths import SHARED
from tests.serve_process import serve
from tests.test_supervisor import fetch
from tests.worlds import city_database

if TYPE_CHECKING:
    from pathlib import Path

BAD_DATA = [] if SHARED is None else sorted(path for path in (SHARED / "data/maxmind-db/bad-data").rglob("*.mmdb"))


def well(found: faults.Found) -> None:
    assert found.wrong == [], found


async def test_each_answer_is_right_for_the_generation_that_it_names(tmp_path: Path) -> None:
    well(await faults.reloads_under_load(tmp_path, 2, 0.2))


async def test_killed_workers(tmp_path: Path) -> None:
    well(await faults.killed_workers(tmp_path, 2, 0.5))


async def test_rolling_restarts(tmp_path: Path) -> None:
    well(await faults.rolling_restarts(tmp_path, 2))


async def test_meddled_sources(tmp_path: Path) -> None:
    well(await faults.meddled_sources(tmp_path, 0))


async def test_slow_clients(tmp_path: Path) -> None:
    well(await faults.slow_clients(tmp_path, 100, 3, 4))


async def test_twice_the_load_that_can_be_answered(tmp_path: Path) -> None:
    """Three attempts: for its second the machine may be somebody else's."""
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        found = await faults.overload(folder, 1.2)
        if not found.wrong:
            break
    well(found)


async def test_a_full_disk(tmp_path: Path) -> None:
    well(await faults.full_disk(tmp_path, 2))


@pytest.mark.skipif(not BAD_DATA, reason="the folder of facts with MaxMind's bad data is not here")
def test_bad_databases_are_refused_at_the_start() -> None:
    for path in BAD_DATA:
        with pytest.raises(DatabaseError, match=re.escape(f"{path}: ")) as caught:
            Resolver.open(path)
        assert caught.value.remedy


@pytest.mark.skipif(not BAD_DATA, reason="the folder of facts with MaxMind's bad data is not here")
async def test_bad_databases_are_refused_at_a_reload(tmp_path: Path) -> None:
    """Each third one, for each costs a process; the test above has them all."""
    path = city_database(tmp_path / "city.mmdb")
    with serve("--db", str(path), "--workers", "1") as running:
        workers = running.workers()
        for bad in BAD_DATA[::3]:
            path.write_bytes(bad.read_bytes())
            running.process.send_signal(signal.SIGHUP)
            failed = await running.until("reload_failed")
            assert str(failed["detail"]).startswith(f"{path}: ")
            assert "error" not in failed
        assert fetch(running.port, "/v1/resolve?ip=84.0.1.1")["region"] == "CU"
        assert [pid for pid in running.workers() if pid in workers] == workers
        await asyncio.sleep(0)
