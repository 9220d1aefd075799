"""Make the labelled pings: phones whose place is known because they are constructed there.

    python -m benchmarks.make_labelled_pings --sources build/labelled-sources

In go the scenarios and their counts (`benchmarks/data/labelled-pings.toml`), the shipped PLMN table, the embedded database
and four public data sets (below); out comes `benchmarks/data/labelled-pings.ndjson`. The same input gives the same bytes.

No label comes from the resolver. A scenario first says where the phone is, then which signals a phone there sends
(DOMAIN: what each signal physically means), and only then looks for an address and a network that fit:

- An address is of a country when two sources that know nothing of DB-IP agree on it, the registries' (geofeed, whois,
  ASN) and the routing table's (IPtoASN), and when whoever announces it is at home there: carriers and clouds register at
  home what they use all over the world. Otherwise another address is drawn.
- An address is in Crimea, or another contested place, when a provider that serves nothing else announces it. Only
  `crimea_filed_*` ask DB-IP: they test its spellings.
- A network is of a country when the list of networks says so; the operators of Crimea, and the networks that use another
  country's code, are the PLMN table's own.

Each scenario has a random generator of its own, so that a new one leaves the others' pings as they are.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import tomllib
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import maxminddb

from regionresolver.sources.catalogue import Catalogue
from regionresolver.sources.plmn import PlmnTable
from regionresolver.sources.shapes import read_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

DATA = Path(__file__).parent / "data"
SCENARIOS = DATA / "labelled-pings.toml"
PINGS = DATA / "labelled-pings.ndjson"

SEED = 2021
TRIES = 1_000
IMSI_DIGITS = 15
TEST_MSIN = "0123456789"
"""What stands behind the PLMN in every IMSI here: the digits of nobody's subscription."""

RESTRICTED = ("CU", "IR", "SY", "SD", "KP")
CRIMEA = ("UA-43", "UA-40")
CONTESTED = ("UA-14", "UA-09", "MD-SN", "GE-AB")
WATCHED = ("UA", "RU", "GE", "MD")

# Providers that serve one contested place and nothing else, by the names under which they announce their networks.
PROVIDERS = {
    8654: "crimea", 21445: "crimea", 28761: "crimea", 44139: "UA-43", 47203: "crimea", 47939: "UA-43", 56587: "crimea",
    57093: "UA-43", 59833: "UA-40", 198899: "UA-43", 200007: "UA-40", 201776: "crimea", 204791: "crimea", 215167: "crimea",
    29031: "UA-09", 29576: "UA-09", 39728: "UA-09", 208890: "UA-09", 209720: "UA-09",
    39089: "UA-14", 52213: "UA-14", 202279: "UA-14", 204108: "UA-14", 211692: "UA-14", 214721: "UA-14",
    1547: "MD-SN", 208343: "MD-SN",
    44491: "GE-AB", 48275: "GE-AB", 50257: "GE-AB", 51957: "GE-AB", 210956: "GE-AB", 216300: "GE-AB",
}  # fmt: skip

# Carriers, clouds and relays whose addresses are registered at home and used all over the world.
WORLDWIDE_ASNS = {
    174, 701, 1239, 1299, 2914, 3257, 3320, 3356, 3491, 5511, 6453, 6461, 6762, 6939, 7018, 7473, 8075, 9009, 12956, 13335,
    13414, 14061, 14618, 15169, 16276, 16509, 16625, 19527, 20473, 20940, 22822, 24940, 31898, 32934, 36183, 36692, 45102,
    54113, 54994, 55967, 60068, 60781, 63949, 132203, 132892, 136787, 139341, 203020, 206092, 209242, 212238, 396982, 397213,
}  # fmt: skip
LOCAL_SHARE = 0.95
"""An AS is of a country when so much of what it announces is registered there."""

# Operators that stay out of Crimea: their Russian and Ukrainian subscribers are elsewhere, or roam.
RUSSIAN_NETWORKS = ("25001", "25002", "25020", "25099")
UKRAINIAN_NETWORKS = ("25501", "25503", "25506", "25507")
# MCC 250, and neither in Crimea alone nor outside it: the PLMN table has no row for it.
SEVENTH_NETWORK = "25096"

VPN_EXITS = ("NL", "DE", "US", "GB", "FR", "SG", "CH", "SE", "CA", "FI", "JP", "TR", "AE")
TRAVEL_SIMS = ("PL", "HK", "GB", "FR", "NL", "EE", "IL", "SG")
BREAKOUTS = ("NL", "FR", "SG", "HK", "GB", "US", "DE")
SHARED_SIMS_901 = ("90116", "90128", "90131", "90137", "90140")
SATELLITE_PLACES = ("SD", "IR", "YE", "UA", "VE", "ZW", "CD", "SS", "ML")
SATELLITE_GROUNDS = ("US", "GB", "DE", "KE", "NG", "PL")

BORDERS = (
    ("DE", "FR"), ("DE", "PL"), ("DE", "AT"), ("CH", "FR"), ("CH", "DE"), ("FI", "SE"), ("ES", "PT"), ("US", "MX"),
    ("CA", "US"), ("MY", "SG"), ("TH", "LA"), ("IN", "NP"), ("BR", "PY"), ("AR", "CL"), ("ZA", "LS"), ("PL", "LT"),
)  # fmt: skip
RESTRICTED_BORDERS = (
    ("TR", "SY"), ("TR", "IR"), ("IQ", "IR"), ("IQ", "SY"), ("LB", "SY"), ("JO", "SY"), ("AZ", "IR"), ("AM", "IR"),
    ("PK", "IR"), ("AF", "IR"), ("TM", "IR"), ("EG", "SD"), ("TD", "SD"), ("ET", "SD"), ("ER", "SD"), ("SS", "SD"),
    ("CN", "KP"),
)  # fmt: skip
# Neighbours' networks that are used inside: Turkish ones in northern Syria, Chinese ones along the Yalu.
NEIGHBOURS_INSIDE = (("SY", "TR"), ("SY", "TR"), ("SY", "TR"), ("KP", "CN"), ("SD", "TD"), ("IR", "IQ"))

