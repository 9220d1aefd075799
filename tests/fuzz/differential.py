"""Made and mutated requests by the million: what the lane's scanner accepts, llhttp and h11 read as the same requests.

    python -m tests.fuzz.differential --cases 5000000 --jobs 2

Every block of BLOCK_CASES has a seed of its own, so a run is the same on any number of processors, and a block can be run
again alone (`--first BLOCK --cases 1`). No clang and no libFuzzer is needed; `fuzz_lane` has the oracle.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from _fastpath.lane import scan_head
from tests.fuzz import fuzz_lane

BLOCK_CASES = 10_000
OUTCOMES = ("more", "canonical", "odd", "foreign")


def compare_block(block: int, cases: int = BLOCK_CASES, h11_every: int = 1) -> Counter[str]:
    """Compare the cases of a block, every so many of them with h11 too, which is slow; count the scanner's outcomes.

    Raises AssertionError, with the bytes in its message, when a parser disagrees.
    """
    rng = random.Random(f"block {block}")
    outcomes: Counter[str] = Counter()
    for number in range(cases):
        content = fuzz_lane.mutated(fuzz_lane.made(rng), rng)
        fuzz_lane.one(content, fuzz_lane.READERS[: 1 if number % h11_every else 2])
        outcomes[scan_head(content)[0]] += 1
    return outcomes


def is_balanced(outcomes: Counter[str]) -> bool:
    """Say whether each kind of request was met often enough for the comparison to mean something."""
    return min(outcomes[name] for name in ("canonical", "odd", "foreign")) > outcomes.total() // 20


def main() -> None:
    """Compare; exits with 1 at a disagreement."""
    parser = argparse.ArgumentParser(description="Compare the lane's scanner with llhttp and h11.")
    parser.add_argument("--cases", type=int, default=5_000_000)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--first", type=int, default=0, metavar="BLOCK")
    parser.add_argument("--h11-every", type=int, default=1, metavar="N")
    options = parser.parse_args()
    began, outcomes = time.monotonic(), Counter[str]()
    blocks = range(options.first, options.first + -(-options.cases // BLOCK_CASES))
    compare = partial(compare_block, h11_every=options.h11_every)
    with ProcessPoolExecutor(options.jobs) as pool:
        try:
            for done, found in enumerate(pool.map(compare, blocks), 1):
                outcomes += found
                if done % 50 == 0 or done == len(blocks):
                    sys.stdout.write(f"{outcomes.total():,} inputs, {time.monotonic() - began:.0f} s: {dict(outcomes)}\n")
                    sys.stdout.flush()
        except AssertionError as error:
            pool.shutdown(cancel_futures=True)
            sys.exit(f"a disagreement: {error}")
    if not is_balanced(outcomes):
        sys.exit("the inputs are one-sided, and show nothing")
    sys.stdout.write(f"{outcomes.total():,} inputs without a disagreement\n")


if __name__ == "__main__":
    main()
