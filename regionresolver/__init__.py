"""In which region is this phone, and may it be activated there? A service, a library and a command line.

>>> from regionresolver import Resolver
>>> with Resolver.open() as resolver:
...     print(resolver.decide(serving="36801").effect)
deny
"""

from regionresolver.model import Conflict, Effect, Evidence, Explanation, Region, Resolution, Signal, SignalStatus, Verdict
from regionresolver.resolver import Decision, Resolver

__all__ = [
    "Conflict",
    "Decision",
    "Effect",
    "Evidence",
    "Explanation",
    "Region",
    "Resolution",
    "Resolver",
    "Signal",
    "SignalStatus",
    "Verdict",
]
