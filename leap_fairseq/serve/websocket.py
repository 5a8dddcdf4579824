"""The websocket of one listener: whole messages one by one, and an end to every wait.

A listener may close its tab, lose its line without a word, send and never read, or send nonsense; each ends in an
error that says so or in a closed connection, and none of them keeps its place.
"""

import asyncio
import contextlib
import struct
from dataclasses import dataclass
from typing import Any, Dict, Optional, Union

try:
    from aiohttp import WSCloseCode, WSMsgType, web
except ImportError as error:
    raise ImportError("serving needs aiohttp: pip install 'leap-fairseq[serve]'") from error

from leap_fairseq.serve.session import ProtocolError

CLOSING_SECONDS = 2.0
"""What a listener has to answer the end of a connection."""


@dataclass(frozen=True)
class Limits:
    """What a server takes.

    Attributes:
        max_sessions: listeners at once.
        max_message_bytes: of one message.
        max_minutes: of one session, of speech and by the clock.
        idle_seconds: without a message, or without taking a reply.
        heartbeat_seconds: of silence before a listener is asked whether it is there, and has as long to answer.
        max_connections: that are not sessions, at once.
        header_seconds: from the begin of a connection to the end of the head of its first request, and between
            the requests.

    Raises:
        ValueError: one of them is not above 0, with its option.
    """

    max_sessions: int = 8
    max_message_bytes: int = 1 << 20
    max_minutes: float = 60.0
    idle_seconds: float = 30.0
    heartbeat_seconds: float = 10.0
    max_connections: int = 256
    header_seconds: float = 10.0

    def __post_init__(self):
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} is {value}, but must be above 0 (--{name.replace('_', '-')})")


class BoundedWebSocket(web.WebSocketResponse):
    """The websocket of a listener, of which every wait and every message has a bound.

    Nothing is read ahead of :meth:`next_message` but what aiohttp's own buffer of 128 kB and one message hold: a
    listener that sends faster than its speech is translated waits.

    Args:
        request: that opens it.
        limits: of the server.
    """

    def __init__(self, request: web.Request, limits: Limits):
        # aiohttp refuses a message of its limit, not only beyond it. PCM hardly compresses.
        super().__init__(
            timeout=CLOSING_SECONDS, autoping=False, compress=False, max_msg_size=limits.max_message_bytes + 1
        )
        self.request, self.limits = request, limits

    async def next_message(self) -> Optional[Union[str, bytes]]:
        """Waits for text or bytes.

        aiohttp's heartbeat is not used: it would take a listener whose data wait to be read for one that is gone.

        Returns:
            The message, or None if the listener has gone.

        Raises:
            ProtocolError: none came in time.
        """
        clock = asyncio.get_running_loop().time
        deadline, asked = clock() + self.limits.idle_seconds, False
        while clock() < deadline:
            try:
                wait = max(1e-3, min(self.limits.heartbeat_seconds, deadline - clock()))
                message = await self.receive(timeout=wait)
            except TimeoutError:
                if asked and clock() < deadline:
                    return None
                await self._in_time(self.ping())
                asked = True
                continue
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                return message.data
            if message.type is WSMsgType.PING:
                await self._in_time(self.pong(message.data))
            elif message.type is WSMsgType.PONG:
                asked = False
            else:
                return None
        raise ProtocolError(
            f"no message came for {self.limits.idle_seconds:g} seconds: send sound as it is recorded (--idle-seconds)"
        )

    async def send(self, reply: Dict[str, Any]) -> None:
        """Sends a reply.

        Raises:
            ConnectionError: the listener has gone, or takes no replies.
        """
        await self._in_time(self.send_json(reply))

    async def fail(self, reason: str, code: int = WSCloseCode.POLICY_VIOLATION) -> None:
        """Sends an error and closes; does nothing where nobody listens any more."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            await asyncio.wait_for(self.send_json({"error": reason}), CLOSING_SECONDS)
        await self.end(code)

    async def end(self, code: int = WSCloseCode.OK) -> None:
        """Closes in good order where the listener takes part, and in any case."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            await asyncio.wait_for(self.close(code=code), 2 * CLOSING_SECONDS)
        if self.request.transport is not None:
            # It closes once all is sent, which never comes where nobody reads.
            asyncio.get_running_loop().call_later(CLOSING_SECONDS, self.request.transport.abort)

    async def close(self, *, code: int = WSCloseCode.OK, **options: Any) -> bool:
        """Closes; aiohttp does so by itself at a frame that it refuses, whose reason is told here."""
        reason = self._refusal(code)
        if reason is not None and not self.closed:
            await self._in_time(self.send_json({"error": reason}))
            await self._in_time(self.send_frame(struct.pack("!H", code), WSMsgType.CLOSE))
            await self._linger()
        return await super().close(code=code, **options)

    def _refusal(self, code: int) -> Optional[str]:
        if code == WSCloseCode.MESSAGE_TOO_BIG:
            limit = self.limits.max_message_bytes
            return f"a message has more than {limit} bytes: send shorter pieces of sound (--max-message-bytes)"
        if code == WSCloseCode.INVALID_TEXT:
            return "a text message is not UTF-8: send text as JSON, and sound as bytes"
        if code == WSCloseCode.PROTOCOL_ERROR:
            return "the frames are not those of a websocket"
        return None

    async def _linger(self) -> None:
        """Lets what is left of a refused message run out: closed upon it, TCP would take the error back."""
        for _ in range(int(CLOSING_SECONDS / 0.05)):
            if self.request.transport is None:
                return
            await asyncio.sleep(0.05)

    async def _in_time(self, sending) -> None:
        try:
            await asyncio.wait_for(sending, self.limits.idle_seconds)
        except TimeoutError:
            raise ConnectionError(f"the listener took nothing for {self.limits.idle_seconds:g} seconds") from None
