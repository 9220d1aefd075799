"""Every input that the fuzzers found worth keeping, once more: no finding comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fuzz import fuzz_address, fuzz_batch, fuzz_image, fuzz_lane, fuzz_ping, fuzz_plmn, fuzz_walk
from tests.fuzz.engine import CORPUS, corpus_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], Iterable[bytes]]]] = {
    "address": (fuzz_address.one, fuzz_address.seeds),
    "batch": (fuzz_batch.one, fuzz_batch.seeds),
    "image": (fuzz_image.one, fuzz_image.seeds),
    "lane": (fuzz_lane.one, fuzz_lane.seeds),
    "ping": (fuzz_ping.one, fuzz_ping.seeds),
    "plmn": (fuzz_plmn.one, fuzz_plmn.seeds),
    "walk": (fuzz_walk.one, fuzz_walk.seeds),
}
CORPUS_KIB = 300


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_is_without_a_finding(target: str) -> None:
    one, seeds = TARGETS[target]
    kept = [path.read_bytes() for path in corpus_of(target)]
    assert len(kept) > 20
    for content in [*seeds(), *kept]:
        one(content)


def test_the_corpus_stays_small_and_is_of_known_targets() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < CORPUS_KIB * 1024
