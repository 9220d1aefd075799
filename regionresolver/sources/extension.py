"""An operator's catalogue file: own regions, other words for known ones, and overrides with an owner and an end.

In: a TOML file (docs/catalogue.md is its reference). Out: an `Extension`, which says what is written, in the order of the
file. What the words in it mean, and whether they mean something, is worked out by `regionresolver.resolver.extended`:
here a file only fails by its form.

Every override names its owner, its reason and its end; one that is to last for ever says `expires = "never"`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regionresolver.model import Override, OverrideKind
from regionresolver.sources.catalogue import normalise_name
from regionresolver.sources.plmn import read_prefix
from regionresolver.sources.tables import Row, read_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from regionresolver.errors import CatalogueError
    from regionresolver.sources.locate import Path as Keys

# As the rules of a policy are called: visible ASCII, short, without separators.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_CODE = re.compile(r"[A-Z]{2}-[A-Z0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class Alias:
    """Further words for one region: what databases write (`names`, `codes`), and what policies may write (`words`)."""

    path: Keys
    region: str
    names: tuple[str, ...]
    codes: tuple[str, ...]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WrittenOverride:
    """An override as it is written, and where; `regions` and `prefix` of it are not understood yet."""

    path: Keys
    override: Override


@dataclass(frozen=True, slots=True)
class Extension:
    """What an operator's file says. `regions` are the members of each name as they are written."""

    regions: Mapping[str, tuple[str, ...]]
    aliases: tuple[Alias, ...]
    overrides: tuple[WrittenOverride, ...]
    sha256: str
    root: Row

    @classmethod
    def read(cls, path: str | Path) -> Extension:
        """Read an operator's catalogue file. Raises CatalogueError."""
        root, sha256 = read_table(path, "")
        regions = _read_regions(root.table("regions")) if root.has("regions") else {}
        aliases = tuple(map(_read_alias, root.optional_rows("aliases")))
        networks = [_read_override(row, "network") for row in root.optional_rows("networks")]
        plmns = [_read_override(row, "plmn") for row in root.optional_rows("plmns")]
        root.finish()
        return cls(regions, aliases, (*networks, *plmns), sha256, root)

    @property
    def file(self) -> str:
        """The file, as the operator named it."""
        return self.root.file

    def fault(self, path: Keys, reason: str, remedy: str, value: object = None) -> CatalogueError:
        """Return the error for the value at a path of the file."""
        return self.root.fault_at(path, reason, remedy, value)


def _read_regions(table: Row) -> dict[str, tuple[str, ...]]:
    found = {}
    for name in table.names():
        if _NAME.fullmatch(name) is None:
            raise table.fault(name, f"{name!r} is no name of a region", "write small letters, digits and hyphens")
        found[name] = table.texts(name, required=True)
    return found


def _read_alias(row: Row) -> Alias:
    alias = Alias(row.path, row.text("region"), row.texts("names"), row.texts("codes"), row.texts("words"))
    if not (alias.names or alias.codes or alias.words):
        raise row.fault("", "says nothing", 'give names, codes or words: names = ["..."]')
    for key, words, pattern, form in (
        ("codes", alias.codes, _CODE, 'write whole codes in capitals: codes = ["RU-CR"]'),
        ("words", alias.words, _NAME, "write small letters, digits and hyphens"),
    ):
        for number, word in enumerate(words):
            if pattern.fullmatch(word) is None:
                raise row.fault_at((*row.path, key, number), f"{word!r} cannot be one of the {key}", form, word)
    for number, name in enumerate(alias.names):
        if not normalise_name(name):
            reason = f"{name!r} has no letter and no digit"
            raise row.fault_at((*row.path, "names", number), reason, "write the name as the database does", name)
    row.finish()
    return alias


def _read_override(row: Row, kind: OverrideKind) -> WrittenOverride:
    """Read one override; several regions, a confidence and `exact` are for PLMNs."""
    name = row.text("id")
    if _ID.fullmatch(name) is None:
        raise row.fault("id", f"{name!r} is no id", "write at most 64 letters, digits, dots, hyphens and underscores")
    is_plmn = kind == "plmn"
    regions = row.words("region") if is_plmn else (row.text("region"),)
    prefix = read_prefix(row, "plmn") if is_plmn else row.text("network")
    confidence = row.share("confidence") if is_plmn and row.has("confidence") else None
    if confidence is not None and (len(regions) > 1 or abs(confidence * 100 - round(confidence * 100)) > 1e-9):
        reason = "is for one region: of several, other signals decide" if len(regions) > 1 else "must be a multiple of 0.01"
        raise row.fault("confidence", reason, "delete it" if len(regions) > 1 else "write confidence = 0.95")
    exact = is_plmn and row.flag("exact")
    if exact and len(prefix) != len("25096"):
        raise row.fault("exact", "is for an MNC of two digits", "delete it")
    expires = row.end("expires")
    override = Override(name, kind, prefix, regions, row.text("owner"), row.text("reason"), expires, confidence, exact)
    row.finish()
    return WrittenOverride(row.path, override)
