"""The page that an operator reads: one file of HTML with its pictures inside, and the same pictures as PNG.

Nothing is fetched from anywhere, no script runs. Each picture says what is drawn, in which unit, on what, and how to read it;
a layer of which there is no record is said to be missing, with the command that measures it.
"""

from __future__ import annotations

import html
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import matplotlib as mpl
from matplotlib.figure import Figure as Picture

from benchmarks.history.changes import LEAST_RECORDS, Change, Key, Point, all_series, changes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchmarks.record import Measurement, Record

INK: Final = "#1f2933"
QUIET_INK: Final = "#7b8794"
LINES: Final = ("#0b6bcb", "#c2410c", "#15803d", "#7c3aed", "#0e7490", "#be185d")
STROKES: Final = ("-", "--", ":")
LOOKS: Final = tuple((color, stroke) for stroke in STROKES for color in LINES)
"""Colors, and strokes where there are more lines than colors."""
SLOWER: Final = "#c81e1e"
FASTER: Final = "#15803d"
WIDTH_IN: Final = 11.0
SHARES_SHOWN: Final = (0.5, 0.9, 0.99, 0.999, 0.9999)
HEAD: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>regionresolver: benchmarks</title>
<style>
 body { font: 16px/1.5 system-ui, sans-serif; color: #1f2933; background: #fff; max-width: 1100px;
  margin: 2rem auto; padding: 0 1rem }
 h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.5rem } p { max-width: 48rem }
 svg { width: 100%; height: auto } table { border-collapse: collapse; font-size: .9rem } .scroll { overflow-x: auto }
 th, td { text-align: left; padding: .25rem .75rem; border-bottom: 1px solid #e4e7eb } td.n { text-align: right }
 .slower { color: #c81e1e } .faster { color: #15803d } .quiet { color: #616e7c; font-size: .9rem }
</style></head><body>
"""


@dataclass(frozen=True)
class Section:
    """A heading, what to see in the picture, and the picture; None where nothing was recorded."""

    name: str
    title: str
    words: str
    picture: Picture | None


def write_page(records: Sequence[Record], folder: Path) -> Path:
    """Write `report.html` and a PNG a picture; return where the page is. `records` are in the order of their revisions."""
    folder.mkdir(parents=True, exist_ok=True)
    series = all_series(records)
    changes = [change for key, points in series.items() for change in changes_of(key, points)]
    sections = [
        instructions_over_commits(series, changes),
        latency_over_commits(records, series, changes),
        distributions(records),
        rate_and_latency(records),
        stage_costs(records),
        peers(records),
    ]
    parts = [HEAD, _opening(records), _changes_table(changes)]
    for section in sections:
        parts.append(f'<h2 id="{section.name}">{html.escape(section.title)}</h2>\n<p>{html.escape(section.words)}</p>\n')
        if section.picture is not None:
            parts.append(_svg(section.picture))
            section.picture.savefig(folder / f"{section.name}.png", dpi=110)
    parts.append("</body></html>\n")
    page = folder / "report.html"
    page.write_text("".join(parts), encoding="utf-8")
    return page


# --- the words around the pictures ---


def _opening(records: Sequence[Record]) -> str:
    last = records[-1]
    machines = sorted({(record.machine.processor, record.machine.cores, record.machine.fingerprint) for record in records})
    said = "; ".join(f"{cores} cores of {processor} ({fingerprint})" for processor, cores, fingerprint in machines)
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in last.notes)
    return (
        f"<h1>regionresolver: what it costs, and since when</h1>\n"
        f"<p>{len(records)} records, the last of revision <code>{last.revision.short}</code> "
        f"({html.escape(last.revision.subject or 'no subject')}), measured {last.at:%Y-%m-%d %H:%M} UTC.</p>\n"
        f'<p class="quiet">Measured on {html.escape(said)}; kernel {html.escape(last.machine.kernel)}, '
        f"Python {last.versions.python}, {html.escape(last.versions.compiler or 'unknown compiler')}. Times may be compared "
        f"within one machine, instruction counts within one architecture. How it is measured, and what it cannot say: "
        f"docs/benchmarks.md.</p>\n" + (f"<ul>{notes}</ul>\n" if notes else "")
    )


def _changes_table(changes: Sequence[Change]) -> str:
    if not changes:
        return "<h2>Changes</h2>\n<p>No figure has a change point: nothing recorded became slower or faster for good.</p>\n"
    rows = []
    for change in sorted(changes, key=lambda one: (one.record.at, one.key)):
        word = "slower" if is_worse(change) else "faster"
        subject = html.escape(change.record.revision.subject or "")
        rows.append(
            f"<tr><td><code>{change.record.revision.short}</code></td><td>{subject}</td>"
            f"<td>{html.escape(_figure_name(change.key))}</td>"
            f'<td class="n">{change.before:,.1f}</td><td class="n">{change.after:,.1f}</td>'
            f'<td class="n {word}">{change.change:+.1%} {word}</td></tr>'
        )
    return (
        "<h2>Changes</h2>\n<p>Where a figure went to another level and stayed there, with the first record of the new level. "
        "A change of one commit may be one of several commits, where not every commit was recorded.</p>\n"
        '<div class="scroll"><table><tr><th>from</th><th>subject</th><th>figure</th><th>before</th><th>after</th><th>change</th>'
        "</tr>\n" + "\n".join(rows) + "</table></div>\n"
    )


def _figure_name(key: Key) -> str:
    share = _share_of(key)
    return f"{key.layer}: {key.stage} {key.figure}{f' at {share:.0%} of capacity' if share else ''}"


def _share_of(key: Key) -> float | None:
    found = re.search(r"\bshare ([0-9.]+)", key.conditions)
    return float(found[1]) if found else None


def is_worse(change: Change) -> bool:
    """Say whether a change is for the worse: of a rate, less is."""
    return (change.change < 0) is (change.key.figure == "throughput")


def _svg(picture: Picture) -> str:
    out = io.StringIO()
    # A fixed salt and no date: the same records make the same page.
    with mpl.rc_context({"svg.hashsalt": "regionresolver", "svg.fonttype": "none"}):
        picture.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    # What names the format and its parts is a name, not a place; HTML needs none of it.
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns="[^"]*"', "", text)
    return text.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "").replace("xlink:href", "href")


def _picture(rows: int, columns: int = 1, *, height_in: float) -> tuple[Picture, list[Axes]]:
    picture = Picture(figsize=(WIDTH_IN, height_in), layout="constrained")
    axes = picture.subplots(rows, columns, squeeze=False)
    found = [one for row in axes for one in row]
    for one in found:
        one.tick_params(colors=INK, labelsize=9)
        one.grid(visible=True, color="#e4e7eb", linewidth=0.8)
        one.set_axisbelow(True)
        for side in ("top", "right"):
            one.spines[side].set_visible(False)
    return picture, found


def _log_of_us(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.set_ylabel("latency, microseconds (log scale)", color=INK)
    for formatted in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatted(lambda value, _: f"{value:,.0f}" if f"{value:e}"[0] in "125" else "")


def _commit_axis(axes: Axes, records: Sequence[Record], *, most: int = 30) -> None:
    step = max(1, -(-len(records) // most))
    places = list(range(0, len(records), step))
    axes.set_xticks(
        places, [records[at].revision.short for at in places], rotation=60, ha="right", fontsize=8, family="monospace"
    )
    axes.set_xlim(-0.5, max(len(records) - 0.5, 0.5))


def _mark(axes: Axes, change: Change, value: float, at: int) -> None:
    worse = is_worse(change)
    axes.axvline(at - 0.5, color=SLOWER if worse else FASTER, linewidth=1.2, linestyle="--")
    axes.annotate(
        f"{change.change:+.0%}" if abs(change.change) >= 0.095 else f"{change.change:+.1%}",
        (at, value),
        xytext=(3, 6),
        textcoords="offset points",
        color=SLOWER if worse else FASTER,
        fontsize=9,
        fontweight="bold",
    )


# --- the pictures ---


def instructions_over_commits(series: dict[Key, list[Point]], changes: Sequence[Change]) -> Section:
    """Draw the instruction counts of each stage over commits, as a share of the first."""
    title = "Instructions of each stage, over commits"
    found = {key: points for key, points in series.items() if key.layer == "instructions"}
    if not found:
        return Section("instructions", title, "Not recorded: make bench-record ARGS='--layers instructions'.", None)
    columns = 4
    rows = -(-len(found) // columns)
    picture, axes = _picture(rows, columns, height_in=2.3 * rows + 0.4)
    for one, (key, points) in zip(axes, found.items(), strict=False):
        first = points[0].figure.value
        shares = [100 * point.figure.value / first for point in points]
        one.plot(range(len(shares)), shares, color=LINES[0], linewidth=1.6, drawstyle="steps-mid", marker="o", markersize=3)
        one.set_title(f"{key.stage}: {points[-1].figure.value:,.0f}", fontsize=10, color=INK, loc="left")
        low, high = min(*shares, 98.0), max(*shares, 102.0)
        one.set_ylim(low - (high - low) * 0.1, high + (high - low) * 0.3)
        for change in changes:
            if change.key == key:
                _mark(one, change, shares[change.at], change.at)
        _commit_axis(one, [point.record for point in points], most=7)
        one.set_ylabel("% of the first", fontsize=8, color=QUIET_INK)
    for one in axes[len(found) :]:
        one.set_visible(False)
    words = (
        "One operation of each stage, counted by callgrind; the number beside the name is the last record's. 100 % is the first "
        "record of the stage. Lower is cheaper. A dashed line is a change point: red: dearer, green: cheaper. "
        "Changes below 1 % are not marked."
    )
    return Section("instructions", title, words, picture)


def latency_over_commits(records: Sequence[Record], series: dict[Key, list[Point]], changes: Sequence[Change]) -> Section:
    """Draw p50 and p99 of the service over commits."""
    title = "p99 of the service, over commits"
    found = {key: points for key, points in series.items() if key.layer == "service" and key.figure == "p99"}
    if not found:
        return Section("p99", title, "Not recorded: make bench-service.", None)
    picture, axes = _picture(1, height_in=4.6)
    (one,) = axes
    # A percentile may be withheld in one record and not in another: each has its place all the same.
    told = {id(point.record) for points in found.values() for point in points}
    records = [record for record in records if id(record) in told]
    place = {id(record): at for at, record in enumerate(records)}
    for (color, line), (key, points) in zip(LOOKS, found.items(), strict=False):
        places = [place[id(point.record)] for point in points]
        values = [point.figure.value / 1e3 for point in points]
        lows = [max(point.figure.value - (point.figure.low or point.figure.value), 0) / 1e3 for point in points]
        highs = [max((point.figure.high or point.figure.value) - point.figure.value, 0) / 1e3 for point in points]
        share = _share_of(key)
        name = f"{key.stage} at {share:.0%} of capacity" if share else f"{key.stage} at a fixed rate"
        one.errorbar(
            places, values, yerr=[lows, highs], color=color, linestyle=line, marker="o", capsize=3, label=name
        )
        for change in changes:
            if change.key == key:
                _mark(one, change, values[change.at], places[change.at])
    _log_of_us(one)
    one.set_ylim(bottom=one.get_ylim()[0] * 0.8, top=one.get_ylim()[1] * 1.6)
    _commit_axis(one, records)
    one.legend(frameon=False, fontsize=9)
    count = max(map(len, found.values()))
    short = f" {count} of at least {LEAST_RECORDS} records are there for change points." if count < LEAST_RECORDS else ""
    words = (
        "The time that 99 of 100 requests stay under, from when each was due to be sent; bars are the quartiles of the "
        f"rounds. Dashed lines are change points. Lower is better.{short}"
    )
    return Section("p99", title, words, picture)


def _last(records: Sequence[Record], is_wanted: Callable[[Measurement], bool]) -> list[Measurement]:
    """Return the wanted measurements of the last record that has some."""
    for record in reversed(records):
        if found := [one for one in record.measurements if is_wanted(one)]:
            return found
    return []


def _name(measurement: Measurement) -> str:
    share, rate = (measurement.conditions.get(name) for name in ("share", "offered_rate"))
    said = f"{measurement.stage}, {float(rate):,.0f} requests/s" if rate else measurement.stage
    return f"{said} ({float(share):.0%} of capacity)" if share else said


def distributions(records: Sequence[Record]) -> Section:
    """Draw latency by percentile, of the last record with histograms."""
    title = "How latency is distributed"
    found = _last(records, lambda one: one.layer == "service" and bool(one.histograms))
    if not found:
        return Section("distribution", title, "Not recorded: make bench-service.", None)
    picture, (one,) = _picture(1, height_in=4.8)
    for (color, line), measurement in zip(LOOKS, found, strict=False):
        for histogram in measurement.histograms:
            total, seen = histogram.total, 0
            shares, values = [1.0], [histogram.counts[0][0] / 1e3]
            for bound, count in histogram.counts:
                seen += count
                if seen < total:
                    shares.append(total / (total - seen))
                    values.append(bound / 1e3)
            one.plot(shares, values, color=color, linestyle=line, linewidth=1.8, label=_name(measurement))
    one.set_xscale("log")
    _log_of_us(one)
    one.set_xticks([1 / (1 - share) for share in SHARES_SHOWN], [f"{share * 100:g} %" for share in SHARES_SHOWN])
    one.set_xticks([], minor=True)
    one.set_xlabel("share of requests that were faster", color=INK)
    one.legend(frameon=False, fontsize=9)
    words = (
        "Read upwards from a share of requests: at 99 % the curve shows what 1 of 100 requests exceeded. A flat curve is "
        "a service that answers all alike; a step to the right of 99 % is a rare stall. Latency is from the planned send time."
    )
    return Section("distribution", title, words, picture)


def rate_and_latency(records: Sequence[Record]) -> Section:
    """Draw percentiles over the offered rate, of the last record that has several rates."""
    title = "Latency by how much is asked"
    found = _last(records, lambda one: one.layer == "service" and "offered_rate" in one.conditions)
    by_rate = sorted(((float(one.conditions["offered_rate"] or 0), one) for one in found), key=lambda pair: pair[0])
    if len(by_rate) < 2:
        return Section("rate", title, "Not recorded at more than one rate: make bench-service.", None)
    picture, (one,) = _picture(1, height_in=4.4)
    withheld = []
    for stage, line in zip(dict.fromkeys(measurement.stage for measurement in found), STROKES, strict=False):
        for color, name, words in zip(LINES, ("p50", "p99", "p999"), ("half", "99 of 100", "999 of 1000"), strict=False):
            asked = [(rate, measurement.figure(name)) for rate, measurement in by_rate if measurement.stage == stage]
            points = [(rate, figure.value / 1e3) for rate, figure in asked if figure is not None]
            withheld += [f"{name} of {stage} at {rate:,.0f}" for rate, figure in asked if figure is None]
            if points:
                label = f"{stage}: {words} of requests are faster ({name})"
                one.plot(*zip(*points, strict=True), color=color, linestyle=line, marker="o", linewidth=1.8, label=label)
    _log_of_us(one)
    one.set_xlim(left=0)
    one.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    one.set_xlabel("offered requests a second, one worker", color=INK)
    one.legend(frameon=False, fontsize=9)
    missing = f" Not drawn, as the generator may have caused a quarter of it: {', '.join(withheld)}." if withheld else ""
    words = (
        "The last record, at the shares of what one worker can answer that were asked for. Where the curves bend up is where the "
        f"service should not be run for long.{missing}"
    )
    return Section("rate", title, words, picture)


def stage_costs(records: Sequence[Record]) -> Section:
    """Draw time and instructions of an operation of each stage."""
    title = "What a stage costs"
    times = {one.stage: one for one in _last(records, lambda one: one.layer == "micro")}
    counts = {one.stage: one for one in _last(records, lambda one: one.layer == "instructions")}
    names = list(dict.fromkeys([*times, *counts]))[::-1]
    if not names:
        return Section("stages", title, "Not recorded: make bench-record ARGS='--layers micro instructions'.", None)
    sides = [
        (found, label, color)
        for found, label, color in (
            (times, "nanoseconds of CPU time an operation", LINES[0]),
            (counts, "instructions an operation", LINES[1]),
        )
        if found
    ]
    picture, every_axes = _picture(1, len(sides), height_in=0.32 * len(names) + 1.2)
    for axes, (found, label, color) in zip(every_axes, sides, strict=True):
        values = [found[name].figures[0].value if name in found else 0 for name in names]
        axes.barh(names, values, color=color, height=0.65)
        for at, value in enumerate(values):
            text = f" {value:,.0f}" if names[at] in found else " not recorded"
            axes.text(value, at, text, va="center", fontsize=9, color=INK)
        axes.set_xlim(0, max(1, *values) * 1.15)
        axes.set_xlabel(label, color=INK)
        axes.grid(visible=False, axis="y")
    words = (
        "One operation of each stage by itself, in the last record that has it; lower is cheaper. A stage that contains others "
        "(decide, lane, batch) is not their sum: what stands around a call from Python is in each bar once."
    )
    if not times:
        words += " Times were not recorded: make bench-record ARGS='--layers micro'."
    if not counts:
        words += " Instructions were not recorded: make bench-record ARGS='--layers instructions'."
    return Section("stages", title, words, picture)


def _server(measurement: Measurement) -> str:
    scenario, server = (measurement.conditions.get(name) for name in ("scenario", "server"))
    if scenario and server:
        return f"{scenario} {server}"
    request = measurement.conditions.get("request")
    name = "service" if measurement.layer == "service" else measurement.stage
    return f"{request} {name}" if request else name


def peers(records: Sequence[Record]) -> Section:
    """Draw CPU a request of the service and the servers that it is measured against."""
    title = "Beside other servers"
    layers = {"peer", "yardstick", "service"}
    closed = [one for one in records if any(other.layer in {"peer", "yardstick"} for other in one.measurements)]
    found = _last(closed, lambda one: one.layer in layers and one.conditions.get("loop") != "open" and bool(one.figure("cpu")))
    if not found:
        words = "Not recorded: make bench-service, or make bench-http and make bench-record ARGS='--peers FILE'."
        return Section("peers", title, words, None)
    picture, (one,) = _picture(1, height_in=0.4 * len(found) + 1.2)
    named = [(_server(measurement), measurement.figure("cpu")) for measurement in found[::-1]]
    bars = [(stage, figure) for stage, figure in named if figure is not None]
    values = [figure.value / 1e3 for _, figure in bars]
    one.barh(
        [stage for stage, _ in bars], values, color=[LINES[1] if "lane" in stage else "#9fb3c8" for stage, _ in bars], height=0.65
    )
    for at, value in enumerate(values):
        one.text(value, at, f" {value:.2f}", va="center", fontsize=9, color=INK)
    one.set_xlabel("microseconds of CPU time a request", color=INK)
    one.set_xlim(0, max(values) * 1.12)
    one.grid(visible=False, axis="y")
    words = (
        "CPU time of the server's processes for a request, the same load on each; less is cheaper. `lane` is this service, as "
        "is `service`; `no_lane` and `aiohttp` are it without its compiled lane, `plain` is its work in plain aiohttp, "
        "`floor` is C on epoll with a constant answer as long, `uvloop` the same in a bare asyncio protocol; nginx and HAProxy "
        "look a country up and do nothing else of the service's work."
    )
    return Section("peers", title, words, picture)
