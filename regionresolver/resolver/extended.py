"""What an operator's catalogue file means: the catalogue that it extends, and its overrides in codes.

In: an `Extension` (what is written) and the shipped catalogue. Out: `Extended`, or the list of what is wrong with the
file, each with its place and a remedy. Rules:

- A region lists codes and other regions, also shipped ones. It may not be called like a code or a shipped region.
- A network is understood as an address is: in an IPv6 dress (mapped, compatible, 6to4, Teredo, NAT64) it is the IPv4
  network inside. It may be special-purpose: who names a private or a documentation network means it.
- A network has one region, a country or a subdivision. A PLMN may have several countries, then other signals decide,
  and one region whose members its network cannot tell apart (`crimea`).
- Of two overrides of one kind the more specific one decides while it holds, then the other; two for the same network
  or PLMN are an error.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from _fastpath.address import parse
from regionresolver.policy import RegionNames
from regionresolver.sources.catalogue import Addition, Catalogue, NamedRegion, normalise_name
from regionresolver.sources.extension import Extension
from regionresolver.sources.plmn import hyphened
from regionresolver.sources.tables import Source

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from regionresolver.errors import CatalogueError
    from regionresolver.model import Override, OverrideKind
    from regionresolver.sources.extension import Alias
    from regionresolver.sources.locate import Path as Keys

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Interval = tuple[int, int]
"""First and last address of a network as the index counts them: IPv4 lies in ::/96."""

_FIRST_IPV6 = 1 << 32
# The bits of the dress itself, and those before the IPv4 address in it.
_DRESSES = {"mapped": (96, 96), "compatible": (96, 96), "nat64": (96, 96), "6to4": (16, 16), "teredo": (32, 96)}


@dataclass(frozen=True, slots=True)
class Problem:
    """What keeps a catalogue file from being used: a stable name, the place, what is wrong there and what to do."""

    code: str
    path: Keys
    reason: str
    remedy: str
    value: str | None = None


@dataclass(frozen=True)
class Extended:
    """A catalogue with an operator's file in it. Of each kind of overrides, the wider ones stand before the narrower."""

    catalogue: Catalogue
    networks: tuple[Override, ...] = ()
    plmns: tuple[Override, ...] = ()
    file: str | None = None
    sha256: str | None = None

    @property
    def overrides(self) -> tuple[Override, ...]:
        """All of them, as they are numbered: networks, then PLMNs."""
        return (*self.networks, *self.plmns)

    def expired_count(self, at: dt.datetime) -> int:
        """Return how many overrides hold no more at an instant."""
        return bisect_right(self._ends, at)

    @cached_property
    def _ends(self) -> list[dt.datetime]:
        return sorted(override.expires for override in self.overrides if override.expires is not None)


def open_catalogue(path: str | Path | None) -> Extended:
    """Read the shipped catalogue, and extend it by an operator's file. Raises CatalogueError with the first problem."""
    shipped = Catalogue.load()
    if path is None:
        return Extended(shipped)
    extension = Extension.read(path)
    problems = find_problems(extension, shipped)
    if problems:
        raise fault_of(extension, problems)
    return extend(extension, shipped)


def fault_of(extension: Extension, problems: Sequence[Problem]) -> CatalogueError:
    """Return the error for a file with these problems: the first of them, and how many more there are."""
    first, more = problems[0], len(problems) - 1
    rest = f"; {more} more: see regionresolver catalogue lint" if more else ""
    return extension.fault(first.path, first.reason, first.remedy + rest, first.value)


def find_problems(extension: Extension, shipped: Catalogue) -> list[Problem]:
    """Return everything that keeps a file from being used, in its order."""
    names = _names(extension, shipped)
    return [
        *_region_problems(extension, shipped, names),
        *_alias_problems(extension, shipped, names),
        *_override_problems(extension, shipped, names),
    ]


