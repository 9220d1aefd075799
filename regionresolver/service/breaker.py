"""The runtime breaker in the service: a check every second, off the loop, and a log line for whatever it changes.

A check may write to the folder of the policy's generations, whose disk may be slow: so it runs in a thread.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import web

from regionresolver.resolver import Resolver, now
from regionresolver.service import logs
from regionresolver.service.pages import WorkerPage
from regionresolver.service.state import STATE, ServiceState
from regionresolver.service.trips import SharedMarks

CHECK_INTERVAL_S = 1.0

_log = logging.getLogger("regionresolver.service")


async def watch(app: web.Application) -> AsyncIterator[None]:
    """Check the breaker while the application runs."""
    task = asyncio.create_task(_keep_checking(app[STATE]))
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def adopt(page: WorkerPage, resolver: Resolver, before: Resolver | None = None) -> None:
    """Let a generation count in the page, and its breaker be that of all workers. A trip of it that is marked holds at once.

    `before` is the generation that was served so far: where the policy is the same, the window goes on.
    """
    page.adopt(resolver)
    breaker = resolver.breaker
    if before is not None and before.policy_serial == resolver.policy_serial:
        breaker.take_window(before.breaker)
    if breaker.limits is not None:
        action = str(breaker.limits.action)
        breaker.share(lambda kept: SharedMarks(page, resolver.serial, action, kept))


def check(page: WorkerPage, resolver: Resolver) -> None:
    """Check once; log what has changed, unless another worker has, and what keeps it from being written."""
    breaker, pages = resolver.breaker, page.pages
    fault = breaker.fault
    breaker.check(now())
    told = pages.told_trip()
    if breaker.trip is not None and told != resolver.serial:
        if pages.first_to_tell(told, resolver.serial):
            trip = breaker.trip
            counted = {"since": trip.since, "decided": trip.decided, "denied": trip.denied}
            logs.event(_log, logging.ERROR, "breaker_tripped", None, action=trip.action, **counted)
    elif breaker.trip is None and 0 < told <= resolver.serial and pages.first_to_tell(told, 0):
        reset = breaker.last_reset if told == resolver.serial else None
        said = (reset.by, reset.reason) if reset is not None else ("a new generation", f"{resolver.generation} is served")
        logs.event(_log, logging.WARNING, "breaker_reset", by=said[0], reason=said[1])
    if breaker.fault is not None and str(breaker.fault) != str(fault):
        logs.event(_log, logging.WARNING, "breaker_mark_failed", detail=str(breaker.fault))


async def _keep_checking(state: ServiceState) -> None:
    while True:
        await asyncio.sleep(CHECK_INTERVAL_S)
        try:
            await _check_present(state)
        except Exception as error:  # noqa: BLE001 - one failed check must not end the watching
            logs.event(_log, logging.ERROR, "breaker_check_failed", error)


async def _check_present(state: ServiceState) -> None:
    """Check the breaker of the generation that is served; nothing holds it in between."""
    await asyncio.to_thread(check, state.page, state.resolver)
