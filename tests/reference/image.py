"""Reads an index image by docs/index-format.md, as slowly and plainly as it can be said; every access is checked."""

from __future__ import annotations

import struct
from typing import NamedTuple

SECTIONS = ("direct", "records", "below64", "outside", "values", "strings", "sources")
HEADER_BYTES = 192
SECTIONS_OFFSET = 72
IPV4_SLOTS = 2**18
SPLIT = 0x7FFF
CHILD = 0x8000
WIDE = 1 << 31
LEVELS = 8
START_BYTES = 24


class OutsideError(Exception):
    """The image leads a lookup to a place that it must not lead to."""


class Section(NamedTuple):
    offset: int
    size_bytes: int


def sections_of(image: bytes) -> dict[str, Section]:
    """Where the sections lie, as the header says it."""
    return {
        name: Section(*struct.unpack_from("=QQ", image, SECTIONS_OFFSET + 16 * number)) for number, name in enumerate(SECTIONS)
    }


class Image:
    """An image in the byte order of this machine."""

    def __init__(self, image: bytes) -> None:
        self._image = image
        self._sections = sections_of(image)
        (self.value_count,) = struct.unpack_from("=I", image, 68)

    def _read(self, form: str, section: str, at: int) -> int:
        """Read one number inside a section."""
        offset, size_bytes = self._sections[section]
        if not 0 <= at <= size_bytes - struct.calcsize(form):
            raise OutsideError(f"{section}: {at} of {size_bytes}")
        number: int
        (number,) = struct.unpack_from(form, self._image, offset + at)
        return number

    def find(self, address: int) -> int:
        """The value of an address of 128 bits; IPv4 lies in ::/96."""
        value = self._find(address)
        if value >= self.value_count:
            raise OutsideError(f"value {value} of {self.value_count}")
        return value

    def _find(self, address: int) -> int:
        if address < 2**32:
            slot, bits, width = address >> 14, address & (2**14 - 1), 14
        elif address >> 125 == 1:
            slot, bits, width = IPV4_SLOTS + (address >> 110 & 0x7FFF), address >> 64 & (2**46 - 1), 46
        else:
            return self._search("outside", address)
        # The key goes on with zeros to a whole number of steps.
        bits <<= -width % 6
        width += -width % 6
        record = self._read("=I", "direct", 4 * slot)
        for _ in range(LEVELS):
            width -= 6
            entry = self._entry(record, bits >> width & 63 if width >= 0 else 0)
            if entry < SPLIT:
                return entry
            if entry == SPLIT:
                return self._search("below64", address)
            child = self._read("=I", "records", record - 4 * (entry - CHILD + 1))
            if child & WIDE:
                return child & ~WIDE
            if child >= record:
                raise OutsideError("a child behind its parent")
            record = child
        raise OutsideError("too deep")

    def _entry(self, record: int, slot: int) -> int:
        bitmap = self._read("=Q", "records", record)
        return self._read("=H", "records", record + 8 + 2 * ((bitmap & (2 << slot) - 1).bit_count() - 1))

    def _search(self, section: str, address: int) -> int:
        low, high = 0, self._sections[section].size_bytes // START_BYTES
        while low < high:
            middle = (low + high) // 2
            at = middle * START_BYTES
            if self._read("=Q", section, at) << 64 | self._read("=Q", section, at + 8) <= address:
                low = middle + 1
            else:
                high = middle
        return self._read("=I", section, (low - 1) * START_BYTES + 16) if low else 0
