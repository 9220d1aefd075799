"""`regionresolver index`, and an image in place of databases: what is written, told, found and refused."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from _fastpath.prefix_trie import PrefixTrie, seal
from regionresolver import Region, Resolver
from regionresolver.cli import main
from regionresolver.cli.options import progress_bar
from regionresolver.errors import DatabaseError, ImageError
from regionresolver.index import Index, Source, compile_sources
from regionresolver.index.compare import compare
from regionresolver.index.image_file import MAGIC, check_target, write_image
from regionresolver.sources.catalogue import Catalogue
from tests.mmdb_builder import build_mmdb
from tests.worlds import CITY_NETWORKS, city_database, country_database

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
PATIENCE_S = 30
CATALOGUE = Catalogue.load()


pytestmark = pytest.mark.usefixtures("bare_environment", "logging_as_it_was")


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return city_database(tmp_path_factory.mktemp("city") / "city.mmdb")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return country_database(tmp_path_factory.mktemp("other") / "other.mmdb")


@pytest.fixture(scope="module")
def image(city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "city.image"
    assert invoke("index", "build", "--db", city, "--out", path).exit_code == 0
    return path


def invoke(*arguments: str | Path) -> Result:
    """Run a command; an exception that is not an exit is the test's failure."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="regionresolver")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def verified(*arguments: str | Path) -> tuple[int, dict[str, object]]:
    result = invoke("index", "verify", "--json", *arguments)
    document = json.loads(result.stdout)
    assert document["good"] == (not document["findings"]) == (result.exit_code == 0)
    return result.exit_code, document


def resealed(content: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """Change one section of an image, with right checksums."""
    trie = PrefixTrie(content)
    sections = {section: bytes(trie.section(section)) for section in trie.section_names}
    sections[name] = change(sections[name])
    return seal(list(sections.values()), trie.source_count, trie.value_count)


def sources_as(**changes: object) -> Callable[[bytes], bytes]:
    return lambda section: json.dumps(json.loads(section) | changes).encode()


def first_source_as(**changes: object) -> Callable[[bytes], bytes]:
    def change(section: bytes) -> bytes:
        document = json.loads(section)
        document["sources"][0].update(changes)
        return json.dumps(document).encode()

    return change


def with_header(content: bytes, offset: int, field: bytes) -> bytes:
    header = bytearray(content[:188])
    header[offset : offset + len(field)] = field
    return bytes(header) + struct.pack("=I", zlib.crc32(header)) + content[192:]


# ---- build ----


def test_build_writes_what_the_library_compiles(city: Path, other: Path, tmp_path: Path) -> None:
    out = tmp_path / "both.image"
    result = invoke("index", "build", "--db", city, "--db", other, "--out", out)
    assert result.exit_code == 0
    assert out.read_bytes() == compile_sources([Source.open(city), Source.open(other)], CATALOGUE)
    assert re.fullmatch(rf"{out}: \d+ bytes, \d+ values, sha256 [0-9a-f]{{64}}\n", result.stderr)
    assert out.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["both.image"]


def test_equal_inputs_give_equal_files_in_another_process_and_folder(city: Path, image: Path, tmp_path: Path) -> None:
    moved = tmp_path / "city.mmdb"
    moved.write_bytes(city.read_bytes())
    arguments = ["index", "build", "--db", "city.mmdb", "--out", "again.image"]
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-m", "regionresolver", *arguments], cwd=tmp_path, env=environment, check=True, timeout=PATIENCE_S
    )
    assert (tmp_path / "again.image").read_bytes() == image.read_bytes()


