"""What was measured, as one JSON document, and that document as tables for a terminal or a Markdown page.

The document's `schema` changes when a field goes or changes its meaning; new fields only add. Shares lie in [0, 1] and are
null of nothing; an `interval` holds the ends of the 95 % interval. `weighted` blocks count each scenario with the share of
the traffic that the scenario file assumes, and are null without one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.accuracy.measure import JUDGED, NO_REGION, Answer, Outcome
from benchmarks.accuracy.metrics import Band, Tally, brier, calibration_error
from regionresolver.model import Effect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from benchmarks.accuracy.labelled import Scenario
    from benchmarks.accuracy.measure import Run, Scores

SCHEMA = "regionresolver.accuracy/1"

WORST = 10
REASONS = 3

Document = dict[str, Any]
Weights = dict[str, float]


def document_of(run: Run, scenarios: Mapping[str, Scenario]) -> Document:
    """Return everything that was measured of one run."""
    scores = run.scores
    counts = Counter[str]()
    for answer, count in scores.answers.items():
        counts[answer.scenario] += count
    weights = _weights(counts, scenarios)
    metadata = run.resolver.metadata()
    return {
        "name": run.name,
        "policy": metadata["policy"],
        "sources": [
            {key: source[key] for key in ("name", "database_type", "built_at", "sha256")}
            for source in metadata["sources"]  # type: ignore[attr-defined]
        ],
        "plmn_table": metadata["plmn_table"],
        "overall": _overall(scores, weights),
        "scenarios": [_scenario(name, scores, scenarios.get(name)) for name in sorted(counts, key=_order(scenarios))],
        "bands": _bands(scores, weights),
        "rows": _rows(scores, weights),
        "bases": _bases(scores),
        "regions": [_region(word, scores, weights) for word in run.judge.words],
        "confusion": _confusion(scores, run.judge.groups),
        "worst": _worst(scores, counts),
    }


def _weights(counts: Mapping[str, int], scenarios: Mapping[str, Scenario]) -> Weights | None:
    """The weight of one ping of each scenario: None unless the scenario file knows them all."""
    if not counts or not all(name in scenarios for name in counts):
        return None
    present = sum(scenarios[name].share for name in counts)
    return {name: scenarios[name].share / present / count for name, count in counts.items()} if present else None


def _order(scenarios: Mapping[str, Scenario]) -> Callable[[str], tuple[int, str]]:
    places = {name: place for place, name in enumerate(scenarios)}
    return lambda name: (places.get(name, len(places)), name)


def _share(tally: Tally) -> Document:
    return {"share": tally.share, "interval": list(tally.interval) if tally.trials else None}


def _tally(answers: Iterable[tuple[Answer, int]], weights: Weights | None = None) -> Tally:
    """Count answers that can be judged; a hit is a right one."""
    tally = Tally()
    for answer, count in answers:
        if answer.outcome in JUDGED:
            weight = 1.0 if weights is None else weights[answer.scenario]
            tally.add(count, count if answer.outcome is Outcome.RIGHT else 0, weight)
    return tally


def _outcomes(answers: Iterable[tuple[Answer, int]]) -> dict[str, int]:
    counts = Counter[Outcome]()
    for answer, count in answers:
        counts[answer.outcome] += count
    return {outcome.value: counts[outcome] for outcome in Outcome}


def _calibration(scores: Scores, weights: Weights | None) -> list[Band]:
    by_confidence: defaultdict[int, list[tuple[Answer, int]]] = defaultdict(list)
    for answer, count in scores.answers.items():
        if answer.outcome in JUDGED:
            by_confidence[answer.confidence].append((answer, count))
    return [
        Band(confidence / 100, _tally(by_confidence[confidence], weights)) for confidence in sorted(by_confidence, reverse=True)
    ]


def _decision_counts(scores: Scores, scenario: str | None = None) -> dict[str, int]:
    """Count decisions by what was expected and what was given, e.g. "deny_allow"; the first is what ought to have been."""
    counts = {f"{expected.value}_{given.value}": 0 for expected in Effect for given in Effect}
    for decided, count in scores.decisions.items():
        if scenario in (None, decided.scenario):
            counts[f"{decided.expected.value}_{decided.given.value}"] += count
    return counts


def _decision_shares(scores: Scores, weights: Weights | None) -> Document:
    """The shares of false and missed denials among the pings that ought not, or ought, to be denied."""
    false_denials, missed_denials = Tally(), Tally()
    for decided, count in scores.decisions.items():
        weight = 1.0 if weights is None else weights[decided.scenario]
        if decided.expected is Effect.DENY:
            missed_denials.add(count, count if decided.given is Effect.ALLOW else 0, weight)
        else:
            false_denials.add(count, count if decided.given is Effect.DENY else 0, weight)
    return {"false_denials": _share(false_denials), "missed_denials": _share(missed_denials)}


def _summary(scores: Scores, weights: Weights | None) -> Document:
    bands = _calibration(scores, weights)
    right = _tally(scores.answers.items(), weights)
    return {
        "right": _share(right),
        "effective_pings": right.effective,
        "calibration_error": calibration_error(bands),
        "brier": brier(bands),
        **_decision_shares(scores, weights),
    }


def _overall(scores: Scores, weights: Weights | None) -> Document:
    return {
        "pings": sum(scores.answers.values()),
        "outcomes": _outcomes(scores.answers.items()),
        "silent": sum(scores.silent.values()),
        "decisions": _decision_counts(scores),
        "unweighted": _summary(scores, None),
        "weighted": None if weights is None else _summary(scores, weights),
    }


def _scenario(name: str, scores: Scores, known: Scenario | None) -> Document:
    answers = [(answer, count) for answer, count in scores.answers.items() if answer.scenario == name]
    tally = _tally(answers)
    stated = sum(answer.confidence * count for answer, count in answers if answer.outcome in JUDGED)
    return {
        "scenario": name,
        "what": known.what if known else None,
        "share_assumed": known.share if known else None,
        "unsure": known.is_unsure if known else None,
        "pings": sum(count for _, count in answers),
        "outcomes": _outcomes(answers),
        "right": _share(tally),
        "mean_confidence": stated / tally.trials / 100 if tally.trials else None,
        "silent": scores.silent[name],
        "decisions": _decision_counts(scores, name),
    }


def _band(band: Band, weighted: Band | None) -> Document:
    return {
        "confidence": band.confidence,
        "pings": round(band.tally.trials),
        "right": round(band.tally.hits),
        **_share(band.tally),
        "verdict": band.verdict,
        "weighted": weighted
        and {
            **_share(weighted.tally),
            "share_of_traffic": weighted.tally.trials,
            "effective_pings": weighted.tally.effective,
            "verdict": weighted.verdict,
        },
    }


def _bands(scores: Scores, weights: Weights | None) -> list[Document]:
    plain = _calibration(scores, None)
    weighted = _calibration(scores, weights) if weights is not None else [None] * len(plain)
    return [_band(*pair) for pair in zip(plain, weighted, strict=True)]


def _rows(scores: Scores, weights: Weights | None) -> list[Document]:
    """One entry for each row of the fusion table and confidence that it stated."""
    held: defaultdict[tuple[str, int], list[tuple[Answer, int]]] = defaultdict(list)
    for answer, count in scores.answers.items():
        held[answer.row, answer.confidence].append((answer, count))
    found = []
    for (row, confidence), answers in sorted(held.items(), key=lambda item: (_row_place(item[0][0]), -item[0][1])):
        band = Band(confidence / 100, _tally(answers))
        weighted = None if weights is None else Band(confidence / 100, _tally(answers, weights))
        by_scenario = Counter[str]()
        for answer, count in answers:
            by_scenario[answer.scenario] += count
        missing = {answer.scenario for answer, _ in answers if answer.outcome in (Outcome.WRONG, Outcome.COARSE)}
        found.append(
            {
                "row": row,
                **_band(band, weighted),
                "outcomes": _outcomes(answers),
                "scenarios": dict(by_scenario.most_common()),
                "wrong_in": sorted(missing),
            }
        )
    return found


def _row_place(row: str) -> tuple[int, str]:
    digits = "".join(character for character in row if character.isdigit())
    return (int(digits) if digits else 0, row)


def _bases(scores: Scores) -> list[Document]:
    held: defaultdict[str, list[tuple[Answer, int]]] = defaultdict(list)
    for answer, count in scores.answers.items():
        held[answer.basis].append((answer, count))
    return [
        {
            "basis": basis,
            "pings": sum(count for _, count in answers),
            "outcomes": _outcomes(answers),
            **_share(_tally(answers)),
        }
        for basis, answers in sorted(held.items())
    ]


def _region(word: str, scores: Scores, weights: Weights | None) -> Document:
    """Precision: of the answers that say the region, those that are right; recall: of the phones in it, those found."""
    found: Document = {"region": word}
    for key, chosen in (("unweighted", None), ("weighted", weights)):
        if key == "weighted" and weights is None:
            found[key] = None
            continue
        precision, recall = Tally(), Tally()
        for member, count in scores.regions.items():
            if member.word != word:
                continue
            weight = 1.0 if chosen is None else chosen[member.scenario]
            if member.is_said:
                precision.add(count, count if member.is_in else 0, weight)
            if member.is_in:
                recall.add(count, count if member.is_said else 0, weight)
        found[key] = {"precision": _share(precision), "recall": _share(recall)}
        if chosen is None:
            found |= {"in_it": round(recall.trials), "said": round(precision.trials), "both": round(recall.hits)}
    return found


def _confusion(scores: Scores, groups: Sequence[str]) -> Document:
    """The table of regions: a row for where phones are, a column for what was answered; each cell right and not right."""
    cells: dict[str, dict[str, dict[str, int]]] = {}
    for (truth, said, outcome), count in scores.confusion.items():
        cell = cells.setdefault(truth, {}).setdefault(said, {"right": 0, "other": 0})
        cell["right" if outcome in (Outcome.RIGHT, Outcome.UNJUDGED) else "other"] += count
    return {"groups": [*groups, NO_REGION], "cells": cells}


def _worst(scores: Scores, counts: Mapping[str, int]) -> list[Document]:
    """The scenarios with the largest share of answers that are not right, and why."""
    shares = {name: sum(faults.values()) / counts[name] for name, faults in scores.faults.items()}
    worst = sorted(shares, key=lambda name: (-shares[name], name))[:WORST]
    return [
        {
            "scenario": name,
            "pings": counts[name],
            "not_right": sum(scores.faults[name].values()),
            "faults": [
                {**fault._asdict(), "pings": count, "first_line": scores.first_lines[name, fault]}
                for fault, count in scores.faults[name].most_common(REASONS)
            ],
        }
        for name in worst
    ]


@dataclass(frozen=True, slots=True)
class Table:
    """A table before it is drawn: `notes` stand under it; all but the first column are figures unless `is_text`."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    notes: str = ""
    is_text: bool = False


