"""A request as the service takes it: aiohttp's own, with what the service has found out about it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web
from aiohttp.http import StreamWriter

from regionresolver.service.answers import Http11Writer

if TYPE_CHECKING:
    from regionresolver.service.state import ServiceState

Route = tuple[str, str]
"""Method and template of a route."""


class Asked(web.Request):
    """One request, the state that answers it, and what `answering` notes of it.

    `identity` is its request id, "" until it has one; `logged_identity` is how that may stand in the log. `is_routed`: it was
    let in and is on its way to a handler.
    """

    ATTRS = web.Request.ATTRS | {"state", "identity", "logged_identity", "is_routed", "found"}

    state: "ServiceState"
    identity = ""
    logged_identity: str | None = None
    is_routed = False
    found: tuple[Route, str] | None = None
    """The route that `routing` has found, and what stands in its variable; None where aiohttp's router looks."""

    @property
    def route(self) -> Route | None:
        """The method and the template of the path; None for a path that is none, and for what was not let in."""
        if self.found is not None:
            return self.found[0]
        resource = self.match_info.route.resource if self.is_routed else None
        return None if resource is None else (self.method, resource.canonical)

    def variable(self, name: str) -> str:
        """Give what stands in the one variable of the route's path."""
        return self.match_info[name] if self.found is None else self.found[1]


def asked(request: web.BaseRequest) -> Asked:
    """Give a request of the service's own server as what it is."""
    return cast("Asked", request)


def factory(state: "ServiceState", loop: Any, limit_bytes: int) -> Callable[..., Asked]:
    """Make a server's `request_factory`; the answers to its requests are HTTP/1.1."""

    def make(message: Any, payload: Any, protocol: web.RequestHandler, writer: StreamWriter, task: Any) -> Asked:  # noqa: ARG001
        made = Asked(message, payload, protocol, Http11Writer(protocol, loop), task, loop, client_max_size=limit_bytes)
        made.state = state
        return made

    return make
