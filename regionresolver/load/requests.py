"""Pings to the bytes of requests, and what their answers must look like.

Headers are those that okhttp sends, and the user's. GET carries what has a place in a query (ip, serving, sim).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import orjson

from regionresolver.load.pings import Ping, made_pings, read_objects, read_pings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regionresolver.load.plan import Plan

POOL: Final = 20_000
"""Made requests that are sent in turn, or as many as a short plan needs; all are built before the first is sent."""

OK: Final = 200
_QUERY: Final = ("ip", "serving", "sim")
MEMBERS: Final[dict[str, tuple[bytes, ...]]] = {
    "resolve": (b'"region":', b'"confidence":'),
    "decisions": (b'"decision":', b'"region":', b'"policy":'),
    "batch": (b'"results":', b'"summary":'),
}


@dataclass(frozen=True, slots=True)
class Requests:
    """The bytes of each request, which of `names` it is, and the ping of it (for a batch of the first)."""

    content: list[bytes]
    kinds: bytes
    names: tuple[str, ...]
    pings: list[Ping]
    due: list[Ping] | None

    @property
    def expected(self) -> list[tuple[int, tuple[bytes, ...]]]:
        """Status and members of the answers, by kind."""
        return [(OK, MEMBERS[name]) for name in self.names]


def made_requests(plan: Plan) -> Requests:
    """Build every request of a plan. Raises LoadError for files that cannot be used."""
    pings = read_pings(plan.pings) if plan.pings else made_pings(_needed(plan), plan.seed)
    due = [found for _, found in read_objects(plan.expect)] if plan.expect else None
    rng = random.Random(plan.seed)  # noqa: S311
    names = tuple(plan.mix.parts)
    chosen = rng.choices(range(len(names)), list(plan.mix.parts.values()), k=len(pings))
    head = _head(plan)
    content: list[bytes] = []
    for at, kind in enumerate(chosen):
        if names[kind] == "resolve":
            content.append(_get(plan, head, pings[at]))
        elif names[kind] == "decisions":
            content.append(_post(plan, head, "/v1/decisions", {"id": f"{rng.getrandbits(64):016x}"} | pings[at]))
        else:
            several = [pings[(at + i) % len(pings)] for i in range(plan.mix.batch_size)]
            content.append(_post(plan, head, "/v1/decisions/batch", several))
    return Requests(content, bytes(chosen), names, pings, due)


def _needed(plan: Plan) -> int:
    most = POOL if plan.closed else int(max(plan.rate, plan.rate_to or 0) * (plan.warm_up_s + plan.duration_s)) + 1
    return min(POOL, most, plan.requests_max or POOL)


def _head(plan: Plan) -> str:
    connection = "Keep-Alive" if plan.keep_alive else "close"
    lines: Sequence[str] = (
        f"Host: {plan.whom.name}", f"Connection: {connection}", "Accept-Encoding: identity", "User-Agent: regionresolver-load",
        *plan.headers,
    )  # fmt: skip
    return "".join(f"{line}\r\n" for line in lines)


def _get(plan: Plan, head: str, ping: Ping) -> bytes:
    fields = {name: _text(ping[name]) for name in _QUERY if ping.get(name) is not None}
    return f"GET {plan.whom.prefix}/v1/resolve?{urlencode(fields, safe=':')} HTTP/1.1\r\n{head}\r\n".encode()


def _text(value: object) -> str:
    """A PLMN may be an object; a query has its digits."""
    return f"{value.get('mcc')}-{value.get('mnc')}" if isinstance(value, dict) else str(value)


def _post(plan: Plan, head: str, path: str, content: object) -> bytes:
    body = orjson.dumps(content)
    lines = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"POST {plan.whom.prefix}{path} HTTP/1.1\r\n{lines}\r\n".encode() + body
