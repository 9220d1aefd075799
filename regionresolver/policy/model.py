"""The policy file as types: what TOML (or JSON) may say, checked one value at a time.

In goes the mapping that `tomllib` or `json` made of a file; out comes an immutable `Policy`. Nothing here knows which
regions exist: region words are checked against the catalogue by `load`, and what is legal but unwise is `lint`'s part.

Rules of the format that a reader cannot guess from the field names:

- An instant has a zone and is kept in UTC. Only `review_by` may be a bare date.
- A length of time is ISO 8601 in weeks, days, hours, minutes and seconds (`P1D`, `PT12H`), or one number with a unit
  (`5m`). Years and months are refused: they have no fixed length.
- A window is half-open: `from` belongs to it, `until` does not.
- Confidences and shares of devices are hundredths (`0.85`, `12.25 %`), so that comparing them is comparing integers.
- Where a list is expected one word may stand alone; an empty list is refused, since it would never match.

The text below a field is what editors show for its key (`schema`).
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from regionresolver.model import Conflict, Effect, SignalStatus

_DURATION: Final = re.compile(r"P(?=.)(?:(\d{1,4})W)?(?:(\d{1,6})D)?(?:T(?=.)(?:(\d{1,6})H)?(?:(\d{1,8})M)?(?:(\d{1,9})S)?)?")
_SHORT_DURATION: Final = re.compile(r"(\d{1,6})([smhd])")
_DATE_LENGTH: Final = len("2021-12-31")
_LANGUAGE: Final = r"^[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8})*$"
_SHORT_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _instant(value: object) -> dt.datetime:
    """Accept an ISO 8601 text or a datetime, with a zone; answer it in UTC."""
    try:
        if isinstance(value, str):
            value = dt.date.fromisoformat(value) if len(value) == _DATE_LENGTH else dt.datetime.fromisoformat(value)
        if isinstance(value, dt.datetime) and value.tzinfo is not None:
            return value.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        value = None
    reason = "is no instant; write one like 2021-08-31T00:00:00Z"
    if isinstance(value, dt.datetime):
        reason = f"has no time zone; write {value.isoformat()}Z if that is UTC"
    elif isinstance(value, dt.date):
        reason = f"is a bare date; an instant needs a time and a zone, such as {value.isoformat()}T00:00:00Z"
    raise ValueError(reason)


def _day(value: object) -> object:
    """Accept a bare date, or an instant, whose UTC day counts."""
    if isinstance(value, str) and len(value) == _DATE_LENGTH:
        try:
            value = dt.date.fromisoformat(value)
        except ValueError as error:
            raise ValueError("is no date; write one like 2021-12-31") from error
    if isinstance(value, dt.datetime):
        return _instant(value).date()
    if isinstance(value, dt.date):
        return value
    try:
        return _instant(value).date()
    except ValueError as error:
        raise ValueError("is no date; write one like 2021-12-31") from error


def _length_of_time(value: object) -> object:
    """Accept `P1D`, `PT12H` or `5m`, longer than nothing."""
    text = value if isinstance(value, str) else ""
    if isinstance(value, dt.timedelta):
        length = value
    elif iso := _DURATION.fullmatch(text):
        weeks, days, hours, minutes, seconds = (int(part or 0) for part in iso.groups())
        length = dt.timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    elif short := _SHORT_DURATION.fullmatch(text):
        length = dt.timedelta(**{_SHORT_UNITS[short[2]]: int(short[1])})
    else:
        raise ValueError("is no length of time; write 'P1D', 'PT12H' or '5m' (years and months have no fixed length)")
    if length <= dt.timedelta(0):
        raise ValueError("must be longer than nothing")
    return length


def _as_list(value: object) -> object:
    """Let one word stand for a list of one."""
    return [value] if isinstance(value, str) else value


def _hundredths(value: float) -> float:
    """Refuse a number that is finer than a hundredth."""
    if abs(value * 100 - round(value * 100)) > 1e-9:
        raise ValueError("must be a multiple of 0.01")
    return value


def _language(value: object) -> object:
    """Refuse text that is no BCP 47 language tag."""
    if not isinstance(value, str) or not re.fullmatch(_LANGUAGE, value):
        raise ValueError("is no language tag such as 'en' or 'pt-BR'")
    return value


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Answer ", did you mean '…'?" with the closest choice, or nothing where none is close."""
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f", did you mean '{close[0]}'?" if close else ""


