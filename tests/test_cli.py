"""The command line: through click's runner, and as real processes where signals, pipes and exit status count."""

import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import click
import maxminddb
import pytest
from click.testing import CliRunner, Result

from regionresolver.cli import COMMANDS, main
from regionresolver.settings import Settings
from tests.mmdb_builder import build_mmdb
from tests.serve_process import PATIENCE_S, ROOT, serve
from tests.worlds import city_database, country_database

pytestmark = pytest.mark.usefixtures("bare_environment", "logging_as_it_was")


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(city_database(tmp_path_factory.mktemp("city") / "city.mmdb"))


@pytest.fixture(scope="module")
def country(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(country_database(tmp_path_factory.mktemp("country") / "country.mmdb"))


def invoke(*arguments: str, stdin: str | None = None) -> Result:
    """Run a command; an exception that is not an exit is the test's failure."""
    result = CliRunner().invoke(main, arguments, input=stdin, prog_name="regionresolver")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


# --- lookup


def test_lookup_for_people(city: str) -> None:
    result = invoke("lookup", "--db", city, "46.0.1.1", "10.0.0.1")
    assert result.exit_code == 0
    assert re.search(r"46\.0\.1\.1 .* UA-43 .* UA .* crimea .* ok .* 46\.0\.0\.0/16 .* city: UA-43", result.stdout)
    assert "reserved (private)" in result.stdout


def test_lookup_for_programs(city: str) -> None:
    result = invoke("lookup", "--db", city, "--json", "--record", "62.0.1.1")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "ip": "62.0.1.1",
        "status": "ok",
        "region": "UA-43",
        "country": json.loads(result.stdout)["country"],
        "subdivision": "UA-43",
        "region_name": "crimea",
        "detail": None,
        "match": "62.0.0.0/16",
        "sources": [{"source": "city", "country": "RU", "subdivision": "UA-43"}],
        "records": [
            {
                "source": "city",
                "network": "62.0.0.0/16",
                "record": {"country": {"iso_code": "RU"}, "subdivisions": [{"iso_code": "CR"}]},
            }
        ],
    }


def test_lookup_shows_records_to_people(city: str) -> None:
    assert '"iso_code": "CU"' in invoke("lookup", "--db", city, "--record", "84.0.1.1").stdout


@pytest.mark.parametrize(
    ("addresses", "statuses", "exit_code"),
    [
        (["84.0.1.1"], ["ok"], 0),
        (["84.0.1.1", "93.0.0.1"], ["ok", "not_found"], 0),
        (["93.0.0.1"], ["not_found"], 1),
        (["10.0.0.1"], ["reserved"], 1),
        (["84.0.1.1", "nonsense"], ["ok", "invalid"], 1),
        (["1.2.3.0/24"], ["invalid"], 1),
    ],
)
def test_exit_status_of_lookup(city: str, addresses: list[str], statuses: list[str], exit_code: int) -> None:
    as_json = invoke("lookup", "--db", city, "--json", *addresses)
    assert [json.loads(line)["status"] for line in as_json.stdout.splitlines()] == statuses
    assert as_json.exit_code == exit_code
    assert invoke("lookup", "--db", city, *addresses).exit_code == exit_code


def test_lookup_reads_standard_input(city: str) -> None:
    result = invoke("lookup", "--db", city, "--json", "8.8.8.8", "-", stdin="84.0.1.1\n\n  5.0.1.1 \n\N{BLACK HEART SUIT}\n")
    found = [(document["ip"], document["region"]) for document in map(json.loads, result.stdout.splitlines())]
    assert found == [("8.8.8.8", "US"), ("84.0.1.1", "CU"), ("5.0.1.1", "DE"), ("\N{BLACK HEART SUIT}", None)]


# --- decide


