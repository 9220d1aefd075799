"""The runtime breaker in the service: a check every second, off the loop, and a log line for whatever it changes.

A check may write to the folder of the policy's generations, whose disk may be slow: so it runs in a thread.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import web

from regionresolver.resolver import Breaker, Change, now
from regionresolver.service import logs
from regionresolver.service.state import STATE, ServiceState

CHECK_INTERVAL_S = 1.0

_log = logging.getLogger("regionresolver.service")


async def watch(app: web.Application) -> AsyncIterator[None]:
    """Check the breaker while the application runs; the first check, before any answer, heeds a trip from before."""
    state = app[STATE]
    await asyncio.to_thread(check, state.resolver.breaker)
    task = asyncio.create_task(_keep_checking(state))
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def check(breaker: Breaker) -> None:
    """Check once, and log what has changed and what keeps it from being written."""
    fault = breaker.fault
    change = breaker.check(now())
    if change is Change.TRIPPED and breaker.trip is not None:
        trip = breaker.trip
        told = {"since": trip.since, "decided": trip.decided, "denied": trip.denied}
        logs.event(_log, logging.ERROR, "breaker_tripped", None, action=trip.action, **told)
    elif change is Change.RESET and breaker.last_reset is not None:
        reset = breaker.last_reset
        logs.event(_log, logging.WARNING, "breaker_reset", by=reset.by, reason=reset.reason)
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
    breaker = state.resolver.breaker
    if breaker.limits is not None:
        await asyncio.to_thread(check, breaker)