def extend(extension: Extension, shipped: Catalogue) -> Extended:
    """Return the catalogue with a file in it that has no problem."""
    names = _names(extension, shipped)
    source = Source(extension.file, "the operator's catalogue file", max(row.date for row in shipped.sources.values()))
    regions = {name: _named(name, names, source) for name in extension.regions}
    listed: dict[str, dict[str, tuple[str, ...]]] = {"names": {}, "codes": {}}
    for alias in extension.aliases:
        for key, found in listed.items():
            if words := getattr(alias, key):
                code = _only_code(names, alias.region)
                found[code] = (*found.get(code, ()), *words)
    words = {word: _meaning(names, alias.region) for alias in extension.aliases for word in alias.words}
    catalogue = shipped.extended(Addition(regions, listed["names"], listed["codes"], words))
    understood = [_understood(written.override, names) for written in extension.overrides]
    networks = sorted((one for one in understood if one.kind == "network"), key=lambda one: _breadth(interval(one.prefix)))
    plmns = sorted((one for one in understood if one.kind == "plmn"), key=lambda one: (len(one.prefix), one.prefix))
    return Extended(catalogue, tuple(networks), tuple(plmns), extension.file, extension.sha256)


def interval(prefix: str) -> Interval:
    """Return first and last address of a canonical network."""
    network = ipaddress.ip_network(prefix)
    first = int(network.network_address)
    # What of IPv6 lies below is IPv4.
    return max(first, _FIRST_IPV6) if network.version == 6 else first, int(network.broadcast_address)


def holding(overrides: Sequence[Override]) -> list[int]:
    """Return for each override of one kind, wider ones first, the number (from 1) of the next wider one; 0 without."""
    parents = []
    if overrides and overrides[0].kind == "plmn":
        numbers: dict[str, int] = {}
        for number, override in enumerate(overrides, 1):
            shorter = (override.prefix[:length] for length in (5, 3) if length < len(override.prefix))
            parents.append(next((numbers[prefix] for prefix in shorter if prefix in numbers), 0))
            numbers[override.prefix] = number
        return parents
    open_: list[tuple[int, int]] = []
    for number, override in enumerate(overrides, 1):
        first, last = interval(override.prefix)
        while open_ and open_[-1][0] < first:
            open_.pop()
        parents.append(open_[-1][1] if open_ else 0)
        open_.append((last, number))
    return parents


def written_prefix(kind: OverrideKind, prefix: str) -> str:
    """Return the prefix of an override as people write it."""
    return prefix if kind == "network" else hyphened(prefix)


