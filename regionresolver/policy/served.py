"""From what an operator names to the policy that is served: a file, a shipped one, or the active one of a folder.

Where the active generation of a folder is broken (gone, altered, refused by this release or on these databases), the last
good one before it is served, and the warnings say so. Where public keys are given nothing of that kind happens: what is
unsigned, altered or older than what has been served before is refused, and nothing is served in its place.

"Older" is below the highest version that was ever active: that the folder's chain remembers, and that the file
`policy_state` remembers, which the folder's writers cannot reach. A signed permission of a rollback is the one exception.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from regionresolver.errors import PolicyError, SettingsError
from regionresolver.policy.generations import SIGNATURE_SUFFIX, Activation, Generations
from regionresolver.policy.load import file_of, parse_policy, read_content
from regionresolver.policy.signatures import PublicKey, is_permitted, public_key, verify_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from regionresolver.policy.model import Policy
    from regionresolver.sources.catalogue import Catalogue

T = TypeVar("T")
_MAX_SIGNATURE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ServedPolicy:
    """A policy with where it came from.

    `content` are the file's exact bytes and `sha256` is their digest, `signature` is what lies beside it; `key` is the id of
    the key whose signature was verified, None where none was asked for; `activation` and `generations` are None for a file
    that stands alone.
    """

    policy: Policy
    file: Path
    content: bytes = field(repr=False)
    signature: bytes | None = field(repr=False)
    sha256: str
    key: str | None = None
    activation: Activation | None = None
    generations: Generations | None = None
    warnings: tuple[str, ...] = ()


class HighestVersion(BaseModel):
    """What `policy_state` remembers: the highest version that was served, and the digest of its file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose policies are accepted: everybody's without keys. `state` is the file of the highest version served."""

    keys: tuple[PublicKey, ...] = ()
    state: Path | None = None

    @classmethod
    def of(cls, keys: Sequence[str | Path] = (), state: str | Path | None = None) -> Trust:
        """Read the keys, each a PEM file or base64. Raises SettingsError, also for a state without keys."""
        if state is not None and not keys:
            raise SettingsError("policy_state: remembers signed versions only, and policy_public_keys names no key")
        return cls(tuple(public_key(key) for key in keys), None if state is None else Path(state))

    def highest(self) -> HighestVersion | None:
        """Answer what the state remembers, None without one. Raises PolicyError for a damaged one."""
        if self.state is None:
            return None
        try:
            return HighestVersion.model_validate_json(self.state.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PolicyError(self.state, f"cannot be read: {error.strerror}", remedy="check policy_state") from None
        except ValidationError:
            remedy = "it guards against older policies: restore it; delete it only if you know which version was served last"
            raise PolicyError(self.state, "is damaged", remedy=remedy) from None

    def remember(self, served: ServedPolicy) -> None:
        """Raise what the state remembers to a policy that is served from now on. Raises PolicyError."""
        known = self.highest()
        version = served.policy.header.version
        if self.state is None or (known is not None and known.version >= version):
            return
        try:
            with tempfile.NamedTemporaryFile(dir=self.state.parent, prefix=f".{self.state.name}.", delete=False) as file:
                try:
                    file.write(orjson.dumps({"version": version, "sha256": served.sha256}))
                    file.flush()
                    os.fsync(file.fileno())
                    os.replace(file.name, self.state)
                except BaseException:
                    with suppress(OSError):
                        os.unlink(file.name)
                    raise
        except OSError as error:
            remedy = "without it an older policy could come back: let the service write there"
            raise PolicyError(self.state, f"cannot be written: {error.strerror}", remedy=remedy) from None


def open_policy(path: str | Path | None, catalogue: Catalogue, trust: Trust, use: Callable[[ServedPolicy], T]) -> T:
    """Read the policy that a path names, and give what `use` makes of it, which may refuse it with PolicyError.

    Raises PolicyError: for the first reason, where nothing of a folder can be used.
    """
    if path is None and trust.keys:
        reason = "is not signed, and policy_public_keys asks for signatures"
        raise PolicyError("the default policy", reason, remedy="name a signed policy with --policy")
    file = file_of(path)
    if not file.is_dir():
        return use(read_served(file, catalogue, trust))
    if trust.keys:
        return use(read_active(Generations(file), catalogue, trust))
    return _last_good(Generations(file), catalogue, use)


def read_served(file: Path, catalogue: Catalogue, trust: Trust, generations: Generations | None = None) -> ServedPolicy:
    """Read a policy file that stands alone, or is to follow what is active in a folder. Raises PolicyError."""
    return _read(file, read_content(file), catalogue, trust, None, generations)


def read_active(generations: Generations, catalogue: Catalogue, trust: Trust) -> ServedPolicy:
    """Read the active generation of a folder. Raises PolicyError."""
    active = generations.active()
    if active is None:
        raise _nothing_active(generations)
    return read_generation(generations, active, catalogue, trust)


def read_generation(generations: Generations, activation: Activation, catalogue: Catalogue, trust: Trust) -> ServedPolicy:
    """Read the generation of an activation. Raises PolicyError."""
    file, content = generations.file(activation), generations.content(activation)
    return _read(file, content, catalogue, trust, activation, generations)


def _signature_of(file: Path) -> bytes | None:
    """Read the signature file beside a policy, None where there is none. Raises PolicyError."""
    beside = Path(f"{file}{SIGNATURE_SUFFIX}")
    try:
        with beside.open("rb") as stream:
            return stream.read(_MAX_SIGNATURE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PolicyError(beside, f"cannot be read: {error.strerror}") from None


def _read(
    file: Path,
    content: bytes,
    catalogue: Catalogue,
    trust: Trust,
    activation: Activation | None,
    generations: Generations | None,
) -> ServedPolicy:
    """Verify, then parse."""
    digest = hashlib.sha256(content).hexdigest()
    beside = _signature_of(file)
    signature = verify_policy(file, content, beside, trust.keys) if trust.keys else None
    policy = parse_policy(file, content, catalogue).policy
    key = None if signature is None else signature.key
    served = ServedPolicy(policy, file, content, beside, digest, key, activation, generations)
    if signature is not None:
        if (signature.name, signature.version) != (policy.header.name, policy.header.version):
            reason = f"is {policy.label}, and its signature is on {signature.name}@{signature.version}"
            raise PolicyError(file, reason, remedy="sign the policy again")
        _refuse_older(served, trust)
    return served


def _refuse_older(served: ServedPolicy, trust: Trust) -> None:
    """Refuse a signed policy below the highest version that has been active, unless a signed permission allows it."""
    version = served.policy.header.version
    known = trust.highest()
    if known is not None and known.version == version and known.sha256 != served.sha256:
        reason = f"is not the version {version} that was served before: its bytes are others"
        raise PolicyError(served.file, reason, remedy="give every change a version of its own, and sign that")
    chain = served.generations.chain() if served.generations is not None else []
    highest = max([*(found.version for found in chain), 0 if known is None else known.version])
    if version >= highest:
        return
    permission = served.activation.permission if served.activation is not None else None
    if permission is not None and permission.highest >= highest:
        header = served.policy.header
        if is_permitted(
            header.name, version, served.sha256, permission.highest, permission.key, permission.signature, trust.keys
        ):
            return
    reason = f"is version {version}, and {highest} has been served: an older policy must not come back unnoticed"
    remedy = "activate it under a higher version, or sign the rollback: regionresolver policy rollback --key KEY"
    raise PolicyError(served.file, reason, remedy=remedy)


def _last_good(generations: Generations, catalogue: Catalogue, use: Callable[[ServedPolicy], T]) -> T:
    """Use the active generation of a folder, or the last one before it that can be used."""
    first: PolicyError | None = None
    try:
        chain = generations.chain()
    except PolicyError as error:
        first, chain = error, generations.remembered()
    if not chain and first is None:
        raise _nothing_active(generations)
    seen: set[int] = set()
    for activation in chain:
        if activation.generation in seen:
            continue
        seen.add(activation.generation)
        try:
            served = read_generation(generations, activation, catalogue, Trust())
            return use(served if first is None else _in_its_place(served, activation, first))
        except PolicyError as error:
            first = first or error
    raise first or _nothing_active(generations)


def _in_its_place(served: ServedPolicy, activation: Activation, broken: PolicyError) -> ServedPolicy:
    """Say of a policy that it is served because a later one can't be."""
    text = (
        f"the active policy cannot be served, and generation {activation.generation} ({activation.label}) is served in its "
        f"place: {broken} [activate a good one, or roll back: regionresolver policy activate, policy rollback]"
    )
    return replace(served, warnings=(text,))


def _nothing_active(generations: Generations) -> PolicyError:
    remedy = "activate one: regionresolver policy activate FILE --dir " + str(generations.folder)
    return PolicyError(generations.folder, "has no active policy", remedy=remedy)
