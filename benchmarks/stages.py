"""The stages of the hot path, each as one named case with fixed input: the one list for timing and for counting.

A stage prepares a run of any number of operations. Inputs are drawn with a fixed seed, a shorter run does the beginning of a
longer one, and what stands around the operations is a loop in C, so that the difference of two runs is that of their
operations alone. Stages answer from the embedded database, the shipped PLMN table and the shipped default policy.

This file is also a program, and imports nothing of this folder: the gate runs it, as it is here, on the code of any
revision, whose folder is first in PYTHONPATH. What a revision does not have is a stage that cannot be prepared there.

    python stages.py --list                         the names, as JSON
    python stages.py --time 5 [NAME ...]            CPU time of an operation, as JSON: a list of rounds for each stage
    python stages.py --marks FILE [NAME ...]        under callgrind: count the stages (benchmarks/instructions.py calls it)
"""

from __future__ import annotations

import argparse
import ctypes
import datetime as dt
import gc
import ipaddress
import itertools
import json
import random
import sys
import time
from collections import deque
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from _fastpath import address, digit_trie
from regionresolver import Resolver
from regionresolver.policy import CompiledPolicy, load_policy
from regionresolver.resolver.databases import open_index
from regionresolver.resolver.extended import open_catalogue
from regionresolver.resolver.vocabulary import Vocabulary
from regionresolver.sources.plmn import PlmnTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from _fastpath.prefix_trie import PrefixTrie

SEED = 20261122
AT = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
PLMNS = ("26201", "20801", "36801", "25001", "25034", "310410", "46000", "40410", "72405", "62120", "43211", "41701")
IPV6_TOPS = (0x2001, 0x2400, 0x2600, 0x2800, 0x2A00)
STATUSES_WITH_A_VALUE = 1
SIZES = (200, 1200)
"""How many operations the two runs have whose difference is counted."""

LAYOUTS = 5
"""How often a stage is counted, each time in a memory that is laid out otherwise. The least is the stage's figure.

Two things of chance cost a constant number of instructions an operation: which attributes displace each other in the
interpreter's cache (13 % of `decide` once), and where its objects lie in the pools of the allocator (1.4 % of `fusion`).
"""

BALLAST_BYTES = range(1, 480, 8)
BALLAST_STEP = 5
"""Before each layout, so many objects of so many sizes take the free places of the allocator's pools."""

WARM_UP_RUNS = 3
TIMED_OPERATIONS = 5000


class Stage(NamedTuple):
    """A name, what one operation of it does, and how a run of some operations is made ready."""

    name: str
    what: str
    prepare: Callable[[int], Callable[[], object]]


# --- what the stages run on ---


@cache
def resolver() -> Resolver:
    return Resolver.open()


class Parts(NamedTuple):
    """The parts of a generation, as `Resolver.open()` joins them."""

    vocabulary: Vocabulary
    plmns: PlmnTable
    trie: PrefixTrie


@cache
def parts() -> Parts:
    extended = open_catalogue(None)
    plmns = PlmnTable.load(catalogue=extended.catalogue)
    index = open_index([], None, extended.catalogue, None)
    return Parts(Vocabulary(extended, plmns, index), plmns, index.trie)


def each(function: Callable[..., object], items: Sequence[object]) -> Callable[[], object]:
    """Call a function with every item, in a loop that is not Python's."""
    return lambda: deque(map(function, items), 0)


def each_of(function: Callable[..., object], items: Sequence[Iterable[object]]) -> Callable[[], object]:
    """Call a function with every item's members."""
    return lambda: deque(itertools.starmap(function, items), 0)


def ipv4(count: int) -> list[str]:
    """IPv4 addresses, uniform over the unicast space."""
    rng = random.Random(SEED)
    return [str(ipaddress.IPv4Address(rng.randrange(1 << 24, 224 << 24))) for _ in range(count)]


