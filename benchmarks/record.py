"""What one run of any benchmark leaves: a `Record`, one line of JSON, the same for all layers.

A record says who was measured (revision), on what (machine, versions), how (command, conditions) and what came out
(measurements). A measurement is one stage of one layer under its own conditions:

    micro           CPU time of an operation of a stage, in this process
    instructions    instructions of an operation of a stage, by callgrind
    service         the service under load: rate, latency from the planned send time, CPU a request, memory, errors
    yardstick       a server that does next to nothing, in the same run: what ratios are made against
    peer            another program that does a part of our work

Rules that a reader may rely on: times are nanoseconds, memory is bytes, shares are 0 to 1; what a figure is in is in its
`unit`; an unknown is left out or null, never 0. `SCHEMA` changes when a reader could trip; readers refuse what they do not
know. No measurement holds an address, an IMSI or a device of anybody: inputs are drawn with fixed seeds.

Python writes and reads it here, anybody else by `record.schema.json` beside this file (`python -m benchmarks.record` writes
that file again).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib.metadata
import itertools
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SCHEMA: Final = "regionresolver.bench/1"
SCHEMA_FILE: Final = Path(__file__).with_name("record.schema.json")
PACKAGES: Final = ("aiohttp", "cython", "maxminddb", "orjson", "pydantic", "uvloop")
ROOT: Final = Path(__file__).parents[1]

Layer = Literal["micro", "instructions", "service", "yardstick", "peer"]
Better = Literal["lower", "higher", "neither"]
Condition = str | int | float | bool | None


class RecordError(ValueError):
    """A line that is no record; the message names the file, the line and the field."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Revision(_Model):
    """Whose code it was. `digest` is that of the sources that were built, so that it holds for a dirty tree too."""

    commit: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    is_dirty: bool = False
    committed_at: dt.datetime | None = None
    subject: str | None = None
    digest: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    @property
    def short(self) -> str:
        """What people call it."""
        return f"{(self.commit or self.digest or 'unknown')[:9]}{'+' if self.is_dirty else ''}"


class Machine(_Model):
    """What ran it. `fingerprint` names machines whose times may be compared: same processor, cores, memory, architecture."""

    fingerprint: str = Field(pattern=r"^[0-9a-f]{12}$")
    processor: str
    cores: int = Field(ge=1)
    memory_bytes: int = Field(ge=1)
    architecture: str
    kernel: str


class Versions(_Model):
    """What it was built and run with."""

    python: str
    compiler: str | None
    packages: dict[str, str]


class Figure(_Model):
    """One number: the median of `rounds` rounds, and the quartiles around it.

    `noise` is what two measurements of the same code differed by (A/A), as a share of the value: 0.02 is 2 %. Null where it
    was not measured.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_.]*$")
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    rounds: int = Field(default=1, ge=1)
    noise: float | None = Field(default=None, ge=0)
    better: Better = "lower"


class Histogram(_Model):
    """How often which value came: `counts` are (upper bound of a bucket, values in it), bounds ascending, none empty.

    `hdr` is the same as HdrHistogram's own compressed form (V2, base64), where the program that counted has it.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_.]*$")
    unit: str = "ns"
    counts: tuple[tuple[int, int], ...]
    hdr: str | None = None

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        bounds = [bound for bound, _ in self.counts]
        if any(later <= earlier for earlier, later in itertools.pairwise(bounds)):
            raise ValueError("the bounds of a histogram ascend")
        if any(count < 1 for _, count in self.counts):
            raise ValueError("a bucket of a histogram holds at least one value: leave empty ones out")
        return self

    @property
    def total(self) -> int:
        """How many values were counted."""
        return sum(count for _, count in self.counts)

    def at(self, share: float) -> int:
        """Return the bound below or at which that share of the values is; of an empty histogram 0."""
        return quantile(self.counts, share)


class Measurement(_Model):
    """One stage of one layer, under its own conditions (offered rate, connections, sizes ...)."""

    layer: Layer
    stage: str = Field(min_length=1)
    conditions: dict[str, Condition] = {}
    figures: tuple[Figure, ...] = Field(min_length=1)
    histograms: tuple[Histogram, ...] = ()
    notes: tuple[str, ...] = ()

    def figure(self, name: str) -> Figure | None:
        """Return the figure of that name."""
        return next((one for one in self.figures if one.name == name), None)


