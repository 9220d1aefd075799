"""Overrides the obvious way: of those that hold at an instant and cover the signal, the most specific one."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from tests.reference.addresses import canonical
from tests.reference.plmn import longest_prefix

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from regionresolver.model import Override
    from tests.reference.addresses import Address


def holds(override: Override, at: dt.datetime) -> bool:
    return override.expires is None or at < override.expires


def of_address(overrides: Sequence[Override], address: Address, at: dt.datetime) -> Override | None:
    """Return the override of an address, in whatever clothes it comes."""
    bare = canonical(address)
    plain = (ipaddress.IPv4Address if bare.family == 4 else ipaddress.IPv6Address)(bare.value)
    networks = [(ipaddress.ip_network(one.prefix), one) for one in overrides if one.kind == "network" and holds(one, at)]
    # :: and ::1 are left, and nobody has them.
    covering = [
        (network.prefixlen, one) for network, one in networks if plain in network and not (bare.family == 6 and bare.value < 2)
    ]
    return max(covering, key=lambda found: found[0], default=(0, None))[1]


def of_plmn(overrides: Sequence[Override], digits: str, *, mnc_known: bool, at: dt.datetime) -> tuple[Override | None, int]:
    """Return the override of a PLMN or of the first digits of an IMSI, and its number of digits."""
    plmns = [one for one in overrides if one.kind == "plmn" and holds(one, at)]
    rows = [(one.prefix, number, one.exact) for number, one in enumerate(plmns, 1)]
    number, length = longest_prefix(rows, digits, mnc_known=mnc_known)
    return (plmns[number - 1] if number else None), length
