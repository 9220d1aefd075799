"""The yardstick of the slow path: an aiohttp application that does the same work and nothing more.

    python -m benchmarks.http.plain_aiohttp PORT [uvloop | asyncio]

The library decides, orjson (with asyncio: json) writes the document, and an answer has the headers of ours. There is no
guard, no time-out, no time for a body, no check of types and keys, no drain and no log.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from typing import TYPE_CHECKING

import orjson
import uvloop
from aiohttp import web

from regionresolver.resolver import Resolver
from regionresolver.resolver.documents import decision_document, ping_arguments
from regionresolver.service.handlers import resolve_document

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def make_app(dump: Callable[[object], bytes], load: Callable[[bytes], dict[str, object]]) -> web.Application:
    """Make the application over the embedded database and the default policy."""
    resolver = Resolver.open()

    def answer(document: Mapping[str, object]) -> web.Response:
        headers = {"Server": "plain", "X-Request-Id": secrets.token_hex(16), "Cache-Control": "no-store"}
        return web.Response(body=dump(document), headers=headers, content_type="application/json")

    async def resolve(request: web.Request) -> web.Response:
        query = request.query
        found = resolver.resolve(ip=query.get("ip"), serving=query.get("serving"), sim=query.get("sim"))
        return answer(resolve_document(found))

    async def resolve_address(request: web.Request) -> web.Response:
        return answer(resolve_document(resolver.resolve(ip=request.match_info["ip"])))

    async def decide(request: web.Request) -> web.Response:
        ping = load(await request.read())
        return answer(decision_document(resolver.decide(**ping_arguments(ping))))  # type: ignore[arg-type]

    async def show_version(_: web.Request) -> web.Response:
        return answer({"name": "plain", "version": "0.1.0"})

    app = web.Application()
    app.router.add_post("/v1/decisions", decide)
    app.router.add_get("/v1/resolve", resolve)
    app.router.add_get("/v1/resolve/{ip}", resolve_address)
    app.router.add_get("/version", show_version)
    return app


def _json_bytes(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


async def serve(port: int, app: web.Application) -> None:
    """Serve until the process is ended."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[2:] == ["asyncio"]:
        asyncio.run(serve(int(sys.argv[1]), make_app(_json_bytes, json.loads)))
    else:
        uvloop.run(serve(int(sys.argv[1]), make_app(orjson.dumps, orjson.loads)))
