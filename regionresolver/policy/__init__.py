"""What a policy file says, whether it is wise, and what it makes of a resolution."""

from regionresolver.policy.evaluate import CompiledPolicy
from regionresolver.policy.lint import Finding, Severity, lint
from regionresolver.policy.load import MAX_POLICY_BYTES, SHIPPED, PolicyFile, load_policy, read_policy, shipped_policy
from regionresolver.policy.model import Policy
from regionresolver.policy.regions import RegionNames, RegionSet
from regionresolver.policy.rules import BUCKETS, rollout_bucket
from regionresolver.policy.table import LOW_CONFIDENCE, NO_EVIDENCE, Timeline
from regionresolver.policy.testing import TestResult, run_tests

__all__ = [
    "BUCKETS",
    "LOW_CONFIDENCE",
    "MAX_POLICY_BYTES",
    "NO_EVIDENCE",
    "SHIPPED",
    "CompiledPolicy",
    "Finding",
    "Policy",
    "PolicyFile",
    "RegionNames",
    "RegionSet",
    "Severity",
    "TestResult",
    "Timeline",
    "lint",
    "load_policy",
    "read_policy",
    "rollout_bucket",
    "run_tests",
    "shipped_policy",
]
