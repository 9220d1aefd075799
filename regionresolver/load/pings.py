"""The pings of a load test: made from a seed, or read from a file.

**Made.** Addresses are drawn evenly over the global unicast space and kept where the shipped database knows a country, so a
network comes as often as it is large; three in ten are IPv6. SIM and serving network have an MCC of the country that the
situation says. Nobody publishes how often each situation is; `SITUATIONS` is a guess about phones that are being activated,
and every kind of conflict is among them. Popularity follows Zipf's law (exponent 1) over the phones, as when many share the
addresses of an operator's gateways.

**Read.** One JSON object a line: a ping, or an object with a member `ping`. What is no such line is refused by its number.
"""

from __future__ import annotations

import random
from itertools import accumulate
from typing import TYPE_CHECKING, Final

import maxminddb

from regionresolver.errors import LoadError
from regionresolver.resolver import embedded_database
from regionresolver.resolver.ndjson import LONGEST_PING_BYTES, objects
from regionresolver.sources.plmn import PlmnTable

if TYPE_CHECKING:
    from pathlib import Path

Ping = dict[str, object]

SITUATIONS: Final[dict[str, float]] = {
    "home": 0.60,  # SIM, network and address of one country
    "wifi": 0.20,  # no network
    "roaming": 0.06,  # abroad, the address still the SIM's
    "wifi_abroad": 0.04,  # no network, the address of another country than the SIM
    "travel_sim": 0.03,  # network, SIM and address of three countries
    "vpn": 0.03,  # at home, the address elsewhere
    "address_only": 0.02,  # a tablet
    "reserved": 0.02,  # the address of a carrier's NAT
}
IPV6_SHARE: Final = 0.3
FILE_PINGS_MAX: Final = 1_000_000

_IPV6_BLOCKS: Final = (0x2001 << 112, 0x2400 << 112, 0x2600 << 112, 0x2800 << 112, 0x2A00 << 112, 0x2C00 << 112)
_SKUS: Final = ("M2101K7AG", "M2012K11G", "SM-A525F", "22081212UG", "XQ-BT52")
_LANGUAGES: Final = ("en", "es", "fa", "ru", "de", "zh")


def made_pings(count: int, seed: int, phones: int | None = None) -> list[Ping]:
    """Return `count` pings, by Zipf's law of `phones` phones (half as many); the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311
    phones = phones or max(count // 2, 1)
    with maxminddb.open_database(str(embedded_database())) as database:
        world = _World(rng, database)
        known = [world.ping() for _ in range(phones)]
    weights = list(accumulate(1 / rank for rank in range(1, phones + 1)))
    return rng.choices(known, cum_weights=weights, k=count)


class _World:
    """Draws addresses with their countries, and networks of a country."""

    def __init__(self, rng: random.Random, database: maxminddb.Reader) -> None:
        self._rng = rng
        self._database = database
        self._codes: dict[str, list[str]] = {}
        for row in PlmnTable.load().rows:
            if row.kind == "country":
                self._codes.setdefault(row.candidates[0], []).append(row.prefix)
        self._countries = list(self._codes)

    def ping(self) -> Ping:
        """Make one ping, of a situation by its share."""
        rng = self._rng
        situation = rng.choices(list(SITUATIONS), list(SITUATIONS.values()))[0]
        ip, country = self._address()
        other = rng.choice(self._countries)
        sim, serving = country, country
        if situation in {"wifi_abroad", "vpn", "travel_sim"}:
            sim = other
        if situation == "vpn" or situation == "roaming":
            serving = other
        elif situation == "travel_sim":
            serving = rng.choice(self._countries)
        if situation == "reserved":
            ip = f"100.{rng.randrange(64, 128)}.{rng.randrange(256)}.{rng.randrange(256)}"
        found: Ping = {"ip": ip}
        if situation not in {"wifi", "wifi_abroad", "address_only"}:
            found["serving"] = self._plmn(serving)
        if situation != "address_only":
            found["sim"] = self._plmn(sim)
        found |= {"device_id": f"h:{rng.getrandbits(64):016x}", "sku": rng.choice(_SKUS), "lang": rng.choice(_LANGUAGES)}
        return found

    def _plmn(self, country: str) -> str:
        return f"{self._rng.choice(self._codes.get(country) or ['999'])}{self._rng.randrange(1, 21):02}"

    def _address(self) -> tuple[str, str]:
        """Draw until the database knows a country."""
        rng = self._rng
        is_ipv6 = rng.random() < IPV6_SHARE
        while True:
            text = _text_of(rng.choice(_IPV6_BLOCKS) | rng.getrandbits(116)) if is_ipv6 else _octets(rng)
            record = self._database.get(text)
            country = record.get("country") if isinstance(record, dict) else None
            if isinstance(country, dict) and isinstance(code := country.get("iso_code"), str):
                return text, code


def _octets(rng: random.Random) -> str:
    return f"{rng.randrange(1, 224)}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}"


def _text_of(address: int) -> str:
    return ":".join(f"{address >> shift & 0xFFFF:x}" for shift in range(112, -1, -16))


def read_pings(path: Path) -> list[Ping]:
    """Return the pings of an NDJSON file, in their order. Raises LoadError, which names file and line."""
    return [_ping_of(found, path, line) for line, found in read_objects(path)]


def read_objects(path: Path) -> list[tuple[int, Ping]]:
    """Return (line, object) of every line of an NDJSON file. Raises LoadError for another line, for none, and for too many."""

    def refuse(line: int, reason: str) -> None:
        raise LoadError(f"{path}: line {line}: {reason}")

    try:
        with path.open("rb") as stream:
            found = []
            for one in objects(stream, LONGEST_PING_BYTES, refuse):
                found.append(one)
                if len(found) > FILE_PINGS_MAX:
                    raise LoadError(f"{path}: more than {FILE_PINGS_MAX:,} lines: cut it, they are all kept in memory")
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}") from error
    if not found:
        raise LoadError(f"{path}: there is not one ping in it")
    return found


def _ping_of(found: Ping, path: Path, line: int) -> Ping:
    ping = found.get("ping", found)
    if not isinstance(ping, dict):
        raise LoadError(f"{path}: line {line}: `ping` is not a JSON object")
    return ping