def tables_of(run: Document) -> list[Table]:
    """Return the tables of one run, the scenarios first."""
    return [
        _scenario_table(run),
        _decision_table(run),
        _band_table(run),
        _row_table(run),
        _basis_table(run),
        _region_table(run),
        _confusion_table(run),
        _worst_table(run),
        _overall_table([run]),
    ]


def side_by_side(runs: Sequence[Document]) -> list[Table]:
    """Return the tables that compare runs."""
    rows = []
    for place, scenario in enumerate(runs[0]["scenarios"]):
        shares = [run["scenarios"][place]["right"]["share"] for run in runs]
        if len(set(map(percent, shares))) > 1:
            rows.append((scenario["scenario"], str(scenario["pings"]), *map(percent, shares)))
    names = tuple(run["name"] for run in runs)
    notes = "Scenarios in which all are equally right are left out."
    return [_overall_table(runs), Table("Right, by scenario", ("scenario", "pings", *names), rows, notes)]


def percent(share: float | None) -> str:
    """Write a share as a percentage with one digit; a dash for none. 100.0 is said of everything only."""
    if share is None:
        return "-"
    rounded = f"{share * 100:.1f}"
    return ">99.9" if rounded == "100.0" and share < 1 else "<0.1" if rounded == "0.0" and share > 0 else rounded


