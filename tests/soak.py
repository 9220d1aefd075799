"""The faults of `tests.faults` for as long as RELIABILITY's table asks: `make soak`, or `python -m tests.soak --help`.

Prints a table and writes the same as JSON. Exit status: 0 when nothing was wrong.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from tests import faults

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

MEMORY_LIMIT_MIB_PER_HOUR = 1.0
SLOW_CLIENTS_COST = 2.0


def plan(minutes: float) -> dict[str, Callable[[Path], Coroutine[None, None, faults.Found]]]:
    """Give the faults by name; `minutes` is the length of the soak, to which the others are in proportion."""
    share = minutes / 30
    return {
        "kill": lambda folder: faults.killed_workers(folder, 60 * share, 1.0),
        "restart": lambda folder: faults.rolling_restarts(folder, max(2, round(50 * share))),
        "reload": lambda folder: faults.reloads_under_load(folder, 600 * share, 1.0),
        "sources": lambda folder: faults.meddled_sources(folder, 60 * share),
        "slow": lambda folder: faults.slow_clients(folder, max(10, round(1000 * share)), 10, 30),
        "overload": lambda folder: faults.overload(folder, 10 * share),
        "disk": lambda folder: faults.full_disk(folder, 30 * share),
        "soak": lambda folder: faults.soak(folder, minutes, max(4, round(200 * share))),
    }


@click.command()
@click.option("--minutes", type=float, default=30.0, show_default=True, help="How long the soak itself takes.")
@click.option("--only", multiple=True, help="One of kill, restart, reload, sources, slow, overload, disk, soak.  [repeatable]")
@click.option("--json", "file", type=click.Path(path_type=Path), default=Path("build/soak/soak.json"), show_default=True)
def main(minutes: float, only: tuple[str, ...], file: Path) -> None:
    """Do to a running service what must not hurt it."""
    results = []
    for name, fault in plan(minutes).items():
        if only and name not in only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            found = asyncio.run(fault(Path(folder)))
        if name == "slow":
            ratio = found.figures["p99_ms_beside"] / found.figures["p99_ms_before"]
            found.demand(ratio < SLOW_CLIENTS_COST, f"the p99 of the others is {ratio:.1f} times what it was")
        if name == "soak":
            slope = max(found.figures[name] for name in ("mib_per_hour_supervisor", "mib_per_hour_worker_at_most"))
            found.demand(slope < MEMORY_LIMIT_MIB_PER_HOUR, f"memory grows by {slope} MiB an hour")
        results.append(found)
        click.echo(f"{found.name}: {time.monotonic() - began:.0f} s, {found.wrong or 'nothing wrong'}", err=True)
    table = Table("fault", "figures", "wrong")
    for found in results:
        table.add_row(found.name, "\n".join(f"{key} {value:g}" for key, value in found.figures.items()), "\n".join(found.wrong))
    Console(width=120).print(table)
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"fault": found.name, "figures": found.figures, "wrong": found.wrong} for found in results]
    file.write_text(json.dumps({"minutes": minutes, "faults": rows}, indent=2) + "\n")
    sys.exit(any(found.wrong for found in results))


if __name__ == "__main__":
    main()
