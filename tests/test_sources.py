"""IP databases as sources: record shapes, one file or a pair, what is refused, and that nobody can change what is served."""

from __future__ import annotations

import fcntl
import gc
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from _fastpath.address import parse
from regionresolver.errors import DatabaseError
from regionresolver.index import sealed
from regionresolver.index.mmdb import NOBODY, OWN_DATABASE_TYPE, Networks, Source, answer, joint_name
from regionresolver.index.reduce import encode, record_of, reduce_database, split_into_nodes
from regionresolver.index.sealed import copy_privately
from regionresolver.model import Region
from regionresolver.sources.catalogue import Catalogue
from regionresolver.sources.shapes import FIELDS, Words, country_code, read_words
from tests.mmdb_builder import build_mmdb, uint64
from tests.mmdb_builder import encode as oracle_encode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from _fastpath.address import Canonical

FLAT = {
    "1.0.0.0/24": {"country_code": "RU", "state1": "Crimea", "state2": "", "city": "Yalta"},
    "1.0.1.0/24": {"country_code": "RU", "state1": "Sebastopol City", "city": "Sevastopol"},
    "1.0.2.0/24": {"country_code": "UA", "state1": "Crimea", "city": "Kerch"},
    "1.0.3.0/24": {"country_code": "RU", "state1": "Orenburg Oblast", "city": "Sevastopol'"},
    "1.0.4.0/24": {"country_code": "RU", "state1": "Luhansk", "city": "Luhansk"},
    "1.0.5.0/24": {"country_code": "", "state1": "", "city": ""},
}
FLAT_V6 = {
    "2a02:1::/32": {"country_code": "CU", "state1": "Havana", "city": "Havana"},
    "2a02:2::/32": {"country_code": "RU", "state1": "Crimea", "city": "Simferopol"},
}
CUBA = {"country": {"iso_code": "CU"}}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load()


def write(
    path: Path,
    networks: Mapping[str, object],
    ip_version: int = 6,
    database_type: str = "test",
    build_epoch: int = 1_700_000_000,
    aliases: tuple[str, ...] = (),
) -> Path:
    path.write_bytes(build_mmdb(networks, ip_version, 24, database_type, build_epoch, aliases))
    return path


def canonical(text: str) -> Canonical:
    found = parse(text)
    assert found is not None
    return found


def region_of(networks: Networks, address: str) -> Region:
    """The answer for an address, by reading the transitions from the start."""
    found, value = NOBODY, canonical(address).value
    for hi, lo, place in zip(networks.starts_hi, networks.starts_lo, networks.answers, strict=True):
        if hi << 64 | lo > value:
            break
        found = networks.regions[place]
    return found


def refusal(spec: str | Path) -> DatabaseError:
    with pytest.raises(DatabaseError) as caught:
        Source.open(spec)
    error = caught.value
    assert error.reason
    assert error.remedy
    assert "\n" not in str(error)
    return error


# --- shapes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "country", "subdivisions"),
    [
        # nested with codes
        (
            {"country": {"iso_code": "UA"}, "subdivisions": [{"iso_code": "43", "names": {"en": "Crimea"}}]},
            "UA",
            (("43", "Crimea"),),
        ),
        (
            {
                "country": {"iso_code": "GB"},
                "subdivisions": [{"iso_code": "ENG"}, {"iso_code": "LND", "names": {"de": "London"}}],
            },
            "GB",
            (("ENG", None), ("LND", "London")),
        ),
        # nested without codes
        ({"country": {"iso_code": "RU"}, "subdivisions": [{"names": {"en": "Crimea"}}]}, "RU", ((None, "Crimea"),)),
        ({"country": {"iso_code": "RU"}, "subdivisions": [{"names": {"ru": "Крым"}}]}, "RU", ((None, "Крым"),)),
        # flat
        ({"country_code": "RU", "state1": "Crimea", "state2": "Yalta", "city": "Yalta"}, "RU", ((None, "Crimea"),)),
        ({"country_code": "UA", "region": "Crimea", "country": "Ukraine"}, "UA", ((None, "Crimea"),)),
        ({"country_code": "UA", "region": "Crimea", "region_code": "43"}, "UA", (("43", "Crimea"),)),
        ({"country": "UA"}, "UA", ()),
        # letters, and words for "unknown"
        ({"country_code": "ru"}, "RU", ()),
        ({"country": {"iso_code": "xk"}}, "XK", ()),
        ({"country_code": ""}, None, ()),
        ({"country_code": "XX"}, None, ()),
        ({"country_code": "zz", "state1": "Crimea"}, None, ()),
        ({"country_code": "UKR"}, None, ()),
        ({"country_code": "U1"}, None, ()),
        ({"country_code": "\u0423\u0410"}, None, ()),
        ({"country_code": "ßß"}, None, ()),
        ({"country_code": 7, "country": ["UA"]}, None, ()),
        ({"country": {}, "subdivisions": [{"iso_code": "43"}]}, None, ()),
        # what lies inside is not believed either
        ({"country": {"iso_code": "UA"}, "subdivisions": "Crimea"}, "UA", ()),
        (
            {
                "country": {"iso_code": "UA"},
                "subdivisions": [7, {}, {"iso_code": 43, "names": ["Crimea"]}, {"names": {"en": ""}}],
            },
            "UA",
            (),
        ),
        ({"country_code": "UA", "state1": "  "}, "UA", ()),
        ("UA", None, ()),
        (None, None, ()),
        ({"autonomous_system_number": 64496}, None, ()),
        # a city is no evidence
        ({"country_code": "RU", "city": "Crimea"}, "RU", ()),
    ],
)
def test_the_record_shapes(record: object, country: str | None, subdivisions: tuple[tuple[str | None, str | None], ...]) -> None:
    assert read_words(record) == Words(country, subdivisions)


