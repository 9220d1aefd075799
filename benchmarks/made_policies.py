"""Policies of any number of rules, for benchmarks: a fixed seed, rules on some countries as a large maker might write them."""

from __future__ import annotations

import datetime as dt
import random
from functools import cache
from typing import Any

from regionresolver.sources.catalogue import Catalogue


@cache
def catalogue() -> Catalogue:
    return Catalogue.load()


def policy_document(count: int) -> dict[str, Any]:
    """Make a policy of so many rules, as a policy file holds it."""
    rng = random.Random(count)
    return {"policy": {"name": "bench", "version": 1}, "rules": [rule(number, rng) for number in range(count)]}


def rule(number: int, rng: random.Random) -> dict[str, Any]:
    """Make a rule on some countries, with further conditions as a large maker might write them."""
    countries = sorted(catalogue().countries)
    when: dict[str, Any] = {"region": rng.sample(countries, rng.randint(1, 6))}
    if number % 2:
        when["sku"] = [f"M{rng.randrange(1000)}*"]
    if number % 3 == 0:
        when["sold_in_not"] = rng.sample(countries, 3)
    if number % 4 == 0:
        when["first_activated_before"] = dt.datetime(2015 + rng.randrange(10), 1, 1 + rng.randrange(28), tzinfo=dt.UTC)
    if number % 5 == 0:
        when["conflict"] = ["ip_disagrees"]
    if number % 6 == 0:
        when["confidence_below"] = 0.9
    if number % 7 == 0:
        when["home_region_not"] = rng.sample(countries, 2)
    mode = rng.choice(("enforce", "enforce", "shadow"))
    return {"id": f"r{number}", "when": when, "effect": rng.choice(("allow", "deny", "review")), "mode": mode}
