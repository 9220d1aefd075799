"""The contract as an OpenAPI 3.1 document, from what the service itself goes by.

Members, types and descriptions come from `resolver.wire` (to which the type checker holds every answer), the values of
parameters from `pings.CHOICES`, the errors from the tree of errors and the catalogue in `problems`. What stands here and
nowhere else is a row for each operation: its words, its parameters and body, what it answers, and how it may refuse. A test
holds the rows to the routes of the application, and the answers of the service to the document.

Making it takes a second, so it is made by `make openapi` and shipped as `data/openapi.json`; a test holds that file to this
module. No part of the running service imports this module.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import orjson
from pydantic import TypeAdapter
from typing_extensions import get_original_bases, is_typeddict

from regionresolver.errors import InvalidAddressError, InvalidPlmnError, NoSignalError, PingError, PlmnNotStringError
from regionresolver.resolver import wire
from regionresolver.service import authz, pings, problems, request_id
from regionresolver.service.access import EXEMPT
from regionresolver.service.batch import NDJSON
from regionresolver.service.batch_answers import MOST_PINGS
from regionresolver.service.client_address import UntrustedClientError

OPENAPI_VERSION: Final = "3.1.0"

# Any JSON object: documents for people, whose members are told in docs/http.md.
OPEN: Final = dict[str, object]

_PING_ERRORS = (
    PingError, NoSignalError, PlmnNotStringError, InvalidAddressError, InvalidPlmnError, UntrustedClientError,
)  # fmt: skip

# orjson takes plain texts alone as keys, and the service keeps this one in the form that headers are looked up by.
REQUEST_ID: Final = str(request_id.HEADER)

_SUFFIX = "Document"
_SCHEMAS = "#/components/schemas/"

# What may happen to any request before its handler has it.
_ALWAYS = (400, 408, 431, 500, 503)
_OF_KEYS = (401, 403, 429)
_OF_BODIES = (413, 415, 417, 422)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation as described. `answers` and `takes`: a type for each media type; `more`: refusals beside `_ALWAYS`."""

    summary: str
    tag: str
    answers: Mapping[str, Any]
    description: str = ""
    parameters: Sequence[str] = ()
    takes: Mapping[str, Any] | None = None
    example: Any = None
    more: tuple[int, ...] = ()
    caches: bool = False
    headers: Sequence[str] = ()
    denies: bool = False


_PING = {
    "id": "ping-7f3a",
    "ip": "46.172.192.10",
    "serving": "25034",
    "sim": {"mcc": "250", "mnc": "34"},
    "first_activated_at": "2021-09-10T00:00:00Z",
    "lang": "en",
}

OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("post", "/v1/decisions"): Operation(
        "Decide on one ping",
        "decisions",
        {pings.JSON: wire.DecisionDocument},
        "Allow *and* deny are 200: the status speaks of the request, the body of the phone.",
        ("explain", "strict"),
        {pings.JSON: wire.PingDocument},
        _PING,
        _OF_BODIES,
    ),
    ("post", "/v1/decisions/batch"): Operation(
        "Decide on many pings",
        "decisions",
        {pings.JSON: wire.BatchDocument, NDJSON: str},
        "An array is answered with an array in the same order; a stream of lines with a line for each, while it comes, and"
        ' a last line `{"summary": ..., "complete": true}`, without which it was cut. A ping that is refused is a problem in'
        " its place.",
        ("explain", "strict", "Prefer"),
        {pings.JSON: list[wire.PingDocument], NDJSON: str},
        [_PING],
        _OF_BODIES,
    ),
    ("get", "/v1/resolve"): Operation(
        "Resolve the signals in the query to a region",
        "regions",
        {pings.JSON: wire.ResolutionDocument},
        "At least one of `ip`, `serving` and `sim`; an empty one counts as not given. The policy is not asked.",
        ("ip", "serving", "sim", "explain", "strict", "include"),
        more=(422,),
    ),
    ("post", "/v1/resolve"): Operation(
        "Resolve one ping to a region",
        "regions",
        {pings.JSON: wire.ResolutionDocument},
        "The policy is not asked.",
        ("explain", "strict", "include"),
        {pings.JSON: wire.PingDocument},
        _PING,
        _OF_BODIES,
    ),
    ("get", "/v1/resolve/me"): Operation(
        "Resolve the caller's own address",
        "regions",
        {pings.JSON: wire.ResolutionDocument},
        "The rightmost hop that is no trusted proxy.",
        ("explain", "include"),
    ),
    ("get", "/v1/resolve/{ip}"): Operation(
        "Resolve one address to a region",
        "regions",
        {pings.JSON: wire.ResolutionDocument},
        "",
        ("{ip}", "explain", "include"),
        more=(422,),
        caches=True,
    ),
    ("get", authz.PATH): Operation(
        "Say whether a caller may pass, for proxies",
        "decisions",
        {},
        "Any method, and any path below this one. 200 for allow and review, 403 for deny, both without a body. The address is"
        " the client's as the trusted proxies tell it; the `X-Device-` headers count from a trusted peer only.",
        (authz.SERVING, authz.SIM, authz.SKU, authz.DEVICE_ID),
        headers=authz.DECISION_HEADERS,
        denies=True,
    ),
    ("get", "/v1/policy"): Operation(
        "Show the active policy", "operations", {pings.JSON: OPEN}, "Its regions are expanded to codes.", caches=True
    ),
    ("get", "/v1/metadata"): Operation(
        "Show what answers are made from",
        "operations",
        {pings.JSON: OPEN},
        "Builds and digests of data and policy, the version, and the worker that answers.",
        caches=True,
    ),
    ("get", "/livez"): Operation("Say whether the loop turns", "operations", {pings.JSON: wire.LivenessDocument}),
    ("get", "/healthz"): Operation("Say whether the loop turns", "operations", {pings.JSON: wire.LivenessDocument}, "As /livez."),
    ("get", "/readyz"): Operation(
        "Say whether this instance should get traffic",
        "operations",
        {pings.JSON: wire.ReadinessDocument},
        "503 while a check fails; the problem carries the same `checks`.",
    ),
    ("get", "/version"): Operation("Name the version", "operations", {pings.JSON: wire.VersionDocument}),
    ("get", "/openapi.json"): Operation("Give this document", "operations", {pings.JSON: OPEN}, caches=True),
}

