"""Finds MaxMind's public test databases: `test-data/` and `bad-data/` of the MaxMind-DB repository.

They lie beside the checkout, in `tests/data-cache`, in the folder that REGIONRESOLVER_MMDB_TEST_DATA names, or in the
source distribution of maxminddb, which is fetched once into build/test-data. Without any of them the tests that need them
are skipped, with the reason.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from functools import cache
from pathlib import Path

import pytest

from tests.paths import ROOT, SHARED

MAXMINDDB = "maxminddb==3.2.0"  # the first release whose source distribution has all of the files
FETCHED = ROOT / "build" / "test-data"
FETCH_TIMEOUT_S = 60


def candidates() -> list[Path]:
    """Return the folders to look in, the nearest to the developer first."""
    named = os.environ.get("REGIONRESOLVER_MMDB_TEST_DATA")
    places = [Path(named)] if named else []
    if SHARED is not None:
        places.append(SHARED / "data" / "maxmind-db")
    return [*places, ROOT / "tests" / "data-cache", *FETCHED.glob("maxminddb-*/tests/data")]


def found() -> Path | None:
    return next((place for place in candidates() if (place / "test-data").is_dir() and (place / "bad-data").is_dir()), None)


@cache
def fetch() -> str | None:
    """Download and unpack the source distribution; return why that failed, None when it did not."""
    FETCHED.mkdir(parents=True, exist_ok=True)
    options = ["--quiet", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--retries", "0", "--timeout", "10"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(FETCHED), MAXMINDDB]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=FETCH_TIMEOUT_S)
        for archive in FETCHED.glob("maxminddb-*.tar.gz"):
            with tarfile.open(archive) as packed:
                packed.extractall(FETCHED, filter="data")
    except (subprocess.SubprocessError, OSError) as error:
        return f"{type(error).__name__}"
    return None


def mmdb_files(folder: str) -> list[Path]:
    """Return the files of `test-data` or `bad-data`, sorted by name; skip the test when there are none."""
    failure = fetch() if found() is None else None
    place = found()
    if place is None:
        pytest.skip(f"MaxMind's test databases are not here, and their package could not be fetched ({failure})")
    return sorted((place / folder).rglob("*.mmdb"), key=lambda path: path.name)
