"""A folder of policy generations: immutable files, a pointer to the active one, and a history of who did what and why.

    000001-5f0c9a….toml      the exact bytes of generation 1; its name holds the beginning of their SHA-256
    000001-5f0c9a….toml.sig  its signature, where it came with one
    active                   one JSON object: the latest activation, which names its generation
    history.ndjson           every event, one JSON object a line; lines are only ever added
    breaker                  one JSON object: the latest trip or reset of the runtime breaker
    lock                     held while something is written

An activation writes the generation, then the new pointer beside the old one, then the line of the history; the rename of
the pointer is what makes it so. Killed before the rename, the old policy is active: a line without its activation is one
that no chain of `previous` leads to, and is not counted; a torn line is no line. Each file is on the disk, and its name
too, before the next step. Reading needs no lock: a generation never changes, and the pointer is the old one or the new.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeVar

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from regionresolver.errors import PolicyError
from regionresolver.policy.breaker import Reset, Trip
from regionresolver.policy.load import read_content

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from regionresolver.policy.model import Policy

POINTER: Final = "active"
HISTORY: Final = "history.ndjson"
BREAKER: Final = "breaker"
LOCK: Final = "lock"
SIGNATURE_SUFFIX: Final = ".sig"
LOCK_TIMEOUT_S: Final = 10.0
_LOCK_POLL_S: Final = 0.02
_DIGEST_DIGITS: Final = 16
_NAME: Final = re.compile(r"(\d{6,})-([0-9a-f]{16})\.(?:toml|json)")
_FILE_MODE: Final = 0o644
_GENERATION_MODE: Final = 0o444
_TEMPORARY: Final = ".new-"
_REMEDY: Final = "make a generation the active one again: regionresolver policy rollback --to NUMBER"


class Record(BaseModel):
    """One line of the history: what happened, in which order, when, by whom and why."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sequence: int
    at: AwareDatetime
    by: str
    reason: str | None = None


class Permission(BaseModel):
    """A signed permission to serve an older policy: of which key, and up to which version it had been."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str
    highest: int
    signature: str


class Replay(BaseModel):
    """What the candidate would have denied newly, counted before it was activated."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    pings: int
    newly_denied: int


class Activation(Record):
    """That a generation was made the active one; `previous` is the sequence of the activation before, None for the first.

    `overridden` are the objections that `--force` passed over. `key` is the id of the key whose signature was verified.
    """

    event: Literal["activate", "rollback"]
    generation: int
    sha256: str
    name: str
    version: int
    previous: int | None = None
    overridden: tuple[str, ...] = ()
    replay: Replay | None = None
    key: str | None = None
    permission: Permission | None = None

    @property
    def label(self) -> str:
        """Answer `name@version`."""
        return f"{self.name}@{self.version}"


class BreakerTripped(Record):
    """That the runtime breaker tripped, while `activation` was served."""

    event: Literal["breaker-tripped"] = "breaker-tripped"
    activation: int
    action: str
    decided: int
    denied: int


class BreakerReset(Record):
    """That somebody reset the runtime breaker."""

    event: Literal["breaker-reset"] = "breaker-reset"
    activation: int


Event = Annotated[Activation | BreakerTripped | BreakerReset, Field(discriminator="event")]
_EVENT: Final[TypeAdapter[Activation | BreakerTripped | BreakerReset]] = TypeAdapter(Event)
_R = TypeVar("_R", bound=Record)


