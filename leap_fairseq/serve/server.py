"""The server of the live page: several listeners at once over one model.

``GET /`` is the page, ``GET /status`` a JSON object of the sessions and the policy, ``GET /stream`` the websocket.
A session is one recording. The listener sends

    {"sample_rate": 48000, "channels": 2}      text: Hz, and channels that are averaged (default 1)
    ...                                        bytes: PCM, signed 16-bit little-endian, channels interleaved
    {"end": true}                              text: all has been sent

and receives text only: for each piece of sound, and for the end, the words that became known and the speech that had
been heard, in ms; then the last message, and the connection is closed.

    {"words": [{"text": "Der", "delay": 840.0, "sentence": 0}], "heard_ms": 840.0}
    {"finished": true}                         the translation is complete, which may be before the end
    {"error": "..."}                           instead, at any time: what was wrong and what to do

Each session has a state of its own; the weights are shared. Computing runs in a few threads beside the event loop, one
message of a session at a time, those of several sessions together, and the next is not read before: who sends too fast
waits.
"""

import asyncio
import logging
from pathlib import Path
from typing import Optional, Set
from urllib.parse import urlsplit

from leap_fairseq.serve.scheduler import Scheduler
from leap_fairseq.serve.session import ProtocolError, Session
from leap_fairseq.serve.websocket import BoundedWebSocket, Limits, WSCloseCode, web
from leap_fairseq.streaming import StreamingTranslator
from leap_fairseq.streaming.frames import FRAME_MS

logger = logging.getLogger(__name__)

PAGE = Path(__file__).with_name("page")
HEADERS = {
    "Cache-Control": "no-cache",
    # Some browsers do not count the page's own websocket as 'self'.
    "Content-Security-Policy": "default-src 'self'; connect-src 'self' ws: wss:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


class Server:
    """Sessions over one translator, which itself takes no speech.

    Args:
        translator: its model, policy and vocabulary are those of all sessions.
        limits: of the sessions.
        workers: threads that compute, at least 1.

    Attributes:
        total: sessions since the start.

    Raises:
        ValueError: workers is below 1.
    """

    def __init__(self, translator: StreamingTranslator, limits: Limits, workers: int):
        if workers < 1:
            raise ValueError(f"workers is {workers}, but must be at least 1 (--workers)")
        self.translator, self.limits = translator, limits
        self.total = 0
        self._sockets: Set[BoundedWebSocket] = set()
        self._stopping = False
        self._scheduler = Scheduler(workers)

    @property
    def open(self) -> int:
        """Sessions at this moment."""
        return len(self._sockets)

    def application(self) -> web.Application:
        """The application for aiohttp's runner."""
        application = web.Application()
        application.router.add_get("/", self.page)
        application.router.add_get("/status", self.status)
        application.router.add_get("/stream", self.stream)
        application.router.add_static("/page", PAGE)
        application.on_response_prepare.append(_add_headers)
        application.on_shutdown.append(self.stop)
        return application

    async def page(self, request: web.Request) -> web.StreamResponse:
        """The page."""
        return web.FileResponse(PAGE / "index.html")

    async def status(self, request: web.Request) -> web.Response:
        """Sessions and policy."""
        translator = self.translator
        return web.json_response(
            {
                "open": self.open,
                "total": self.total,
                "max_sessions": self.limits.max_sessions,
                "policy": str(translator.policy),
                "decision_ms": translator.policy.decision_frames * FRAME_MS,
                "unit": translator.detokenizer.unit,
                "long_form": translator.long_form,
            }
        )

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """The websocket of a listener, to its end.

        Raises:
            web.HTTPForbidden: a page of another site opened it.
        """
        _check_origin(request)
        socket = BoundedWebSocket(request, self.limits)
        await socket.prepare(request)
        most = self.limits.max_sessions
        if self._stopping or self.open >= most:
            full = f"all {most} places are taken: try again later (--max-sessions)"
            reason = "the server is stopping" if self._stopping else full
            await socket.fail(reason, WSCloseCode.TRY_AGAIN_LATER)
            return socket
        session = Session(self.translator.new_stream(), self.limits.max_minutes)
        self._sockets.add(socket)
        self.total += 1
        number = self.total
        logger.info("session %d opened by %s", number, request.remote)
        try:
            reason = await self._converse(socket, session)
        finally:
            # Before closing, which a listener that has gone would delay.
            self._sockets.discard(socket)
            logger.info("session %d: %.1f s heard, %d words", number, session.heard_ms / 1000, session.words)
        await (socket.end() if reason is None else socket.fail(reason))
        return socket

    async def stop(self, application: web.Application) -> None:
        """Ends all sessions."""
        self._stopping = True
        reason = "the server is stopping: open another session later"
        await asyncio.gather(*(each.fail(reason, WSCloseCode.GOING_AWAY) for each in list(self._sockets)))
        self._scheduler.stop()

    async def _converse(self, socket: BoundedWebSocket, session: Session) -> Optional[str]:
        """Answers message by message; returns the error that ended it, or None."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.limits.max_minutes * 60
        try:
            while not session.finished:
                message = await socket.next_message()
                if message is None:
                    return None
                if loop.time() > deadline:
                    return f"this session has lasted {self.limits.max_minutes:g} minutes: open another (--max-minutes)"
                reply = await self._scheduler.take(session, message)
                if reply is not None:
                    await socket.send(reply)
            await socket.send({"finished": True})
        except ProtocolError as error:
            return str(error)
        except ConnectionError:
            return None  # nobody is there to be told
        except Exception as error:
            if self._stopping:
                return "the server is stopping"
            logger.exception("a session failed")
            return f"the translation failed: {type(error).__name__}: {error}"
        return None


def _check_origin(request: web.Request) -> None:
    """Any page that a browser shows may open a websocket to this server: only its own is let in."""
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


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
