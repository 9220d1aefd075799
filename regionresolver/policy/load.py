"""Read a policy file: path -> checked `Policy`, or one `PolicyError` that says where and what to write instead.

TOML, or JSON of the same model (a file that ends in .json, or begins with a brace). The file is read once, whole, and
never more than `MAX_POLICY_BYTES` of it. Nothing of an earlier policy is touched: a file that fails leaves no trace.
Instead of a path one of the `SHIPPED` names may be given; a file of such a name needs its directory (`./default`).
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Final, NoReturn, cast

from pydantic import ValidationError

from regionresolver.errors import PolicyError
from regionresolver.policy.model import Policy, did_you_mean
from regionresolver.policy.regions import RegionNames
from regionresolver.policy.words import wrong_words
from regionresolver.sources.locate import Path, dotted, line_of

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from regionresolver.sources.catalogue import Catalogue

MAX_POLICY_BYTES: Final = 4 * 1024 * 1024
_LONGEST_SHOWN: Final = 60
SHIPPED: Final = ("default", "example-2021", "observe-only")

_PLAINLY: Final = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be text",
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "mapping_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
}
_KINDS: Final = {"list": "a list", "dict": "a table", "datetime": "a date and time", "date": "a date", "time": "a time"}

Problem = tuple[Path, str, object]
"""Path, what is wrong there, and the value that stands there."""


def shipped_policy(name: str = "default") -> FilePath:
    """Answer the path of one of the `SHIPPED` policies."""
    return FilePath(str(resources.files("regionresolver.data").joinpath("policies", f"{name}.toml")))


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A policy with the text that it was read from, which knows at which line a value stands."""

    file: FilePath
    text: str
    policy: Policy

    def line_of(self, path: Path, value: object = None) -> int | None:
        """Answer the line (from 1) of a value, `None` where it can't be told: always in JSON."""
        return _line_of(self.text, path, value)


def load_policy(path: str | FilePath | None, catalogue: Catalogue) -> Policy:
    """Read and check a policy: a file, or one of the `SHIPPED` by its name; `None` is the shipped default.

    Raises `PolicyError`, with file, line where it can be found, path of keys, and reason.
    """
    return read_policy(path, catalogue).policy


def read_policy(path: str | FilePath | None, catalogue: Catalogue) -> PolicyFile:
    """Do what `load_policy` does, and keep the text for what is to be said of the policy later."""
    file = file_of(path)
    return parse_policy(file, read_content(file), catalogue)


def file_of(path: str | FilePath | None) -> FilePath:
    """Answer the file that a path, a shipped name or None (the shipped default) stands for."""
    return shipped_policy(str(path or "default")) if path is None or str(path) in SHIPPED else FilePath(path)


def parse_policy(file: FilePath, content: bytes, catalogue: Catalogue) -> PolicyFile:
    """Check the bytes of a policy file; `file` is named in errors, and its suffix may say JSON. Raises `PolicyError`."""
    text = _text(file, content)
    mapping = _parse(file, text)
    try:
        policy = Policy.model_validate(mapping)
    except ValidationError as error:
        _refuse(file, text, [_described(details) for details in error.errors()], error)
    names = RegionNames(policy.regions, catalogue)
    complaints: list[Problem] = [(complaint.path, complaint.text, complaint.word) for complaint in wrong_words(policy, names)]
    if complaints:
        _refuse(file, text, complaints, None)
    return PolicyFile(file, text, policy)


def read_content(file: FilePath) -> bytes:
    """Read a file of policies whole, at most `MAX_POLICY_BYTES`. Raises `PolicyError`."""
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_POLICY_BYTES + 1)
    except FileNotFoundError as error:
        raise PolicyError(file, "does not exist") from error
    except IsADirectoryError as error:
        raise PolicyError(file, "is a directory, not a policy file") from error
    except (OSError, ValueError) as error:
        raise PolicyError(file, f"cannot be read: {getattr(error, 'strerror', None) or 'no such name is possible'}") from error
    if len(content) > MAX_POLICY_BYTES:
        raise PolicyError(file, f"is larger than {MAX_POLICY_BYTES // 1024**2} MiB", remedy="that is no policy file")
    return content


