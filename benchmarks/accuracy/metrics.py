"""The arithmetic: shares with Wilson intervals, reliability by stated confidence, calibration error, Brier score.

In: counts, or weights where pings of a scenario stand for a share of the traffic. Nothing here knows of pings or regions.

Wilson's interval (E. B. Wilson, JASA 22, 1927) holds for few trials and for shares near 0 and 1, where the usual
p +- 2 sqrt(p(1-p)/n) does not. Of weighted trials the effective number counts, (sum w)^2 / sum w^2 (L. Kish, 1965).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

Z_95 = 1.959963984540054
"""Of a normal distribution 95 % lie within so many standard deviations."""


def wilson(share: float, trials: float) -> tuple[float, float]:
    """Return the 95 % interval of a share that was seen in so many (effective) trials, (0, 1) of none."""
    if trials <= 0:
        return 0.0, 1.0
    square = Z_95 * Z_95 / trials
    middle = (share + square / 2) / (1 + square)
    half = Z_95 / (1 + square) * sqrt(share * (1 - share) / trials + square / (4 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(slots=True)
class Tally:
    """Trials and hits, each with a weight; with every weight 1 it counts."""

    trials: float = 0.0
    hits: float = 0.0
    squares: float = 0.0

    def add(self, count: float, hits: float, weight: float = 1.0) -> None:
        """Add `count` trials of one weight, of which so many hit."""
        self.trials += count * weight
        self.hits += hits * weight
        self.squares += count * weight * weight

    @property
    def share(self) -> float | None:
        """The share of hits, None without trials."""
        return self.hits / self.trials if self.trials else None

    @property
    def effective(self) -> float:
        """How many trials of equal weight say as much."""
        return self.trials * self.trials / self.squares if self.squares else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share."""
        return wilson(self.share or 0.0, self.effective)


@dataclass(frozen=True, slots=True)
class Band:
    """Every answer with one stated confidence, and how often it was right."""

    confidence: float
    tally: Tally

    @property
    def verdict(self) -> str:
        """Say whether the stated confidence lies within the interval of the share that was right."""
        low, high = self.tally.interval
        if not self.tally.trials or low <= self.confidence <= high:
            return "fits"
        return "too sure" if self.confidence > high else "too modest"


def calibration_error(bands: Iterable[Band]) -> float | None:
    """Return the mean distance between stated confidence and share right (expected calibration error), None of nothing."""
    held = [(band.confidence, band.tally) for band in bands if band.tally.trials]
    trials = sum(tally.trials for _, tally in held)
    return sum(abs(confidence * tally.trials - tally.hits) for confidence, tally in held) / trials if held else None


def brier(bands: Iterable[Band]) -> float | None:
    """Return the mean squared distance between stated confidence and outcome (1 right, 0 not), None of nothing."""
    held = [(band.confidence, band.tally) for band in bands if band.tally.trials]
    trials = sum(tally.trials for _, tally in held)
    missed = sum(tally.hits * (1 - confidence) ** 2 + (tally.trials - tally.hits) * confidence**2 for confidence, tally in held)
    return missed / trials if held else None
