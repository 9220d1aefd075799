"""What is counted of requests on the slow path, and the names of the routes that they are counted under."""

from aiohttp import web

from regionresolver.service import metrics
from regionresolver.service.logs import route_of
from regionresolver.service.pages import WorkerPage

_NO_ROUTE = (metrics.OTHERS, metrics.OTHERS)


def learn_routes(page: WorkerPage, app: web.Application) -> None:
    """Give every method and route of the application its place."""
    routes = [(route.method, route.resource.canonical) for route in app.router.routes() if route.resource is not None]
    page.pages.names.learn(metrics.ROUTES, routes)


def count_answer(page: WorkerPage, request: web.BaseRequest, status: int, seconds: float) -> None:
    """Count an answer that is wholly written."""
    template = route_of(request)
    method, route = _NO_ROUTE if template is None else (request.method, template)
    page.count(metrics.REQUESTS, method, route, str(status))
    page.observe(metrics.DURATION, seconds, method, route)


def count_refusal(page: WorkerPage | None, status: int) -> None:
    """Count an answer to what never became a request; without a page nobody counts."""
    if page is not None:
        page.count(metrics.REQUESTS, *_NO_ROUTE, str(status))