def _list_or_one(item: dict[str, object]) -> WithJsonSchema:
    """Say in the JSON Schema that one word may stand for a list of one."""
    return WithJsonSchema({"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]})


_TEXT: Final[dict[str, object]] = {"type": "string", "minLength": 1, "maxLength": 200}

Instant = Annotated[dt.datetime, BeforeValidator(_instant)]
Day = Annotated[
    dt.date,
    BeforeValidator(_day),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}),
]
Duration = Annotated[
    dt.timedelta,
    BeforeValidator(_length_of_time),
    WithJsonSchema(
        {"type": "string", "pattern": f"^(?:{_DURATION.pattern}|{_SHORT_DURATION.pattern})$", "examples": ["P1D", "5m"]}
    ),
]
Word = Annotated[str, Field(min_length=1, max_length=200)]
Words = Annotated[tuple[Word, ...], BeforeValidator(_as_list), Field(min_length=1), _list_or_one(_TEXT)]
# Which words there are is the catalogue's part, which `schema` adds.
REGION_WORD: Final[dict[str, object]] = {"type": "string", "format": "region"}
RegionWords = Annotated[tuple[Word, ...], BeforeValidator(_as_list), Field(min_length=1), _list_or_one(REGION_WORD)]
Conflicts = Annotated[
    tuple[Conflict, ...], BeforeValidator(_as_list), Field(min_length=1), _list_or_one({"enum": list(map(str, Conflict))})
]
Statuses = Annotated[
    tuple[SignalStatus, ...], BeforeValidator(_as_list), Field(min_length=1), _list_or_one({"enum": list(map(str, SignalStatus))})
]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Share = Annotated[Number, Field(ge=0, le=1)]
Confidence = Annotated[Number, Field(ge=0, le=1), AfterValidator(_hundredths)]
Percent = Annotated[Number, Field(ge=0, le=100), AfterValidator(_hundredths)]
Version = Annotated[StrictInt, Field(ge=1)]
Language = Annotated[str, BeforeValidator(_language), Field(pattern=_LANGUAGE)]
# A message by language.
Texts = Annotated[Mapping[Language, Annotated[str, Field(min_length=1, max_length=4000)]], Field(min_length=1)]
# Names, rule ids and reasons travel in response headers: visible ASCII, short, without separators.
Slug = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Reason = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
# Lower case, so that a name can never be taken for an ISO code.
RegionName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]