def ipv6(count: int) -> list[str]:
    """IPv6 addresses out of the /12s that the registries give from."""
    rng = random.Random(SEED)
    numbers = (((rng.choice(IPV6_TOPS) + rng.randrange(16)) << 112) | rng.getrandbits(112) for _ in range(count))
    return [str(ipaddress.IPv6Address(number)) for number in numbers]


def plmns(count: int) -> list[str]:
    rng = random.Random(SEED)
    return [rng.choice(PLMNS) for _ in range(count)]


class Facts(NamedTuple):
    """A ping as texts, before it is a query or a body."""

    ip: str
    serving: str | None
    sim: str
    id: str


def pings(count: int) -> list[Facts]:
    """Pings: random IPv4 addresses, most with a SIM's network, half with a serving one, which mostly is the SIM's."""
    rng = random.Random(SEED)
    found = []
    for ip in ipv4(count):
        sim = rng.choice(PLMNS)
        serving = (sim if rng.random() < 0.8 else rng.choice(PLMNS)) if rng.random() < 0.5 else None
        found.append(Facts(ip, serving, sim, f"{rng.getrandbits(64):016x}"))
    return found


def query(facts: Facts) -> bytes:
    serving = f"&serving={facts.serving}" if facts.serving else ""
    return f"ip={facts.ip}&sim={facts.sim}{serving}".encode()


def body(facts: Facts) -> bytes:
    members = {"id": facts.id, "device_id": f"h:{facts.id}", "sku": "M2101K7AG", "ip": facts.ip, "sim": facts.sim, "lang": "es"}
    return json.dumps(members | ({"serving": facts.serving} if facts.serving else {}), separators=(",", ":")).encode()


HEADERS = "Host: 127.0.0.1:8080\r\nConnection: Keep-Alive\r\nAccept-Encoding: gzip\r\nUser-Agent: okhttp/4.12.0\r\n"


def get(facts: Facts) -> bytes:
    return f"GET /v1/resolve?{query(facts).decode()} HTTP/1.1\r\n{HEADERS}\r\n".encode()


def post(facts: Facts) -> bytes:
    content = body(facts)
    lines = f"{HEADERS}Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(content)}\r\n"
    return f"POST /v1/decisions HTTP/1.1\r\n{lines}\r\n".encode() + content


# --- the stages ---


def parse_lines(count: int) -> Callable[[], object]:
    text = "\n".join(ipv4(count)).encode()
    return partial(address.count_lines_with, address.implementations()[-1], text)


def find(addresses: Sequence[str]) -> Callable[[], object]:
    return each(parts().trie.find, [address.parse(text) for text in addresses])


def match_digits(count: int) -> Callable[[], object]:
    return each(digit_trie.DigitTrie(parts().plmns.trie_rows()).match_text, plmns(count))


def fuse(count: int) -> Callable[[], object]:
    rng, fusion = random.Random(SEED), parts().vocabulary.fusion
    known = STATUSES_WITH_A_VALUE

    def evidence() -> tuple[int, ...]:
        serving = (known, rng.randrange(1, fusion.plmn_count)) if rng.random() < 0.5 else (0, 0)
        return known, rng.randrange(fusion.ip_count), *serving, known, rng.randrange(1, fusion.plmn_count)

    return each_of(fusion.resolve, [evidence() for _ in range(count)])


def judge(count: int) -> Callable[[], object]:
    rng, vocabulary = random.Random(SEED), parts().vocabulary
    table = CompiledPolicy(load_policy(None, vocabulary.catalogue), vocabulary.catalogue, vocabulary.codes).timeline.at(AT)

    def asked() -> tuple[object, ...]:
        region, conflicts = rng.randrange(1, len(vocabulary.codes)), rng.choice((0, 0, 0, 1, 64))
        device = b"h:%032x" % rng.getrandbits(128)
        sold_in = rng.choice((None, b"DE", b"CU"))
        return region, conflicts, rng.choice((80, 90, 98)), rng.choice((0, 10)), 1, 1, 1, b"M2101K7AG", sold_in, device, None

    return each_of(table.verdict, [asked() for _ in range(count)])


