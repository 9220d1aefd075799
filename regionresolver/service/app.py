"""The application: its routes. What stands around all of them is in `answering`."""

from functools import partial

from aiohttp import web

from regionresolver.resolver import Resolver
from regionresolver.service import authz, batch, breaker, docs_page, exposition, handlers, health, logs, metrics, pings
from regionresolver.service.pages import WorkerPage
from regionresolver.service.state import STATE, Generation, ServiceState
from regionresolver.settings import Settings

ROUTES = (
    web.post("/v1/decisions", handlers.decide, expect_handler=pings.hold_continue),
    web.post("/v1/decisions/batch", batch.decide_batch, expect_handler=pings.hold_continue),
    web.get("/v1/resolve", handlers.resolve_query),
    web.post("/v1/resolve", handlers.resolve_ping, expect_handler=pings.hold_continue),
    web.get("/v1/resolve/me", handlers.resolve_caller),
    web.get("/v1/resolve/{ip}", handlers.resolve_address),
    web.route("*", authz.PATH, authz.authorize, expect_handler=pings.hold_continue),
    web.route("*", authz.BELOW, authz.authorize, expect_handler=pings.hold_continue),
    web.get("/v1/policy", handlers.show_policy),
    web.get("/v1/metadata", handlers.show_metadata),
    web.get("/livez", health.live),
    web.get("/healthz", health.live),
    web.get("/readyz", health.ready),
    web.get("/version", health.show_version),
    web.get("/metrics", exposition.show),
    web.get("/openapi.json", docs_page.show_contract),
    web.get("/", docs_page.go_to_page),
    web.get("/docs", docs_page.show_page),
    web.get("/docs/{file}", docs_page.show_file),
)


def make_app(resolver: Resolver, settings: Settings, page: WorkerPage) -> web.Application:
    """Make a worker's application over an open resolver, which stays the caller's to close."""
    app = web.Application(client_max_size=settings.body_limit_bytes)
    app[STATE] = ServiceState(Generation.of(resolver), settings, page)
    app.add_routes(ROUTES)
    app.cleanup_ctx.append(breaker.watch)
    logs.guard_aiohttp_log(partial(page.count, metrics.LOG_LINES_SUPPRESSED))
    return app
