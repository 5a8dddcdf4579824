"""A server of live translation in this process, and a client that talks to it; for tests. Needs aiohttp."""

import asyncio
import contextlib
import json
import threading
import time

import aiohttp
import numpy as np

from leap_fairseq.serve.hosts import AllowedHosts
from leap_fairseq.serve.server import Server
from leap_fairseq.serve.websocket import Limits

HOST, RATE = "127.0.0.1", 16000
HEADER = {"sample_rate": RATE}


def noise(ms, seed=0, rate=RATE, channels=1):
    """16-bit noise [N, channels] whose loudness changes, so that different moments sound different."""
    generator = np.random.default_rng(seed)
    samples = generator.standard_normal((ms * rate // 1000, channels)) * 3000
    return (samples * (1.2 + np.sin(np.arange(len(samples)) / rate * (5 + seed)))[:, None]).clip(-32768, 32767)


def pieces(samples, ms=100, rate=RATE):
    """The samples as messages of so many milliseconds."""
    size = rate * ms // 1000
    return [samples[first : first + size].astype("<i2").tobytes() for first in range(0, len(samples), size)]


def words_of(translator, samples, rate=RATE):
    """What the translator itself makes of the same pieces."""
    words, size = [], rate // 10
    for first in range(0, len(samples), size):
        words += translator.push(samples[first : first + size].astype("<i2").astype(np.float32) / 32768, rate)
    words += translator.finish()
    translator.reset()
    return [vars(word) for word in words]


class Client:
    """A client of a running server.

    Attributes:
        http: session of aiohttp.
        server: the Server.
    """

    def __init__(self, http, address, server):
        self.http, self.address, self.server = http, address, server

    def open(self, **options):
        """The websocket, as a context."""
        return self.http.ws_connect(f"{self.address}/stream", **options)

    async def status(self):
        async with self.http.get(f"{self.address}/status") as answer:
            return await answer.json()

    async def translate(self, messages, header=HEADER):
        """All replies to a header, messages, and the end."""
        async with self.open() as socket:
            for message in (header, *messages, {"end": True}):
                with contextlib.suppress(ConnectionError):  # closed upon an error
                    await give(socket, message)
            return await replies(socket)

    async def freed(self, seconds=60.0):
        """Waits until no session is open."""
        end = time.monotonic() + seconds
        while self.server.open:
            assert time.monotonic() < end, "the session was not freed"
            await asyncio.sleep(0.01)


async def give(socket, message):
    if isinstance(message, bytes):
        await socket.send_bytes(message)
    else:
        await socket.send_str(message if isinstance(message, str) else json.dumps(message))


async def replies(socket):
    """Everything up to the close."""
    received = []
    while True:
        message = await socket.receive(timeout=60)
        if message.type is not aiohttp.WSMsgType.TEXT:
            assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED), message
            return received
        received.append(json.loads(message.data))


def joined(received):
    """All words of replies that end well."""
    assert received[-1].get("finished") is True, received[-1]
    return [word for reply in received[:-1] for word in reply["words"]]


def served(translator, scenario, workers=2, example=None, **limits):
    """What a coroutine function returns, called with a client of a new server, which may have an example."""

    async def run():
        server = Server(translator, Limits(**limits), workers, AllowedHosts(HOST), example=example)
        async with server.listening(HOST, 0) as port, aiohttp.ClientSession() as http:
            return await scenario(Client(http, f"http://{HOST}:{port}", server))

    return asyncio.run(run())


@contextlib.contextmanager
def serving(translator, workers=2, language="", **limits):
    """The address of a server that runs beside the test, in a thread, and the server."""
    ready, ended = threading.Event(), threading.Event()
    server = Server(translator, Limits(**limits), workers, AllowedHosts(HOST), language)
    found = []

    async def run():
        async with server.listening(HOST, 0) as port:
            found.append(f"http://{HOST}:{port}/")
            ready.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=asyncio.run, args=[run()])
    thread.start()
    try:
        assert ready.wait(60)
        yield found[0], server
    finally:
        ended.set()
        thread.join()