@pytest.mark.parametrize(
    ("arguments", "decision", "region"),
    [
        (["--serving", "36801"], "deny", "CU"),
        (["--ip", "84.0.1.1", "--serving", "21401", "--sim", "36801"], "allow", "ES"),
        (["--serving", "250-34"], "deny", "crimea"),
        (["--ip", "nonsense"], "allow", None),
        (["--serving", "36801", "--first-activated-at", "2020-01-01T00:00:00Z"], "allow", "CU"),
    ],
)
def test_decide(city: str, arguments: list[str], decision: str, region: str | None) -> None:
    as_json = invoke("decide", "--db", city, "--json", *arguments)
    document = json.loads(as_json.stdout)
    assert (as_json.exit_code, document["decision"], document["region"]) == (0, decision, region)
    for_people = invoke("decide", "--db", city, *arguments)
    assert for_people.exit_code == 0
    assert decision in for_people.stdout
    assert (region or "unknown") in for_people.stdout


def test_decide_explains(city: str) -> None:
    arguments = ["decide", "--db", city, "--serving", "36801", "--ip", "8.8.8.8", "--id", "p", "--lang", "es"]
    full = invoke(*arguments, "--explain", "full").stdout
    assert re.search(r"serving_plmn: ok, match 368, says CU, weight 0\.90, used", full)
    assert "city: US" in full
    assert "embargo-six [enforce] matched" in full
    reasons = invoke(*arguments, "--explain", "reasons").stdout
    assert "evidence" in reasons
    assert invoke("decide", "--explain", *arguments[1:]).stdout == reasons, "bare, it means reasons"
    assert "\x1b" not in full, "no colours where there is no terminal"
    assert "embargo-six [enforce]" not in reasons
    document = json.loads(invoke(*arguments, "--explain", "full", "--json").stdout)
    assert document["id"] == "p"
    assert {"evidence", "rules"} <= set(document)


def test_decide_as_of_an_instant(city: str) -> None:
    result = invoke("decide", "--db", city, "--serving", "36801", "--at", "2021-09-01T00:00:00Z", "--json")
    assert result.exit_code == 0


def test_decide_warns_of_what_no_database_can_see(country: str) -> None:
    result = invoke("decide", "--db", country, "--serving", "25034")
    assert result.exit_code == 0
    assert "regionresolver: warning: " in result.stderr
    assert "UA-43" in result.stderr


# --- what goes wrong


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        pytest.param(["decide"], 2, "at least one of", id="no signal"),
        pytest.param(["decide", "--serving", "36", "--strict"], 2, "serving: not a PLMN", id="strict"),
        pytest.param(["decide", "--serving", "36801", "--at", "yesterday"], 2, "not an instant", id="no instant"),
        pytest.param(["decide", "--serving", "36801", "--at", "2021-09-01"], 2, "with its time zone", id="no time zone"),
        pytest.param(["decide", "--serving", "36801", "--at", "20210901T000000Z"], 2, "RFC 3339", id="ISO 8601's basic form"),
        pytest.param(["decide", "--serving", "36801", "--explain", "all"], 2, "'--explain'", id="no such choice"),
        pytest.param(["decide", "--serving", "36801", "--policy", "missing.toml"], 1, "missing.toml", id="no policy"),
        pytest.param(["lookup"], 2, "IP", id="no address"),
        pytest.param(["lookup", "--db", "missing.mmdb", "8.8.8.8"], 1, "missing.mmdb: there is no such file", id="no database"),
        pytest.param(["lookup", "--config", "missing.toml", "8.8.8.8"], 2, "missing.toml: ", id="no settings file"),
        pytest.param(["serve", "--port", "http"], 2, "port: .*flag --port", id="no port"),
        pytest.param(["serve", "--trusted-proxies", "10.0.0.1/8"], 2, "trusted_proxies: ", id="no network"),
        pytest.param(["serve", "--host", "192.0.2.1", "--port", "0"], 1, "choose another with --host", id="not our address"),
        pytest.param(["serve", "--host", "a\u2024..b", "--port", "0"], 1, "cannot listen on ", id="no host name"),
        pytest.param(["serve", "--db", "missing.mmdb", "--port", "0"], 1, "missing.mmdb: ", id="serve without database"),
        pytest.param(["db", "info", "missing.mmdb"], 1, "missing.mmdb: there is no such file", id="db info"),
        pytest.param(["db", "reduce", "--db", "missing.mmdb", "--out", "x"], 1, "missing.mmdb: ", id="db reduce"),
        pytest.param(["config", "show", "--log-level", "loud"], 2, "loud", id="no such level"),
        pytest.param(["nonsense"], 2, "nonsense", id="no such command"),
    ],
)
def test_one_clear_line_and_the_right_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], exit_code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == exit_code
    assert re.search(words, result.stderr.splitlines()[-1])
    assert "Traceback" not in result.output
    assert result.stdout == ""


