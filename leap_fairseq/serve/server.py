"""The server of the live page: several listeners at once over one model.

``GET /`` is the page, ``GET /status`` a JSON object of the sessions, the policy and its options, ``GET /stream`` the
websocket, and ``GET /example`` a recording to try it on, where there is one.
A session is one recording. The listener sends

    {"sample_rate": 48000, "channels": 2}      text: Hz, and channels that are averaged (default 1); it may ask for
                                               options of a policy: "policy": {"waitk_lagging": 3}
    ...                                        bytes: PCM, signed 16-bit little-endian, channels interleaved
    {"end": true}                              text: all has been sent

and receives text only: the policy that it has got, where it asked for one; for each piece of sound, and for the end,
the words that became known and the speech that had been heard, in ms; then the last message, and the connection is
closed.

    {"policy": "wait-3", "decision_ms": 160}
    {"words": [{"text": "Der", "delay": 840.0, "sentence": 0}], "heard_ms": 840.0}
    {"finished": true}                         the translation is complete, which may be before the end; with a "notice"
                                               where much of the speech that was heard is not translated
    {"error": "..."}                           instead, at any time: what was wrong and what to do

Each session has a state of its own; the weights are shared. Computing runs in a few threads beside the event loop, one
message of a session at a time, those of several sessions together, and the next is not read before: who sends too fast
waits.
"""

import asyncio
import contextlib
import hashlib
import logging
from pathlib import Path
from typing import AsyncIterator, Optional, Set

import torch
from torch import nn

from leap_fairseq.serve.admission import check_origin, guarded_application
from leap_fairseq.serve.connections import Connections
from leap_fairseq.serve.hosts import AllowedHosts
from leap_fairseq.serve.refusals import OneLine, quoted
from leap_fairseq.serve.scheduler import Scheduler
from leap_fairseq.serve.session import ProtocolError, Session
from leap_fairseq.serve.session_policy import described, offered
from leap_fairseq.serve.websocket import BoundedWebSocket, Limits, WSCloseCode, web
from leap_fairseq.streaming import StreamingTranslator

logger = logging.getLogger(__name__)

PAGE = Path(__file__).with_name("page")

STOPPING_SECONDS = 1.0
"""What listeners have to hear that the server stops, and then what is left of other requests has half of it."""


class Server:
    """Sessions over one translator, which itself takes no speech.

    Args:
        translator: its model, policy and vocabulary are those of all sessions.
        limits: of the sessions.
        workers: threads that compute, at least 1.
        hosts: by which requests may name the server.
        language: of the translations, for the page, as in BCP 47: de, zh-CN.
        example: a recording, where the model is the one that comes with leap-fairseq.

    Attributes:
        total: sessions since the start.

    Raises:
        ValueError: workers is below 1.
    """

    def __init__(
        self,
        translator: StreamingTranslator,
        limits: Limits,
        workers: int,
        hosts: AllowedHosts,
        language: str = "",
        example: Optional[Path] = None,
    ):
        if workers < 1:
            raise ValueError(f"workers is {workers}, but must be at least 1 (--workers)")
        self.translator, self.limits, self.hosts = translator, limits, hosts
        self.language, self.example, self._model = language, example, _digest(translator.model)
        self.total = 0
        self._sockets: Set[BoundedWebSocket] = set()
        self._stopping = False
        self._scheduler = Scheduler(workers)
        self._connections: Optional[Connections] = None

    @property
    def open(self) -> int:
        """Sessions at this moment."""
        return len(self._sockets)

    @contextlib.asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[int]:
        """Listens as long as the context lasts.

        Args:
            host: address or name of this machine.
            port: 0 for any that is free.

        Yields:
            The port.

        Raises:
            OSError, OverflowError: the address cannot be bound.
        """
        runner = web.AppRunner(
            self.application(),
            access_log=None,
            logger=OneLine(logger),
            keepalive_timeout=self.limits.header_seconds,
            shutdown_timeout=STOPPING_SECONDS / 2,
        )
        await runner.setup()
        try:
            self._connections = Connections(runner.server, self.limits)
            listener = await asyncio.get_running_loop().create_server(self._connections, host, port)
            with contextlib.closing(listener):
                yield listener.sockets[0].getsockname()[1]
        finally:
            await runner.cleanup()

    def application(self) -> web.Application:
        """The application for aiohttp's runner."""

        application = guarded_application(self.hosts, self._asked)
        application.router.add_get("/", self.page)
        application.router.add_get("/status", self.status)
        application.router.add_get("/stream", self.stream)
        if self.example is not None:
            application.router.add_get("/example", self.recording)
        application.router.add_static("/page", PAGE)
        application.on_shutdown.append(self.stop)
        return application

    async def page(self, request: web.Request) -> web.StreamResponse:
        """The page."""
        return web.FileResponse(PAGE / "index.html")

    async def recording(self, request: web.Request) -> web.StreamResponse:
        """The example."""
        return web.FileResponse(self.example)

    async def status(self, request: web.Request) -> web.Response:
        """Sessions, the policy, and what a session may choose of it."""
        translator = self.translator
        return web.json_response(
            {
                "open": self.open,
                "total": self.total,
                "max_sessions": self.limits.max_sessions,
                **described(translator.policy),
                "policy_options": offered(),
                "model": self._model,
                "unit": translator.detokenizer.unit,
                "long_form": translator.long_form,
                "language": self.language,
                "example": self.example is not None,
            }
        )

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """The websocket of a listener, to its end.

        Raises:
            web.HTTPForbidden: a page of another site opened it.
        """
        check_origin(request)
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
        if self._connections is not None:
            self._connections.released(request.transport)
        self.total += 1
        number = self.total
        logger.info("session %d opened by %s", number, request.remote)
        reason = None
        try:
            reason = await self._converse(socket, session)
        finally:
            # Before closing, which a listener that has gone would delay.
            self._sockets.discard(socket)
            ended = "" if reason is None else f", ended: {quoted(reason)}"
            logger.info("session %d: %.1f s heard, %d words%s", number, session.heard_ms / 1000, session.words, ended)
        await (socket.end() if reason is None else socket.fail(reason))
        return socket

    async def stop(self, application: web.Application) -> None:
        """Ends all sessions."""
        self._stopping = True
        reason = "the server is stopping: open another session later"
        farewells = [each.fail(reason, WSCloseCode.GOING_AWAY) for each in list(self._sockets)]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*farewells), STOPPING_SECONDS)
        self._scheduler.stop()

    def _asked(self, request: web.Request) -> None:
        if self._connections is not None:
            self._connections.asked(request.transport)

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
            await socket.send(session.last_reply())
        except ProtocolError as error:
            return str(error)
        except ConnectionError:
            return None  # nobody is there to be told
        except Exception:
            if self._stopping:
                return "the server is stopping"
            logger.exception("a session failed")
            return "the translation failed: the log of the server says why"
        return None


def _digest(model: nn.Module) -> str:
    """Of the weights as they compute: whoever measures the server is told when they are others."""
    sha = hashlib.sha256()
    for name, weight in model.state_dict().items():
        sha.update(name.encode())
        sha.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return sha.hexdigest()
