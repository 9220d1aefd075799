"""The compiled answers to batches: byte for byte what Python answers ping by ping, however the bytes come."""

from __future__ import annotations

import itertools
import json
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath.batch import ODD, SLICE, WHOLE, BatchAnswers, Elements
from _fastpath.texts import Texts
from regionresolver.service.batch_answers import MOST_PINGS, Batch
from regionresolver.service.protocol import compose
from tests.fuzz import fuzz_batch
from tests.fuzz.fuzz_ping import mutated
from tests.reference.batches import elements

if TYPE_CHECKING:
    from regionresolver.resolver import Resolver

PING = b'{"id":"p","serving":"36801"}'
LIMIT = 16 * 1024
HOSTILE = (PING, b"{}", b" ", b"\n", b"\r\n", b",", b"[", b"]", b'"', b"\\")


@pytest.fixture(scope="module")
def texts() -> Texts:
    compiled, _ = fuzz_batch.states()
    assert compiled.texts is not None
    return compiled.texts


def test_made_batches_are_answered_as_ping_by_ping() -> None:
    rng = random.Random(20)
    for _ in range(150):
        content = fuzz_batch.made(rng)
        fuzz_batch.one(content)
        fuzz_batch.one(mutated(content, rng))


@settings(max_examples=150)
@given(st.binary(max_size=2), st.lists(st.sampled_from(HOSTILE), max_size=12))
def test_hostile_batches_are_answered_as_ping_by_ping(cut: bytes, parts: list[bytes]) -> None:
    fuzz_batch.one(cut.ljust(2, b"\1") + b"".join(parts))


def test_a_stream_is_answered_the_same_cut_at_every_byte() -> None:
    compiled, plain = fuzz_batch.states()
    body = b"\n".join([PING, b"", b"{", b'{"id":"\xc3\xa9","serving":"21401"}\r', b"x" * 300, PING, b'{"ip":"84.0.1.1"}'])
    expected = fuzz_batch.streamed(Batch(plain), [body])
    assert expected.count(b"\n") == 7
    for at in range(len(body) + 1):
        assert fuzz_batch.streamed(Batch(compiled), [body[:at], body[at:]]) == expected, at
    assert fuzz_batch.streamed(Batch(compiled), [bytes([byte]) for byte in body]) == expected


@given(st.text('[]{}",\\1 a:\n', max_size=40).map(str.encode))
def test_the_reference_tells_the_elements_of_every_array_apart(body: bytes) -> None:
    """The oracle of arrays has one too."""
    try:
        document = json.loads(body)
    except ValueError:
        return
    if isinstance(document, list):
        found = elements(body)
        assert found is not None
        assert [json.loads(text) for text in found] == document


def test_most_pings_are_answered_by_compiled_code(texts: Texts) -> None:
    """Of the forms that clients send: what is left to Python is slow, and nobody would see."""
    usual = [
        PING,
        b'{"ip":"84.0.1.1","sim":{"mcc":"214","mnc":"01"},"lang":"es"}',
        b'{ "id": "a", "ip": "not one", "sku": "M2101K7AG", "sold_in": "DE", "device_id": "h:9c1e" }\r',
        b'{"serving":"368-01","first_activated_at":"2021-06-01T00:00:00Z","new":7}',
    ]
    answers = BatchAnswers(LIMIT, False)
    body = b"".join(line + b"\n" for line in usual)
    at, stop, said = answers.lines(texts, body, 0)
    assert (at, stop, said.count(b"\n"), sum(answers.effects)) == (len(body), WHOLE, 4, 4)
    body = b"[" + b",".join(usual) + b"]"
    read = Elements(body, LIMIT)
    assert read.read(1, 10) == (len(body), WHOLE)
    assert answers.elements(texts, read, 0)[:2] == (4, WHOLE)
    assert sum(answers.effects) == 8


