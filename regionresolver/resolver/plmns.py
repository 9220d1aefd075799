"""What the PLMN table knows of a network: for people who ask why a network means a region.

In: a PLMN as text, as octets or as the beginning of an IMSI, of which `read_plmn` keeps six digits at most. Out: a
`PlmnFinding` with the row that decides, the row that would decide without it, and sentences about what the digits leave
open. An operator's overrides that hold at an instant are rows like the table's, and decide as on the hot path. The table
holds the MCCs and the networks that differ from theirs, so it never says whether a network exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from _fastpath.digit_trie import ParsedPlmn, parse_bcd, parse_ef_imsi, parse_plmn, parse_s1ap
from regionresolver.model import SignalStatus
from regionresolver.resolver.documents import override_words
from regionresolver.resolver.explanation import listed, name_of, named
from regionresolver.sources.plmn import PlmnRow, PlmnTable

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping

    from regionresolver.model import Override
    from regionresolver.resolver.extended import Extended
    from regionresolver.sources.tables import Source

PlmnForm = Literal["plmn", "mcc", "imsi", "bcd", "s1ap", "ef_imsi"]

_MCC_DIGITS: Final = 3
_TWO_DIGIT_PLMN: Final = 5
_SORTS: Final = {
    "test": "test networks",
    "international_shared": "international networks: satellite, sea, air, IoT and travel SIMs",
    "other_shared": "other shared networks",
    "trial": "trials",
    "private": "private networks",
}


class KnownPlmns:
    """The PLMN table, and the operator's overrides that hold at an instant, as rows."""

    def __init__(self, table: PlmnTable, extended: Extended, at: dt.datetime) -> None:
        """Join them."""
        self.table = table
        self.catalogue = extended.catalogue
        holding = [one for one in extended.plmns if one.expires is None or at < one.expires]
        self._overrides = {one.prefix: one for one in holding}
        self._own = tuple(
            PlmnRow(one.prefix, one.regions, "override", one.confidence, one.exact, None, None, f"override:{one.id}")
            for one in holding
        )

    def lookup(self, digits: str, *, mnc_known: bool, without: PlmnRow | None = None) -> PlmnRow | None:
        """Return the row of the longest prefix, of equal ones the override's; `without` is a row to leave out."""
        rows = [
            PlmnTable(tuple(row for row in rows if row is not without), {}, "").lookup(digits, mnc_known=mnc_known)
            for rows in (self._own, self.table.rows)
        ]
        return max((row for row in rows if row is not None), key=lambda row: len(row.prefix), default=None)

    def rows(self, prefix: str) -> tuple[PlmnRow, ...]:
        """Return every row whose digits begin so, shorter ones first, the operator's before the table's."""
        return tuple(sorted((row for row in (*self._own, *self.table.rows) if row.prefix.startswith(prefix)), key=_digits_of))

    def override_of(self, row: PlmnRow) -> Override | None:
        """Return the override that a row stands for, None for a row of the table."""
        return self._overrides[row.prefix] if row in self._own else None

    def source_of(self, row: PlmnRow) -> Source | None:
        """Return the source of a row of the table, None for an override."""
        return self.table.sources.get(row.source)


def _digits_of(row: PlmnRow) -> str:
    return row.prefix


@dataclass(frozen=True, slots=True)
class PlmnFinding:
    """What is known of one PLMN.

    `plmn` is "250-33", or "250" for an MCC alone; bare digits where it is not known where the MNC ends, of an IMSI only the
    prefix that decides. `row` is what decides (`None`: unassigned), `fallback` what would without it, where it is an
    override. `notes` are sentences.
    """

    plmn: str
    mcc: str
    mnc: str | None
    status: SignalStatus
    row: PlmnRow | None
    fallback: PlmnRow | None
    notes: tuple[str, ...]


def read_plmn(text: str, form: PlmnForm) -> ParsedPlmn | None:
    """Read a PLMN from text of a form, None where it is none; octets are hexadecimal, with spaces or colons or without.

    "plmn" is 36801, 368-01 or an MCC of three digits, "imsi" the beginning of an IMSI or all of it.
    """
    if form in _OCTETS:
        try:
            return _OCTETS[form](bytes.fromhex(text.replace(":", " ")))
        except ValueError:
            return None
    parsed = parse_plmn(text, form == "imsi", form != "imsi")
    return None if parsed is not None and form == "mcc" and len(parsed.digits) != _MCC_DIGITS else parsed


_OCTETS: Final[Mapping[str, Callable[[bytes], ParsedPlmn | None]]] = {
    "bcd": parse_bcd,
    "s1ap": parse_s1ap,
    "ef_imsi": parse_ef_imsi,
}


