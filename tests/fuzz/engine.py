"""Run one fuzz target: seeds in, libFuzzer (by way of atheris) over it for so many seconds, findings in a folder out.

Also what the targets share: `Cursor`, which reads numbers off the bytes that a fuzzer made.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CORPUS = Path(__file__).parent / "corpus"
WORK = Path(__file__).parents[2] / "build" / "fuzz"
HANG_S = 10
MEMORY_MB = 4096
AGAIN = "--libfuzzer"


class Cursor:
    """Reads the bytes of an input in order; behind the end all are zero."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._content)

    def take(self, size: int) -> bytes:
        piece = self._content[self._at : self._at + size]
        self._at += size
        return piece.ljust(size, b"\0")

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def rest(self) -> bytes:
        piece = self._content[self._at :]
        self._at = len(self._content)
        return piece


def corpus_of(target: str) -> list[Path]:
    return sorted((CORPUS / target).glob("*"))


def write_seeds(folder: Path, seeds: Iterable[bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)


def escaped(word: bytes) -> str:
    """Write a word as libFuzzer's dictionaries do."""
    return "".join(f"\\x{byte:02x}" for byte in word)


def _atheris() -> Any:
    try:
        return importlib.import_module("atheris")
    except ImportError:
        sys.exit("fuzz: atheris is not here; .ci/fuzz makes an environment that has it")


def main(
    target: str,
    one: Callable[[bytes], None],
    seeds: Callable[[], Iterable[bytes]],
    *,
    input_bytes: int,
    words: Iterable[bytes] = (),
) -> None:
    """Fuzz until the time is over; exits as libFuzzer does, with a reproducer in the work folder on a finding.

    `input_bytes` is the largest size of an input, `words` the dictionary of pieces that inputs are made of.
    """
    parser = argparse.ArgumentParser(description=f"Fuzz {target}.")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers; 0 takes the time")
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FILE", help="only run these inputs, without libFuzzer")
    parser.add_argument("--minimise", action="store_true", help="add to the corpus what of the work has other coverage, and end")
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="the folder of the kept inputs of all targets")
    parser.add_argument("--work", type=Path, default=WORK, help="the folder for new inputs and findings")
    if sys.argv[1:2] == [AGAIN]:
        fuzz(target, one, sys.argv[2:])
    options = parser.parse_args()
    if options.replay:
        for path in options.replay:
            one(path.read_bytes())
        return
    work, kept = options.work / target, options.corpus / target
    write_seeds(work / "seeds", seeds())
    (work / "grown").mkdir(exist_ok=True)
    kept.mkdir(parents=True, exist_ok=True)
    dictionary = work / "words"
    dictionary.write_text("# What inputs are made of.\n" + "".join(f'"{escaped(word)}"\n' for word in words))
    arguments = [
        f"-artifact_prefix={work}/",
        f"-timeout={HANG_S}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-max_len={input_bytes}",
        "-len_control=0",
        f"-dict={dictionary}",
        f"-seed={options.seed}",
        "-print_final_stats=1",
    ]
    if options.minimise:
        folders = [kept, work / "grown"]
        arguments += ["-set_cover_merge=1"]
    else:
        folders = [work / "grown", work / "seeds", kept]
        arguments += [f"-max_total_time={options.seconds}"]
    fuzz(target, one, [*arguments, *map(str, folders)])


def fuzz(target: str, one: Callable[[bytes], None], arguments: list[str]) -> NoReturn:
    """Hand over to libFuzzer. To merge, it runs itself again by its first argument and a shell."""
    atheris = _atheris()
    itself = f"{sys.executable} -m tests.fuzz.fuzz_{target} {AGAIN}"
    atheris.Setup([itself, *arguments], one, enable_python_coverage=False)
    atheris.Fuzz()
    sys.exit()