def decide(count: int) -> Callable[[], object]:
    asked = resolver().decide
    return each(lambda facts: asked(ip=facts.ip, serving=facts.serving, sim=facts.sim), pings(count))


def read_pings(form: str, texts: Sequence[bytes]) -> Callable[[], object]:
    from _fastpath import ping  # noqa: PLC0415

    return each(getattr(ping, form), texts)


class _Wire:
    """A transport that takes every answer at once: builtins, so that next to nothing of a run is its own."""

    write = staticmethod(len)
    get_write_buffer_size = staticmethod(int)

    @staticmethod
    def get_extra_info(_: str) -> None:
        """Have no socket: the answers come to `write`."""


def texts() -> Any:
    """Return what composes answers: the `Texts` of lane and batch, or, in a revision before them, the engine and a function."""
    from regionresolver.service.protocol import compose  # noqa: PLC0415

    try:
        from _fastpath.texts import Texts  # noqa: PLC0415
    except ImportError:
        return resolver().engine, compose
    return Texts(resolver().engine, compose)


def answer(requests: Sequence[bytes]) -> Callable[[], object]:
    """Offer requests to a connection of the lane, one segment each."""
    # Not at the top: a revision whose lane is another one still has all the other stages.
    from _fastpath.lane import Lane, LaneConnection  # noqa: PLC0415

    class Connection(LaneConnection):
        def left_over(self, received: bytes, at: int, *_: object) -> None:
            raise AssertionError(f"the lane left a request of the benchmark: {received[at:]!r}")

    composing, more = texts(), (b"\x01" * 32, 65_536)
    lane = Lane(*(*composing, *more) if isinstance(composing, tuple) else (composing, *more))
    lane.set_date(b"Sun, 22 Nov 2026 00:00:00 GMT")
    connection = Connection(lane)
    connection.connection_made(_Wire())
    return each(connection.data_received, requests)


def answer_lines(count: int) -> Callable[[], object]:
    """Answer a piece of a stream of pings, a slice at a time, as the service does between two turns of its loop."""
    from _fastpath.batch import ODD, WHOLE, BatchAnswers  # noqa: PLC0415

    piece, composing = b"".join(body(facts) + b"\n" for facts in pings(count)), texts()

    def run() -> None:
        answers, at, stop = BatchAnswers(65_536, False), 0, -1
        while stop != WHOLE:
            at, stop, _ = answers.lines(composing, piece, at)
            if stop == ODD:
                raise AssertionError(f"the batch left a ping of the benchmark: {piece[at : at + 200]!r}")

    return run


STAGES = (
    Stage("address.ipv4", "read one IPv4 address from str", lambda count: each(address.parse, ipv4(count))),
    Stage("address.ipv6", "read one IPv6 address from str", lambda count: each(address.parse, ipv6(count))),
    Stage("address.lines", "read one line of a buffer of IPv4 addresses", parse_lines),
    Stage("trie.ipv4", "find the network of one IPv4 address", lambda count: find(ipv4(count))),
    Stage("trie.ipv6", "find the network of one IPv6 address", lambda count: find(ipv6(count))),
    Stage("lookup.ipv4", "Resolver.lookup of one IPv4 address from str", lambda count: each(resolver().lookup, ipv4(count))),
    Stage("digits.parse", "read one PLMN from str", lambda count: each(digit_trie.parse_plmn, plmns(count))),
    Stage("digits.match", "find the row of one PLMN from str", match_digits),
    Stage("fusion", "fuse the evidence of one ping", fuse),
    Stage("policy", "decide on one resolution by the default policy", judge),
    Stage("ping.query", "read one ping from a query string", lambda count: read_pings("read_query", [*map(query, pings(count))])),
    Stage("ping.json", "read one ping from a JSON body", lambda count: read_pings("read_json", [*map(body, pings(count))])),
    Stage("decide", "Resolver.decide of one ping, three signals", decide),
    Stage("lane.get", "answer one GET /v1/resolve, bytes to bytes", lambda count: answer([*map(get, pings(count))])),
    Stage("lane.post", "answer one POST /v1/decisions, bytes to bytes", lambda count: answer([*map(post, pings(count))])),
    Stage("batch.row", "answer one line of a batch, bytes to bytes", answer_lines),
)


