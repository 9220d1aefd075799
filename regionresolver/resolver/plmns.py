"""What the PLMN table knows of a network: for people who ask why a network means a region.

In: a PLMN as text, as octets or as the beginning of an IMSI, of which `read_plmn` keeps six digits at most. Out: a
`PlmnFinding` with the row that decides, the MCC's row that would decide without it, and sentences about what the digits
leave open. The table holds the MCCs and the networks that differ from theirs, so it never says whether a network exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from _fastpath.digit_trie import ParsedPlmn, parse_bcd, parse_ef_imsi, parse_plmn, parse_s1ap
from regionresolver.model import SignalStatus
from regionresolver.resolver.explanation import listed, name_of, named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from regionresolver.sources.catalogue import Catalogue
    from regionresolver.sources.plmn import PlmnRow, PlmnTable

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


@dataclass(frozen=True, slots=True)
class PlmnFinding:
    """What the table says of one PLMN.

    `plmn` is "250-33", or "250" for an MCC alone; bare digits where it is not known where the MNC ends, of an IMSI only the
    prefix that decides. `row` is what decides (`None`: unassigned), `fallback` the MCC's row where an override does.
    `notes` are sentences.
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


def find_plmn(parsed: ParsedPlmn, table: PlmnTable, catalogue: Catalogue, *, is_imsi: bool = False) -> PlmnFinding:
    """Ask the table for a PLMN, an MCC alone, or (`is_imsi`) digits the last of which may be a subscriber's."""
    digits, mnc_known = parsed.digits, parsed.mnc is not None
    is_mcc = len(digits) == _MCC_DIGITS
    row = table.lookup(digits, mnc_known=mnc_known)
    status = SignalStatus.UNASSIGNED if row is None else SignalStatus.OK if row.candidates else SignalStatus.NON_GEOGRAPHIC
    shown = parsed.mcc if is_mcc else parsed.text
    if is_imsi and parsed.mnc is None:
        shown = parsed.mcc if row is None else row.text
    return PlmnFinding(
        plmn=shown,
        mcc=parsed.mcc,
        mnc=None if is_mcc else parsed.mnc,
        status=status,
        row=row,
        fallback=table.lookup(parsed.mcc, mnc_known=True) if row is not None and row.kind == "override" else None,
        notes=(*_meaning(parsed, row), *_length_notes(parsed, table, catalogue)),
    )


def mcc_rows(mcc: str, table: PlmnTable) -> tuple[PlmnRow, ...]:
    """Return every row of an MCC, its own first."""
    return tuple(sorted((row for row in table.rows if row.prefix.startswith(mcc)), key=lambda row: row.prefix))


def finding_document(finding: PlmnFinding, table: PlmnTable, catalogue: Catalogue) -> dict[str, object]:
    """Return a finding as JSON types."""
    return {
        "plmn": finding.plmn,
        "mcc": finding.mcc,
        "mnc": finding.mnc,
        "status": finding.status,
        **_row_members(finding.row, table, catalogue),
        "fallback": row_document(finding.fallback, table, catalogue) if finding.fallback else None,
        "notes": list(finding.notes),
    }


def row_document(row: PlmnRow, table: PlmnTable, catalogue: Catalogue) -> dict[str, object]:
    """Return a row of the table as JSON types."""
    return {"plmn": row.text, **_row_members(row, table, catalogue)}


def _row_members(row: PlmnRow | None, table: PlmnTable, catalogue: Catalogue) -> dict[str, object]:
    source = table.sources[row.source] if row else None
    return {
        "match": row.prefix if row else None,
        "kind": row.kind if row else None,
        "regions": [{"code": code, "name": name_of(code, catalogue)} for code in row.candidates] if row else [],
        "confidence": row.confidence if row else None,
        "operator": row.operator if row else None,
        "note": row.note if row else None,
        "sort": row.sort if row else None,
        "exact": row.exact if row else None,
        "source": {"key": source.key, "title": source.title, "date": source.date.isoformat()} if source else None,
    }


def _meaning(parsed: ParsedPlmn, row: PlmnRow | None) -> list[str]:
    """Say what the row that decides leaves open."""
    if row is None:
        return [f"The MCC {parsed.mcc} is assigned to nobody: as a signal this is no evidence."]
    if row.sort is not None:
        return [f"The MCC {parsed.mcc} belongs to no country ({_SORTS[row.sort]}): as a signal this is no evidence."]
    notes = []
    if row.kind == "country" and len(parsed.digits) > _MCC_DIGITS:
        notes.append(
            f"It has no row of its own: the MCC {parsed.mcc} decides. The table does not say whether such a network exists."
        )
    if len(row.candidates) > 1:
        notes.append("Several regions share it: other signals choose among them; without any the first is answered.")
    if row.exact:
        notes.append("This row counts only where the MNC is known to have two digits.")
    return notes


def _length_notes(parsed: ParsedPlmn, table: PlmnTable, catalogue: Catalogue) -> list[str]:
    """Say what the length of the MNC changes."""
    digits = parsed.digits
    if len(digits) == _MCC_DIGITS:
        return []

    def said(row: PlmnRow | None) -> str:
        return listed([named(code, catalogue) for code in row.candidates]) if row and row.candidates else "no country"

    if parsed.mnc is None:
        two, three = (table.lookup(plmn, mnc_known=True) for plmn in (digits[:_TWO_DIGIT_PLMN], digits))
        if two is three:
            return ["Whether the MNC has two digits or three is not known from these; here both mean the same."]
        unknown = "Whether the MNC has two digits or three is not known from these, and it matters"
        return [f"{unknown}: with two it is {said(two)}, with three {said(three)}."]
    if len(digits) == _TWO_DIGIT_PLMN:
        longer = [row for row in mcc_rows(digits, table) if len(row.prefix) > _TWO_DIGIT_PLMN]
        return [f"An MNC of three digits that begins alike has a row of its own: {row.text} is {said(row)}." for row in longer]
    shorter = next((row for row in table.rows if row.prefix == digits[:_TWO_DIGIT_PLMN]), None)
    return [f"{parsed.text} is not {shorter.text}, which has a row for an MNC of two digits: {said(shorter)}."] if shorter else []
