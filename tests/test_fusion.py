"""`_fastpath.fusion` against the readable table, over the whole product of statuses, candidate sets and agreements."""

from __future__ import annotations

import itertools

import pytest

from _fastpath.fusion import CONFLICT_BITS, ROW_NAMES, SIGNAL_BITS, STATUS_IDS, Fusion
from tests.reference import fusion as reference

WORLD = reference.World(
    filed_under={
        "UA": ("UA",),
        "RU": ("RU",),
        "US": ("US",),
        "GU": ("GU",),
        "GE": ("GE",),
        "CU": ("CU",),
        "UA-43": ("UA", "RU"),
        "UA-40": ("UA", "RU"),
        "UA-14": ("UA", "RU"),
        "GE-AB": ("GE",),
        "crimea": ("UA", "RU"),
        "donbas": ("UA", "RU"),
    },
    subdivisions=frozenset({"UA-43", "UA-40", "UA-14", "GE-AB"}),
    members={"crimea": ("UA-43", "UA-40"), "donbas": ("UA-14",)},
    deserted_by={"UA-43": ("UA",), "UA-40": ("UA",)},
    watched=frozenset({"UA", "RU", "GE"}),
)
IPS = (
    *(reference.Ip(country) for country in ("UA", "RU", "US", "GU", "GE", "CU")),
    reference.Ip("UA", "UA-43"),
    reference.Ip("RU", "UA-43"),
    reference.Ip("RU", "UA-40", sources_disagree=True),
    reference.Ip("UA", "UA-14"),
    reference.Ip("GE", "GE-AB"),
    reference.Ip("CU", sources_disagree=True),
    *(reference.Ip(country, is_blind=True) for country in ("UA", "RU", "GE")),
    reference.Ip("RU", sources_disagree=True, is_blind=True),
    # An operator's overrides: of countries and of subdivisions, whatever they are filed under.
    *(reference.Ip(country, is_override=True) for country in ("UA", "RU", "GE", "CU")),
    *(reference.Ip("UA", code, is_override=True) for code in ("UA-43", "UA-14")),
    reference.Ip("GE", "GE-AB", is_override=True),
)
PLMNS = (
    *(reference.Plmn((country,)) for country in ("UA", "RU", "US", "GE", "CU")),
    reference.Plmn(("US", "GU")),
    reference.Plmn(("GU", "CU"), is_override=True, confidence=0.95),
    reference.Plmn(("GU",), is_override=True, confidence=0.95),
    reference.Plmn(("crimea",), is_override=True, confidence=0.95),
    reference.Plmn(("crimea",), is_override=True, confidence=0.8),
    reference.Plmn(("UA-40",), is_override=True, confidence=0.95),
    reference.Plmn(("UA-14",), is_override=True, confidence=0.8),
    reference.Plmn(("GE-AB", "GE"), is_override=True, confidence=0.8),
    # What only an operator's override says: a whole country, a region that is filed under one country, many at once.
    reference.Plmn(("RU",), is_override=True, confidence=0.95),
    reference.Plmn(("CU",), is_override=True, confidence=0.5),
    reference.Plmn(("donbas",), is_override=True, confidence=0.95),
    reference.Plmn(("UA-43", "GE", "CU"), is_override=True),
    reference.Plmn(("RU", "UA")),
)
NO_PLMN = ("absent", "invalid", "unassigned", "non_geographic")
NO_IP = ("absent", "invalid", "reserved", "not_found")


def compiled(world: reference.World) -> tuple[Fusion, list[str | None]]:
    codes: list[str | None] = [None, *world.filed_under]
    ids = {code: number for number, code in enumerate(codes)}
    regions: list[tuple[int, list[int], list[int], list[int], bool, bool, bool]] = [(0, [], [], [], False, False, False)]
    for code, countries in world.filed_under.items():
        regions.append(
            (
                ids[countries[0]],
                [ids[country] for country in countries],
                [ids[member] for member in world.members.get(code, ())],
                [ids[country] for country in world.deserted_by.get(code, ())],
                code in world.subdivisions,
                code in world.members,
                code in world.watched,
            )
        )
    plmns = [
        ([], False, 0),
        *(([ids[code] for code in row.candidates], row.is_override, round(row.confidence * 100)) for row in PLMNS),
    ]
    ips = [
        (0, 0, False, False, False),
        *((ids[ip.country], ids[ip.subdivision], ip.sources_disagree, ip.is_blind, ip.is_override) for ip in IPS),
    ]
    return Fusion(regions, plmns, ips), codes


