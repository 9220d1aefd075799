"""A line of the decision log: what its words are, and how a decision is made again from one.

A line holds the answer's members under their own names, and under `evidence` what each signal was worth: its status, and
the facts that the fusion weighed (docs/decision-log.md). The address is not there and is not needed: fusion and policy
never see one. So `Recorded` decides again on exactly what was decided on, on any generation of data; with another policy
it tells what that policy would have said.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from _fastpath.decision_log import KIND_NAMES, LogWords
from _fastpath.fusion import CONFLICT_BITS, ROW_NAMES, SIGNAL_BITS, STATUS_IDS, Fusion
from regionresolver.errors import RecordError
from regionresolver.policy.rules import as_utf8
from regionresolver.policy.table import microseconds
from regionresolver.resolver.pings import parse_instant

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from _fastpath.policy_table import PolicyTable
    from regionresolver.model import Effect
    from regionresolver.resolver.decision import Words
    from regionresolver.resolver.engine import Resolver

KIND: Final = "log"
"""The member that tells the lines which are no decisions: the head of a segment and its end."""

DIGEST_DIGITS: Final = 16
_BASIS = {bit: signal for signal, bit in SIGNAL_BITS.items()}
_SIGNALS: Final = ("serving", "sim", "ip")

PlmnWorth = tuple[tuple[int, ...], bool, int]
IpWorth = tuple[int, int, bool, bool, bool]
NO_PLMN: Final[PlmnWorth] = ((), False, 0)
NO_IP: Final[IpWorth] = (0, 0, False, False, False)


# --- words for the compiled log


def log_words(words: Words, table: PolicyTable) -> LogWords:
    """Make what the compiled log writes for the ids of a generation and of a table of its policy."""
    rendering = _Rendering(words)
    sizes = {
        "region": len(words.vocabulary.codes),
        "rule": len(words.policy.policy.rules),
        "reason": len(words.policy.timeline.reasons),
        "network": words.vocabulary.fusion.ip_count,
        "plmn": words.vocabulary.fusion.plmn_count,
    }
    head = {
        "data": words.generation,
        "data_digest": data_digest(words),
        "policy": words.policy.label,
        "policy_digest": words.policy.sha256[:DIGEST_DIGITS],
        "stands_back": table.rows is not words.policy.timeline.rows,
    }
    return LogWords(orjson.dumps(head)[1:-1] + b",", [sizes[name] for name in KIND_NAMES], rendering.fragment)


def data_digest(words: Words) -> str:
    """Return what tells this data from other: 16 digits of a digest over image, tables, catalogue and precedence."""
    parts = (
        words.index.sha256,
        words.plmns.sha256,
        words.vocabulary.catalogue.sha256,
        words.extended.sha256,
        list(words.vocabulary.any_regions),
    )
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:DIGEST_DIGITS]


def text_as_json(text: str | bytes) -> bytes:
    """Return a text as JSON writes it between its quotes; half a surrogate pair, which JSON has no way for, becomes ?."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogatepass")
    try:
        return orjson.dumps(text)[1:-1]
    except orjson.JSONEncodeError:
        return orjson.dumps(text.encode("utf-8", "replace").decode())[1:-1]


class _Rendering:
    """Makes the fragment of an id, once it is met."""

    def __init__(self, words: Words) -> None:
        self._words = words

    def fragment(self, kind: int, number: int) -> bytes:
        words = self._words
        match KIND_NAMES[kind]:
            case "region":
                return orjson.dumps(words.vocabulary.codes[number])
            case "rule":
                return orjson.dumps(words.policy.policy.rules[number].id)
            case "reason":
                return orjson.dumps(words.policy.timeline.reasons[number])
            case "network":
                return orjson.dumps(self._network(number))[1:-1]
            case _:
                return orjson.dumps(self._plmn(number))[1:-1]

    def _network(self, value: int) -> dict[str, object]:
        answers = self._words.vocabulary.answers
        if value >= len(answers):
            override = self._words.extended.networks[value - len(answers)]
            catalogue, code = self._words.vocabulary.catalogue, override.regions[0]
            return {
                "country": catalogue.country_of(code),
                "subdivision": code if code in catalogue.subdivisions else None,
                "sources_disagree": False,
                "blind": False,
                "override": override.id,
            }
        answer = answers[value]
        return {
            "country": answer.country,
            "subdivision": answer.subdivision,
            "sources_disagree": answer.sources_disagree,
            "blind": answer.is_blind,
            "override": None,
        }

    def _plmn(self, value: int) -> dict[str, object]:
        words = self._words
        number = value - len(words.plmns.rows)
        if number > 0:
            override = words.extended.plmns[number - 1]
            return _plmn_members(override.regions, True, override.confidence, override.id)
        row = words.plmns.rows[value - 1]
        return _plmn_members(row.candidates, row.kind == "override", row.confidence, None)


