"""The library's face: `Resolver.open()`, `.lookup()`, `.resolve()`, `.decide()`."""

from _fastpath.engine import MAX_FIELD_CHARACTERS
from regionresolver.policy.breaker import Breaker, Change, Marks, Reset, Trip
from regionresolver.policy.clock import now
from regionresolver.resolver.counting import DecisionCounters
from regionresolver.resolver.databases import embedded_database
from regionresolver.resolver.decision import Decision
from regionresolver.resolver.engine import Resolver
from regionresolver.resolver.pings import parse_instant

__all__ = [
    "MAX_FIELD_CHARACTERS",
    "Breaker",
    "Change",
    "Decision",
    "DecisionCounters",
    "Marks",
    "Reset",
    "Resolver",
    "Trip",
    "embedded_database",
    "now",
    "parse_instant",
]
