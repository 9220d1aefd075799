"""The application: its routes, and the middlewares around them from the outside in.

`note_request` (the connection's deadline) - `identify` (request id, trace id) - `answer_problems` - `admit` (overload) -
`refuse_ambiguous` - `authorize` (API keys) - `separate` (the admin listener) - handler. `finish_headers` and
`authz.complete_headers` run on every answer just before it is sent.
"""

from aiohttp import web

from regionresolver.resolver import Resolver
from regionresolver.service import (
    access,
    authz,
    batch,
    breaker,
    docs_page,
    exposition,
    handlers,
    health,
    logs,
    pings,
    request_id,
)
from regionresolver.service.connection import AdminConnection, is_last, note_request, standing_headers
from regionresolver.service.guard import refuse_ambiguous
from regionresolver.service.overload import PRESSURE, Pressure, admit
from regionresolver.service.pages import WorkerPage
from regionresolver.service.problems import Handler, answer_problems, close_after, hide_aiohttp_text
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
    app = web.Application(
        middlewares=[note_request, identify, answer_problems, admit, refuse_ambiguous, access.authorize, separate],
        client_max_size=settings.body_limit_bytes,
    )
    app[STATE] = ServiceState(Generation.of(resolver), settings, page)
    app[PRESSURE] = Pressure(settings, page)
    app.add_routes(ROUTES)
    app.on_response_prepare.append(finish_headers)
    app.on_response_prepare.append(authz.complete_headers)
    app.cleanup_ctx.append(breaker.watch)
    logs.guard_aiohttp_log()
    return app


# What only operators ask: with an admin listener it is gone from the main one. Health is answered on both.
ADMIN_PATHS = frozenset({"/", "/metrics", "/openapi.json", "/docs", "/version", "/v1/policy", "/v1/metadata"})


def is_admin_path(path: str) -> bool:
    """Say whether a path is for operators."""
    return path in ADMIN_PATHS or path.startswith("/docs/")


@web.middleware
async def separate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Where there is an admin listener, answer on each of the two only what belongs there."""
    settings = request.app[STATE].settings
    if settings.admin_port is None and settings.admin_unix_socket is None:
        return await handler(request)
    asks_admin = isinstance(request.protocol, AdminConnection)
    if request.path not in access.EXEMPT and is_admin_path(request.path) is not asks_admin:
        raise web.HTTPNotFound
    return await handler(request)


@web.middleware
async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its id, and the log lines written on its behalf that id and the trace's."""
    given = request.headers.getall(request_id.HEADER, [])
    identity = request_id.taken_or_made(given)
    logged = request_id.loggable(identity) if identity in given else identity
    request[request_id.IDENTITY], request[request_id.LOGGED_IDENTITY] = identity, logged
    logs.request_id_var.set(logged)
    logs.trace_id_var.set(request_id.trace_id(request.headers.getall("traceparent", [])))
    return await handler(request)


async def finish_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Set the headers that every answer carries, whoever made it; where the worker goes, end the connection after it."""
    identity = request.get(request_id.IDENTITY) or request_id.taken_or_made([])
    cache_control = response.headers.get("Cache-Control")
    response.headers.update(standing_headers(identity))
    if cache_control is not None:
        response.headers["Cache-Control"] = cache_control
    state = request.app[STATE]
    unasked = "Expect" in request.headers and pings.CONTINUED not in request  # the client may not send the body any more
    ends = (unasked and not request.content.is_eof()) or is_last(request) or state.closing or state.draining
    if ends or not response.keep_alive:
        close_after(response)
    hide_aiohttp_text(response)
