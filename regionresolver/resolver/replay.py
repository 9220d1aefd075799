"""Replay recorded pings under two policies on the same data: NDJSON in, an `Impact` out.

A line is a ping as the service takes it, or a line of the decision log: that one has no address, and both policies decide
on the evidence that it has. The heads and ends of a log's segments are passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Final

from _fastpath.engine import MAX_FIELD_CHARACTERS
from regionresolver.errors import PingError
from regionresolver.policy.impact import Impact, Outcome, impact
from regionresolver.policy.skus import SkuClasses
from regionresolver.resolver.documents import ping_arguments
from regionresolver.resolver.log_records import Again, Recorded, is_decision, is_frame
from regionresolver.resolver.ndjson import LONGEST_PING_BYTES, objects
from regionresolver.resolver.pings import parse_instant

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator

    from regionresolver.policy import Policy
    from regionresolver.resolver.engine import Resolver

TIME_FIELD: Final = "at"
"""The field of a recorded ping that says when it came."""

Ping = tuple["dict[str, Any] | Recorded", "dt.datetime"]
"""The arguments of `Resolver.decide`, or a line of the decision log; and the instant as of which is decided."""


def replay(
    baseline: Resolver,
    candidate: Policy,
    stream: BinaryIO,
    now: dt.datetime,
    *,
    at: dt.datetime | None = None,
    time_field: str = TIME_FIELD,
    advance: Callable[[int], None] | None = None,
) -> Impact:
    """Decide on every ping of an NDJSON stream twice, and count what the candidate changes.

    Each ping is decided as of its own `time_field` (RFC 3339), as of `now` without one, or all `at` one instant. A line
    that the service would refuse is counted as refused, as is one whose time is no instant. `advance` gets the bytes
    read so far, now and then. Raises PolicyError for a candidate that cannot be compiled.
    """
    found = Impact()
    classes = SkuClasses([baseline.policy, candidate])

    def dated(document: dict[str, object]) -> Ping:
        when = at
        if when is None and (written := document.get(time_field)) is not None:
            when = parse_instant(written) if isinstance(written, str) else None
            if when is None:
                raise PingError(f"{time_field}: not an instant with a time zone (RFC 3339)")
        if is_decision(document):
            return Recorded.of(document), when or now
        arguments = ping_arguments(document)
        # What is only echoed or only chooses the words changes no decision.
        arguments.pop("id", None)
        arguments.pop("lang", None)
        return arguments, when or now

    def sku_class(ping: Ping) -> str:
        asked = ping[0].document if isinstance(ping[0], Recorded) else ping[0]
        sku = asked.get("sku")
        return classes.name(classes.of(sku if isinstance(sku, str) and len(sku) <= MAX_FIELD_CHARACTERS else None))

    def pings() -> Iterator[tuple[int, Ping]]:
        for line, document in objects(stream, LONGEST_PING_BYTES, found.refuse, advance):
            if is_frame(document):
                continue
            try:
                yield line, dated(document)
            except PingError as error:
                found.refuse(line, error.detail)

    return impact(_decider(baseline), _decider(baseline.with_policy(candidate)), pings(), sku_class, found)


def _decider(resolver: Resolver) -> Callable[[Ping], Outcome]:
    """Return what decides on a ping; equal outcomes are one object, so that words are made once each."""
    outcomes: dict[tuple[int, tuple[int | None, int, int, int | None, int]], Outcome] = {}
    again = Again(resolver)

    def decide(ping: Ping) -> Outcome:
        arguments, at = ping
        if isinstance(arguments, Recorded):
            (region, *_), verdict_ids = again.decide(arguments, at)
            found = outcomes.get((region, verdict_ids))
            if found is None:
                found = outcomes[region, verdict_ids] = Outcome(*again.outcome(region, verdict_ids))
            return found
        decision = resolver.decide(**arguments, at=at)
        key = decision.region_id, decision.verdict_ids
        found = outcomes.get(key)
        if found is None:
            verdict = decision.verdict
            found = outcomes[key] = Outcome(decision.region, verdict.effect, verdict.rule, verdict.shadow_effect)
        return found

    return decide
