"""The compiled client with a plan, on the thread that runs it: its core, and how the scheduler treated it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from _fastpath.load_client import Client
from regionresolver.errors import LoadError, UnreachableError
from regionresolver.load.histogram import Histogram

if TYPE_CHECKING:
    from regionresolver.load.plan import Plan
    from regionresolver.load.requests import Requests

_NS_IN_S: Final = 1_000_000_000


class Engine:
    """One run; `run` takes the calling thread, and everything else may be asked from another."""

    def __init__(self, plan: Plan, requests: Requests) -> None:
        """Make the client. Raises LoadError."""
        self.plan = plan
        self.cpu_s = self.starved_s = self.whole_s = 0.0
        whom = plan.whom
        try:
            self.client = Client(
                whom.family, whom.host, whom.port, requests.content, requests.kinds, requests.expected,
                connections=plan.connections, pipeline=plan.pipeline, timeout_s=plan.timeout_s,
            )  # fmt: skip
        except ValueError as error:
            raise LoadError(str(error)) from error

    def run(self) -> None:
        """Run to the end. Raises UnreachableError when there is no connection, LoadError for a core that is not there."""
        allowed = os.sched_getaffinity(0)
        if self.plan.core is not None:
            try:
                os.sched_setaffinity(0, {self.plan.core})
            except OSError as error:
                raise LoadError(f"--core {self.plan.core}: {error.strerror}") from error
        plan = self.plan
        before_cpu_ns, before_wait_ns = _schedstat()
        try:
            self.client.run(
                seconds=plan.duration_s, warm_up_s=plan.warm_up_s, from_per_s=plan.rate,
                to_per_s=plan.rate if plan.rate_to is None else plan.rate_to, poisson=plan.poisson, closed=plan.closed,
                seed=plan.seed, requests_max=plan.requests_max,
            )  # fmt: skip
        except OSError as error:
            raise UnreachableError(f"{plan.whom.shown}: {os.strerror(error.errno or 0)}") from error
        finally:
            os.sched_setaffinity(0, allowed)
            cpu_ns, wait_ns = _schedstat()
            self.cpu_s = (cpu_ns - before_cpu_ns) / _NS_IN_S
            self.starved_s = (wait_ns - before_wait_ns) / _NS_IN_S
            self.whole_s = max((self.client.finished_ns - self.client.started_ns) / _NS_IN_S, 1e-9)

    def histogram(self, name: str) -> Histogram:
        """Return a copy of one of the client's histograms."""
        return Histogram(self.client.counts(name))


def _schedstat() -> tuple[int, int]:
    """Return the ns that this thread has run, and those that it was ready to and waited; zeros where Linux does not say."""
    try:
        run, waited, _ = Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()
    except OSError:
        return 0, 0
    return int(run), int(waited)
