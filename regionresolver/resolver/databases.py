"""From what an operator names to an open index: IP databases that are compiled at start, or an image compiled before.

An image answers alone; the databases that it was compiled from may be given too, and then only add their raw records.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from regionresolver.errors import ImageError
from regionresolver.index import Index, Progress, Source, compile_sources, read_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regionresolver.sources.catalogue import Catalogue

Database = str | Path

_REMEDY = "compile it again with this release: regionresolver index build, with the same --catalogue"


def embedded_database() -> Path:
    """Return the path of the shipped database: DB-IP City Lite, reduced to countries and named subdivisions."""
    with as_file(files("regionresolver.data") / "embedded.mmdb") as path:
        return path


def open_databases(specs: Sequence[Database], progress: Progress | None = None) -> list[Source]:
    """Read and check databases, in their order. Raises DatabaseError."""
    return [Source.open(spec, progress=progress) for spec in specs]


def compile_databases(sources: Sequence[Source], catalogue: Catalogue, progress: Progress | None = None) -> bytes:
    """Compile databases into an image; its steps are told as one task. Raises ImageError."""
    if progress is None:
        return compile_sources(sources, catalogue)
    tell = progress
    return compile_sources(sources, catalogue, lambda _, done, total: tell("compiling the index image", done, total))


def open_index(
    specs: Sequence[Database], image_file: str | Path | None, catalogue: Catalogue, progress: Progress | None = None
) -> Index:
    """Open an image file, or the databases; with neither the embedded database. Raises DatabaseError or ImageError.

    An image is read once, into sealed memory, and checked whole. With `specs` beside it they must be the databases that
    it was compiled from, in the same order.
    """
    if image_file is None:
        sources = open_databases(specs or [embedded_database()], progress)
        return Index.open(compile_databases(sources, catalogue, progress), sources, check=False)
    image = read_image(image_file)
    index = Index.open(image, file=image_file)
    check_vocabulary(index, catalogue, image_file)
    if not specs:
        return index
    return Index.open(image, open_databases(specs, progress), file=image_file, check=False)


def check_vocabulary(index: Index, catalogue: Catalogue, file: str | Path) -> None:
    """Refuse an image whose answers are in other codes than the running catalogue's. Raises ImageError."""
    if index.catalogue_sha256 != catalogue.sha256:
        raise ImageError(file, "it was compiled with another region catalogue", remedy=_REMEDY)
    regions = {region for answers in index.values for region in answers}
    strange = {region.country_code for region in regions} - catalogue.countries.keys() - {None}
    strange |= {region.subdivision_code for region in regions} - catalogue.subdivisions.keys() - {None}
    if strange:
        # Its checksums are right and so is its catalogue: no compiler of ours wrote it.
        reason = f"foreign: it answers with {len(strange)} codes that its region catalogue does not have"
        raise ImageError(file, reason, remedy=_REMEDY)