def test_the_registered_country_counts_only_when_asked_for() -> None:
    record = {"registered_country": {"iso_code": "SY"}, "subdivisions": [{"iso_code": "DI"}]}
    assert read_words(record) == Words(None, ())
    assert read_words(record, registered_country=True) == Words("SY", ())
    assert read_words(record | CUBA, registered_country=True) == Words("CU", (("DI", None),))


def test_only_the_named_fields_are_read() -> None:
    class Watched(dict[str, object]):
        def get(self, key: object, default: object = None) -> object:
            assert key in FIELDS
            return super().get(str(key), default)

    for record in (CUBA, FLAT["1.0.0.0/24"], {"registered_country": {"iso_code": "SY"}}):
        read_words(Watched(record), registered_country=True)


@pytest.mark.parametrize("code", ["", "U", "UAA", "U ", "\u212aA", "1A", "A-"])
def test_a_country_code_is_two_ascii_letters(code: str) -> None:
    assert country_code(code) is None


@pytest.mark.parametrize(
    ("words", "region"),
    [
        (Words("UA", (("43", "Crimea"),)), Region("UA", "UA-43")),
        (Words("RU", (("CR", None),)), Region("RU", "UA-43")),
        (Words("RU", ((None, "Sebastopol City"),)), Region("RU", "UA-40")),
        (Words("GB", (("ENG", "England"), ("LND", "London"))), Region("GB", None)),
        (Words("UA", ((None, "Nowhere"), (None, "Crimea"))), Region("UA", "UA-43")),
        (Words("UA", ((None, "Crimea"), (None, "Nowhere"))), Region("UA", "UA-43")),
        (Words("DE", ((None, "Crimea"),)), Region("DE", None)),
        (Words("QX", ()), NOBODY),  # ISO knows no such country
        (Words(None, ((None, "Crimea"),)), NOBODY),
    ],
)
def test_words_become_codes(catalogue: Catalogue, words: Words, region: Region) -> None:
    assert answer(words, catalogue) == region


# --- one file and pairs -----------------------------------------------------------------------------------------------


def test_one_file(tmp_path: Path, catalogue: Catalogue) -> None:
    path = write(tmp_path / "flat.mmdb", {**FLAT, **FLAT_V6}, database_type="T", build_epoch=1_780_666_922)
    source = Source.open(path)
    assert (source.name, source.files, source.database_type, source.build_epoch) == ("flat", (path,), "T", 1_780_666_922)
    assert len(source.sha256) == 64
    assert source.attribution is None
    networks = source.networks(catalogue)
    expected = {
        "1.0.0.7": Region("RU", "UA-43"),
        "1.0.1.255": Region("RU", "UA-40"),
        "1.0.2.0": Region("UA", "UA-43"),
        "1.0.3.1": Region("RU", None),
        "1.0.4.1": Region("RU", "UA-09"),
        "1.0.5.1": NOBODY,
        "0.0.0.0": NOBODY,
        "2a02:1::1": Region("CU", None),
        "2a02:2:ffff:ffff::": Region("RU", "UA-43"),
        "2a02:3::": NOBODY,
    }
    assert {address: region_of(networks, address) for address in expected} == expected
    assert networks.subdivisions == {"UA-43", "UA-40", "UA-09"}
    assert networks.regions[0] == NOBODY
    assert all(one != other for one, other in zip(networks.answers, networks.answers[1:], strict=False))


