"""The obvious form of `_fastpath.address`: `ipaddress` reads the text, a literal list says the class.

The list is the IANA IPv4 and IPv6 Special-Purpose Address Registries of 2025-10-09, with 0.0.0.0/0, ::/0 and 2000::/3
of the address space registries, multicast (RFC 5771, RFC 4291), deprecated site-local (RFC 3879) and the deprecated
compatible addresses (RFC 4291). The longest prefix that covers an address wins; `None` is globally reachable.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

BLOCKS: tuple[tuple[str, str | None], ...] = (
    ("0.0.0.0/0", None),
    ("0.0.0.0/8", "this_network"),
    ("0.0.0.0/32", "this_network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link_local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol_assignments"),
    ("192.0.0.0/29", "protocol_assignments"),  # IPv4 service continuity
    ("192.0.0.8/32", "protocol_assignments"),  # IPv4 dummy address
    ("192.0.0.9/32", None),  # Port Control Protocol anycast
    ("192.0.0.10/32", None),  # TURN anycast
    ("192.0.0.170/32", "protocol_assignments"),  # NAT64/DNS64 discovery
    ("192.0.0.171/32", "protocol_assignments"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", None),  # AS112-v4
    ("192.52.193.0/24", None),  # AMT
    ("192.88.99.0/24", "deprecated_6to4"),
    ("192.88.99.2/32", "deprecated_6to4"),  # 6a44 relay anycast
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", None),  # direct delegation AS112
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("255.255.255.255/32", "broadcast"),
    ("::/0", "reserved"),
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("64:ff9b:1::/48", "translation"),
    ("100::/64", "discard"),
    ("100:0:0:1::/64", "dummy"),
    ("2000::/3", None),
    ("2001::/23", "protocol_assignments"),
    ("2001:1::1/128", None),  # Port Control Protocol anycast
    ("2001:1::2/128", None),  # TURN anycast
    ("2001:1::3/128", None),  # DNS-SD service registration anycast
    ("2001:2::/48", "benchmarking"),
    ("2001:3::/32", None),  # AMT
    ("2001:4:112::/48", None),  # AS112-v6
    ("2001:10::/28", "deprecated_orchid"),
    ("2001:20::/28", None),  # ORCHIDv2
    ("2001:30::/28", None),  # drone remote id protocol entity tags
    ("2001:db8::/32", "documentation"),
    ("2620:4f:8000::/48", None),  # direct delegation AS112
    ("3fff::/20", "documentation"),
    ("5f00::/16", "srv6_sids"),
    ("fc00::/7", "unique_local"),
    ("fe80::/10", "link_local"),
    ("fec0::/10", "site_local"),
    ("ff00::/8", "multicast"),
)

CLOTHES: tuple[tuple[str, str], ...] = (
    ("::ffff:0:0/96", "mapped"),
    ("::/96", "compatible"),
    ("2002::/16", "6to4"),
    ("2001::/32", "teredo"),
    ("64:ff9b::/96", "nat64"),
)

NETWORKS = tuple(ipaddress.ip_network(network) for network, _ in (*BLOCKS, *CLOTHES))

# (family, prefix length) -> {network bits: class}, the longest prefixes first.
_BY_LENGTH: dict[tuple[int, int], dict[int, str | None]] = {}
for _text, _special in sorted(BLOCKS, key=lambda block: -int(block[0].partition("/")[2])):
    _network = ipaddress.ip_network(_text)
    _bits = int(_network.network_address) >> (_network.max_prefixlen - _network.prefixlen)
    _BY_LENGTH.setdefault((_network.version, _network.prefixlen), {})[_bits] = _special


class Expected(NamedTuple):
    family: int
    value: int
    special: str | None
    clothing: str | None


def special(family: int, value: int) -> str | None:
    for (version, prefix_len), blocks in _BY_LENGTH.items():
        if version == family:
            bits = value >> ((32 if family == 4 else 128) - prefix_len)
            if bits in blocks:
                return blocks[bits]
    raise AssertionError("0.0.0.0/0 and ::/0 cover everything")


def undress(address: ipaddress.IPv6Address) -> tuple[ipaddress.IPv4Address, str] | None:
    last = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped, "mapped"
    if address.sixtofour is not None:
        return address.sixtofour, "6to4"
    if address.teredo is not None:
        return address.teredo[1], "teredo"
    if int(address) >> 32 == 0x0064FF9B << 64:
        return last, "nat64"
    if int(address) >> 32 == 0 and int(address) > 1:
        return last, "compatible"
    return None


def canonical(address: Address) -> Expected:
    clothing = None
    if isinstance(address, ipaddress.IPv6Address) and (undressed := undress(address)) is not None:
        address, clothing = undressed
    return Expected(address.version, int(address), special(address.version, int(address)), clothing)


def parse(text: str | bytes) -> Expected | None:
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    if "%" in text:
        return None
    try:
        return canonical(ipaddress.ip_address(text))
    except ValueError:
        return None
