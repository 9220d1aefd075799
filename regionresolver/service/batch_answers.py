"""What a batch is answered with: the bytes of its pings in, the bytes of their answers out, without any HTTP.

The compiled path answers what is of its grammar (_fastpath/batch.pyx), a slice at a time; every other ping is answered here,
one by one, in its place. Both ways give the same bytes. Where nothing is compiled for what is asked (`explain`, `strict`, a
resolver that is not the one whose texts are kept), every ping is answered here.

The generators yield an answer in parts. Between two the loop may be given to others; a part may be empty.
"""

from collections.abc import Iterator

import orjson

from _fastpath.batch import ODD, WHOLE, BatchAnswers, Elements
from _fastpath.texts import Texts
from regionresolver.errors import PingError
from regionresolver.model import Effect
from regionresolver.resolver import Resolver
from regionresolver.resolver.documents import Explain, decision_document
from regionresolver.resolver.pings import Fields
from regionresolver.service import pings
from regionresolver.service.batch_items import LineSplitter, read_array
from regionresolver.service.handlers import decided
from regionresolver.service.problems import BODY_TOO_LARGE, Problem, ProblemError, problem_of
from regionresolver.service.state import ServiceState

MOST_PINGS = 10_000

SLICE_S = 0.0005
SEND_BYTES = 64 * 1024

# The answer to an array goes out in one piece with its length, unless it is longer than this (with `explain`).
HELD_BYTES = 8 * 1024 * 1024

_EFFECTS = (Effect.ALLOW, Effect.DENY, Effect.REVIEW)


class Batch:
    """One batch: how its pings are to be answered, and the count of what they got."""

    def __init__(
        self,
        state: ServiceState,
        *,
        minimal: bool = False,
        explain: Explain = "none",
        strict: bool = False,
        identity: str = "",
    ) -> None:
        """Answer as the parameters of the request want it; `identity` is the request's id, which problems name."""
        self.state = state
        self.minimal = minimal
        self._explain, self._strict, self._identity = explain, strict, identity
        self._limit_bytes = state.settings.body_limit_bytes
        self._compiled = BatchAnswers(self._limit_bytes, minimal)
        self._splitter = LineSplitter(self._limit_bytes)
        self._fault: Problem | None = None
        self._failed = 0
        self._effects = dict.fromkeys(_EFFECTS, 0)

    @property
    def total(self) -> int:
        """How many pings have been answered."""
        return self.summary()["total"]

    def summary(self) -> dict[str, int]:
        """Give the counts as they are answered."""
        compiled = zip(_EFFECTS, self._compiled.effects, strict=True)
        counts = {effect.value: self._effects[effect] + count for effect, count in compiled}
        return {"total": self._failed + sum(counts.values()), **counts, "failed": self._failed}

    def array(self, body: bytes) -> Iterator[bytes]:
        """Yield the answer to an array, on one generation. Raises ProblemError, before the first part that is not empty."""
        resolver = self.state.resolver
        texts, policy, generation = self._texts_of(resolver), resolver.policy.label, resolver.generation
        elements = yield from read_array(body, self._limit_bytes, MOST_PINGS)
        yield b'{"results":['
        at = 0
        while at < len(elements):
            stop = ODD
            if texts is not None:
                at, stop, said = self._compiled.elements(texts, elements, at)
                yield said
            if stop == ODD:
                yield self._element(resolver, body, elements, at)
                at += 1
        closing = {"summary": self.summary(), "policy": policy, "data": generation}
        yield b"]," + orjson.dumps(closing)[1:]

    def lines(self, piece: bytes) -> Iterator[bytes]:
        """Yield the answers to the lines that end in the next piece of a stream, on the generation of the moment.

        A stream may outlive a generation, and each answer names its own.
        """
        resolver = self.state.resolver
        texts, at = self._texts_of(resolver), 0
        if self._splitter.has_begun:
            end = piece.find(b"\n")
            if end >= 0:
                yield self._line(resolver, texts, self._splitter.end_line(piece[:end]))
                at = end + 1
        while not self._splitter.has_begun:
            stop = ODD
            if texts is not None:
                at, stop, said = self._compiled.lines(texts, piece, at)
                yield said
            if stop == WHOLE:
                break
            if stop == ODD:
                end = piece.find(b"\n", at)
                if end < 0:
                    break
                yield self._line(resolver, None, piece[at:end] if end - at <= self._limit_bytes else None)
                at = end + 1
        self._splitter.keep(piece[at:])

    def last_lines(self) -> Iterator[bytes]:
        """Yield the answer to a last line without an end, and the line that says that all is answered."""
        resolver = self.state.resolver
        yield self._line(resolver, self._texts_of(resolver), self._splitter.end_line(b""))
        yield orjson.dumps({"summary": self.summary(), "complete": True}) + b"\n"

    def _texts_of(self, resolver: Resolver) -> Texts | None:
        """Give the texts of the compiled answers, None where Python has to answer all."""
        texts = self.state.texts
        if self._strict or self._explain != "none" or texts is None or texts.engine is not resolver.engine:
            return None
        return texts

    def _element(self, resolver: Resolver, body: bytes, elements: Elements, at: int) -> bytes:
        begin, end = elements[at]
        said = self._answer(resolver, body[begin:end] if end - begin <= self._limit_bytes else None)
        if said is None:
            return b""
        comma, self._compiled.has_said = b"," if self._compiled.has_said else b"", True
        return comma + said

    def _line(self, resolver: Resolver, texts: Texts | None, line: bytes | None) -> bytes:
        """Answer one line, None for one that is too long; by the compiled path if it has texts and can."""
        if line is not None and texts is not None:
            _, stop, said = self._compiled.lines(texts, line + b"\n", 0)
            if stop != ODD:
                return said
        if line is not None and not line.strip(b" \t\r"):
            return b""
        answer = self._answer(resolver, line)
        return b"" if answer is None else answer + b"\n"

    def _answer(self, resolver: Resolver, text: bytes | None) -> bytes | None:
        """Answer a ping (None: one that is too long) as JSON; None where the client wants nothing said of it."""
        if text is None:
            return self._refuse(Problem(BODY_TOO_LARGE, f"a ping may have {self._limit_bytes} bytes"), None)
        ping: dict[str, object] = {}
        try:
            ping = pings.parse_ping(text)
            decision = decided(resolver, ping, strict=self._strict)
            if self.minimal and decision.effect is Effect.ALLOW:
                said = None
            else:
                said = orjson.dumps(decision_document(decision, self._explain))
        except (ProblemError, PingError) as error:
            return self._refuse(problem_of(error), ping.get("id"))
        except Exception as error:  # noqa: BLE001 - of this ping; the others have nothing to do with it
            self._fault = self._fault or problem_of(error)  # which logs it: once a batch, however many pings meet it
            return self._refuse(self._fault, ping.get("id"))
        self._effects[decision.effect] += 1
        self.state.record(decision)
        return said

    def _refuse(self, problem: Problem, id_: object) -> bytes:
        self._failed += 1
        return orjson.dumps({"id": Fields().text("id", id_)} | problem.members(self._identity))
