"""How fast the generator could be here, now, with these connections: against a constant server in another process."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING

from regionresolver.load.engine import Engine
from regionresolver.load.floor import Floor, another_core
from regionresolver.load.plan import Target
from regionresolver.load.report import CeilingPart, own_part

if TYPE_CHECKING:
    from collections.abc import Callable

    from regionresolver.load.plan import Plan
    from regionresolver.load.requests import Requests


def measure_ceiling(plan: Plan, requests: Requests, started: Callable[[Engine], None] | None = None) -> CeilingPart:
    """Load a constant server in a closed loop for `self_test_s`, over the kind of socket that the plan uses.

    `started` gets the engine, for whoever may have to stop it. Raises OSError when it cannot be run.
    """
    is_unix = plan.whom.family == socket.AF_UNIX
    server_core = another_core(plan.core)
    with Floor(unix=is_unix, core=server_core) as floor:
        trial = replace(
            plan, target=Target.parse(floor.target), closed=True, rate_to=None, keep_alive=True,
            warm_up_s=plan.self_test_s / 4, duration_s=max(plan.self_test_s, 0.05), requests_max=0,
        )  # fmt: skip
        engine = Engine(trial, requests)
        if started is not None:
            started(engine)
        engine.run()
    own = own_part(engine.client, engine.histogram("own"), engine.cpu_s, engine.starved_s, engine.whole_s)
    return CeilingPart(
        requests_per_s=engine.client.totals()["in_time"] / trial.duration_s,
        seconds=trial.duration_s,
        connections=plan.connections,
        pipeline=plan.pipeline,
        over="unix" if is_unix else "tcp",
        generator_core=plan.core,
        server_core=server_core,
        busy_share=own.busy_share,
    )
