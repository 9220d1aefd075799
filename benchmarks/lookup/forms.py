"""The forms of a lookup that are timed: ours, the peers', and the yardsticks beside them.

A form turns a stream into a function that looks all of it up once. What is prepared before, and not timed, is what a
caller has in his hands anyway: the list, the buffer, the column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from _fastpath.digit_trie import DigitTrie
from benchmarks.lookup.bare_walk import BareWalk, UnavailableError, library
from benchmarks.lookup.databases import IMAGES, Database, Peer, optional
from benchmarks.lookup.streams import HOT, Stream
from regionresolver.sources.plmn import PlmnTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from _fastpath.lookup import Lookup

    Run = Callable[[], object]
    Make = Callable[[Lookup[Any], Stream], Run | None]
    MakePeer = Callable[[Database, Stream], Run | None]

EMPTY_LOOP = "empty loop"
C_CALL = "C no-op call"
BARE_WALK = "libmaxminddb, tree walk in C"
GET = "maxminddb get"
RUST_GET = "maxminddb-rust get"
RUST_PATH = {fields: f"maxminddb-rust get_path x {fields}" for fields in (1, 2)}
RUST_MANY = {fields: f"maxminddb-rust get_many_path x {fields}" for fields in (1, 2)}

TEXT = "lookup(str)"
MANY = "lookup_many(list)"
LINES = "lookup_lines"
PACKED = "lookup_packed, NumPy"
ARROW = "lookup_arrow, pyarrow strings"
POLARS = "lookup_arrow, polars strings"

PLMN_TEXT = "match_text(str)"
PLMN_MANY = "match_many(list)"
PLMN_LINES = "match_lines"


def for_each(function: Callable[[Any], object], items: Iterable[Any]) -> None:
    """Call a function with each item, as a caller's loop does."""
    for item in items:
        function(item)


def walk_over(items: Iterable[object]) -> None:
    """Do nothing with each item."""
    for _ in items:
        pass


def _numpy_column(stream: Stream) -> Any | None:
    numpy = optional("numpy")
    if numpy is None:
        return None
    if stream.is_ipv4:
        return numpy.array(stream.numbers, dtype=numpy.uint32)
    return numpy.frombuffer(stream.packed16, dtype=numpy.uint8).reshape(-1, 16)


def _column(package: str, make: Callable[[Any, list[Any]], Any], stream: Stream, *, is_packed: bool) -> Any | None:
    client = optional(package)
    return make(client, stream.packed if is_packed else stream.texts) if client else None


def _pyarrow(client: Any, values: list[Any]) -> Any:
    return client.array(values)


def _polars(client: Any, values: list[Any]) -> Any:
    return client.Series("ip", values)


def _by_arrow(package: str, make: Callable[[Any, list[Any]], Any], *, is_packed: bool) -> Make:
    def form(lookup: Lookup[Any], stream: Stream) -> Run | None:
        column = _column(package, make, stream, is_packed=is_packed)
        return None if column is None else lambda: lookup.lookup_arrow(column)

    return form


def _by_numpy(lookup: Lookup[Any], stream: Stream) -> Run | None:
    column = _numpy_column(stream)
    return None if column is None else lambda: lookup.lookup_packed(column)


SINGLE: dict[str, Make] = {
    TEXT: lambda lookup, stream: lambda: for_each(lookup.lookup, stream.texts),
    "lookup(bytes)": lambda lookup, stream: lambda: for_each(lookup.lookup, stream.packed),
    "lookup(int)": lambda lookup, stream: lambda: for_each(lookup.lookup, stream.numbers),
    "lookup(ipaddress)": lambda lookup, stream: lambda: for_each(lookup.lookup, stream.addresses),
}
BATCH: dict[str, Make] = {
    MANY: lambda lookup, stream: lambda: lookup.lookup_many(stream.texts),
    LINES: lambda lookup, stream: lambda: lookup.lookup_lines(stream.lines),
    PACKED: _by_numpy,
    ARROW: _by_arrow("pyarrow", _pyarrow, is_packed=False),
    "lookup_arrow, pyarrow binaries": _by_arrow("pyarrow", _pyarrow, is_packed=True),
    POLARS: _by_arrow("polars", _polars, is_packed=False),
    "lookup_arrow, polars binaries": _by_arrow("polars", _polars, is_packed=True),
}


# ---- the others ----


def _get_each(peer: Peer | None, stream: Stream) -> Run | None:
    if peer is None:
        return None
    parts = peer.parts(stream.texts)

    def run() -> None:
        for reader, texts in parts:
            for_each(reader.get, texts)

    return run


def _get_paths(database: Database, stream: Stream, fields: int) -> Run | None:
    if database.rust is None:
        return None
    parts, paths = database.rust.parts(stream.texts), database.rust.paths[:fields]

    def run() -> None:
        for reader, texts in parts:
            get_path = reader.get_path
            for text in texts:
                for path in paths:
                    get_path(text, path)

    return run