@pytest.mark.parametrize(
    "content", [b"", b"not a database", build_mmdb({"1.0.0.0/8": {"a": 1}}), build_mmdb({"1.0.0.0/8": {}})[:-60]]
)
def test_a_file_that_is_no_usable_database_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.mmdb"
    path.write_bytes(content)
    for arguments in (
        ["lookup", "--db", str(path), "8.8.8.8"],
        ["db", "info", str(path)],
        ["serve", "--db", str(path), "--port", "0"],
    ):
        result = invoke(*arguments)
        assert result.exit_code == 1
        assert len(result.stderr.splitlines()) == 1
        assert result.stderr.startswith(f"regionresolver: error: {path}: ")


# --- db


def test_db_info(city: str) -> None:
    result = invoke("db", "info", city, "--json")
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert facts["name"] == "city"
    assert facts["database_type"] == "Test-City"
    assert facts["built_at"] == "2026-05-28T20:26:40Z"
    assert facts["record_shape"] == "nested, subdivisions by code"
    assert facts["ip_versions"] == [6]
    assert facts["countries"]["CU"] == 1
    assert facts["subdivisions"]["UA-43"] == 3
    for_people = invoke("db", "info", city)
    assert for_people.exit_code == 0
    assert "Test-City" in for_people.stdout
    assert "UA-43 3" in for_people.stdout


@pytest.mark.parametrize(
    ("record", "shape"),
    [
        ({"country": {"iso_code": "UA"}}, "nested, no subdivisions"),
        ({"country": {"iso_code": "UA"}, "subdivisions": [{"names": {"en": "Crimea"}}]}, "nested, subdivisions by name"),
        ({"country_code": "RU", "state1": "Crimea"}, "flat, subdivisions by name"),
        ({"country": "UA"}, "flat, no subdivisions"),
    ],
)
def test_the_shapes_of_records(tmp_path: Path, record: dict[str, object], shape: str) -> None:
    path = tmp_path / "shape.mmdb"
    path.write_bytes(build_mmdb({"1.0.0.0/8": record}))
    assert json.loads(invoke("db", "info", str(path), "--json").stdout)["record_shape"] == shape


def test_db_info_of_a_pair(tmp_path: Path) -> None:
    record = {"country": {"iso_code": "CU"}}
    (tmp_path / "x-ipv4.mmdb").write_bytes(build_mmdb({"1.0.0.0/8": record}, ip_version=4))
    (tmp_path / "x-ipv6.mmdb").write_bytes(build_mmdb({"2a00::/16": record}))
    facts = json.loads(invoke("db", "info", f"{tmp_path}/x-ipv4.mmdb,{tmp_path}/x-ipv6.mmdb", "--json").stdout)
    assert (facts["name"], facts["ip_versions"], facts["countries"]) == ("x", [4, 6], {"CU": 2})


def test_db_reduce(city: str, tmp_path: Path) -> None:
    out = tmp_path / "reduced.mmdb"
    result = invoke("db", "reduce", "--db", city, "--out", str(out))
    assert result.exit_code == 0
    assert result.stderr.startswith(f"{out}: {out.stat().st_size} bytes")
    with maxminddb.open_database(out) as reader:
        assert reader.get("84.0.1.1") == {"country": {"iso_code": "CU"}}
    missing = tmp_path / "no" / "such" / "directory.mmdb"
    assert invoke("db", "reduce", "--db", city, "--out", str(missing)).exit_code == 1


# --- config


