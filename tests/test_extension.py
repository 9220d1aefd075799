"""An operator's catalogue file: its form, what its words mean, and everything that is to be said against one."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from regionresolver import Region, Resolver
from regionresolver.cli import main
from regionresolver.errors import CatalogueError, ImageError
from regionresolver.index import Source
from regionresolver.resolver.catalogue_lint import answers_in, lint_catalogue
from regionresolver.resolver.extended import extend, interval, open_catalogue
from regionresolver.sources.catalogue import Catalogue
from regionresolver.sources.extension import Extension
from regionresolver.sources.plmn import PlmnTable
from tests.mmdb_builder import build_mmdb
from tests.worlds import city_database

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = Catalogue.load()
PLMNS = PlmnTable.load(catalogue=SHIPPED)
AT = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)

GOOD = """\
[regions]
gulf = ["AE", "QA", "KW"]
watched = ["gulf", "crimea", "CU"]
donbas = ["UA-14", "UA-09"]

[[aliases]]
region = "UA-43"
names = ["Krim"]
codes = ["RU-82"]
words = ["krym"]

[[aliases]]
region = "gulf"
words = ["the-gulf"]

[[networks]]
id = "lab"
network = "203.0.113.0/24"
region = "RU-CR"
owner = "activation@example.com"
reason = "ticket 17"
expires = 2027-03-31

[[plmns]]
id = "phoenix"
plmn = "250-98"
region = "donbas"
owner = "activation@example.com"
reason = "ticket 18"
expires = "never"

[[plmns]]
id = "border"
plmn = "24412"
region = ["FI", "cuba"]
owner = "activation@example.com"
reason = "ticket 19"
expires = 2027-03-31T12:00:00+02:00
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "catalogue.toml"
    path.write_text(text, encoding="utf-8")
    return path


def changed(good: str, bad: str) -> str:
    assert GOOD.count(good) >= 1, good
    return GOOD.replace(good, bad, 1)


# ---- what the words mean


def test_a_good_file_in_codes(tmp_path: Path) -> None:
    extended = open_catalogue(written(tmp_path, GOOD))
    catalogue = extended.catalogue
    assert {
        name: (catalogue.regions[name].members, catalogue.regions[name].country) for name in ("gulf", "watched", "donbas")
    } == {
        "gulf": (("AE", "KW", "QA"), None),
        "watched": (("AE", "CU", "KW", "QA", "UA-40", "UA-43"), None),
        "donbas": (("UA-09", "UA-14"), "UA"),
    }
    assert dict(catalogue.words) == {"krym": "UA-43", "the-gulf": "gulf"}
    assert catalogue.canonical("RU", None, "Krim") == ("RU", "UA-43")
    assert catalogue.canonical("RU", "82", None) == ("RU", "UA-43")
    assert catalogue.suggest("krymm") == "UA-43"
    assert [(one.id, one.prefix, one.regions, one.confidence) for one in extended.overrides] == [
        ("lab", "203.0.113.0/24", ("UA-43",), None),
        ("border", "24412", ("FI", "CU"), None),
        ("phoenix", "25098", ("donbas",), 0.95),
    ]
    ends = {one.id: one.expires for one in extended.overrides}
    assert ends["lab"] == dt.datetime(2027, 3, 31, tzinfo=dt.UTC)
    assert ends["border"] == dt.datetime(2027, 3, 31, 10, tzinfo=dt.UTC)
    assert [extended.expired_count(dt.datetime(2027, 3, 31, hour, tzinfo=dt.UTC)) for hour in (0, 9, 10)] == [1, 1, 2]
    assert extended.expired_count(AT) == 0


def test_a_named_region_of_one_country_is_an_answer(tmp_path: Path) -> None:
    with Resolver.open(db=city_database(tmp_path / "city.mmdb"), catalogue=written(tmp_path, GOOD)) as resolver:
        alone = resolver.resolve(serving="25098")
        assert (alone.region, alone.country, alone.subdivision, alone.region_name) == ("donbas", "UA", None, "donbas")
        assert resolver.resolve(serving="25098", ip="78.0.1.1").region == "UA-14"


