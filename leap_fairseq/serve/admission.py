"""Who is answered: requests by a name of the server, and websockets of its own page.

A refusal leaves a line in the log, and tells nothing of this machine.
"""

import logging
from typing import Callable
from urllib.parse import urlsplit

from leap_fairseq.serve.hosts import AllowedHosts
from leap_fairseq.serve.refusals import LONGEST_TEXT, quoted
from leap_fairseq.serve.websocket import web

logger = logging.getLogger(__name__)

HEADERS = {
    "Cache-Control": "no-cache",
    # Some browsers do not count the page's own websocket as 'self'.
    "Content-Security-Policy": "default-src 'self'; connect-src 'self' ws: wss:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
"""Of all answers."""


def guarded_application(hosts: AllowedHosts, asked: Callable[[web.Request], None]) -> web.Application:
    """An application without routes, of which each request is looked at before it is answered.

    Args:
        hosts: by which requests may name the server.
        asked: is told of each request.
    """

    @web.middleware
    async def admitted(request: web.Request, handler) -> web.StreamResponse:
        asked(request)
        try:
            _check_host(request, hosts)
            return await handler(request)
        except web.HTTPError as refused:
            what = f"{request.method} {request.path}"
            logger.warning("refused %s of %s: %s", quoted(what), request.remote, quoted(refused.text))
            raise
        except ConnectionError:
            raise
        except Exception:
            logger.exception("a request failed")
            raise web.HTTPInternalServerError() from None

    application = web.Application(middlewares=[admitted])
    application.on_response_prepare.append(_add_headers)
    return application


def check_origin(request: web.Request) -> None:
    """Any page that a browser shows may open a websocket to this server: only its own is let in.

    Raises:
        web.HTTPForbidden: a page of another site opened it.
    """
    origin = request.headers.get("Origin")
    try:
        own = origin is None or urlsplit(origin).netloc.lower() == request.host.lower()
    except ValueError:
        own = False
    if not own:
        raise web.HTTPForbidden(
            text=f"a page of {origin} may not use the translator at {request.host}: open the page that it serves; "
            "behind a proxy, pass the Host header on"
        )


def _check_host(request: web.Request, hosts: AllowedHosts) -> None:
    """A page whose name was made to point to this machine is of the same origin as its requests."""
    given = ", ".join(request.headers.getall("Host", ["no host"]))
    if not hosts.allow(given):
        raise web.HTTPForbidden(
            text=f"this server does not go by the name of {given[:LONGEST_TEXT]}: open the address that it printed, "
            "or start it with --allow-host NAME"
        )


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
