"""What stands around every handler: from a request that aiohttp has read to an answer that may be sent.

The connection and the worker's page take note of the request - request id and trace id - `overload` - `guard` - the API key
and the listener (`access`) - aiohttp's routing, the handler - what was raised becomes a problem - the headers of every answer.

It is one coroutine around `web.Server.request_handler`, not a chain of middlewares and a signal: each link of those costs
a request as much as its routing does. A handler that begins to send by itself calls `finish_head` before.
"""

from collections.abc import Awaitable, Callable
from typing import cast

from aiohttp import hdrs, web

from regionresolver.service import authz, logs, metrics, pings, request_id
from regionresolver.service.access import check_key, check_listener
from regionresolver.service.connection import SERVER_NAME, Connection, is_last
from regionresolver.service.guard import check
from regionresolver.service.overload import Pressure, check_pressure
from regionresolver.service.problems import ProblemError, close_after, problem_of
from regionresolver.service.state import ServiceState

Answering = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def surround(handler: Answering, state: ServiceState, pressure: Pressure) -> Answering:
    """Wrap the `request_handler` of a server whose protocols are `Connection`s."""
    in_flight, settings = state.page.cell(metrics.IN_FLIGHT), state.settings
    has_admin_listener = settings.admin_port is not None or settings.admin_unix_socket is not None

    def admit(request: web.BaseRequest) -> None:
        """Refuse what is not to get to a route. Raises ProblemError, HTTPNotFound."""
        try:
            check_pressure(request, pressure)
            if not cast("Connection", request.protocol).is_vetted:
                check(request)
            check_key(request, state.access)
            if has_admin_listener:
                check_listener(request)
        except (ProblemError, web.HTTPNotFound):
            request[logs.UNROUTED] = True
            raise

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        connection = cast("Connection", request.protocol)
        connection.head_read()
        in_flight[0] += 1
        identity = identify(request)
        try:
            admit(request)
            pressure.in_flight += 1
            try:
                response = await handler(request)
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
            finish_head(request, response, state)
            authz.complete_headers(request, response)
        return response

    return answer


def identify(request: web.BaseRequest) -> str:
    """Give the request its id, and the log lines written on its behalf that id and the trace's."""
    headers = request.headers
    given = headers.getall(request_id.HEADER, ())
    identity = request_id.taken_or_made(given)
    request[request_id.IDENTITY] = logged = identity
    if given:
        request[request_id.LOGGED_IDENTITY] = logged = request_id.loggable(identity) if identity in given else identity
    logs.request_id_var.set(logged)
    traces = headers.getall(request_id.TRACEPARENT, ())
    logs.trace_id_var.set(request_id.trace_id(traces) if traces else None)
    return identity


def finish_head(request: web.BaseRequest, response: web.StreamResponse, state: ServiceState) -> None:
    """Set the headers that every answer carries, whoever made it; where the worker goes, end the connection after it."""
    headers = response.headers
    headers[hdrs.SERVER] = SERVER_NAME
    headers[request_id.HEADER] = request[request_id.IDENTITY]
    headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    keep_alive = request.keep_alive if response.keep_alive is None else response.keep_alive
    if not keep_alive or state.closing or state.draining or is_last(request) or _awaits_continue(request):
        close_after(response)


def _awaits_continue(request: web.BaseRequest) -> bool:
    """Say whether the client holds its body back for a word that was not given: it may not send it any more."""
    return hdrs.EXPECT in request.headers and pings.CONTINUED not in request and not request.content.is_eof()
