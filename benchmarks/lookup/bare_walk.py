"""Build libmaxminddb from the source that the `maxminddb` package carries, and walk its tree without Python in between.

The source is fetched with pip, at the version of `maxminddb` that is installed; what is built lies in build/ and is kept.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from importlib.metadata import version
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
BUILD = Path(__file__).parents[2] / "build" / "libmaxminddb"
_DEFINES = ("MMDB_UINT128_USING_MODE=0", "MMDB_UINT128_IS_BYTE_ARRAY=1", 'PACKAGE_VERSION="bench"')


class UnavailableError(Exception):
    """There is no bare walk here; the message says why."""


def library(build: Path = BUILD) -> Path:
    """Return the built library, building it when there is none. Raises UnavailableError."""
    release = version("maxminddb")
    built = build / f"bare_walk-{release}.so"
    if built.exists() and built.stat().st_mtime > SOURCE.stat().st_mtime:
        return built
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        raise UnavailableError(f"no C compiler: {compiler} is not on the path")
    extension = _source(release, build) / "extension"
    source = extension / "libmaxminddb"
    # Renamed into place when it is whole.
    part = built.with_suffix(".part")
    _run(
        [
            compiler,
            "-O3",
            "-shared",
            "-fPIC",
            *(f"-D{define}" for define in (*_DEFINES, f"MMDB_LITTLE_ENDIAN={int(sys.byteorder == 'little')}")),
            f"-I{extension}",
            f"-I{source / 'include'}",
            f"-I{source / 'src'}",
            *map(str, (SOURCE, source / "src" / "maxminddb.c", source / "src" / "data-pool.c")),
            "-o",
            str(part),
        ],
        "libmaxminddb cannot be compiled",
    )
    part.replace(built)
    return built


def _source(release: str, build: Path) -> Path:
    """Fetch and unpack the source package of `maxminddb`."""
    unpacked = build / f"maxminddb-{release}"
    if unpacked.is_dir():
        return unpacked
    build.mkdir(parents=True, exist_ok=True)
    fetch = ("download", "--quiet", "--no-deps", "--no-build-isolation", "--no-binary", "maxminddb")
    _run([sys.executable, "-m", "pip", *fetch, "--dest", str(build), f"maxminddb=={release}"], "its source cannot be fetched")
    with tarfile.open(build / f"maxminddb-{release}.tar.gz") as archive:
        archive.extractall(build, filter="data")
    return unpacked


def _run(command: list[str], failure: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ["no reason given"]
        reason = next((line for line in lines if "error" in line.lower()), lines[-1])
        raise UnavailableError(f"{failure}: {reason}") from None


class BareWalk:
    """One database file, open in libmaxminddb until the process ends."""

    def __init__(self, built: Path, database: str) -> None:
        """Open a file. Raises UnavailableError."""
        functions = ctypes.CDLL(str(built))
        functions.bare_open.restype = ctypes.c_void_p
        functions.bare_open.argtypes = (ctypes.c_char_p,)
        functions.bare_walk.restype = ctypes.c_size_t
        functions.bare_walk.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)
        self._walk = functions.bare_walk
        self._mmdb = functions.bare_open(os.fsencode(database))
        if not self._mmdb:
            raise UnavailableError(f"libmaxminddb does not open {database}")

    def walk(self, packed16: bytes) -> int:
        """Look addresses of 16 bytes up, IPv4 mapped; return how many have a record."""
        found: int = self._walk(self._mmdb, packed16, len(packed16) // 16)
        return found
