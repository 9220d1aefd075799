"""An index image as a file: written whole or not at all, and never over something that is no image.

Who calls it: `regionresolver index build`. A service that opens the file at the same time reads the old image or the
new one: the new one takes the name when its bytes are on the disk.
"""

from __future__ import annotations

import os
import stat
import tempfile
from typing import TYPE_CHECKING

from regionresolver.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAGIC = bytes.fromhex("895252580d0a1a0a")
"""The first bytes of every image, of any version and byte order (docs/index-format.md)."""

_MODE = 0o644


def check_target(path: Path, inputs: Iterable[str | Path] = (), *, force: bool = False) -> Path:
    """Return where an image for `path` goes (behind a symbolic link), before the work of compiling one.

    Raises ImageError when its folder is missing or may not be written to, when it is one of the `inputs` or no regular
    file, and, without `force`, when it is a file that is no index image.
    """
    target = path.resolve()
    if not target.parent.is_dir():
        raise ImageError(path, "its folder does not exist", remedy="create the folder, or check the path")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise ImageError(path, "its folder may not be written to", remedy="choose another folder")
    try:
        found = target.stat()
    except FileNotFoundError:
        return target
    if not stat.S_ISREG(found.st_mode):
        raise ImageError(path, "it exists and is no regular file", remedy="choose another name")
    if any(os.path.exists(file) and os.path.samefile(file, target) for file in inputs):
        raise ImageError(path, "it is one of the databases to compile", remedy="choose another name")
    if not force and not _is_image(target):
        raise ImageError(path, "it exists and is no index image", remedy="choose another name, or replace it with --force")
    return target


def write_image(image: bytes, target: Path) -> None:
    """Write an image under a name of its own, onto the disk, then give it the name. Raises ImageError."""
    try:
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
            try:
                file.write(image)
                file.flush()
                os.fchmod(file.fileno(), _MODE)
                os.fsync(file.fileno())
                os.replace(file.name, target)
            except BaseException:
                os.unlink(file.name)
                raise
        _sync_folder(target.parent)
    except OSError as error:
        raise ImageError(target, f"it cannot be written: {error.strerror}", remedy="check the path and the disk") from None


def _is_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise ImageError(path, f"it exists and cannot be read: {error.strerror}", remedy="choose another name") from None


def _sync_folder(folder: Path) -> None:
    """Put the new name onto the disk too: without this a power cut may bring the old file back."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
