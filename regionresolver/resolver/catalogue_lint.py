"""What is to be said against an operator's catalogue file: what keeps it from being used, and what is not wise in it.

In: an `Extension`, the shipped catalogue and PLMN table, the databases, and an instant (no clock is read here). Out:
findings with their places, errors first. One check is one function. What only a file without errors can be asked is asked
of such a file alone: whether overrides lie in each other, and what databases and table say to them.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from _fastpath.address import from_int
from regionresolver.model import Region
from regionresolver.policy import Severity
from regionresolver.resolver.extended import extend, find_problems, holding, interval, written_prefix

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from regionresolver.errors import CatalogueError
    from regionresolver.index.compiler import IndexedSource, SourceNetworks
    from regionresolver.model import Override
    from regionresolver.resolver.extended import Extended, Interval
    from regionresolver.sources.catalogue import Catalogue
    from regionresolver.sources.extension import Extension
    from regionresolver.sources.plmn import PlmnTable

_LISTED = 5
_IPV4_LAST = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class CatalogueFinding:
    """One thing to look at: how bad, its stable name, the place ("line 12, networks[0].region"), and a sentence."""

    severity: Severity
    code: str
    where: str
    text: str


def lint_catalogue(
    extension: Extension,
    shipped: Catalogue,
    plmns: PlmnTable,
    sources: Sequence[IndexedSource],
    at: dt.datetime,
    soon: dt.timedelta = dt.timedelta(days=30),
) -> list[CatalogueFinding]:
    """Return everything that is to be said against a file; [] where nothing is.

    An override that ends within `soon` from the instant `at` on is a finding. Each source is read once.
    """
    problems = find_problems(extension, shipped)
    errors = [error_finding(extension.fault(one.path, one.reason, one.remedy, one.value), one.code) for one in problems]
    said = [*_ends(extension, at, soon)]
    if not problems:
        extended = extend(extension, shipped)
        said += _nested(extended.networks)
        said += _nested(extended.plmns)
        said += _against_table(extended, plmns)
        said += _against_sources(extended, sources)
    paths = {written.override.id: written.path for written in extension.overrides}
    order = {name: number for number, name in enumerate(paths)}
    warnings = [
        CatalogueFinding(Severity.WARNING, code, extension.fault((*paths[name], *key), "", "").where, text)
        for name, code, key, text in sorted(said, key=lambda one: order[one[0]])
    ]
    return [*errors, *warnings]


_Said = tuple[str, str, tuple[str, ...], str]
"""The override's id, the finding's stable name, the key of the override that it is about, and the sentence."""


def error_finding(error: CatalogueError, code: str = "catalogue-invalid") -> CatalogueFinding:
    """Return an error of a file as a finding."""
    text = f"{error.reason} ({error.remedy})" if error.remedy else error.reason
    return CatalogueFinding(Severity.ERROR, code, error.where, text)


def _ends(extension: Extension, at: dt.datetime, soon: dt.timedelta) -> Iterator[_Said]:
    """An override that holds no more, or not for long."""
    for written in extension.overrides:
        override = written.override
        if override.expires is None or override.expires > at + soon:
            continue
        has_ended = override.expires <= at
        code, word = ("override-expired", "has expired") if has_ended else ("override-expires-soon", "expires")
        text = f"{override.id} of {override.owner} {word} on {override.expires:%Y-%m-%d}: delete or renew it"
        yield override.id, code, ("expires",), text


def _nested(overrides: Sequence[Override]) -> Iterator[_Said]:
    """An override inside another one of its kind: the narrower decides, and may say nothing new."""
    for override, parent in zip(overrides, holding(overrides), strict=True):
        if not parent:
            continue
        outer = overrides[parent - 1]
        where = f"lies in {written_prefix(outer.kind, outer.prefix)} of {outer.id}"
        if (outer.regions, outer.confidence) != (override.regions, override.confidence):
            text = f"{where}, which says {', '.join(outer.regions)}: the narrower decides"
            yield override.id, "override-overlaps", (override.kind,), text
        elif outer.expires is None or (override.expires is not None and override.expires <= outer.expires):
            yield override.id, "override-changes-nothing", (override.kind,), f"{where}, which says the same: delete it"


def _against_table(extended: Extended, plmns: PlmnTable) -> Iterator[_Said]:
    """An override of a PLMN that the table files elsewhere, or that says what the table says."""
    for override in extended.plmns:
        row = plmns.lookup(override.prefix, mnc_known=True)
        if row is None or not row.candidates:
            continue
        if row.candidates == override.regions and row.kind == "override" and row.confidence == override.confidence:
            yield override.id, "override-changes-nothing", ("plmn",), f"the PLMN table says the same of {row.text}: delete it"
        elif not _filed(row.candidates, extended.catalogue) & _filed(override.regions, extended.catalogue):
            text = f"the PLMN table says {', '.join(row.candidates)} of {row.text}, which is elsewhere"
            yield override.id, "override-contradicts", ("region",), text


def _against_sources(extended: Extended, sources: Sequence[IndexedSource]) -> Iterator[_Said]:
    """An override of a network that a database files in other countries, or of which every database says the same."""
    agreeing = {one.id for one in extended.networks if sources and _could_be_idle(one, extended.catalogue)}
    for source in sources if extended.networks else ():
        networks = source.networks(extended.catalogue)
        for override in extended.networks:
            found = answers_in(networks, interval(override.prefix))
            if found != {Region(override.regions[0], None)}:
                agreeing.discard(override.id)
            said = sorted({code for region in found if (code := region.subdivision_code or region.country_code)})
            if said and not _filed(said, extended.catalogue) & _filed(override.regions, extended.catalogue):
                more = f" and {len(said) - _LISTED} more" if len(said) > _LISTED else ""
                text = f"the database {source.name} says {', '.join(said[:_LISTED])}{more} everywhere in it, which is elsewhere"
                yield override.id, "override-contradicts", ("region",), text
    for name in agreeing:
        yield name, "override-changes-nothing", ("network",), "every database says the same everywhere in it: delete it"


def _could_be_idle(override: Override, catalogue: Catalogue) -> bool:
    """Tell whether a database could say just what the override says.

    Of a special-purpose network none is asked; of a subdivision, and of a country with subdivisions that matter, an
    override is surer than a database.
    """
    code = override.regions[0]
    watched = any(code in row.countries for row in catalogue.subdivisions.values())
    return code not in catalogue.subdivisions and not watched and not _is_special(interval(override.prefix))


def answers_in(networks: SourceNetworks, addresses: Interval) -> set[Region]:
    """Return every different answer that a source has from the first to the last address."""
    starts = range(len(networks.starts_hi))
    first, behind = (
        bisect_right(starts, at, key=lambda i: networks.starts_hi[i] << 64 | networks.starts_lo[i]) for at in addresses
    )
    return {networks.regions[place] for place in set(networks.answers[max(first - 1, 0) : behind])}


def _is_special(addresses: Interval) -> bool:
    """Tell whether a network lies where no database is asked."""
    return any(from_int(at, 4 if at <= _IPV4_LAST else 6).special is not None for at in addresses)


def _filed(codes: Sequence[str], catalogue: Catalogue) -> set[str]:
    """Return every country under which one of the regions is filed."""
    pending, found = list(codes), set[str]()
    while pending:
        code = pending.pop()
        if code in catalogue.subdivisions:
            found.update(catalogue.subdivisions[code].countries)
        elif code in catalogue.regions:
            pending += catalogue.regions[code].members
        else:
            found.add(code)
    return found
