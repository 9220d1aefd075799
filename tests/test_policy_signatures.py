"""Signed policies: what is unsigned, stripped, altered or older is refused, at the start and at every load."""

from __future__ import annotations

import base64
import json
import os
import signal
import stat
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regionresolver import Resolver
from regionresolver.errors import PolicyError, SettingsError
from regionresolver.policy.generations import Activation, Generations, Permission
from regionresolver.policy.served import Trust
from regionresolver.policy.signatures import (
    generate_key,
    is_permitted,
    permit_rollback,
    private_key,
    public_key,
    sign_policy,
    verify_policy,
)
from tests.generation_folders import parsed, text, write
from tests.policies import NOON
from tests.serve_process import serve
from tests.worlds import city_database

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("cryptography", reason="the extra 'signing' is not installed")


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return city_database(tmp_path_factory.mktemp("city") / "city.mmdb")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "policy.key"
    generate_key(file)
    return file


@pytest.fixture(scope="module")
def other_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "other.key"
    generate_key(file)
    return file


def public(key: Path) -> str:
    return f"{key}.pub"


def sign(file: Path, key: Path) -> Path:
    content = file.read_bytes()
    policy = parsed(content, file)
    signature = sign_policy(content, policy.header.name, policy.header.version, private_key(key))
    file.with_name(file.name + ".sig").write_bytes(signature)
    return file


def signed_activation(generations: Generations, version: int, key: Path, *, name: str = "test") -> Activation:
    content = text(version, name=name).encode()
    return generations.activate(
        content,
        parsed(content, generations.folder / "p.toml"),
        replaces=generations.active(),
        at=NOON,
        by="ana",
        signature=sign_policy(content, name, version, private_key(key)),
    )


def served(city: Path, policy: Path | None, *keys: Path, state: Path | None = None) -> str:
    """Start on a policy, ask once, and answer which policy decided."""
    with Resolver.open(city, policy, policy_public_keys=[public(key) for key in keys], policy_state=state) as resolver:
        return resolver.decide(serving="36801").policy


# --- keys


def test_a_key_is_for_its_owner_and_never_replaced(tmp_path: Path) -> None:
    made = generate_key(tmp_path / "policy.key")
    assert stat.S_IMODE((tmp_path / "policy.key").stat().st_mode) == 0o600
    assert public_key(tmp_path / "policy.key.pub").id == public_key(made.text).id == made.id
    before = (tmp_path / "policy.key").read_bytes()
    with pytest.raises(SettingsError, match="exists already, and a key is never replaced"):
        generate_key(tmp_path / "policy.key")
    (tmp_path / "policy.key").unlink()
    with pytest.raises(SettingsError, match=r"policy\.key\.pub: exists already"):
        generate_key(tmp_path / "policy.key")
    assert not (tmp_path / "policy.key").exists(), "no half of a pair is left"
    assert before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no public Ed25519 key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "is no public Ed25519 key"),
        (None, "the key cannot be read: No such file"),
    ],
)
def test_what_is_no_public_key_is_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=words):
        public_key(file)