# --- the program ---


def forget_types() -> None:
    """Number all types anew: what is looked up in them then falls on other places of the interpreter's cache.

    The cache goes by the number of a type and the address of a name, so which names displace each other is chance. One more
    object anywhere in the program is another draw, and a collision costs hundreds of instructions an operation.
    """
    for name in ("_clear_internal_caches", "_clear_type_cache"):
        if hasattr(sys, name):
            getattr(sys, name)()
            break


def count_instructions(stages: Iterable[Stage], marks_file: str, layouts: int, sizes: Sequence[int]) -> dict[str, str]:
    """Run every stage in two sizes between the marks of callgrind; tell which could not be prepared, and why."""
    marks = ctypes.CDLL(marks_file)
    refused: dict[str, str] = {}
    for stage in stages:
        try:
            runs = {size: stage.prepare(size) for size in sizes}
            for run in (*runs.values(),) * WARM_UP_RUNS:
                run()
        except Exception as error:  # noqa: BLE001 - whatever a revision does not have
            refused[stage.name] = f"{type(error).__name__}: {error}"
            continue
        # A collection between the marks would count for whichever stage it hits.
        gc.collect()
        gc.disable()
        marks.begin()
        ballast = []
        for layout in range(layouts):
            forget_types()
            ballast.append([bytes(size) for size in BALLAST_BYTES for _ in range(BALLAST_STEP)])
            runs[sizes[0]]()
            for size, run in runs.items():
                marks.from_here()
                run()
                marks.to_here(f"{stage.name}={size}={layout}".encode())
        marks.end()
        gc.enable()
    return refused


def time_stages(stages: Iterable[Stage], rounds: int) -> dict[str, list[float]]:
    """Return nanoseconds of CPU time an operation, a figure a round; rounds go over all stages, forwards and backwards."""
    runs = {}
    for stage in stages:
        try:
            runs[stage.name] = stage.prepare(TIMED_OPERATIONS)
            runs[stage.name]()
        except Exception:  # noqa: BLE001 - whatever a revision does not have
            runs.pop(stage.name, None)
    found: dict[str, list[float]] = {name: [] for name in runs}
    gc.disable()
    for number in range(rounds):
        for name in list(runs) if number % 2 == 0 else list(runs)[::-1]:
            began_ns = time.process_time_ns()
            runs[name]()
            found[name].append((time.process_time_ns() - began_ns) / TIMED_OPERATIONS)
    gc.enable()
    return found


def main() -> None:
    """Do what the command line says, answer in JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="print the names of the stages")
    parser.add_argument("--time", type=int, metavar="ROUNDS", help="time the stages")
    parser.add_argument("--marks", metavar="FILE", help="count the stages under callgrind, by the marks of this library")
    parser.add_argument("--layouts", type=int, default=LAYOUTS, help="how often each is counted")
    parser.add_argument("--sizes", type=int, nargs=2, default=SIZES, help="how many operations, twice")
    parser.add_argument("names", nargs="*", help="only these stages")
    options = parser.parse_args()
    stages = [stage for stage in STAGES if not options.names or stage.name in options.names]
    if options.list:
        json.dump([stage.name for stage in stages], sys.stdout)
    elif options.time:
        json.dump(time_stages(stages, options.time), sys.stdout)
    elif options.marks:
        json.dump(count_instructions(stages, options.marks, options.layouts, options.sizes), sys.stdout)
    else:
        parser.error("one of --list, --time and --marks says what to do")


if __name__ == "__main__":
    main()
