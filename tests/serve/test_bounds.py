"""The server: limits, slow computing, and listeners that vanish, are strangers or send what is none."""

import asyncio
import contextlib
import json
import re
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'leap-fairseq[serve]'")

from live_client import HEADER, give, joined, noise, pieces, replies, served  # noqa: E402

from leap_fairseq.serve import server as server_module  # noqa: E402
from leap_fairseq.serve import websocket as websocket_module  # noqa: E402
from leap_fairseq.serve.session import Session  # noqa: E402
from leap_fairseq.serve.websocket import Limits  # noqa: E402
from leap_fairseq.streaming import Candidate, StreamingTranslator, Word, batching  # noqa: E402
from leap_fairseq.streaming.tokens import NextToken  # noqa: E402

HANDSHAKE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + "A" * 22


def frame(message):
    """A message as a client sends it, masked with zeros."""
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    head = bytes([0x82 if isinstance(message, bytes) else 0x81])
    length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return head + length + b"\0\0\0\0" + data


async def raw_socket(client, sent=b""):
    """(reader, writer) of a listener that knows no websockets and reads little: it sends these bytes."""
    address = urlsplit(client.address)
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, (address.hostname, address.port))
    reader, writer = await asyncio.open_connection(sock=plain, limit=4096)
    writer.write(f"GET /stream HTTP/1.1\r\nHost: {address.netloc}\r\n{HANDSHAKE}==\r\n\r\n".encode())
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    writer.write(sent)
    return reader, writer


class SlowTranslator:
    """Takes sound only after it was released.

    Attributes:
        heard: bytes of 16-bit samples.
        words: what it writes for each piece.
    """

    def __init__(self, model):
        self.model, self.finished = model, False
        self.released, self.heard, self.words = threading.Event(), 0, []
        self._waiting = False

    def hear(self, samples, rate):
        assert self.released.wait(20)
        self.heard += 2 * samples.size
        self._waiting = bool(self.words)

    def hear_end(self):
        pass

    def close(self):
        self.finished = True

    def notice(self):
        return None

    def next_token(self):
        return NextToken(self, None, 1, draft=False, attended=False) if self._waiting else None

    def take(self, following, candidate):
        self._waiting = False
        return self.words


@pytest.fixture
def slow(translator, monkeypatch):
    """The translator of the first session; the others have the usual ones."""
    first, new_stream = SlowTranslator(translator.model), StreamingTranslator.new_stream
    states = iter([first])
    monkeypatch.setattr(StreamingTranslator, "new_stream", lambda model: next(states, None) or new_stream(model))
    compute = batching.next_candidates

    def next_candidates(tokens):
        computed = iter(compute([token for token in tokens if token.sentence is not first]))
        return [Candidate(0, 1.0) if token.sentence is first else next(computed) for token in tokens]

    monkeypatch.setattr(batching, "next_candidates", next_candidates)
    return first


def test_who_sends_too_fast_waits_and_others_go_on(translator, spoken, slow):
    piece, count = b"\0" * 64_000, 600

    async def scenario(client):
        async with client.open() as connection:
            sent = 0

            async def send():
                nonlocal sent
                for message in (HEADER, *[piece] * count, {"end": True}):
                    await give(connection, message)
                    sent += 1

            sending = asyncio.create_task(send())
            neighbour = await client.translate(spoken[0])
            await asyncio.sleep(0.2)
            stalled = sent
            slow.released.set()
            received = await replies(connection)
            await sending
        return joined(neighbour), stalled, received

    words, stalled, received = served(translator, scenario)
    assert words == spoken[1]
    # What aiohttp and the kernel hold of a connection, on both sides.
    assert stalled < count / 2
    assert [reply["heard_ms"] for reply in received[:-2]] == [2000.0 * (i + 1) for i in range(count)]
    assert received[-1] == {"finished": True} and slow.heard == count * len(piece)


def test_a_stalled_listener_is_not_taken_for_gone(translator, slow):
    """While its data wait to be read, its answer to a ping does too."""

    async def scenario(client):
        async with client.open() as connection:
            for message in (HEADER, *[b"\0" * 64_000] * 50):
                await give(connection, message)
            await asyncio.sleep(1.5)
            slow.released.set()
            await give(connection, {"end": True})
            return await replies(connection)

    received = served(translator, scenario, heartbeat_seconds=0.25, idle_seconds=1)
    assert received[-1] == {"finished": True} and len(received) == 52


@pytest.mark.parametrize("manner", ["close", "abort", "silence"])
@pytest.mark.parametrize("begun", [False, True])
def test_a_listener_that_vanishes_frees_its_place(translator, spoken, manner, begun):
    messages = [HEADER, *spoken[0]] if begun else []

    async def scenario(client):
        async with client.open() if manner == "close" else contextlib.nullcontext() as listener:
            if manner == "close":
                for message in messages:
                    await give(listener, message)
            else:
                # It answers no ping, as if its line had been cut.
                _, writer = await raw_socket(client, b"".join(map(frame, messages)))
            await asyncio.sleep(0.05)
            assert (await client.status())["open"] == 1
            if manner == "abort":
                writer.transport.abort()
        await client.freed()
        if manner == "silence":
            writer.close()
        return await client.translate(spoken[0])

    received = served(translator, scenario, heartbeat_seconds=0.5, max_sessions=1)
    assert joined(received) == spoken[1]


