"""The words of this service as types, without behaviour: signals, evidence, resolution, decision.

Every object is immutable. A code that is unknown is `None`, never an empty string. Confidences lie in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import datetime as dt


class Signal(StrEnum):
    """One input of a ping; also the `basis` of a resolution."""

    IP = "ip"
    SERVING_PLMN = "serving_plmn"
    HOME_PLMN = "home_plmn"


class SignalStatus(StrEnum):
    """What became of a signal before it was weighed."""

    OK = "ok"
    """It names at least one region."""
    INVALID = "invalid"
    """Its text is no address or no PLMN."""
    RESERVED = "reserved"
    """An address that is not globally routable (IANA special-purpose registries)."""
    NOT_FOUND = "not_found"
    """An address that no loaded database knows, or knows without a country."""
    UNASSIGNED = "unassigned"
    """A PLMN whose MCC is assigned to nobody."""
    NON_GEOGRAPHIC = "non_geographic"
    """A PLMN of no country: test, private, international shared, trial."""


class Conflict(StrEnum):
    """A named disagreement or limit of the evidence (DOMAIN table, column "conflict")."""

    HOME_ROUTED = "home_routed"
    """The IP is in the SIM's country: the usual roaming mode; explained, not suspicious."""
    IP_DISAGREES = "ip_disagrees"
    """The IP is in another country than the serving network, and not in the SIM's."""
    AMBIGUOUS_MCC = "ambiguous_mcc"
    """The PLMN is shared by several regions."""
    COUNTRY_ALIAS = "country_alias"
    """A signal files the subdivision under another country than the catalogue does."""
    SUBDIVISION_UNKNOWN = "subdivision_unknown"
    """The country has subdivisions that matter, and no evidence could tell them apart."""
    NON_GEOGRAPHIC_PLMN = "non_geographic_plmn"
    """The serving network belongs to no country."""
    SIM_FOREIGN = "sim_foreign"
    """The SIM is of another country than the phone is in."""
    SIM_ONLY = "sim_only"
    """Nothing but the SIM was usable."""
    SOURCES_DISAGREE = "sources_disagree"
    """The loaded IP databases name different regions."""
    NO_EVIDENCE = "no_evidence"
    """No signal was usable."""


class Effect(StrEnum):
    """What a policy says of a phone."""

    ALLOW = "allow"
    DENY = "deny"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Region:
    """What an IP database says of an address: ISO 3166-1 alpha-2 and ISO 3166-2 codes, `None` where unknown."""

    country_code: str | None
    subdivision_code: str | None


@dataclass(frozen=True, slots=True)
class SourceAnswer:
    """What one loaded IP database says of an address; both codes `None` where it says nothing."""

    source: str
    country_code: str | None
    subdivision_code: str | None


OverrideKind = Literal["network", "plmn"]


@dataclass(frozen=True, slots=True)
class Override:
    """What an operator says of a network or of a PLMN, whatever databases and tables say; on whose word, and until when.

    `prefix` is a network as text, or the digits of a PLMN or an MCC; it may be a phone's whole address, so no `repr` shows it.
    `regions` are region codes, the default first;
    several for a PLMN that they share. `expires` is the first instant at which it holds no more, `None` for never.
    `confidence` is a PLMN's where it has one region, else `None`; `exact` as in the PLMN table.
    """

    id: str
    kind: OverrideKind
    prefix: str = field(repr=False)
    regions: tuple[str, ...]
    owner: str
    reason: str
    expires: dt.datetime | None
    confidence: float | None = None
    exact: bool = False


@dataclass(frozen=True, slots=True)
class OverrideHits:
    """An override, and how many signals it has spoken for in this process."""

    override: Override
    hits: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """One signal of a ping and what it says.

    `match` is the prefix that decided: an IP network as text (cut to /24 or /48) or PLMN digits; `None` without one.
    `candidates` are region codes, the default first. `weight` is the confidence that this signal alone
    would give, before any limit of the row that decided.
    `detail` is the special-purpose class of a reserved address or the sort of a non-geographic PLMN, else `None`.
    `override` is the operator's override that spoke for the signal; `sources` still tell what the databases say.
    """

    signal: Signal
    status: SignalStatus
    match: str | None
    candidates: tuple[str, ...]
    weight: float
    used: bool
    detail: str | None = None
    sources: tuple[SourceAnswer, ...] = ()
    override: Override | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """Something in a ping that was not used: a stable code, a JSON pointer to the field, and a sentence."""

    code: str
    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """In which region a phone is, how sure that is, and which evidence says so.

    `region` is the most specific code that the evidence supports: ISO 3166-2, else ISO 3166-1, or the name of a
    catalogue region whose members the evidence cannot tell apart; `None` without evidence. `region_name` is the
    first named region that contains it. `row` is the row of the table in docs/fusion.md that decided.
    """

    region: str | None
    country: str | None
    subdivision: str | None
    region_name: str | None
    confidence: float
    basis: Signal | None
    conflicts: tuple[Conflict, ...]
    evidence: tuple[Evidence, ...]
    row: str
    warnings: tuple[Notice, ...]
    data: str


@dataclass(frozen=True, slots=True)
class PingFacts:
    """The fields of a ping that are no signal: what a policy may ask about the phone. `None` where not given."""

    sku: str | None = None
    sold_in: str | None = None
    device_id: str | None = None
    first_activated_at: dt.datetime | None = None
    lang: str | None = None


@dataclass(frozen=True, slots=True)
class RuleTrace:
    """Why one rule did or did not match."""

    rule: str
    mode: str
    matched: bool
    why: str


@dataclass(frozen=True, slots=True)
class ExplainedConflict:
    """A conflict of a resolution, with a sentence that says what of this ping it is about."""

    conflict: Conflict
    detail: str


@dataclass(frozen=True, slots=True)
class AppliedOverride:
    """What spoke for a signal before its MCC or the databases did: what it matched, what it says, and on whose word.

    `match` is a PLMN as people write it, or a network cut to /24 or /48. Of a row of the PLMN table `source` is the title
    and `date` the date of the edition that says so. Of an operator's override `source` is its id and owner, `note` its
    reason, and `date` is `None`.
    """

    signal: Signal
    match: str
    regions: tuple[str, ...]
    confidence: float | None
    operator: str | None
    note: str | None
    source: str
    date: dt.date | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an answer is what it is: everything that HTTP, the library and the command line show of it.

    `resolution` is the answer's, its evidence with the matched network and each database's answer. `situation` says
    what its row of docs/fusion.md means here, `outcome` what the policy made of it (`None`: no policy was asked), and
    `rules` why each of its rules did or did not match.
    """

    resolution: Resolution
    situation: str
    conflicts: tuple[ExplainedConflict, ...]
    overrides: tuple[AppliedOverride, ...]
    outcome: str | None
    rules: tuple[RuleTrace, ...]

    @property
    def row(self) -> str:
        """The row of the table that decided."""
        return self.resolution.row

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Each signal that was given, and what it says."""
        return self.resolution.evidence


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy says: the effect, the rule that said it (`None`: a default), and the answer's texts.

    `retry_after` is in seconds. `shadow_effect` and `shadow_rule` are set only when shadow rules would change the answer.
    """

    effect: Effect
    rule: str | None
    reason: str | None
    retry_after: int | None
    message: str | None
    shadow_effect: Effect | None = None
    shadow_rule: str | None = None


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """The raw record that one IP database holds for an address, and the network it is stored under."""

    source: str
    network: str
    record: object