def test_networks_can_be_asked_for_again(tmp_path: Path, catalogue: Catalogue) -> None:
    source = Source.open(write(tmp_path / "flat.mmdb", FLAT))
    assert source.networks(catalogue) == source.networks(catalogue)


@pytest.mark.parametrize("order", ["v4,v6", "v6,v4"])
def test_a_pair_is_one_source(tmp_path: Path, catalogue: Catalogue, order: str) -> None:
    v4 = write(tmp_path / "vendor-city-ipv4.mmdb", FLAT, ip_version=4, database_type="city ipv4", build_epoch=1_780_666_922)
    # What the IPv6 file says of ::/96 does not count: the IPv4 file answers for it.
    v6 = write(
        tmp_path / "vendor-city-ipv6.mmdb",
        {**FLAT_V6, "::/0": {"country_code": "FR"}},
        database_type="city ipv6",
        build_epoch=1_780_000_000,
    )
    source = Source.open(",".join(str({"v4": v4, "v6": v6}[part]) for part in order.split(",")))
    assert (source.name, source.database_type, source.build_epoch) == ("vendor-city", "city ipv4 + city ipv6", 1_780_000_000)
    assert source.files == (v4, v6)
    assert source.sha256 == Source.open(f"{v4}, {v6}").sha256
    networks = source.networks(catalogue)
    expected = {
        "1.0.0.7": Region("RU", "UA-43"),
        "1.0.5.1": NOBODY,
        "255.255.255.255": NOBODY,
        "::1:0:0": Region("FR", None),
        "2a02:1::1": Region("CU", None),
        "ffff::": Region("FR", None),
    }
    assert {address: region_of(networks, address) for address in expected} == expected
    starts = [hi << 64 | lo for hi, lo in zip(networks.starts_hi, networks.starts_lo, strict=True)]
    assert starts == sorted(set(starts))
    assert starts[0] == 0
    assert source.record(canonical("1.0.2.9")) == ("1.0.2.0/24", FLAT["1.0.2.0/24"])
    assert source.record(canonical("2a02:1::1")) == ("2a02:1::/32", FLAT_V6["2a02:1::/32"])


def test_a_pair_merges_where_it_meets(tmp_path: Path, catalogue: Catalogue) -> None:
    v4 = write(tmp_path / "a.mmdb", {"128.0.0.0/1": CUBA}, ip_version=4)
    v6 = write(tmp_path / "b.mmdb", {"::/1": CUBA})
    networks = Source.open(f"{v4},{v6}").networks(catalogue)
    assert (networks.starts_hi.tolist(), networks.starts_lo.tolist()) == ([0, 0, 1 << 63], [0, 1 << 31, 0])


def test_two_ipv6_trees_are_a_pair_when_one_holds_ipv4_only(tmp_path: Path, catalogue: Catalogue) -> None:
    v4, v6 = write(tmp_path / "a.mmdb", {"1.0.0.0/8": CUBA}), write(tmp_path / "b.mmdb", {"2a02::/16": CUBA})
    networks = Source.open(f"{v6},{v4}").networks(catalogue)
    assert region_of(networks, "1.2.3.4") == region_of(networks, "2a02::1") == Region("CU", None)


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (({"1.0.0.0/8": CUBA}, 4), ({"2.0.0.0/8": CUBA}, 4), "both files hold IPv4 networks"),
        (({"1.0.0.0/8": CUBA}, 4), ({"2.0.0.0/8": CUBA}, 6), "both files hold IPv4 networks"),
        (({"2a02::/16": CUBA}, 6), ({"2a03::/16": CUBA}, 6), "both files hold IPv6 networks"),
        (({"1.0.0.0/8": CUBA, "2a02::/16": CUBA}, 6), ({"1.0.0.0/8": CUBA}, 6), "both files hold IPv4 networks"),
        (({"1.0.0.0/8": CUBA, "2a02::/16": CUBA}, 6), ({"2a03::/16": CUBA}, 6), "both files hold IPv6 networks"),
    ],
)
def test_two_files_of_one_family_are_no_pair(
    tmp_path: Path, first: tuple[dict[str, object], int], second: tuple[dict[str, object], int], reason: str
) -> None:
    files = [write(tmp_path / f"{name}.mmdb", *content) for name, content in (("a", first), ("b", second))]
    for spec in (f"{files[0]},{files[1]}", f"{files[1]},{files[0]}"):
        error = refusal(spec)
        assert error.reason == reason
        assert error.file == spec
        assert "--db" in error.remedy


