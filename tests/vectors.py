"""The public HTTP vectors beside the repository: llhttp's, Http11Probe's and smuggler's; see paths.SHARED."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.paths import SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator


def vectors(*, smuggler_every: int = 1) -> list[bytes]:
    """The public vectors, each also with the fast paths as its targets; of smuggler's 1,768 every so many."""
    assert SHARED is not None
    found = []
    for name, field in (("http11probe", "raw"), ("llhttp", "raw"), ("smuggler", "hdr"), ("http11probe_extra", "raw")):
        lines = (SHARED / "data/http-vectors" / f"{name}.jsonl").read_bytes().splitlines()
        for line in lines[:: smuggler_every if name == "smuggler" else 1]:
            text = json.loads(line)[field]
            found.append(text.encode() if name.endswith("extra") else base64.b64decode(text))
    holes = {b"__METHOD__": b"POST", b"__ENDPOINT__": b"/", b"__RANDOM__": b"1", b"__HOST__": b"a", b"__REPLACE_CL__": b"5"}
    for hole, content in holes.items():
        found = [raw.replace(hole, content) for raw in found]
    fast = found
    for old, new in {
        b"GET / ": b"GET /v1/resolve?ip=84.0.1.1 ",
        b"POST / ": b"POST /v1/decisions ",
        b"POST /?cb=1 ": b"POST /v1/decisions ",
    }.items():
        fast = [raw.replace(old, new) for raw in fast]
    return list(dict.fromkeys([*found, *fast]))


@dataclass(frozen=True)
class Probe:
    """A case of Http11Probe: its bytes, and what a server has to do with them."""

    name: str
    level: str
    raw: bytes
    expected: str
    """`Exact(400)`, `Range2xx`, or in words."""


def probes() -> Iterator[Probe]:
    """Give the cases of Http11Probe."""
    assert SHARED is not None
    for line in (SHARED / "data/http-vectors/http11probe.jsonl").read_bytes().splitlines():
        row = json.loads(line)
        yield Probe(row["id"], row["level"], base64.b64decode(row["raw"]), row["status"] or row["expect_desc"] or "")
