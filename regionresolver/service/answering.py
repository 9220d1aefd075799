"""What stands around every handler: from a request that aiohttp has read to an answer that may be sent.

The connection and the worker's page take note of the request - request id and trace id - `overload` - `guard` - the API key
and the listener (`access`) - the route (`routing`, else aiohttp's router), the handler - what was raised becomes a problem -
the headers of every answer.

It is one coroutine around `web.Server.request_handler`, not a chain of middlewares and a signal: each link of those costs
a request as much as its routing does. A handler that begins to send by itself calls `finish_head` before.
"""

from collections.abc import Awaitable, Callable
from typing import cast

from aiohttp import hdrs, web

from regionresolver.service import authz, logs, metrics, pings, request_id
from regionresolver.service.access import check_key, check_listener
from regionresolver.service.answers import SERVER_NAME, JsonAnswer
from regionresolver.service.asked import Asked, asked
from regionresolver.service.connection import Connection, is_last
from regionresolver.service.guard import check
from regionresolver.service.overload import check_pressure
from regionresolver.service.problems import close_after, problem_of
from regionresolver.service.routing import Routes
from regionresolver.service.state import ServiceState

Answering = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def surround(handler: Answering, routes: Routes, state: ServiceState) -> Answering:
    """Wrap the `request_handler` of a server whose protocols are `Connection`s; what is in `routes` goes past its router."""
    in_flight, settings, pressure = state.page.cell(metrics.IN_FLIGHT), state.settings, state.pressure
    has_admin_listener = settings.admin_port is not None or settings.admin_unix_socket is not None

    def admit(request: Asked, *, is_vetted: bool) -> None:
        """Refuse what is not to get to a route. Raises ProblemError, HTTPNotFound."""
        if not is_vetted:  # what was vetted has passed a `Front`, which refuses before aiohttp reads anything
            check_pressure(request, pressure)
            check(request)
        if state.access is not None:
            check_key(request, state.access)
        if has_admin_listener:
            check_listener(request)
        request.is_routed = True

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        taken, connection = asked(request), cast("Connection", request.protocol)
        is_vetted = connection.is_vetted
        connection.head_read()
        in_flight[0] += 1
        identity = identify(taken)
        try:
            admit(taken, is_vetted=is_vetted)
            pressure.in_flight += 1
            try:
                response = await (routes.find(taken) or handler)(taken)
            finally:
                pressure.in_flight -= 1
        except ConnectionError:
            raise  # the client is gone: there is nobody to answer
        except Exception as error:  # noqa: BLE001 - the last resort: nothing that escapes may become a bare 500
            response = problem_of(error).response(identity)
        finally:
            in_flight[0] -= 1
            connection.answered(body_read=request.content.is_eof())
        if not response.prepared:
            finish_head(taken, response)
        return response

    return answer


def identify(request: Asked) -> str:
    """Give the request its id, and the log lines written on its behalf that id and the trace's."""
    headers = request.headers
    given = headers.getall(request_id.HEADER, ())
    identity = request.identity = request_id.taken_or_made(given)
    logged = request.logged_identity = request_id.loggable(identity) if identity in given else identity
    logs.request_id_var.set(logged)  # in a task of this request, so the trace's is not set yet
    if request_id.TRACEPARENT in headers:
        logs.trace_id_var.set(request_id.trace_id(headers.getall(request_id.TRACEPARENT)))
    return identity


def finish_head(request: Asked, response: web.StreamResponse) -> None:
    """Set the headers that every answer carries, whoever made it; where the worker goes, end the connection after it."""
    keep_alive = request.keep_alive if response.keep_alive is None else response.keep_alive
    state = request.state
    is_over = not keep_alive or state.closing or state.draining
    if not is_over and not cast("Connection", request.protocol).is_vetted:  # for a vetted one has neither
        is_over = is_last(request) or _awaits_continue(request)
    if isinstance(response, JsonAnswer):
        response.complete(request, request.identity, keep_alive=not is_over)
        return
    headers = response.headers
    headers[hdrs.SERVER] = SERVER_NAME
    headers[request_id.HEADER] = request.identity
    headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    if is_over:
        close_after(response)
    authz.complete_headers(request, response)


def _awaits_continue(request: Asked) -> bool:
    """Say whether the client holds its body back for a word that was not given: it may not send it any more."""
    return hdrs.EXPECT in request.headers and pings.CONTINUED not in request and not request.content.is_eof()