@pytest.mark.parametrize(
    ("stems", "name"),
    [
        (["geolite2-city"], "geolite2-city"),
        (["dbip-city-ipv4", "dbip-city-ipv6"], "dbip-city"),
        (["dbip-v4", "dbip-v6"], "dbip"),
        (["dbip_4", "dbip_6"], "dbip"),
        (["ipv4", "ipv6"], "ipv4+ipv6"),
        (["one", "two"], "one+two"),
    ],
)
def test_a_pair_has_one_name(stems: list[str], name: str) -> None:
    assert joint_name(stems) == name


@pytest.mark.parametrize("spec", ["", ",", "a,b,c"])
def test_a_spec_that_names_no_database(spec: str) -> None:
    assert refusal(spec).reason == "this names no database"


# --- records ----------------------------------------------------------------------------------------------------------


def test_the_record_of_an_address(tmp_path: Path) -> None:
    source = Source.open(write(tmp_path / "flat.mmdb", {**FLAT, **FLAT_V6}, aliases=("2002::/16",)))
    assert source.record(canonical("1.0.0.7")) == ("1.0.0.0/24", FLAT["1.0.0.0/24"])
    assert source.record(canonical("::ffff:1.0.0.7")) == ("1.0.0.0/24", FLAT["1.0.0.0/24"])
    assert source.record(canonical("2002:100:7::")) == ("1.0.0.0/24", FLAT["1.0.0.0/24"])
    assert source.record(canonical("2a02:1::5")) == ("2a02:1::/32", FLAT_V6["2a02:1::/32"])
    assert source.record(canonical("9.9.9.9")) is None
    assert source.record(canonical("2a09::")) is None


def test_an_ipv4_database_has_no_record_of_ipv6(tmp_path: Path) -> None:
    source = Source.open(write(tmp_path / "flat.mmdb", FLAT, ip_version=4))
    assert source.record(canonical("1.0.0.7")) is not None
    assert source.record(canonical("2a02::")) is None


def test_a_network_wider_than_all_of_ipv4(tmp_path: Path) -> None:
    source = Source.open(write(tmp_path / "wide.mmdb", {"::/64": CUBA}))
    assert source.record(canonical("1.0.0.7")) == ("0.0.0.0/0", CUBA)


# --- private copies ---------------------------------------------------------------------------------------------------


def test_nobody_can_change_what_is_served(tmp_path: Path, catalogue: Catalogue) -> None:
    path = write(tmp_path / "city.mmdb", FLAT)
    source = Source.open(path)
    with path.open("r+b") as file:
        file.write(b"\xff" * 100)
        file.truncate(50)
    assert source.record(canonical("1.0.0.7")) == ("1.0.0.0/24", FLAT["1.0.0.0/24"])
    source.networks(catalogue)
    assert region_of(source.networks(catalogue), "1.0.0.7") == Region("RU", "UA-43")
    path.unlink()
    assert source.record(canonical("1.0.0.7")) is not None


def test_the_copy_is_sealed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"content")
    copy = copy_privately(path)
    descriptor = copy.content.descriptor
    seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    assert seals == fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    with pytest.raises(PermissionError):
        os.write(descriptor, b"x")
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 0)
    assert bytes(copy.content) == b"content"
    del copy
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    good, bad = write(tmp_path / "good.mmdb", FLAT), tmp_path / "bad.mmdb"
    bad.write_bytes(b"nothing")
    sources = [Source.open(good)]
    before = os.listdir("/proc/self/fd")
    for _ in range(5):
        sources.append(Source.open(good))
        refusal(bad)
    gc.collect()
    # A mapping keeps one of its own, and one to hand it over.
    left = len(os.listdir("/proc/self/fd")) - len(before)
    assert left <= 2 * (len(sources) - 1)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "city.mmdb", FLAT)
    pour = sealed._pour

    def pour_and_change(source: int, target: int) -> tuple[int, str]:
        copied = pour(source, target)
        with path.open("ab") as file:
            file.write(b"more")
        return copied

    monkeypatch.setattr(sealed, "_pour", pour_and_change)
    error = refusal(path)
    assert error.reason == "it was changed while it was read"
    assert "rename" in error.remedy


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_missing_file(tmp_path: Path) -> None:
    error = refusal(tmp_path / "no.mmdb")
    assert error.reason == "there is no such file"
    assert error.file == str(tmp_path / "no.mmdb")
    assert error.code == "DATABASE_INVALID"


