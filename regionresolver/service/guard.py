"""What aiohttp's parser lets through and RFC 9112 does not: refused with 400, and the connection closed.

aiohttp 3.14 answers a request line that it takes for HTTP/0.9, a Transfer-Encoding beside a Content-Length, HTTP/1.0
with a Transfer-Encoding, raw bytes above 0x7F in the target, and empty, doubled or comma-joined Hosts. Two parsers that
read such a request differently are how requests are smuggled past a proxy, so none of them is served.
"""

import re
from itertools import chain
from typing import TYPE_CHECKING, cast

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web

from regionresolver.service.problems import BAD_REQUEST, HEAD_TOO_LARGE, MAX_HEAD_BYTES, ProblemError

if TYPE_CHECKING:
    from regionresolver.service.connection import Connection

# RFC 3986, section 3.2: host [ ":" port ], without userinfo; a comma would be two Hosts joined by a proxy.
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+)(?::[0-9]{0,5})?")


def check(request: web.BaseRequest) -> None:
    """Refuse a request that parsers may read differently, or whose head is longer than the limit. Raises ProblemError."""
    if not cast("Connection", request.protocol).is_short and head_bytes(request) > MAX_HEAD_BYTES:
        raise ProblemError(HEAD_TOO_LARGE.kind, HEAD_TOO_LARGE.detail, close=True)
    if (fault := fault_of(request)) is not None:
        raise ProblemError(BAD_REQUEST, fault, close=True)


def head_bytes(request: web.BaseRequest) -> int:
    """Count the bytes of a request's head as it is written without needless blanks."""
    line = len(request.method) + len(request.raw_path) + len("  HTTP/1.1\r\n")
    lines = request.raw_headers
    return line + len(": \r\n") * len(lines) + len(b"".join(chain.from_iterable(lines)))


def fault_of(request: web.BaseRequest) -> str | None:
    """Say what is wrong with a request's head; `None` when nothing is."""
    if request.version not in (HttpVersion10, HttpVersion11):
        return "the HTTP version is not 1.0 or 1.1"
    if not request.raw_path.isascii():
        return "the request target is not ASCII"
    headers = request.headers
    hosts = headers.getall(hdrs.HOST, ())
    if len(hosts) > 1 or (not hosts and request.version == HttpVersion11):
        return "exactly one Host is needed"
    if hosts and _HOST.fullmatch(hosts[0]) is None:
        return "the Host is not a host and port"
    if hdrs.TRANSFER_ENCODING not in headers and hdrs.CONTENT_LENGTH not in headers:
        return None
    codings = headers.getall(hdrs.TRANSFER_ENCODING, ())
    lengths = headers.getall(hdrs.CONTENT_LENGTH, ())
    if codings and (lengths or request.version == HttpVersion10 or [coding.lower() for coding in codings] != ["chunked"]):
        return "the body's length is ambiguous"
    if len(lengths) > 1:
        return "exactly one Content-Length may be given"
    return None