class Generations:
    """The generations of one folder. Instances keep nothing of it: every method reads it anew."""

    def __init__(self, folder: str | Path) -> None:
        """Name the folder; it need not exist before the first activation."""
        self.folder = Path(folder)

    # --- reading

    def active(self) -> Activation | None:
        """Answer the latest activation, None where there never was one. Raises PolicyError for a damaged pointer."""
        found = self._load(POINTER, Activation)
        # A first activation that was killed leaves a line, too; none that was killed has one after it.
        if found is None and any(isinstance(event, Activation) and event.previous is not None for event in self.history()):
            raise PolicyError(self.folder / POINTER, "is missing, and the folder has a history", remedy=_REMEDY)
        return found

    def history(self) -> list[Activation | BreakerTripped | BreakerReset]:
        """Answer every complete line of the history, in order; those of activations that were cut off too."""
        try:
            lines = (self.folder / HISTORY).read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unreadable(self.folder / HISTORY, error) from None
        events = []
        for line in lines:
            with suppress(ValidationError):
                events.append(_EVENT.validate_json(line))
        return events

    def chain(self) -> list[Activation]:
        """Answer every activation that ever held, the latest first. Raises PolicyError for a damaged pointer."""
        active = self.active()
        return [] if active is None else self._chain(active)

    def remembered(self) -> list[Activation]:
        """Answer what `chain` does, from the history alone: what can be told where the pointer is damaged."""
        latest = next((event for event in reversed(self.history()) if isinstance(event, Activation)), None)
        return [] if latest is None else self._chain(latest)

    def file(self, activation: Activation) -> Path:
        """Answer the file of an activation's generation. Raises PolicyError when it is gone."""
        file = self.files().get(activation.generation)
        if file is None:
            raise PolicyError(self.folder, f"generation {activation.generation} ({activation.label}) is gone")
        return file

    def content(self, activation: Activation) -> bytes:
        """Answer the exact bytes that were activated. Raises PolicyError when they are gone or have been altered."""
        file = self.file(activation)
        content = read_content(file)
        if hashlib.sha256(content).hexdigest() != activation.sha256:
            raise PolicyError(file, "has been altered since it was activated: its SHA-256 is another")
        return content

    def files(self) -> dict[int, Path]:
        """Answer the files of all generations by number, those that were never active too."""
        try:
            names = sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise _unreadable(self.folder, error) from None
        return {int(match[1]): self.folder / name for name in names if (match := _NAME.fullmatch(name)) is not None}

    def breaker_mark(self, activation: Activation) -> Trip | Reset | None:
        """Answer the latest trip or reset of the breaker while this activation was served, None without."""
        try:
            mark = _EVENT.validate_json((self.folder / BREAKER).read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(self.folder / BREAKER, error) from None
        except ValidationError:
            remedy = "reset the breaker: regionresolver policy breaker reset"
            raise PolicyError(self.folder / BREAKER, "is damaged", remedy=remedy) from None
        if isinstance(mark, Activation) or mark.activation != activation.sequence:
            return None
        if isinstance(mark, BreakerTripped):
            return Trip(mark.at, mark.action, mark.decided, mark.denied)
        return Reset(mark.at, mark.by, mark.reason or "")

    # --- writing

    def activate(
        self,
        content: bytes,
        policy: Policy,
        *,
        replaces: Activation | None,
        at: dt.datetime,
        by: str,
        reason: str | None = None,
        overridden: tuple[str, ...] = (),
        replay: Replay | None = None,
        signature: bytes | None = None,
        key: str | None = None,
    ) -> Activation:
        """Make a new generation of these bytes, and make it the active one.

        The caller has read `policy` from them and has found nothing against it, `replaces` being active. Raises
        PolicyError, and changes nothing, when another activation came first, or something cannot be written.
        """
        suffix = ".json" if content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else ".toml"
        digest = hashlib.sha256(content).hexdigest()
        with self._writing(replaces) as undo:
            number = 1 + max([*self.files(), *(found.generation for found in self.remembered())], default=0)
            file = self.folder / f"{number:06}-{digest[:_DIGEST_DIGITS]}{suffix}"
            if signature is not None:
                self._create(undo, file.with_name(file.name + SIGNATURE_SUFFIX), signature, _GENERATION_MODE)
            self._create(undo, file, content, _GENERATION_MODE)
            activation = Activation(
                sequence=self._next_sequence(replaces),
                at=at,
                by=by,
                reason=reason,
                event="activate",
                generation=number,
                sha256=digest,
                name=policy.header.name,
                version=policy.header.version,
                previous=None if replaces is None else replaces.sequence,
                overridden=overridden,
                replay=replay,
                key=key,
            )
            self._append(undo, activation)
            self._replace(undo, POINTER, activation)
        return activation

    def roll_back(
        self,
        to: Activation,
        *,
        replaces: Activation | None,
        at: dt.datetime,
        by: str,
        reason: str,
        key: str | None = None,
        permission: Permission | None = None,
    ) -> Activation:
        """Make the generation of an earlier activation the active one again. Raises PolicyError as `activate` does.

        `replaces` is None where the pointer is damaged: a rollback mends it.
        """
        with self._writing(replaces) as undo:
            before = self.remembered() if replaces is None else [replaces]
            changes = {
                "sequence": self._next_sequence(replaces),
                "at": at,
                "by": by,
                "reason": reason,
                "event": "rollback",
                "previous": before[0].sequence if before else None,
                "overridden": (),
                "replay": None,
                "key": key,
                "permission": permission,
            }
            activation = to.model_copy(update=changes)
            self._append(undo, activation)
            self._replace(undo, POINTER, activation)
        return activation

    def mark_trip(self, activation: Activation, trip: Trip, by: str) -> None:
        """Keep that the breaker has tripped while an activation is served. Raises PolicyError."""
        with self._writing(activation) as undo:
            event = BreakerTripped(
                sequence=self._next_sequence(activation),
                at=trip.at,
                by=by,
                activation=activation.sequence,
                action=trip.action,
                decided=trip.decided,
                denied=trip.denied,
            )
            self._append(undo, event)
            self._replace(undo, BREAKER, event)

    def reset_breaker(self, *, at: dt.datetime, by: str, reason: str) -> BreakerReset:
        """Keep that the breaker is to be reset; a service that serves this folder does so. Raises PolicyError."""
        active = self.active()
        if active is None:
            raise PolicyError(self.folder, "has no active policy", remedy="activate one: regionresolver policy activate")
        with self._writing(active) as undo:
            event = BreakerReset(sequence=self._next_sequence(active), at=at, by=by, reason=reason, activation=active.sequence)
            self._append(undo, event)
            self._replace(undo, BREAKER, event)
        return event

    # --- beneath

    def _chain(self, latest: Activation) -> list[Activation]:
        """Follow `previous` through the history."""
        known = {event.sequence: event for event in self.history() if isinstance(event, Activation)}
        chain = [latest]
        while (previous := chain[-1].previous) is not None and previous in known and previous < chain[-1].sequence:
            chain.append(known[previous])
        return chain

    def _load(self, name: str, kind: type[_R]) -> _R | None:
        try:
            return kind.model_validate_json((self.folder / name).read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(self.folder / name, error) from None
        except ValidationError:
            raise PolicyError(self.folder / name, "is damaged", remedy=_REMEDY) from None

    def _next_sequence(self, active: Activation | None) -> int:
        used = [event.sequence for event in self.history()]
        return 1 + max([*used, active.sequence if active is not None else 0], default=0)

    @contextmanager
    def _writing(self, replaces: Activation | None) -> Iterator[ExitStack]:
        """Hold the lock while the context lasts; what it has pushed is done when it fails, and then nothing has changed."""
        try:
            if not self.folder.is_dir():
                self.folder.mkdir()
                _sync(self.folder.absolute().parent)
            with self._locked():
                self._refuse_overtaken(replaces)
                self._sweep()
                with ExitStack() as undo:
                    yield undo
        except OSError as error:
            reason = f"cannot be written: {error.strerror}"
            remedy = "nothing has changed; check the disk, the folder and its owner, then run it again"
            raise PolicyError(self.folder, reason, remedy=remedy) from None

    def _refuse_overtaken(self, replaces: Activation | None) -> None:
        """Refuse to go on where the checks were made against a policy that is not active any more."""
        try:
            active = self._load(POINTER, Activation)
        except PolicyError:
            active = None  # a rollback may mend a damaged pointer
        if (active and active.sequence) != (replaces and replaces.sequence):
            reason = "another policy was activated while this command ran"
            raise PolicyError(self.folder, reason, remedy="nothing has changed; look at it, then run the command again")

    def _sweep(self) -> None:
        """Take away what a writer left that was killed; under the lock it is nobody's."""
        for name in os.listdir(self.folder):
            if name.startswith(_TEMPORARY):
                os.unlink(self.folder / name)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder's lock. The kernel lets go of it when its holder dies."""
        descriptor = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
        try:
            deadline_s = time.monotonic() + LOCK_TIMEOUT_S
            while not _try_lock(descriptor):
                if time.monotonic() > deadline_s:
                    remedy = "nothing has changed; run it again when the other command has ended"
                    raise PolicyError(self.folder, "another command is writing to it", remedy=remedy)
                time.sleep(_LOCK_POLL_S)
            yield
        finally:
            os.close(descriptor)

    def _create(self, undo: ExitStack, file: Path, content: bytes, mode: int) -> None:
        """Write a file that nobody has, onto the disk, with its name."""
        temporary = self._temporary(undo, content, mode)
        os.replace(temporary, file)
        undo.callback(_remove, file)
        _sync(self.folder)

    def _replace(self, undo: ExitStack, name: str, record: Record) -> None:
        """Give a file a new content at once: the last step, with which everything before it holds."""
        temporary = self._temporary(undo, _line(record), _FILE_MODE)
        # From here on an interrupt undoes nothing: what came before is harmless without the rename, and needed with it.
        steps = undo.pop_all()
        try:
            os.replace(temporary, self.folder / name)
        except OSError:
            steps.close()
            raise
        try:
            _sync(self.folder)
        except OSError as error:
            reason = f"is written, but may not outlast a power cut: {error.strerror}"
            raise PolicyError(self.folder / name, reason, remedy="it holds from now on; check the disk") from None

    def _temporary(self, undo: ExitStack, content: bytes, mode: int) -> Path:
        file = self.folder / f"{_TEMPORARY}{os.getpid()}"
        undo.callback(_remove, file)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
        try:
            _write(descriptor, content)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return file

    def _append(self, undo: ExitStack, record: Record) -> None:
        """Add a line to the history, onto the disk; a line that a kill has torn is ended first."""
        descriptor = os.open(self.folder / HISTORY, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _FILE_MODE)
        try:
            size = os.fstat(descriptor).st_size
            undo.callback(_shorten, self.folder / HISTORY, size)
            is_torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            _write(descriptor, b"\n" * is_torn + _line(record))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class FolderMarks:
    """The marks of the breaker in a folder, for the activation that a service serves from it."""

    def __init__(self, generations: Generations, activation: Activation) -> None:
        """Name the folder and the activation."""
        self._generations, self._activation = generations, activation

    def read(self) -> Trip | Reset | None:
        """Answer the latest trip or reset of this activation. Raises PolicyError."""
        return self._generations.breaker_mark(self._activation)

    def write(self, trip: Trip) -> None:
        """Keep a trip. Raises PolicyError."""
        self._generations.mark_trip(self._activation, trip, by=f"service, process {os.getpid()}")


def _line(record: Record) -> bytes:
    """Write a record as one line of JSON."""
    return orjson.dumps(record.model_dump(mode="json", exclude_none=True), option=orjson.OPT_APPEND_NEWLINE)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _remove(file: Path) -> None:
    with suppress(OSError):
        os.unlink(file)


def _shorten(file: Path, size: int) -> None:
    """Take back a line that was added a moment ago, under the same lock."""
    with suppress(OSError):
        os.truncate(file, size)


def _sync(folder: Path) -> None:
    """Put names onto the disk: without this a power cut may bring the old ones back."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unreadable(file: Path, error: OSError) -> PolicyError:
    remedy = "check the path, and that this user may read it"
    return PolicyError(file, f"cannot be read: {error.strerror}", remedy=remedy)
