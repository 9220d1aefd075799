"""Ed25519 signatures on policies: who may say what a policy is, whoever may write its file.

A signature is detached: `FILE.sig` beside `FILE`, one JSON object with the key's id, the policy's name and version, and the
signature in base64. What is signed is not the file's bytes alone:

    "regionresolver policy signature v1" LF name LF version LF number of bytes LF the exact bytes

so that a signature made for anything else is none on a policy, and one on a policy is none on a permission to roll back:

    "regionresolver policy rollback v1" LF name LF version LF SHA-256 of the bytes LF highest version so far LF

A permission lets an older policy be served although versions up to the `highest` have been; once a higher one has been
served it is worth nothing. Nothing of a file is parsed before its signature holds, but for these few members of its own.

`cryptography` is an optional dependency (extra `signing`), imported when a key is first needed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from regionresolver.errors import PolicyError, SettingsError
from regionresolver.policy.model import Slug, Version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
_ID_DIGITS: Final = 16
_POLICY: Final = b"regionresolver policy signature v1"
_ROLLBACK: Final = b"regionresolver policy rollback v1"
_PRIVATE_MODE: Final = 0o600
_MAX_KEY_BYTES: Final = 16 * 1024
_MISSING: Final = "signed policies need the package 'cryptography': pip install 'regionresolver[signing]'"


class Signature(BaseModel):
    """What stands in a signature file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    name: Slug
    version: Version
    signature: str


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that may have signed; its id is the beginning of the SHA-256 of its 32 bytes."""

    id: str
    key: Ed25519PublicKey

    @classmethod
    def of(cls, key: Ed25519PublicKey) -> PublicKey:
        """Name a key."""
        return cls(hashlib.sha256(key.public_bytes_raw()).hexdigest()[:_ID_DIGITS], key)

    @property
    def text(self) -> str:
        """Answer the key as base64 of its 32 bytes, as a setting takes it."""
        return base64.b64encode(self.key.public_bytes_raw()).decode()


def public_key(given: str | Path) -> PublicKey:
    """Read a public key: base64 of its 32 bytes, or a PEM file. Raises SettingsError."""
    ed25519 = _module("hazmat.primitives.asymmetric.ed25519")
    if (raw := _decoded(str(given), KEY_BYTES)) is not None:
        return PublicKey.of(ed25519.Ed25519PublicKey.from_public_bytes(raw))
    content = _key_content(given, "a public key is a PEM file, or base64 of its 32 bytes")
    try:
        key = _module("hazmat.primitives.serialization").load_pem_public_key(content)
    except (ValueError, _module("exceptions").UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise SettingsError(f"{given}: is no public Ed25519 key in PEM (make one: regionresolver policy keygen)")
    return PublicKey.of(key)


def private_key(file: str | Path) -> Ed25519PrivateKey:
    """Read a private key from a PEM file. Raises SettingsError."""
    ed25519 = _module("hazmat.primitives.asymmetric.ed25519")
    content = _key_content(file, "a private key is a PEM file")
    try:
        key = _module("hazmat.primitives.serialization").load_pem_private_key(content, password=None)
    except TypeError:
        raise SettingsError(f"{file}: the key is encrypted; decrypt it for this command: openssl pkey -in KEY") from None
    except (ValueError, _module("exceptions").UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise SettingsError(f"{file}: is no private Ed25519 key in PEM (make one: regionresolver policy keygen)")
    found: Ed25519PrivateKey = key
    return found


def generate_key(file: Path) -> PublicKey:
    """Write a new private key to `file`, for its owner's eyes, and the public one to `file.pub`. Raises SettingsError.

    Neither replaces a file that is there.
    """
    ed25519, forms = _module("hazmat.primitives.asymmetric.ed25519"), _module("hazmat.primitives.serialization")
    key: Ed25519PrivateKey = ed25519.Ed25519PrivateKey.generate()
    secret = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    public = key.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)
    _write_new(file, secret, _PRIVATE_MODE)
    try:
        _write_new(Path(f"{file}.pub"), public, 0o644)
    except SettingsError:
        file.unlink()
        raise
    return PublicKey.of(key.public_key())


def sign_policy(content: bytes, name: str, version: int, key: Ed25519PrivateKey) -> bytes:
    """Answer the signature file for a policy's exact bytes."""
    made = Signature(
        key=PublicKey.of(key.public_key()).id,
        name=name,
        version=version,
        signature=base64.b64encode(key.sign(_policy_message(content, name, version))).decode(),
    )
    return orjson.dumps(made.model_dump(), option=orjson.OPT_APPEND_NEWLINE)


