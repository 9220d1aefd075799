"""The classes of SKUs that policies tell apart: those which satisfy the same conditions of the same rules.

In go policies; out come the classes that a SKU can be in, and the class of one SKU. Classes are told by the globs that
match, so two policies that are compared share one set of classes.
"""

from __future__ import annotations

import fnmatch
import itertools
import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from regionresolver.errors import PolicyError
from regionresolver.policy.globs import Globs, TooManyStatesError, automata
from regionresolver.policy.model import Mode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regionresolver.policy.model import Policy

SkuClass = frozenset[Globs] | None
"""The conditions that a SKU satisfies, each a tuple of alternative globs; `None` where the ping has no SKU."""

CLASSES_MAX: Final = 65_536
_KEPT_SKUS: Final = 65_536


class SkuClasses:
    """The SKU classes of some policies."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        """Gather the globs of every rule that is not off."""
        self._label = " and ".join(dict.fromkeys(policy.label for policy in policies))
        whens = [rule.when for policy in policies for rule in policy.rules if rule.mode is not Mode.OFF]
        self._conditions = tuple(dict.fromkeys(globs for when in whens for globs in (when.sku, when.sku_not) if globs))
        patterns = [(globs, re.compile("|".join(map(fnmatch.translate, globs)))) for globs in self._conditions]

        @lru_cache(_KEPT_SKUS)
        def class_of(sku: str) -> SkuClass:
            return frozenset(globs for globs, pattern in patterns if pattern.match(sku))

        self._class_of = class_of

    def of(self, sku: str | None) -> SkuClass:
        """Answer the class of a SKU."""
        return None if sku is None else self._class_of(sku)

    def every(self) -> list[SkuClass]:
        """Answer each class that some SKU is in, and the class of pings without one.

        Raises PolicyError where there are more than `CLASSES_MAX`, or a glob is too intricate for an automaton.
        """
        try:
            states = [
                {frozenset(automaton.conditions[number] for number in satisfied) for satisfied in automaton.satisfied}
                for automaton in automata(self._conditions)
            ]
        except TooManyStatesError as error:
            raise self._too_intricate(str(error)) from error
        if (count := math.prod(map(len, states))) > CLASSES_MAX:
            raise self._too_intricate(f"{count:,} classes")
        found = {frozenset[Globs]().union(*parts) for parts in itertools.product(*states)}
        return [None, *sorted(found, key=lambda satisfied: (len(satisfied), sorted(satisfied)))]

    def name(self, found: SkuClass) -> str:
        """Write a class as its globs: `A* | B*` for one condition, joined by `and` for several."""
        if not self._conditions:
            return "any SKU"
        if found is None:
            return "no SKU"
        return " and ".join(" | ".join(globs) for globs in self._conditions if globs in found) or "other SKUs"

    def _too_intricate(self, why: str) -> PolicyError:
        reason = f"the globs of the SKUs are too intricate to compare: {why}"
        return PolicyError(self._label, reason, remedy="write fewer globs with a * in front of what must match")
