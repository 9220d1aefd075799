"""Run the tests that a policy carries: ping, instant and expectation, through the real resolution.

In goes a policy, the catalogue, and a function that resolves the signals of a ping (the resolver's own: policy tests
then prove the data too). Out comes one result a test, in the order of the file. Nothing is raised for a test that fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, cast

from regionresolver.errors import PingError
from regionresolver.model import PingFacts, Resolution, Verdict
from regionresolver.policy.evaluate import CompiledPolicy

if TYPE_CHECKING:
    from regionresolver.policy.model import Expectation, Policy, PolicyTest, TestPing
    from regionresolver.sources.catalogue import Catalogue


class Signals(TypedDict, total=False):
    """The signals of a test's ping, those that are given, as text: what `Resolver.resolve` takes by keyword."""

    ip: str
    serving: str
    sim: str


Resolve = Callable[[Signals], Resolution]
"""Signals to a resolution; may raise `PingError`."""


@dataclass(frozen=True, slots=True)
class TestResult:
    """What became of one test; `why` says what differs, and is empty where it passed."""

    __test__ = False  # not a test class, whatever pytest makes of its name

    name: str
    passed: bool
    why: str = ""

    def __str__(self) -> str:
        """Write the result as one line."""
        return f"{self.name}: {'passed' if self.passed else self.why}"


def run_tests(policy: Policy, catalogue: Catalogue, resolve: Resolve) -> list[TestResult]:
    """Run every embedded test. Raises `PolicyError` where the policy itself can't be compiled."""
    compiled = CompiledPolicy(policy, catalogue)
    return [_run(test, compiled, resolve) for test in policy.tests]


def _run(test: PolicyTest, compiled: CompiledPolicy, resolve: Resolve) -> TestResult:
    """Run one test."""
    try:
        resolution = resolve(_signals(test.ping))
    except PingError as error:
        return TestResult(test.name, passed=False, why=f"the ping is refused: {error}")
    verdict = compiled.decide(resolution, _facts(test.ping), test.at)
    differences = "; ".join(_differences(test.expect, resolution, verdict))
    return TestResult(test.name, passed=not differences, why=differences)


def _signals(ping: TestPing) -> Signals:
    """Answer the signals of a test's ping that are given."""
    return cast("Signals", ping.model_dump(include={"ip", "serving", "sim"}, exclude_none=True))


def _facts(ping: TestPing) -> PingFacts:
    """Answer the fields of a test's ping that are no signal."""
    return PingFacts(
        sku=ping.sku,
        sold_in=ping.sold_in,
        device_id=ping.device_id,
        first_activated_at=ping.first_activated_at,
        lang=ping.lang,
    )


def _differences(expect: Expectation, resolution: Resolution, verdict: Verdict) -> list[str]:
    """Say of each expected field what came instead."""
    came: dict[str, object] = {
        "decision": verdict.effect,
        "region": resolution.region,
        "country": resolution.country,
        "subdivision": resolution.subdivision,
        "rule": verdict.rule,
        "reason": verdict.reason,
        "retry_after": verdict.retry_after,
        "shadow": verdict.shadow_effect or "none",
    }
    expected = {key: getattr(expect, key) for key in came if key in expect.model_fields_set}
    return [f"{key}: expected {value}, got {came[key]}" for key, value in expected.items() if came[key] != value]
