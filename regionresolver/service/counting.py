"""What is counted of requests on the slow path, and the names of the routes that they are counted under."""

from dataclasses import replace

from aiohttp import web

from regionresolver.service import metrics
from regionresolver.service.asked import asked
from regionresolver.service.decision_log import Counts
from regionresolver.service.pages import WorkerPage

_NO_ROUTE = (metrics.OTHERS, metrics.OTHERS)


def learn_routes(page: WorkerPage, app: web.Application) -> None:
    """Give every method and route of the application its place."""
    routes = [(route.method, route.resource.canonical) for route in app.router.routes() if route.resource is not None]
    page.pages.names.learn(metrics.ROUTES, routes)


def count_answer(page: WorkerPage, request: web.BaseRequest, status: int, seconds: float) -> None:
    """Count an answer that is wholly written."""
    page.count_answer(asked(request).route or _NO_ROUTE, status, seconds)


def count_refusal(page: WorkerPage | None, status: int, number: int = 1) -> None:
    """Count answers to what never became a request; without a page nobody counts."""
    if page is not None:
        page.count(metrics.REQUESTS, *_NO_ROUTE, str(status), by=number)


class LogCounts:
    """Takes what a log's writer has counted since the start of its process into a page, as what is new of it."""

    def __init__(self, page: WorkerPage) -> None:
        """Begin at nothing."""
        self._page = page
        self._before = Counts()

    def told(self, counts: Counts) -> None:
        """Count what has come since the last time."""
        page, before = self._page, self._before
        page.count(metrics.LOGGED, "written", by=counts.written - before.written)
        page.count(metrics.LOGGED, "dropped_slow", by=counts.dropped_slow - before.dropped_slow)
        page.count(metrics.LOGGED, "dropped_failed", by=counts.dropped_failed - before.dropped_failed)
        page.count(metrics.LOGGED_BYTES, by=counts.written_bytes - before.written_bytes)
        self._before = replace(counts)
