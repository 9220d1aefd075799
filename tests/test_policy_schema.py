"""The JSON Schema of a policy: it takes what the loader takes, finds planted errors, and says something of every key."""

from __future__ import annotations

import datetime as dt
import json
import tomllib
from typing import Any

import pytest

from regionresolver.policy import SHIPPED, shipped_policy
from regionresolver.policy.schema import SCHEMA_ID, policy_schema
from tests.policies import HEADER, LISTING, catalogue
from tests.test_cli import invoke

jsonschema = pytest.importorskip("jsonschema", reason="needs the extra `test`")

RULE = '[[rules]]\nid = "r"\neffect = "deny"\n'


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = policy_schema(catalogue())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


def as_json(value: object) -> Any:
    """Write TOML's dates as texts, as Taplo does before it asks the schema."""
    if isinstance(value, dict):
        return {key: as_json(one) for key, one in value.items()}
    if isinstance(value, list):
        return [as_json(one) for one in value]
    return value.isoformat() if isinstance(value, dt.date) else value


def faults(validator: Any, text: str) -> list[str]:
    return [fault.json_path for fault in validator.iter_errors(as_json(tomllib.loads(text)))]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_policies_fit(name: str, validator: Any) -> None:
    assert faults(validator, shipped_policy(name).read_text("utf-8")) == []


def test_the_listing_of_the_specification_fits(validator: Any) -> None:
    assert faults(validator, LISTING) == []


def test_every_way_of_writing_fits(validator: Any) -> None:
    when = 'region = "CU", sold_in = ["RU-CR", "own"], sku = "A*", conflict = "sim_only", device_id = ["h:1"]'
    when += ', home_region_not = "crimea", signal_status = { ip = "reserved", home_plmn = ["invalid"] }, confidence_below = 0.5'
    text = HEADER + RULE + f"when = {{ {when} }}\nretry_after = '1h'\nreview_by = 2026-01-01\n"
    text += '[[rules]]\nid = "s"\neffect = "allow"\nwhen = { device_id = { ids = "h:1", until = 2026-01-01T00:00:00Z } }\n'
    text += '[[tests]]\nname = "t"\nat = 2026-01-01T00:00:00Z\nping = { sim = { mcc = "368", mnc = "01" } }\n'
    assert faults(validator, text + 'expect = { shadow = "none" }\n') == []


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (LISTING.replace("version = 41", 'version = "41"'), "$.policy.version"),
        (LISTING.replace('mode = "enforce"', 'mode = "on"'), "$.rules[2].mode"),
        (LISTING.replace("retry_after", "retry_afer"), "$.rules[2]"),
        (LISTING.replace('"P1D"', '"P1M"'), "$.rules[2].retry_after"),
        (LISTING.replace("percent = 25", "percent = 125"), "$.rules[2].rollout.stages[1].percent"),
        (LISTING.replace('"KP", "crimea"', '"KOR", "crimea"'), "$.regions['embargo-six']"),
        (LISTING.replace('serving = "36801"', "serving = 36801"), "$.tests[0].ping.serving"),
        (LISTING.replace("2021-08-31T00:00:00Z, until", "'31/8/2021', until"), "$.rules[2].effective.from"),
        (LISTING.replace("messages.REGION", "messages.region"), "$.messages"),
        (HEADER + RULE, "$.rules[0]"),
        (HEADER + RULE + "when = { region = [] }", "$.rules[0].when.region"),
        (HEADER + RULE + "when = { regoin = 'CU' }", "$.rules[0].when"),
    ],
)
def test_a_planted_error_is_found_at_its_place(text: str, where: str, validator: Any) -> None:
    assert faults(validator, text) == [where]


def test_every_key_says_what_it_is() -> None:
    schema = policy_schema(catalogue())
    for name, definition in [("Policy", schema), *schema["$defs"].items()]:
        for key, found in definition.get("properties", {}).items():
            assert found.get("description"), f"{name}.{key}"


def test_codes_and_names_are_there_to_complete() -> None:
    word = policy_schema(catalogue())["$defs"]["RegionWord"]["anyOf"][0]["enum"]
    assert {"CU", "UA-43", "crimea"} <= set(word)


def test_the_command_prints_the_schema() -> None:
    result = invoke("policy", "schema")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == policy_schema(catalogue())
    assert json.loads(result.stdout)["$id"] == SCHEMA_ID
