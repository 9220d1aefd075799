"""The record shapes of IP databases, read into words: a country code, and what is said of subdivisions.

In: one decoded record of a MaxMind DB. Out: the words as the database writes them, cleaned of its ways to say "unknown";
the region catalogue turns them into codes of ours. The three shapes, which one record may also mix:

- nested with codes (GeoIP2, GeoLite2, this package's own): `country.iso_code`, `subdivisions[].iso_code` and `.names`;
- nested without codes (DB-IP's own files): `subdivisions[].names` only;
- flat: `country_code` and `state1` (the npm family @ip-location-db), or `country_code`/`country` and
  `region`/`region_code` (IPinfo).

City names are not read: many places of one name lie in different countries.
"""

from __future__ import annotations

from dataclasses import dataclass

FIELDS = ("country", "country_code", "registered_country", "subdivisions", "state1", "region", "region_code")
"""The top-level fields that are read: records that agree in these say the same."""

COUNTRY_FIELDS = ("country.iso_code", "country_code", "country")
"""Where a country is looked for, for messages."""

# User-assigned codes that vendors write for "unknown". XK (Kosovo) is not among them.
_UNKNOWN_CODES = frozenset({"XX", "ZZ"})
_PREFERRED_LANGUAGE = "en"


@dataclass(frozen=True, slots=True)
class Words:
    """What a record says: an ISO 3166-1 alpha-2 code or None, and of each subdivision, widest first, (code, name)."""

    country: str | None
    subdivisions: tuple[tuple[str | None, str | None], ...]


def read_words(record: object, *, registered_country: bool = False) -> Words:
    """Read country and subdivisions of a record of any known shape; a record of another shape has neither.

    `registered_country` (where the network is registered, not where it is used) stands in for a missing country only
    when it is asked for, and never brings subdivisions.
    """
    if not isinstance(record, dict):
        return Words(None, ())
    country = record.get("country")
    nested = country if isinstance(country, dict) else {}
    code = country_code(nested.get("iso_code")) or country_code(record.get("country_code")) or country_code(country)
    if code is not None:
        return Words(code, _nested_subdivisions(record.get("subdivisions")) or _flat_subdivisions(record))
    registered = record.get("registered_country")
    if registered_country and isinstance(registered, dict):
        return Words(country_code(registered.get("iso_code")), ())
    return Words(None, ())


def country_code(value: object) -> str | None:
    """Return `value` as an upper-case two-letter code, None for everything else and for the codes of "unknown"."""
    if not isinstance(value, str) or len(value) != 2 or not (value.isascii() and value.isalpha()):
        return None
    code = value.upper()
    return None if code in _UNKNOWN_CODES else code


def _nested_subdivisions(value: object) -> tuple[tuple[str | None, str | None], ...]:
    if not isinstance(value, list):
        return ()
    levels = [(_text(level.get("iso_code")), _name(level.get("names"))) for level in value if isinstance(level, dict)]
    return tuple(level for level in levels if any(level))


def _flat_subdivisions(record: dict[str, object]) -> tuple[tuple[str | None, str | None], ...]:
    level = (_text(record.get("region_code")), _text(record.get("state1")) or _text(record.get("region")))
    return (level,) if any(level) else ()


def _name(names: object) -> str | None:
    """Return the English name, else the first one that there is."""
    if not isinstance(names, dict):
        return None
    return _text(names.get(_PREFERRED_LANGUAGE)) or next((name for name in map(_text, names.values()) if name), None)


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None
