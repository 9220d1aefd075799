"""One rule, worked out: its conditions, and what the calendar makes of it at an instant.

`table` asks rules once for every interval of time, `evaluate` for a trace; nobody asks them for a decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from _fastpath import policy_table
from regionresolver.model import RuleTrace
from regionresolver.policy.conditions import Condition, conditions
from regionresolver.policy.model import Mode, Rollout, Rule, Window

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from regionresolver.model import PingFacts, Resolution
    from regionresolver.policy.regions import RegionNames

BUCKETS: Final = 10_000
_BUCKETS_PER_PERCENT: Final = BUCKETS // 100


def as_utf8(text: str) -> bytes:
    """Write a text as the compiled path reads it; a lone surrogate, which JSON can write, passes."""
    return text.encode("utf-8", "surrogatepass")


def rollout_bucket(salt: str, key: str) -> int:
    """Answer the bucket, 0 to 9,999, of a device in a rollout: the first 8 bytes of SHA-256(salt ":" key), big-endian."""
    return policy_table.rollout_bucket(as_utf8(salt), as_utf8(key))


@dataclass(frozen=True, slots=True)
class Ramp:
    """A rollout in buckets: the stages newest first, each with the bucket below which a device is in."""

    salt: str
    stages: tuple[tuple[dt.datetime, int], ...]

    def limit(self, at: dt.datetime) -> int:
        """Answer the bucket below which a device is in; 0 before the first stage."""
        return next((limit for since, limit in self.stages if since <= at), 0)

    def has(self, device_id: str | None, at: dt.datetime) -> bool:
        """Say whether a device is in. At 100 % everyone is, a ping without the key too: the rollout is over."""
        limit = self.limit(at)
        return limit >= BUCKETS or (limit > 0 and device_id is not None and rollout_bucket(self.salt, device_id) < limit)


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """One rule, ready to be asked."""

    rule: Rule
    conditions: tuple[Condition[Any], ...]
    opens: dt.datetime | None
    closes: dt.datetime | None
    ramp: Ramp | None

    @classmethod
    def of(cls, rule: Rule, names: RegionNames) -> CompiledRule:
        """Work a rule out."""
        window = rule.effective or Window.model_construct()
        ramp = None if rule.rollout is None else _ramp(rule.rollout)
        return cls(rule, conditions(rule.when, names), window.from_, window.until, ramp)

    def limit(self, at: dt.datetime) -> int:
        """Answer the bucket below which the rule has a device at an instant: 0 while it rests, BUCKETS for every ping."""
        if self.rule.mode is Mode.OFF or not self._is_open(at) or any(one.is_over(at) for one in self.conditions):
            return 0
        return BUCKETS if self.ramp is None else self.ramp.limit(at)

    def instants(self) -> Iterator[dt.datetime]:
        """Answer every instant at which `limit` may change."""
        ends = (self.opens, self.closes, *(one.until for one in self.conditions))
        yield from (instant for instant in ends if instant is not None)
        if self.ramp is not None:
            yield from (since for since, _ in self.ramp.stages)

    def traced(self, resolution: Resolution, facts: PingFacts, at: dt.datetime) -> RuleTrace:
        """Say whether the rule holds, and why (not), in words that hold no device id."""
        why = self._obstacle(resolution, facts, at)
        return RuleTrace(self.rule.id, self.rule.mode.value, why is None, why or "every condition holds")

    def _is_open(self, at: dt.datetime) -> bool:
        """Say whether the instant lies in the rule's window, which is half-open."""
        return (self.opens is None or self.opens <= at) and (self.closes is None or at < self.closes)

    def _obstacle(self, resolution: Resolution, facts: PingFacts, at: dt.datetime) -> str | None:
        """Answer the first thing that keeps the rule from matching."""
        if self.rule.mode is Mode.OFF:
            return "its mode is off"
        for condition in self.conditions:
            if not condition.met(resolution, facts, at):
                return condition.why_not(resolution, facts)
        if self.opens is not None and at < self.opens:
            return f"effective: not before {self.opens.isoformat()}"
        if self.closes is not None and at >= self.closes:
            return f"effective: ended at {self.closes.isoformat()}"
        if self.ramp is not None and not self.ramp.has(facts.device_id, at):
            share = self.ramp.limit(at) / _BUCKETS_PER_PERCENT
            return "rollout: no device_id" if facts.device_id is None else f"rollout: not among the first {share:g} %"
        return None


def _ramp(rollout: Rollout) -> Ramp:
    """Turn percents into buckets, the newest stage first."""
    stages = tuple((stage.at, round(stage.percent * _BUCKETS_PER_PERCENT)) for stage in reversed(rollout.stages))
    return Ramp(rollout.salt, stages)