def find_plmn(parsed: ParsedPlmn, known: KnownPlmns, *, is_imsi: bool = False) -> PlmnFinding:
    """Ask for a PLMN, an MCC alone, or (`is_imsi`) digits the last of which may be a subscriber's."""
    digits, mnc_known = parsed.digits, parsed.mnc is not None
    is_mcc = len(digits) == _MCC_DIGITS
    row = known.lookup(digits, mnc_known=mnc_known)
    status = SignalStatus.UNASSIGNED if row is None else SignalStatus.OK if row.candidates else SignalStatus.NON_GEOGRAPHIC
    shown = parsed.mcc if is_mcc else parsed.text
    if is_imsi and parsed.mnc is None:
        shown = parsed.mcc if row is None else row.text
    is_override = row is not None and row.kind == "override"
    return PlmnFinding(
        plmn=shown,
        mcc=parsed.mcc,
        mnc=None if is_mcc else parsed.mnc,
        status=status,
        row=row,
        fallback=known.lookup(digits, mnc_known=mnc_known, without=row) if is_override else None,
        notes=(*_meaning(parsed, row), *_length_notes(parsed, known)),
    )


def finding_document(finding: PlmnFinding, known: KnownPlmns) -> dict[str, object]:
    """Return a finding as JSON types."""
    return {
        "plmn": finding.plmn,
        "mcc": finding.mcc,
        "mnc": finding.mnc,
        "status": finding.status,
        **_row_members(finding.row, known),
        "fallback": row_document(finding.fallback, known) if finding.fallback else None,
        "notes": list(finding.notes),
    }


def row_document(row: PlmnRow, known: KnownPlmns) -> dict[str, object]:
    """Return a row as JSON types."""
    return {"plmn": row.text, **_row_members(row, known)}


def _row_members(row: PlmnRow | None, known: KnownPlmns) -> dict[str, object]:
    source = known.source_of(row) if row else None
    override = known.override_of(row) if row else None
    return {
        "match": row.prefix if row else None,
        "kind": row.kind if row else None,
        "regions": [{"code": code, "name": name_of(code, known.catalogue)} for code in row.candidates] if row else [],
        "confidence": row.confidence if row else None,
        "operator": row.operator if row else None,
        "note": row.note if row else None,
        "sort": row.sort if row else None,
        "exact": row.exact if row else None,
        "source": {"key": source.key, "title": source.title, "date": source.date.isoformat()} if source else None,
        "override": override_words(override) if override else None,
    }


def _meaning(parsed: ParsedPlmn, row: PlmnRow | None) -> list[str]:
    """Say what the row that decides leaves open."""
    if row is None:
        return [f"The MCC {parsed.mcc} is assigned to nobody: as a signal this is no evidence."]
    if row.sort is not None:
        return [f"The MCC {parsed.mcc} belongs to no country ({_SORTS[row.sort]}): as a signal this is no evidence."]
    notes = []
    if len(row.prefix) == _MCC_DIGITS < len(parsed.digits):
        notes.append(
            f"It has no row of its own: the MCC {parsed.mcc} decides. The table does not say whether such a network exists."
        )
    if len(row.candidates) > 1:
        notes.append("Several regions share it: other signals choose among them; without any the first is answered.")
    if row.exact:
        notes.append("This row counts only where the MNC is known to have two digits.")
    return notes


def _length_notes(parsed: ParsedPlmn, known: KnownPlmns) -> list[str]:
    """Say what the length of the MNC changes."""
    digits = parsed.digits
    if len(digits) == _MCC_DIGITS:
        return []

    def said(row: PlmnRow | None) -> str:
        return listed([named(code, known.catalogue) for code in row.candidates]) if row and row.candidates else "no country"

    if parsed.mnc is None:
        two, three = (known.lookup(plmn, mnc_known=True) for plmn in (digits[:_TWO_DIGIT_PLMN], digits))
        if two is three:
            return ["Whether the MNC has two digits or three is not known from these; here both mean the same."]
        unknown = "Whether the MNC has two digits or three is not known from these, and it matters"
        return [f"{unknown}: with two it is {said(two)}, with three {said(three)}."]
    by_prefix = {row.prefix: row for row in reversed(known.rows(digits[:_TWO_DIGIT_PLMN]))}
    if len(digits) == _TWO_DIGIT_PLMN:
        longer = [by_prefix[prefix] for prefix in sorted(by_prefix) if len(prefix) > _TWO_DIGIT_PLMN]
        return [f"An MNC of three digits that begins alike has a row of its own: {row.text} is {said(row)}." for row in longer]
    shorter = by_prefix.get(digits[:_TWO_DIGIT_PLMN])
    return [f"{parsed.text} is not {shorter.text}, which has a row for an MNC of two digits: {said(shorter)}."] if shorter else []