def test_an_empty_file_and_no_file_are_the_shipped_catalogue(tmp_path: Path) -> None:
    empty = open_catalogue(written(tmp_path, "# nothing yet\n"))
    assert (empty.overrides, empty.catalogue.sha256) == ((), SHIPPED.sha256)
    assert open_catalogue(written(tmp_path, "\ufeff" + GOOD)).overrides, "a byte order mark is no fault"
    assert open_catalogue(None).file is None


def test_an_image_is_of_the_words_that_it_was_compiled_with(tmp_path: Path) -> None:
    """Regions and overrides change no image; other names for a subdivision do."""
    database = tmp_path / "vendor.mmdb"
    database.write_bytes(build_mmdb({"1.0.0.0/16": {"country_code": "RU", "state1": "Krim"}}, ip_version=6, database_type="x"))
    regions, names = tmp_path / "regions.toml", tmp_path / "names.toml"
    regions.write_text('[regions]\ngulf = ["AE"]\n', encoding="utf-8")
    names.write_text('[[aliases]]\nregion = "UA-43"\nnames = ["Krim"]\n', encoding="utf-8")
    plain, named = tmp_path / "plain.image", tmp_path / "named.image"
    for image, more in ((plain, []), (named, ["--catalogue", str(names)])):
        done = CliRunner().invoke(main, ["index", "build", "--db", str(database), "--out", str(image), *more])
        assert done.exit_code == 0, done.output
        checked = CliRunner().invoke(main, ["index", "verify", str(image), "--db", str(database), *more])
        assert checked.exit_code == 0, checked.output
    for image, catalogue, region in ((plain, regions, "RU"), (plain, None, "RU"), (named, names, "UA-43")):
        with Resolver.open(index=image, catalogue=catalogue) as resolver:
            assert resolver.resolve(ip="1.0.0.1").region == region
    for image, catalogue in ((plain, names), (named, None)):
        with pytest.raises(ImageError, match="with the same --catalogue"):
            Resolver.open(index=image, catalogue=catalogue)
    shown = CliRunner().invoke(main, ["db", "info", str(database), "--json", "--catalogue", str(names)])
    assert json.loads(shown.stdout)["subdivisions"] == {"UA-43": 1}


# ---- files that are wrong


