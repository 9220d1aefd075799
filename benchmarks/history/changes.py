"""Where a series of figures changed, by Apache Otava's change point detection (Hunter, doi:10.1145/3578244.3583719).

A series is one figure of one stage under one set of conditions, over the records of machines and versions that may be
compared: times only within one fingerprint and Python, instructions within one architecture, compiler and Python. A change
point is at the first record of the new level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.record import Figure, Measurement, Record

P_VALUE_MAX: Final = 0.001
LEAST_CHANGE: Final = {"instructions": 0.01}
LEAST_CHANGE_OF_TIMES: Final = 0.05
LEAST_RECORDS: Final = 4
WINDOW: Final = 50


class Key(NamedTuple):
    """Which figure it is, and of what may be compared."""

    layer: str
    stage: str
    figure: str
    conditions: str
    comparable: str


class Point(NamedTuple):
    """One record's figure."""

    record: Record
    figure: Figure


@dataclass(frozen=True)
class Change:
    """From which record on a series has another level: `change` is a share, 0.2 is 20 % more."""

    key: Key
    at: int
    record: Record
    before: float
    after: float

    @property
    def change(self) -> float:
        """By how much the level changed."""
        return self.after / self.before - 1 if self.before else math.inf


def all_series(records: Iterable[Record]) -> dict[Key, list[Point]]:
    """Sort every figure of every record into its series, in the order of the records."""
    found: dict[Key, list[Point]] = {}
    for record in records:
        for measurement in record.measurements:
            for figure in measurement.figures:
                found.setdefault(key_of(record, measurement, figure), []).append(Point(record, figure))
    return found


def key_of(record: Record, measurement: Measurement, figure: Figure) -> Key:
    """Return the series of a figure. What is offered to a service follows its capacity, so the share of it counts."""
    versions = record.versions
    if measurement.layer == "instructions":
        comparable = f"{record.machine.architecture}, Python {versions.python}, {versions.compiler}"
    else:
        comparable = f"machine {record.machine.fingerprint}, Python {versions.python}"
    conditions = dict(measurement.conditions)
    if "share" in conditions:
        conditions.pop("offered_rate", None)
    said = ", ".join(f"{name} {value}" for name, value in sorted(conditions.items()))
    return Key(measurement.layer, measurement.stage, figure.name, said, comparable)


def changes_of(key: Key, points: Sequence[Point]) -> list[Change]:
    """Find the change points of a series; none in one that is too short to tell."""
    if len(points) < LEAST_RECORDS:
        return []
    # Not at the top: scipy behind it takes a second, and it comes with the extra `bench` alone.
    from otava.analysis import (  # type: ignore[import-untyped,import-not-found,unused-ignore]  # noqa: PLC0415
        compute_change_points,
    )

    values = [point.figure.value for point in points]
    least = LEAST_CHANGE.get(key.layer, LEAST_CHANGE_OF_TIMES)
    found, _ = compute_change_points(values, window_len=WINDOW, max_pvalue=P_VALUE_MAX, min_magnitude=least)
    return [
        Change(key, int(one.index), points[int(one.index)].record, float(one.stats.mean_1), float(one.stats.mean_2))
        for one in found
    ]
