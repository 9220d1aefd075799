"""The rooms and which way imports may point: any other edge fails here.

cli -> {service, load} -> resolver -> {policy, index} -> sources -> {model, errors}. `_fastpath` is a leaf, and is imported
by resolver, index, policy, load and the modules of service that answer by compiled code (COMPILED). The shipped data files are
read by the room that owns their format.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

COMPILED = {"access", "protocol", "batch_answers", "batch_items", "batch_lane", "overload", "pings", "state"}
LEAVES = {"errors", "model", "settings"}
ALLOWED: dict[str, set[str]] = {
    "_fastpath": set(),
    "errors": set(),
    "model": set(),
    "settings": {"errors"},
    "data": set(),
    "sources": {"model", "errors", "data"},
    "index": {"sources", "model", "errors", "_fastpath"},
    "policy": {"sources", "model", "errors", "data", "_fastpath"},
    "resolver": {"policy", "index", "sources", "model", "errors", "data", "_fastpath"},
    "service": {"resolver", "model", "errors", "settings", "service.compiled"},
    "service.compiled": {"service", "resolver", "model", "errors", "settings", "_fastpath"},
    "load": {"resolver", "sources", "model", "errors", "_fastpath"},
    "cli": {"load", "service", "resolver", "policy", "index", "sources", "model", "errors", "settings", "data"},
    "regionresolver": {"resolver", "model", "errors", "cli"},
}


def room_of(module: str) -> str | None:
    """Return the room of a dotted module of ours, None for any other."""
    if module.removeprefix("regionresolver.service.") in COMPILED:
        return "service.compiled"
    parts = module.split(".")
    if parts[0] == "_fastpath":
        return "_fastpath"
    if parts[0] != "regionresolver":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ALLOWED else "regionresolver"


def imports_of(source: str, module: str, *, is_package: bool) -> set[str]:
    """Return every module that a Python source imports, also inside functions and TYPE_CHECKING blocks."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                anchor = module.split(".")[: len(module.split(".")) - node.level + is_package]
                base = ".".join([*anchor, base] if base else anchor)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


def cimports_of(source: str) -> set[str]:
    """Return every module that a Cython source imports or cimports."""
    pattern = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import|c?import\s+([\w.]+))", re.MULTILINE)
    return {first or second for first, second in pattern.findall(source)}


def edges() -> list[tuple[str, str, str]]:
    """Return (file, room, room it imports) for every import of ours in the tree."""
    found = []
    for path in sorted([*ROOT.glob("_fastpath/*"), *ROOT.glob("regionresolver/**/*.py")]):
        if path.suffix not in {".py", ".pyx", ".pxd", ".pyi"}:
            continue
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        module = name.removesuffix(".__init__")
        source = path.read_text(encoding="utf-8")
        names = (
            cimports_of(source)
            if path.suffix in {".pyx", ".pxd"}
            else imports_of(source, module, is_package=name.endswith("__init__"))
        )
        here = room_of(module)
        assert here is not None
        for imported in names:
            there = room_of(imported)
            if there is not None and there != here:
                found.append((str(path.relative_to(ROOT)), here, there))
    return found


def test_imports_point_only_where_the_design_allows() -> None:
    found = edges()
    assert len(found) > 20, "the scan found hardly any import: it does not see the tree"
    wrong = sorted({f"{file}: {here} may not import {there}" for file, here, there in found if there not in ALLOWED[here]})
    assert wrong == []


def test_every_room_has_a_rule() -> None:
    rooms = {
        path.name.removesuffix(".py") for path in (ROOT / "regionresolver").iterdir() if path.suffix == ".py" or path.is_dir()
    }
    assert rooms - {"__init__", "__main__", "__pycache__"} <= set(ALLOWED)


def test_asyncio_and_aiohttp_stay_in_the_service() -> None:
    for path in (ROOT / "regionresolver").glob("**/*.py"):
        if path.relative_to(ROOT).parts[1] == "service":
            continue
        names = imports_of(path.read_text(encoding="utf-8"), "regionresolver.x", is_package=False)
        outside = {name.split(".")[0] for name in names} & {"asyncio", "aiohttp", "uvloop"}
        assert not outside, f"{path.relative_to(ROOT)} imports {outside}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import regionresolver.service.app", {"regionresolver.service.app"}),
        ("def f():\n    from regionresolver.cli import main", {"regionresolver.cli.main"}),
        ("from ..service import app", {"regionresolver.service.app"}),
        ("from . import plmn", {"regionresolver.sources.plmn"}),
    ],
)
def test_the_scan_sees_every_form_of_import(source: str, expected: set[str]) -> None:
    assert imports_of(source, "regionresolver.sources.mmdb", is_package=False) == expected


def test_the_scan_sees_cimports() -> None:
    assert cimports_of("from _fastpath.address cimport Address\ncimport cython\n    import os\n") == {
        "_fastpath.address",
        "cython",
        "os",
    }