FAULTS = [
    ("gulf = [", "Gulf = [", "line 2, regions.Gulf", "is no name of a region"),
    ('["AE", "QA", "KW"]', '"AE"', "line 2, regions.gulf", "must be an array of texts"),
    ("[regions]", "[region]", "region", "did you mean regions?"),
    ('["AE", "QA", "KW"]', '["AE", "QAT"]', "line 2, regions.gulf[1]", "did you mean 'QA'?"),
    ('["AE", "QA", "KW"]', '["AE", "krimea"]', "line 2, regions.gulf[1]", "did you mean 'crimea'?"),
    ('["AE", "QA", "KW"]', '["watched"]', "line 2, regions.gulf", "'gulf' contains itself: gulf -> watched -> gulf"),
    ('["AE", "QA", "KW"]', '["UA-30"]', "line 2, regions.gulf[0]", "UA-30"),
    ("gulf = [", 'cu = ["DE"]\ngulf = [', "line 2, regions.cu", "hides the code CU"),
    ("gulf = [", 'syr = ["DE"]\ngulf = [', "line 2, regions.syr", "hides SYR, which stands for SY"),
    ("gulf = [", 'crimea = ["DE"]\ngulf = [', "line 2, regions.crimea", "is a region of the shipped catalogue"),
    ('codes = ["RU-82"]', 'codes = ["RU-SEV"]', "line 9, aliases[0].codes[0]", "hides the code of UA-40 under UA"),
    ('codes = ["RU-82"]', 'codes = ["TR-82"]', "line 9, aliases[0].codes[0]", "under which no database files UA-43"),
    ('codes = ["RU-82"]', 'codes = ["82"]', "line 9, aliases[0].codes[0]", "write whole codes"),
    ('names = ["Krim"]', 'names = ["Sevastopol"]', "line 8, aliases[0].names[0]", "hides the name of UA-40 under UA"),
    ('words = ["krym"]', 'words = ["cuba"]', "line 10, aliases[0].words[0]", "hides a region of that name"),
    ('words = ["krym"]', 'words = ["ir"]', "line 10, aliases[0].words[0]", "hides the code IR"),
    ('words = ["krym"]', 'words = ["the-gulf"]', "aliases[1].words[0]", "hides what stands for UA-43 above"),
    ('words = ["krym"]', 'words = ["Krym"]', "line 10, aliases[0].words[0]", "write small letters"),
    ('region = "UA-43"', 'region = "crimea"', "line 7, aliases[0].region", "is no subdivision"),
    ('region = "UA-43"', 'region = "UA-44"', "line 7, aliases[0].region", "did you mean"),
    ('words = ["the-gulf"]', "", "aliases[1]", "says nothing"),
    ('id = "lab"', 'id = "a b"', "line 17, networks[0].id", "is no id"),
    ('id = "lab"', 'id = "phoenix"', "plmns[0].id", "is the id of another override"),
    ('id = "lab"\n', "", "networks[0].id", "is missing"),
    ('network = "203.0.113.0/24"', 'network = "203.0.113.9/24"', "line 18, networks[0].network", "write 203.0.113.0/24"),
    ('network = "203.0.113.0/24"', "network = 7", "line 18, networks[0].network", "must be a text"),
    ('region = "RU-CR"', 'region = "crimea"', "line 19, networks[0].region", "a network has one country or subdivision"),
    ('region = "RU-CR"', 'region = "RU-CU"', "line 19, networks[0].region", "unknown region 'RU-CU'"),
    ('region = "RU-CR"', 'region = ["CU"]', "line 19, networks[0].region", "must be a text"),
    ("expires = 2027-03-31\n", "", "networks[0].expires", "is missing"),
    ("expires = 2027-03-31\n", 'expires = "soon"\n', "line 22, networks[0].expires", 'or expires = "never"'),
    ("expires = 2027-03-31\n", "expires = 2027-03-31T00:00:00\n", "line 22, networks[0].expires", "has no time zone"),
    ('owner = "activation@example.com"\n', "", "networks[0].owner", "is missing"),
    ('reason = "ticket 17"', 'reason = ""', "line 21, networks[0].reason", "must be a text"),
    ('reason = "ticket 17"', 'reason = "t"\nconfidence = 0.9', "line 22, networks[0].confidence", "is not a key of this table"),
    ('plmn = "250-98"', "plmn = 25098", "plmns[0].plmn", "must be a text"),
    ('plmn = "250-98"', 'plmn = "2509"', "plmns[0].plmn", "is no PLMN and no MCC"),
    ('plmn = "250-98"', 'plmn = "250-"', "plmns[0].plmn", "is no PLMN and no MCC"),
    ('plmn = "250-98"', 'plmn = "244-12"', "plmns[1].plmn", "244-12 has the override 'phoenix'"),
    ('region = "donbas"', 'region = "gulf"', "plmns[0].region", "is AE, KW, QA: that is no one country"),
    ('region = ["FI", "cuba"]', 'region = ["FI", "gulf"]', "plmns[1].region[1]", "is AE, KW, QA"),
    ('region = ["FI", "cuba"]', "region = []", "plmns[1].region", "must be an array"),
    ('region = ["FI", "cuba"]', 'region = ["FI","SE","NO","DK","EE","LV","LT","PL","DE"]', "plmns[1].region", "too many"),
    ('plmn = "24412"', 'plmn = "24412"\nconfidence = 0.9', "plmns[1].confidence", "is for one region"),
    ('plmn = "250-98"', 'plmn = "250-98"\nconfidence = 0.955', "plmns[0].confidence", "multiple of 0.01"),
    ('plmn = "250-98"', 'plmn = "250-98"\nconfidence = 1.5', "plmns[0].confidence", "at most 1"),
    ('plmn = "250-98"', 'plmn = "250"\nexact = true', "plmns[0].exact", "is for an MNC of two digits"),
    ("expires = 2027-03-31\n", "expires = 0001-01-01T00:00:00+10:00\n", "networks[0].expires", "is before the year 1"),
    ('names = ["Krim"]', 'names = ["--"]', "line 8, aliases[0].names[0]", "has no letter"),
    ("[[networks]]", '[[aliases]]\nregion = "UA-14"\nnames = ["KRÍM"]\n[[networks]]', "aliases[2].names[0]", "UA-43 above"),
    ("[regions]", "[regions", "", "is not TOML"),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "where", "words"), FAULTS)
