"""From a request to a ping: its type, its body as a JSON object, and the parameters of the query.

What is malformed as a *document* is refused here (type, coding, size, time, JSON, object, duplicate keys); a malformed
*value* is left to the resolver, which answers all the same. A repeated parameter is refused, because a proxy and a
service may choose different ones; a parameter that is not known is ignored, for clients are newer than servers.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, cast, get_args

import orjson
from aiohttp import HttpVersion11, web

from _fastpath.ping import keys_written
from regionresolver.errors import PingError
from regionresolver.resolver.wire import Explain, Include
from regionresolver.service.problems import (
    BODY_NOT_JSON,
    BODY_NOT_OBJECT,
    BODY_TOO_LARGE,
    DUPLICATE_KEY,
    MEDIA_TYPE,
    ProblemError,
    body_overdue,
)

# The parameters of a query that choose, by name: what each may be, and what it then means.
CHOICES: Final[Mapping[str, Mapping[str, str]]] = {
    "explain": {word: word for word in get_args(Explain)},
    "strict": {"": "1", "true": "1", "1": "1", "false": "", "0": ""},
    "include": {word: word for word in get_args(Include)},
}

JSON = "application/json"
_PLAIN_JSON = frozenset((JSON, "application/json; charset=utf-8", "application/json;charset=utf-8"))
"""The types that nearly every client writes."""
_JSON_TYPE = re.compile(r"application/(?:[!#$&^_.+a-z0-9-]+\+)?json")

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"')
CONTINUED = web.RequestKey("continued", bool)
"""Set where the client was told to send the body."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def hold_continue(request: web.Request) -> None:
    """Leave the `100 Continue` to the reading of the body: aiohttp sends it before anything else has been looked at."""
    if request.version == HttpVersion11 and not _expects_continue(request):
        raise web.HTTPExpectationFailed


async def read_ping(request: web.Request, limit_bytes: int, timeout_s: float) -> dict[str, object]:
    """Read a request's body as one JSON object of at most `limit_bytes`. Raises ProblemError."""
    check_type(request)
    return parse_ping(await read_body(request, limit_bytes, timeout_s, "ping"))


def parse_ping(body: bytes) -> dict[str, object]:
    """Parse one JSON object, refusing what orjson would let pass: a key given twice. Raises ProblemError."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ProblemError(
            BODY_NOT_JSON, "the body is not JSON in UTF-8, or has half a surrogate pair or too many levels"
        ) from None
    if not isinstance(document, dict):
        raise ProblemError(BODY_NOT_OBJECT, "a ping is one JSON object")
    written = keys_written(body)
    if written != len(document) and written != _keys_kept(document):  # with a key at a lower level, or one twice
        raise ProblemError(DUPLICATE_KEY, "an object has the same key twice")
    return document


def _keys_kept(document: dict[str, object]) -> int:
    """Count the keys that a parsed document still has; without recursion, for the depth is the client's choice."""
    count = len(document)
    pending: list[object] = [value for value in document.values() if isinstance(value, dict | list)]
    while pending:
        match pending.pop():
            case dict() as found:
                count += len(found)
                pending.extend(found.values())
            case list() as found:
                pending.extend(found)
    return count


def check_type(request: web.Request, *also: str) -> str:
    """Give the type of a body, which must be JSON or one of `also`, in UTF-8 and not compressed; JSON where none is given."""
    headers = request.headers
    if headers.get("Content-Type", JSON) in _PLAIN_JSON and "Content-Encoding" not in headers:
        return JSON
    taken, found = (JSON, *also), JSON
    if "Content-Type" in headers:
        found = request.content_type.lower()
        if _JSON_TYPE.fullmatch(found):
            found = JSON
        if found not in taken:
            raise ProblemError(MEDIA_TYPE, f"the body must be {_or(taken)}", headers={"Accept": ", ".join(taken)})
        if (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
            raise ProblemError(MEDIA_TYPE, "the body must be in UTF-8")
    codings = ",".join(headers.getall("Content-Encoding", ["identity"])).lower().split(",")
    if any(coding.strip(" \t") != "identity" for coding in codings):
        raise ProblemError(MEDIA_TYPE, "the body must not be compressed", headers={"Accept-Encoding": "identity"})
    return found


async def read_body(request: web.Request, limit_bytes: int, timeout_s: float, what: str) -> bytes:
    """Read at most `limit_bytes` in at most `timeout_s`; past either the connection is closed after the answer."""
    if request.content_length is not None and request.content_length > limit_bytes:
        raise _too_large(what, limit_bytes)
    content = request.content
    if content.is_eof() and content.exception() is None:  # all of it came with the head, as a ping's mostly does
        whole = content.read_nowait()
        if len(whole) > limit_bytes:
            raise _too_large(what, limit_bytes)
        return whole
    await send_continue(request)
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in content.iter_any():
                body += chunk
                if len(body) > limit_bytes:
                    raise _too_large(what, limit_bytes)
    except TimeoutError:
        overdue = body_overdue(timeout_s)
        raise ProblemError(overdue.kind, overdue.detail, close=True) from None
    return bytes(body)


def _too_large(what: str, limit_bytes: int) -> ProblemError:
    return ProblemError(BODY_TOO_LARGE, f"a {what} may have {limit_bytes} bytes", close=True)


async def send_continue(request: web.Request) -> None:
    """Send `100 Continue` to a client that waits for it before it sends the body."""
    if _expects_continue(request):
        await request.writer.write(_CONTINUE)
        request.writer.output_size = 0  # the answer has not begun
        request[CONTINUED] = True


def _expects_continue(request: web.Request) -> bool:
    """Say whether the client waits for a `100 Continue`; HTTP/1.0 has none."""
    return request.version == HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue"


def parameter(request: web.Request, name: str) -> str | None:
    """Give one parameter of the query, `None` when it is not given. Raises PingError when it is repeated."""
    if "?" not in request.raw_path:
        return None
    query = request.query
    value = query.get(name)
    if value is not None and len(query.getall(name)) > 1:
        raise PingError(f"the query parameter {name} is given more than once")
    return value


def signal(request: web.Request, name: str) -> str | None:
    """Give a signal of the query as text; an empty one counts as not given, so that `?ip=&serving=36801` works."""
    return parameter(request, name) or None


class Wanted(NamedTuple):
    """What the query chooses of an answer."""

    explain: Explain = "none"
    """How much of the why it carries."""
    strict: bool = False
    """Whether a malformed value is refused."""
    record: bool = False
    """Whether the databases' own records are added."""


_NOTHING_SAID = Wanted()


def wanted(request: web.Request, *names: str) -> Wanted:
    """Read the choices of these names; the bare name `strict` means true. Raises PingError."""
    if "?" not in request.raw_path:
        return _NOTHING_SAID
    said = {name: _choice(request, name) for name in names}
    return Wanted(cast("Explain", said.get("explain") or "none"), said.get("strict") == "1", said.get("include") == "record")


def prefers_minimal(request: web.Request) -> bool:
    """Say whether the first `return` of `Prefer` is `minimal` (RFC 7240, section 2); nothing in quotes is looked at."""
    for preference in _QUOTED.sub("", ",".join(request.headers.getall("Prefer", []))).split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip(" \t").lower() == "return":
            return value.strip(" \t").lower() == "minimal"
    return False


def _choice(request: web.Request, name: str) -> str | None:
    value, choices = parameter(request, name), CHOICES[name]
    if value is not None and value not in choices:
        raise PingError(f"the query parameter {name} must be {_or([choice for choice in choices if choice])}")
    return choices[value] if value is not None else None


def _or(words: Sequence[str]) -> str:
    return " or ".join(words)