class Part(BaseModel):
    """Base of every table of a policy file: immutable, and a key that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _knows_its_keys(cls, value: object) -> object:
        """Refuse a key that is not known before pydantic does, to say which one was meant."""
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in value if isinstance(value, Mapping) else ():
            if key not in known:
                text = f"unknown key '{key}'" + did_you_mean(str(key), known)
                raise PydanticCustomError("unknown_key", "{text}", {"text": text, "path": (key,)})
        return value


class Mode(StrEnum):
    """Whether a rule decides (`enforce`), only says what it would have decided (`shadow`), or rests (`off`)."""

    ENFORCE = "enforce"
    SHADOW = "shadow"
    OFF = "off"


class Header(Part):
    """What the policy is called; `version` only ever grows."""

    name: Slug
    """What decisions call the policy: `name@version`."""
    version: Version
    """A whole number that only ever grows."""
    default_language: Language = "en"
    """The language of messages for phones that ask for none that there is."""


class Defaults(Part):
    """What holds where no rule matches, and how sure a deny must be."""

    effect: Effect = Effect.ALLOW
    """What is decided where no rule matches."""
    on_unknown: Effect = Effect.ALLOW
    """What is decided where no rule matches and no signal tells the region."""
    min_confidence_to_deny: Confidence = 0.8
    """A deny that is less sure than this becomes `review` with the reason LOW_CONFIDENCE."""


class Exemption(Part):
    """A list of device ids, good until an instant (`None`: without end)."""

    ids: Words
    """The devices, as pings name them in `device_id`."""
    until: Instant | None = None
    """From this instant on the condition never holds."""


def _as_exemption(value: object) -> object:
    """Let a bare list stand for an exemption without end."""
    return {"ids": value} if isinstance(value, (list, tuple, str)) else value


Exemptions = Annotated[
    Exemption,
    BeforeValidator(_as_exemption),
    WithJsonSchema(
        {
            "anyOf": [
                _TEXT,
                {"type": "array", "items": _TEXT, "minItems": 1},
                {
                    "type": "object",
                    "properties": {
                        "ids": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]},
                        "until": {"type": "string", "format": "date-time"},
                    },
                    "required": ["ids"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


class SignalStatuses(Part):
    """Which status each signal must have; a signal that is not named may have any."""

    ip: Statuses | None = None
    """What became of the IP address."""
    serving_plmn: Statuses | None = None
    """What became of the network that the phone is registered on."""
    home_plmn: Statuses | None = None
    """What became of the SIM."""

    @model_validator(mode="after")
    def _names_a_signal(self) -> Self:
        """Refuse an empty table: it would match everything."""
        if self.ip is None and self.serving_plmn is None and self.home_plmn is None:
            raise ValueError('names no signal; write { ip = "reserved" }, or serving_plmn or home_plmn')
        return self


class When(Part):
    """The conditions of a rule: all that are given must hold, and a field that is missing satisfies none of them."""

    region: RegionWords | None = None
    """Where the phone is: ISO 3166 codes, or names of regions."""
    region_not: RegionWords | None = None
    """The phone is in a known region outside these."""
    home_region: RegionWords | None = None
    """The region of the SIM."""
    home_region_not: RegionWords | None = None
    """The SIM names a region outside these."""
    sold_in: RegionWords | None = None
    """The region that the phone was sold in."""
    sold_in_not: RegionWords | None = None
    """The phone is known to have been sold outside these."""
    sku: Words | None = None
    """Shell globs, one of which the whole SKU matches; upper and lower case differ."""
    sku_not: Words | None = None
    """Shell globs, none of which the SKU matches."""
    first_activated_before: Instant | None = None
    """The phone was first activated before this instant."""
    first_activated_after: Instant | None = None
    """The phone was first activated at this instant or later."""
    conflict: Conflicts | None = None
    """The evidence has one of these conflicts."""
    confidence_at_least: Confidence | None = None
    """The resolution is as sure as this, or surer."""
    confidence_below: Confidence | None = None
    """The resolution is less sure than this."""
    device_id: Exemptions | None = None
    """The device is on this list, for good or until an instant."""
    signal_status: SignalStatuses | None = None
    """What became of the signals."""


class Window(Part):
    """When a rule holds: from `from` (inclusive) until `until` (exclusive), each open where not given."""

    from_: Annotated[Instant | None, Field(alias="from")] = None
    """The first instant that belongs to the window."""
    until: Instant | None = None
    """The first instant that does not belong to the window any more."""

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        """Refuse a window that says nothing or holds nothing."""
        if self.from_ is None and self.until is None:
            raise ValueError("needs 'from', 'until' or both")
        if self.from_ is not None and self.until is not None and self.from_ >= self.until:
            raise ValueError("'from' must lie before 'until'")
        return self


class Stage(Part):
    """One step of a rollout: from this instant on, this share of the devices."""

    at: Instant
    """From this instant on."""
    percent: Percent
    """The share of the devices, in percent, in steps of 0.01."""


class Rollout(Part):
    """How a rule reaches a growing share of devices: bucket = SHA-256 of salt and key value."""

    key: Literal["device_id"]
    """The field of a ping whose bucket counts."""
    salt: Word
    """Makes the buckets; another salt takes other devices."""
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    """The growing shares, in the order of time."""

    @model_validator(mode="after")
    def _stages_in_order(self) -> Self:
        """Refuse stages that are not in the order of time."""
        for index, (before, after) in enumerate(zip(self.stages, self.stages[1:], strict=False), start=1):
            if after.at <= before.at:
                raise PydanticCustomError("order", "must lie after the stage before it", {"path": ("stages", index, "at")})
        return self

    def percent_at(self, at: dt.datetime) -> float:
        """Say which share of the devices is in at this instant, in percent; 0 before the first stage."""
        return next((stage.percent for stage in reversed(self.stages) if stage.at <= at), 0.0)


class Rule(Part):
    """One rule. `when = {}` is written out for a rule that is meant to match every ping."""

    id: Slug
    """The name of the rule in decisions; unique in the file."""
    mode: Mode = Mode.ENFORCE
    """`enforce` decides, `shadow` only says what it would decide, `off` rests."""
    when: When
    """The conditions, all of which must hold; `{}` matches every ping."""
    effect: Effect
    """What is decided."""
    reason: Reason | None = None
    """A stable word for programs, and the key of the messages."""
    retry_after: Duration | None = None
    """How long a phone waits before it asks again."""
    effective: Window | None = None
    """When the rule holds; always without it."""
    rollout: Rollout | None = None
    """To which share of the devices the rule has come; to all without it."""
    review_by: Day | None = None
    """The day by which somebody asks whether the rule must go on."""


class Restore(Part):
    """The reversal as data: stored denials of this rule, in these versions, are to be asked again."""

    rule: Slug
    """The id of the rule whose denials are taken back."""
    versions: Annotated[tuple[Version, ...], Field(min_length=1)]
    """The versions of this policy that denied."""
    since: Instant
    """When access was restored: earlier denials are asked again from then on."""
    reason: Reason
    """The reason that is told with each id."""


class RuntimeBreaker(Part):
    """When the running service itself must step back: too many denials within a window."""

    window: Duration
    """How far back decisions are counted."""
    deny_share: Share
    """The share of denials above which the breaker trips."""
    min_sample: Annotated[StrictInt, Field(ge=1)]
    """So many decisions must be in the window."""
    action: Literal["shadow", "alert"]
    """What tripping does: `shadow` lets denials only count, `alert` only warns."""


class Guardrails(Part):
    """What a candidate policy must not exceed before it may be activated."""

    max_newly_denied_share: Share = 0.02
    """Of replayed pings, at most this share may be denied that the active policy does not deny."""
    min_replay_sample: Annotated[StrictInt, Field(ge=0)] = 100_000
    """So many pings must be replayed."""
    runtime_breaker: RuntimeBreaker | None = None
    """When the running service itself steps back."""


def _plmn(value: object) -> object:
    """Write `{ mcc, mnc }` as `mcc-mnc`, and refuse a number: 01 and 001 differ, and a number has lost its zeros."""
    if isinstance(value, Mapping) and value.keys() == {"mcc", "mnc"} and all(isinstance(part, str) for part in value.values()):
        return f"{value['mcc']}-{value['mnc']}"
    if isinstance(value, str):
        return value
    raise ValueError("must be a string of digits such as '36801', or { mcc = '368', mnc = '01' }")


Plmn = Annotated[
    str,
    BeforeValidator(_plmn),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {"mcc": {"type": "string"}, "mnc": {"type": "string"}},
                    "required": ["mcc", "mnc"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


class TestPing(Part):
    """The ping of an embedded test: the fields of a ping, of which a misspelt one must not pass unseen."""

    __test__ = False  # not a test class, whatever pytest makes of its name

    id: str | None = None
    """The ping's own name."""
    device_id: str | None = None
    """The (hashed) device."""
    ip: str | None = None
    """The IP address."""
    serving: Plmn | None = None
    """The network that the phone is registered on."""
    sim: Plmn | None = None
    """The SIM's network, or its IMSI."""
    sku: str | None = None
    """The model."""
    sold_in: str | None = None
    """The region that the phone was sold in."""
    first_activated_at: Instant | None = None
    """When the phone was first activated."""
    lang: str | None = None
    """The language of the message."""