def verify_policy(file: str | Path, content: bytes, signature: bytes | None, keys: Sequence[PublicKey]) -> Signature:
    """Answer who signed a policy's bytes, under which name and version. Raises PolicyError, naming `file`.

    `signature` is what its signature file holds, None where there is none.
    """
    if signature is None:
        remedy = f"sign it: regionresolver policy sign {Path(file).name} --key KEY"
        raise PolicyError(file, "is not signed, and only signed policies are accepted here", remedy=remedy)
    try:
        made = Signature.model_validate_json(signature)
    except ValidationError:
        raise PolicyError(f"{file}.sig", "is no signature of a policy", remedy="sign the policy again") from None
    key = next((key for key in keys if key.id == made.key), None)
    if key is None:
        reason = f"is signed with the key {made.key[:_ID_DIGITS]!r}, which is not among the {len(keys)} accepted here"
        raise PolicyError(file, reason, remedy="sign it with an accepted key, or add the key to policy_public_keys")
    if not _holds(key, made.signature, _policy_message(content, made.name, made.version)):
        reason = "does not fit its signature: the policy or the signature was altered"
        raise PolicyError(file, reason, remedy="fetch both again, or sign the policy again after looking at it")
    return made


def permit_rollback(name: str, version: int, sha256: str, highest: int, key: Ed25519PrivateKey) -> tuple[str, str]:
    """Sign a permission to serve an older policy; answer the key's id and the signature in base64."""
    signature = key.sign(_rollback_message(name, version, sha256, highest))
    return PublicKey.of(key.public_key()).id, base64.b64encode(signature).decode()


def is_permitted(
    name: str, version: int, sha256: str, highest: int, key_id: str, signature: str, keys: Sequence[PublicKey]
) -> bool:
    """Say whether one of the keys has signed this permission."""
    message = _rollback_message(name, version, sha256, highest)
    return any(key.id == key_id and _holds(key, signature, message) for key in keys)


def _policy_message(content: bytes, name: str, version: int) -> bytes:
    return b"\n".join((_POLICY, name.encode(), str(version).encode(), str(len(content)).encode(), content))


def _rollback_message(name: str, version: int, sha256: str, highest: int) -> bytes:
    return b"\n".join((_ROLLBACK, name.encode(), str(version).encode(), sha256.encode(), str(highest).encode(), b""))


def _holds(key: PublicKey, signature: str, message: bytes) -> bool:
    raw = _decoded(signature, SIGNATURE_BYTES)
    if raw is None:
        return False
    try:
        key.key.verify(raw, message)
    except _module("exceptions").InvalidSignature:
        return False
    return True


def _decoded(text: str, size: int) -> bytes | None:
    """Decode base64 of so many bytes, None for any other text."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == size else None


def _key_content(file: str | Path, form: str) -> bytes:
    try:
        with Path(file).open("rb") as stream:
            return stream.read(_MAX_KEY_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no such name is possible"
        raise SettingsError(f"{file}: the key cannot be read: {reason} ({form})") from None


def _write_new(file: Path, content: bytes, mode: int) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(descriptor, "wb") as stream:
            stream.write(content)
    except FileExistsError:
        raise SettingsError(f"{file}: exists already, and a key is never replaced (choose another name)") from None
    except OSError as error:
        raise SettingsError(f"{file}: cannot be written: {error.strerror}") from None


def _module(name: str) -> Any:
    """Import a part of `cryptography`. Raises SettingsError that names the extra."""
    try:
        return importlib.import_module(f"cryptography.{name}")
    except ImportError:
        raise SettingsError(_MISSING) from None
