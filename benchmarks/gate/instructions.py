"""Instructions of an operation of each stage, by callgrind: the same from run to run, on a busy machine too.

`benchmarks/stages.py` runs each stage in two sizes; the slope between them is the operations' alone, free of what stands
around. Hash seeds are fixed. What is left of chance is where memory happens to lie, and is dealt with there (`LAYOUTS`): the
least of some layouts is the figure. callgrind knows no AVX-512 and no cache misses: it says what the code does, not how
long it takes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.gate.builds import BUILD, Build
from benchmarks.gate.decisions import HarnessError
from benchmarks.record import ROOT, Figure, Measurement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

STAGES = ROOT / "benchmarks" / "stages.py"
MARKS = ROOT / "benchmarks" / "callgrind_marks.c"
DUMP = re.compile(r"^desc: Trigger: Client Request: (\S+)=(\d+)=(\d+)$.*?^summary: (\d+)$", re.MULTILINE | re.DOTALL)
PATIENCE_S = 1800


@dataclass(frozen=True)
class Counted:
    """Instructions an operation by stage, one figure a layout, and the stages that the build could not run, with the reason."""

    layouts: dict[str, list[float]]
    refused: dict[str, str]

    @property
    def least(self) -> dict[str, float]:
        """The figure of each stage."""
        return {name: min(found) for name, found in self.layouts.items()}

    def measurements(self) -> list[Measurement]:
        """Return it for a record."""
        return [
            Measurement(
                layer="instructions",
                stage=name,
                conditions={"layouts": len(found)},
                figures=(Figure(name="instructions", value=min(found), unit="instructions", high=max(found), rounds=len(found)),),
            )
            for name, found in self.layouts.items()
        ]


def why_not() -> str | None:
    """Say what is missing for callgrind on this machine, None if nothing is."""
    if shutil.which("valgrind") is None:
        return "there is no valgrind: install it (apt-get install valgrind)"
    try:
        marks_library()
    except HarnessError as error:
        return str(error)
    return None


def marks_library() -> Path:
    """Compile the marks, when they are newer."""
    library = BUILD / "callgrind_marks.so"
    if not library.exists() or library.stat().st_mtime < MARKS.stat().st_mtime:
        library.parent.mkdir(parents=True, exist_ok=True)
        command = [*os.environ.get("CC", "gcc").split(), "-O1", "-shared", "-fPIC", "-o", str(library), str(MARKS)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise HarnessError(f"{MARKS.name} cannot be compiled (it needs valgrind/callgrind.h): {done.stderr.strip()[-300:]}")
    return library


def count(build: Build, names: Sequence[str] = (), *, padding: str = "", more: Sequence[str] = ()) -> Counted:
    """Count a build's stages; all without `names`.

    `padding` goes into the environment, so that memory lies otherwise; `more` are further arguments of `stages.py`.
    """
    if (missing := why_not()) is not None:
        raise HarnessError(missing)
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out"]
        command += [str(build.python), "-P", str(STAGES), "--marks", str(marks_library()), *more, "--", *names]
        environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PADDING": padding}
        environment.pop("PYTHONPATH", None)
        try:
            done = subprocess.run(
                command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE_S
            )
        except subprocess.TimeoutExpired:
            raise HarnessError(f"callgrind took more than {PATIENCE_S} s: is the machine overloaded?") from None
        if done.returncode:
            raise HarnessError(f"the stages do not run under callgrind: {done.stderr.strip()[-600:]}")
        dumps = sorted(Path(folder).iterdir(), key=lambda path: int(path.suffix[1:] or 0))
        return Counted(slopes(path.read_text(encoding="utf-8") for path in dumps), json.loads(done.stdout))


def count_both(base: Build, head: Build, names: Sequence[str] = ()) -> tuple[Counted, Counted]:
    """Count two builds at once: other work on the machine does not show in instructions."""
    with ThreadPoolExecutor(2) as pool:
        counting = [pool.submit(count, build, names) for build in (base, head)]
        return counting[0].result(), counting[1].result()


def slopes(dumps: Iterable[str]) -> dict[str, list[float]]:
    """Read callgrind's files: (instructions of the larger size - of the smaller) / (difference of sizes), a layout each."""
    found: defaultdict[str, defaultdict[int, dict[int, int]]] = defaultdict(lambda: defaultdict(dict))
    for dump in dumps:
        for name, size, layout, instructions in DUMP.findall(dump):
            found[name][int(layout)][int(size)] = int(instructions)
    return {
        name: [
            (sizes[max(sizes)] - sizes[min(sizes)]) / (max(sizes) - min(sizes))
            for _, sizes in sorted(layouts.items())
            if len(sizes) > 1
        ]
        for name, layouts in found.items()
    }


def own_stages(build: Build) -> list[str]:
    """Return the names of the stages that a revision lists itself; none if it has no such list."""
    stages = build.tree / "benchmarks" / "stages.py"
    if not stages.exists():
        return []
    done = subprocess.run([build.python, "-P", stages, "--list"], capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else []
