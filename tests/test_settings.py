"""Settings: which layer wins, how lists are written, and what is said of a bad value."""

import os
from ipaddress import ip_network
from pathlib import Path

import pytest

from regionresolver.errors import SettingsError
from regionresolver.settings import Origin, Settings, listed, load_settings


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("REGIONRESOLVER_")]:
        monkeypatch.delenv(name)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults() -> None:
    loaded = load_settings()
    assert (loaded.settings.host, loaded.settings.port) == ("127.0.0.1", 8080)
    assert loaded.settings.db == ()
    assert loaded.settings.trusted_proxies == ()
    assert loaded.settings.body_limit_bytes == 16 * 1024
    assert (loaded.settings.head_timeout_s, loaded.settings.body_timeout_s) == (10, 30)
    assert set(loaded.origins.values()) == {Origin.DEFAULT}
    assert loaded.file is None


@pytest.mark.parametrize(
    ("flags", "environment", "file", "port", "origin"),
    [
        ({"port": "1"}, "2", "port = 3", 1, Origin.FLAG),
        ({}, "2", "port = 3", 2, Origin.ENVIRONMENT),
        ({}, None, "port = 3", 3, Origin.FILE),
        ({}, "", "port = 3", 3, Origin.FILE),
        ({}, None, "", 8080, Origin.DEFAULT),
    ],
)
def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: dict[str, object],
    environment: str | None,
    file: str,
    port: int,
    origin: Origin,
) -> None:
    if environment is not None:
        monkeypatch.setenv("REGIONRESOLVER_PORT", environment)
    loaded = load_settings(flags, write(tmp_path, file))
    assert loaded.settings.port == port
    assert loaded.origins["port"] is origin


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("a.mmdb", ("a.mmdb",)),
        ("a.mmdb;b4.mmdb,b6.mmdb", ("a.mmdb", "b4.mmdb,b6.mmdb")),
        (" a.mmdb ; ", ("a.mmdb",)),
        ('["a.mmdb", "with;semicolon.mmdb"]', ("a.mmdb", "with;semicolon.mmdb")),
    ],
)
def test_databases_from_the_environment(monkeypatch: pytest.MonkeyPatch, text: str, items: tuple[str, ...]) -> None:
    monkeypatch.setenv("REGIONRESOLVER_DB", text)
    assert load_settings().settings.db == items


def test_lists_from_flags_and_from_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, 'db = ["a.mmdb"]\ntrusted_proxies = ["10.0.0.0/8", "2001:db8::/32"]')
    loaded = load_settings({"db": ("b.mmdb", "c4.mmdb,c6.mmdb")}, file)
    assert loaded.settings.db == ("b.mmdb", "c4.mmdb,c6.mmdb")
    assert loaded.settings.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))


def test_the_environment_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, 'host = "::1"')
    monkeypatch.setenv("REGIONRESOLVER_CONFIG", str(file))
    loaded = load_settings()
    assert (loaded.settings.host, loaded.file) == ("::1", file)


@pytest.mark.parametrize(
    ("flags", "environment", "file", "words"),
    [
        ({"port": "99999"}, {}, "", "port: .*65535.*flag --port"),
        ({"port": "http"}, {}, "", "port: .*integer.*flag --port"),
        ({}, {"PORT": "-1"}, "", "port: .*environment REGIONRESOLVER_PORT"),
        ({}, {"PORT": "tcp://10.0.0.1:8080"}, "", "port: .*enableServiceLinks"),
        ({}, {}, "port = 70000", "port: .*file .*settings.toml"),
        ({}, {}, "prot = 1", "prot: there is no setting of this name .*file"),
        ({}, {}, "port = ", "is not TOML"),
        ({}, {"TRUSTED_PROXIES": "10.0.0.1/8"}, "", "trusted_proxies: "),
        ({}, {"TRUSTED_PROXIES": "everybody"}, "", "trusted_proxies: "),
        ({}, {"DB": "a.mmdb,"}, "", "db: a file name is empty"),
        ({}, {"DB": "[oops"}, "", "db: this begins like a JSON list"),
        ({}, {"LOG_LEVEL": "loud"}, "", "log_level: .*'debug', 'info'"),
        ({}, {"HEAD_TIMEOUT_S": "nan"}, "", "head_timeout_s: "),
        ({}, {"BODY_TIMEOUT_S": "0"}, "", "body_timeout_s: "),
        ({}, {"BODY_LIMIT_BYTES": "1"}, "", "body_limit_bytes: "),
        ({"host": ""}, {}, "", "host: "),
        ({"workers": "0"}, {}, "", r"workers: it should be auto, or a number from 1 to 1024 \(flag --workers\)"),
        ({}, {"WORKERS": "many"}, "", "workers: it should be auto"),
        ({}, {}, 'unix_socket_mode = "rw"', "unix_socket_mode: "),
        ({}, {}, "unix_socket_mode = 432", "unix_socket_mode: .*string"),
        ({"port": "x"}, {"LOG_FORMAT": "xml"}, "", "port: .*; log_format: |log_format: .*; port: "),
    ],
)
def test_a_bad_value_is_one_line_that_says_where(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: dict[str, object],
    environment: dict[str, str],
    file: str,
    words: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv("REGIONRESOLVER_" + name, value)
    with pytest.raises(SettingsError, match=words) as caught:
        load_settings(flags, write(tmp_path, file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["missing", "directory", "not text"])
def test_a_named_file_that_cannot_be_read_is_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "settings.toml"
    if kind == "directory":
        path.mkdir()
    elif kind == "not text":
        path.write_bytes(b"host = '\xff'")
    with pytest.raises(SettingsError, match=r"settings\.toml: "):
        load_settings({}, path)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().settings.port = 1  # type: ignore[misc]


def test_listed_gives_every_setting_with_its_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGIONRESOLVER_LOG_LEVEL", "debug")
    rows = listed(load_settings({"port": 1}, write(tmp_path, 'trusted_proxies = ["10.0.0.0/8"]')))
    assert [name for name, _, _ in rows] == list(Settings.model_fields)
    found = {name: (value, whence) for name, value, whence in rows}
    assert found["port"] == (1, "flag --port")
    assert found["log_level"] == ("debug", "environment REGIONRESOLVER_LOG_LEVEL")
    assert found["trusted_proxies"][0] == ["10.0.0.0/8"]
    assert found["trusted_proxies"][1].startswith("file ")
    assert found["policy"] == (None, "default")


def test_every_setting_says_what_it_is_for() -> None:
    assert all(field.description for field in Settings.model_fields.values())