class Expectation(Part):
    """What an embedded test expects; what is not named may be anything. `shadow = "none"`: no shadow rule differs."""

    decision: Effect | None = None
    """allow, deny or review."""
    region: str | None = None
    """The most specific region code."""
    country: str | None = None
    """The country code."""
    subdivision: str | None = None
    """The subdivision code."""
    rule: str | None = None
    """The id of the rule that decides."""
    reason: str | None = None
    """The reason."""
    retry_after: StrictInt | None = None
    """Seconds."""
    shadow: Literal["allow", "deny", "review", "none"] | None = None
    """What shadow rules would decide; "none": no difference."""

    @model_validator(mode="after")
    def _expects_something(self) -> Self:
        """Refuse a test that can't fail."""
        if not self.model_fields_set:
            raise ValueError('expects nothing; write { decision = "deny" }, or region, rule, reason or shadow')
        return self


class PolicyTest(Part):
    """One embedded test: a ping, the instant at which it arrives, and what must come out."""

    name: Word
    """What the test proves."""
    at: Instant
    """The instant at which the ping arrives."""
    ping: TestPing
    """The ping."""
    expect: Expectation
    """What must come out; what is not named may be anything."""


def _ids_differ(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Refuse two rules of one id: a decision names its rule."""
    first: dict[str, int] = {}
    for index, rule in enumerate(rules):
        if first.setdefault(rule.id, index) != index:
            text = f"'{rule.id}' is the id of rules[{first[rule.id]}] already"
            raise PydanticCustomError("duplicate", "{text}", {"text": text, "path": (index, "id")})
    return rules


class Policy(Part):
    """A whole policy file; `label` is what decisions carry."""

    header: Annotated[Header, Field(alias="policy")]
    """What the policy is called."""
    defaults: Defaults = Defaults()
    """What holds where no rule matches."""
    regions: Annotated[Mapping[RegionName, RegionWords], Field(default_factory=dict)]
    """Named regions, added to the catalogue or replacing those of the same name."""
    rules: Annotated[tuple[Rule, ...], AfterValidator(_ids_differ)] = ()
    """In order; the first enforced rule that matches decides."""
    restores: tuple[Restore, ...] = ()
    """Stored denials to ask again."""
    messages: Annotated[Mapping[Reason, Texts], Field(default_factory=dict)]
    """Texts for people, by reason and language."""
    guardrails: Guardrails = Guardrails()
    """What a candidate and the running service must keep to."""
    tests: tuple[PolicyTest, ...] = ()
    """Run by `policy test`, and before the policy is used."""

    @property
    def label(self) -> str:
        """Answer `name@version`."""
        return f"{self.header.name}@{self.header.version}"