# Subscribers, roughly: thousands of inhabitants. They say how often each country is meant by a code that it shares.
INHABITANTS = {
    "GP": 375, "MQ": 345, "GF": 310, "BL": 11, "MF": 30, "CW": 185, "BQ": 30, "SX": 43, "RE": 885, "YT": 325, "US": 345000,
    "GU": 168, "MP": 44, "PR": 3240, "VI": 85, "BM": 64, "AS": 46, "IL": 9400, "PS": 5500, "AU": 26600, "NF": 2, "CC": 1,
    "CX": 2, "FR": 66500, "MC": 39, "CH": 8900, "LI": 40, "JE": 104, "GG": 64, "LU": 670, "BE": 11700, "IS": 390, "FO": 55,
    "JM": 2840, "KY": 74, "LC": 180, "MS": 4, "TC": 46, "FJ": 925, "NR": 12,
}  # fmt: skip
SHARED_CODES = {
    "GP": "34001", "MQ": "34020", "GF": "34020", "RE": "64700", "YT": "64700", "CW": "36269", "SX": "36251", "BQ": "36276",
    "PR": "310260", "GU": "310370", "VI": "310120", "MP": "310370", "IL": "42501", "PS": "42503", "AU": "50501",
    "LI": "22801", "MC": "20801", "JE": "23450", "GG": "23455",
}  # fmt: skip

REGISTRIES = "geo-whois-asn-country-mmdb"
ROUTING = "iptoasn-country-mmdb"
FROM_BOTH = "ip: registries and routing agree"
FROM_AS = "ip: announced by a provider of the place"
FROM_EMBEDDED = "ip: DB-IP City Lite"
FROM_LIST = "plmn: mcc-mnc-list"
FROM_TABLE = "plmn: plmn.toml"
BY_HAND = "ip: special-purpose registries"


class NoSuchAddressError(Exception):
    """Two sources never agreed on an address of a country."""


class Labelled(NamedTuple):
    """A ping and where its phone is.

    `region` is a code, or a named region where the truth is known no closer. `outside` are regions of it that the phone
    is known not to be in.
    """

    ping: dict[str, object]
    region: str
    place: str
    reason: str
    source: str
    outside: tuple[str, ...] = ()


@dataclass
class Networks:
    """The IPv4 or the IPv6 networks of each country by the registries, checked against the routing table."""

    registries: maxminddb.Reader
    routing: maxminddb.Reader
    announced: Announced
    by_country: dict[str, list[IPv4Network | IPv6Network]] = field(default_factory=lambda: defaultdict(list))
    drawn: int = 0
    refused: int = 0

    @classmethod
    def read(cls, folder: Path, version: int) -> Networks:
        registries, routing = (open_npm(folder, name, f"ipv{version}") for name in (REGISTRIES, ROUTING))
        found = cls(registries, routing, Announced.read(folder, version))
        for network, record in found.registries:
            if isinstance(record, dict):
                found.by_country[str(record["country_code"])].append(network)
        return found

    @cached_property
    def locals(self) -> dict[int, str]:
        return self.announced.locals(self.by_country)

    def agree(self, address: IPv4Address | IPv6Address, country: str) -> bool:
        """Tell whether registries and routing agree on the country, and somebody who is at home there announces it."""
        asn = self.announced.asn(int(address))
        return (
            all(country_of(reader.get(address)) == country for reader in (self.registries, self.routing))
            and self.locals.get(asn) == country
            and asn not in PROVIDERS
        )

    def draw(self, country: str, rng: random.Random) -> IPv4Address | IPv6Address:
        """Draw an address: networks have equal chances, addresses in a network too."""
        networks = self.by_country[country]
        for _ in range(TRIES if networks else 0):
            network = networks[rng.randrange(len(networks))]
            address = network[rng.randrange(network.num_addresses)]
            if not address.is_global:
                continue
            self.drawn += 1
            if self.agree(address, country):
                return address
            self.refused += 1
        raise NoSuchAddressError(country)

    @cached_property
    def weights(self) -> dict[str, float]:
        """The square root of each country's addresses (IPv4) or networks: large countries must not crowd others out."""
        return {
            country: sum(network.num_addresses if network.version == 4 else 1 for network in networks) ** 0.5
            for country, networks in sorted(self.by_country.items())
        }


class World:
    """What the sources say, ready to be drawn from."""

    def __init__(self, folder: Path) -> None:
        self.catalogue = Catalogue.load()
        self.table = PlmnTable.load(catalogue=self.catalogue)
        self.networks = {version: Networks.read(folder, version) for version in (4, 6)}
        self.plmns = read_plmns(folder, self.catalogue, self.table)
        self._found: dict[tuple[str, int], bool] = {}
        usable = [country for country in sorted(self.plmns) if country not in (*RESTRICTED, *WATCHED)]
        self.countries = {
            version: [country for country in usable if self.has_address(country, version)] for version in self.networks
        }
        for networks in self.networks.values():
            networks.drawn = networks.refused = 0

    def has_address(self, country: str, version: int = 4) -> bool:
        """Tell whether an address is known to be in the country."""
        if (country, version) not in self._found:
            try:
                self.networks[version].draw(country, random.Random(f"{SEED} {country}"))
                self._found[country, version] = True
            except NoSuchAddressError:
                self._found[country, version] = False
        return self._found[country, version]

    def name(self, code: str) -> str:
        row = self.catalogue.country_rows.get(code)
        if row is not None:
            return row.common_name or row.name
        return self.catalogue.subdivisions[code].name if code in self.catalogue.subdivisions else code.capitalize()

    @cached_property
    def spelled(self) -> dict[str, list[tuple[IPv4Network, str]]]:
        """The Crimean IPv4 networks of DB-IP, with their subdivision, by the country that it files them under."""
        found: dict[str, list[tuple[IPv4Network, str]]] = {"RU": [], "UA": []}
        with maxminddb.open_database(Path(str(files("regionresolver.data") / "embedded.mmdb"))) as reader:
            for network, record in reader:
                words = read_words(record)
                for level in words.subdivisions if isinstance(network, IPv4Network) else ():
                    country, code = self.catalogue.canonical(words.country, *level)
                    if country and code in CRIMEA:
                        found[country].append((network, code))
        return found