def test_keys_of_another_kind_are_refused(tmp_path: Path, key: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import x25519

    other = x25519.X25519PrivateKey.generate()
    pem = serialization.Encoding.PEM
    (tmp_path / "x").write_bytes(other.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    (tmp_path / "x.pub").write_bytes(other.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(SettingsError, match="is no private Ed25519 key"):
        private_key(tmp_path / "x")
    with pytest.raises(SettingsError, match="is no public Ed25519 key"):
        public_key(tmp_path / "x.pub")
    with pytest.raises(SettingsError, match="is no private Ed25519 key"):
        private_key(public(key))
    encrypted = private_key(key).private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    (tmp_path / "encrypted").write_bytes(encrypted)
    with pytest.raises(SettingsError, match="the key is encrypted; decrypt it"):
        private_key(tmp_path / "encrypted")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, key: Path) -> None:
    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(SettingsError, match=r"pip install 'regionresolver\[signing\]'"):
        Trust.of([public(key)])


# --- a file


def test_a_signed_policy_is_served_and_its_key_is_named(city: Path, tmp_path: Path, key: Path, other_key: Path) -> None:
    file = sign(write(tmp_path / "p.toml", 1), key)
    with Resolver.open(city, file, policy_public_keys=[public(other_key), public_key(public(key)).text]) as resolver:
        origin = resolver.policy_document()["origin"]
    assert isinstance(origin, dict)
    assert origin["key"] == public_key(public(key)).id


def strip(file: Path) -> None:
    file.with_name(file.name + ".sig").unlink()


def alter_policy(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b'"deny"', b'"allow"'))


def alter_one_blank(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\n")


def alter_signature(file: Path) -> None:
    beside = file.with_name(file.name + ".sig")
    document = json.loads(beside.read_bytes())
    raw = bytearray(base64.b64decode(document["signature"]))
    raw[10] ^= 1
    beside.write_text(json.dumps(document | {"signature": base64.b64encode(raw).decode()}))


def claim_another_version(file: Path) -> None:
    beside = file.with_name(file.name + ".sig")
    beside.write_text(json.dumps(json.loads(beside.read_bytes()) | {"version": 9}))


def spoil_signature(file: Path) -> None:
    file.with_name(file.name + ".sig").write_bytes(b"garbage")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (strip, r"is not signed, and only signed policies are accepted here \(sign it: regionresolver policy sign p.toml"),
        (alter_policy, "does not fit its signature: the policy or the signature was altered"),
        (alter_one_blank, "does not fit its signature"),
        (alter_signature, "does not fit its signature"),
        (claim_another_version, "does not fit its signature"),
        (spoil_signature, "is no signature of a policy"),
    ],
)
def test_what_is_not_as_signed_is_refused(city: Path, tmp_path: Path, key: Path, change: object, words: str) -> None:
    file = sign(write(tmp_path / "p.toml", 1), key)
    assert callable(change)
    change(file)
    with pytest.raises(PolicyError, match=words):
        served(city, file, key)
    if change is not alter_policy:
        assert served(city, file) == "test@1", "without keys nobody asks"


def test_a_key_that_is_not_accepted_is_refused(city: Path, tmp_path: Path, key: Path, other_key: Path) -> None:
    file = sign(write(tmp_path / "p.toml", 1), other_key)
    with pytest.raises(PolicyError, match="which is not among the 1 accepted here"):
        served(city, file, key)


def test_a_signature_with_another_id_does_not_help(city: Path, tmp_path: Path, key: Path, other_key: Path) -> None:
    """An attacker signs with a key of theirs, and writes the id of an accepted one."""
    file = sign(write(tmp_path / "p.toml", 1), other_key)
    beside = file.with_name(file.name + ".sig")
    beside.write_text(json.dumps(json.loads(beside.read_bytes()) | {"key": public_key(public(key)).id}))
    with pytest.raises(PolicyError, match="does not fit its signature"):
        served(city, file, key)


def test_the_shipped_default_is_refused_where_keys_are_set(city: Path, key: Path) -> None:
    with pytest.raises(PolicyError, match="the default policy: is not signed"):
        served(city, None, key)


def test_a_state_without_keys_is_a_mistake(city: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="policy_public_keys names no key"):
        served(city, None, state=tmp_path / "state")


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_no_bytes_beside_a_policy_are_taken_for_a_signature(signature: bytes) -> None:
    with pytest.raises(PolicyError):
        verify_policy("p.toml", text(1).encode(), signature, [])


def test_a_signature_is_on_a_policy_and_a_permission_on_a_rollback(key: Path) -> None:
    """The bytes that are signed for one can never be those of the other, whatever stands in the file."""
    secret, trusted = private_key(key), [public_key(public(key))]
    content = b"regionresolver policy rollback v1\ntest\n1\nabc\n2\n"
    signature = json.loads(sign_policy(content, "test", 1, secret))
    assert not is_permitted("test", 1, "abc", 2, signature["key"], signature["signature"], trusted)
    key_id, permission = permit_rollback("test", 1, "abc", 2, secret)
    assert is_permitted("test", 1, "abc", 2, key_id, permission, trusted)
    for changed in (("other", 1, "abc", 2), ("test", 2, "abc", 2), ("test", 1, "abd", 2), ("test", 1, "abc", 3)):
        assert not is_permitted(*changed, key_id, permission, trusted)


# --- older