def canonical_network(text: str) -> str:
    """Return a network as its addresses are understood, out of its clothes. Raises ValueError, with the reason."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        network = None
    if network is None or "%" in text:
        raise ValueError(_why_no_network(text))
    address = parse(str(network.network_address))
    dress = _DRESSES.get(address.clothing or "") if address is not None else None
    if address is not None and dress is not None and network.prefixlen >= dress[0]:
        prefix_len = network.prefixlen - dress[1]
        if prefix_len < 0:
            raise ValueError("names addresses that are read as the IPv4 addresses inside them: write the IPv4 network")
        if prefix_len == 0:
            raise ValueError("names every IPv4 address there is: write 0.0.0.0/0 if that is meant")
        return str(ipaddress.IPv4Network((address.value, prefix_len), strict=False))
    if network.version == 6 and int(network.broadcast_address) < _FIRST_IPV6:
        raise ValueError("names addresses that no phone has: write the IPv4 network")
    return str(network)


def _why_no_network(text: str) -> str:
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return f"{text!r} is no network: write 203.0.113.0/24 or 2001:db8::/32"
    if "%" in text:
        return f"{text!r} has a zone, which is for one machine: write the network without it"
    return f"{text!r} has bits behind its prefix: write {meant}"


def _names(extension: Extension, shipped: Catalogue) -> RegionNames:
    """Return what resolves the words of the file: its own regions over the shipped ones."""
    return RegionNames(extension.regions, shipped)


def _region_problems(extension: Extension, shipped: Catalogue, names: RegionNames) -> Iterator[Problem]:
    for name, words in extension.regions.items():
        path: Keys = ("regions", name)
        if hidden := _hidden_by(name, shipped, names):
            yield Problem("hides-a-code", path, f"{name!r} hides {hidden}", "call it something else")
        if name in shipped.regions:
            remedy = "give it another name, or replace it in the [regions] of the policy"
            yield Problem("region-shipped", path, f"{name!r} is a region of the shipped catalogue", remedy)
        if way := names.cycle(name):
            yield Problem("region-cycle", path, f"{name!r} contains itself: {' -> '.join(way)}", "take one of them out")
        for number, word in enumerate(words):
            yield from _unknown(names, (*path, number), word)


def _alias_problems(extension: Extension, shipped: Catalogue, names: RegionNames) -> Iterator[Problem]:
    claimed: dict[str, str] = {}
    for alias in extension.aliases:
        unknown = list(_unknown(names, (*alias.path, "region"), alias.region))
        yield from unknown
        if unknown:
            continue
        if (alias.names or alias.codes) and _only_code(names, alias.region) not in shipped.subdivisions:
            reason = f"{alias.region!r} is no subdivision: names and codes are what databases write for one"
            yield Problem("alias-no-subdivision", (*alias.path, "region"), reason, "name a subdivision, or give words instead")
            continue
        yield from _claims(alias, shipped, names, claimed)


def _claims(alias: Alias, shipped: Catalogue, names: RegionNames, claimed: dict[str, str]) -> Iterator[Problem]:
    """Answer the words of an alias that mean something else already."""
    code = _only_code(names, alias.region) if alias.names or alias.codes else None
    for key in ("names", "codes", "words"):
        for number, word in enumerate(getattr(alias, key)):
            path = (*alias.path, key, number)
            taken: str | None = None
            if key == "words":
                taken = _hidden_by(word, shipped, names)
                taken = taken or ("a region of that name" if names.complaint(word) is None else None)
            elif code is not None:
                taken = _taken_in_databases(key, word, code, shipped)
            own = alias.region if code is None else code
            before = claimed.setdefault(f"{key} {normalise_name(word)}", own)
            if taken is None and before != own:
                taken = f"what stands for {before} above"
            if taken is not None:
                name = "hides-a-code" if key == "words" else "alias-taken"
                yield Problem(name, path, f"{word!r} hides {taken}", "delete it", word)


def _taken_in_databases(key: str, word: str, code: str, shipped: Catalogue) -> str | None:
    """Say what a database's word for a subdivision means already, or why it can never be met."""
    row = shipped.subdivisions[code]
    for country in row.countries:
        meant = shipped.canonical(country, *((word, None) if key == "codes" else (None, word)))[1]
        if meant is not None and meant != code:
            return f"the {key[:-1]} of {meant} under {country}"
    if key == "codes" and word[:2] not in row.countries:
        return f"a code of {word[:2]}, under which no database files {code}"
    return None


def _override_problems(extension: Extension, shipped: Catalogue, names: RegionNames) -> Iterator[Problem]:
    ids: dict[str, int] = {}
    prefixes: dict[tuple[OverrideKind, str], str] = {}
    for number, written in enumerate(extension.overrides):
        path, override = written.path, written.override
        if ids.setdefault(override.id, number) != number:
            reason = f"{override.id!r} is the id of another override"
            yield Problem("override-duplicate", (*path, "id"), reason, "choose another")
        prefix = override.prefix
        if override.kind == "network":
            try:
                prefix = canonical_network(prefix)
            except ValueError as error:
                reason, _, remedy = str(error).partition(": ")
                yield Problem("network-invalid", (*path, "network"), reason, remedy)
        first = prefixes.setdefault((override.kind, prefix), override.id)
        if first != override.id:
            reason = f"{written_prefix(override.kind, prefix)} has the override {first!r}"
            yield Problem("override-duplicate", (*path, override.kind), reason, "delete one of them")
        yield from _target_problems(path, override, shipped, names)