def test_a_directory(tmp_path: Path) -> None:
    assert refusal(tmp_path).reason == "it is a directory"


def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert refusal(tmp_path / "fifo").reason == "it is no regular file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = write(tmp_path / "city.mmdb", FLAT)
    path.chmod(0)
    assert refusal(path).reason == "it may not be read"


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert refusal(tmp_path / "city.mmdb").reason == "it may not be read"


def test_an_error_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> tuple[int, str]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(sealed, "_pour", fail)
    assert refusal(write(tmp_path / "city.mmdb", FLAT)).reason == "it cannot be read: Input/output error"


@pytest.mark.parametrize(
    ("content", "reason", "remedy"),
    [
        (b"", "it is empty", "again"),
        (b"ip,country\n1.0.0.0,UA\n", "it is not a MaxMind DB", "MaxMind DB format"),
        (b"\x1f\x8b\x08" + bytes(100), "it is not a MaxMind DB", "gunzip"),
        (b"PK\x03\x04" + bytes(100), "it is not a MaxMind DB", "unpack"),
        (build_mmdb(FLAT)[:-40], "it is corrupt", "again"),
        (build_mmdb(FLAT)[40:], "it is corrupt", "again"),
        (
            build_mmdb(FLAT, metadata={"build_epoch": uint64(2**64 - 1)}),
            "it is corrupt: its metadata is damaged: build_epoch",
            "again",
        ),
        (build_mmdb(FLAT, metadata={"languages": None}), "maxminddb refuses its metadata", "languages"),
    ],
)
def test_a_file_that_is_no_sound_database(tmp_path: Path, content: bytes, reason: str, remedy: str) -> None:
    path = tmp_path / "x.mmdb"
    path.write_bytes(content)
    error = refusal(path)
    assert error.reason.startswith(reason)
    assert remedy in error.remedy
    pair = refusal(f"{path},{write(tmp_path / 'good.mmdb', FLAT)}")
    assert str(pair) == str(error)


@pytest.mark.parametrize(
    "networks",
    [{"1.0.0.0/8": {"autonomous_system_number": 64496}}, {"1.0.0.0/8": "UA"}, {"1.0.0.0/8": {"country_code": "ZZ"}}, {}],
)
def test_a_database_without_countries(tmp_path: Path, networks: dict[str, object]) -> None:
    error = refusal(write(tmp_path / "asn.mmdb", networks, database_type="GeoLite2-ASN"))
    assert "'GeoLite2-ASN'" in error.reason
    for field in ("country.iso_code", "country_code", "country"):
        assert field in error.reason


def test_a_database_of_registered_countries(tmp_path: Path, catalogue: Catalogue) -> None:
    path = write(tmp_path / "r.mmdb", {"1.0.0.0/8": {"registered_country": {"iso_code": "SY"}}})
    assert "no record names a country" in refusal(path).reason
    networks = Source.open(path, registered_country=True).networks(catalogue)
    assert region_of(networks, "1.0.0.0") == Region("SY", None)


