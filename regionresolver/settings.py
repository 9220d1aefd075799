"""Every setting once: its name, type, bounds, default and meaning; and where a value came from.

A flag wins over an environment variable (`REGIONRESOLVER_` and the name in capitals), that over a line of a TOML file
(`--config FILE` or `REGIONRESOLVER_CONFIG`), that over the default. The file holds the names below, flat:

    host = "0.0.0.0"
    db = ["geolite2-city.mmdb", "dbip-v4.mmdb,dbip-v6.mmdb"]

A value that cannot be used, an unknown name in the file and a named file that is missing are a `SettingsError`.
"""

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, IPvAnyNetwork, ValidationError, ValidatorFunctionWrapHandler, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from regionresolver.errors import SettingsError

ENVIRONMENT_PREFIX = "REGIONRESOLVER_"
CONFIG_VARIABLE = ENVIRONMENT_PREFIX + "CONFIG"

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class Origin(StrEnum):
    """Where the value of a setting came from, strongest first."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


class Settings(BaseSettings):
    """What an operator may choose about the service. Immutable; made by `load_settings`."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", min_length=1, description="Address or name to listen on.")
    port: int = Field(8080, ge=0, le=65_535, description="TCP port to listen on; 0 takes a free one.")
    unix_socket: Path | None = Field(None, description="Unix socket to listen on instead of host and port.")
    unix_socket_mode: str = Field("0660", pattern=r"^0?[0-7]{3}$", description="Permissions of the Unix socket, in octal.")
    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = Field(
        "auto", description="Worker processes; auto: one for each CPU that this process may use."
    )
    db: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="IP database, strongest first; a comma joins the IPv4 and IPv6 files of one. None: the embedded one."
    )
    index: Path | None = Field(
        None, description="Compiled index image that answers instead of databases; those of --db then only add their records."
    )
    any_regions: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Region that any IP database may claim an address for, whatever the order of the databases."
    )
    catalogue: Path | None = Field(
        None, description="File (TOML) with own regions, aliases and overrides. None: the shipped region catalogue alone."
    )
    policy: Path | None = Field(
        None,
        description="Policy file (TOML or JSON), name of a shipped one, or folder of policy generations. None: default.",
    )
    policy_public_keys: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Ed25519 key, a PEM file or base64, one of which must have signed the policy. None: no signature asked for.",
    )
    policy_state: Path | None = Field(
        None, description="File that remembers the highest signed version served, so that an older policy is refused."
    )
    trusted_proxies: Annotated[tuple[IPvAnyNetwork, ...], NoDecode] = Field(
        (), description="Network whose X-Forwarded-For and Forwarded headers count."
    )
    tls_certificate: Path | None = Field(None, description="Certificate chain (PEM) to speak TLS with, on TCP. None: plain HTTP.")
    tls_key: Path | None = Field(None, description="Key (PEM) of the certificate, where it is in a file of its own.")
    admin_host: str = Field("127.0.0.1", min_length=1, description="Address or name of the admin listener.")
    admin_port: int | None = Field(
        None, ge=0, le=65_535, description="TCP port for what only operators ask, which is then gone from the main listener."
    )
    admin_unix_socket: Path | None = Field(None, description="Unix socket for the same, instead of an admin port.")
    api_keys: Path | None = Field(
        None, description="File (JSON) of API keys, one of which must be shown; see keys add. None: who may connect may ask."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level that is logged.")
    log_format: Literal["json", "text"] = Field("json", description="One line an event, as JSON or for people.")
    lane: bool = Field(True, description="Answer plain requests for regions and decisions in the compiled lane.")
    access_log: bool = Field(False, description="Log one line a request, without address or query.")
    access_log_share: float = Field(
        1.0, gt=0, le=1, allow_inf_nan=False, description="Share of the requests that the access log takes, by chance."
    )
    decision_log: Literal["off", "sampled", "denials", "all"] = Field(
        "off", description="Which decisions are logged: none, a share, those that do not allow, or all."
    )
    decision_log_dir: Path | None = Field(None, description="Folder of the decision log's segments.")
    decision_log_share: float = Field(
        0.01, gt=0, le=1, allow_inf_nan=False, description="Share of the decisions that decision_log = sampled takes."
    )
    decision_log_fsync_s: float = Field(
        1.0, ge=0, le=3_600, allow_inf_nan=False, description="Seconds after which what is written is forced to the disk."
    )
    decision_log_segment_bytes: int = Field(
        64 * 1024 * 1024, ge=4096, le=1 << 40, description="Size in bytes at which a segment is closed and another begun."
    )
    decision_log_segment_s: Seconds = Field(3_600.0, description="Age in seconds at which a segment is closed.")
    decision_log_keep_segments: int = Field(
        100, ge=2, le=1_000_000, description="Segments that are kept of each chain (of each worker), the newest ones."
    )
    decision_log_keep_bytes: int = Field(
        8 * 1024 * 1024 * 1024, ge=4096, le=1 << 50, description="Bytes that are kept of each chain, the newest segments."
    )
    decision_log_buffer_bytes: int = Field(
        8 * 1024 * 1024, ge=1 << 16, le=1 << 32, description="Memory of a worker for decisions that are not written yet."
    )
    body_limit_bytes: int = Field(16 * 1024, ge=256, le=16 * 1024 * 1024, description="Largest body of one ping, in bytes.")
    batch_body_limit_bytes: int = Field(
        8 * 1024 * 1024, ge=256, le=1024 * 1024 * 1024, description="Largest body of a JSON array of pings, in bytes."
    )
    head_timeout_s: Seconds = Field(10.0, description="Seconds for a request's head to arrive.")
    body_timeout_s: Seconds = Field(30.0, description="Seconds for a request's body to arrive; in a stream, for its next bytes.")
    keepalive_timeout_s: Seconds = Field(75.0, description="Seconds before an idle connection is closed.")
    drain_delay_s: float = Field(
        0.0, ge=0, le=3_600, allow_inf_nan=False, description="Seconds between SIGTERM (not ready) and the end of accepting."
    )
    watchdog_timeout_s: float = Field(
        10.0,
        ge=2,
        le=86_400,
        allow_inf_nan=False,
        description="Seconds that a worker's loop may stand still before the worker is killed and replaced.",
    )
    control_socket: Path | None = Field(
        None, description="Unix socket for the commands reload and status. None: an abstract name made of host and port."
    )
    watch: bool = Field(False, description="Reload when a file that is served from was replaced and has come to rest.")
    canaries: Path | None = Field(None, description="File (TOML) of pings that a generation must answer as it says.")
    max_age_warn_days: float | None = Field(
        90.0, gt=0, allow_inf_nan=False, description="Age of a database, by its build, from which /readyz and the log warn."
    )
    max_age_refuse_days: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Age of a database from which it is not served. None: no limit."
    )
    shrink_limit: float = Field(
        0.2, ge=0, le=1, allow_inf_nan=False, description="Share of the known addresses or networks that a reload may lose."
    )
    reload_timeout_s: Seconds = Field(600.0, description="Seconds for a new generation to be built and opened by every worker.")
    shed_lag_s: Seconds = Field(
        1.0, description="Lateness of a worker's loop from which requests that aiohttp would answer get 503 OVERLOADED."
    )
    shed_waiting: int = Field(
        128, ge=8, description="Requests that stand in line for aiohttp in one worker from which further ones get 503 OVERLOADED."
    )
    shed_in_flight: int = Field(
        1024, ge=1, description="Requests at aiohttp in one worker from which further ones get 503 OVERLOADED."
    )
    shutdown_timeout_s: Seconds = Field(10.0, description="Seconds that requests in hand get to finish at the end.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the caller alone: `load_settings` merges the layers, for it also says where each came from."""
        return (init_settings,)

    @field_validator("db", "any_regions", "policy_public_keys", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Read a list written as one text: a JSON list, or items separated by ';' (a comma joins the files of a source)."""
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            try:
                return json.loads(value)
            except ValueError:
                raise ValueError("this begins like a JSON list and is none") from None
        return [item.strip() for item in value.split(";") if item.strip()]

    @field_validator("db")
    @classmethod
    def _no_empty_source(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not part.strip() for item in value for part in item.split(",")):
            raise ValueError("a file name is empty")
        return value

    @field_validator("workers", mode="wrap")
    @classmethod
    def _auto_or_number(cls, value: object, validate: ValidatorFunctionWrapHandler) -> object:
        """Say in one sentence what pydantic says once for each type."""
        try:
            return validate(value)
        except ValidationError:
            raise ValueError("it should be auto, or a number from 1 to 1024") from None

    @field_validator("port", mode="before")
    @classmethod
    def _not_a_service_link(cls, value: object) -> object:
        """Explain the variable that Kubernetes makes for a Service named `regionresolver`."""
        if isinstance(value, str) and value.startswith("tcp://"):
            raise ValueError("this is Kubernetes' service link; set enableServiceLinks: false, or give --port")
        return value


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings, where each value came from, and the file that was read (`None`: no file)."""

    settings: Settings
    origins: Mapping[str, Origin]
    file: Path | None


def load_settings(flags: Mapping[str, object] | None = None, config: str | Path | None = None) -> LoadedSettings:
    """Merge flags (only those that were given), environment, file and defaults.

    `config` is the TOML file; `None` takes the one that `REGIONRESOLVER_CONFIG` names, if any. Raises SettingsError.
    """
    file = Path(config or os.environ.get(CONFIG_VARIABLE) or "") if config or os.environ.get(CONFIG_VARIABLE) else None
    layers: list[tuple[Origin, Mapping[str, object]]] = [
        (Origin.FILE, _read_file(file) if file else {}),
        (Origin.ENVIRONMENT, EnvSettingsSource(Settings)()),
        (Origin.FLAG, flags or {}),
    ]
    origins = dict.fromkeys(Settings.model_fields, Origin.DEFAULT)
    values: dict[str, object] = {}
    for origin, layer in layers:
        values.update(layer)
        origins.update(dict.fromkeys(layer, origin))
    try:
        return LoadedSettings(Settings.model_validate(values), origins, file)
    except ValidationError as error:
        raise SettingsError(_one_line(error, origins, file)) from None


def flag_name(setting: str) -> str:
    """Spell a setting as the flag of the command line."""
    return "--" + setting.replace("_", "-")


def _read_file(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file}: the settings file cannot be read: {error.strerror or 'unknown reason'}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: the settings file is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file}: the settings file is not TOML: {error}") from None


def _one_line(error: ValidationError, origins: Mapping[str, Origin], file: Path | None) -> str:
    """Say every fault as `name: what is wrong (where it was given)`."""
    faults = []
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        name = str(fault["loc"][0]) if fault["loc"] else "settings"
        known = name in Settings.model_fields
        message = fault["msg"].removeprefix("Value error, ") if known else "there is no setting of this name"
        faults.append(f"{name}: {message} ({_whence(name, origins.get(name, Origin.DEFAULT), file)})")
    return "; ".join(faults)


def _whence(name: str, origin: Origin, file: Path | None) -> str:
    places: dict[Origin, str] = {
        Origin.FLAG: f"flag {flag_name(name)}",
        Origin.ENVIRONMENT: f"environment {ENVIRONMENT_PREFIX}{name.upper()}",
        Origin.FILE: f"file {file}",
        Origin.DEFAULT: "default",
    }
    return places[origin]


def listed(loaded: LoadedSettings) -> Sequence[tuple[str, object, str]]:
    """Give each setting as (name, value as JSON types, where it came from), in the order of the model."""
    values = loaded.settings.model_dump(mode="json")
    return [(name, values[name], _whence(name, loaded.origins[name], loaded.file)) for name in Settings.model_fields]