_TAGS = {
    "decisions": "Where a phone is, and whether it may be activated there.",
    "regions": "Where a phone is.",
    "operations": "For load balancers, orchestrators and people.",
}


def openapi_document() -> dict[str, Any]:
    """Make the document, as JSON types."""
    definitions = _definitions()
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method] = _operation(method, path, operation)
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": "regionresolver",
            "version": version("regionresolver"),
            "summary": "In which region is this phone, and may it be activated there?",
            "description": "Inside `/v1`, changes only add: ignore members that you do not know.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "security": [{}, {"apiKey": []}],
        "components": {
            "securitySchemes": {
                "apiKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Where API keys are asked for, one of them, for all but the health of the service.",
                }
            },
            "schemas": definitions,
            "parameters": {_component(name): row for name, row in _PARAMETERS.items()},
            "responses": {f"Problem{status}": _problem(status, codes) for status, codes in sorted(_codes().items())},
            "headers": {
                "RequestId": {"description": "Taken from the request, or made.", "required": True, "schema": {"type": "string"}},
                "Decision": {
                    "description": "Of the decision; empty without one.",
                    "required": True,
                    "schema": {"type": "string"},
                },
            },
        },
    }


def _operation(method: str, path: str, operation: Operation) -> dict[str, Any]:
    refusals = {*_ALWAYS, *operation.more}
    if path not in EXEMPT:
        refusals |= {status for status in _OF_KEYS if not (operation.denies and status == 403)}
    answers = {"200": _answer(operation)}
    if operation.denies:
        denied = "The policy denies; or, with a problem for its body, the API key does not hold."
        answers["403"] = answers["200"] | {"description": denied}
    if operation.caches:
        answers["304"] = {"description": "The copy that the client has is current."}
    parameters = (*operation.parameters, REQUEST_ID)
    found: dict[str, Any] = {
        "operationId": "-".join([method, *filter(None, path.replace("{", "").replace("}", "").split("/"))]),
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [{"$ref": f"#/components/parameters/{_component(name)}"} for name in parameters],
        "responses": answers | {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in sorted(refusals)},
    }
    if operation.description:
        found["description"] = operation.description
    if operation.takes is not None:
        content = {media: {"schema": _schema(taken)} for media, taken in operation.takes.items()}
        content[pings.JSON]["example"] = operation.example
        found["requestBody"] = {"required": True, "content": content}
    return found


def _answer(operation: Operation) -> dict[str, Any]:
    headers: dict[str, Any] = {str(request_id.HEADER): {"$ref": "#/components/headers/RequestId"}}
    headers |= {name: {"$ref": "#/components/headers/Decision"} for name in operation.headers}
    content = {media: {"schema": _schema(answered)} for media, answered in operation.answers.items()}
    return {"description": "The answer.", "headers": headers} | ({"content": content} if content else {})


def _problem(status: int, codes: Sequence[str]) -> dict[str, Any]:
    schema = {"allOf": [{"$ref": f"{_SCHEMAS}Problem"}, {"properties": {"status": {"const": status}, "code": {"enum": codes}}}]}
    return {
        "description": "Codes: " + ", ".join(codes),
        "headers": {REQUEST_ID: {"$ref": "#/components/headers/RequestId"}},
        "content": {problems.CONTENT_TYPE: {"schema": schema}},
    }


def _codes() -> dict[int, list[str]]:
    """Give the codes of every error that is answered, by status."""
    kinds = [found for found in (*vars(problems).values(), authz.FAULT) if isinstance(found, problems.Kind)]
    found = {(kind.status, kind.code) for kind in kinds} | {(error.status, error.code) for error in _PING_ERRORS}
    by_status: dict[int, list[str]] = {}
    for status, code in sorted(found):
        by_status.setdefault(status, []).append(code)
    return by_status