def test_config_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "service.toml").write_text('host = "::1"', encoding="utf-8")
    monkeypatch.setenv("REGIONRESOLVER_DB", "a.mmdb;b4.mmdb,b6.mmdb")
    arguments = ["config", "show", "--config", str(tmp_path / "service.toml"), "--port", "1", "--access-log"]
    document = json.loads(invoke(*arguments, "--json").stdout)
    assert document["port"] == {"value": 1, "from": "flag --port"}
    assert document["db"] == {"value": ["a.mmdb", "b4.mmdb,b6.mmdb"], "from": "environment REGIONRESOLVER_DB"}
    assert document["host"] == {"value": "::1", "from": f"file {tmp_path / 'service.toml'}"}
    assert document["access_log"] == {"value": True, "from": "flag --access-log"}
    assert document["policy"] == {"value": None, "from": "default"}
    assert set(document) == set(Settings.model_fields)
    for_people = invoke(*arguments).stdout
    assert all(name in for_people for name in Settings.model_fields)


# --- help


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command of the tree, as the words that call it."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, (*path, name))


@pytest.mark.parametrize("path", list(commands(main)), ids=" ".join)
def test_help_has_examples(path: tuple[str, ...]) -> None:
    result = invoke(*path, "--help")
    assert result.exit_code == 0
    assert path in {("db",), ("config",)} or f"  regionresolver {' '.join(path[:1])}" in result.stdout


def test_help_lists_the_commands() -> None:
    help_ = invoke("--help").stdout
    assert all(f"\n  {name} " in help_ for name in COMMANDS)


def test_serve_has_a_flag_for_every_setting_with_its_default() -> None:
    help_ = " ".join(invoke("serve", "--help").stdout.split())
    assert all(f"--{name.replace('_', '-')}" in help_ for name in Settings.model_fields)
    assert "[default: 8080]" in help_
    assert "[default: 127.0.0.1]" in help_
    assert "[default: 0.0]" in help_


# --- real processes


def command_line(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "regionresolver", *arguments]


def fetch(url: str, body: bytes | None = None) -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
        return response.status, json.load(response)


def test_serve_answers_and_ends_on_sigterm(city: str) -> None:
    with serve("--db", city) as running:
        status, document = fetch(f"{running.urls[0]}/v1/decisions", b'{"serving": "25034", "ip": "62.0.1.1"}')
        assert (status, document["decision"], document["region"]) == (200, "deny", "UA-43")
        running.process.terminate()
        assert [found["event"] for found in running.end()] == ["draining", "stopped"]


def test_serve_is_not_ready_while_it_drains(city: str) -> None:
    with serve("--db", city, "--workers", "1", "--drain-delay-s", "30") as running:
        (url,) = running.urls
        assert readiness(url) == 200
        running.process.terminate()
        running.wait_for("draining")
        deadline = time.monotonic() + PATIENCE_S
        while (status := readiness(url)) == 200 and time.monotonic() < deadline:
            time.sleep(0.01)  # the worker has yet to hear of it
        assert status == 503
        assert fetch(f"{url}/livez")[0] == 200
        running.process.terminate()
        running.end()


def readiness(url: str) -> int:
    try:
        return fetch(f"{url}/readyz")[0]
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command_line(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_a_port_in_use_is_one_line(city: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = run("serve", "--db", city, "--port", str(port))
    assert finished.returncode == 1
    assert finished.stderr == (
        f"regionresolver: error: cannot listen on 127.0.0.1:{port}: "
        "the address is in use (stop the other service, or choose another with --port)\n"
    )


def test_a_bad_database_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.mmdb"
    path.write_bytes(b"nonsense")
    finished = run("serve", "--db", str(path), "--port", "0")
    assert finished.returncode == 1
    assert len(finished.stderr.splitlines()) == 1
    assert finished.stderr.startswith(f"regionresolver: error: {path}: it is not a MaxMind DB")


def test_a_pipe_that_is_closed_is_no_traceback(city: str) -> None:
    process = subprocess.Popen(
        command_line("lookup", "--db", city, "--json", "-"),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    try:
        process.stdin.write("84.0.1.1\n" * 1000)
        process.stdin.close()
    except BrokenPipeError:
        pass
    assert process.stderr.read() == ""
    process.wait(PATIENCE_S)
    process.stderr.close()
