"""The totals that decisions add to: in the process, and in a page that processes share."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

import pytest

from _fastpath.tally import BYTES, Tally
from tests.policies import NOON

if TYPE_CHECKING:
    from regionresolver import Resolver


def test_a_tally_of_its_own_begins_at_nothing() -> None:
    assert Tally().read() == (0, 0)
    assert BYTES == 16


def test_a_shared_page_is_read_by_another_process(resolver: Resolver) -> None:
    page = mmap.mmap(-1, BYTES)
    page[:] = (7).to_bytes(8, "little") + (3).to_bytes(8, "little")
    assert Tally(page).read() == (7, 3)
    child = os.fork()
    if child == 0:
        page[:8] = (8).to_bytes(8, "little")
        os._exit(0)
    os.waitpid(child, 0)
    assert Tally(page).read() == (8, 3)


@pytest.mark.parametrize(
    ("page", "error", "words"),
    [
        (bytearray(BYTES - 1), ValueError, "smaller than 16"),
        (memoryview(bytearray(BYTES + 8))[1:], ValueError, "begin on 8 bytes"),
        (bytes(BYTES), BufferError, "not writable"),
        ("text", TypeError, "bytes-like"),
    ],
)
def test_a_page_that_cannot_be_counted_in_is_refused(page: bytearray, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Tally(page)


def test_the_page_stays_as_long_as_the_tally() -> None:
    page = bytearray(BYTES)
    tally = Tally(page)
    with pytest.raises(BufferError):
        page.clear()
    del tally
    page.clear()


def test_decisions_of_now_are_counted_and_replays_are_not(resolver: Resolver) -> None:
    decided, denied = resolver.breaker._totals()
    resolver.decide(serving="36801")  # plain texts: the compiled entry
    resolver.decide(serving={"mcc": "214", "mnc": "01"})  # parsed by Python
    resolver.decide(serving="36801", at=NOON)
    resolver.resolve(serving="36801")
    assert resolver.breaker._totals() == (decided + 2, denied + 1)