def open_npm(folder: Path, package: str, part: str) -> maxminddb.Reader:
    (file,) = (folder / package).glob(f"**/*-{part}.mmdb")
    return maxminddb.open_database(file)


def country_of(record: object) -> str | None:
    return str(record["country_code"]) if isinstance(record, dict) and record.get("country_code") else None


def read_plmns(folder: Path, catalogue: Catalogue, table: PlmnTable) -> dict[str, list[str]]:
    """The operating networks of each country.

    Left out are those of several countries or of none, and those on which the PLMN table disagrees (the list has the
    networks of Man, Guam and the West Bank under GB, US and IL as well): where they are is not known well enough.
    """
    (file,) = (folder / "mcc-mnc-list").glob("**/mcc-mnc-list.json")
    found: dict[str, set[str]] = defaultdict(set)
    for row in json.loads(file.read_text(encoding="utf-8")):
        mnc, country = row["mnc"] or "", row["countryCode"]
        if row["status"] == "Operational" and len(mnc) in (2, 3) and mnc.isdigit() and country in catalogue.country_rows:
            known = table.lookup(row["mcc"] + mnc, mnc_known=True)
            if known is not None and country in known.candidates:
                found[country].add(row["mcc"] + mnc)
    found["RU"], found["UA"] = set(RUSSIAN_NETWORKS), set(UKRAINIAN_NETWORKS)
    return {country: sorted(plmns) for country, plmns in found.items()}


@dataclass
class Announced:
    """Who announces which addresses of one IP version: (first address, last, ASN, name), in order."""

    version: int
    spans: list[tuple[int, int, int, str]]

    @classmethod
    def read(cls, folder: Path, version: int) -> Announced:
        (file,) = (folder / "asn").glob(f"**/asn-ipv{version}.csv")
        with file.open(newline="", encoding="utf-8") as lines:
            rows = [
                (int(ip_address(first)), int(ip_address(last)), int(asn or 0), name)
                for first, last, asn, name in csv.reader(lines)
            ]
        return cls(version, sorted(rows))

    @cached_property
    def starts(self) -> list[int]:
        return [span[0] for span in self.spans]

    @cached_property
    def provided(self) -> dict[str, list[tuple[int, int, int, str]]]:
        """What the providers of each contested place announce."""
        found: defaultdict[str, list[tuple[int, int, int, str]]] = defaultdict(list)
        for span in self.spans:
            if span[2] in PROVIDERS:
                found[PROVIDERS[span[2]]].append(span)
        return found

    def asn(self, address: int) -> int:
        """Return the AS that announces an address, 0 for nobody."""
        at = bisect_right(self.starts, address) - 1
        return self.spans[at][2] if at >= 0 and address <= self.spans[at][1] else 0

    def locals(self, by_country: Mapping[str, Sequence[IPv4Network | IPv6Network]]) -> dict[int, str]:
        """Return the country of each AS that has nearly all of its networks in one: no carrier or cloud of the world's."""
        counts: defaultdict[int, Counter[str]] = defaultdict(Counter)
        for country, networks in by_country.items():
            for network in networks:
                counts[self.asn(int(network.network_address))][country] += 1
        tops = {asn: (found.most_common(1)[0], found.total()) for asn, found in counts.items() if asn not in WORLDWIDE_ASNS}
        return {asn: country for asn, ((country, count), total) in tops.items() if asn and count >= LOCAL_SHARE * total}


class Draw:
    """One ping's dice: a world and a random generator."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.rng = rng

    def one(self, of: Sequence[str]) -> str:
        return of[self.rng.randrange(len(of))]

    def country(self, *, but: Sequence[str] = (), version: int = 4) -> str:
        """An unrestricted country that has networks and addresses."""
        weights = self.world.networks[version].weights
        among = [code for code in self.world.countries[version] if code not in but]
        return self.rng.choices(among, [weights[code] for code in among])[0]

    def ip(self, country: str, version: int = 4) -> str:
        return str(self.world.networks[version].draw(country, self.rng))

    def provided(self, *regions: str) -> tuple[IPv4Address, str, str]:
        """An address that a provider of one of the places announces, the place, and the provider."""
        spans = sorted(span for region in regions for span in self.world.networks[4].announced.provided[region])
        first, last, asn, name = spans[self.rng.randrange(len(spans))]
        return IPv4Address(self.rng.randint(first, last)), PROVIDERS[asn], name

    def crimean(self) -> tuple[IPv4Address, str, str]:
        return self.provided("crimea", *CRIMEA)

    def network(self, country: str) -> str:
        return self.one(self.world.plmns[country])

    def written(self, plmn: str) -> object:
        """A PLMN as back ends really send it."""
        mcc, mnc = plmn[:3], plmn[3:]
        return (plmn, plmn, plmn, f"{mcc}-{mnc}", f"{mcc} {mnc}", {"mcc": mcc, "mnc": mnc})[self.rng.randrange(6)]

    def sim(self, plmn: str) -> object:
        """A SIM's PLMN, sometimes as an IMSI of test digits."""
        return (plmn + TEST_MSIN)[:IMSI_DIGITS] if self.rng.random() < 0.1 else self.written(plmn)

    def name(self, code: str) -> str:
        return self.world.name(code)

    def override(self, *, of: Sequence[str] = (), outside: Sequence[str] = ()) -> tuple[str, str]:
        """A network that has one region of its own in the PLMN table: (digits, region)."""
        rows = [row for row in self.world.table.rows if row.kind == "override" and len(row.candidates) == 1]
        among = [row for row in rows if (row.candidates[0] in of if of else row.candidates[0] not in outside)]
        row = among[self.rng.randrange(len(among))]
        return row.prefix, row.candidates[0]

    def crimean_operator(self) -> tuple[str, str]:
        # 250-61 is not operating any more.
        while (found := self.override(of=("crimea", *CRIMEA)))[0] == "25061":
            pass
        return found

    def special_address(self) -> tuple[str, str]:
        """An address that is not globally routable, and what it is."""
        low = self.rng.randrange(1, 250)
        return (
            (f"10.{low}.7.{low}", "private"), (f"192.168.{low}.20", "private"), (f"172.16.{low}.4", "private"),
            (f"100.{64 + low % 64}.{low}.9", "shared by carrier-grade NAT"), (f"169.254.{low}.1", "link-local"),
            (f"127.0.0.{low}", "loopback"), (f"203.0.113.{low}", "documentation"), (f"198.18.{low}.3", "benchmarking"),
            (f"224.0.1.{low}", "multicast"), (f"fd00:{low:x}::1", "unique local"), (f"fe80::{low:x}", "link-local"),
            (f"2001:db8::{low:x}", "documentation"), (f"::ffff:10.0.{low}.1", "private, mapped"),
        )[self.rng.randrange(13)]  # fmt: skip