def test_a_pair_of_files_is_one_source(tmp_path: Path) -> None:
    record = {"country": {"iso_code": "CU"}}
    (tmp_path / "x-ipv4.mmdb").write_bytes(build_mmdb({"1.0.0.0/8": record}, ip_version=4))
    (tmp_path / "x-ipv6.mmdb").write_bytes(build_mmdb({"2a00::/16": record}))
    pair, out = f"{tmp_path}/x-ipv4.mmdb,{tmp_path}/x-ipv6.mmdb", tmp_path / "x.image"
    assert invoke("index", "build", "--db", pair, "--out", out).exit_code == 0
    document = json.loads(invoke("index", "info", out, "--json").stdout)
    assert [source["files"] for source in document["sources"]] == [["x-ipv4.mmdb", "x-ipv6.mmdb"]]
    assert verified(out, "--db", pair)[0] == 0


@pytest.mark.parametrize(
    ("there", "force", "exit_code", "words"),
    [
        pytest.param("image", False, 0, "sha256", id="an image is replaced"),
        pytest.param("torn image", False, 0, "sha256", id="a torn image is replaced"),
        pytest.param("text", False, 1, "it exists and is no index image .*--force", id="a text is kept"),
        pytest.param("empty", False, 1, "it exists and is no index image .*--force", id="an empty file is kept"),
        pytest.param("text", True, 0, "sha256", id="a text is replaced with --force"),
        pytest.param("database", True, 1, "it is one of the databases", id="an input is kept, even with --force"),
        pytest.param("link to database", True, 1, "it is one of the databases", id="an input is kept behind a link"),
        pytest.param("fifo", True, 1, "no regular file", id="a FIFO is kept"),
        pytest.param("directory", True, 2, "is a directory", id="a directory is kept"),
    ],
)
def test_what_is_overwritten(
    city: Path, image: Path, tmp_path: Path, there: str, force: bool, exit_code: int, words: str
) -> None:
    out, database = tmp_path / "out", tmp_path / "city.mmdb"
    database.write_bytes(city.read_bytes())
    contents = {"image": image.read_bytes(), "torn image": image.read_bytes()[:50], "text": b"precious\n", "empty": b""}
    if there in contents:
        out.write_bytes(contents[there])
    elif there == "database":
        out = database
    elif there == "link to database":
        out.symlink_to(database)
    elif there == "fifo":
        os.mkfifo(out)
    else:
        out.mkdir()
    before = out.read_bytes() if out.is_file() else None
    result = invoke("index", "build", "--db", database, "--out", out, *(["--force"] if force else []))
    assert result.exit_code == exit_code
    assert re.search(words, result.stderr)
    if exit_code == 0:
        assert out.read_bytes() == image.read_bytes()
    elif before is not None:
        assert out.read_bytes() == before


def test_a_symbolic_link_stays_and_its_file_is_replaced(city: Path, image: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "current.image").symlink_to("real/v1.image")
    assert invoke("index", "build", "--db", city, "--out", tmp_path / "current.image").exit_code == 0
    assert (tmp_path / "current.image").is_symlink()
    assert (tmp_path / "real" / "v1.image").read_bytes() == image.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (["build", "--out", "x"], 2, "Missing option '--db'"),
        (["build", "--db", "missing.mmdb"], 2, "Missing option '--out'"),
        (["build", "--db", "missing.mmdb", "--out", "x"], 1, "missing.mmdb: there is no such file"),
        (["build", "--db", "missing.mmdb", "--out", "no/folder/x"], 1, "no/folder/x: its folder does not exist"),
        (["build", "--db", ",", "--out", "x"], 1, "this names no database"),
        (["info"], 2, "Missing argument"),
        (["info", "missing.image"], 1, "missing.image: it cannot be read: No such file"),
        (["verify", "missing.image", "--sample", "5"], 2, "--sample needs the databases"),
        (["verify", "missing.image", "--db", "x", "--sample", "0"], 2, "--sample"),
        (["erase", "x"], 2, "No such command 'erase'"),
    ],
)
def test_one_clear_line_and_the_right_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], exit_code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("index", *arguments)
    assert result.exit_code == exit_code
    assert words in result.stderr.splitlines()[-1]
    assert result.stdout == ""
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_told_before_the_work(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ImageError, match="may not be written to"):
        check_target(tmp_path / "x")


