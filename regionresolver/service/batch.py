"""`POST /v1/decisions/batch`: many pings, each answered as `POST /v1/decisions` would answer it alone.

What is answered is batch_answers' to say; here it is read and sent. A JSON array is read whole before anything is decided.
A stream of lines is read, decided and written piece by piece: what is in memory is a piece of the body, a line, and the
answers that are not sent yet. A client that does not read is waited for, and its body meanwhile not read.

The loop is shared: after `SLICE_S` of work others have their turn. A client that is gone ends the work at that moment.
An answer that has begun cannot become a problem any more: it is cut, which the missing last line tells, and so does HTTP.
"""

import asyncio
import time
from collections.abc import Coroutine, Iterator
from typing import Any

from aiohttp import HttpVersion11, web

from regionresolver.service import pings
from regionresolver.service.answering import finish_head
from regionresolver.service.asked import asked
from regionresolver.service.batch_answers import HELD_BYTES, SEND_BYTES, SLICE_S, Batch
from regionresolver.service.problems import ProblemError, close_after, problem_of, stream_overdue

NDJSON = "application/x-ndjson"


async def decide_batch(request: web.Request) -> web.StreamResponse:
    """Answer a JSON array or a stream of lines, as its Content-Type says."""
    is_stream = pings.check_type(request, NDJSON) == NDJSON
    choices = pings.wanted(request, "explain", "strict")
    batch = Batch(
        asked(request).state,
        minimal=pings.prefers_minimal(request),
        explain=choices.explain,
        strict=choices.strict,
        identity=asked(request).identity,
    )
    answer = Answer(request, NDJSON if is_stream else pings.JSON, 0 if is_stream else HELD_BYTES, minimal=batch.minimal)
    try:
        await (_answer_stream if is_stream else _answer_array)(request, batch, answer)
        return await answer.end()
    except ConnectionError:
        raise
    except Exception as error:
        if not answer.begun:
            raise
        problem_of(error)  # which logs what is a fault of ours
        raise ConnectionAbortedError("the answer was cut") from None


class Answer:
    """The answer to a batch on its way to the client."""

    def __init__(self, request: web.Request, content_type: str, held_bytes: int, *, minimal: bool) -> None:
        """Hold back at most `held_bytes` before the answer begins."""
        self._request = request
        self._response = web.StreamResponse(headers={"Preference-Applied": "return=minimal"} if minimal else None)
        self._response.content_type = content_type
        self._timeout_s = asked(request).state.settings.body_timeout_s
        self._most_bytes = max(held_bytes, SEND_BYTES)
        self._parts: list[bytes] = []
        self._size_bytes = 0
        self._slice_ends = time.perf_counter() + SLICE_S

    @property
    def begun(self) -> bool:
        """Whether the head of the answer is sent."""
        return self._response.prepared

    def add(self, part: bytes) -> None:
        """Take the next part, which may be empty."""
        if part:
            self._parts.append(part)
            self._size_bytes += len(part)

    async def pause(self) -> None:
        """Send when there is much to send, and let others have their turn when it is time. Raises ConnectionError."""
        if self._size_bytes >= self._most_bytes:
            await self.send()
        if time.perf_counter() >= self._slice_ends:
            await asyncio.sleep(0)
            if self._request.transport is None:
                raise ConnectionResetError("the client is gone")
            self._slice_ends = time.perf_counter() + SLICE_S

    async def send(self) -> None:
        """Send what there is; with it the head, if it was not sent before."""
        if not self.begun:
            self._most_bytes = SEND_BYTES
            if self._request.version < HttpVersion11 and self._response.content_length is None:
                close_after(self._response)  # which is how such a client sees the end
            finish_head(asked(self._request), self._response)
            await self._response.prepare(self._request)
        for block in self._blocks():
            await self._patiently(self._response.write(block))

    async def end(self) -> web.StreamResponse:
        """Send the rest and end; an answer that was held back whole has its length in its head."""
        if not self.begun:
            self._response.content_length = self._size_bytes
        await self.send()
        await self._patiently(self._response.write_eof())
        return self._response

    def _blocks(self) -> Iterator[bytes]:
        """Yield the parts, joined to blocks of no more than what is to be sent at once, and forget them."""
        parts, self._parts, self._size_bytes = self._parts, [], 0
        begin = size_bytes = 0
        for number, part in enumerate(parts):
            if size_bytes and size_bytes + len(part) > SEND_BYTES:
                yield b"".join(parts[begin:number])
                begin, size_bytes = number, 0
            size_bytes += len(part)
        if size_bytes:
            yield b"".join(parts[begin:])

    async def _patiently(self, writing: Coroutine[Any, Any, None]) -> None:
        """Wait for a client that does not read, as long as it takes something every `body_timeout_s`."""
        task = asyncio.ensure_future(writing)
        left_bytes = -1
        try:
            while not (await asyncio.wait({task}, timeout=self._timeout_s))[0]:
                transport = self._request.transport
                if transport is None:
                    continue  # the task hears of it
                before, left_bytes = left_bytes, transport.get_write_buffer_size()
                if left_bytes == before:
                    transport.abort()
                    raise ConnectionAbortedError("the client does not read")
            await task
        finally:
            task.cancel()


async def _answer_array(request: web.Request, batch: Batch, answer: Answer) -> None:
    settings = batch.state.settings
    body = await pings.read_body(request, settings.batch_body_limit_bytes, settings.body_timeout_s, "batch")
    for part in batch.array(body):
        answer.add(part)
        await answer.pause()


async def _answer_stream(request: web.Request, batch: Batch, answer: Answer) -> None:
    await pings.send_continue(request)
    while piece := await _next_piece(request, batch.state.settings.body_timeout_s):
        for part in batch.lines(piece):
            answer.add(part)
            await answer.pause()
        if batch.total:  # until a line is whole, what goes wrong can still be a problem of its own
            await answer.send()
    for part in batch.last_lines():
        answer.add(part)
    await answer.send()  # without a length, even where nothing was sent before


async def _next_piece(request: web.Request, timeout_s: float) -> bytes:
    """Read what has come of the body, empty at its end; the time is for each reading, not for the stream."""
    try:
        async with asyncio.timeout(timeout_s):
            return await request.content.readany()
    except TimeoutError:
        overdue = stream_overdue(timeout_s)
        raise ProblemError(overdue.kind, overdue.detail, close=True) from None