def _get_many_paths(database: Database, stream: Stream, fields: int) -> Run | None:
    if database.rust is None:
        return None
    parts, paths = database.rust.parts(stream.texts), database.rust.paths[:fields]
    return lambda: [reader.get_many_path(texts, path) for reader, texts in parts for path in paths]


def _bare_walk(database: Database, stream: Stream) -> Run | None:
    try:
        built = library()
        walks = {file: BareWalk(built, file) for file in database.files}
    except UnavailableError:
        return None
    by_version = {version: walks[file] for version, file in database.by_version.items()}
    if by_version[4] is by_version[6]:
        return lambda: by_version[4].walk(stream.packed16)
    parts: dict[int, bytes] = {
        version: b"".join(
            stream.packed16[16 * place : 16 * place + 16]
            for place, packed in enumerate(stream.packed)
            if (len(packed) == 16) is (version == 6)
        )
        for version in (4, 6)
    }
    return lambda: sum(by_version[version].walk(part) for version, part in parts.items())


PEERS: dict[str, MakePeer] = {
    GET: lambda database, stream: _get_each(database.maxminddb, stream),
    RUST_GET: lambda database, stream: _get_each(database.rust, stream),
    RUST_PATH[1]: lambda database, stream: _get_paths(database, stream, 1),
    RUST_PATH[2]: lambda database, stream: _get_paths(database, stream, 2),
    RUST_MANY[1]: lambda database, stream: _get_many_paths(database, stream, 1),
    RUST_MANY[2]: lambda database, stream: _get_many_paths(database, stream, 2),
}
YARDSTICKS: dict[str, Callable[[list[str]], Run]] = {
    EMPTY_LOOP: lambda texts: lambda: walk_over(texts),
    # Of Python's own functions the one that does the least with its argument.
    C_CALL: lambda texts: lambda: for_each(callable, texts),
}


# ---- contestants ----

Name = tuple[str, str | None]
"""A form, and the image that it runs on: None for the files, or for nothing."""

_PASSES = {"batch": 7, "single": 3, "peer": 1}


@dataclass(frozen=True)
class Contestant:
    """A function that runs through a stream once.

    `passes` are made in a row in each turn and their median counts: short ones need more of them.
    """

    run: Run
    passes: int


def names(stream: str) -> list[Name]:
    """Name what runs on a stream of addresses, the yardsticks of a call first."""
    forms = SINGLE if stream == HOT else SINGLE | BATCH
    ours: list[Name] = [(form, image) for form in forms for image in IMAGES]
    others = () if stream == HOT else (BARE_WALK, *PEERS)
    return [*((form, None) for form in YARDSTICKS), *ours, *((form, None) for form in others)]


def contestants(database: Database, stream: Stream) -> dict[Name, Contestant]:
    """Make all of `names` that can run here."""
    found = {}
    for form, image in names(stream.name):
        run: Run | None
        if form in YARDSTICKS:
            run, passes = YARDSTICKS[form](stream.texts), _PASSES["single"]
        elif image is not None:
            run = (SINGLE | BATCH)[form](database.lookups[image], stream)
            passes = _PASSES["single" if form in SINGLE else "batch"]
        else:
            run, passes = (PEERS | {BARE_WALK: _bare_walk})[form](database, stream), _PASSES["peer"]
        if run is not None:
            found[form, image] = Contestant(run, passes)
    return found


def plmn_names() -> list[Name]:
    """Name what runs on a stream of PLMNs or IMSIs."""
    return [(form, None) for form in (*YARDSTICKS, PLMN_TEXT, PLMN_MANY, PLMN_LINES)]


def plmn_contestants(texts: list[str], *, allow_imsi: bool) -> dict[Name, Contestant]:
    """Make them."""
    trie = DigitTrie(PlmnTable.load().trie_rows())
    lines = "\n".join(texts).encode()

    def one_by_one() -> None:
        match_text = trie.match_text
        for text in texts:
            match_text(text, True)

    forms: dict[str, Run] = {form: make(texts) for form, make in YARDSTICKS.items()}
    # A PLMN is asked for with one argument; the flag is given only where it is needed.
    forms[PLMN_TEXT] = one_by_one if allow_imsi else lambda: for_each(trie.match_text, texts)
    forms[PLMN_MANY] = lambda: trie.match_many(texts, allow_imsi)
    forms[PLMN_LINES] = lambda: trie.match_lines(lines, allow_imsi)
    passes = {PLMN_MANY: _PASSES["batch"], PLMN_LINES: _PASSES["batch"]}
    return {(form, None): Contestant(run, passes.get(form, _PASSES["single"])) for form, run in forms.items()}


def check_agreement(made: dict[Name, Contestant], lookups: dict[str, Lookup[Any]], texts: list[str]) -> None:
    """Raise AssertionError when a batch answers another than `lookup` of the same addresses."""
    for (form, image), contestant in made.items():
        if image is None or form not in BATCH:
            continue
        found: Any = contestant.run()
        values = lookups[image].values
        answers = found if isinstance(found, list) else [values[place] for place in memoryview(found)]
        assert answers == list(map(lookups[image].lookup, texts)), f"{form} answers otherwise than lookup"
