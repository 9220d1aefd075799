"""One tree of errors: each knows its code, its HTTP status and what to do about it.

Messages name file, field and remedy. They never hold an IMSI, a whole address or other bytes of the input.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Longer than a date, and no longer than the subscriber's part of an IMSI.
_SUBSCRIBER: Final = re.compile(r"[0-9]{9,}")


class RegionResolverError(Exception):
    """Base of every error that this package raises on purpose."""

    code: ClassVar[str] = "INTERNAL"
    status: ClassVar[int] = 500


class FileError(RegionResolverError):
    """A file that was asked for cannot be used: it says which file, where in it, why, and the remedy."""

    def __init__(self, file: str | Path, reason: str, *, where: str = "", remedy: str = "") -> None:
        """Keep the parts; the message is `file: where: reason (remedy)`, without the parts that are empty."""
        self.file = str(file)
        self.reason = reason
        self.where = where
        self.remedy = remedy
        super().__init__(": ".join(part for part in (self.file, where, reason) if part) + (f" ({remedy})" if remedy else ""))


class DatabaseError(FileError):
    """An IP database is missing, unreadable, not a MaxMind DB, corrupt, or of a record shape that is not known."""

    code = "DATABASE_INVALID"


class ImageError(FileError):
    """An index image is damaged, truncated, foreign or of another version."""

    code = "IMAGE_INVALID"


class WrittenFileError(FileError):
    """A file that a person wrote: what it repeats of the file is without numbers that may be an IMSI in a wrong place."""

    def __init__(self, file: str | Path, reason: str, *, where: str = "", remedy: str = "") -> None:
        """Keep the parts, without such numbers."""
        reason, where, remedy = (_SUBSCRIBER.sub("[digits]", part) for part in (reason, where, remedy))
        super().__init__(file, reason, where=where, remedy=remedy)


class CatalogueError(WrittenFileError):
    """The region catalogue or the PLMN table does not say what it must."""

    code = "CATALOGUE_INVALID"


class PolicyError(WrittenFileError):
    """A policy file does not parse, does not fit the model, or fails its own lint or tests."""

    code = "POLICY_INVALID"

    def __init__(
        self, file: str | Path, reason: str, *, where: str = "", remedy: str = "", others: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Keep the parts; `others` are further problems of the same file, each as (where, reason)."""
        self.others = tuple(others)
        super().__init__(file, reason, where=where, remedy=remedy)


class CanaryError(WrittenFileError):
    """A generation does not answer a canary as its file expects, or the file cannot be read."""

    code = "CANARY_FAILED"


class GenerationError(RegionResolverError):
    """A generation is sound, and must not be served: it is too old, or knows much less than the one that is."""

    code = "GENERATION_REFUSED"


class SettingsError(RegionResolverError):
    """A flag, an environment variable or the settings file holds a value that cannot be used."""

    code = "SETTINGS_INVALID"


class ServeError(RegionResolverError):
    """The service cannot start: the port is in use, or may not be bound."""

    code = "CANNOT_SERVE"


class PingError(RegionResolverError):
    """A ping that cannot be answered. `pointer` is a JSON pointer (RFC 6901) to the field, "" for the whole ping."""

    code = "BAD_REQUEST"
    status = 400
    title: ClassVar[str] = "The request cannot be understood"

    def __init__(self, detail: str, pointer: str = "") -> None:
        """Keep `detail` (what is wrong, without the input's bytes) and `pointer`."""
        self.detail = detail
        self.pointer = pointer
        super().__init__(detail)


class RecordError(PingError):
    """A line of a decision log cannot be read as a decision. The message names the member, and quotes nothing of it."""

    code = "RECORD_INVALID"
    title = "The line is no decision of a decision log"


class NoSignalError(PingError):
    """A ping without `ip`, `serving` and `sim`."""

    code = "NO_SIGNAL"
    status = 422
    title = "A ping needs at least one signal"


class PlmnNotStringError(PingError):
    """A PLMN given as a JSON number: 01 and 001 differ, and a number has lost its zeros."""

    code = "PLMN_NOT_STRING"
    status = 422
    title = "A PLMN must be a string of digits"


class InvalidAddressError(PingError):
    """Text that is no IPv4 or IPv6 address, where an invalid one is refused (`strict`)."""

    code = "IP_INVALID"
    status = 422
    title = "Not an IP address"


class InvalidPlmnError(PingError):
    """Text that is no PLMN (or, for a SIM, no IMSI), where an invalid one is refused (`strict`)."""

    code = "PLMN_INVALID"
    status = 422
    title = "Not a PLMN"


class LoadError(RegionResolverError):
    """A load test that cannot be run: its plan, its files or its target cannot be used."""

    code = "LOAD_INVALID"


class UnreachableError(RegionResolverError):
    """Nobody answers where a load test was to go."""

    code = "TARGET_UNREACHABLE"
