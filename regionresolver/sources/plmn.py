"""The PLMN table: which regions a mobile network speaks for.

In: data/plmn.toml, or an operator's file of the same form. Out: an immutable `PlmnTable` of rows, one per prefix of
PLMN digits, each with the regions that it may mean, the default first.

Rules: the longest prefix decides, an override before its MCC. Digits are strings: 01 is not 001. Where the length of the
MNC is known, an override of five digits speaks for two-digit MNCs only (250-331 is not 250-33); where it is not
known, as in an IMSI, it speaks for every continuation, unless its row is `exact`. `_fastpath.digit_trie` is the
compiled form of `PlmnTable.lookup`, built from `trie_rows()`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from regionresolver.sources.catalogue import Catalogue
from regionresolver.sources.tables import Row, Source, read_sources, read_table, source_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping
    from pathlib import Path

PlmnKind = Literal["country", "override", "non_geographic"]
Sort = Literal["test", "international_shared", "other_shared", "trial", "private"]

_SORTS: tuple[Sort, ...] = ("test", "international_shared", "other_shared", "trial", "private")


def hyphened(prefix: str) -> str:
    """Write the digits of a PLMN prefix as people do: "250", "250-33"."""
    return f"{prefix[:3]}-{prefix[3:]}" if len(prefix) > 3 else prefix


@dataclass(frozen=True, slots=True)
class PlmnRow:
    """One prefix of PLMN digits: 3 (an MCC), 5 or 6 of them (an MCC and an MNC).

    `candidates` are country codes, subdivision codes or names of catalogue regions, the default first; () when the
    prefix is of no country, and `sort` then says why. `confidence` is how sure it is that an override's network serves
    its one candidate and nothing else; None where other signals decide (several candidates) and for other kinds.
    `exact` rows match only an MNC that is known to have two digits. `note` is what else is worth knowing of an override.
    `source` is the key of a source, which has the date.
    """

    prefix: str
    candidates: tuple[str, ...]
    kind: PlmnKind
    confidence: float | None
    exact: bool
    sort: Sort | None
    operator: str | None
    source: str
    note: str | None = None

    @property
    def text(self) -> str:
        """The prefix as people write it: "250", "250-33"."""
        return hyphened(self.prefix)


@dataclass(frozen=True)
class PlmnTable:
    """Every row, in the order of the file; `sources` is by key, `sha256` is the digest of the file, in hex."""

    rows: tuple[PlmnRow, ...]
    sources: Mapping[str, Source]
    sha256: str

    @classmethod
    def load(cls, path: str | Path | None = None, catalogue: Catalogue | None = None) -> PlmnTable:
        """Read a PLMN file, the shipped one without a path, against a catalogue (the shipped one).

        Raises CatalogueError.
        """
        known = Catalogue.load() if catalogue is None else catalogue
        root, sha256 = read_table(path, "plmn.toml")
        sources = read_sources(root)
        rows = [
            *_read_countries(root.table("mcc"), sources, known),
            *_read_overrides(root.table("overrides"), sources, known),
            *_read_non_geographic(root.table("non_geographic"), sources),
        ]
        root.finish()
        prefixes = {row.prefix for row in rows}
        for row in rows:
            if row.prefix not in prefixes:
                raise root.fault("", f"{row.text} has two rows", "delete one of them")
            prefixes.remove(row.prefix)
        return cls(tuple(rows), MappingProxyType(sources), sha256)

    def lookup(self, digits: str, *, mnc_known: bool) -> PlmnRow | None:
        """Return the row of the longest prefix of a PLMN or of the first digits of an IMSI, None when there is none.

        `mnc_known` tells that `digits` end where the MNC does.
        """
        for prefix in (digits[:6], digits[:5], digits[:3]):
            row = self._by_prefix.get(prefix)
            if row is not None and (len(prefix) != 5 or (len(digits) == 5 if mnc_known else not row.exact)):
                return row
        return None

    @property
    def date(self) -> dt.date:
        """The date of the newest source."""
        return max(source.date for source in self.sources.values())

    @cached_property
    def _by_prefix(self) -> dict[str, PlmnRow]:
        return {row.prefix: row for row in self.rows}

    def trie_rows(self) -> list[tuple[str, int, bool]]:
        """Return (digits, value, exact) for `DigitTrie`; value n is `rows[n - 1]`, 0 is no row."""
        return [(row.prefix, value, row.exact) for value, row in enumerate(self.rows, start=1)]


def _read_mcc(row: Row) -> str:
    mcc = row.text("mcc")
    if len(mcc) != 3 or not (mcc.isascii() and mcc.isdigit()):
        raise row.fault("mcc", f"{mcc!r} is no MCC", 'write three digits in quotes: mcc = "368"')
    return mcc


def read_prefix(row: Row, key: str) -> str:
    """Return the digits of a PLMN, written "368-01" or "36801", or of an MCC alone. Raises CatalogueError."""
    text = row.text(key)
    digits = text[:3] + text[4:] if text[3:4] == "-" else text
    if len(digits) not in (3, 5, 6) or len(text) == 4 or not (digits.isascii() and digits.isdigit()):
        raise row.fault(key, f"{text!r} is no PLMN and no MCC", f'write it in quotes: {key} = "368-01", or {key} = "368"')
    return digits


def _read_plmn(row: Row) -> str:
    plmn = row.text("plmn")
    if plmn[3:4] != "-" or len(read_prefix(row, "plmn")) == 3:
        raise row.fault("plmn", f"{plmn!r} is no PLMN", 'write it in quotes: plmn = "368-01"')
    return read_prefix(row, "plmn")


def _read_regions(row: Row, catalogue: Catalogue) -> tuple[str, ...]:
    regions = row.texts("regions", required=True)
    for code in regions:
        if code not in catalogue:
            meant = catalogue.suggest(code)
            remedy = f"did you mean {meant}?" if meant else "use a code or name of the region catalogue"
            raise row.fault("regions", f"names the unknown region {code!r}", remedy)
    return regions


def _read_countries(table: Row, sources: Mapping[str, Source], catalogue: Catalogue) -> list[PlmnRow]:
    found = []
    for row in table.rows("rows"):
        source = source_of(row, sources)
        regions = _read_regions(row, catalogue)
        found.append(PlmnRow(_read_mcc(row), regions, "country", None, False, None, None, source.key))
        row.finish()
    table.finish()
    return found


def _read_overrides(table: Row, sources: Mapping[str, Source], catalogue: Catalogue) -> list[PlmnRow]:
    common = table.share("confidence")
    found = []
    for row in table.rows("rows"):
        prefix, regions, source = _read_plmn(row), _read_regions(row, catalogue), source_of(row, sources)
        exact = row.flag("exact")
        if exact and len(prefix) != 5:
            raise row.fault("exact", "is for an MNC of two digits", "delete it")
        confidence = row.share("confidence") if row.has("confidence") else common if len(regions) == 1 else None
        if confidence is not None and len(regions) > 1:
            raise row.fault("confidence", "is for one region: of several, other signals decide", "delete it")
        operator, note = row.optional_text("operator"), row.optional_text("note")
        found.append(PlmnRow(prefix, regions, "override", confidence, exact, None, operator, source.key, note))
        row.finish()
    table.finish()
    return found


def _read_non_geographic(table: Row, sources: Mapping[str, Source]) -> list[PlmnRow]:
    found = []
    for row in table.rows("rows"):
        word, source = row.text("sort"), source_of(row, sources)
        sort = next((sort for sort in _SORTS if sort == word), None)
        if sort is None:
            raise row.fault("sort", f"{word!r} is no sort of code", f"use one of {', '.join(_SORTS)}")
        found.append(PlmnRow(_read_mcc(row), (), "non_geographic", None, False, sort, None, source.key))
        row.finish()
    table.finish()
    return found
