"""The record that every benchmark leaves: one line of JSON, checked when it is read, described by a JSON Schema."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from pydantic import ValidationError

from benchmarks.record import (
    SCHEMA,
    SCHEMA_FILE,
    Figure,
    Histogram,
    Measurement,
    Record,
    RecordError,
    Revision,
    append,
    make_record,
    quantile,
    read,
    revision_of,
    schema_text,
    this_machine,
)

if TYPE_CHECKING:
    from pathlib import Path


def sample(**members: Any) -> Record:
    latency = Histogram(name="latency", counts=((100, 90), (200, 9), (5000, 1)))
    under_load = Measurement(
        layer="service",
        stage="decisions",
        conditions={"offered_rate": 20_000, "planned": "poisson", "share_of_capacity": None},
        figures=(Figure(name="p99", value=200, unit="ns", low=190, high=230, rounds=5, noise=0.23),),
        histograms=(latency,),
    )
    return make_record([under_load], **members)


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "history.ndjson"
    first, second = sample(), sample(notes=("the second",))
    append(first, path)
    append(second, path)
    assert read(path) == [first, second]
    assert path.read_text().count("\n") == 2


def test_a_line_that_was_cut_off_does_not_take_the_next_with_it(tmp_path: Path) -> None:
    path = tmp_path / "history.ndjson"
    path.write_text('{"schema": "regio')
    append(sample(), path)
    with pytest.raises(RecordError, match=r"history\.ndjson:1: .*remove the line"):
        read(path)
    assert Record.model_validate_json(path.read_text().splitlines()[1])


def test_the_schema_file_is_that_of_the_model() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), "run: python -m benchmarks.record"


def test_the_schema_takes_what_the_model_writes_and_nothing_else() -> None:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    written = json.loads(sample().line())
    check.validate(written)
    for wrong in ({"schema": "regionresolver.bench/0"}, {"measurements": [{"layer": "nano"}]}, {"more": 1}):
        assert list(check.iter_errors(written | wrong)), wrong


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"schema": "regionresolver.bench/2"}, "schema"),
        ({"at": "yesterday"}, "at"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"revision": {"commit": "abc"}}, "revision.commit"),
    ],
)
def test_a_foreign_line_is_refused_with_its_field(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    path = tmp_path / "history.ndjson"
    path.write_text(json.dumps(json.loads(sample().line()) | change))
    with pytest.raises(RecordError, match=rf"history\.ndjson:1: {field}: "):
        read(path)


@pytest.mark.parametrize("counts", [((2, 1), (1, 1)), ((1, 1), (1, 1)), ((1, 0),)])
def test_a_histogram_ascends_and_has_no_empty_bucket(counts: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValidationError):
        Histogram(name="latency", counts=counts)


def test_not_a_number_is_no_figure() -> None:
    with pytest.raises(ValidationError):
        Figure(name="p99", value=float("nan"), unit="ns")


def test_quantiles_are_bounds_of_buckets() -> None:
    counts = ((100, 90), (200, 9), (5000, 1))
    assert [quantile(counts, share) for share in (0, 0.5, 0.9, 0.91, 0.99, 0.991, 1)] == [100, 100, 100, 200, 200, 5000, 5000]
    assert quantile((), 0.99) == 0


def test_the_record_names_the_code_the_machine_and_the_schema() -> None:
    record = sample()
    assert json.loads(record.line())["schema"] == SCHEMA
    assert record.machine == this_machine(), "the fingerprint is the machine's, not the moment's"
    assert record.at.tzinfo is dt.UTC
    assert record.versions.packages["aiohttp"]


def test_a_changed_tree_is_dirty(tmp_path: Path) -> None:
    assert revision_of(tmp_path) == Revision(), "outside git"
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for arguments in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "First: a subject"]):
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True)
    clean = revision_of(tmp_path)
    assert (clean.is_dirty, clean.subject) == (False, "First: a subject")
    (tmp_path / "file").touch()
    assert revision_of(tmp_path) == clean.model_copy(update={"is_dirty": True})
    assert not revision_of(tmp_path, "HEAD~0").is_dirty, "a commit by its own name is what was committed"