def test_an_older_file_is_refused_after_a_restart(city: Path, tmp_path: Path, key: Path) -> None:
    state = tmp_path / "state"
    old, new = sign(write(tmp_path / "old.toml", 1), key), sign(write(tmp_path / "new.toml", 2), key)
    assert served(city, old, key, state=state) == "test@1"
    assert served(city, new, key, state=state) == "test@2"
    with pytest.raises(PolicyError, match="is version 1, and 2 has been served: an older policy must not come back"):
        served(city, old, key, state=state)
    assert served(city, new, key, state=state) == "test@2"


def test_another_name_is_no_way_around(city: Path, tmp_path: Path, key: Path) -> None:
    state = tmp_path / "state"
    assert served(city, sign(write(tmp_path / "a.toml", 2), key), key, state=state) == "test@2"
    other = sign(write(tmp_path / "b.toml", 1, effect="allow", name="observe"), key)
    with pytest.raises(PolicyError, match="is version 1, and 2 has been served"):
        served(city, other, key, state=state)


def test_two_policies_of_one_version_are_told_apart(city: Path, tmp_path: Path, key: Path) -> None:
    state = tmp_path / "state"
    served(city, sign(write(tmp_path / "a.toml", 2), key), key, state=state)
    with pytest.raises(PolicyError, match="is not the version 2 that was served before"):
        served(city, sign(write(tmp_path / "b.toml", 2, effect="allow"), key), key, state=state)


def test_what_is_refused_does_not_raise_the_mark(city: Path, tmp_path: Path, key: Path) -> None:
    state = tmp_path / "state"
    good = sign(write(tmp_path / "good.toml", 1), key)
    served(city, good, key, state=state)
    wrong = '[[tests]]\nname = "no"\nat = 2026-01-01T00:00:00Z\nping = { serving = "36801" }\nexpect = { decision = "allow" }\n'
    with pytest.raises(PolicyError, match="'no'"):
        served(city, sign(write(tmp_path / "bad.toml", 9, more=wrong), key), key, state=state)
    assert served(city, good, key, state=state) == "test@1"


@pytest.mark.parametrize(("content", "words"), [(b"{", "is damaged"), (b'{"version": "x"}', "is damaged")])
def test_a_damaged_state_fails_closed(city: Path, tmp_path: Path, key: Path, content: bytes, words: str) -> None:
    state = tmp_path / "state"
    state.write_bytes(content)
    with pytest.raises(PolicyError, match=words):
        served(city, sign(write(tmp_path / "p.toml", 1), key), key, state=state)


