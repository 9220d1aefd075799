"""`_fastpath.digit_trie` against tests/reference/plmn.py and the published encodings of PLMNs and IMSIs."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from _fastpath.digit_trie import DigitTrie, ParsedPlmn, parse_bcd, parse_ef_imsi, parse_pair, parse_plmn, parse_s1ap
from tests.reference import plmn as reference

if TYPE_CHECKING:
    from collections.abc import Callable

# PLMN, TS 24.008 octets, S1AP octets. The first column of octets was checked with a protocol analyser for 310-410,
# 250-32, 467-193 and 714-020; the second follows from TS 36.413.
ENCODED = [
    ("001-01", "00f110", "00f110"),
    ("001-001", "001100", "000110"),
    ("262-01", "62f210", "62f210"),
    ("310-410", "130014", "134001"),
    ("310-026", "136020", "130062"),
    ("310-26", "13f062", "13f062"),
    ("302-720", "030227", "037202"),
    ("368-01", "63f810", "63f810"),
    ("432-11", "34f211", "34f211"),
    ("432-35", "34f253", "34f253"),
    ("417-01", "14f710", "14f710"),
    ("634-01", "36f410", "36f410"),
    ("467-05", "64f750", "64f750"),
    ("467-193", "643791", "641739"),
    ("255-06", "52f560", "52f560"),
    ("255-701", "521507", "527510"),
    ("250-01", "52f010", "52f010"),
    ("250-32", "52f023", "52f023"),
    ("250-33", "52f033", "52f033"),
    ("250-34", "52f043", "52f043"),
    ("250-54", "52f045", "52f045"),
    ("250-60", "52f006", "52f006"),
    ("250-96", "52f069", "52f069"),
    ("250-97", "52f079", "52f079"),
    ("250-811", "521018", "528011"),
    ("221-01", "22f110", "22f110"),
    ("289-67", "82f976", "82f976"),
    ("425-05", "24f550", "24f550"),
    ("714-02", "17f420", "17f420"),
    ("714-020", "170420", "170402"),
    ("901-40", "09f104", "09f104"),
    ("999-99", "99f999", "99f999"),
    ("999-999", "999999", "999999"),
]

# IMSI, the file EF_IMSI (TS 31.102 4.2.2). The last one has an even number of digits.
IMSIS = [
    ("250320123456789", "082905231032547698"),
    ("310410123456789", "083901141032547698"),
    ("368011234567890", "083986102143658709"),
    ("714020123456789", "087941201032547698"),
    ("467193123456789", "084976911332547698"),
    ("901405000000001", "089910040500000010"),
    ("001010123456789", "080910101032547698"),
    ("4321112345", "0641231121 43f5ffff"),
]

DIGITS = st.text("0123456789", min_size=0, max_size=16)
# Few digits, so that prefixes collide.
FEW_DIGITS = st.text("012", min_size=3, max_size=6).filter(lambda digits: len(digits) != 4)
ROWS = st.lists(st.tuples(FEW_DIGITS, st.integers(1, 65534), st.booleans()), unique_by=lambda row: row[0]).map(
    lambda rows: [(digits, value, exact and len(digits) == 5) for digits, value, exact in rows]
)


def read(text: str, *, allow_imsi: bool = False, allow_mcc: bool = False) -> ParsedPlmn:
    parsed = parse_plmn(text, allow_imsi, allow_mcc)
    assert parsed is not None
    return parsed


def parts(parsed: ParsedPlmn | None) -> tuple[str, bool] | None:
    return None if parsed is None else (parsed.digits, parsed.mnc is not None)


@pytest.mark.parametrize(("text", "bcd", "s1ap"), ENCODED)
def test_every_form_of_a_plmn_reads_the_same(text: str, bcd: str, s1ap: str) -> None:
    mcc, mnc = text.split("-")
    forms = [
        parse_plmn(text),
        parse_plmn(f"{mcc} {mnc}"),
        parse_pair(mcc, mnc),
        parse_bcd(bytes.fromhex(bcd)),
        parse_s1ap(bytes.fromhex(s1ap)),
    ]
    for parsed in forms:
        assert parsed is not None
        assert (parsed.text, parsed.digits, parsed.mcc, parsed.mnc) == (text, mcc + mnc, mcc, mnc)


@pytest.mark.parametrize(("text", "bcd", "s1ap"), ENCODED)
def test_the_reference_encodings_are_the_published_ones(text: str, bcd: str, s1ap: str) -> None:
    mcc, mnc = text.split("-")
    assert reference.encode_bcd(mcc, mnc).hex() == bcd
    assert reference.encode_s1ap(mcc, mnc).hex() == s1ap


@pytest.mark.parametrize(("imsi", "octets"), IMSIS)
def test_an_imsi_keeps_six_digits(imsi: str, octets: str) -> None:
    for parsed in (parse_plmn(imsi, allow_imsi=True), parse_ef_imsi(bytes.fromhex(octets))):
        assert parsed is not None
        assert (parsed.digits, parsed.mcc, parsed.mnc, parsed.text) == (imsi[:6], imsi[:3], None, imsi[:6])
    assert parse_plmn(imsi) is None
    assert reference.encode_ef_imsi(imsi) == bytes.fromhex(octets)


def test_nothing_of_an_imsi_after_six_digits_is_in_the_object() -> None:
    parsed = read("250329876543217", allow_imsi=True)
    shown = f"{parsed!r} {parsed} {[getattr(parsed, name) for name in dir(parsed)]}"
    assert "250329" in shown
    assert "87654" not in shown


def test_where_the_mnc_ends_is_part_of_what_a_plmn_is() -> None:
    assert read("25032") == read("250-32") == read("250 32")
    assert hash(read("25032")) == hash(read("250-32"))
    assert read("310260") != read("310-260")
    assert read("001-01") != read("001-001")
    assert read("250-32") != "250-32"
    assert (read("310260").mnc, read("310-260").mnc) == (None, "260")
    assert repr(read("250 32")) == "ParsedPlmn(250-32)"


def test_an_mcc_alone_is_for_the_command_line() -> None:
    assert parse_plmn("250") is None
    parsed = read("250", allow_mcc=True)
    assert (parsed.digits, parsed.mcc, parsed.mnc, parsed.text) == ("250", "250", None, "250")


MALFORMED = [
    "",
    "2",
    "25",
    "2503",
    "250-3",
    "250-",
    "250-3333",
    "-25033",
    "25-033",
    "2503-3",
    "+25033",
    " 25033",
    "25033 ",
    "25033\n",
    "250--33",
    "250_33",
    "2_5033",
    "250.33",
    "250/33",
    "250\t33",
    "250\u201333",
    "0x250",
    "25o33",
    "250-3e",
    "25033.0",
    "250-33-0123456789",
    "1234567890123456",
    "٢٥٠٣٣",
    "\uff12\uff15\uff10\uff13\uff13",
    "25033\u0660",
    "²50-33",
    "25033\x00",
    "250\x0033",
    "\ud800",
    "25033\udcff",
    "None",
    "nan",
]


@pytest.mark.parametrize("text", MALFORMED)
def test_text_that_is_no_plmn_is_refused(text: str) -> None:
    assert parse_plmn(text) is None
    assert parse_plmn(text, allow_imsi=True, allow_mcc=True) is None


@pytest.mark.parametrize("text", ["2503312", "250331234567890"])
def test_an_imsi_is_refused_where_it_is_not_allowed(text: str) -> None:
    assert parse_plmn(text) is None
    assert parse_plmn(text, allow_mcc=True) is None


@pytest.mark.parametrize(
    ("mcc", "mnc"),
    [
        ("", ""),
        ("368", ""),
        ("368", "1"),
        ("368", "0001"),
        ("36", "801"),
        ("3680", "1"),
        ("36a", "01"),
        ("368", "0a"),
        ("368", " 1"),
        ("368", "-1"),
        ("368", "+1"),
        ("368", "\u0660\u0661"),
        ("٣٦٨", "01"),
        ("368", "0\x00"),
    ],
)
def test_a_pair_that_is_no_plmn_is_refused(mcc: str, mnc: str) -> None:
    assert parse_pair(mcc, mnc) is None


@pytest.mark.parametrize(
    "octets", ["", "52", "52f0", "52f02300", "ffffff", "5af023", "a2f023", "52ff23", "52f0a3", "52f0f3", "52a023"]
)
def test_octets_that_are_no_plmn_are_refused(octets: str) -> None:
    assert parse_bcd(bytes.fromhex(octets)) is None
    assert parse_s1ap(bytes.fromhex(octets)) is None


def test_an_s1ap_identity_with_a_filler_in_the_last_place_is_refused() -> None:
    assert parse_bcd(bytes.fromhex("1340f1")) is None
    assert parse_s1ap(bytes.fromhex("1340f1")) is None


@pytest.mark.parametrize(
    ("octets", "fault"),
    [
        ("", "empty"),
        ("08", "the length octet alone"),
        ("092905231032547698", "longer than an IMSI"),
        ("032905231032547698", "shorter than a PLMN"),
        ("0829052310325476", "cut short"),
        ("08290523103254769800", "an octet too many"),
        ("082a05231032547698", "not of the type IMSI"),
        ("082105231032547698", "even, but the last nibble is a digit"),
        ("08290523103254769f", "a filler inside"),
        ("0829a5231032547698", "a digit above 9"),
        ("0641231121435fffff", "a filler before the last digit"),
        ("064923112143f5ffff", "odd, but the last nibble is a filler"),
        ("0641231121435500ff", "unused octets are not F"),
        ("ffffffffffffffffff", "never written"),
    ],
)
def test_an_ef_imsi_that_is_none_is_refused(octets: str, fault: str) -> None:
    assert parse_ef_imsi(bytes.fromhex(octets)) is None, fault


def test_an_ef_imsi_may_leave_out_its_unused_octets() -> None:
    parsed = parse_ef_imsi(bytes.fromhex("06412311 2143f5"))
    assert parsed is not None
    assert parsed.digits == "432111"


@given(DIGITS | st.text(max_size=16) | st.from_regex(r"[0-9]{3}[- ][0-9]{1,4}", fullmatch=True), st.booleans(), st.booleans())
@example("368-01", False, False)
def test_text_is_read_as_the_reference_reads_it(text: str, allow_imsi: bool, allow_mcc: bool) -> None:
    expected = reference.read_text(text, allow_imsi=allow_imsi, allow_mcc=allow_mcc)
    assert parts(parse_plmn(text, allow_imsi, allow_mcc)) == expected


@given(st.text("0123456789", min_size=6, max_size=15))
def test_ef_imsi_reads_what_was_written(imsi: str) -> None:
    assert parts(parse_ef_imsi(reference.encode_ef_imsi(imsi))) == (imsi[:6], False)


@given(st.binary(min_size=3, max_size=3))
def test_octets_read_back_or_are_refused(octets: bytes) -> None:
    readers: list[tuple[Callable[[bytes], ParsedPlmn | None], Callable[[str, str], bytes]]] = [
        (parse_bcd, reference.encode_bcd),
        (parse_s1ap, reference.encode_s1ap),
    ]
    for parse, encode in readers:
        parsed = parse(octets)
        if parsed is not None:
            assert parsed.mnc is not None
            assert encode(parsed.mcc, parsed.mnc) == octets


@given(st.binary(max_size=12))
def test_no_octets_crash(octets: bytes) -> None:
    parsed = parse_ef_imsi(octets)
    assert parsed is None or len(parsed.digits) == 6
    parse_bcd(octets)
    parse_s1ap(octets)


@given(ROWS, st.lists(st.text("012", min_size=3, max_size=9), max_size=30))
def test_the_trie_matches_as_the_reference_does(rows: list[tuple[str, int, bool]], probes: list[str]) -> None:
    trie = DigitTrie(rows)
    for probe in (*probes, *(digits for digits, _, _ in rows)):
        for text in (probe, f"{probe[:3]}-{probe[3:]}"):
            expected = reference.read_text(text, allow_imsi=True, allow_mcc=True)
            if expected is not None:
                digits, mnc_known = expected
                parsed = read(text, allow_imsi=True, allow_mcc=True)
                assert trie.match(parsed) == reference.longest_prefix(rows, digits, mnc_known=mnc_known)


def test_matching_by_rule() -> None:
    trie = DigitTrie([("250", 1, False), ("25033", 2, False), ("310", 3, False), ("31059", 4, True), ("338050", 5, False)])
    assert trie.match(read("250-33")) == (2, 5)
    assert trie.match(read("250331234567890", allow_imsi=True)) == (2, 5)
    assert trie.match(read("250-331")) == (1, 3), "an MNC of three digits that begins with 33"
    assert trie.match(read("250-34")) == (1, 3)
    assert trie.match(read("310-59")) == (4, 5)
    assert trie.match(read("31059")) == (4, 5)
    assert trie.match(read("310590")) == (3, 3), "exact: 310-590 is another network"
    assert trie.match(read("310-590")) == (3, 3)
    assert trie.match(read("338050")) == trie.match(read("338-050")) == (5, 6)
    assert trie.match(read("338-05")) == (0, 0)
    assert trie.match(read("999-99")) == (0, 0)
    assert trie.match(read("250", allow_mcc=True)) == (1, 3)


def test_an_empty_trie_matches_nothing() -> None:
    assert DigitTrie([]).match(read("25033")) == (0, 0)


def test_a_plmn_that_no_parser_made_matches_nothing() -> None:
    kind: Any = ParsedPlmn
    assert DigitTrie([("000", 1, False)]).match(kind.__new__(kind)) == (0, 0)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("25", 1, False)], "'25' is no prefix"),
        ([("2503", 1, False)], "'2503' is no prefix"),
        ([("2503312", 1, False)], "is no prefix"),
        ([("250-33", 1, False)], "is no prefix"),
        ([("25o33", 1, False)], "is no prefix"),
        ([("250", 0, False)], "0 is for no match"),
        ([("250", 65535, False)], "not within 1 to 65534"),
        ([("250", -1, False)], "not within 1 to 65534"),
        ([("250", 1, False), ("250", 2, False)], "250 has two rows"),
        ([("25033", 1, False), ("25033", 1, True)], "25033 has two rows"),
        ([("250", 1, True)], "cannot be exact"),
        ([("250331", 1, True)], "cannot be exact"),
    ],
)
def test_rows_that_mean_nothing_are_refused(rows: list[tuple[str, int, bool]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DigitTrie(rows)


def test_a_parsed_plmn_cannot_be_made_or_changed() -> None:
    with pytest.raises(TypeError, match="made by parse_plmn"):
        ParsedPlmn()
    parsed = read("250-33")
    with pytest.raises(AttributeError):
        parsed.mcc = "368"  # type: ignore[misc]
    with pytest.raises(TypeError):
        pickle.dumps(parsed)
    with pytest.raises(TypeError):
        copy.copy(DigitTrie([]))


# ---- text at once ----

FORMS = st.one_of(
    DIGITS,
    st.from_regex(r"[012]{3}[- ]?[012]{1,4}", fullmatch=True),
    st.text("012", min_size=3, max_size=16),
    st.sampled_from(MALFORMED),
    st.text("0123456789- \x80\xff\u0660x/:", max_size=17),
)


def value_of(rows: list[tuple[str, int, bool]], text: str, *, allow_imsi: bool) -> int | None:
    read = reference.read_text(text, allow_imsi=allow_imsi)
    return None if read is None else reference.longest_prefix(rows, read[0], mnc_known=read[1])[0]


@settings(max_examples=200)
@given(ROWS, st.lists(FORMS, max_size=200), st.booleans())
def test_text_lists_and_lines_match_as_the_reference_does(
    rows: list[tuple[str, int, bool]], texts: list[str], allow_imsi: bool
) -> None:
    trie = DigitTrie(rows)
    expected = [value_of(rows, text, allow_imsi=allow_imsi) for text in texts]
    assert [trie.match_text(text, allow_imsi) for text in texts] == expected
    assert trie.match_many(texts, allow_imsi) == trie.match_many(tuple(texts), allow_imsi) == expected
    lines = [
        (text.encode("utf-8", "surrogatepass"), value) for text, value in zip(texts, expected, strict=True) if "\n" not in text
    ]
    ids = trie.match_lines(b"".join(line + b"\n" for line, _ in lines), allow_imsi)
    assert list(ids) == [trie.missing if value is None else value for _, value in lines]


@pytest.mark.parametrize("place", range(15))
@pytest.mark.parametrize("text", [b"25033", b"250-33", b"250331", b"2" * 15])
def test_any_byte_in_any_place(place: int, text: bytes) -> None:
    rows = [("250", 1, False), ("25033", 2, False), ("250331", 3, False)]
    trie = DigitTrie(rows)
    for byte in range(256):
        changed = text[:place] + bytes([byte]) + text[place + 1 :]
        expected = value_of(rows, changed.decode("latin-1"), allow_imsi=True)
        assert trie.match_text(changed.decode("latin-1"), True) == expected
        if byte != ord("\n"):
            assert list(trie.match_lines(changed, True)) == [4 if expected is None else expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", []),
        (b"\n", [2]),
        (b"25033", [1]),
        (b"25033\n", [1]),
        (b"25033\n\n", [1, 2]),
        (b"25033\n" * 200, [1] * 200),
        (b"25033\r\n25033", [2, 1]),
        (b"2" * 1000 + b"\n250-33", [2, 1]),
        (b"2" * 16 + b"\n25033\n", [2, 1]),
        (b"25033\n" + b"2" * 1000, [1, 2]),
        (b"99999\n25033", [0, 1]),
    ],
)
def test_lines(text: bytes, expected: list[int]) -> None:
    trie = DigitTrie([("250", 1, False)])
    assert trie.missing == 2
    for buffer in (text, bytearray(text), memoryview(text)):
        assert list(trie.match_lines(buffer)) == expected


def test_an_imsi_is_matched_only_where_it_is_allowed() -> None:
    trie = DigitTrie([("250", 1, False), ("25033", 2, False)])
    imsi = "250331234567890"
    assert (trie.match_text(imsi), trie.match_text(imsi, True)) == (None, 2)
    assert (trie.match_many([imsi]), trie.match_many([imsi], True)) == ([None], [2])
    assert (list(trie.match_lines(imsi.encode())), list(trie.match_lines(imsi.encode(), True))) == ([3], [2])


def test_items_that_are_no_text_are_refused() -> None:
    trie = DigitTrie([("250", 1, False)])
    wrong: Any
    for wrong in ([25033], ["25033", None], ["25033", b"25033"]):
        with pytest.raises(TypeError, match="lost its leading zeros"):
            trie.match_many(wrong)
    for wrong in ("25033", iter(["25033"]), None):
        with pytest.raises(TypeError, match="a list or a tuple"):
            trie.match_many(wrong)
    for wrong in (None, 25033, b"25033"):
        with pytest.raises(TypeError):
            trie.match_text(wrong)
    with pytest.raises(TypeError):
        trie.match_lines("25033")  # type: ignore[arg-type]


def test_ids_are_as_wide_as_the_values_need() -> None:
    ids = DigitTrie([("250", 65534, False)]).match_lines(b"25033\nx")
    assert (memoryview(ids).format, list(ids), ids.missing) == ("H", [65534, 65535], 65535)
    assert DigitTrie([]).match_many(["25033", "x"]) == [0, None]
