"""`/openapi.json`, and `/docs`, which shows it: Swagger UI from files of this package, nothing from anywhere else.

The files are few and seldom asked for, so they are read when they are, off the loop, and not kept. The page may load from
its own origin alone (Content-Security-Policy), so a browser without any other network shows it whole.
"""

import asyncio
import hashlib
from importlib import resources
from typing import Final

from aiohttp import web

from regionresolver.service.asked import asked
from regionresolver.service.handlers import DOCUMENT_CACHE_CONTROL, is_current

_SHIPPED = resources.files("regionresolver.data")
_TYPES: Final = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "start.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}

# Swagger UI sets styles on elements and draws its icons from data: URLs.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def show_contract(request: web.Request) -> web.Response:
    """Answer `/openapi.json`."""
    return await _file(request, "openapi.json", "application/json")


async def show_page(request: web.Request) -> web.Response:
    """Answer `/docs`."""
    response = await _file(request, "swagger-ui/page.html", "text/html")
    response.headers["Content-Security-Policy"] = _POLICY
    return response


async def show_file(request: web.Request) -> web.Response:
    """Answer `/docs/{file}`: a file that the page is made of. Raises HTTPNotFound for any other name."""
    name = asked(request).variable("file")
    if name not in _TYPES:
        raise web.HTTPNotFound
    return await _file(request, f"swagger-ui/{name}", _TYPES[name])


async def go_to_page(request: web.Request) -> web.Response:  # noqa: ARG001 - a handler's signature
    """Answer `/`: people who open the service in a browser want its page."""
    return web.Response(status=302, headers={"Location": "docs"})


async def _file(request: web.Request, name: str, content_type: str) -> web.Response:
    content = await asyncio.to_thread(_SHIPPED.joinpath(name).read_bytes)
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": DOCUMENT_CACHE_CONTROL, "X-Content-Type-Options": "nosniff"}
    if is_current(request, etag):
        return web.Response(status=304, headers=headers)
    return web.Response(
        body=content, headers=headers, content_type=content_type, charset=None if name.endswith("png") else "utf-8"
    )
