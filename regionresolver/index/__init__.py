"""The index: compile IP databases into one image, open it, check it (docs/index-format.md)."""

from regionresolver.index.compiler import IndexedSource, Progress, SourceNetworks, compile_sources
from regionresolver.index.mmdb import Records, Source
from regionresolver.index.opened import Index, verify
from regionresolver.index.sealed import Sealed, adopt, private_copy, read_image
from regionresolver.index.sections import SourceFacts

__all__ = [
    "Index",
    "IndexedSource",
    "Progress",
    "Records",
    "Sealed",
    "Source",
    "SourceFacts",
    "SourceNetworks",
    "adopt",
    "compile_sources",
    "private_copy",
    "read_image",
    "verify",
]
