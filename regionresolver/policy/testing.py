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
    import datetime as dt
    from collections.abc import Iterator

    from regionresolver.policy.model import Expectation, Policy, PolicyTest, TestPing
    from regionresolver.sources.catalogue import Catalogue


class Signals(TypedDict, total=False):
    """The signals of a test's ping, those that are given, and its instant: what `Resolver.resolve` takes by keyword."""

    ip: str
    serving: str
    sim: str
    at: dt.datetime


Resolve = Callable[[Signals], Resolution]
"""Signals to a resolution; may raise `PingError`."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of an answer that is not what the test expects; None where the answer has nothing."""

    field: str
    expected: object
    got: object

    def __str__(self) -> str:
        """Write the difference as a part of a line."""
        return f"{self.field}: expected {self.expected}, got {self.got}"


@dataclass(frozen=True, slots=True)
class TestResult:
    """What became of one test: what differs from what it expects, or why its ping was refused."""

    __test__ = False  # not a test class, whatever pytest makes of its name

    name: str
    at: dt.datetime
    differences: tuple[Difference, ...] = ()
    refusal: str | None = None

    @property
    def passed(self) -> bool:
        """Tell whether the answer was what the test expects."""
        return not self.why

    @property
    def why(self) -> str:
        """Say what differs; empty where the test passed."""
        return self.refusal or "; ".join(map(str, self.differences))

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
        resolution = resolve(_signals(test))
    except PingError as error:
        return TestResult(test.name, test.at, refusal=f"the ping is refused: {error}")
    verdict = compiled.decide(resolution, _facts(test.ping), test.at)
    return TestResult(test.name, test.at, tuple(_differences(test.expect, resolution, verdict)))


def _signals(test: PolicyTest) -> Signals:
    """Answer the signals of a test's ping that are given, and its instant."""
    return cast("Signals", test.ping.model_dump(include={"ip", "serving", "sim"}, exclude_none=True) | {"at": test.at})


def _facts(ping: TestPing) -> PingFacts:
    """Answer the fields of a test's ping that are no signal."""
    return PingFacts(
        sku=ping.sku,
        sold_in=ping.sold_in,
        device_id=ping.device_id,
        first_activated_at=ping.first_activated_at,
        lang=ping.lang,
    )


def _differences(expect: Expectation, resolution: Resolution, verdict: Verdict) -> Iterator[Difference]:
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
    return (Difference(key, value, came[key]) for key, value in expected.items() if came[key] != value)