def _with_interval(found: Document) -> str:
    if found["share"] is None:
        return "-"
    low, high = found["interval"]
    return f"{percent(found['share'])} ({low * 100:.1f}-{high * 100:.1f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _scenario_table(run: Document) -> Table:
    rows = []
    for row in run["scenarios"]:
        outcomes = row["outcomes"]
        name = row["scenario"] + (" *" if row["unsure"] else "")
        share = "-" if row["share_assumed"] is None else f"{row['share_assumed'] * 100:g}"
        right = _with_interval(row["right"])
        others = (str(outcomes[key.value]) for key in (Outcome.COARSE, Outcome.WRONG, Outcome.UNANSWERED, Outcome.UNJUDGED))
        rows.append((name, str(row["pings"]), right, *others, str(row["silent"]), _number(row["mean_confidence"])[:4], share))
    columns = ("scenario", "pings", "right %", "coarse", "wrong", "none", "unjudged", "silent", "stated", "assumed share %")
    notes = (
        "`right %` is of the answers that can be judged, with its 95 % interval; `silent` counts coarse and wrong answers "
        "without any conflict; `stated` is the mean confidence. * the signals do not hold the answer, by construction."
    )
    return Table("By scenario", columns, rows, notes)


def _decision_table(run: Document) -> Table:
    def row(name: str, counts: Mapping[str, int]) -> tuple[str, ...]:
        denied = sum(counts[f"deny_{given.value}"] for given in Effect)
        others = sum(counts.values()) - denied
        false_denials = counts["allow_deny"] + counts["review_deny"]
        return (name, str(denied), str(counts["deny_allow"]), str(counts["deny_review"]), str(others), str(false_denials),
                str(counts["allow_review"]))  # fmt: skip

    rows = [
        row(scenario["scenario"] + (" *" if scenario["unsure"] else ""), scenario["decisions"])
        for scenario in run["scenarios"]
        if any(count for key, count in scenario["decisions"].items() if key.split("_")[0] != key.split("_")[1])
    ]
    rows.append(row("all scenarios", run["overall"]["decisions"]))
    columns = (
        "scenario",
        "to be denied",
        "missed denials",
        "sent to review",
        "not to be denied",
        "false denials",
        "needless reviews",
    )
    notes = (
        "What the same policy says once the region is known for certain is what ought to be. Faultless scenarios are left out."
    )
    return Table(f"Decisions under {run['policy']['label']}", columns, rows, notes)