def _text(file: FilePath, content: bytes) -> str:
    """Answer the text of a policy file."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PolicyError(file, "is not UTF-8", where=f"byte {error.start}", remedy="a policy is a TOML or JSON text") from error
    if not text.strip():
        raise PolicyError(file, "is empty", remedy="a policy needs at least [policy] with name and version")
    return text


def _parse(file: FilePath, text: str) -> dict[str, object]:
    """Turn TOML or JSON into plain values."""
    is_json = file.suffix.lower() == ".json" or text.lstrip().startswith("{")
    try:
        mapping = (
            json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant) if is_json else tomllib.loads(text)
        )
    except json.JSONDecodeError as error:
        raise PolicyError(file, f"not JSON: {error.msg}", where=f"line {error.lineno}, column {error.colno}") from error
    except ValueError as error:
        found = re.fullmatch(r"(.*?) \(at (line \d+, column \d+|end of document)\)", str(error), re.DOTALL)
        reason, where = found.groups() if found else (str(error), "")
        raise PolicyError(file, f"not {'JSON' if is_json else 'TOML'}: {reason}", where=where) from error
    except RecursionError as error:
        raise PolicyError(file, "is nested too deeply") from error
    if not isinstance(mapping, dict):
        raise PolicyError(file, "is no JSON object", remedy="a policy is an object with the keys policy, rules, …")
    return mapping


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a JSON object that says a key twice, as TOML does."""
    mapping: dict[str, object] = {}
    for key, value in pairs:
        if key in mapping:
            raise ValueError(f"the key '{key}' stands twice in one object")
        mapping[key] = value
    return mapping


def _no_constant(name: str) -> NoReturn:
    """Refuse NaN and the infinities, which Python's JSON would let pass."""
    raise ValueError(f"{name} is no JSON number")


def _refuse(file: FilePath, text: str, problems: list[Problem], cause: Exception | None) -> NoReturn:
    """Raise a `PolicyError` for the first problem in the file, which keeps the others and says how many they are."""
    (where, reason), *others = [(_where(text, path, value), reason) for path, reason, value in problems]
    remedy = f"and {len(others)} more problem{'s' if len(others) > 1 else ''} in this file" if others else ""
    raise PolicyError(file, reason, where=where, remedy=remedy, others=others) from cause


def _where(text: str, path: Path, value: object) -> str:
    """Write a place as `line 12, rules[3].when.region`, without what is not known of it."""
    line = _line_of(text, path, value)
    return ", ".join(part for part in (f"line {line}" if line else "", dotted(path)) if part)


def _line_of(text: str, path: Path, value: object) -> int | None:
    """Answer the line of a value, `None` in JSON, and where the whole file is meant."""
    return line_of(text, path, value) if path and not text.lstrip().startswith("{") else None


def _described(details: ErrorDetails) -> Problem:
    """Put one error of pydantic into this project's words."""
    context = details.get("ctx", {})
    path = tuple(step for step in details["loc"] if step != "[key]")
    kind, value = details["type"], details["input"]
    if kind == "missing":
        reason = "is missing"
    elif kind in {"enum", "literal_error"}:
        choices = re.findall(r"'([^']*)'", str(context["expected"]))
        reason = f"must be {context['expected']}, not {_shown(value)}" + did_you_mean(str(value), choices)
    elif kind == "value_error":
        reason = str(context["error"])
    elif kind == "too_short":
        reason = "must not be empty"
    elif kind in _PLAINLY:
        reason = f"{_PLAINLY[kind]}, not {_shown(value)}"
    elif kind == "string_pattern_mismatch":
        reason = f"{_shown(value)} is not of the form {context['pattern']}"
    else:
        reason = re.sub(r"^(?:Input|String|Value) should", "must", details["msg"])
    # A check of a whole table or list says which place below it is wrong.
    return path + cast("Path", context.get("path", ())), reason, value


def _shown(value: object) -> str:
    """Write a value of the file for an error, cut to a readable length."""
    text = repr(value) if isinstance(value, (str, int, float)) else _KINDS.get(type(value).__name__, "that")
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