def test_agrees_with_the_readable_table_on_every_combination() -> None:
    world = WORLD
    fusion, codes = compiled(world)
    plmns: list[tuple[str, int, reference.Plmn | None]] = [
        *((status, 0, None) for status in NO_PLMN),
        *(("ok", number, row) for number, row in enumerate(PLMNS, 1)),
    ]
    ips: list[tuple[str, int, reference.Ip | None]] = [
        *((status, 0, None) for status in NO_IP),
        *(("ok", number, ip) for number, ip in enumerate(IPS, 1)),
    ]
    compared = 0
    for ip, serving, home in itertools.product(ips, plmns, plmns):
        expected = reference.fuse(world, ip[2], serving[2], home[2], serving_is_non_geographic=serving[0] == "non_geographic")
        region, country, subdivision, conflicts, confidence, basis, used, row = fusion.resolve(
            STATUS_IDS[ip[0]], ip[1], STATUS_IDS[serving[0]], serving[1], STATUS_IDS[home[0]], home[1]
        )
        case = (ip, serving, home)
        assert codes[region] == expected.region, case
        assert {word for word, bit in CONFLICT_BITS.items() if conflicts & bit} == expected.conflicts, case
        assert confidence == round(expected.confidence * 100), case
        assert basis == (SIGNAL_BITS[expected.basis] if expected.basis else 0), case
        assert ROW_NAMES[row] == expected.row, case
        assert codes[country] == (world.own(expected.region) if expected.region else None), case
        assert codes[subdivision] == (expected.region if expected.region in world.subdivisions else None), case
        assert used & basis == basis, case
        usable = sum(bit for bit, signal in ((4, ip), (1, serving), (2, home)) if signal[0] == "ok")
        assert used & ~usable == 0, case
        compared += 1
    assert compared == len(ips) * len(plmns) ** 2


def test_every_row_of_the_table_is_reached() -> None:
    rows = set()
    for ip, serving, home in itertools.product((None, *IPS), (None, *PLMNS), (None, *PLMNS)):
        rows.add(reference.fuse(WORLD, ip, serving, home).row)
    assert rows == set(ROW_NAMES.values())


@pytest.mark.parametrize(
    ("regions", "plmns", "ips", "words"),
    [
        ([], [([], False, 0)], [(0, 0, False, False, False)], "entry 0"),
        ([(0, [], [], [], False, False, False)], [([1], False, 0)], [(0, 0, False, False, False)], "outside the table"),
        ([(0, [0] * 5, [], [], False, False, False)], [([], False, 0)], [(0, 0, False, False, False)], "in a list that holds"),
        ([(0, [], [], [], False, False, False)], [([], False, 0)], [(-1, 0, False, False, False)], "outside the table"),
    ],
)
def test_refuses_tables_that_point_outside(
    regions: list[tuple[int, list[int], list[int], list[int], bool, bool, bool]],
    plmns: list[tuple[list[int], bool, int]],
    ips: list[tuple[int, int, bool, bool, bool]],
    words: str,
) -> None:
    with pytest.raises(ValueError, match=words):
        Fusion(regions, plmns, ips)


def test_refuses_a_value_id_outside_its_table() -> None:
    fusion, _ = compiled(WORLD)
    for arguments in ((1, len(IPS) + 1, 0, 0, 0, 0), (0, 0, 1, -1, 0, 0), (0, 0, 0, 0, 1, len(PLMNS) + 1)):
        with pytest.raises(IndexError, match="outside its table"):
            fusion.resolve(*arguments)