# A scenario makes one labelled ping; its name is its key in labelled-pings.toml.
SCENARIO: dict[str, Callable[[Draw], Labelled]] = {}


def scenario(make: Callable[[Draw], Labelled]) -> Callable[[Draw], Labelled]:
    SCENARIO[make.__name__] = make
    return make


def ping(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def sources(*names: str) -> str:
    return "; ".join(names)


@scenario
def home_mobile(draw: Draw) -> Labelled:
    at = draw.country()
    found = ping(ip=draw.ip(at), serving=draw.written(draw.network(at)), sim=draw.sim(draw.network(at)))
    reason = "the radio sees a network of the country, and so do SIM and address"
    return Labelled(found, at, f"{draw.name(at)}, at home", reason, sources(FROM_BOTH, FROM_LIST))


@scenario
def home_mobile_ipv6(draw: Draw) -> Labelled:
    at = draw.country(version=6)
    found = ping(ip=draw.ip(at, 6), serving=draw.written(draw.network(at)), sim=draw.sim(draw.network(at)))
    reason = "the radio sees a network of the country, and so do SIM and IPv6 address"
    return Labelled(found, at, f"{draw.name(at)}, at home", reason, sources(FROM_BOTH, FROM_LIST))


@scenario
def home_wifi_sim(draw: Draw) -> Labelled:
    at = draw.country()
    found = ping(ip=draw.ip(at), sim=draw.sim(draw.network(at)))
    return Labelled(found, at, f"{draw.name(at)}, on Wi-Fi at home", "Wi-Fi in the SIM's country", sources(FROM_BOTH, FROM_LIST))


@scenario
def home_wifi_only(draw: Draw) -> Labelled:
    version = 6 if draw.rng.random() < 0.25 else 4
    at = draw.country(version=version)
    return Labelled(
        ping(ip=draw.ip(at, version)), at, f"{draw.name(at)}, on Wi-Fi", "the address is that of the Wi-Fi's line", FROM_BOTH
    )


@scenario
def home_serving_only(draw: Draw) -> Labelled:
    at = draw.country()
    found = ping(serving=draw.written(draw.network(at)), sim=draw.sim(draw.network(at)) if draw.rng.random() < 0.5 else None)
    return Labelled(found, at, f"{draw.name(at)}, at home", "the radio sees a network of the country", FROM_LIST)


@scenario
def home_sim_only(draw: Draw) -> Labelled:
    at = draw.country()
    return Labelled(
        ping(sim=draw.sim(draw.network(at))),
        at,
        f"{draw.name(at)}, at home",
        "the phone has not left the SIM's country",
        FROM_LIST,
    )


@scenario
def home_russia(draw: Draw) -> Labelled:
    found = ping(ip=draw.ip("RU"), serving=draw.written(draw.network("RU")), sim=draw.sim(draw.network("RU")))
    reason = "the four large Russian operators do not serve Crimea, and no provider of Crimea announces the address"
    return Labelled(found, "RU", "Russia, outside Crimea", reason, sources(FROM_BOTH, FROM_LIST), ("crimea",))


@scenario
def home_ukraine(draw: Draw) -> Labelled:
    found = ping(ip=draw.ip("UA"), serving=draw.written(draw.network("UA")), sim=draw.sim(draw.network("UA")))
    reason = "Ukrainian operators left Crimea in 2014, so a phone on one is elsewhere in Ukraine"
    return Labelled(found, "UA", "Ukraine, outside Crimea", reason, sources(FROM_BOTH, FROM_LIST), ("crimea",))


@scenario
def clothed_address(draw: Draw) -> Labelled:
    at = draw.country()
    plain = IPv4Address(draw.ip(at))
    value = int(plain)
    clothes = (
        ("mapped", f"::ffff:{plain}"),
        ("mapped, in hex", f"::ffff:{value >> 16:x}:{value & 0xFFFF:x}"),
        ("6to4", str(IPv6Address(0x2002 << 112 | value << 80 | 1))),
        # RFC 4380: the client's address is stored inverted; the server is a documentation address.
        ("Teredo", str(IPv6Address(0x20010000 << 96 | int(IPv4Address("192.0.2.45")) << 64 | value ^ 0xFFFFFFFF))),
        ("NAT64", f"64:ff9b::{plain}"),
    )
    kind, text = clothes[draw.rng.randrange(len(clothes))]
    plmn = draw.network(at) if draw.rng.random() < 0.5 else None
    found = ping(ip=text, serving=None if plmn is None else draw.written(plmn))
    reason = f"the IPv4 address in it ({kind}) is the phone's"
    return Labelled(found, at, f"{draw.name(at)}, at home", reason, sources(FROM_BOTH, *([FROM_LIST] if plmn else [])))


@scenario
def reserved_address(draw: Draw) -> Labelled:
    at = draw.country()
    address, kind = draw.special_address()
    found = ping(ip=address, serving=draw.written(draw.network(at)), sim=draw.sim(draw.network(at)))
    reason = f"the address ({kind}) says nothing, the radio sees a network of the country"
    return Labelled(found, at, f"{draw.name(at)}, at home", reason, sources(BY_HAND, FROM_LIST))


@scenario
def invalid_field(draw: Draw) -> Labelled:
    at = draw.country()
    found = ping(ip=draw.ip(at), serving=draw.written(draw.network(at)), sim=draw.sim(draw.network(at)))
    name, value = (
        ("ip", "256.1.2.3"), ("ip", "unknown"), ("ip", "fe80::1%rmnet0"), ("serving", "---"), ("serving", "3680"),
        ("serving", {"mcc": "36", "mnc": "801"}), ("sim", "null"), ("sim", "no SIM"),
    )[draw.rng.randrange(8)]  # fmt: skip
    found[name] = value
    reason = f"{name} is garbled; one bad field must not lock a phone, the others are of the country"
    return Labelled(found, at, f"{draw.name(at)}, at home", reason, sources(FROM_BOTH, FROM_LIST))


@scenario
def restricted_home(draw: Draw) -> Labelled:
    at = draw.one(RESTRICTED)
    found = ping(ip=draw.ip(at), serving=draw.written(draw.network(at)), sim=draw.sim(draw.network(at)))
    reason = "the radio sees a network of the country, and so do SIM and address"
    return Labelled(found, at, f"{draw.name(at)}, at home", reason, sources(FROM_BOTH, FROM_LIST))


@scenario
def restricted_wifi(draw: Draw) -> Labelled:
    at = draw.one(RESTRICTED)
    plmn = draw.network(at) if draw.rng.random() < 0.6 else None
    found = ping(ip=draw.ip(at), sim=None if plmn is None else draw.sim(plmn))
    reason = "the address is that of the Wi-Fi's line"
    return Labelled(found, at, f"{draw.name(at)}, on Wi-Fi", reason, sources(FROM_BOTH, *([FROM_LIST] if plmn else [])))


@scenario
def restricted_vpn(draw: Draw) -> Labelled:
    at, through = draw.one(RESTRICTED), draw.one(VPN_EXITS)
    sim = draw.network(at) if draw.rng.random() < 0.8 else draw.network(draw.country(but=(through,)))
    found = ping(ip=draw.ip(through), serving=draw.written(draw.network(at)), sim=draw.sim(sim))
    reason = "a VPN moves the address; the radio stays where the phone is"
    return Labelled(found, at, f"{draw.name(at)}, VPN to {draw.name(through)}", reason, sources(FROM_BOTH, FROM_LIST))


@scenario
def restricted_visitor(draw: Draw) -> Labelled:
    at, home = draw.one(RESTRICTED), draw.country()
    found = ping(ip=draw.ip(home), serving=draw.written(draw.network(at)), sim=draw.sim(draw.network(home)))
    reason = "home-routed roaming: the address is in the SIM's country, the radio where the phone is"
    return Labelled(found, at, f"{draw.name(at)}, visiting from {draw.name(home)}", reason, sources(FROM_BOTH, FROM_LIST))


@scenario
def restricted_reserved_address(draw: Draw) -> Labelled:
    at = draw.one(RESTRICTED)
    address, kind = draw.special_address()
    found = ping(ip=address, serving=draw.written(draw.network(at)), sim=draw.sim(draw.network(at)))
    reason = f"the address ({kind}) says nothing, the radio sees a network of the country"
    return Labelled(found, at, f"{draw.name(at)}, at home", reason, sources(BY_HAND, FROM_LIST))


@scenario
def crimea_mobile(draw: Draw) -> Labelled:
    plmn, region = draw.crimean_operator()
    address, _, provider = draw.crimean()
    sim = plmn if draw.rng.random() < 0.7 else draw.crimean_operator()[0]
    found = ping(ip=str(address), serving=draw.written(plmn), sim=draw.sim(sim))
    reason = f"the operator serves Crimea alone, the address is announced by {provider}"
    return Labelled(found, region, f"{draw.name(region)}, at home", reason, sources(FROM_AS, FROM_TABLE))


@scenario
def crimea_visitor(draw: Draw) -> Labelled:
    plmn, region = draw.crimean_operator()
    found = ping(ip=draw.ip("RU"), serving=draw.written(plmn), sim=draw.sim(draw.network("RU")))
    reason = "subscribers of the large Russian operators roam on those of Crimea; their traffic leaves in Russia"
    return Labelled(
        found, region, f"{draw.name(region)}, visiting from Russia", reason, sources(FROM_BOTH, FROM_TABLE, FROM_LIST)
    )


@scenario
def crimea_vpn(draw: Draw) -> Labelled:
    plmn, region = draw.crimean_operator()
    through = draw.one(VPN_EXITS)
    found = ping(ip=draw.ip(through), serving=draw.written(plmn), sim=draw.sim(plmn))
    reason = "a VPN moves the address; the radio stays where the phone is"
    return Labelled(found, region, f"{draw.name(region)}, VPN to {draw.name(through)}", reason, sources(FROM_BOTH, FROM_TABLE))


@scenario
def crimea_wifi_sim(draw: Draw) -> Labelled:
    address, region, provider = draw.crimean()
    sim = draw.crimean_operator()[0] if draw.rng.random() < 0.5 else draw.network("RU")
    reason = f"the Wi-Fi's address is announced by {provider}"
    found = ping(ip=str(address), sim=draw.sim(sim))
    return Labelled(found, region, f"{draw.name(region)}, on Wi-Fi", reason, sources(FROM_AS, FROM_TABLE, FROM_LIST))


@scenario
def crimea_wifi_only(draw: Draw) -> Labelled:
    address, region, provider = draw.crimean()
    reason = f"the Wi-Fi's address is announced by {provider}"
    return Labelled(ping(ip=str(address)), region, f"{draw.name(region)}, on Wi-Fi", reason, FROM_AS)


def _crimea_filed(draw: Draw, country: str) -> Labelled:
    network, region = draw.world.spelled[country][draw.rng.randrange(len(draw.world.spelled[country]))]
    address = network[draw.rng.randrange(network.num_addresses)]
    sim = draw.network("RU") if draw.rng.random() < 0.5 else None
    reason = f"DB-IP itself files the address as {draw.name(region)} under {country}: a test of spellings, not of DB-IP"
    found = ping(ip=str(address), sim=None if sim is None else draw.sim(sim))
    return Labelled(
        found, region, f"{draw.name(region)}, on Wi-Fi", reason, sources(FROM_EMBEDDED, *([FROM_LIST] if sim else []))
    )


@scenario
def crimea_filed_ru(draw: Draw) -> Labelled:
    return _crimea_filed(draw, "RU")


@scenario
def crimea_filed_ua(draw: Draw) -> Labelled:
    return _crimea_filed(draw, "UA")


@scenario
def crimea_russian_network(draw: Draw) -> Labelled:
    address, region, provider = draw.crimean()
    found = ping(ip=str(address), serving=draw.written(SEVENTH_NETWORK), sim=draw.sim(SEVENTH_NETWORK))
    reason = f"250-96 is in use in Crimea and elsewhere; the address is announced by {provider}"
    return Labelled(found, region, f"{draw.name(region)}, at home", reason, sources(FROM_AS, FROM_LIST))


@scenario
def other_contested(draw: Draw) -> Labelled:
    plmn, region = draw.override(of=CONTESTED)
    address = draw.ip("RU") if region.startswith("UA") else draw.ip(region[:2])
    found = ping(ip=address if draw.rng.random() < 0.7 else None, serving=draw.written(plmn), sim=draw.sim(plmn))
    reason = "the operator serves this place alone; traffic leaves in the country that runs its lines"
    return Labelled(found, region, f"{draw.name(region)}, at home", reason, sources(FROM_BOTH, FROM_TABLE))


@scenario
def contested_wifi(draw: Draw) -> Labelled:
    address, region, provider = draw.provided(draw.one(CONTESTED))
    reason = f"the Wi-Fi's address is announced by {provider}"
    return Labelled(ping(ip=str(address)), region, f"{draw.name(region)}, on Wi-Fi", reason, FROM_AS)


@scenario
def roaming_home_routed(draw: Draw) -> Labelled:
    at = draw.country()
    home = draw.country(but=(at,))
    found = ping(ip=draw.ip(home), serving=draw.written(draw.network(at)), sim=draw.sim(draw.network(home)))
    reason = "home-routed roaming: the address is in the SIM's country, the radio where the phone is"
    return Labelled(found, at, f"{draw.name(at)}, visiting from {draw.name(home)}", reason, sources(FROM_BOTH, FROM_LIST))


@scenario
def roaming_local_breakout(draw: Draw) -> Labelled:
    at = draw.country()
    home = draw.country(but=(at,))
    found = ping(ip=draw.ip(at), serving=draw.written(draw.network(at)), sim=draw.sim(draw.network(home)))
    reason = "roaming with local break-out, or Wi-Fi: radio and address are where the phone is"
    return Labelled(found, at, f"{draw.name(at)}, visiting from {draw.name(home)}", reason, sources(FROM_BOTH, FROM_LIST))


@scenario
def travel_sim(draw: Draw) -> Labelled:
    issuer = draw.one(TRAVEL_SIMS)
    through = draw.one([code for code in BREAKOUTS if code != issuer])
    at = draw.country(but=(issuer, through))
    found = ping(ip=draw.ip(through), serving=draw.written(draw.network(at)), sim=draw.sim(draw.network(issuer)))
    reason = "a travel SIM's traffic leaves in a third country; the radio is where the phone is"
    return Labelled(found, at, f"{draw.name(at)}, with a travel SIM", reason, sources(FROM_BOTH, FROM_LIST))


@scenario
def travel_sim_901(draw: Draw) -> Labelled:
    through = draw.one(BREAKOUTS)
    at = draw.country(but=(through,))
    found = ping(ip=draw.ip(through), serving=draw.written(draw.network(at)), sim=draw.sim(draw.one(SHARED_SIMS_901)))
    reason = "a SIM of MCC 901 is of no country and its traffic leaves anywhere; the radio is where the phone is"
    return Labelled(found, at, f"{draw.name(at)}, with an international SIM", reason, sources(FROM_BOTH, FROM_LIST))


@scenario
def wifi_abroad(draw: Draw) -> Labelled:
    at = draw.country()
    home = draw.country(but=(at,))
    found = ping(ip=draw.ip(at), sim=draw.sim(draw.network(home)))
    reason = "a hotel's Wi-Fi: the address is where the phone is, the SIM is from home"
    return Labelled(found, at, f"{draw.name(at)}, visiting from {draw.name(home)}", reason, sources(FROM_BOTH, FROM_LIST))


@scenario
def embargoed_traveller(draw: Draw) -> Labelled:
    home, at = draw.one(RESTRICTED), draw.country()
    routed = draw.ip(home if draw.rng.random() < 0.5 else at)
    found = ping(ip=routed, serving=draw.written(draw.network(at)), sim=draw.sim(draw.network(home)))
    reason = "the SIM is from a restricted country, the phone is not there: its radio sees a network elsewhere"
    return Labelled(found, at, f"{draw.name(at)}, visiting from {draw.name(home)}", reason, sources(FROM_BOTH, FROM_LIST))


@scenario
def embargoed_traveller_wifi(draw: Draw) -> Labelled:
    home, at = draw.one(RESTRICTED), draw.country()
    found = ping(ip=draw.ip(at), sim=draw.sim(draw.network(home)))
    reason = "the SIM is from a restricted country, the Wi-Fi is elsewhere and so is the phone"
    return Labelled(found, at, f"{draw.name(at)}, visiting from {draw.name(home)}", reason, sources(FROM_BOTH, FROM_LIST))


@scenario
def crimean_traveller(draw: Draw) -> Labelled:
    address, _, provider = draw.crimean()
    found = ping(ip=str(address), serving=draw.written(draw.network("RU")), sim=draw.sim(draw.crimean_operator()[0]))
    reason = f"a subscriber from Crimea in mainland Russia: home-routed through {provider}, on an operator not in Crimea"
    source = sources(FROM_AS, FROM_TABLE, FROM_LIST)
    return Labelled(found, "RU", "Russia, visiting from Crimea", reason, source, ("crimea",))


@scenario
def vpn_third_country(draw: Draw) -> Labelled:
    through = draw.one(VPN_EXITS)
    at = draw.country(but=(through,))
    found = ping(ip=draw.ip(through), serving=draw.written(draw.network(at)), sim=draw.sim(draw.network(at)))
    reason = "a VPN moves the address; the radio stays where the phone is"
    return Labelled(found, at, f"{draw.name(at)}, VPN to {draw.name(through)}", reason, sources(FROM_BOTH, FROM_LIST))


@scenario
def vpn_into_restricted(draw: Draw) -> Labelled:
    at = draw.country()
    sim = draw.network(at)
    if draw.rng.random() < 0.25:
        address, _, _ = draw.crimean()
        through, source, text = "Crimea", FROM_AS, str(address)
    else:
        country = draw.one(RESTRICTED)
        through, source, text = draw.name(country), FROM_BOTH, draw.ip(country)
    found = ping(ip=text, serving=draw.written(draw.network(at)), sim=draw.sim(sim))
    reason = "a proxy in a restricted region moves the address; the radio stays where the phone is"
    return Labelled(found, at, f"{draw.name(at)}, proxy in {through}", reason, sources(source, FROM_LIST))


@scenario
def shared_mcc(draw: Draw) -> Labelled:
    at = draw.one([code for code in SHARED_CODES if draw.world.has_address(code)])
    found = ping(ip=draw.ip(at), serving=draw.written(SHARED_CODES[at]), sim=draw.sim(SHARED_CODES[at]))
    reason = "several countries share the network's code; the address is of the one that the phone is in"
    return Labelled(found, at, f"{draw.name(at)}, at home", reason, sources(FROM_BOTH, FROM_TABLE))


@scenario
def own_code_elsewhere(draw: Draw) -> Labelled:
    plmn, at = draw.override(outside=("crimea", *CRIMEA, *CONTESTED))
    address = draw.ip(at) if draw.world.has_address(at) else None
    if address is not None and draw.rng.random() < 0.3:
        # Many of these operators send their traffic out in the country that lent the code.
        address = draw.ip(draw.world.table.lookup(plmn[:3], mnc_known=False).candidates[0])  # type: ignore[union-attr]
    found = ping(ip=address, serving=draw.written(plmn), sim=draw.sim(plmn))
    reason = "the operator serves this place alone, under another country's code"
    return Labelled(found, at, f"{draw.name(at)}, at home", reason, sources(FROM_BOTH, FROM_TABLE))


@scenario
def non_geographic(draw: Draw) -> Labelled:
    at = draw.country()
    serving = draw.one(("00101", "99999", "999999", "99901", "99170"))
    sim = draw.network(at) if draw.rng.random() < 0.6 else None
    found = ping(ip=draw.ip(at), serving=draw.written(serving), sim=None if sim is None else draw.sim(sim))
    reason = "a private or test network has no country; its line out is where it stands"
    return Labelled(
        found, at, f"{draw.name(at)}, on a private or test network", reason, sources(FROM_BOTH, FROM_TABLE, FROM_LIST)
    )


@scenario
def unassigned_mcc(draw: Draw) -> Labelled:
    at = draw.country()
    serving = draw.one(("42305", "53401", "53510", "99501", "20001"))
    found = ping(ip=draw.ip(at), serving=draw.written(serving), sim=draw.sim(draw.network(at)))
    reason = "the serving code is nobody's; SIM and address are of the country"
    return Labelled(found, at, f"{draw.name(at)}, at home", reason, sources(FROM_BOTH, FROM_LIST))


@scenario
def ukraine_crimean_address(draw: Draw) -> Labelled:
    address, _, provider = draw.crimean()
    found = ping(ip=str(address), serving=draw.written(draw.network("UA")), sim=draw.sim(draw.network("UA")))
    reason = f"Ukrainian operators left Crimea in 2014; the address, once announced by {provider}, has moved or is a proxy"
    return Labelled(found, "UA", "Ukraine, outside Crimea", reason, sources(FROM_AS, FROM_LIST), ("crimea",))


@scenario
def shared_mcc_no_ip(draw: Draw) -> Labelled:
    rows = [row for row in draw.world.table.rows if len(row.candidates) > 1]
    row = rows[draw.rng.randrange(len(rows))]
    at = draw.rng.choices(row.candidates, [INHABITANTS[code] for code in row.candidates])[0]
    digits = row.prefix
    # Of a shared MCC any network without a row of its own.
    while len(digits) == 3 or draw.world.table.lookup(digits, mnc_known=True) is not row:
        digits = f"{row.prefix}{draw.rng.randrange(100):02}"
    reason = "several countries share the code and nothing else is known: drawn by their inhabitants"
    return Labelled(ping(serving=draw.written(digits)), at, f"{draw.name(at)}, at home", reason, FROM_TABLE)


@scenario
def roaming_hidden(draw: Draw) -> Labelled:
    at = draw.country()
    home = draw.country(but=(at,))
    found = ping(ip=draw.ip(home), sim=draw.sim(draw.network(home)))
    reason = "home-routed roaming, and the one signal that would show it is missing"
    return Labelled(found, at, f"{draw.name(at)}, visiting from {draw.name(home)}", reason, sources(FROM_BOTH, FROM_LIST))


@scenario
def vpn_hidden(draw: Draw) -> Labelled:
    through = draw.one(VPN_EXITS)
    at = draw.country(but=(through,))
    found = ping(ip=draw.ip(through), sim=draw.sim(draw.network(at)))
    reason = "a VPN moves the address, and no serving network contradicts it: it looks like a traveller on Wi-Fi"
    return Labelled(found, at, f"{draw.name(at)}, VPN to {draw.name(through)}", reason, sources(FROM_BOTH, FROM_LIST))


@scenario
def vpn_only(draw: Draw) -> Labelled:
    through = draw.one(VPN_EXITS)
    at = draw.country(but=(through,))
    reason = "a VPN moves the address, and there is no other signal"
    return Labelled(ping(ip=draw.ip(through)), at, f"{draw.name(at)}, VPN to {draw.name(through)}", reason, FROM_BOTH)


@scenario
def restricted_vpn_hidden(draw: Draw) -> Labelled:
    through, at = draw.one(VPN_EXITS), draw.one(RESTRICTED)
    found = ping(ip=draw.ip(through), sim=draw.sim(draw.network(at)))
    reason = "a VPN moves the address, and no serving network contradicts it: it looks like a traveller on Wi-Fi"
    return Labelled(found, at, f"{draw.name(at)}, VPN to {draw.name(through)}", reason, sources(FROM_BOTH, FROM_LIST))


@scenario
def restricted_vpn_only(draw: Draw) -> Labelled:
    through, at = draw.one(VPN_EXITS), draw.one(RESTRICTED)
    reason = "a VPN moves the address, and there is no other signal"
    return Labelled(ping(ip=draw.ip(through)), at, f"{draw.name(at)}, VPN to {draw.name(through)}", reason, FROM_BOTH)


@scenario
def satellite_wifi(draw: Draw) -> Labelled:
    at, ground = draw.one(SATELLITE_PLACES), draw.one(SATELLITE_GROUNDS)
    sim = draw.network(at) if draw.rng.random() < 0.5 else None
    found = ping(ip=draw.ip(ground), sim=None if sim is None else draw.sim(sim))
    reason = "Wi-Fi of a satellite terminal: the address is where the ground station is"
    return Labelled(found, at, f"{draw.name(at)}, satellite Wi-Fi", reason, sources(FROM_BOTH, *([FROM_LIST] if sim else [])))


@scenario
def traveller_sim_only(draw: Draw) -> Labelled:
    at = draw.country()
    home = draw.country(but=(at,))
    reason = "only the SIM is known, and the phone is abroad"
    return Labelled(
        ping(sim=draw.sim(draw.network(home))), at, f"{draw.name(at)}, visiting from {draw.name(home)}", reason, FROM_LIST
    )


@scenario
def border_leak(draw: Draw) -> Labelled:
    pair = BORDERS[draw.rng.randrange(len(BORDERS))]
    at, over = pair if draw.rng.random() < 0.5 else pair[::-1]
    found = ping(ip=draw.ip(at), serving=draw.written(draw.network(over)), sim=draw.sim(draw.network(at)))
    reason = "cells reach over a border strip: the radio sees the neighbour's network, which looks like roaming"
    return Labelled(found, at, f"{draw.name(at)}, near {draw.name(over)}", reason, sources(FROM_BOTH, FROM_LIST))


@scenario
def border_leak_restricted(draw: Draw) -> Labelled:
    reason = "cells reach over a border strip: the radio sees the neighbour's network, which looks like roaming"
    if draw.rng.random() < 0.15:
        plmn, _ = draw.crimean_operator()
        found = ping(ip=draw.ip("RU"), serving=draw.written(plmn), sim=draw.sim(draw.network("RU")))
        return Labelled(
            found,
            "RU",
            "Russia, on the Taman side of the Kerch Strait",
            reason,
            sources(FROM_BOTH, FROM_TABLE, FROM_LIST),
            ("crimea",),
        )
    at, over = RESTRICTED_BORDERS[draw.rng.randrange(len(RESTRICTED_BORDERS))]
    found = ping(ip=draw.ip(at), serving=draw.written(draw.network(over)), sim=draw.sim(draw.network(at)))
    return Labelled(found, at, f"{draw.name(at)}, near {draw.name(over)}", reason, sources(FROM_BOTH, FROM_LIST))


@scenario
def restricted_on_neighbour(draw: Draw) -> Labelled:
    if draw.rng.random() < 0.25:
        plmn = draw.network("RU")
        found = ping(ip=draw.ip("RU"), serving=draw.written(plmn), sim=draw.sim(plmn))
        reason = "a Russian cell reaches over the Kerch Strait: no signal says Crimea"
        return Labelled(found, "crimea", "Kerch in Crimea, on a Russian network", reason, sources(FROM_BOTH, FROM_LIST))
    at, neighbour = NEIGHBOURS_INSIDE[draw.rng.randrange(len(NEIGHBOURS_INSIDE))]
    plmn = draw.network(neighbour)
    found = ping(ip=draw.ip(neighbour), serving=draw.written(plmn), sim=draw.sim(plmn))
    reason = "the neighbour's network reaches in and is used with its SIMs: no signal says where the phone is"
    return Labelled(found, at, f"{draw.name(at)}, on a network of {draw.name(neighbour)}", reason, sources(FROM_BOTH, FROM_LIST))


@scenario
def reserved_only(draw: Draw) -> Labelled:
    at = draw.country()
    address, kind = draw.special_address()
    reason = f"the address ({kind}) says nothing, and there is no other signal"
    return Labelled(ping(ip=address), at, f"{draw.name(at)}, at home", reason, BY_HAND)


def labelled_lines(world: World, scenarios: Mapping[str, Mapping[str, object]]) -> Iterator[bytes]:
    """Make the lines of the file, in the order of the scenarios; no ping is made twice."""
    seen: set[str] = set()
    for name, row in scenarios.items():
        draw = Draw(world, random.Random(f"{SEED} {name}"))
        made = 0
        while made < int(str(row["count"])):
            found = SCENARIO[name](draw)
            key = json.dumps(found.ping, sort_keys=True)
            if key in seen:
                continue
            seen.add(key)
            made += 1
            label = {"region": found.region, "place": found.place, **({"outside": found.outside} if found.outside else {})}
            line = {"ping": found.ping, "label": label, "scenario": name, "reason": found.reason, "source": found.source}
            yield json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sources", type=Path, required=True, help="folder of the unpacked npm packages, one folder each")
    parser.add_argument("--out", type=Path, default=PINGS, help="the file to write")
    options = parser.parse_args()
    scenarios = tomllib.loads(SCENARIOS.read_text(encoding="utf-8"))["scenarios"]
    world = World(options.sources)
    lines = list(labelled_lines(world, scenarios))
    options.out.write_bytes(b"".join(lines))
    counts = Counter({"pings": len(lines), "bytes": sum(map(len, lines))})
    for version, networks in world.networks.items():
        counts[f"IPv{version} addresses drawn"] = networks.drawn
        counts[f"IPv{version} addresses refused: not surely of the country"] = networks.refused
    for what, count in counts.items():
        print(f"{count:>12,}  {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
