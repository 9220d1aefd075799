"""Which stored denials to ask again: the `[[restores]]` of a policy, applied to a log of decisions.

In go the policy and decisions as the service answered them (`id`, `decision`, `rule`, `policy`), with the time at which
each was given where the log has one; out come the ids, each with the reason of its restore. A denial is asked again when
its rule and version are named, it was given before `since`, and `since` has come: later denials are the present policy's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regionresolver.model import Effect

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator, Mapping

    from regionresolver.policy.model import Policy, Restore


@dataclass(frozen=True, slots=True)
class Restored:
    """One stored denial to ask again."""

    id: str
    rule: str
    policy: str
    reason: str


@dataclass
class RestoreCounts:
    """What became of a log: decisions read, those to ask again, and those that would be but have no id."""

    decisions: int = 0
    restored: int = 0
    without_id: int = 0
    waiting: dict[str, dt.datetime] = field(default_factory=dict)
    """The rules whose restore lies in the future, with its instant."""


def restores(
    policy: Policy,
    decisions: Iterable[tuple[Mapping[str, object], dt.datetime | None]],
    at: dt.datetime,
    counts: RestoreCounts | None = None,
) -> Iterator[Restored]:
    """Yield the stored denials to ask again as of an instant (with a zone), in the order of the log.

    A decision without a time counts as given before every restore. The same id may come more than once.
    """
    counts = counts or RestoreCounts()
    due = {
        (restore.rule, f"{policy.header.name}@{version}"): restore
        for restore in reversed(policy.restores)
        if restore.since <= at
        for version in restore.versions
    }
    counts.waiting |= {restore.rule: restore.since for restore in policy.restores if restore.since > at}
    for decision, given in decisions:
        counts.decisions += 1
        restore = _restore_of(decision, due)
        if restore is None or (given is not None and given >= restore.since):
            continue
        name = decision.get("id")
        if not isinstance(name, str):
            counts.without_id += 1
            continue
        counts.restored += 1
        yield Restored(name, restore.rule, str(decision["policy"]), restore.reason)


def _restore_of(decision: Mapping[str, object], due: Mapping[tuple[str, str], Restore]) -> Restore | None:
    """Answer the restore that a stored denial falls under."""
    rule, label = decision.get("rule"), decision.get("policy")
    if decision.get("decision") != Effect.DENY or not (isinstance(rule, str) and isinstance(label, str)):
        return None
    return due.get((rule, label))
