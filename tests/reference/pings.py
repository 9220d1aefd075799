"""What the service's slow path reads from a query or a body, in the form of `_fastpath.ping`: its oracle.

None stands for a request that is answered with an error or with a notice about a field: those the compiled stage must
leave to Python.
"""

from __future__ import annotations

from yarl import URL

from _fastpath.ping import Read
from regionresolver.errors import PingError
from regionresolver.policy.table import microseconds
from regionresolver.resolver.documents import ping_arguments
from regionresolver.resolver.pings import Fields, ParsedSignals
from regionresolver.service.pings import parse_ping
from regionresolver.service.problems import ProblemError

PARAMETERS = ("ip", "serving", "sim")
OTHER_PARAMETERS = ("explain", "strict", "include")


def query_read(query: bytes) -> Read | None:
    """Read a query as aiohttp and the handler of GET /v1/resolve do; None also where another parameter is looked at."""
    try:
        found = URL.build(path="/", query_string=query.decode("ascii"), encoded=True).query
    except UnicodeDecodeError:
        return None
    if any(name in found for name in OTHER_PARAMETERS) or any(len(found.getall(name, [])) > 1 for name in PARAMETERS):
        return None
    signals = [found.get(name) or None for name in PARAMETERS]
    if not any(signals):
        return None
    return Read(*ParsedSignals(*signals, strict=False).parsed, None, None, None, None, None, None)


def json_read(body: bytes) -> Read | None:
    """Read a body as the handler of POST /v1/decisions does."""
    try:
        fields = ping_arguments(parse_ping(body))
        signals = [fields.get(name) for name in PARAMETERS]
        parsed = ParsedSignals(*signals, strict=False).parsed
    except (ProblemError, PingError):
        return None
    if all(signal is None for signal in signals):
        return None
    read = Fields()
    sku, sold_in, device_id, lang, id_ = (
        as_bytes(read.text(name, fields.get(name))) for name in ("sku", "sold_in", "device_id", "lang", "id")
    )
    instant = read.instant("first_activated_at", fields.get("first_activated_at"))
    if read.notices:
        return None
    return Read(*parsed, sku, sold_in, device_id, None if instant is None else microseconds(instant), lang, id_)


def as_bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
