"""Two revisions side by side: each in a folder and an environment of its own, kept by what its sources are.

A build holds a copy of the sources, the compiled modules, and an environment whose only own content is a path file: the copy
first, then the packages of the environment that runs the gate. So both revisions have the same dependencies, and the figures
tell of the code alone; a revision that needs others is a HarnessError. Compiled modules are kept by what they are made of (a
module, the declarations that it includes, the compiler), so that two neighbours compile the difference alone.

Everything is under build/bench/, and may be thrown away.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.gate.decisions import HarnessError
from benchmarks.record import ROOT, Revision, revision_of

if TYPE_CHECKING:
    from collections.abc import Callable

BUILD = ROOT / "build" / "bench"
SOURCES = ("setup.py", "pyproject.toml", "_fastpath", "regionresolver", "benchmarks/stages.py")
BUILT_FROM = ("setup.py", "pyproject.toml", "_fastpath", "regionresolver")
CIMPORT = re.compile(
    r"^\s*(?:from\s+_fastpath\.(\w+)\s+cimport|cimport\s+_fastpath\.(\w+)|from\s+_fastpath\s+cimport\s+(\w+))", re.MULTILINE
)
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")


@dataclass(frozen=True)
class Build:
    """A revision that can be run: `python` imports its modules, whatever the working directory is."""

    revision: Revision
    tree: Path
    python: Path


def build_commit(commit: str) -> Build:
    """Build a commit of this repository."""
    revision = revision_of(ROOT, f"{commit}^{{commit}}")
    if revision.commit is None:
        raise HarnessError(f"{commit} is no commit here: fetch it (git fetch --deepen=50 origin), or name another BASE")
    with tempfile.TemporaryDirectory(dir=_folder("tmp")) as copy:
        archive = subprocess.Popen(["git", "-C", ROOT, "archive", revision.commit], stdout=subprocess.PIPE)
        unpacked = subprocess.run(["tar", "xf", "-", "-C", copy], stdin=archive.stdout, check=False)
        if archive.wait() or unpacked.returncode:
            raise HarnessError(f"git archive {revision.commit} failed: is the repository complete?")
        return build_tree(Path(copy), revision)


def build_here(change: Callable[[Path], None] | None = None) -> Build:
    """Build the tree as it is; `change` may patch the copy before it is built."""
    with tempfile.TemporaryDirectory(dir=_folder("tmp")) as copy:
        for name in SOURCES:
            source, target = ROOT / name, Path(copy) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.c", "*.pyc"))
            else:
                shutil.copy(source, target)
        if change is not None:
            change(Path(copy))
        return build_tree(Path(copy), revision_of(ROOT))


def build_tree(sources: Path, revision: Revision) -> Build:
    """Build a folder of sources, or find it built."""
    digest = _digest_of(sources)
    place = _folder("builds") / digest[:16]
    if not (place / "env" / "bin" / "python").exists():
        with tempfile.TemporaryDirectory(dir=_folder("tmp"), ignore_cleanup_errors=True) as new:
            tree = Path(new) / "tree"
            tree.mkdir()
            for name in SOURCES:
                if (sources / name).is_dir():
                    shutil.copytree(sources / name, tree / name)
                elif (sources / name).exists():
                    (tree / name).parent.mkdir(exist_ok=True)
                    shutil.copy(sources / name, tree / name)
            _compile(tree)
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            tree.rename(place / "tree")
        _make_environment(place)
    return Build(revision.model_copy(update={"digest": digest}), place / "tree", place / "env" / "bin" / "python")


def _folder(name: str) -> Path:
    folder = BUILD / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _digest_of(sources: Path) -> str:
    found = hashlib.sha256(_toolchain().encode())
    for name in BUILT_FROM:
        path = sources / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                content = file.read_bytes()
                found.update(f"{file.relative_to(sources)} {len(content)}\n".encode() + content)
    return found.hexdigest()


@cache
def _toolchain() -> str:
    """What else a compiled module depends on."""
    compiler = os.environ.get("CC", "gcc")
    try:
        said = subprocess.run([*compiler.split(), "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise HarnessError(f"the compiler {compiler} does not run ({error}): install it, or name another one with CC=") from None
    flags = [f"{name}={os.environ[name]}" for name in ("CFLAGS", "LDFLAGS") if name in os.environ]
    return "|".join((sys.version, version("cython"), compiler, said.partition("\n")[0], *flags, sys.prefix))


def _compile(tree: Path) -> None:
    """Bring every compiled module of a tree into its place; what was compiled before is taken from there."""
    kept = {path.stem: _folder("modules") / f"{_key_of(path, tree)}.so" for path in sorted((tree / "_fastpath").glob("*.pyx"))}
    missing = [name for name, file in kept.items() if not file.exists()]
    if missing:
        with tempfile.TemporaryDirectory(dir=_folder("tmp")) as copy:
            _compile_some(tree, Path(copy), missing)
            for name in missing:
                shutil.move(Path(copy) / "_fastpath" / f"{name}{SUFFIX}", kept[name])
    for name, file in kept.items():
        shutil.copy(file, tree / "_fastpath" / f"{name}{SUFFIX}")


def _compile_some(tree: Path, copy: Path, names: list[str]) -> None:
    # setup.py compiles each .pyx that it finds; of the other modules it needs the declarations.
    shutil.copytree(tree, copy, dirs_exist_ok=True)
    for path in (copy / "_fastpath").glob("*.pyx"):
        if path.stem not in names:
            path.unlink()
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "-j", str(len(os.sched_getaffinity(0)))]
    done = subprocess.run(command, cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise HarnessError(f"{', '.join(names)} cannot be compiled:\n{tail}")


def _key_of(path: Path, tree: Path) -> str:
    """Return the digest of all that a module is compiled from: itself, what it cimports (and that, in turn), every header."""
    found, todo = set(), [path, path.with_suffix(".pxd")]
    while todo:
        file = todo.pop()
        if file in found or not file.exists():
            continue
        found.add(file)
        todo.extend(
            path.with_name(f"{name}.pxd") for names in CIMPORT.findall(file.read_text(encoding="utf-8")) for name in names if name
        )
    files = sorted({*found, *path.parent.glob("*.h"), tree / "setup.py"})
    key = hashlib.sha256(f"{path.stem}|{_toolchain()}".encode())
    for file in files:
        key.update(file.name.encode() + b"\0" + file.read_bytes())
    return key.hexdigest()[:32]


def _make_environment(place: Path) -> None:
    env = place / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", env], check=True)
    packages = next((env / "lib").glob("python*")) / "site-packages"
    # An entry of a path file is only a folder: the path files in it, such as an editable install's, are not read.
    paths = [place / "tree", sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    (packages / "revision.pth").write_text("".join(f"{path}\n" for path in dict.fromkeys(map(str, paths))), encoding="utf-8")
    asked = "import _fastpath.lane, regionresolver, sys; print(_fastpath.lane.__file__); print(regionresolver.__file__)"
    done = subprocess.run([env / "bin" / "python", "-P", "-c", asked], capture_output=True, text=True, check=False)
    if done.returncode or not all(line.startswith(str(place)) for line in done.stdout.splitlines()):
        shutil.rmtree(env)
        raise HarnessError(f"the build does not run with the packages that are installed here: {done.stderr or done.stdout}")