class Record(_Model):
    """One run."""

    schema_: Literal["regionresolver.bench/1"] = Field(default=SCHEMA, alias="schema")
    at: dt.datetime
    revision: Revision
    machine: Machine
    versions: Versions
    command: str
    conditions: dict[str, Condition] = {}
    measurements: tuple[Measurement, ...]
    notes: tuple[str, ...] = ()

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True, serialize_by_alias=True)

    def line(self) -> str:
        """Return the record as one line of JSON, without its end."""
        return self.model_dump_json(by_alias=True, exclude_defaults=False)

    def find(self, layer: Layer, stage: str | None = None) -> Iterable[Measurement]:
        """Yield the measurements of a layer, or of one stage of it."""
        return (one for one in self.measurements if one.layer == layer and stage in (None, one.stage))


def quantile(counts: Sequence[tuple[int, int]], share: float) -> int:
    """Return the bound below or at which `share` of the counted values is; 0 where nothing was counted."""
    wanted, seen = share * sum(count for _, count in counts), 0
    for bound, count in counts:
        seen += count
        if seen >= wanted:
            return bound
    return counts[-1][0] if counts else 0


def make_record(
    measurements: Iterable[Measurement], *, conditions: dict[str, Condition] | None = None, **other: object
) -> Record:
    """Make the record of a run that ends now, of this tree, on this machine; `other` replaces any member."""
    members: dict[str, object] = {
        "at": dt.datetime.now(dt.UTC).replace(microsecond=0),
        "revision": revision_of(ROOT),
        "machine": this_machine(),
        "versions": these_versions(),
        "command": " ".join(["python", "-m", *_module_and_arguments()]),
        "conditions": conditions or {},
        "measurements": tuple(measurements),
    }
    return Record.model_validate(members | other)


def append(record: Record, path: Path) -> None:
    """Append a record to a file of lines; a file whose last line was cut off gets its end first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_cut = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as out:
        out.write(("\n" if is_cut else "") + record.line() + "\n")


def read(path: Path) -> list[Record]:
    """Read a file of lines.

    Raises RecordError for a line that is none of ours, with its number, its field and what to do.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            found.append(_parse(line, f"{path}:{number}"))
    return found


def _parse(line: str, where: str) -> Record:
    try:
        return Record.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the line"
        remedy = f"remove the line, or write it with {SCHEMA}"
        raise RecordError(f"{where}: {field}: {first['msg']} ({remedy})") from None


def this_machine() -> Machine:
    """Describe the machine that runs this."""
    processor = _from_proc("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()
    memory = int((_from_proc("/proc/meminfo", "MemTotal") or "1 kB").split()[0]) * 1024
    cores = len(os.sched_getaffinity(0))
    # Memory counts in GiB: what the kernel keeps for itself differs a little from start to start.
    facts = f"{processor}|{cores}|{round(memory / (1 << 30))}|{platform.machine()}"
    return Machine(
        fingerprint=hashlib.sha256(facts.encode()).hexdigest()[:12],
        processor=processor,
        cores=cores,
        memory_bytes=memory,
        architecture=platform.machine(),
        kernel=platform.release(),
    )


def _from_proc(path: str, name: str) -> str | None:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)


def these_versions() -> Versions:
    """Name the interpreter, the compiler and the packages that matter to speed."""
    compiler = os.environ.get("CC", "gcc")
    try:
        said = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout.partition("\n")[0]
    except (OSError, subprocess.CalledProcessError):
        said = None
    packages = {name: found for name in PACKAGES if (found := _version_of(name)) is not None}
    return Versions(python=platform.python_version(), compiler=said, packages=packages)


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def revision_of(tree: Path, commit: str = "HEAD") -> Revision:
    """Describe a commit of a tree, with the tree's own changes where it is HEAD; outside git all is unknown."""
    said = _git(tree, "log", "-1", "--format=%H%n%cI%n%s", commit, "--")
    if said is None:
        return Revision()
    number, committed_at, subject = said.rstrip("\n").split("\n", 2)
    is_dirty = commit == "HEAD" and bool(_git(tree, "status", "--porcelain"))
    return Revision(commit=number, committed_at=dt.datetime.fromisoformat(committed_at), subject=subject, is_dirty=is_dirty)


def _git(tree: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(tree), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


def _module_and_arguments() -> list[str]:
    path = Path(sys.argv[0])
    parts = path.relative_to(ROOT).with_suffix("").parts if path.is_relative_to(ROOT) else (path.name,)
    return [".".join(parts).removesuffix(".__main__"), *sys.argv[1:]]


def schema_text() -> str:
    """Return the JSON Schema of a record, as it stands in `record.schema.json`."""
    found = Record.model_json_schema(by_alias=True)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:{SCHEMA.replace('/', ':')}"}
    return json.dumps(head | found, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