def _band_columns(row: Document) -> tuple[str, ...]:
    weighted = row["weighted"]
    return (
        f"{row['confidence']:.2f}",
        str(row["pings"]),
        _with_interval(row),
        row["verdict"] if row["pings"] else "-",
        _with_interval(weighted) if weighted else "-",
        weighted["verdict"] if weighted and row["pings"] else "-",
    )


_BANDS = ("stated", "judged", "right %", "verdict", "right % weighted", "verdict weighted")


def _band_table(run: Document) -> Table:
    notes = (
        "`fits`: the stated confidence lies in the 95 % interval of the share that was right. `weighted` counts each "
        "scenario with its assumed share of the traffic, and its interval is that of the effective number of pings."
    )
    return Table("By confidence", _BANDS, [_band_columns(row) for row in run["bands"]], notes)


def _row_table(run: Document) -> Table:
    rows = [(row["row"], *_band_columns(row), ", ".join(row["wrong_in"]) or "-") for row in run["rows"]]
    return Table("By row of the fusion table", ("row", *_BANDS, "not right in"), rows)


def _basis_table(run: Document) -> Table:
    rows = [
        (row["basis"], str(row["pings"]), _with_interval(row), *(str(row["outcomes"][outcome.value]) for outcome in Outcome))
        for row in run["bases"]
    ]
    return Table("By basis", ("basis", "pings", "right %", *(outcome.value for outcome in Outcome)), rows)