def _target_problems(path: Keys, override: Override, shipped: Catalogue, names: RegionNames) -> Iterator[Problem]:
    """Answer what is wrong with the regions that an override names."""
    for number, word in enumerate(override.regions):
        at: Keys = (*path, "region", number) if len(override.regions) > 1 else (*path, "region")
        unknown = list(_unknown(names, at, word))
        yield from unknown
        if unknown:
            continue
        held = names.expand([word])
        codes = (*sorted(held.countries), *sorted(held.subdivisions))
        one_country = not held.countries and len({shipped.subdivisions[code].country for code in held.subdivisions}) == 1
        if len(codes) > 1 and (override.kind == "network" or not one_country):
            is_network = override.kind == "network"
            what = "a network has one country or subdivision" if is_network else "that is no one country"
            remedy = f"write {'one of ' if is_network else ''}{', '.join(codes)}"
            yield Problem("override-wide", at, f"{word!r} is {', '.join(codes)}: {what}", remedy)
    if len(override.regions) > _MAX_CANDIDATES:
        yield Problem("override-wide", (*path, "region"), "names too many regions", f"write at most {_MAX_CANDIDATES}")


_MAX_CANDIDATES = 8  # of _fastpath.fusion


def _unknown(names: RegionNames, path: Keys, word: str) -> Iterator[Problem]:
    """Answer the problem of a word that means nothing."""
    if (complaint := names.complaint(word)) is not None:
        reason, _, remedy = complaint.partition(", did you mean ")
        remedy = f"did you mean {remedy}" if remedy else "use an ISO code, or a region that this file or the catalogue names"
        yield Problem("region-unknown", path, reason, remedy, word)


def _hidden_by(name: str, shipped: Catalogue, names: RegionNames) -> str | None:
    """Say which code of ISO 3166, or other code in use, a name could be taken for."""
    code = name.upper()
    if names.is_code(code):
        return f"the code {code}"
    others = {other: row.code for row in shipped.country_rows.values() for other in (row.alpha3, *row.other_codes)}
    return f"{code}, which stands for {others[code]}" if code in others else None


def _named(name: str, names: RegionNames, source: Source) -> NamedRegion:
    held = names.expand([name])
    countries = held.countries | {code.partition("-")[0] for code in held.subdivisions}
    members = (*sorted(held.countries), *sorted(held.subdivisions))
    return NamedRegion(name, members, next(iter(countries)) if len(countries) == 1 else None, source)


def _only_code(names: RegionNames, word: str) -> str:
    """Return the one code that a word means; of a region with several members, or of none, its name."""
    held = names.expand([word])
    codes = (*held.countries, *held.subdivisions)
    return codes[0] if len(codes) == 1 else word


def _meaning(names: RegionNames, word: str) -> str:
    """Return what a further word stands for: a region's name stays, another code for a subdivision becomes its own."""
    return _only_code(names, word) if names.is_code(word) else word


def _understood(override: Override, names: RegionNames) -> Override:
    prefix = canonical_network(override.prefix) if override.kind == "network" else override.prefix
    regions = tuple(dict.fromkeys(_only_code(names, word) for word in override.regions))
    confidence = override.confidence
    if override.kind == "plmn" and len(regions) == 1 and confidence is None:
        confidence = PLMN_CONFIDENCE
    return replace(override, prefix=prefix, regions=regions, confidence=confidence)


PLMN_CONFIDENCE = 0.95
"""How sure an operator's word on a PLMN is where it says nothing else: as the overrides of the shipped table."""


def _breadth(addresses: Interval) -> Interval:
    return addresses[0], -addresses[1]
