"""Private, sealed copies in memory of databases and index images: what is served from nobody can change or truncate.

A file that another process truncates kills every process that has it mapped (SIGBUS), and one that is overwritten in
place answers nonsense without an error. So a file is read exactly once, into an anonymous file that the kernel lets
nobody write to, shrink or grow again; all mappings of it, over a fork too, share the same pages.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regionresolver.errors import DatabaseError, ImageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_BLOCK_BYTES = 1 << 20
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Sealed(mmap.mmap):
    """A read-only mapping of sealed bytes; `descriptor`, by which another process can map them too, lives as long as it."""

    descriptor: int = -1

    def __del__(self) -> None:
        """Close the descriptor; what maps the bytes elsewhere keeps them."""
        if self.descriptor >= 0:
            os.close(self.descriptor)


@dataclass(frozen=True, slots=True)
class PrivateCopy:
    """The sealed bytes of a file, and their hex SHA-256."""

    content: Sealed
    sha256: str


def copy_privately(path: Path) -> PrivateCopy:
    """Read the file once and seal the copy.

    Raises DatabaseError when it is missing, no regular file, unreadable, empty, or changed while it was read.
    """
    try:
        # Without O_NONBLOCK the open of a FIFO waits for a writer.
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise DatabaseError(path, "there is no such file", remedy="check the path given with --db") from None
    except PermissionError:
        raise DatabaseError(path, "it may not be read", remedy="give the service's user the right to read it") from None
    except OSError as error:
        raise DatabaseError(path, f"it cannot be opened: {error.strerror}", remedy="check the path given with --db") from None
    try:
        return _copy(path, source)
    except OSError as error:
        raise DatabaseError(path, f"it cannot be read: {error.strerror}", remedy="check the disk and the free memory") from None
    finally:
        os.close(source)


def _copy(path: Path, source: int) -> PrivateCopy:
    before = os.fstat(source)
    if stat.S_ISDIR(before.st_mode):
        raise DatabaseError(path, "it is a directory", remedy="name the .mmdb file inside it")
    if not stat.S_ISREG(before.st_mode):
        raise DatabaseError(path, "it is no regular file", remedy="name an .mmdb file on disk")
    descriptor = os.memfd_create(path.name[:200], os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        copied, digest = _pour(source, descriptor)
        _refuse_torn(path, before, os.fstat(source), copied)
        sealed = _seal(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return PrivateCopy(sealed, digest)


def _pour(source: int, target: int) -> tuple[int, str]:
    """Copy all bytes; return how many, and their hex SHA-256."""
    digest = hashlib.sha256()
    copied = 0
    while block := os.read(source, _BLOCK_BYTES):
        digest.update(block)
        copied += len(block)
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(target, rest) :]
    return copied, digest.hexdigest()


def _refuse_torn(path: Path, before: os.stat_result, after: os.stat_result, copied: int) -> None:
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or copied != after.st_size:
        raise DatabaseError(
            path, "it was changed while it was read", remedy="write it under another name, then rename it into place"
        )
    if copied == 0:
        raise DatabaseError(path, "it is empty", remedy="download the database again")


def private_copy(image: ReadableBuffer) -> Sealed:
    """Copy an image into sealed memory and map it. Raises ImageError for an empty one or without memory."""
    rest = memoryview(image).cast("B")
    if not rest:
        raise ImageError("index image", "truncated: it is empty", remedy="compile it again")
    descriptor = os.memfd_create("regionresolver-index", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        return _seal(descriptor)
    except OSError as error:
        os.close(descriptor)
        raise ImageError("index image", f"it cannot be put into memory: {error.strerror}", remedy="free some memory") from None


def adopt(descriptor: int) -> Sealed:
    """Map what another process has sealed; the descriptor becomes the mapping's. Raises ImageError where it is not sealed."""
    if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
        os.close(descriptor)
        raise ImageError("index image", "foreign: its memory is not sealed", remedy="build it again")
    return _mapped(descriptor)


def read_image(path: str | Path) -> Sealed:
    """Read an image file once, into sealed memory. Raises ImageError when it is missing, unreadable or empty."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(path, f"it cannot be read: {error.strerror}", remedy="check the path, or compile it again") from None
    if not content:
        raise ImageError(path, "truncated: it is empty", remedy="compile it again")
    return private_copy(content)


def _seal(descriptor: int) -> Sealed:
    """Forbid every change to an anonymous file, for good, and map it; on success the descriptor is the mapping's."""
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return _mapped(descriptor)


def _mapped(descriptor: int) -> Sealed:
    # Before Linux 6.7 a shared mapping of a sealed file is refused, even a read-only one. Nothing can be written, so a
    # private mapping has the same pages.
    sealed = Sealed(descriptor, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    sealed.descriptor = descriptor
    return sealed
