"""Who may ask: API keys in a file, a limit of requests for each, and the answers to those who may not.

A key is `rr_<id>_<secret>`: the id names its row, the secret is 256 random bits. The file holds, for each, a salt and the
SHA-256 of salt and secret: a slow hash protects what people choose, and would only slow down what cannot be guessed.
Digests are compared in constant time. The file is read anew when it has changed; one that cannot be used changes nothing.

A limit is kept by each worker for itself, with its share of rate and burst (docs/access.md).
"""

import base64
import hashlib
import hmac
import json
import math
import os
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import orjson
from aiohttp import web
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from _fastpath.access import UNKNOWN, KeyRing
from regionresolver.errors import SettingsError
from regionresolver.resolver import now
from regionresolver.service.connection import AdminConnection
from regionresolver.service.problems import (
    AUTHORIZATION_INVALID,
    AUTHORIZATION_REQUIRED,
    RATE_LIMITED,
    ProblemError,
)
from regionresolver.service.watch import Reread
from regionresolver.settings import Settings

SECRET_BYTES = 32
SALT_BYTES = 16
ID_BYTES = 4

# What load balancers and orchestrators ask without a key.
EXEMPT = frozenset({"/livez", "/healthz", "/readyz"})

_CHALLENGE = 'Bearer realm="regionresolver"'
_BEARER = re.compile(rb"(?i:bearer) +rr_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")

Hex16 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Key(BaseModel):
    """One key as the file has it: everything but the secret."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    salt: Hex16
    sha256: Hex32
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    rate_per_s: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] | None = None
    burst: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None


class KeyFile(BaseModel):
    """The file of keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    keys: tuple[Key, ...] = ()


def read_keys(file: Path) -> tuple[Key, ...]:
    """Read the file. Raises SettingsError, which repeats nothing of what stands in it."""
    try:
        found = KeyFile.model_validate_json(file.read_bytes()).keys
    except OSError as error:
        raise SettingsError(f"{file}: the keys cannot be read: {error.strerror or 'unknown reason'}") from None
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, fault["loc"])) or "the file"
        raise SettingsError(f"{file}: {where}: {fault['msg']} (regionresolver keys writes this file)") from None
    for what in ("name", "id"):
        values = [getattr(key, what) for key in found]
        if len(set(values)) < len(values):
            raise SettingsError(f"{file}: two keys have the same {what}")
    return found


def write_keys(file: Path, keys: tuple[Key, ...]) -> None:
    """Replace the file, readable for its owner and group alone. Raises SettingsError."""
    text = json.dumps(KeyFile(keys=keys).model_dump(mode="json", exclude_none=True), indent=2) + "\n"
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(file)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise SettingsError(f"{file}: the keys cannot be written: {error.strerror or 'unknown reason'}") from None


