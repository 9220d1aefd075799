"""The documents on the wire as types: what a ping may hold, and what is answered.

They are the one place where the members stand. The readers of pings take their fields from `PingDocument`; the functions in
`documents` and the service's handlers return these types, so that the type checker holds them to it; and the service's
OpenAPI document is made from them, with the text below each member as its description.

A reader must ignore members that it does not know: inside `/v1`, changes only add.
"""

# No deferred annotations, and no imports for the type checker alone: pydantic reads these types at run time.
from typing import Annotated, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from _fastpath.engine import MAX_FIELD_CHARACTERS
from regionresolver.model import Conflict, Effect, Signal, SignalStatus

Explain = Literal["none", "reasons", "full"]
Include = Literal["record"]

_described = with_config(ConfigDict(use_attribute_docstrings=True))

_Text = Annotated[str, Field(max_length=MAX_FIELD_CHARACTERS)]
_Digits = Annotated[str, Field(pattern=r"^[0-9]+$", min_length=2, max_length=3)]
_Confidence = Annotated[float, Field(ge=0, le=1)]

HeaderText = Annotated[str, Field(pattern=r"^[!-~]+$", max_length=MAX_FIELD_CHARACTERS)]


@_described
class PlmnDocument(TypedDict):
    """A PLMN in its two parts. Texts, never numbers: 01 and 001 differ."""

    mcc: Annotated[_Digits, Field(min_length=3)]
    """Mobile country code, three digits."""
    mnc: _Digits
    """Mobile network code, two or three digits."""


