"""A client of the live page's server, which meets it as its listeners do; the protocol is described in `serve.server`.

A recording is sent at the speed of speech or as fast as the server takes it (`serve.pace`), and its words come with the
time at which they were received.

Shape legend: N samples.
"""

import asyncio
import contextlib
import json
import time
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple, Union
from urllib.parse import urlsplit

import numpy as np

from leap_fairseq.serve.pace import AsFastAsTaken, RealTime

try:
    import aiohttp
except ImportError as error:
    raise ImportError("streaming to a server needs aiohttp: pip install 'leap-fairseq[serve]'") from error

RETRY_SECONDS = 0.2

STATUS_FIELDS = {"policy": str, "decision_ms": int, "unit": str, "long_form": bool, "language": str}
"""What a server says of itself, of all that its status has."""

Speech = Iterable[Tuple[np.ndarray, int]]
"""Samples, float [N, channels] in [-1, 1], and their rate in Hz; of one recording, piece by piece."""


class ServerError(OSError):
    """A server that is not there, refuses, or ends before the translation; the text says which, and what to do."""


class ReceivedWord(NamedTuple):
    """A word of the translation, or a character or piece where that is the unit of the server.

    Attributes:
        text: what was written.
        delay: sound that the server had heard when it was written, in ms.
        elapsed: when it was received, in ms. At the speed of speech, since the recording began; otherwise the delay,
            and the time that was spent in waiting for answers.
        sentence: number of its sentence from 0, in long form.
    """

    text: str
    delay: float
    elapsed: float
    sentence: int


class Translation(NamedTuple):
    """What came of a recording.

    Attributes:
        words: all of them.
        source_ms: length of the recording, ms.
        notice: what the server says of speech that it left out.
    """

    words: List[ReceivedWord]
    source_ms: float
    notice: Optional[str]


class Client:
    """A server, as a context.

    Args:
        url: of its page, as it prints it.
        patience: seconds in which it must say something.

    Raises:
        ValueError: the address is none of a page, or no time to say something.
    """

    def __init__(self, url: str, patience: float = 60.0):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"{url!r} is no address of a page, such as http://127.0.0.1:8642/ (--url)")
        if not patience > 0:
            raise ValueError(f"patience is {patience:g} s, but must be above 0 (--patience)")
        self.url, self.patience = url.rstrip("/"), patience

    async def __aenter__(self) -> "Client":
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self.patience))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def status(self, wait_seconds: float = 0.0) -> Dict[str, Any]:
        """What the server says of itself.

        Args:
            wait_seconds: for one that is starting.

        Raises:
            ServerError: none is there, or it is none of ours.
            ValueError: less than no time to wait.
        """
        if not wait_seconds >= 0:
            raise ValueError(f"wait_seconds is {wait_seconds:g}, but must be 0 or more (--wait-seconds)")
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                async with self._http.get(f"{self.url}/status") as answer:
                    return self._checked(answer.status, await answer.text())
            except aiohttp.ClientConnectorError as error:
                if time.monotonic() >= deadline:
                    remedy = "start one with leap-fairseq serve, or give the address that it printed (--url)"
                    raise ServerError(f"no server at {self.url} ({error.os_error.strerror}): {remedy}") from error
                await asyncio.sleep(RETRY_SECONDS)
            except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError) as error:
                raise ServerError(f"{self.url} did not tell its status ({_text_of(error)})") from error

    async def translate(
        self,
        speech: Speech,
        fast: bool = False,
        take: Callable[[ReceivedWord], None] = lambda word: None,
        policy: Optional[Dict[str, Any]] = None,
    ) -> Translation:
        """Streams a recording.

        Args:
            speech: of the recording; it is read as it is sent.
            fast: as fast as the server takes it.
            take: is called with each word when it is received.
            policy: options of the policy, by name (default: those of the server).

        Raises:
            ServerError: the server refuses the recording, goes away, or says nothing.
            Others: those of the speech.
        """
        try:
            socket = await self._http.ws_connect(f"{self.url}/stream", max_msg_size=0)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServerError(f"{self.url} took no recording: {_text_of(error)}") from error
        async with socket:
            session = _Session(socket, AsFastAsTaken() if fast else RealTime(), self.patience, take)
            return await session.run(speech, {"policy": policy} if policy else {})

    def _checked(self, code: int, text: str) -> Dict[str, Any]:
        if code == 403:
            raise ServerError(f"{self.url} refuses: {' '.join(text.split())[:300]}")
        with contextlib.suppress(ValueError):
            status = json.loads(text)
            if isinstance(status, dict) and all(type(status.get(n)) is kind for n, kind in STATUS_FIELDS.items()):
                return status
        raise ServerError(f"{self.url} is no page of leap-fairseq serve, for its /status is none (--url)")


class _Session:
    """One recording."""

    def __init__(self, socket: Any, clock: RealTime, patience: float, take: Callable[[ReceivedWord], None]):
        self.socket, self.clock, self.patience, self.take = socket, clock, patience, take
        self.words: List[ReceivedWord] = []
        self.sent_ms = 0.0

    async def run(self, speech: Speech, asking: Dict[str, Any]) -> Translation:
        """Sends and receives, at the same time; what is asked for goes into the header."""
        speech = iter(speech)
        try:
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(self._send(speech, asking))
                notice = await self._receive()
                sending.cancel()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        # Of a translation that was complete before, what is left.
        rest = sum(len(samples) * 1000 / rate for samples, rate in speech)
        return Translation(self.words, self.sent_ms + rest, notice)

    async def _send(self, speech: Speech, asking: Dict[str, Any]) -> None:
        samples_sent = 0
        # The server says why it does not listen any more.
        with contextlib.suppress(ConnectionError):
            for samples, rate in speech:
                if not samples_sent:
                    await self.socket.send_json({"sample_rate": rate, "channels": samples.shape[1], **asking})
                samples_sent += len(samples)
                self.sent_ms = samples_sent * 1000 / rate
                await self._ask(np.rint(samples * 32768).clip(-32768, 32767).astype("<i2").tobytes())
            await self._ask(json.dumps({"end": True}))

    async def _ask(self, message: Union[str, bytes]) -> None:
        await self.clock.spoken(self.sent_ms)
        self.clock.asked()
        await (self.socket.send_str(message) if isinstance(message, str) else self.socket.send_bytes(message))

    async def _receive(self) -> Optional[str]:
        """Takes replies up to the last, and returns its notice."""
        while True:
            try:
                message = await self.socket.receive(timeout=self.patience)
            except TimeoutError:
                raise ServerError(f"the server has said nothing for {self.patience:g} seconds (--patience)") from None
            if message.type is not aiohttp.WSMsgType.TEXT:
                heard = f"after {self.sent_ms / 1000:.1f} s of speech"
                raise ServerError(f"the server closed the connection {heard}: look at what it wrote, and try again")
            reply = json.loads(message.data)
            if "error" in reply:
                raise ServerError(f"the server says: {reply['error']}")
            if reply.get("finished"):
                return reply.get("notice")
            if "words" in reply:  # and not the policy that was asked for
                self.clock.answered()
                self._hear(reply["words"])

    def _hear(self, words: List[Dict[str, Any]]) -> None:
        for word in words:
            elapsed = self.clock.elapsed(word["delay"])
            self.words.append(ReceivedWord(word["text"], word["delay"], elapsed, word["sentence"]))
            self.take(self.words[-1])


def _text_of(error: Exception) -> str:
    return str(error) or type(error).__name__
