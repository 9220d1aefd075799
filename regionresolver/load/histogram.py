"""HdrHistograms of latencies: counts from the engine, percentiles, and the formats that other tools read.

Values are in ns, from 1 ns to an hour, in three significant digits: HdrHistogram's own layout, so counts are copied and never
sorted in again. `encoded` is its V2 format, compressed and in base64; `log_lines` its log, version 1.3; `hgrm` the table that
hdr-plot and HdrHistogram's plotter take. Written here, 40 lines of it, because PyPI's `hdrhistogram` brings setuptools into
every installation; the tests hold this against it.
"""

from __future__ import annotations

import base64
import struct
import zlib
from array import array
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

LOWEST_NS: Final = 1
HIGHEST_NS: Final = 3_600 * 10**9
SIGNIFICANT_DIGITS: Final = 3

_HALF_BITS: Final = 10
_HALF: Final = 1 << _HALF_BITS
_V2_COOKIE: Final = 0x1C849313
_V2_COMPRESSED_COOKIE: Final = 0x1C849314
_US: Final = 1_000


class Histogram:
    """Counts by value; `counts` are 64-bit words in HdrHistogram's order."""

    def __init__(self, counts: bytes) -> None:
        """Keep the places that are not empty."""
        words = array("q")
        words.frombytes(counts)
        self._places = {place: count for place, count in enumerate(words) if count}
        self.total = sum(self._places.values())

    def since(self, earlier: Histogram | None) -> Histogram:
        """Return what was counted since an earlier copy."""
        found = Histogram(b"")
        before = earlier._places if earlier else {}  # noqa: SLF001
        found._places = {place: more for place, count in self._places.items() if (more := count - before.get(place, 0))}
        found.total = sum(found._places.values())
        return found

    def plus(self, other: Histogram) -> Histogram:
        """Return both together."""
        found = Histogram(b"")
        places = sorted(self._places.keys() | other._places.keys())
        found._places = {place: self._places.get(place, 0) + other._places.get(place, 0) for place in places}
        found.total = self.total + other.total
        return found

    def bounds(self) -> tuple[tuple[int, int], ...]:
        """Return (highest value of a place, count), ascending, without the empty ones."""
        return tuple((_highest(place), count) for place, count in self._places.items())

    def percentile_ns(self, percent: float) -> int:
        """Return the highest value that counts like the one at a percentile; 0 of an empty histogram."""
        wanted = max(1, int(percent / 100 * self.total + 0.5))
        passed = 0
        for place, count in self._places.items():
            passed += count
            if passed >= wanted:
                return _highest(place)
        return 0

    @property
    def max_ns(self) -> int:
        """The highest value that counts like the highest."""
        return _highest(max(self._places)) if self._places else 0

    def encoded(self) -> str:
        """Return HdrHistogram's V2 format: zig-zag LEB128 of the counts, runs of empty places as negative numbers."""
        payload = bytearray()
        at = 0
        for place, count in self._places.items():
            if place > at:
                _append_zigzag(payload, at - place)
            _append_zigzag(payload, count)
            at = place + 1
        head = struct.pack(">iiiiqqd", _V2_COOKIE, len(payload), 0, SIGNIFICANT_DIGITS, LOWEST_NS, HIGHEST_NS, 1.0)
        squeezed = zlib.compress(head + bytes(payload))
        return base64.b64encode(struct.pack(">ii", _V2_COMPRESSED_COOKIE, len(squeezed)) + squeezed).decode()

    def hgrm(self) -> str:
        """Return the percentile distribution as text, values in us."""
        lines = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}", ""]
        passed = 0
        for place, count in self._places.items():
            passed += count
            share = passed / self.total
            rest = f"{1 / (1 - share):14.2f}" if share < 1 else ""
            lines.append(f"{_highest(place) / _US:12.3f} {share:14.12f} {passed:10d} {rest}".rstrip())
        lines.append(f"#[Max = {self.max_ns / _US:12.3f}, Total count = {self.total:12d}]")
        return "\n".join(lines) + "\n"


def _highest(place: int) -> int:
    """Return the highest value of a place: 2,048 of them at first, then half as many at each doubling."""
    bucket = (place >> _HALF_BITS) - 1
    return place if bucket < 0 else (((place & (_HALF - 1)) + _HALF + 1) << bucket) - 1


def _append_zigzag(into: bytearray, value: int) -> None:
    rest = (value << 1) ^ (value >> 63)
    while rest > 0x7F:
        into.append(rest & 0x7F | 0x80)
        rest >>= 7
    into.append(rest)


def log_lines(started_at_s: float, intervals: list[tuple[str, float, float, Histogram]]) -> Iterator[str]:
    """Yield the lines of a histogram log: (tag, begin, length, histogram), times in seconds from the start, maxima in ms."""
    yield "#[Histogram log format version 1.3]\n"
    yield f"#[StartTime: {started_at_s:.3f} (seconds since epoch)]\n"
    yield f"#[BaseTime: {started_at_s:.3f} (seconds since epoch)]\n"
    yield '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n'
    for tag, begin_s, length_s, histogram in intervals:
        yield f"Tag={tag},{begin_s:.3f},{length_s:.3f},{histogram.max_ns / 1e6:.3f},{histogram.encoded()}\n"