# How the texts of signals look. What the readers take is in `_fastpath`; a test compares the two.
Address = Annotated[str, Field(json_schema_extra={"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]})]
ServingPlmn = Annotated[str, Field(pattern=r"^[0-9]{3}[- ]?[0-9]{2,3}$")]
HomePlmn = Annotated[str, Field(pattern=r"^([0-9]{3}[- ]?[0-9]{2,3}|[0-9]{7,15})$")]


@_described
class SignalFields(TypedDict, total=False):
    """The signals of a ping; at least one must be there, and a null counts as not given."""

    ip: Address
    """The device's address, IPv4 or IPv6 as text, without zone, port or prefix length."""
    serving: ServingPlmn | PlmnDocument
    """The PLMN that the phone is registered on: five or six digits (`"36801"`, `"368-01"`), or its two parts."""
    sim: HomePlmn | PlmnDocument
    """The SIM's PLMN, likewise; or an IMSI, of which nothing but the first six digits is kept."""


@_described
class FactFields(TypedDict, total=False):
    """The fields of a ping that are no signal."""

    sku: _Text | None
    """The model as the maker marks it; policies match it with globs."""
    sold_in: _Text | None
    """The region that the phone was sold in: an ISO 3166 code or the name of a region."""
    device_id: _Text | None
    """The device's id, hashed by the client: the key of rollouts and of lists of exemptions."""
    first_activated_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None
    """When the phone was activated first, RFC 3339 with its zone."""
    lang: _Text | None
    """The language of the message, as BCP 47 writes it."""
    id: _Text | None
    """Echoed in the answer."""


@_described
class PingDocument(SignalFields, FactFields):
    """One ping. Every field is optional, but one signal must be there; fields that are not known are ignored.

    A malformed *value* does not fail the ping: that field is not used, and a warning says so.
    """


@_described
class NoticeDocument(TypedDict):
    """Something in a ping that was not used, or something about the service that every answer should carry."""

    code: str
    """Stable, for programs."""
    pointer: str
    """JSON pointer (RFC 6901) to the field, empty where none is to blame."""
    detail: str
    """A sentence, for people."""


@_described
class SourceDocument(TypedDict):
    """What one IP database says of an address."""

    source: str
    """The database's name."""
    country: str | None
    """ISO 3166-1 alpha-2."""
    subdivision: str | None
    """ISO 3166-2."""


@_described
class OverrideWordsDocument(TypedDict):
    """An override of the operator's catalogue file: on whose word, and until when."""

    id: str
    owner: str
    reason: str
    expires: str
    """RFC 3339, or `never`."""


@_described
class EvidenceDocument(TypedDict):
    """One signal of a ping, and what it says."""

    signal: Signal
    status: SignalStatus
    """What became of the signal before it was weighed."""
    match: str | None
    """The prefix that decided: a network (no longer than /24 or /48) or digits of a PLMN."""
    candidates: list[str]
    """Region codes, the default first."""
    weight: _Confidence
    """The confidence that this signal alone would give."""
    used: bool
    """Whether the answer rests on it."""
    detail: str | None
    """The special-purpose class of a reserved address, or the sort of a non-geographic PLMN."""
    sources: list[SourceDocument]
    """Each database's own answer, for an address."""
    override: NotRequired[OverrideWordsDocument]
    """The operator's override that spoke for the signal."""


@_described
class ExplainedConflictDocument(TypedDict):
    """A conflict, with a sentence that says what of this ping it is about."""

    conflict: Conflict
    detail: str


@_described
class AppliedOverrideDocument(TypedDict):
    """What spoke for a signal before its MCC or the databases did."""

    signal: Signal
    match: str
    regions: list[str]
    confidence: _Confidence | None
    operator: str | None
    note: str | None
    source: str
    date: str | None
    """The date of the edition that says so, ISO 8601."""


@_described
class RuleDocument(TypedDict):
    """Why one rule of the policy did or did not match."""

    rule: str
    mode: str
    matched: bool
    why: str


@_described
class ExplanationMembers(TypedDict):
    """The members that `explain` adds to an answer."""

    row: NotRequired[str]
    """The row of the table of signals that decided."""
    situation: NotRequired[str]
    """What that row means here, as a sentence."""
    evidence: NotRequired[list[EvidenceDocument]]
    """Each signal that was given, and what it says."""
    conflict_details: NotRequired[list[ExplainedConflictDocument]]
    """Each conflict in a sentence."""
    overrides: NotRequired[list[AppliedOverrideDocument]]
    """What spoke before an MCC or the databases did."""
    outcome: NotRequired[str]
    """What the policy made of it; only where a policy was asked."""
    rules: NotRequired[list[RuleDocument]]
    """Each rule with its why, with `explain=full`."""


@_described
class RegionMembers(TypedDict):
    """Where the phone is, and how sure that is."""

    region: str | None
    """The most specific ISO 3166 code that the evidence supports, or the name of a region whose members it cannot tell apart."""
    country: str | None
    """ISO 3166-1 alpha-2."""
    subdivision: str | None
    """ISO 3166-2."""
    region_name: str | None
    """The first named region of the policy or the catalogue that contains it."""
    confidence: _Confidence
    """How sure the region is."""
    basis: Signal | None
    """The signal that decided."""
    conflicts: list[Conflict]
    """Named disagreements and limits of the evidence."""
    warnings: list[NoticeDocument]
    """What of the ping was not used, and what every answer should carry now."""
    data: str
    """The generation of data and policy that answered: a key into `/v1/metadata`."""


@_described
class ResolvedDocument(RegionMembers, ExplanationMembers):
    """A resolution, as the library's documents and the command line give it."""


@_described
class RecordDocument(TypedDict):
    """One database's own record of an address."""

    source: str
    network: str
    record: object


@_described
class RecordMembers(TypedDict):
    """What `include=record` adds to an answer."""

    records: NotRequired[list[RecordDocument]]
    """Each database's own record of the address."""


@_described
class ResolutionDocument(RegionMembers, ExplanationMembers, RecordMembers):
    """The region of a ping, without the policy."""

    id: str | None
    """The ping's own."""


@_described
class ShadowDocument(TypedDict):
    """What the policy would have said if its shadow rules counted."""

    decision: Effect
    rule: str | None


@_described
class SaidMembers(TypedDict):
    """What a decision carries only where there is something to say."""

    message: NotRequired[str]
    """For the phone's user, where the policy has a text for the reason."""
    shadow: NotRequired[ShadowDocument]
    """Only where shadow rules would change the answer."""


@_described
class DecisionDocument(RegionMembers, SaidMembers, ExplanationMembers):
    """The region of a phone, and whether it may be activated there."""

    id: str | None
    """The ping's own."""
    decision: Effect
    """What the policy says of the phone."""
    rule: str | None
    """The rule that decided; null for a default."""
    reason: str | None
    """The policy's word for why, stable, for programs."""
    retry_after: Annotated[int, Field(ge=0)] | None
    """Seconds after which asking again makes sense."""
    policy: str
    """`name@version`."""


@_described
class CheckDocument(TypedDict):
    """One readiness check; it has more members, which depend on what is checked."""

    ok: bool


@_described
class WorkerDocument(TypedDict):
    """The worker that answers."""

    index: int
    """Its number, which its successors keep."""
    pid: int


@_described
class ProblemDocument(TypedDict):
    """An error, as RFC 9457 writes it. Nothing of the input is echoed."""

    type: str
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    code: str
    """Stable, for programs."""
    pointer: NotRequired[str]
    """JSON pointer to the field that is to blame."""
    request_id: str
    """Also in the header X-Request-Id and in the log."""
    checks: NotRequired[dict[str, CheckDocument]]
    """Of `/readyz`: every check, of which one has failed."""
    worker: NotRequired[WorkerDocument]


@_described
class ProblemItemDocument(ProblemDocument):
    """A ping of a batch that was refused, in its place."""

    id: str | None


@_described
class SummaryDocument(TypedDict):
    """What became of the pings of a batch."""

    total: int
    allow: int
    deny: int
    review: int
    failed: int


@_described
class BatchDocument(TypedDict):
    """The answer to an array of pings: same length, same order, one generation."""

    results: list[DecisionDocument | ProblemItemDocument]
    summary: SummaryDocument
    policy: str
    data: str


@_described
class CompleteDocument(TypedDict):
    """The last line of a stream's answer; without it the stream was cut."""

    summary: SummaryDocument
    complete: Literal[True]


@_described
class LivenessDocument(TypedDict):
    """The loop of the worker that answers turns."""

    status: Literal["ok"]
    worker: WorkerDocument


@_described
class ReadinessDocument(TypedDict):
    """This instance should get traffic."""

    status: Literal["ready"]
    worker: WorkerDocument
    checks: dict[str, CheckDocument]
    lane: dict[str, object]
    """Whether there is a compiled lane, and what it answered and left."""
    warnings: list[str]
    """What an operator should know of."""


@_described
class VersionDocument(TypedDict):
    """What this is."""

    name: Literal["regionresolver"]
    version: str