def test_a_wrong_file_is_refused_with_its_place_and_a_remedy(good: str, bad: str, where: str, words: str, tmp_path: Path) -> None:
    path = written(tmp_path, changed(good, bad))
    with pytest.raises(CatalogueError) as caught:
        open_catalogue(path)
    assert str(caught.value).startswith(str(path))
    assert caught.value.where.endswith(where)
    assert words in str(caught.value)
    assert caught.value.remedy


def test_several_problems_are_counted_and_lint_lists_them(tmp_path: Path) -> None:
    path = written(
        tmp_path, changed('["AE", "QA", "KW"]', '["QAT", "ZZ"]').replace('"ticket 19"', '"t"').replace("24412", "250-98")
    )
    with pytest.raises(CatalogueError, match="2 more: see regionresolver catalogue lint"):
        open_catalogue(path)
    codes = [one.code for one in lint_catalogue(Extension.read(path), SHIPPED, PLMNS, (), AT)]
    assert codes == ["region-unknown", "region-unknown", "override-duplicate"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[[networks]]\n" * 3, b"a" * 100_000, b"[[plmns]]\nid = 1", b"networks = 3"])
def test_what_is_no_catalogue_file_is_one_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "odd.toml"
    path.write_bytes(content)
    with pytest.raises(CatalogueError):
        open_catalogue(path)
    with pytest.raises(CatalogueError, match="cannot be read"):
        open_catalogue(tmp_path / "absent.toml")


def test_many_overrides(tmp_path: Path) -> None:
    signed = 'owner = "o"\nreason = "r"\nexpires = "never"\n'
    rows = [f'[[networks]]\nid = "n{i}"\nnetwork = "10.{i >> 8}.{i & 255}.0/24"\nregion = "DE"\n{signed}' for i in range(3000)]
    rows += [f'[[plmns]]\nid = "p{i}"\nplmn = "999{i:03}"\nregion = "FR"\n{signed}' for i in range(900)]
    with Resolver.open(db=city_database(tmp_path / "city.mmdb"), catalogue=written(tmp_path, "".join(rows))) as resolver:
        assert resolver.resolve(ip="10.11.183.9").region == "DE"
        assert resolver.resolve(ip="10.11.184.9").region is None
        assert resolver.resolve(serving="999-899").region == "FR"
        assert sum(found.hits for found in resolver.overrides) == 2


# ---- lint


def signed_network(name: str, network: str, region: str, expires: str = '"never"') -> str:
    head = f'[[networks]]\nid = "{name}"\nnetwork = "{network}"\nregion = "{region}"\n'
    return f'{head}owner = "o"\nreason = "r"\nexpires = {expires}\n'


def signed_plmn(name: str, plmn: str, region: str, expires: str = '"never"') -> str:
    return f'[[plmns]]\nid = "{name}"\nplmn = "{plmn}"\nregion = {region}\nowner = "o"\nreason = "r"\nexpires = {expires}\n'


LINTED: list[tuple[str, list[tuple[str, str, str]]]] = [
    (signed_network("n", "203.0.113.0/24", "CU"), []),
    (
        signed_network("n", "8.8.8.0/24", "CU"),
        [("override-contradicts", "networks[0].region", "the database city says US everywhere")],
    ),
    (signed_network("n", "8.8.8.0/25", "UA-43"), [("override-contradicts", "networks[0].region", "says US everywhere")]),
    # a quarter of Crimea under RU: filed under the same country, so no contradiction
    (signed_network("n", "37.0.0.0/16", "UA-43"), []),
    (signed_network("n", "62.0.0.0/16", "UA"), []),
    (signed_network("n", "8.0.0.0/8", "US"), []),
    (
        signed_network("n", "8.8.8.0/24", "US"),
        [("override-changes-nothing", "networks[0].network", "every database says the same")],
    ),
    # of a subdivision, and of a country that has some, it is surer than a database
    (signed_network("n", "46.0.0.0/16", "UA-43"), []),
    (signed_network("n", "37.0.0.0/16", "RU"), []),
    (signed_network("n", "80.0.0.0/4", "CU"), []),
    (signed_network("n", "79.0.0.0/8", "CU"), [("override-contradicts", "networks[0].region", "MD-SN, UA-09, UA-23, UA-65")]),
    (
        signed_network("wide", "80.0.0.0/8", "ES") + signed_network("in", "80.0.1.0/24", "CU"),
        [
            ("override-overlaps", "networks[1].network", "lies in 80.0.0.0/8 of wide, which says ES"),
            ("override-contradicts", "networks[1].region", "says ES everywhere"),
        ],
    ),
    (
        signed_network("wide", "10.0.0.0/8", "ES") + signed_network("in", "10.1.0.0/16", "ES"),
        [("override-changes-nothing", "networks[1].network", "lies in 10.0.0.0/8 of wide, which says the same")],
    ),
    (signed_network("wide", "10.0.0.0/8", "ES", "2027-06-01") + signed_network("in", "10.1.0.0/16", "ES", "2027-07-01"), []),
    (
        signed_network("n", "10.0.0.0/8", "ES", "2026-11-22"),
        [("override-expired", "networks[0].expires", "has expired on 2026-11-22")],
    ),
    (
        signed_network("n", "10.0.0.0/8", "ES", "2026-12-22"),
        [("override-expires-soon", "networks[0].expires", "expires on 2026-12-22")],
    ),
    (signed_network("n", "10.0.0.0/8", "ES", "2026-12-23"), []),
    (signed_plmn("p", "999-40", '"ES"'), []),
    (signed_plmn("p", "423", '"ES"'), []),
    (signed_plmn("p", "250-96", '"crimea"'), []),
    (signed_plmn("p", "262-01", '"ES"'), [("override-contradicts", "plmns[0].region", "the PLMN table says DE of 262")]),
    (signed_plmn("p", "208-01", '["DE", "ES"]'), [("override-contradicts", "plmns[0].region", "says FR, MC of 208-01")]),
    (signed_plmn("p", "208-01", '["MC", "FR"]'), []),
    (signed_plmn("p", "208-01", '["FR", "MC"]'), [("override-changes-nothing", "plmns[0].plmn", "says the same of 208-01")]),
    (signed_plmn("p", "250-34", '"crimea"'), [("override-changes-nothing", "plmns[0].plmn", "says the same of 250-34")]),
    (
        signed_plmn("p", "999", '"ES"') + signed_plmn("q", "999-40", '"CU"'),
        [("override-overlaps", "plmns[1].plmn", "lies in 999 of p, which says ES: the narrower decides")],
    ),
]


@pytest.mark.parametrize(("text", "expected"), LINTED)
def test_lint_warns_of_what_is_not_wise(text: str, expected: list[tuple[str, str, str]], tmp_path: Path) -> None:
    source = Source.open(city_database(tmp_path / "city.mmdb"))
    found = lint_catalogue(Extension.read(written(tmp_path, text)), SHIPPED, PLMNS, [source], AT)
    assert len(found) == len(expected), found
    for one, (code, where, words) in zip(found, expected, strict=True):
        assert (one.severity, one.code) == ("warning", code)
        assert one.where.startswith("line ")
        assert one.where.endswith(where)
        assert words in one.text


def test_a_country_is_idle_only_where_every_database_says_it(tmp_path: Path) -> None:
    databases = [Source.open(city_database(tmp_path / f"{name}.mmdb", {"8.8.8.0/24": (name, None)})) for name in ("US", "CA")]
    extension = Extension.read(written(tmp_path, signed_network("n", "8.8.8.0/24", "US")))
    codes = [one.text for one in lint_catalogue(extension, SHIPPED, PLMNS, databases, AT)]
    assert codes == ["the database CA says CA everywhere in it, which is elsewhere"]


def test_answers_in_a_network(tmp_path: Path) -> None:
    networks = Source.open(
        city_database(tmp_path / "city.mmdb", {"1.0.0.0/24": ("DE", None), "1.0.1.0/24": ("FR", None), "2a02::/32": ("CU", None)})
    ).networks(SHIPPED)
    for text, expected in (
        ("1.0.0.0/24", {"DE"}),
        ("1.0.0.255/32", {"DE"}),
        ("1.0.1.0/32", {"FR"}),
        ("1.0.0.0/23", {"DE", "FR"}),
        ("1.0.2.0/24", {None}),
        ("0.0.0.0/0", {None, "DE", "FR"}),
        ("::/0", {None, "CU"}),
        ("2a02::/16", {"CU", None}),
        ("2a02::7/128", {"CU"}),
    ):
        assert answers_in(networks, interval(text)) == {Region(code, None) for code in expected}, text


# ---- the command line


def test_lint_on_the_command_line(tmp_path: Path) -> None:
    database = str(city_database(tmp_path / "city.mmdb"))
    good = str(written(tmp_path, GOOD))
    run = CliRunner().invoke
    assert run(main, ["catalogue", "lint", good, "--db", database]).stdout == f"{good}: good\n"
    bad = tmp_path / "bad.toml"
    bad.write_text(changed('"AE"', '"ZZZ"'), encoding="utf-8")
    refused = run(main, ["catalogue", "lint", str(bad), "--db", database])
    assert refused.exit_code == 1
    assert refused.stdout == (
        f"{bad}: line 2, regions.gulf[0]: error: unknown region 'ZZZ' (use an ISO code, or a region that this file or the "
        "catalogue names) [region-unknown]\n"
    )
    bad.write_text(signed_network("n", "8.8.8.0/24", "CU"), encoding="utf-8")
    for more, status in (([], 1), (["--fail-on", "error"], 0), (["--json"], 1)):
        assert run(main, ["catalogue", "lint", str(bad), "--db", database, *more]).exit_code == status
    document = json.loads(run(main, ["catalogue", "lint", str(bad), "--db", database, "--json"]).stdout)
    assert (document["file"], document["good"]) == (str(bad), False)
    assert document["findings"][0]["where"] == "line 4, networks[0].region"
    bad.write_text("[[networks]]\nid = 1\n", encoding="utf-8")
    invalid = run(main, ["catalogue", "lint", str(bad)])
    assert (invalid.exit_code, invalid.stdout) == (
        1, f'{bad}: line 2, networks[0].id: error: must be a text (write id = "...") [catalogue-invalid]\n',
    )  # fmt: skip
    assert run(main, ["catalogue", "lint"]).exit_code == 2
    assert run(main, ["catalogue", "lint", good, "--soon", "-1"]).exit_code == 2


def test_show_on_the_command_line(tmp_path: Path) -> None:
    good = str(written(tmp_path, GOOD))
    run = CliRunner().invoke
    shown = run(main, ["catalogue", "show", good])
    assert shown.exit_code == 0
    for text in (
        "watched",
        "AE, CU, KW, QA, UA-40, UA-43",
        "the-gulf",
        "203.0.113.0/24",
        "ticket 17",
        "2027-03-31 10:00Z",
        "never",
    ):
        assert text in shown.stdout
    document = json.loads(run(main, ["catalogue", "show", good, "--json"]).stdout)
    assert document["words"] == {"krym": "UA-43", "the-gulf": "gulf"}
    assert document["overrides"][2] == {
        "id": "phoenix", "kind": "plmn", "prefix": "250-98", "regions": ["donbas"], "confidence": 0.95, "exact": False,
        "owner": "activation@example.com", "reason": "ticket 18", "expires": "never",
    }  # fmt: skip
    builtin = json.loads(run(main, ["catalogue", "show", "--builtin", "--json"]).stdout)
    assert (len(builtin["countries"]), builtin["overrides"], builtin["file"]) == (250, [], None)
    assert "Sebastopol City" in run(main, ["catalogue", "show", "--builtin"]).stdout
    for wrong in ([], [good, "--builtin"]):
        assert run(main, ["catalogue", "show", *wrong]).exit_code == 2
    assert run(main, ["catalogue", "show", str(tmp_path / "absent.toml")]).exit_code == 1


def test_the_setting_reaches_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, database = str(written(tmp_path, GOOD)), str(city_database(tmp_path / "city.mmdb"))
    run = CliRunner().invoke
    options = ["--db", database, "--catalogue", good]
    looked_up = run(main, ["lookup", *options, "--json", "203.0.113.9"])
    assert json.loads(looked_up.stdout)["sources"][0]["source"] == "override:lab"
    decided = json.loads(run(main, ["decide", *options, "--ip", "203.0.113.9", "--json", "--explain", "reasons"]).stdout)
    assert (decided["decision"], decided["region"], decided["evidence"][0]["override"]["id"]) == ("deny", "UA-43", "lab")
    tree = run(main, ["decide", *options, "--ip", "203.0.113.9", "--explain"]).stdout
    assert "203.0.113.0/24 is a network in UA-43; ticket 17 (override lab of activation@example.com)" in tree
    assert "override:lab: UA-43" in tree
    policy = tmp_path / "policy.toml"
    policy.write_text(
        '[policy]\nname = "p"\nversion = 1\n[[rules]]\nid = "r"\nwhen = { region = ["gulf", "krym"] }\neffect = "review"\n'
        '[[tests]]\nname = "t"\nat = 2026-01-01T00:00:00Z\nping = { ip = "203.0.113.9" }\nexpect = { rule = "r" }\n',
        encoding="utf-8",
    )
    for command in (["lint", str(policy), *options], ["test", str(policy), *options], ["show", str(policy), *options[2:]]):
        done = run(main, ["policy", *command])
        assert done.exit_code == 0, done.output
    assert run(main, ["policy", "lint", str(policy), "--db", database]).exit_code == 1, "it does not know gulf without the file"
    assert run(main, ["policy", "diff", str(policy), str(policy), *options[2:]]).exit_code == 0
    assert "gulf" in run(main, ["policy", "schema", *options[2:]]).stdout
    monkeypatch.setenv("REGIONRESOLVER_CATALOGUE", good)
    assert json.loads(run(main, ["config", "show", "--json"]).stdout)["catalogue"]["value"] == good
    assert json.loads(run(main, ["decide", "--db", database, "--ip", "203.0.113.9", "--json"]).stdout)["region"] == "UA-43"


def test_extending_leaves_the_shipped_catalogue_alone(tmp_path: Path) -> None:
    extend(Extension.read(written(tmp_path, GOOD)), SHIPPED)
    assert "gulf" not in SHIPPED.regions
    assert SHIPPED.subdivisions["UA-43"].aliases == ("RU-CR",)
