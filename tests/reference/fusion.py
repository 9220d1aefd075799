"""The table "Signals to region" in its readable form: the first row that fits decides.

Regions are plain codes here, candidate lists plain tuples and conflicts a set of words; the compiled form is
`_fastpath.fusion`. Rows 8 and 12 are the caller's: they leave a signal without evidence. Rows 14 to 16 are what
rows 3, 4 and 10 mean for a restricted region, and row 16 what a foreign SIM takes from row 2.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class World:
    """What the catalogue knows, by code: the countries each region is filed under (its own first), and so on."""

    filed_under: dict[str, tuple[str, ...]]
    subdivisions: frozenset[str]
    members: dict[str, tuple[str, ...]] = field(default_factory=dict)
    deserted_by: dict[str, tuple[str, ...]] = field(default_factory=dict)
    watched: frozenset[str] = frozenset()

    def countries(self, region: str) -> set[str]:
        """Return every country that a region is filed under."""
        return set(self.filed_under[region])

    def own(self, region: str) -> str:
        """Return the country that is answered for a region."""
        return self.filed_under[region][0]


@dataclass(frozen=True)
class Plmn:
    """What the PLMN table says of a network, or an operator's override, which is one like the table's own."""

    candidates: tuple[str, ...]
    is_override: bool = False
    confidence: float = 0.0


@dataclass(frozen=True)
class Ip:
    """What the databases say of an address, or an operator's override, which knows a subdivision like a country."""

    country: str
    subdivision: str | None = None
    sources_disagree: bool = False
    is_blind: bool = False
    is_override: bool = False

    def subdivision_confidence(self, by_database: float) -> float:
        """Return how sure its subdivision is in a row that gives so much to a database's word."""
        return 0.8 if self.is_override else by_database

    @property
    def region(self) -> str:
        """Return the most specific code."""
        return self.subdivision or self.country


@dataclass(frozen=True)
class Answer:
    """A resolution in words."""

    region: str | None
    confidence: float
    conflicts: frozenset[str]
    basis: str | None
    row: str


def fuse(
    world: World, ip: Ip | None, serving: Plmn | None, home: Plmn | None, *, serving_is_non_geographic: bool = False
) -> Answer:
    """Resolve; a signal that is no evidence (absent, invalid, reserved, unassigned ...) is None."""
    conflicts: set[str] = set()
    if serving_is_non_geographic:
        conflicts.add("non_geographic_plmn")
    if ip and ip.sources_disagree:
        conflicts.add("sources_disagree")

    home_countries = set().union(*(world.countries(code) for code in home.candidates)) if home else set()
    ip_countries = world.countries(ip.region) if ip else set()

    def answer(region: str | None, confidence: float, basis: str | None, row: str) -> Answer:
        return Answer(region, confidence, frozenset(conflicts), basis, row)

    def sim_foreign_to(region: str) -> bool:
        return home is not None and not home_countries & world.countries(region)

    def explain_ip_elsewhere(region: str) -> None:
        if home_countries & ip_countries:
            conflicts.add("home_routed")
            return
        conflicts.add("ip_disagrees")
        if sim_foreign_to(region):
            conflicts.add("sim_foreign")

    if serving:
        if len(serving.candidates) > 1:  # row 5
            conflicts.add("ambiguous_mcc")
            chosen, confidence = serving.candidates[0], 0.5
            by_ip = [code for code in serving.candidates if ip and ip_lies_in(world, ip, code)]
            by_sim = [code for code in serving.candidates if home and code in home.candidates]
            if ip and by_ip:
                chosen, confidence = by_ip[0], 0.9
                if ip.subdivision and world.own(ip.subdivision) == chosen:
                    chosen, confidence = ip.subdivision, ip.subdivision_confidence(0.6)
            elif by_sim:
                chosen, confidence = by_sim[0], 0.75 if len(by_sim) == 1 else 0.5
            if ip and not by_ip:
                explain_ip_elsewhere(chosen)
            elif sim_foreign_to(chosen):
                conflicts.add("sim_foreign")
            return answer(chosen, confidence, "serving_plmn", "5")

        (here,) = serving.candidates
        if serving.is_override:  # row 1
            if ip and not ip_countries & world.countries(here):
                explain_ip_elsewhere(here)
            elif sim_foreign_to(here):
                conflicts.add("sim_foreign")
            narrowed = ip.subdivision if ip and ip.subdivision in world.members.get(here, ()) else here
            return answer(narrowed, serving.confidence, "serving_plmn", "1")

        if ip and here not in ip_countries:  # rows 3, 4
            explain_ip_elsewhere(here)
            if "home_routed" in conflicts:
                return answer(here, 0.9, "serving_plmn", "3")
            return answer(here, 0.85, "serving_plmn", "4")

        region = here
        if ip is None:
            confidence, row = (0.98 if home else 0.9), "2"
            if here in world.watched:
                conflicts.add("subdivision_unknown")
                confidence = min(confidence, 0.8)
            if sim_foreign_to(here):
                row = "16"
        elif ip.subdivision is None and ip.is_blind:
            confidence, row = 0.8, "7"
            conflicts.add("subdivision_unknown")
        elif ip.subdivision is None:
            confidence, row = 0.98, "2"
        elif here in world.deserted_by.get(ip.subdivision, ()):
            confidence, row = 0.6, "6b"
            conflicts.add("ip_disagrees")
        elif world.own(ip.subdivision) != here:
            region, confidence, row = ip.subdivision, ip.subdivision_confidence(0.7), "6"
            conflicts.add("country_alias")
        else:
            region, confidence, row = ip.subdivision, ip.subdivision_confidence(0.6), "2"
        if sim_foreign_to(here):  # row 16
            conflicts.add("sim_foreign")
            if confidence > 0.9:
                confidence, row = 0.9, "16"
        return answer(region, confidence, "serving_plmn", row)

    if ip:
        is_blind = ip.subdivision is None and ip.is_blind
        alone = ip.subdivision_confidence(0.6) if ip.subdivision else 0.8
        if home is None:
            confidence, row = alone, "11"
        else:
            named = [code for code in home.candidates if ip_lies_in(world, ip, code) and code != world.own(code)]
            whole = [code for code in home.candidates if code == world.own(code) and code in ip_countries]
            near = [
                code for code in home.candidates if code != world.own(code) and is_blind and world.countries(code) & ip_countries
            ]
            if named or whole or near:
                confidence, row = (alone if ip.subdivision and not named else 0.9), "9"
                if not named and not near and world.own(ip.region) not in whole:
                    conflicts.add("country_alias")
            else:
                confidence, row = 0.6, "10"
                conflicts.add("sim_foreign")
        if is_blind:
            conflicts.add("subdivision_unknown")
            confidence = min(confidence, 0.8)
        return answer(ip.region, confidence, "ip", row)

    if home:
        conflicts.add("sim_only")
        if len(home.candidates) > 1:
            conflicts.add("ambiguous_mcc")
        return answer(home.candidates[0], 0.4, "home_plmn", "17")

    conflicts.add("no_evidence")
    return answer(None, 0.0, None, "13")


def ip_lies_in(world: World, ip: Ip, region: str) -> bool:
    """Tell whether the address lies in a country, a subdivision or a named region."""
    if region in world.members:
        return ip.subdivision in world.members[region]
    if region in world.subdivisions:
        return ip.subdivision == region
    return world.own(ip.region) == region