def test_a_state_that_cannot_be_written_fails_closed(city: Path, tmp_path: Path, key: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be written: No such file or directory"):
        served(city, sign(write(tmp_path / "p.toml", 1), key), key, state=tmp_path / "missing" / "state")


# --- a folder


@pytest.fixture
def generations(tmp_path: Path, key: Path) -> Generations:
    """Two signed generations, the second active."""
    made = Generations(tmp_path / "policies")
    signed_activation(made, 1, key)
    signed_activation(made, 2, key)
    return made


def test_a_signed_folder_is_served(city: Path, generations: Generations, key: Path) -> None:
    assert served(city, generations.folder, key) == "test@2"


def test_there_is_no_falling_back_where_signatures_are_asked_for(city: Path, generations: Generations, key: Path) -> None:
    """Whoever can damage the newest generation must not thereby bring an older one back."""
    generations.files()[2].unlink()
    with pytest.raises(PolicyError, match=r"generation 2 \(test@2\) is gone"):
        served(city, generations.folder, key)
    assert served(city, generations.folder) == "test@1"


def test_a_stripped_generation_is_refused(city: Path, generations: Generations, key: Path) -> None:
    file = generations.files()[2]
    file.with_name(file.name + ".sig").unlink()
    with pytest.raises(PolicyError, match="is not signed"):
        served(city, generations.folder, key)


def first_of(generations: Generations) -> Activation:
    return generations.chain()[-1]


def test_a_pointer_that_is_turned_back_is_refused(city: Path, generations: Generations, key: Path) -> None:
    old = first_of(generations).model_copy(update={"sequence": 3, "previous": 2})
    (generations.folder / "active").write_text(old.model_dump_json(exclude_none=True))
    with pytest.raises(PolicyError, match="is version 1, and 2 has been served"):
        served(city, generations.folder, key)


def test_a_folder_that_is_turned_back_whole_is_refused_by_the_state(
    city: Path, generations: Generations, key: Path, tmp_path: Path
) -> None:
    """Pointer, history and files as they once were: nothing in the folder tells, the state does."""
    state = tmp_path / "state"
    assert served(city, generations.folder, key, state=state) == "test@2"
    first = first_of(generations)
    (generations.folder / "active").write_text(first.model_dump_json(exclude_none=True))
    (generations.folder / "history.ndjson").write_text(first.model_dump_json(exclude_none=True) + "\n")
    generations.files()[2].unlink()
    assert served(city, generations.folder, key) == "test@1"
    with pytest.raises(PolicyError, match="is version 1, and 2 has been served"):
        served(city, generations.folder, key, state=state)


def permission(generations: Generations, key: Path, *, highest: int = 2) -> Permission:
    old = first_of(generations)
    key_id, signature = permit_rollback(old.name, old.version, old.sha256, highest, private_key(key))
    return Permission(key=key_id, highest=highest, signature=signature)


def test_a_signed_rollback_is_served_until_a_higher_version_was(
    city: Path, generations: Generations, key: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    assert served(city, generations.folder, key, state=state) == "test@2"
    back = generations.roll_back(
        first_of(generations),
        replaces=generations.active(),
        at=NOON,
        by="ana",
        reason="denies too many",
        permission=permission(generations, key),
    )
    for _ in range(2):
        assert served(city, generations.folder, key, state=state) == "test@1"
    signed_activation(generations, 3, key)
    assert served(city, generations.folder, key, state=state) == "test@3"
    (generations.folder / "active").write_text(back.model_dump_json(exclude_none=True))
    with pytest.raises(PolicyError, match="is version 1, and 3 has been served"):
        served(city, generations.folder, key, state=state)


def test_a_permission_by_another_key_or_for_less_is_none(
    city: Path, generations: Generations, key: Path, other_key: Path
) -> None:
    for worthless in (permission(generations, other_key), permission(generations, key, highest=1), None):
        generations.roll_back(
            first_of(generations),
            replaces=generations.active(),
            at=NOON,
            by="ana",
            reason="denies too many",
            permission=worthless,
        )
        with pytest.raises(PolicyError, match="is version 1, and 2 has been served"):
            served(city, generations.folder, key)


async def test_a_version_is_remembered_when_it_is_served_not_when_refused(city: Path, tmp_path: Path, key: Path) -> None:
    """A canary of the service refuses the second version, which is not remembered before it lets it pass."""
    file, state, canaries = sign(write(tmp_path / "p.toml", 1), key), tmp_path / "state", tmp_path / "canaries.toml"
    canaries.write_text('[[canary]]\nip = "84.0.1.1"\nregion = "CU"\n')
    options = ("--policy", str(file), "--policy-public-keys", public(key), "--policy-state", str(state))
    with serve("--db", str(city), "--workers", "1", "--canaries", str(canaries), *options) as running:
        assert json.loads(state.read_bytes())["version"] == 1
        canaries.write_text('[[canary]]\nip = "84.0.1.1"\nregion = "ES"\n')
        sign(write(file, 2), key)
        os.kill(running.process.pid, signal.SIGHUP)
        await running.until("reload_failed")
        assert json.loads(state.read_bytes())["version"] == 1
        canaries.write_text('[[canary]]\nip = "84.0.1.1"\nregion = "CU"\n')
        os.kill(running.process.pid, signal.SIGHUP)
        await running.until("reloaded")
        assert json.loads(state.read_bytes())["version"] == 2


async def test_a_version_that_cannot_be_remembered_is_not_served(city: Path, tmp_path: Path, key: Path) -> None:
    folder = tmp_path / "states"
    folder.mkdir()
    file, state = sign(write(tmp_path / "p.toml", 1), key), folder / "state"
    options = ("--policy", str(file), "--policy-public-keys", public(key), "--policy-state", str(state))
    with serve("--db", str(city), "--workers", "1", *options) as running:
        (folder / "state").unlink()
        folder.rmdir()
        sign(write(file, 2), key)
        os.kill(running.process.pid, signal.SIGHUP)
        failed = await running.until("reload_failed")
        assert "let the service write there" in str(failed)
