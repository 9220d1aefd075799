"""Read TOML tables of facts: the region catalogue and the PLMN table that ship with the package, an operator's own.

In: a path, or the name of a shipped file. Out: `Row`, which hands out the values of one TOML table by key and type.
Every fault is a `CatalogueError` with the file, the place in it ("line 12, overrides.rows[3].regions") and a remedy.
A key that nobody asked for is a fault too: a misspelt optional key would else be a fact that is silently lost.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from regionresolver.errors import CatalogueError
from regionresolver.sources.locate import Path as Keys
from regionresolver.sources.locate import dotted, line_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


@dataclass(frozen=True, slots=True)
class Source:
    """Where a fact comes from: the key that rows name, a title, and the date of that edition."""

    key: str
    title: str
    date: dt.date


def did_you_mean(word: str, words: Collection[str], otherwise: str) -> str:
    """Return the remedy for a word that is not one of `words`: the nearest of them, or `otherwise`."""
    near = get_close_matches(word, words, n=1)
    return f"did you mean {near[0]}?" if near else otherwise


class Row:
    """One TOML table under reading: each getter takes a key, checks the type of its value, and marks it as read."""

    def __init__(self, file: str, path: Keys, content: Mapping[str, object], text: str) -> None:
        """Wrap `content`, found at `path` (empty: the whole file) in `file`, whose text is `text`."""
        self.file = file
        self.path = path
        self._content = content
        self._text = text
        self._asked: set[str] = set()

    def fault(self, key: str, reason: str, remedy: str) -> CatalogueError:
        """Return the error for the value of `key` ("" is the row itself)."""
        return self.fault_at((*self.path, key) if key else self.path, reason, remedy)

    def fault_at(self, path: Keys, reason: str, remedy: str, value: object = None) -> CatalogueError:
        """Return the error for the value at any path of the file; `value`, what stands there, helps to find its line."""
        line = line_of(self._text, path, value) if path else None
        where = ", ".join(part for part in (f"line {line}" if line else "", dotted(path)) if part)
        return CatalogueError(self.file, reason, where=where, remedy=remedy)

    def has(self, key: str) -> bool:
        """Tell whether `key` is given, and mark it as a key that may be."""
        self._asked.add(key)
        return key in self._content

    def text(self, key: str) -> str:
        """Return a text that must be there and not be empty."""
        value = self._get(key)
        if not isinstance(value, str) or not value:
            raise self.fault(key, "must be a text", f'write {key} = "..."')
        return value

    def optional_text(self, key: str) -> str | None:
        """Return a text, None when the key is not given."""
        return self.text(key) if self.has(key) else None

    def texts(self, key: str, *, required: bool = False) -> tuple[str, ...]:
        """Return an array of texts, each once; () when it is not given and not required."""
        if not required and not self.has(key):
            return ()
        value = self._get(key)
        if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
            raise self.fault(key, "must be an array of texts", f'write {key} = ["...", "..."]')
        if len(set(value)) != len(value):
            raise self.fault(key, "names something twice", "delete one of them")
        return tuple(value)

    def words(self, key: str) -> tuple[str, ...]:
        """Return one text, or an array of texts, each once."""
        return (self.text(key),) if isinstance(self._get(key), str) else self.texts(key, required=True)

    def flag(self, key: str) -> bool:
        """Return true or false; False when it is not given."""
        if not self.has(key):
            return False
        value = self._get(key)
        if not isinstance(value, bool):
            raise self.fault(key, "must be true or false", f"write {key} = true, or delete it")
        return value

    def share(self, key: str) -> float:
        """Return a number above 0 and at most 1."""
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
            raise self.fault(key, "must be a number above 0 and at most 1", f"write {key} = 0.95")
        return float(value)

    def date(self, key: str) -> dt.date:
        """Return a date without a time."""
        value = self._get(key)
        if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
            raise self.fault(key, "must be a date", f"write {key} = 2026-06-17, without quotes")
        return value

    def end(self, key: str) -> dt.datetime | None:
        """Return an instant in UTC, None for the word "never"; a date is its first instant in UTC."""
        value = self._get(key)
        if value == "never":
            return None
        if isinstance(value, dt.datetime) and value.tzinfo is not None:
            try:
                return value.astimezone(dt.UTC)
            except OverflowError:
                raise self.fault(key, "is before the year 1 or behind the year 9999", f'write {key} = "never"') from None
        if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
            return dt.datetime.combine(value, dt.time(), dt.UTC)
        reason = "has no time zone" if isinstance(value, dt.datetime) else 'must be a date, an instant or "never"'
        raise self.fault(key, reason, f'write {key} = 2027-06-30, {key} = 2027-06-30T12:00:00Z or {key} = "never"')

    def table(self, key: str) -> Row:
        """Return the table under `key`."""
        return self._row((key,), self._get(key))

    def names(self) -> list[str]:
        """Return the keys of a table whose keys are names, in the order of the file."""
        return list(self._content)

    def rows(self, key: str) -> list[Row]:
        """Return the array of tables under `key`, which must have one at least."""
        value = self._get(key)
        if not isinstance(value, list) or not value:
            raise self.fault(key, "must be an array of tables with one row at least", f"write {key} = [{{ ... }}, ...]")
        return [self._row((key, number), item) for number, item in enumerate(value)]

    def optional_rows(self, key: str) -> list[Row]:
        """Return the array of tables under `key`, [] when it is not given."""
        return self.rows(key) if self.has(key) else []

    def finish(self) -> None:
        """Refuse the keys that no getter has asked for."""
        for key in self._content.keys() - self._asked:
            raise self.fault(key, "is not a key of this table", did_you_mean(key, sorted(self._asked), "delete it"))

    def _get(self, key: str) -> object:
        if not self.has(key):
            raise self.fault(key, "is missing", f"give {key}")
        return self._content[key]

    def _row(self, steps: Keys, value: object) -> Row:
        path = (*self.path, *steps)
        if not isinstance(value, dict):
            raise self.fault_at(path, "must be a table", "write { key = value, ... }")
        return Row(self.file, path, value, self._text)


def read_table(path: str | Path | None, shipped: str) -> tuple[Row, str]:
    """Read a TOML file, or the `shipped` one of this package when `path` is None: (the whole file, its SHA-256 in hex).

    Raises CatalogueError when it cannot be read or is no TOML.
    """
    file = shipped if path is None else str(path)
    place = resources.files("regionresolver.data").joinpath(shipped) if path is None else Path(path)
    try:
        content = place.read_bytes()
        text = content.decode("utf-8-sig")
        return Row(file, (), tomllib.loads(text), text), hashlib.sha256(content).hexdigest()
    except OSError as error:
        raise CatalogueError(file, f"cannot be read: {error.strerror}", remedy="check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise CatalogueError(file, "is not UTF-8", remedy="save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise CatalogueError(file, f"is not TOML: {error}", remedy="correct the line that it names") from error


def read_sources(root: Row) -> dict[str, Source]:
    """Read the table `sources`, which rows name by its keys."""
    table = root.table("sources")
    found = {}
    for key in table.names():
        row = table.table(key)
        found[key] = Source(key, row.text("title"), row.date("date"))
        row.finish()
    return found


def source_of(row: Row, sources: Mapping[str, Source], section: Source | None = None) -> Source:
    """Return the source that a row names, else its section's. Raises CatalogueError when there is neither."""
    if section is not None and not row.has("source"):
        return section
    key = row.text("source")
    if key not in sources:
        raise row.fault("source", f"names {key!r}, which [sources] does not define", did_you_mean(key, sources, "define it"))
    return sources[key]
