"""Batches: `_fastpath.batch` answers a stream, in whatever pieces it comes, and an array as Python does ping by ping."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import orjson

from _fastpath.texts import Texts
from regionresolver.resolver import Resolver
from regionresolver.service.batch_answers import Batch
from regionresolver.service.pages import Pages
from regionresolver.service.problems import ProblemError
from regionresolver.service.protocol import compose
from regionresolver.service.state import Generation, ServiceState
from regionresolver.settings import Settings
from tests.fuzz import fuzz_ping
from tests.fuzz.engine import main
from tests.reference.batches import elements

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 256
"""The longest ping, in bytes: short, so that made inputs meet it."""


@cache
def states() -> tuple[ServiceState, ServiceState]:
    """Give a state with compiled answers, and one without."""
    page = Pages(1).take(0, 0)
    assert page is not None
    resolver = Resolver.open()
    plain = ServiceState(Generation.of(resolver), Settings(body_limit_bytes=LIMIT), page)
    return replace(plain, texts=Texts(resolver.engine, compose)), plain


def streamed(batch: Batch, pieces: list[bytes]) -> bytes:
    said = [part for piece in pieces for part in batch.lines(piece)]
    return b"".join([*said, *batch.last_lines()])


def arrayed(batch: Batch, body: bytes) -> bytes:
    try:
        return b"".join(batch.array(body))
    except ProblemError as error:
        return error.problem.kind.code.encode()


def expected_array(body: bytes, *, minimal: bool) -> bytes:
    """Give the answer to an array, put together from the answers to its elements as lines."""
    _, plain = states()
    found = elements(body)
    if found is None:
        return b"BODY_NOT_ARRAY"
    batch = Batch(plain, minimal=minimal)
    # A line feed within an element is a blank, or makes it no JSON: as a line it would end there.
    said = [b"".join(batch.lines(text.replace(b"\n", b"\t") + b"\n")).rstrip(b"\n") for text in found]
    closing = {"summary": batch.summary(), "policy": plain.resolver.policy.label, "data": plain.resolver.generation}
    return b'{"results":[' + b",".join(filter(None, said)) + b"]," + orjson.dumps(closing)[1:]


def one(content: bytes) -> None:
    """Answer the bytes as a stream and as an array; the first two say how the stream is cut."""
    compiled, plain = states()
    cut, step, body = content[:1], content[1:2], content[2:]
    minimal = bool(cut) and cut[0] % 2 == 1
    expected = streamed(Batch(plain, minimal=minimal), [body])
    size = max((step or b"\xff")[0], 1)
    pieces = [body[at : at + size] for at in range(0, len(body), size)] if size < 255 else [body]
    for batch, given in ((compiled, [body]), (compiled, pieces), (plain, pieces)):
        found = streamed(Batch(batch, minimal=minimal), given)
        assert found == expected, f"{given!r}: {found!r}, and ping by ping {expected!r}"
    for wanted in (body, b"[" + body + b"]"):
        found = arrayed(Batch(compiled, minimal=minimal), wanted)
        expected = expected_array(wanted, minimal=minimal)
        assert found == expected, f"{wanted!r}: {found!r}, and ping by ping {expected!r}"


def made(rng: random.Random) -> bytes:
    """Make a stream or the inside of an array, mostly of pings as clients write them."""
    count = rng.choice((0, 1, 2, 3, 5, 40))
    items = [fuzz_ping.made_body(rng) for _ in range(count)]
    if rng.random() < 0.5:
        items = [item.replace(b"\n", b" ") for item in items]
    odd = (b"", b" \t\r", b"1", b"null", b'"a"', b"[]", b"x" * (LIMIT + 1), b'{"ip":"84.0.1.1"' + b" " * LIMIT + b"}")
    items = [rng.choice(odd) if rng.random() < 0.05 else item for item in items]
    glue = rng.choice((b"\n", b"\n", b"\r\n", b",", b",", b" ,\n"))
    return bytes([rng.randrange(256), rng.choice((1, 7, 64, 200, 255))]) + glue.join(items) + rng.choice((b"", b"\n"))


def seeds() -> Iterator[bytes]:
    rng = random.Random(7)
    yield from (made(rng) for _ in range(60))


if __name__ == "__main__":
    main(
        "batch",
        one,
        seeds,
        input_bytes=1024,
        words=[*(bytes([byte]) for byte in b'\n,[]{}"\\'), b'{"ip":"84.0.1.1"}', b'{"serving":"36801"}', b'"id":"', b"\r\n"],
    )