def _region_table(run: Document) -> Table:
    rows = []
    for row in run["regions"]:
        plain, weighted = row["unweighted"], row["weighted"]
        shares = [_with_interval(plain["precision"]), _with_interval(plain["recall"])]
        shares += [percent(weighted[key]["share"]) if weighted else "-" for key in ("precision", "recall")]
        rows.append((row["region"], str(row["in_it"]), str(row["said"]), str(row["both"]), *shares))
    columns = (
        "region",
        "phones in it",
        "answered",
        "both",
        "precision %",
        "recall %",
        "precision % weighted",
        "recall % weighted",
    )
    return Table(
        "Regions that the policy names", columns, rows, "Precision depends on the mix of the file: see the weighted one."
    )


def _confusion_table(run: Document) -> Table:
    groups, cells = run["confusion"]["groups"], run["confusion"]["cells"]
    said = [group for group in groups if any(group in row for row in cells.values())]
    rows = []
    for truth in (group for group in groups if group in cells):
        drawn = []
        for group in said:
            cell = cells[truth].get(group, {"right": 0, "other": 0})
            texts = (str(cell["right"]) if cell["right"] else "", f"({cell['other']})" if cell["other"] else "")
            drawn.append(" ".join(text for text in texts if text) or ".")
        rows.append((truth, *drawn))
    notes = "A row for where the phones are, a column for what was answered; what is not right stands in brackets."
    return Table("Confusion", ("truth \\ answer", *said), rows, notes)


def _worst_table(run: Document) -> Table:
    rows = []
    for scenario in run["worst"]:
        for place, fault in enumerate(scenario["faults"]):
            head = (scenario["scenario"], f"{scenario['not_right']} of {scenario['pings']}") if place == 0 else ("", "")
            rows.append(
                (*head, str(fault["outcome"]), fault["row"], str(fault["pings"]), fault["reason"], str(fault["first_line"]))
            )
    columns = ("scenario", "not right", "outcome", "row", "pings", "reason of the label", "first line")
    return Table("Worst scenarios", columns, rows, is_text=True)


def _overall_table(runs: Sequence[Document]) -> Table:
    def line(name: str, read: Callable[[Document], str]) -> tuple[str, ...]:
        return (name, *(read(run["overall"]) for run in runs))

    rows = [line("pings", lambda found: str(found["pings"]))]
    rows += [line(outcome.value, lambda found, key=outcome.value: str(found["outcomes"][key])) for outcome in Outcome]  # type: ignore[misc]
    rows.append(line("silent", lambda found: str(found["silent"])))
    for block in ("unweighted", "weighted"):
        if any(run["overall"][block] is None for run in runs):
            continue
        for key, name in (("right", "right %"), ("false_denials", "false denials %"), ("missed_denials", "missed denials %")):
            rows.append(line(f"{name}, {block}", lambda found, b=block, k=key: _with_interval(found[b][k])))  # type: ignore[misc]
        for key, name in (("calibration_error", "calibration error"), ("brier", "Brier score")):
            rows.append(line(f"{name}, {block}", lambda found, b=block, k=key: _number(found[b][k])))  # type: ignore[misc]
    notes = (
        "`weighted` counts each scenario with the share that the scenario file assumes (last column of the first table); "
        "`unweighted` is the mix of the file, which is no traffic."
    )
    return Table("Overall", ("", *(run["name"] for run in runs)), rows, notes)


def markdown(table: Table, level: int = 3) -> str:
    """Draw a table in Markdown."""
    aligned = "|".join([" --- ", *((" --- " if table.is_text else " ---: ") for _ in table.columns[1:])])
    lines = [f"{'#' * level} {table.title}", "", _markdown_row(table.columns), f"|{aligned}|", *map(_markdown_row, table.rows)]
    return "\n".join([*lines, *(["", table.notes] if table.notes else []), ""])


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"