@pytest.mark.parametrize("failing", ["fsync", "replace", "fchmod"])
@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "No space left on device")], ids=["interrupt", "full disk"])
def test_an_interrupted_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, failure: BaseException
) -> None:
    target = tmp_path / "city.image"
    target.write_bytes(MAGIC + b"old")

    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises((KeyboardInterrupt, ImageError)) as caught:
        write_image(MAGIC + b"new", target)
    assert isinstance(caught.value, KeyboardInterrupt) or "cannot be written: No space left" in str(caught.value)
    assert os.listdir(tmp_path) == ["city.image"]
    assert target.read_bytes() == MAGIC + b"old"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_no_file(city: Path, tmp_path: Path, number: signal.Signals) -> None:
    code = (
        # A shell that runs the tests in the background lets them ignore SIGINT.
        "import signal, sys, time, regionresolver.cli.index as index\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "index.compile_databases = lambda *_: (print('compiling', flush=True), time.sleep(60))\n"
        "from regionresolver.cli import main\n"
        "main(sys.argv[1:])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "index", "build", "--db", str(city), "--out", str(tmp_path / "x.image")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "compiling\n"
        process.send_signal(number)
        _, told = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode != 0
    assert "Traceback" not in told
    assert os.listdir(tmp_path) == []


# ---- info ----


def test_info(image: Path, city: Path) -> None:
    document = json.loads(invoke("index", "info", image, "--json").stdout)
    index = Index.open(image.read_bytes())
    source = Source.open(city)
    assert document["format_version"] == 1
    assert document["bytes"] == image.stat().st_size
    assert document["sha256"] == index.sha256
    assert document["values"] == len(index.values)
    assert list(document["sections_bytes"]) == list(index.trie.section_names)
    assert sum(document["sections_bytes"].values()) < document["bytes"]
    assert (document["catalogue_sha256"], document["catalogue_is_current"]) == (CATALOGUE.sha256, True)
    assert document["sources"] == [
        {
            "name": "city",
            "files": ["city.mmdb"],
            "database_type": "Test-City",
            "build_epoch": 1_780_000_000,
            "built_at": "2026-05-28T20:26:40Z",
            "sha256": source.sha256,
            "attribution": None,
            "subdivisions": sorted(index.sources[0].subdivisions),
        }
    ]
    for_people = invoke("index", "info", image).stdout
    assert all(word in for_people for word in (index.sha256, "Test-City", "2026-05-28T20:26:40Z", "UA-43", "records"))


# ---- files that are no usable image ----


def bad_files(good: bytes) -> dict[str, tuple[bytes, str]]:
    """Name -> (bytes, the words of the error)."""
    return {
        "empty": (b"", "truncated: it is empty"),
        "text": (b"precious\n" * 100, "foreign: not an index image"),
        "database": (build_mmdb({"1.0.0.0/8": {"country_code": "FR"}}), "foreign: not an index image"),
        "short": (good[:100], "truncated: shorter than a header"),
        "cut": (good[:-1], "truncated: .* of .* bytes"),
        "long": (good + b"\0", "damaged: 1 bytes too long"),
        "other byte order": (good[:8] + good[8:12][::-1] + good[12:], "foreign: built on a machine of the other byte order"),
        "newer": (with_header(good, 12, struct.pack("=I", 2)), "newer: format version 2"),
        "header": (good[:30] + bytes([good[30] ^ 1]) + good[31:], "damaged: the checksum of the header"),
        "body": (good[:-9] + bytes([good[-9] ^ 1]) + good[-8:], "damaged: the checksum of the body"),
        "trie": (resealed(good, "direct", lambda section: b"\xff" * len(section)), "damaged: a slot of the direct table"),
        "strings": (resealed(good, "strings", lambda _: b""), "damaged: .* string"),
        "epoch": (resealed(good, "sources", first_source_as(build_epoch=10**30)), "damaged: the list of sources cannot be read"),
    }


def unserved_files(good: bytes) -> dict[str, tuple[bytes, str]]:
    """The same for images that are sound, and that this release does not serve."""
    return {
        "other catalogue": (
            resealed(good, "sources", sources_as(catalogue_sha256="ab" * 32)),
            r"it was compiled with another region catalogue .*compile it again with this release: regionresolver index build",
        ),
        "codes of nobody": (
            resealed(good, "strings", lambda section: section.replace(b"UA-43", b"UA-99")),
            "foreign: it answers with 1 codes that its region catalogue does not have",
        ),
    }


BAD = [
    "empty",
    "text",
    "database",
    "short",
    "cut",
    "long",
    "other byte order",
    "newer",
    "header",
    "body",
    "trie",
    "strings",
    "epoch",
]
UNSERVED = ["other catalogue", "codes of nobody"]


@pytest.mark.parametrize("name", BAD + UNSERVED)
def test_a_file_that_is_no_usable_image_is_one_line(image: Path, tmp_path: Path, name: str) -> None:
    good = image.read_bytes()
    content, words = (bad_files(good) | unserved_files(good))[name]
    path = tmp_path / "bad.image"
    path.write_bytes(content)
    commands: list[list[str | Path]] = [
        ["lookup", "--index", path, "8.8.8.8"],
        ["decide", "--index", path, "--ip", "8.8.8.8"],
        ["serve", "--index", path, "--port", "0"],
        ["index", "info", path],
    ]
    for arguments in commands:
        if arguments[0] == "index" and name in UNSERVED:
            assert invoke(*arguments).exit_code == 0
            continue
        result = invoke(*arguments)
        assert result.exit_code == 1
        assert len(result.stderr.splitlines()) == 1
        assert re.search(rf"^regionresolver: error: {path}: {words}", result.stderr)
        assert result.stdout == ""
    exit_code, document = verified(path)
    findings = document["findings"]
    assert isinstance(findings, list)
    assert exit_code == 1
    assert re.search(words, findings[0])
    for_people = invoke("index", "verify", path)
    assert (for_people.exit_code, for_people.stderr) == (1, "")
    assert for_people.stdout == f"{path}: {findings[0]}\n"
    with pytest.raises(ImageError, match=words):
        Resolver.open(index=path)


def test_the_table_of_bad_files_is_whole(image: Path) -> None:
    assert list(bad_files(image.read_bytes())) == BAD
    assert list(unserved_files(image.read_bytes())) == UNSERVED


def test_verify_of_a_missing_file_is_a_finding_too(tmp_path: Path) -> None:
    exit_code, document = verified(tmp_path / "missing.image")
    assert exit_code == 1
    assert document["findings"] == ["it cannot be read: No such file or directory (check the path, or compile it again)"]
    assert document["sha256"] is None


def test_an_image_of_another_catalogue_says_so_in_info(image: Path, tmp_path: Path) -> None:
    path = tmp_path / "old.image"
    path.write_bytes(resealed(image.read_bytes(), "sources", sources_as(catalogue_sha256="ab" * 32)))
    assert json.loads(invoke("index", "info", path, "--json").stdout)["catalogue_is_current"] is False


# ---- verify ----


def test_verify_of_a_good_image(image: Path, city: Path) -> None:
    exit_code, document = verified(image, "--db", city)
    assert exit_code == 0
    assert document["compiled_again"] is True
    assert document["addresses_different"] == 0
    starts, addresses = document["network_starts"], document["addresses_compared"]
    assert isinstance(starts, int)
    assert isinstance(addresses, int)
    assert starts > 2 * len(CITY_NETWORKS) * 0.9
    assert 2 * starts < addresses <= 3 * starts
    for_people = invoke("index", "verify", image, "--db", city)
    assert for_people.stdout.startswith(f"{image}: good: structure and checksums, {addresses} addresses answer like")
    alone = invoke("index", "verify", image)
    assert (alone.exit_code, alone.stdout) == (0, f"{image}: good: structure and checksums\n")


def test_verify_of_a_sample(image: Path, city: Path) -> None:
    first, again = (verified(image, "--db", city, "--sample", "5")[1] for _ in range(2))
    assert first == again
    assert (first["compiled_again"], first["addresses_compared"] in range(9, 16)) == (False, True)
    assert (
        verified(image, "--db", city, "--sample", "100000")[1]["addresses_compared"]
        == verified(image, "--db", city)[1]["addresses_compared"]
    )


def swapped_codes(section: bytes) -> bytes:
    """Give CU the answer of DE, and DE that of CU: strings of one length, so the rest stays sound."""
    return section.replace(b"CU", b"??").replace(b"DE", b"CU").replace(b"??", b"DE")


def test_verify_finds_a_difference_that_only_the_databases_can_show(image: Path, city: Path, tmp_path: Path) -> None:
    planted = tmp_path / "planted.image"
    planted.write_bytes(resealed(image.read_bytes(), "strings", swapped_codes))
    assert verified(planted)[0] == 0, "its checksums and structure are right"
    exit_code, document = verified(planted, "--db", city)
    assert exit_code == 1
    findings = document["findings"]
    assert isinstance(findings, list)
    assert "84.0.0.0: the database city says CU, the image DE" in findings
    assert "5.0.255.255: the database city says DE, the image CU" in findings
    assert findings[-1] == "the databases compile to other bytes (compile it again with this release)"
    # 5.0.0.0/16 and 84.0.0.0/16: the first address, the one behind it, and the last one
    assert document["addresses_different"] == 6
    sampled = verified(planted, "--db", city, "--sample", "1000")[1]["findings"]
    assert isinstance(sampled, list)
    assert len(sampled) == 6


def test_verify_finds_one_flipped_value(image: Path, city: Path, tmp_path: Path) -> None:
    """Value 1 gets the answers of value 2."""
    planted = tmp_path / "planted.image"
    planted.write_bytes(resealed(image.read_bytes(), "values", lambda section: section[:8] + section[16:24] + section[16:]))
    assert verified(planted)[0] == 0
    exit_code, document = verified(planted, "--db", city, "--sample", "100000")
    assert exit_code == 1
    assert document["addresses_different"]


def test_a_difference_inside_a_network_is_found_by_compiling_again(tmp_path: Path) -> None:
    """Between the starts nothing is asked: a wrong 4.1.0.0/16 inside 4.0.0.0/8 shows in the bytes alone."""
    right = city_database(tmp_path / "same.mmdb", {"4.0.0.0/8": ("FR", None), "5.0.0.0/16": ("DE", None)})
    folder = tmp_path / "wrong"
    folder.mkdir()
    wrong = city_database(
        folder / "same.mmdb", {"4.0.0.0/8": ("FR", None), "4.1.0.0/16": ("DE", None), "5.0.0.0/16": ("DE", None)}
    )
    planted = compile_sources([Source.open(wrong)], CATALOGUE)
    facts = first_source_as(sha256=Source.open(right).sha256)
    (tmp_path / "planted.image").write_bytes(resealed(planted, "sources", facts))
    assert verified(tmp_path / "planted.image", "--db", right, "--sample", "1000")[0] == 0
    document = verified(tmp_path / "planted.image", "--db", right)[1]
    assert document["addresses_different"] == 0
    assert document["findings"] == ["the databases compile to other bytes (compile it again with this release)"]


def test_many_differences_are_counted_and_few_are_shown(tmp_path: Path) -> None:
    networks: dict[str, tuple[str, str | None]]
    networks = {f"{number}.0.0.0/16": ("FR" if number % 2 else "DE", None) for number in range(20, 60)}
    database, out = city_database(tmp_path / "many.mmdb", networks), tmp_path / "many.image"
    assert invoke("index", "build", "--db", database, "--out", out).exit_code == 0
    out.write_bytes(resealed(out.read_bytes(), "strings", lambda section: section.replace(b"FR", b"ES")))
    findings = verified(out, "--db", database)[1]["findings"]
    assert isinstance(findings, list)
    assert len(findings) == 12
    assert findings[10] == "and so on: 60 differences at 242 addresses"


@pytest.mark.parametrize("which", ["another", "too many", "other order"])
def test_verify_refuses_other_databases(image: Path, city: Path, other: Path, tmp_path: Path, which: str) -> None:
    both = tmp_path / "both.image"
    assert invoke("index", "build", "--db", city, "--db", other, "--out", both).exit_code == 0
    file, databases = {"another": (image, [other]), "too many": (image, [city, other]), "other order": (both, [other, city])}[
        which
    ]
    exit_code, document = verified(file, *(word for database in databases for word in ("--db", database)))
    assert exit_code == 1
    findings = document["findings"]
    assert isinstance(findings, list)
    assert findings[0].startswith("it was compiled from other databases, or in another order")


def test_the_comparison_asks_for_every_source_at_every_start(city: Path, other: Path) -> None:
    sources = [Source.open(other), Source.open(city)]
    index = Index.open(compile_sources(sources, CATALOGUE), sources)
    told: list[int] = []
    found = compare(index, sources, CATALOGUE, progress=lambda _what, done, _total: told.append(done))
    assert (found.different, found.differences) == (0, ())
    assert told == [0]
    swapped = compare(index, sources[::-1], CATALOGUE)
    crimea = [row for row in swapped.differences if row.address == "46.0.0.0"]
    assert [(row.source, row.of_image, row.of_database) for row in crimea] == [
        ("city", Region("UA", None), Region("UA", "UA-43")),
        ("other", Region("UA", "UA-43"), Region("UA", None)),
    ]


# ---- an image in place of databases ----


def test_an_image_answers_like_its_databases(image: Path, city: Path) -> None:
    with Resolver.open(db=city) as from_database, Resolver.open(index=image) as from_image:
        for text in (f"{a}.0.1.1" for a in range(256)):
            assert from_image.lookup(text) == from_database.lookup(text)
        assert from_image.resolve(ip="62.0.1.1", serving="25001").region == "UA-43"
        assert from_image.metadata()["sources"] == from_database.metadata()["sources"]
        assert from_image.metadata()["image"] == from_database.metadata()["image"]
        assert from_image.records("84.0.1.1") == []
        assert from_image.explain(ip="84.0.1.1").evidence[0].match is None


def test_the_image_is_read_once(image: Path, tmp_path: Path) -> None:
    path = tmp_path / "city.image"
    path.write_bytes(image.read_bytes())
    with Resolver.open(index=path) as resolver:
        path.write_bytes(b"")
        path.unlink()
        assert resolver.lookup("84.0.1.1") == Region("CU", None)


def test_databases_beside_an_image_add_their_records(image: Path, city: Path, other: Path) -> None:
    with Resolver.open(db=city, index=image) as resolver:
        assert [(record.source, record.network) for record in resolver.records("84.0.1.1")] == [("city", "84.0.0.0/16")]
    for databases in ([other], [city, other]):
        with pytest.raises(ImageError, match=f"{image}: it was compiled from other databases"):
            Resolver.open(db=databases, index=image)
    with pytest.raises(DatabaseError, match="no such file"):
        Resolver.open(db="missing.mmdb", index=image)


def test_lookup_and_decide_with_an_image(image: Path, city: Path) -> None:
    found = json.loads(invoke("lookup", "--index", image, "--json", "62.0.1.1").stdout)
    assert (found["region"], found["match"]) == ("UA-43", None)
    bare = invoke("lookup", "--index", image, "--json", "--record", "62.0.1.1")
    assert "warning: an index image holds no records" in bare.stderr
    assert json.loads(bare.stdout)["records"] == []
    both = invoke("lookup", "--index", image, "--db", city, "--json", "--record", "62.0.1.1")
    assert both.stderr == ""
    assert json.loads(both.stdout)["records"][0]["network"] == "62.0.0.0/16"
    assert json.loads(invoke("decide", "--index", image, "--json", "--ip", "84.0.1.1").stdout)["region"] == "CU"


def test_any_region_on_the_command_line(tmp_path: Path) -> None:
    first = city_database(tmp_path / "first.mmdb", {"1.0.0.0/16": ("UA", None), "2.0.0.0/16": ("UA", "43")})
    second = city_database(tmp_path / "second.mmdb", {"1.0.0.0/16": ("RU", "CR")})
    databases: list[str | Path] = ["--db", first, "--db", second]
    none: list[str] = []
    for flags, region in ((none, "UA"), (["--any-region", "crimea"], "UA-43"), (["--any-regions", "UA-43"], "UA-43")):
        found = json.loads(invoke("lookup", *databases, *flags, "--json", "1.0.1.1").stdout)
        assert found["region"] == region
    refused = invoke("lookup", *databases, "--any-region", "krym", "1.0.1.1")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "any_regions: unknown region 'krym'" in refused.stderr


def test_serve_with_an_image(image: Path) -> None:
    arguments = ["serve", "--index", str(image), "--any-region", "crimea", "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "regionresolver", *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert process.stderr is not None
    try:
        events = (json.loads(line) for line in process.stderr)
        url = next(event["urls"][0] for event in events if event["event"] == "serving")
        host, _, port = url.removeprefix("http://").rpartition(":")
        with socket.create_connection((host, int(port)), PATIENCE_S) as connection:
            connection.sendall(b"GET /v1/metadata HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        document = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert document["image"]["bytes"] == image.stat().st_size
        assert document["precedence"] == {"order": "first", "any_regions": ["crimea"]}
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.stderr.close()
        process.wait(PATIENCE_S)


# ---- progress bars ----


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("regionresolver.cli.options.LONG_S", 0.05)


def work(seconds: float) -> None:
    with progress_bar() as progress:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            progress("reading the file", 1, 2)
            time.sleep(0.01)


@pytest.mark.usefixtures("terminal")
def test_long_work_shows_a_bar_and_short_work_does_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    work(0.4)
    assert "reading the file" in capsys.readouterr().err
    monkeypatch.setattr("regionresolver.cli.options.LONG_S", 5)
    work(0.2)
    assert capsys.readouterr() == ("", "")


def test_there_is_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regionresolver.cli.options.LONG_S", 0)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    work(0.2)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("terminal")
def test_a_bar_goes_away_with_its_work_even_when_that_fails(capsys: pytest.CaptureFixture[str]) -> None:
    def work_that_fails() -> None:
        with progress_bar() as progress:
            progress("reading the file", 1, 2)
            time.sleep(0.3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work_that_fails()
    assert capsys.readouterr().err.endswith("\x1b[2K"), "the last thing written clears the bar's line"


def test_opening_tells_its_progress(city: Path) -> None:
    told: list[str] = []
    Resolver.open(db=city, progress=lambda what, _done, _total: told.append(what)).close()
    assert told[0].startswith("city.mmdb: ")
    assert told[-1] == "compiling the index image"


# ---- help ----


@pytest.mark.parametrize("name", ["build", "info", "verify"])
def test_help_has_examples(name: str) -> None:
    result = invoke("index", name, "--help")
    assert result.exit_code == 0
    assert f"  regionresolver index {name} " in result.stdout.partition("Example")[2]
