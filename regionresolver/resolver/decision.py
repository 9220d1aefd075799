"""Answers in words: what the compiled path leaves in ids, put into the model's objects when somebody asks.

`Words` knows what the ids of one generation mean. A `Decision` is what `Resolver.decide` returns: the answer of the
compiled path, whose `resolution`, `verdict` and `explanation` are made on first use and kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from _fastpath.engine import Decided
from _fastpath.fusion import CONFLICT_BITS, ROW_NAMES, SIGNAL_ALONE, SIGNAL_BITS, STATUS_IDS
from _fastpath.policy_table import EFFECT_IDS
from regionresolver.model import (
    AppliedOverride,
    Conflict,
    Effect,
    Evidence,
    Explanation,
    Notice,
    PingFacts,
    Region,
    Resolution,
    Signal,
    SignalStatus,
    SourceAnswer,
    Verdict,
)
from regionresolver.policy.table import from_microseconds
from regionresolver.resolver.explanation import explain
from regionresolver.resolver.extended import written_prefix

if TYPE_CHECKING:
    from _fastpath.address import Canonical
    from regionresolver.index import Index
    from regionresolver.model import Override
    from regionresolver.policy import CompiledPolicy
    from regionresolver.resolver.extended import Extended
    from regionresolver.resolver.vocabulary import Vocabulary
    from regionresolver.sources.plmn import PlmnTable

# Signal, status, value of the PLMN table, digits that matched, signals that were used.
PlmnFound = tuple[Signal, int, int, str | None, int]
WORDS_KEPT = 4096

_CONFLICTS = [(CONFLICT_BITS[conflict.value], conflict) for conflict in Conflict]
_BASIS = {SIGNAL_BITS[signal.value]: signal for signal in Signal}
_STATUSES = {number: SignalStatus(name) for name, number in STATUS_IDS.items() if name != "absent"}
_EFFECTS = {number: Effect(name) for name, number in EFFECT_IDS.items()}
_INVALID = {
    Signal.IP: Notice("IP_INVALID", "/ip", "not an IPv4 or IPv6 address; the signal was not used"),
    Signal.SERVING_PLMN: Notice("PLMN_INVALID", "/serving", "not a PLMN (five or six digits); the signal was not used"),
    Signal.HOME_PLMN: Notice("PLMN_INVALID", "/sim", "not a PLMN (five or six digits, or an IMSI); the signal was not used"),
}


class Decision(Decided):
    """What the policy says of a phone, on a resolution. Immutable; equal to itself only.

    `effect`, `region` and `confidence` are read from the compiled answer; `resolution` and `verdict` hold everything,
    and `explanation` says why.
    """

    __slots__ = ("_explanation",)

    _explanation: Explanation

    @property
    def effect(self) -> Effect:
        """Allow, deny or review."""
        return _EFFECTS[self.effect_id]

    @property
    def region(self) -> str | None:
        """The most specific region code that the evidence supports."""
        words: Words = self.words
        return words.vocabulary.codes[self.region_id]

    @property
    def policy(self) -> str:
        """The policy that decided, as `name@version`."""
        words: Words = self.words
        return words.policy.label

    @property
    def resolution(self) -> Resolution:
        """The region with its evidence."""
        words: Words = self.words
        if self.cached_resolution is None:
            self.cached_resolution = words.resolution(self)
        found: Resolution = self.cached_resolution
        return found

    @property
    def verdict(self) -> Verdict:
        """What the policy says, with its texts."""
        words: Words = self.words
        if self.cached_verdict is None:
            self.cached_verdict = words.policy.worded(self.verdict_ids, self.lang)
        found: Verdict = self.cached_verdict
        return found

    @property
    def explanation(self) -> Explanation:
        """Why the answer is what it is: evidence, conflicts, overrides, and each rule with its why.

        Made on first use, for any decision, at the cost of a second look into the databases. After `Resolver.close()`
        the networks that matched are not known any more.
        """
        try:
            return self._explanation
        except AttributeError:
            words: Words = self.words
            self._explanation = words.decision_explained(self)
            return self._explanation

    def __repr__(self) -> str:
        """Show the effect and the region: nothing of the ping."""
        return f"<Decision {self.effect} {self.region} by {self.policy}>"


class Words:
    """What the ids of one generation mean."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        index: Index,
        plmns: PlmnTable,
        extended: Extended,
        policy: CompiledPolicy,
        generation: str,
    ) -> None:
        """Keep the tables of the generation."""
        self.vocabulary = vocabulary
        self.policy = policy
        self.index = index
        # The engine's own: it is there as long as a decision is, also when the index is closed.
        self._trie = index.trie
        self.plmns = plmns
        self.extended = extended
        self.generation = generation
        self.regions = tuple(Region(answer.country, answer.subdivision) for answer in vocabulary.answers)
        # Words that were made before: there are not many different ones, and making them takes longer than deciding.
        self._region_names: dict[tuple[int, ...], str | None] = {}
        self._plmn_words: dict[PlmnFound, Evidence | None] = {}
        self._ip_words: dict[tuple[int, int], Evidence] = {}

    def explained(self, decided: Decided) -> Explanation:
        """Explain an answer for which no policy was asked."""
        resolution = self.resolution(decided, whole=True)
        return explain(resolution, self._overrides(decided, resolution), self.vocabulary.catalogue)

    def decision_explained(self, decision: Decision) -> Explanation:
        """Explain a decision: its region, and why each rule did or did not match."""
        resolution, verdict = self.resolution(decision, whole=True), decision.verdict
        *texts, first_activated_us, at_us = decision.asked
        sku, sold_in, device_id = (text.decode("utf-8", "surrogatepass") if isinstance(text, bytes) else text for text in texts)
        activated = None if first_activated_us is None else from_microseconds(first_activated_us)
        facts = PingFacts(sku, sold_in, device_id, activated, decision.lang)
        # While the breaker had tripped the rules stood otherwise than they are written.
        policy = self.policy if decision.rows is self.policy.timeline.rows else self.policy.standing_back
        return explain(
            resolution,
            self._overrides(decision, resolution),
            self.vocabulary.catalogue,
            policy.outcome(verdict, resolution),
            policy.traces(resolution, facts, from_microseconds(at_us)),
        )

    def resolution(self, decided: Decided, *, whole: bool = False) -> Resolution:
        """Put an answer's resolution and evidence into words; `whole` adds what costs a second look into the databases."""
        region, country, subdivision, conflicts, confidence, basis, used, row = decided.resolution_ids
        codes = self.vocabulary.codes
        evidence = (
            self._plmn_evidence(Signal.SERVING_PLMN, *decided.serving_evidence, used),
            self._plmn_evidence(Signal.HOME_PLMN, *decided.home_evidence, used),
            self._ip_evidence(*decided.ip_evidence, used, whole=whole),
        )
        given = tuple([found for found in evidence if found is not None])
        return Resolution(
            region=codes[region],
            country=codes[country],
            subdivision=codes[subdivision],
            region_name=self._region_name(region, country, subdivision),
            confidence=confidence / 100,
            basis=_BASIS.get(basis),
            conflicts=tuple([conflict for bit, conflict in _CONFLICTS if conflicts & bit]) if conflicts else (),
            evidence=given,
            row=ROW_NAMES[row],
            warnings=(
                *[_INVALID[found.signal] for found in given if found.status is SignalStatus.INVALID],
                *(decided.notices or ()),
                *decided.standing_notices,
            ),
            data=self.generation,
        )

    def _region_name(self, *ids: int) -> str | None:
        if ids not in self._region_names:
            codes = [self.vocabulary.codes[number] for number in ids]
            self._region_names[ids] = self.policy.names.name_of(*codes) if codes[0] is not None else None
        return self._region_names[ids]

    def _plmn_evidence(self, *found: *PlmnFound) -> Evidence | None:
        if found not in self._plmn_words:
            if len(self._plmn_words) >= WORDS_KEPT:
                self._plmn_words.clear()
            self._plmn_words[found] = self._plmn_evidence_of(*found)
        return self._plmn_words[found]

    def _plmn_evidence_of(self, signal: Signal, status: int, value: int, match: str | None, used: int) -> Evidence | None:
        if status not in _STATUSES:
            return None
        if value == 0:
            return Evidence(signal, _STATUSES[status], None, (), 0.0, used=False)
        override = self._plmn_override(value)
        row = self.plmns.rows[value - 1] if override is None else None
        candidates = override.regions if override else row.candidates if row else ()
        confidence = override.confidence if override else row.confidence if row else None
        weight = SIGNAL_ALONE["home_plmn"] / 100
        if signal is Signal.SERVING_PLMN:
            weight = confidence or SIGNAL_ALONE["serving_ambiguous" if len(candidates) > 1 else "serving_plmn"] / 100
        return Evidence(
            signal,
            _STATUSES[status],
            match,
            candidates,
            weight if candidates else 0.0,
            used=bool(used & SIGNAL_BITS[signal]),
            detail=row.sort if row else None,
            override=override,
        )

    def _overrides(self, decided: Decided, resolution: Resolution) -> tuple[AppliedOverride, ...]:
        """Tell what spoke before the databases and the MCCs did: the operator's overrides, and rows of the PLMN table."""
        values = {Signal.SERVING_PLMN: decided.serving_evidence[1], Signal.HOME_PLMN: decided.home_evidence[1]}
        found = (
            _operators(evidence, evidence.override)
            if evidence.override is not None
            else self._tables(evidence.signal, values.get(evidence.signal, 0))
            for evidence in resolution.evidence
        )
        return tuple(override for override in found if override is not None)

    def _tables(self, signal: Signal, value: int) -> AppliedOverride | None:
        row = self.plmns.rows[value - 1] if value else None
        if row is None or row.kind != "override":
            return None
        source = self.plmns.sources[row.source]
        words = (row.operator, row.note, source.title, source.date)
        return AppliedOverride(signal, row.text, row.candidates, row.confidence, *words)

    def _plmn_override(self, value: int) -> Override | None:
        """Return the operator's override that a PLMN's value stands for, None for a row of the table."""
        number = value - len(self.plmns.rows)
        return self.extended.plmns[number - 1] if number > 0 else None

    def _ip_evidence(self, status: int, value: int, canonical: Canonical | None, used: int, *, whole: bool) -> Evidence | None:
        if status not in _STATUSES:
            return None
        if canonical is None or status != STATUS_IDS["ok"]:
            return Evidence(
                Signal.IP, _STATUSES[status], None, (), 0.0, used=False, detail=canonical.special if canonical else None
            )
        if value >= len(self.regions):
            return self._overridden(self.extended.networks[value - len(self.regions)], canonical, used, whole=whole)
        if whole:
            return self._indexed(value, canonical, used)
        key = (value, used & SIGNAL_BITS[Signal.IP])
        if key not in self._ip_words:
            if len(self._ip_words) >= WORDS_KEPT:
                self._ip_words.clear()
            self._ip_words[key] = self._indexed(value, None, used)
        return self._ip_words[key]

    def _indexed(self, value: int, canonical: Canonical | None, used: int) -> Evidence:
        """The evidence of an address that the index knows; with the address, what the databases say of it."""
        region = self.regions[value]
        return Evidence(
            Signal.IP,
            SignalStatus.OK,
            self._matched_network(canonical) if canonical else None,
            tuple(code for code in (region.subdivision_code or region.country_code,) if code),
            SIGNAL_ALONE["ip_subdivision" if region.subdivision_code else "ip"] / 100,
            used=bool(used & SIGNAL_BITS[Signal.IP]),
            sources=self._answers(value) if canonical else (),
        )

    def _overridden(self, override: Override, canonical: Canonical, used: int, *, whole: bool) -> Evidence:
        """The evidence of an address for which an operator's override spoke; the databases' answers stand behind it."""
        code = override.regions[0]
        subdivision = code if code in self.vocabulary.catalogue.subdivisions else None
        said = SourceAnswer(f"override:{override.id}", self.vocabulary.catalogue.country_of(code), subdivision)
        return Evidence(
            Signal.IP,
            SignalStatus.OK,
            _cut(override.prefix, canonical) if whole else None,
            override.regions,
            SIGNAL_ALONE["ip_override" if subdivision else "ip"] / 100,
            used=bool(used & SIGNAL_BITS[Signal.IP]),
            detail=canonical.special,
            sources=(said, *self._answers(self._trie.find(canonical))) if whole else (),
            override=override,
        )

    def _answers(self, value: int) -> tuple[SourceAnswer, ...]:
        """Return what each database says of the addresses with a value of the index."""
        answers = zip(self.index.sources, self.index.values[value], strict=True)
        return tuple(SourceAnswer(source.name, answer.country_code, answer.subdivision_code) for source, answer in answers)

    def _matched_network(self, canonical: Canonical) -> str | None:
        """Return the longest network that a database stores for the address, cut to /24 or /48."""
        networks = [network for _, network, _ in self.index.records(canonical)]
        if not networks:
            return None
        return _cut(max(networks, key=_prefix_len), canonical)


def _operators(evidence: Evidence, override: Override) -> AppliedOverride:
    """Tell an override of the operator's as the rows of the PLMN table are told."""
    # The evidence's own match: the prefix of a network may be a whole address.
    match = written_prefix(override.kind, evidence.match or "")
    source = f"override {override.id} of {override.owner}"
    return AppliedOverride(evidence.signal, match, override.regions, override.confidence, None, override.reason, source, None)


def _cut(network: str, canonical: Canonical) -> str:
    """Return the network of an address, no longer than an answer may show."""
    return network if _prefix_len(network) <= (24 if canonical.family == 4 else 48) else canonical.network_text


def _prefix_len(network: str) -> int:
    return int(network.rpartition("/")[2])