def _plmn_members(
    candidates: tuple[str, ...], is_exact: bool, confidence: float | None, override: str | None
) -> dict[str, object]:
    return {"candidates": candidates, "exact": is_exact, "confidence": confidence, "override": override}


# --- a line, and the decision made again


MEMBERS: Final = (
    "decision", "region", "country", "subdivision", "confidence", "basis", "row", "conflicts", "rule", "reason", "shadow",
)  # fmt: skip
"""What of a line is decided, and so must come out again."""


def is_decision(document: Mapping[str, object]) -> bool:
    """Say whether a line of a log is a decision with its evidence: not the head of a segment, and not a bare ping."""
    return isinstance(document.get("evidence"), dict) and "data_digest" in document


def is_frame(document: Mapping[str, object]) -> bool:
    """Say whether a line is the head of a segment, or its end."""
    return document.get(KIND) in {"segment", "end"} and "chain" in document


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision as the log has it, read for deciding again."""

    document: Mapping[str, Any]
    at: dt.datetime
    activated: dt.datetime | None

    @classmethod
    def of(cls, document: Mapping[str, object]) -> Recorded:
        """Read a line. Raises RecordError, which quotes nothing."""
        if not is_decision(document):
            raise RecordError("this is no decision of a decision log: it has no evidence")
        at, activated = (_instant(document, name) for name in ("at", "first_activated_at"))
        if at is None:
            raise RecordError("at: missing")
        missing = [name for name in (*MEMBERS, "policy", "policy_digest", "stands_back") if name not in document]
        if missing:
            raise RecordError(f"{missing[0]}: missing")
        for name in ("device_id", "sku", "sold_in"):
            if not isinstance(document.get(name), str | None):
                raise RecordError(f"{name}: not a text")
        return cls(document, at, activated)

    @property
    def said(self) -> dict[str, object]:
        """What was decided, as the line has it."""
        return {name: self.document[name] for name in MEMBERS}


def _instant(document: Mapping[str, object], name: str) -> dt.datetime | None:
    written = document.get(name)
    found = parse_instant(written) if isinstance(written, str) else None
    if written is not None and found is None:
        raise RecordError(f"{name}: not an instant with a time zone (RFC 3339)")
    return found


Ids = tuple[tuple[int, int, int, int, int, int, int, int], tuple[int | None, int, int, int | None, int]]
"""A resolution and a verdict, as Fusion.resolve and PolicyTable.verdict give them."""


class Again:
    """Decides again on recorded evidence, with the fusion and the policy of a resolver.

    Evidence that no value of the resolver's own tables stands for (it came from other data) gets a value of its own, so
    the fusion is made anew for it; those that came once are kept.
    """

    def __init__(self, resolver: Resolver) -> None:
        """Begin with the values of the resolver's own data."""
        self._words: Words = resolver.engine.words
        self._ids = {code: number for number, code in enumerate(self._words.vocabulary.codes)}
        self._plmns: dict[PlmnWorth, int] = {NO_PLMN: 0}
        self._networks: dict[IpWorth, int] = {NO_IP: 0}
        self._fusion = Fusion(self._words.vocabulary.region_facts, [NO_PLMN], [NO_IP])

    def decide(self, recorded: Recorded, at: dt.datetime | None = None) -> Ids:
        """Decide as of the recorded instant, or of another.

        Raises RecordError for evidence that cannot be read, or names a region that this resolver does not know.
        """
        evidence = recorded.document["evidence"]
        statuses, serving, home, network = self._worth(evidence)
        resolution = self._resolve(statuses, serving, home, network)
        policy = self._words.policy.standing_back if recorded.document["stands_back"] is True else self._words.policy
        texts = (recorded.document.get(name) for name in ("sku", "sold_in", "device_id"))
        sku, sold_in, device_id = (None if text is None else as_utf8(text) for text in texts)
        verdict = policy.timeline.at(at or recorded.at).verdict(
            resolution[0],
            resolution[3],
            resolution[4],
            home[0][0] if statuses["sim"] == STATUS_IDS["ok"] else 0,
            statuses["ip"],
            statuses["serving"],
            statuses["sim"],
            sku,
            sold_in,
            device_id,
            None if recorded.activated is None else microseconds(recorded.activated),
        )
        return resolution, verdict

    def outcome(
        self, region: int, verdict_ids: tuple[int | None, int, int, int | None, int]
    ) -> tuple[str | None, Effect, str | None, Effect | None]:
        """Put a region and a verdict into words: region, effect, rule, shadow effect."""
        verdict = self._words.policy.worded(verdict_ids, None)
        return self._words.vocabulary.codes[region], verdict.effect, verdict.rule, verdict.shadow_effect

    def said(self, ids: Ids) -> dict[str, object]:
        """Put a decision into the words of a line."""
        (region, country, subdivision, conflicts, confidence, basis, _, row), verdict = ids
        codes, worded = self._words.vocabulary.codes, self._words.policy.worded(verdict, None)
        shadow = worded.shadow_effect and {"decision": str(worded.shadow_effect), "rule": worded.shadow_rule}
        values = (
            str(worded.effect), codes[region], codes[country], codes[subdivision], confidence / 100, _BASIS.get(basis),
            ROW_NAMES[row], [name for name, bit in CONFLICT_BITS.items() if conflicts & bit],
            worded.rule, worded.reason, shadow,
        )  # fmt: skip
        return dict(zip(MEMBERS, values, strict=True))

    def why_different(self, recorded: Recorded) -> list[str]:
        """Say what there is that can make a decision differ from the recorded one; nothing where all is the same."""
        document, words = recorded.document, self._words
        reasons = []
        if document["policy_digest"] != words.policy.sha256[:DIGEST_DIGITS]:
            reasons.append(f"the policy is another one: {document['policy']} then, {words.policy.label} now")
        if document["data_digest"] != data_digest(words):
            reasons.append("the data is another generation; the recorded evidence was decided on, not what today's data says")
        return reasons

    def _resolve(
        self, statuses: Mapping[str, int], serving: PlmnWorth, home: PlmnWorth, network: IpWorth
    ) -> tuple[int, int, int, int, int, int, int, int]:
        known = len(self._plmns) + len(self._networks)
        values = [self._plmns.setdefault(worth, len(self._plmns)) for worth in (serving, home)]
        value = self._networks.setdefault(network, len(self._networks))
        if len(self._plmns) + len(self._networks) > known:
            self._fusion = Fusion(self._words.vocabulary.region_facts, list(self._plmns), list(self._networks))
        return self._fusion.resolve(statuses["ip"], value, statuses["serving"], values[0], statuses["sim"], values[1])

    def _worth(self, evidence: Mapping[str, Any]) -> tuple[dict[str, int], PlmnWorth, PlmnWorth, IpWorth]:
        try:
            given = {name: evidence[name] or {"status": "absent"} for name in _SIGNALS}
            statuses = {name: STATUS_IDS[signal["status"]] for name, signal in given.items()}
            return statuses, self._plmn(given["serving"]), self._plmn(given["sim"]), self._network(given["ip"])
        except (KeyError, TypeError, AttributeError, ValueError):
            raise RecordError("evidence: not as a decision log writes it") from None

    def _plmn(self, signal: Mapping[str, Any]) -> PlmnWorth:
        if "candidates" not in signal:
            return NO_PLMN
        candidates = tuple(self._region(code) for code in signal["candidates"])
        return candidates, bool(signal["exact"]), round((signal["confidence"] or 0) * 100)

    def _network(self, signal: Mapping[str, Any]) -> IpWorth:
        if "country" not in signal:
            return NO_IP
        country, subdivision = self._region(signal["country"]), self._region(signal["subdivision"])
        return country, subdivision, bool(signal["sources_disagree"]), bool(signal["blind"]), signal["override"] is not None

    def _region(self, code: str | None) -> int:
        if code not in self._ids:
            raise RecordError("evidence: names a region that neither the catalogue nor a database of this generation knows")
        return self._ids[code]
