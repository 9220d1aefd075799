"""Labelled pings: NDJSON, one ping a line with the place where its phone was.

    {"ping": {"ip": "...", "serving": "36801"}, "label": {"region": "CU"}, "scenario": "...", "reason": "...", "source": "..."}

`ping` is what `POST /v1/decisions` takes. `label.region` is a country, a subdivision or a named region of the region
catalogue: as close as the truth is known. `label.outside`, a list of such, names what the phone is known not to be in;
`label.place` is for readers. `scenario` groups the pings of a file ("all" without one), `reason` tells why the label is
what it is, `source` where it comes from.

A line that cannot be used is a `FileError` that names file and line; the others are not concerned. A file is read once, a
line at a time.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, NamedTuple, Protocol

import orjson

from regionresolver.errors import FileError
from regionresolver.resolver.documents import SIGNAL_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from regionresolver.sources.catalogue import Catalogue

MAX_LINE_BYTES = 16 * 1024
"""As much as the service takes for a ping."""

UNNAMED = "all"
_SUM_TOLERANCE = 1e-6


class Lines(Protocol):
    """What a file is read through."""

    def readline(self, limit: int, /) -> bytes:
        """Read as `io.BufferedIOBase.readline` does."""


class Label(NamedTuple):
    """Where a phone was: `region` as close as is known, `outside` the regions that it was not in."""

    region: str
    outside: tuple[str, ...]


class LabelledPing(NamedTuple):
    """One line of a file, checked; `ping` as the service would get it."""

    line: int
    ping: Mapping[str, object]
    label: Label
    scenario: str
    reason: str


class Scenario(NamedTuple):
    """What a scenario file says of one scenario."""

    share: float
    what: str
    is_unsure: bool


def read_lines(stream: Lines, file: str, catalogue: Catalogue) -> Iterator[LabelledPing | FileError]:
    """Read a file's lines one by one; empty lines are left out."""
    number = 0
    while raw := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n"):
            while (rest := stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield FileError(f"{file}:{number}", f"is longer than {MAX_LINE_BYTES} bytes", remedy="write one ping a line")
        elif raw.strip():
            try:
                yield _read_line(raw, number, f"{file}:{number}", catalogue)
            except FileError as error:
                yield error


def _read_line(raw: bytes, number: int, where: str, catalogue: Catalogue) -> LabelledPing:
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise FileError(where, "is not JSON", remedy="write one JSON object a line, in UTF-8") from None
    if not isinstance(document, dict):
        raise FileError(where, "is no JSON object", remedy='write {"ping": {...}, "label": {"region": "CU"}}')
    return LabelledPing(
        number,
        _read_ping(document.get("ping"), where),
        _read_label(document.get("label"), where, catalogue),
        _text(document, "scenario", where) or UNNAMED,
        _text(document, "reason", where),
    )


def _read_ping(ping: object, where: str) -> Mapping[str, object]:
    if not isinstance(ping, dict):
        raise FileError(where, "no object", where="ping", remedy='write "ping": {"ip": ..., "serving": ..., "sim": ...}')
    if all(ping.get(field) is None for field in SIGNAL_FIELDS):
        raise FileError(where, "has no signal", where="ping", remedy="give at least one of ip, serving and sim")
    return ping


def _read_label(label: object, where: str, catalogue: Catalogue) -> Label:
    if not isinstance(label, dict):
        raise FileError(where, "no object", where="label", remedy='write "label": {"region": "CU"}')
    outside = label.get("outside", [])
    if not isinstance(outside, list):
        raise FileError(where, "no list", where="label.outside", remedy='write "outside": ["crimea"], or leave it out')
    region = _region(label.get("region"), "label.region", where, catalogue)
    return Label(region, tuple(_region(word, "label.outside", where, catalogue) for word in outside))


def _region(word: object, field: str, where: str, catalogue: Catalogue) -> str:
    if not isinstance(word, str) or word not in catalogue:
        meant = catalogue.suggest(word) if isinstance(word, str) else None
        remedy = f"did you mean {meant}?" if meant else "write an ISO 3166 code or a named region: CU, UA-43, crimea"
        raise FileError(where, "is no region of the region catalogue", where=field, remedy=remedy)
    return word


def _text(document: Mapping[str, object], field: str, where: str) -> str:
    value = document.get(field, "")
    if not isinstance(value, str):
        raise FileError(where, "is no text", where=field, remedy=f'write "{field}": "..." or leave it out')
    return value


def read_scenarios(file: Path) -> dict[str, Scenario]:
    """Read the scenarios of a file of pings, with the share of the traffic that each is assumed to be. Raises FileError."""
    try:
        rows = tomllib.loads(file.read_text(encoding="utf-8")).get("scenarios")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"is no TOML: {error}"
        raise FileError(file, str(reason), remedy="write [scenarios] with NAME = { share = 0.1 }") from error
    if not isinstance(rows, dict) or not rows:
        raise FileError(file, "has no table scenarios", remedy="write [scenarios] with NAME = { share = 0.1 }")
    found = {}
    for name, row in rows.items():
        share = row.get("share") if isinstance(row, dict) else None
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share <= 1:
            raise FileError(file, "is no number from 0 to 1", where=f"scenarios.{name}.share", remedy="write share = 0.1")
        found[name] = Scenario(float(share), str(row.get("what", "")), row.get("unsure") is True)
    if abs(sum(row.share for row in found.values()) - 1) > _SUM_TOLERANCE:
        raise FileError(file, "do not sum to 1", where="the shares", remedy="scale them")
    return found
