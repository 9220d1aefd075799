"""Whose address a request came from: the rightmost hop that is not a trusted proxy.

The hops are the peer of the connection, then `X-Forwarded-For` from the right, or `Forwarded` (RFC 7239) from the right.
A proxy appends on the right, so everything left of the first hop that we do not trust may be forged, and is not read.

Refused with `UntrustedClientError`, for a guess would let a client choose its region:

- no hop is untrusted (the request is the proxy's own, or `trusted_proxies` is too wide);
- a hop that has to be read is no address (`unknown`, an obfuscated identifier, a CIDR, a zone id);
- both headers are there and name different clients: a proxy that writes one of them passes the client's other on;
- `Forwarded` breaks its grammar anywhere: an unclosed quote in a client's part can swallow the proxy's part, and a
  forgiving parser would then take the forged hop (field lines are parsed one by one for the same reason).
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from regionresolver.errors import PingError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_IPV4_AND_PORT = re.compile(r"([0-9.]{7,15}):[0-9]{1,5}")
_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?")

# forwarded-pair = token "=" ( token / quoted-string ). Unquoted ":", "[" and "]" are not tokens, yet proxies write them,
# and no reading of them is ambiguous.
_PAIR = re.compile(r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:([!#$%&'*+.^_`|~0-9A-Za-z:\[\]-]+)|"((?:[^"\\]|\\[\t -~])*)")""")
_SEPARATOR = re.compile(r"[ \t]*([;,])[ \t]*")
_BLANKS = re.compile(r"[ \t]*")


class UntrustedClientError(PingError):
    """The client's address cannot be told from the hops that are trusted."""

    code = "CLIENT_IP_UNTRUSTED"
    title = "The client's address cannot be trusted"


def client_address(
    peer: str | None, forwarded_for: Sequence[str], forwarded: Sequence[str], trusted: Sequence[Network]
) -> Address:
    """Give the client's address from the connection's peer and the field lines of the two headers.

    `peer` is `None` where the connection has no address (a Unix socket). Raises UntrustedClientError.
    """
    address = _parse_peer(peer)
    if address is None:
        raise UntrustedClientError("the connection has no peer address")
    if not _is_trusted(address, trusted):
        return address
    clients = []
    if forwarded_for:
        clients.append(_rightmost_untrusted(_hops_of_forwarded_for(forwarded_for), trusted))
    if forwarded:
        clients.append(_rightmost_untrusted(_hops_of_forwarded(forwarded), trusted))
    if not clients:
        raise UntrustedClientError("the peer is a trusted proxy and names no client")
    if len(set(clients)) != 1:
        raise UntrustedClientError("X-Forwarded-For and Forwarded name different clients")
    return clients[0]


def is_trusted(peer: str | None, trusted: Sequence[Network]) -> bool:
    """Say whether the peer of a connection is a trusted proxy."""
    address = _parse_peer(peer)
    return address is not None and _is_trusted(address, trusted)


def _rightmost_untrusted(hops: Sequence[str | None], trusted: Sequence[Network]) -> Address:
    for hop in reversed(hops):
        address = _parse_hop(hop) if hop is not None else None
        if address is None:
            raise UntrustedClientError("a trusted proxy names a client that is no IP address")
        if not _is_trusted(address, trusted):
            return address
    raise UntrustedClientError("every hop is a trusted proxy")


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted if network.version == address.version)


def _hops_of_forwarded_for(lines: Sequence[str]) -> list[str | None]:
    return [hop.strip(" \t") for line in lines for hop in line.split(",")]


def _hops_of_forwarded(lines: Sequence[str]) -> list[str | None]:
    """Give the `for` of each forwarded-element, `None` for an element without one."""
    hops: list[str | None] = []
    for line in lines:
        hops.extend(element.get("for") for element in _elements(line))
    return hops


def _elements(line: str) -> list[dict[str, str]]:
    """Parse one field line: forwarded-element *( "," forwarded-element ), each *( forwarded-pair ";" )."""
    elements: list[dict[str, str]] = [{}]
    position = _end(_BLANKS, line, 0)
    while position < len(line):
        if (pair := _PAIR.match(line, position)) is not None:
            name, token, quoted = pair[1].lower(), pair[2], pair[3]
            if name in elements[-1]:
                raise UntrustedClientError("Forwarded names a parameter twice")
            elements[-1][name] = token if token is not None else re.sub(r"\\(.)", r"\1", quoted)
            position = _end(_BLANKS, line, pair.end())
        if position == len(line):
            break
        if (separator := _SEPARATOR.match(line, position)) is None:
            raise UntrustedClientError("Forwarded is malformed")
        if separator[1] == ",":
            elements.append({})
        position = separator.end()
    return elements


def _end(pattern: re.Pattern[str], line: str, position: int) -> int:
    match = pattern.match(line, position)
    return match.end() if match is not None else position


def _parse_hop(text: str) -> Address | None:
    """Read an address as proxies write it: bare, `a.b.c.d:port`, `[v6]` or `[v6]:port`."""
    match = _IPV4_AND_PORT.fullmatch(text) or _BRACKETED.fullmatch(text)
    return _parse(match[1] if match else text)


def _parse_peer(text: str | None) -> Address | None:
    return _parse(text.partition("%")[0]) if text else None  # the kernel adds the zone to a link-local peer


def _parse(text: str) -> Address | None:
    """Read an address; one mapped into IPv6 (a dual-stack socket's peer) counts as the IPv4 that it is."""
    if "%" in text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
