"""What a generation's decisions are counted in when that is not the process's own memory: words that outlive it.

Whoever has the memory says where each region, rule and override has its place there; their numbers are a generation's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from _fastpath.tally import Counters
from regionresolver.policy.words import region_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _typeshed import WriteableBuffer

    from _fastpath.tally import Tally
    from regionresolver.model import Override
    from regionresolver.policy import Policy
    from regionresolver.policy.regions import RegionNames
    from regionresolver.resolver.overrides import OverrideTable
    from regionresolver.sources.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class DecisionCounters:
    """Writable memory of 64-bit words, aligned; see `_fastpath.tally` for their order.

    `region_place` gives the place of a region code (None: without a region), `rule_place` that of a rule's id (None: no
    rule), `override_place` that of an override. Place 0 is for what has no place of its own.
    """

    totals: WriteableBuffer
    signals: WriteableBuffer
    conflicts: WriteableBuffer
    regions: WriteableBuffer
    rules: WriteableBuffer
    shadow_rules: WriteableBuffer
    overrides: WriteableBuffer
    region_place: Callable[[str | None], int]
    rule_place: Callable[[str | None], int]
    override_place: Callable[[Override], int]

    def take(self, tally: Tally, codes: tuple[str | None, ...], rules: tuple[str, ...], overrides: OverrideTable | None) -> None:
        """Let a generation count here: its region codes by their ids, its rules by their positions, its overrides."""
        tally.count_in(
            Counters(self.totals),
            Counters(self.signals),
            Counters(self.conflicts),
            Counters(self.regions),
            Counters(self.rules),
            Counters(self.shadow_rules),
            map(self.region_place, codes),
            map(self.rule_place, (None, *rules)),
        )
        if overrides is not None:
            overrides.compiled.count_in(Counters(self.overrides), map(self.override_place, overrides.overrides))


def counted_regions(policy: Policy, names: RegionNames, catalogue: Catalogue, codes: tuple[str | None, ...]) -> Iterator[str]:
    """Yield those of `codes` that the policy speaks of: they lie in a region that it or the catalogue names, or in a rule."""
    in_rules = (word for rule in policy.rules for _, words in region_words(rule) for word in words)
    spoken_of = names.expand([*policy.regions, *catalogue.regions, *in_rules])
    for code in codes:
        if code is None:
            continue
        is_known = code in catalogue.subdivisions or code in catalogue.regions  # else the country of some database
        subdivision = code if code in catalogue.subdivisions else None
        if spoken_of.has(code, catalogue.country_of(code) if is_known else code, subdivision):
            yield code
