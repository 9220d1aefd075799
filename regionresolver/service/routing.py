"""The way of a request to its handler.

aiohttp's router takes any request, and some microseconds for it. Most requests ask for one of our paths letter by letter, so
that a dictionary finds the same handler; what is written in any other way (escapes, a slash too many, a whole URL), and every
method but that of the route, is left to the router.
"""

import re
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import hdrs, web

from regionresolver.service.asked import Asked, Route

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_METHODS = ("GET", "POST")
# A variable of the path that no decoding changes, and that is no step in a path ("..").
_PLAIN = re.compile(r"[0-9A-Za-z]*[0-9A-Za-z:][0-9A-Za-z:.]*")
_VARIABLE = re.compile(r"\{[a-z]+\}")


class Routes:
    """The handlers of an application, by method and path."""

    def __init__(self, routes: Iterable[web.RouteDef]) -> None:
        """Take the routes for GET and POST whose paths are fixed, or fixed but for their last step."""
        self._fixed: dict[Route, tuple[Handler, tuple[Route, str]]] = {}
        self._below: dict[Route, tuple[Handler, Route]] = {}
        for route in routes:
            name, (above, _, last) = (route.method, route.path), route.path.rpartition("/")
            if route.method not in _METHODS:
                continue
            if "{" not in route.path:
                self._fixed[name] = route.handler, (name, "")
            elif "{" not in above and _VARIABLE.fullmatch(last):
                self._below[route.method, above] = route.handler, name

    def find(self, request: Asked) -> Handler | None:
        """Find a request's handler, and note its route; None where aiohttp's router has to, also for what it does on the way."""
        if hdrs.EXPECT in request.headers:
            return None
        method, path = request.method, request.raw_path.partition("?")[0]
        fixed = self._fixed.get((method, path))
        if fixed is not None:
            request.found = fixed[1]
            return fixed[0]
        above, _, last = path.rpartition("/")
        below = self._below.get((method, above))
        if below is None or _PLAIN.fullmatch(last) is None:
            return None
        request.found = below[1], last
        return below[0]