@pytest.mark.parametrize(
    ("line", "ping_bytes_max"),
    [
        (b'{"serving":36801}', LIMIT),
        (b'{"id":"\\u0041","serving":"36801"}', LIMIT),
        (b'{"id":"p"}', LIMIT),
        (b'{"lang":"%s","serving":"36801"}' % (b"x" * 36), LIMIT),
        (PING, len(PING) - 1),
    ],
)
def test_an_odd_ping_keeps_its_place(texts: Texts, line: bytes, ping_bytes_max: int) -> None:
    before, after = b'{"ip":"84.0.1.1"}', b'{"ip":"62.0.1.1"}'
    answers = BatchAnswers(ping_bytes_max, False)
    body = before + b"\n" + line + b"\n" + after + b"\n"
    at, stop, said = answers.lines(texts, body, 0)
    assert (at, stop, said.count(b"\n")) == (len(before) + 1, ODD, 1)
    at, stop, said = answers.lines(texts, body, at + len(line) + 1)
    assert (at, stop, said.count(b"\n")) == (len(body), WHOLE, 1)
    assert sum(answers.effects) == 2


def test_a_slice_is_bounded_in_pings_and_in_bytes(texts: Texts) -> None:
    for ping, most_pings, most_bytes in ((PING, 1024, 150_000), (b'{"id":"%s","serving":"36801"}' % (b"x" * 256), 1024, 150_000)):
        body, sizes = (ping + b"\n") * 5000, []
        answers, at, stop = BatchAnswers(LIMIT, False), 0, SLICE
        while stop == SLICE:
            before = sum(answers.effects)
            at, stop, said = answers.lines(texts, body, at)
            sizes.append((sum(answers.effects) - before, len(said)))
        assert stop == WHOLE
        assert sum(count for count, _ in sizes) == 5000
        assert all(count <= most_pings and size <= most_bytes for count, size in sizes)
    body = b"[" + b",".join([PING] * 5000) + b"]"
    read, at, reads = Elements(body, LIMIT), 1, 0
    for reads in itertools.count(1):
        at, stop = read.read(at, MOST_PINGS)
        if stop == WHOLE:
            break
        assert len(read) == 1024 * reads
    assert (len(read), reads) == (5000, 5)


def test_a_long_run_of_empty_lines_is_cut_too(texts: Texts) -> None:
    at, stop, said = BatchAnswers(LIMIT, False).lines(texts, b"\n" * 1_000_000, 0)
    assert stop == SLICE
    assert (0 < at < 500_000, said) == (True, b"")


def decided(resolver: Resolver) -> int:
    """How many decisions were counted so far; without a check, which could trip the breaker that all tests share."""
    return resolver.breaker._totals()[0]


def test_what_cannot_be_composed_is_left_to_python(resolver: Resolver) -> None:
    def broken(*_: object) -> bytes:
        raise RuntimeError

    before = decided(resolver)
    for compose_ in (broken, lambda *_: b"{}"):
        answers = BatchAnswers(LIMIT, False)
        assert answers.lines(Texts(resolver.engine, compose_), PING + b"\n", 0) == (0, ODD, b"")
        assert sum(answers.effects) == 0
    assert decided(resolver) == before


def test_places_that_are_none_are_refused(texts: Texts) -> None:
    answers = BatchAnswers(LIMIT, False)
    read = Elements(b"[]", LIMIT)
    for at in (-1, 3):
        with pytest.raises(ValueError, match="no such place"):
            answers.lines(texts, b"ab", at)
        with pytest.raises(ValueError, match="no such place"):
            read.read(at, 1)
        with pytest.raises(ValueError, match="no such element"):
            answers.elements(texts, read, at)
        with pytest.raises(IndexError):
            read[at]
    with pytest.raises(ValueError, match="no such place"):
        read.add_odd(1, 3)
    body = bytearray(b"[]")
    held = Elements(body, LIMIT)
    with pytest.raises(BufferError):
        body.append(1)
    assert len(held) == 0


def test_the_decisions_of_a_batch_are_counted(resolver: Resolver) -> None:
    texts, before = Texts(resolver.engine, compose), decided(resolver)
    answers = BatchAnswers(LIMIT, True)
    assert answers.lines(texts, b'{"serving":"21401"}\n' * 3, 0) == (60, WHOLE, b"")
    assert answers.effects == (3, 0, 0)
    assert decided(resolver) == before + 3