# --- parameters


def _text(kind: Any) -> dict[str, Any]:
    return TypeAdapter(kind).json_schema()


def _query(name: str, text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": text, "schema": dict(schema)}


def _device(name: str, text: str, kind: Any) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": text, "schema": _text(kind)}


def _chosen(name: str, text: str) -> dict[str, Any]:
    return _query(name, text, {"type": "string", "enum": list(pings.CHOICES[name])})


_PARAMETERS: Final[Mapping[str, dict[str, Any]]] = {
    "ip": _query("ip", "An address, as in a ping.", _text(wire.Address)),
    "serving": _query("serving", "The PLMN that the phone is registered on.", _text(wire.ServingPlmn)),
    "sim": _query("sim", "The SIM's PLMN, or an IMSI.", _text(wire.HomePlmn)),
    "explain": _chosen("explain", "How much of the why the answer carries."),
    "strict": _chosen("strict", "Refuse a malformed signal with 422, instead of a warning."),
    "include": _chosen("include", "Add each database's own record of the address."),
    "{ip}": {
        "name": "ip",
        "in": "path",
        "required": True,
        "description": "An IPv4 or IPv6 address.",
        "schema": _text(wire.Address),
        "example": "46.172.192.10",
    },
    "Prefer": {
        "name": "Prefer",
        "in": "header",
        "description": "`return=minimal`: answer denials, reviews, failures and the summary alone.",
        "schema": {"type": "string", "pattern": "^[!-~]+$"},
        "example": "return=minimal",
    },
    authz.SERVING: _device(authz.SERVING, "The PLMN that the phone is registered on.", wire.ServingPlmn),
    authz.SIM: _device(authz.SIM, "The SIM's PLMN, or an IMSI.", wire.HomePlmn),
    authz.SKU: _device(authz.SKU, "The model.", wire.HeaderText),
    authz.DEVICE_ID: _device(authz.DEVICE_ID, "The device's id, hashed.", wire.HeaderText),
    REQUEST_ID: {
        "name": REQUEST_ID,
        "in": "header",
        "description": "At most 128 visible ASCII characters; echoed. Anything else is replaced.",
        "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
    },
}


def _component(parameter: str) -> str:
    return "PathIp" if parameter == "{ip}" else parameter.replace("-", "")


# --- schemas


def _schema(wanted: Any) -> dict[str, Any]:
    """Give the schema of a body or an answer, pointing at the definitions."""
    if is_typeddict(wanted):
        return {"$ref": _SCHEMAS + wanted.__name__.removesuffix(_SUFFIX)}
    if wanted == list[wire.PingDocument]:
        return {"type": "array", "maxItems": MOST_PINGS, "items": _schema(wire.PingDocument)}
    if wanted is str:
        return {"type": "string", "description": "Lines of JSON, each ended by LF."}
    return {"type": "object"}


def _definitions() -> dict[str, Any]:
    """Make the schemas of all documents."""
    types = [found for name, found in vars(wire).items() if is_typeddict(found) and name.endswith(_SUFFIX)]
    inputs = [(found, "serialization", TypeAdapter(found)) for found in types]
    _, made = TypeAdapter.json_schemas(inputs, ref_template=_SCHEMAS + "{model}")  # type: ignore[arg-type]
    definitions: dict[str, Any] = made["$defs"]
    for found in types:
        for name, text in _descriptions(found).items():
            definitions[found.__name__]["properties"][name].setdefault("description", text)
    definitions["PingDocument"]["anyOf"] = [{"required": [name]} for name in wire.SignalFields.__annotations__]
    return {name.removesuffix(_SUFFIX): _plain(schema) for name, schema in sorted(definitions.items())}


def _descriptions(document: Any) -> dict[str, str]:
    """Give the text below each member, those of its bases too: pydantic leaves the bases of such types out."""
    found: dict[str, str] = {}
    for part in [*get_original_bases(document), document]:
        if part is not document and is_typeddict(part):
            found |= _descriptions(part)
    properties = TypeAdapter(document).json_schema().get("properties", {})
    return found | {name: member["description"] for name, member in properties.items() if "description" in member}


def _plain(schema: Any) -> Any:
    """Leave out titles made of names, and the suffix of the types' names."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema.removesuffix(_SUFFIX) if isinstance(schema, str) and schema.startswith(_SCHEMAS) else schema
    kept = {key: value for key, value in schema.items() if key != "title" or not isinstance(value, str)}
    return {key: _plain(value) for key, value in kept.items()}


def main() -> None:
    """Write the document to standard output, as it is shipped."""
    sys.stdout.buffer.write(as_shipped(openapi_document()))


def as_shipped(document: Mapping[str, object]) -> bytes:
    """Give the document's bytes: indented, for people who compare two of them."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


if __name__ == "__main__":
    main()
