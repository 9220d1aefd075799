"""An index image in memory that nobody can change: a sealed memfd, mapped read-only.

What is served must not be a file that someone else can write (a truncated mapping kills the process). Workers that are
forked later share the pages.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING

from regionresolver.errors import ImageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def private_copy(image: ReadableBuffer) -> mmap.mmap:
    """Copy an image into sealed memory and map it. Raises ImageError for an empty one or without memory."""
    rest = memoryview(image).cast("B")
    if not rest:
        raise ImageError("index image", "truncated: it is empty", remedy="compile it again")
    descriptor = os.memfd_create("regionresolver-index", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        # A shared mapping of a file sealed against writing is refused before Linux 6.7, even a read-only one. Nothing
        # can be written, so a private mapping has the same pages.
        return mmap.mmap(descriptor, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    except OSError as error:
        raise ImageError("index image", f"it cannot be put into memory: {error.strerror}", remedy="free some memory") from None
    finally:
        os.close(descriptor)


def read_image(path: str | Path) -> mmap.mmap:
    """Read an image file once, into sealed memory. Raises ImageError when it is missing, unreadable or empty."""
    try:
        return private_copy(Path(path).read_bytes())
    except OSError as error:
        raise ImageError(path, f"it cannot be read: {error.strerror}", remedy="check the path, or compile it again") from None