def test_who_never_reads_frees_its_place(translator, slow, caplog):
    slow.released.set()
    slow.words = [Word("x" * 20_000, 0.0)]

    async def scenario(client):
        _, writer = await raw_socket(client, frame(HEADER) + frame(b"\0\0") * 2000)
        await client.freed()
        writer.close()

    served(translator, scenario, idle_seconds=0.3)
    assert slow.heard < 2 * 2000 and "a session failed" not in caplog.text


def test_a_silent_listener_is_told_so(translator):
    async def scenario(client):
        async with client.open() as connection:
            begin = time.monotonic()
            await give(connection, HEADER)
            return await replies(connection), time.monotonic() - begin

    received, seconds = served(translator, scenario, idle_seconds=0.5, heartbeat_seconds=0.1)
    (reply,) = received
    assert re.match("no message came for 0.5 seconds.*--idle-seconds", reply["error"]) and seconds > 0.49


def test_frames_that_are_none(translator, spoken, monkeypatch):
    monkeypatch.setattr(websocket_module, "CLOSING_SECONDS", 0.3)

    async def scenario(client):
        received = []
        for frames in (b"\x81\x81\0\0\0\0\xff", b"\x8f\x80\0\0\0\0", b"\xff" * 1000):
            reader, writer = await raw_socket(client, frames)
            received.append(await asyncio.wait_for(reader.read(), 10))
            writer.close()
        await client.freed()
        return received, await client.translate(spoken[0])

    (text, code, junk), after = served(translator, scenario)
    assert b"not UTF-8: send text as JSON" in text
    assert b"not those of a websocket" in code and b"not those of a websocket" in junk
    assert joined(after) == spoken[1]


def test_places_are_limited(translator, spoken):
    async def scenario(client):
        async with client.open(), client.open():
            refused = await client.translate(spoken[0])
            status = await client.status()
        await client.freed()
        return refused, status, await client.translate(spoken[0])

    refused, status, after = served(translator, scenario, max_sessions=2)
    assert refused == [{"error": "all 2 places are taken: try again later (--max-sessions)"}]
    assert (status["open"], status["total"]) == (2, 2)
    assert after[-1] == {"finished": True}


def test_minutes_are_limited(translator, monkeypatch):
    with monkeypatch.context() as patch:
        # Not those of the clock, which may have passed before on a slow machine.
        patch.setattr(server_module, "Session", lambda stream, minutes: Session(stream, 0.02))
        received = served(translator, lambda client: client.translate(pieces(noise(2000))))
    assert re.match(r"this session has heard 0.02 minutes of speech.*--max-minutes", received[-1]["error"])
    assert received[-2]["heard_ms"] == 1200

    async def dawdle(client):
        async with client.open() as connection:
            await give(connection, HEADER)
            await asyncio.sleep(0.3)
            await give(connection, b"\0\0")
            return await replies(connection)

    (reply,) = served(translator, dawdle, max_minutes=0.003)
    assert "has lasted 0.003 minutes" in reply["error"]


@pytest.mark.parametrize("name", vars(Limits()))
def test_limits_are_above_zero(name):
    with pytest.raises(ValueError, match=f"{name} is 0, but must be above 0 .--{name.replace('_', '-')}"):
        Limits(**{name: 0})


def test_pages_of_other_sites_are_refused(translator):
    async def scenario(client):
        own, codes = client.address, []
        port = urlsplit(own).port
        strangers = ("https://example.org", "null", "http://[", f"http://127.0.0.1:{port + 1}", f"{own}.example.org")
        for origin in (own, own.upper(), *strangers):
            try:
                async with client.open(origin=origin):
                    codes.append(101)
            except aiohttp.WSServerHandshakeError as error:
                codes.append(error.status)
        async with client.http.get(f"{own}/stream", headers={"Origin": "https://example.org"}) as answer:
            return codes, answer.status, await answer.text()

    codes, code, text = served(translator, scenario)
    assert codes == [101, 101, 403, 403, 403, 403, 403]
    assert code == 403 and "a page of https://example.org may not use the translator" in text


def test_a_failure_of_the_translator_is_told_to_the_listener_and_explained_in_the_log(translator, slow, caplog):
    def hear(samples, rate):
        raise RuntimeError("out of memory at /home/anybody")

    slow.hear = hear

    async def scenario(client):
        return [await client.translate([b"\0\0"]) for _ in range(2)]

    first, second = served(translator, scenario)
    assert first == [{"error": "the translation failed: the log of the server says why"}]
    assert "RuntimeError: out of memory at /home/anybody" in caplog.text
    assert second[-1] == {"finished": True}
