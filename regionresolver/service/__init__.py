"""The HTTP service: the only room with asyncio and aiohttp. The contract is docs/http.md.

    socket - connection - request_id - problems - guard - handlers - pings - resolver - documents - bytes

`server` binds, serves and drains; `app` lists the routes; a handler is a few lines that name the steps. Whatever goes
wrong on the way becomes an RFC 9457 document in `problems`, or in `connection` where there is no request yet.
"""