def make_key(name: str, **more: object) -> tuple[Key, str]:
    """Make a new key: its row, and the text that is shown once and kept nowhere. Raises SettingsError."""
    salt, secret = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(SECRET_BYTES)
    shown = base64.urlsafe_b64encode(secret).rstrip(b"=")
    number = secrets.token_hex(ID_BYTES)
    try:
        key = Key.model_validate(
            {"name": name, "id": number, "salt": salt.hex(), "sha256": _digest(salt, shown).hex(), "created_at": now()} | more
        )
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise SettingsError(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    return key, f"rr_{number}_{shown.decode()}"


def _digest(salt: bytes, shown: bytes) -> bytes:
    return hashlib.sha256(salt + shown).digest()


@dataclass(eq=False)
class Access:
    """The keys of one worker. `refused` counts, by reason, who was not let in."""

    file: Path
    workers: int
    ring: KeyRing = field(init=False)
    names: tuple[str, ...] = ()
    refused: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("required", "invalid", "rate_limited"), 0))
    told: Callable[[str], None] = lambda _reason: None
    reread: Reread = field(init=False)

    def __post_init__(self) -> None:
        """Read the file. Raises SettingsError."""
        self.reread = Reread((self.file,), self._read, taken="keys_loaded", failed="keys_failed")
        self.ring = KeyRing([], lambda _value: UNKNOWN)
        self._read()

    def _read(self) -> dict[str, object]:
        self._use(read_keys(self.file))
        return {"keys": len(self.names)}

    def _use(self, keys: tuple[Key, ...]) -> None:
        rows = []
        for key in keys:
            rate = None if key.rate_per_s is None else key.rate_per_s / self.workers
            burst = max(1.0, (key.burst or max(1.0, key.rate_per_s or 1.0)) / self.workers)
            rows.append((None if key.expires_at is None else int(key.expires_at.timestamp() * 1e6), rate, burst))
        by_id = {key.id.encode(): (number, bytes.fromhex(key.salt), bytes.fromhex(key.sha256)) for number, key in enumerate(keys)}

        def row_of(value: bytes) -> int:
            found = _BEARER.fullmatch(value)
            known = by_id.get(found[1]) if found is not None else None
            if found is None or known is None:
                return UNKNOWN
            row, salt, digest = known
            return row if hmac.compare_digest(_digest(salt, found[2]), digest) else UNKNOWN

        self.ring.replace(rows, row_of)
        self.names = tuple(key.name for key in keys)

    def admit(self, values: list[str], at_us: int) -> None:
        """Let a request in whose Authorization headers these are. Raises ProblemError."""
        if not values:
            self._refuse("required")
            raise ProblemError(AUTHORIZATION_REQUIRED, "this path needs an API key", headers={"WWW-Authenticate": _CHALLENGE})
        row = self.ring.row_of(values[0].encode("utf-8", "surrogateescape")) if len(values) == 1 else UNKNOWN
        if row == UNKNOWN or self.ring.is_expired(row, at_us):
            self._refuse("invalid")
            challenge = f'{_CHALLENGE}, error="invalid_token"'
            raise ProblemError(
                AUTHORIZATION_INVALID,
                "the API key is unknown, expired or revoked" if len(values) == 1 else "give one Authorization",
                headers={"WWW-Authenticate": challenge},
            )
        wait_s = self.ring.take(row, at_us)
        if wait_s > 0:
            self._refuse("rate_limited")
            retry = {"Retry-After": str(max(1, math.ceil(wait_s)))}
            raise ProblemError(RATE_LIMITED, "this API key has asked as often as it may for now", headers=retry)

    def _refuse(self, reason: str) -> None:
        self.refused[reason] += 1
        self.told(reason)


def open_access(settings: Settings) -> Access | None:
    """Make the access of a worker, None where who may connect may ask. Raises SettingsError."""
    if settings.api_keys is None:
        return None
    return Access(settings.api_keys, settings.workers if settings.workers != "auto" else 1)


def check_key(request: web.BaseRequest, access: Access | None) -> None:
    """Let only requests pass that show a key, where keys are asked for. Raises ProblemError."""
    if access is not None and request.path not in EXEMPT and not isinstance(request.protocol, AdminConnection):
        access.admit(request.headers.getall("Authorization", []), int(now().timestamp() * 1e6))


# What only operators ask: with an admin listener it is gone from the main one. Health is answered on both.
ADMIN_PATHS = frozenset({"/", "/metrics", "/openapi.json", "/docs", "/version", "/v1/policy", "/v1/metadata"})


def check_listener(request: web.BaseRequest) -> None:
    """Where there is an admin listener, let on each of the two only that pass which belongs there. Raises HTTPNotFound."""
    path = request.path
    is_for_operators = path in ADMIN_PATHS or path.startswith("/docs/")
    if path not in EXEMPT and is_for_operators is not isinstance(request.protocol, AdminConnection):
        raise web.HTTPNotFound


def summary(keys: tuple[Key, ...]) -> list[dict[str, object]]:
    """Give keys as JSON types, without salt and digest."""
    found: list[dict[str, object]] = orjson.loads(
        orjson.dumps([key.model_dump(mode="json", exclude={"salt", "sha256"}) for key in keys])
    )
    return found
