"""The JSON Schema of a policy file, for editors and other checkers: what the model says, and nothing written twice.

Types and bounds come from pydantic, descriptions from the text below each field in `model`, the region codes and names
from the catalogue. The schema is a little stricter than the loader (it has no `null`, which TOML cannot write) and much
less: that regions exist, rules differ and stages ascend is what `policy lint` says.
"""

from __future__ import annotations

import ast
import inspect
from typing import TYPE_CHECKING, Any, Final

from regionresolver.policy import model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regionresolver.sources.catalogue import Catalogue

SCHEMA_ID: Final = "urn:regionresolver:policy"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def policy_schema(catalogue: Catalogue) -> dict[str, Any]:
    """Answer the JSON Schema of a policy, as JSON types."""
    found: dict[str, Any] = _plain(model.Policy.model_json_schema(by_alias=True))
    definitions = found.pop("$defs")
    for owner, key, text in _descriptions():
        properties = (
            (found if owner == "Policy" else definitions[owner])["properties"] if owner in {"Policy", *definitions} else {}
        )
        if key in properties:
            properties[key] = {"description": text, **properties[key]}
    definitions["RegionWord"] = {
        "description": "An ISO 3166-1 alpha-2 or ISO 3166-2 code, or the name of a region of the catalogue or this policy.",
        "anyOf": [
            {"enum": [*sorted(catalogue.countries), *sorted(catalogue.subdivisions), *sorted(catalogue.regions)]},
            {"enum": sorted(alias for row in catalogue.subdivisions.values() for alias in row.aliases)},
            {"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,63}$"},
        ],
    }
    return {"$schema": _DIALECT, "$id": SCHEMA_ID, "title": "A region policy", **found, "$defs": definitions}


def _plain(schema: Any) -> Any:
    """Leave out what says nothing to an author (titles made of names, null), and point region words at their definition."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema if item != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    if schema == model.REGION_WORD:
        return {"$ref": "#/$defs/RegionWord"}
    kept = {
        key: {name: _plain(one) for name, one in value.items()} if key in {"properties", "$defs"} else _plain(value)
        for key, value in schema.items()
        if key != "title" and not (key == "default" and value is None)
    }
    if "patternProperties" in kept:
        kept["additionalProperties"] = False
    choices = kept.get("anyOf", ())
    return {**choices[0], **{key: value for key, value in kept.items() if key != "anyOf"}} if len(choices) == 1 else kept


def _descriptions() -> Iterator[tuple[str, str, str]]:
    """Answer class, key and text of every field of the model that has a text below it."""
    for part in ast.parse(inspect.getsource(model)).body:
        if not isinstance(part, ast.ClassDef):
            continue
        fields = getattr(model, part.name).model_fields if issubclass(getattr(model, part.name), model.Part) else {}
        for field, below in zip(part.body, part.body[1:], strict=False):
            text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, str):
                yield part.name, fields[field.target.id].alias or field.target.id, text