def test_progress_is_told(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    Source.open(write(tmp_path / "flat.mmdb", FLAT), progress=lambda *step: seen.append(step))
    assert {what for what, _, _ in seen} == {"flat.mmdb: walking the search tree", "flat.mmdb: checking the records"}
    assert all(done == total for _, done, total in seen)


@pytest.mark.parametrize(
    ("stem", "database_type", "words"),
    [
        ("dbip-city-ipv4", "city ipv4", "DB-IP"),
        ("x", "DBIP-City-Lite", "DB-IP"),
        ("x", "GeoLite2-City", "MaxMind"),
        ("x", "GeoIP2-City", None),
        ("x", "test", None),
    ],
)
def test_vendors_are_attributed(tmp_path: Path, stem: str, database_type: str, words: str | None) -> None:
    source = Source.open(write(tmp_path / f"{stem}.mmdb", FLAT, database_type=database_type))
    assert (source.attribution is None) if words is None else (words in (source.attribution or ""))


# --- reducing ---------------------------------------------------------------------------------------------------------


def facts(networks: Networks) -> list[tuple[int, int, Region]]:
    regions = (networks.regions[place] for place in networks.answers)
    return list(zip(networks.starts_hi, networks.starts_lo, regions, strict=True))


def test_a_reduced_database_says_the_same(tmp_path: Path, catalogue: Catalogue) -> None:
    v4 = write(tmp_path / "dbip-city-ipv4.mmdb", FLAT, ip_version=4, build_epoch=1_780_666_922)
    v6 = write(tmp_path / "dbip-city-ipv6.mmdb", FLAT_V6, build_epoch=1_780_666_996)
    source = Source.open(f"{v4},{v6}")
    outs = [tmp_path / "a.mmdb", tmp_path / "b.mmdb"]
    seen: list[str] = []
    sizes = [reduce_database(source, catalogue, out, lambda what, *_: seen.append(what)) for out in outs]
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert sizes == [out.stat().st_size for out in outs]
    assert set(seen) == {"building the search tree"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mmdb", "b.mmdb", "dbip-city-ipv4.mmdb", "dbip-city-ipv6.mmdb"]
    reduced = Source.open(outs[0])
    assert facts(reduced.networks(catalogue)) == facts(source.networks(catalogue))
    assert (reduced.database_type, reduced.build_epoch) == (OWN_DATABASE_TYPE, 1_780_666_922)
    assert "DB-IP (https://db-ip.com), CC BY 4.0" in (reduced.attribution or "")
    assert reduced.record(canonical("1.0.0.7")) == (
        "1.0.0.0/24",
        {"country": {"iso_code": "RU"}, "subdivisions": [{"iso_code": "CR", "names": {"en": "Crimea"}}]},
    )
    assert reduced.record(canonical("1.0.4.7")) == (
        "1.0.4.0/24",
        {"country": {"iso_code": "RU"}, "subdivisions": [{"names": {"en": "Luhansk"}}]},
    )


@pytest.mark.parametrize("network", ["::/0", "0.0.0.0/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"])
def test_reducing_a_single_network(tmp_path: Path, catalogue: Catalogue, network: str) -> None:
    source = Source.open(write(tmp_path / "one.mmdb", {network: CUBA}))
    reduce_database(source, catalogue, tmp_path / "out.mmdb")
    assert facts(Source.open(tmp_path / "out.mmdb").networks(catalogue)) == facts(source.networks(catalogue))


def test_the_reduced_tree_is_minimal(tmp_path: Path, catalogue: Catalogue) -> None:
    halves = {"1.0.0.0/9": {"country_code": "CU", "city": "A"}, "1.128.0.0/9": {"country_code": "CU", "city": "B"}}
    records = split_into_nodes(Source.open(write(tmp_path / "x.mmdb", halves)).networks(catalogue))
    assert len(records) // 2 == 96 + 8


def test_a_reduced_database_is_written_whole_or_not_at_all(
    tmp_path: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source.open(write(tmp_path / "x.mmdb", FLAT))
    out = tmp_path / "out.mmdb"
    out.write_bytes(b"the last good one")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DatabaseError, match="it cannot be written: No space left on device"):
        reduce_database(source, catalogue, out)
    assert out.read_bytes() == b"the last good one"
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(DatabaseError, match="it cannot be written"):
        reduce_database(source, catalogue, tmp_path / "no" / "out.mmdb")


def test_every_subdivision_can_be_written_under_each_of_its_countries(catalogue: Catalogue) -> None:
    for row in catalogue.subdivisions.values():
        for country in row.countries:
            record_of(Region(country, row.code), catalogue)


def test_a_record_that_would_be_misread_is_not_written(catalogue: Catalogue) -> None:
    row = catalogue.subdivisions["UA-43"]
    misnamed = replace(catalogue, subdivisions={"UA-43": replace(row, name="Nowhere", aliases=())})
    with pytest.raises(ValueError, match=r"read .* back"):
        record_of(Region("RU", "UA-43"), misnamed)


@pytest.mark.parametrize("value", ["", "x" * 28, "é" * 200, "x" * 60_000, {}, {"a": ["b", {"c": "d"}]}, ["x"] * 300])
def test_fields_are_encoded_as_the_format_asks(value: object) -> None:
    assert encode(value) == oracle_encode(value)


def test_only_what_is_needed_is_encoded() -> None:
    with pytest.raises(TypeError):
        encode(1.5)
