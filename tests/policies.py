"""What the policy tests share: resolutions made by hand, policies from a few lines, and the listing of the specification."""

from __future__ import annotations

import datetime as dt
import tomllib
from functools import cache
from typing import TYPE_CHECKING

from regionresolver.model import Conflict, Evidence, PingFacts, Resolution, Signal, SignalStatus, Verdict
from regionresolver.policy.evaluate import CompiledPolicy
from regionresolver.policy.model import Policy
from regionresolver.sources.catalogue import Catalogue
from regionresolver.sources.plmn import PlmnTable

if TYPE_CHECKING:
    from regionresolver.policy.testing import Signals

NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
NOTHING = PingFacts()
HEADER = '[policy]\nname = "test"\nversion = 1\n'

LISTING = """
[policy]
name = "activation"
version = 41                       # monotonic
default_language = "en"

[defaults]
effect = "allow"                   # no rule matched
on_unknown = "allow"               # no evidence at all: allow | deny | review
min_confidence_to_deny = 0.8       # below it a deny becomes `review`

[regions]                          # added to, or replacing, the shipped catalogue
embargo-six = ["CU", "IR", "SY", "SD", "KP", "crimea"]

[[rules]]                          # in order; the first enforced rule that matches decides
id = "sold-before-the-ban"
when = { region = ["embargo-six"], first_activated_before = 2021-08-31T00:00:00Z }
effect = "allow"
reason = "GRANDFATHERED"

[[rules]]
id = "sold-in-a-regular-market"
when = { region = ["embargo-six"], sold_in_not = ["embargo-six"], sku_not = ["*-SMUGGLED"] }
effect = "review"
reason = "EXPORT_REVIEW"

[[rules]]
id = "embargo-six"
mode = "enforce"                   # enforce | shadow | off
when = { region = ["embargo-six"] }
effect = "deny"
reason = "REGION_NOT_PERMITTED"
retry_after = "P1D"
effective = { from = 2021-08-31T00:00:00Z, until = 2021-09-14T08:00:00Z }   # half-open, UTC
rollout = { key = "device_id", salt = "embargo-2021-08", stages = [
  { at = 2021-08-31T00:00:00Z, percent = 5 }, { at = 2021-09-03T00:00:00Z, percent = 25 },
  { at = 2021-09-08T00:00:00Z, percent = 100 } ] }
review_by = 2021-12-31             # a deny without an end must say when it is looked at again

[[rules]]
id = "embargo-six-measure"         # after the lift: keep counting what it would have done
mode = "shadow"
when = { region = ["embargo-six"] }
effect = "deny"
effective = { from = 2021-09-14T08:00:00Z, until = 2021-12-31T00:00:00Z }

[[restores]]                       # the reversal, as data: which stored denials to ask again
rule = "embargo-six"
versions = [41]
since = 2021-09-14T08:00:00Z
reason = "ACCESS_RESTORED"

[messages.REGION_NOT_PERMITTED]
en = "This product may not be sold or provided in the region where you are activating it. Please contact the retailer."
es = "…"

[guardrails]
max_newly_denied_share = 0.02      # of the replayed pings; a candidate above it needs --force and a reason
min_replay_sample = 100_000
runtime_breaker = { window = "5m", deny_share = 0.10, min_sample = 10_000, action = "shadow" }

[[tests]]                          # run by `policy test` and before every activation
name = "a VPN does not lift a denial"
at = 2021-09-10T12:00:00Z
ping = { serving = "36801", ip = "8.8.8.8" }
expect = { decision = "deny", region = "CU", rule = "embargo-six" }
"""


@cache
def catalogue() -> Catalogue:
    return Catalogue.load()


@cache
def plmns() -> PlmnTable:
    return PlmnTable.load()


def policy(text: str) -> Policy:
    """Read a policy from its tables; `[policy]` is added where it is missing."""
    return Policy.model_validate(tomllib.loads(text if "[policy]" in text else HEADER + text))


def compiled(text: str) -> CompiledPolicy:
    return CompiledPolicy(policy(text), catalogue())


def one_rule(when: str, *, effect: str = "deny", more: str = "") -> CompiledPolicy:
    """Compile a policy of one rule, `rule`, with these conditions and these further lines."""
    return compiled(f'[[rules]]\nid = "rule"\nwhen = {{ {when} }}\neffect = "{effect}"\n{more}')


def resolved(
    region: str | None,
    *,
    confidence: float = 0.98,
    conflicts: tuple[Conflict, ...] = (),
    evidence: tuple[Evidence, ...] = (),
) -> Resolution:
    """Make the resolution that says this region (a country, a subdivision or a name of the catalogue)."""
    return Resolution(
        region=region,
        country=None if region is None else catalogue().country_of(region),
        subdivision=region if region in catalogue().subdivisions else None,
        region_name=None,
        confidence=0.0 if region is None else confidence,
        basis=None if region is None else Signal.SERVING_PLMN,
        conflicts=conflicts,
        evidence=evidence,
        row="1",
        warnings=(),
        data="g1",
    )


def evidence(signal: Signal, *candidates: str, status: SignalStatus = SignalStatus.OK) -> Evidence:
    return Evidence(signal, status, None, candidates, 0.4, used=False)


def decide(rules: CompiledPolicy, region: str | Resolution | None, facts: PingFacts = NOTHING, at: dt.datetime = NOON) -> Verdict:
    return rules.decide(region if isinstance(region, Resolution) else resolved(region), facts, at)


def resolve_by_network(signals: Signals) -> Resolution:
    """Resolve as the real thing does where a serving network alone decides, for tests that need no database."""
    row = plmns().lookup(signals.get("serving", "").replace("-", ""), mnc_known=True)
    return resolved(row.candidates[0] if row else None, confidence=(row.confidence if row else None) or 0.9)
