"""The client: the words of the translator at their times, at both paces, and one clear error for what goes wrong."""

import asyncio
import json
import math
import socket
import time
from itertools import pairwise

import numpy as np
import pytest

aiohttp = pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'leap-fairseq[serve]'")

from aiohttp import web  # noqa: E402
from live_client import HEADER, HOST, RATE, give, noise, served, words_of  # noqa: E402

from leap_fairseq.serve.client import Client, ServerError  # noqa: E402
from leap_fairseq.speech import AudioError  # noqa: E402
from leap_fairseq.streaming import StreamingTranslator  # noqa: E402


def speech(samples, rate=RATE, ms=100):
    """16-bit samples as a file is read: floats, piece by piece."""
    size = rate * ms // 1000
    for first in range(0, len(samples), size):
        yield samples[first : first + size].astype("<i2").astype(np.float32) / 32768, rate


def streamed(translator, pieces, fast=True, take=lambda word: None, policy=None):
    """What the client makes of a recording; its place must be free afterwards."""

    async def scenario(other):
        async with Client(f"{other.address}/", patience=20) as client:
            translation = await client.translate(pieces, fast, take, policy)
        await other.freed()
        return translation

    return served(translator, scenario)


def plain(words):
    return [{"text": word.text, "delay": word.delay, "sentence": word.sentence} for word in words]


@pytest.mark.parametrize("rate, channels", [(16000, 1), (44100, 2)])
def test_words_are_those_of_the_translator(translator, rate, channels):
    samples, taken = noise(1500, rate=rate, channels=channels), []
    words, source_ms, notice = streamed(translator, speech(samples, rate), take=taken.append)
    assert plain(words) == words_of(translator, samples, rate) and len(words) > 5
    assert words == taken and notice is None
    assert source_ms == pytest.approx(1500)
    assert all(word.elapsed >= word.delay for word in words)
    assert all(before.elapsed <= word.elapsed for before, word in pairwise(words))


def test_speech_is_sent_as_it_is_spoken(translator):
    samples, begin, received = noise(1000), time.monotonic(), []
    words, *_ = streamed(translator, speech(samples), False, lambda word: received.append(time.monotonic() - begin))
    assert plain(words) == words_of(translator, samples)
    # Nothing is heard before it is spoken.
    assert all(word.delay / 1000 <= word.elapsed / 1000 <= when for word, when in zip(words, received))


def test_long_form_tells_the_sentences(long_form):
    samples = noise(10000)
    words, *_ = streamed(long_form, speech(samples))
    assert plain(words) == words_of(long_form, samples) and words[-1].sentence > 1


@pytest.mark.parametrize("fast", [True, False])
def test_a_translation_that_is_complete_before_the_recording(translator, fast):
    parts = translator.model, translator.dictionary, translator.detokenizer, translator.cmvn
    short = StreamingTranslator(*parts, max_len_b=3)
    samples = noise(5000)
    words, source_ms, _ = streamed(short, speech(samples), fast)
    assert source_ms == 5000 and plain(words) == words_of(short, samples) and words[-1].delay < 3000


def test_a_session_asks_for_a_policy(translator):
    samples = noise(1500)
    other = translator.new_stream(translator.policy.configured(waitk_lagging=1))
    words, *_ = streamed(translator, speech(samples), policy={"waitk_lagging": 1})
    assert plain(words) == words_of(other, samples) != words_of(translator, samples)


def test_silence_has_a_notice(translator):
    words, _, notice = streamed(translator, speech(np.zeros((16000, 1))))
    assert words == [] and "no speech in 1.00 s of sound" in notice


def test_sound_beyond_full_scale_is_cut(translator):
    loud = [(np.full((1600, 1), 1.5, np.float32), RATE), (np.full((1600, 1), -1.5, np.float32), RATE)]
    assert streamed(translator, loud).source_ms == 200


def test_a_recording_that_breaks_off_frees_its_place(translator):
    def broken():
        yield from speech(noise(300))
        raise AudioError("the file is damaged")

    async def scenario(other):
        async with Client(other.address) as client:
            with pytest.raises(AudioError, match="the file is damaged"):
                await client.translate(broken(), fast=True)
        await other.freed()

    served(translator, scenario)


def refused(translator, scenario, **limits):
    """The text of the ServerError that a scenario ends in."""
    with pytest.raises(ServerError) as error:
        served(translator, scenario, **limits)
    return str(error.value)


def test_a_full_server_says_so(translator):
    async def scenario(other):
        async with other.open() as first, Client(other.address) as client:
            await give(first, HEADER)
            await client.translate(speech(noise(3000)))

    assert "the server says: all 1 places are taken: try again later" in refused(translator, scenario, max_sessions=1)


def test_a_server_that_stops_says_so(translator):
    async def scenario(other):
        async def stop(word):
            await other.server.stop(None)

        async with Client(other.address) as client:
            tasks = []
            await client.translate(speech(noise(9000)), take=lambda word: tasks.append(asyncio.create_task(stop(word))))

    assert "the server says: the server is stopping" in refused(translator, scenario)


def test_what_the_server_refuses_is_told(translator):
    async def scenario(other):
        async with Client(other.address) as client:
            await client.translate(speech(noise(500, rate=4000), rate=4000), fast=True)

    assert "sample_rate is 4000, but must be a whole number of 8000" in refused(translator, scenario)


STATUS = {"policy": "wait-1", "decision_ms": 100, "unit": "word", "long_form": False, "language": ""}


def of_another(stream=None, status=STATUS, use=None, patience=20):
    """Uses the client with a server that is none of ours; returns what comes of it."""

    async def tell(request):
        return web.json_response(status)

    async def run():
        application = web.Application()
        application.router.add_get("/status", tell)
        if stream:
            application.router.add_get("/stream", stream)
        runner = web.AppRunner(application, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, HOST, 0)
        await site.start()
        try:
            async with Client(f"http://{HOST}:{runner.addresses[0][1]}", patience) as client:
                return await use(client)
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def take_all(client):
    return client.translate(speech(noise(500)), fast=True)


def test_a_server_that_closes_midway_is_named():
    async def close(request):
        listener = web.WebSocketResponse()
        await listener.prepare(request)
        await listener.receive()
        await listener.receive()
        await listener.send_json({"words": [], "heard_ms": 100.0})
        await listener.close()
        return listener

    with pytest.raises(ServerError, match=r"the server closed the connection after 0\.[12] s of speech"):
        of_another(close, use=take_all)


def test_a_server_that_says_nothing_is_left():
    async def listen(request):
        listener = web.WebSocketResponse()
        await listener.prepare(request)
        async for _ in listener:
            pass
        return listener

    with pytest.raises(ServerError, match=r"has said nothing for 0.3 seconds \(--patience\)"):
        of_another(listen, use=take_all, patience=0.3)


@pytest.mark.parametrize("use", [Client.status, take_all])
def test_a_server_that_never_answers_is_left(use):
    async def run():
        async def hear(reader, writer):
            await reader.read()
            writer.close()

        async with await asyncio.start_server(hear, HOST, 0) as server:
            async with Client(f"http://{HOST}:{server.sockets[0].getsockname()[1]}", patience=0.3) as client:
                await use(client)

    with pytest.raises(ServerError, match="did not tell its status|took no recording"):
        asyncio.run(run())


def test_a_server_of_something_else_is_named():
    assert of_another(use=lambda client: client.status()) == STATUS
    for status in ([], {"status": "ok"}, {**STATUS, "decision_ms": "100"}):
        with pytest.raises(ServerError, match="is no page of leap-fairseq serve"):
            of_another(status=status, use=lambda client: client.status())
    with pytest.raises(ServerError, match="took no recording: 404"):
        of_another(use=take_all)


def test_no_server_is_named_and_waited_for(translator):
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        port = unused.getsockname()[1]

    async def ask(wait_seconds):
        async with Client(f"http://{HOST}:{port}") as client:
            return await client.status(wait_seconds)

    with pytest.raises(ServerError, match=rf"no server at http://{HOST}:{port} .*leap-fairseq serve, .*\(--url\)"):
        asyncio.run(ask(0))

    async def late():
        asking = asyncio.create_task(ask(20))
        await asyncio.sleep(0.3)
        assert not asking.done()
        server = await asyncio.start_server(answer, HOST, port)
        async with server:
            return await asking

    async def answer(reader, writer):
        body = json.dumps(STATUS)
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    assert asyncio.run(late()) == STATUS


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan])
def test_no_patience_is_refused(seconds):
    """For aiohttp, 0 seconds are as many as it takes."""
    with pytest.raises(ValueError, match=f"patience is {seconds:g} s, but must be above 0 .--patience"):
        Client("http://127.0.0.1:1/", patience=seconds)


@pytest.mark.parametrize("seconds", [-1.0, math.nan])
def test_no_time_to_wait_for_a_server_is_refused(seconds):
    """One that is not there would be waited for without an end."""

    async def ask():
        async with Client("http://127.0.0.1:1/") as client:
            await client.status(seconds)

    with pytest.raises(ValueError, match=f"wait_seconds is {seconds:g}, but must be 0 or more .--wait-seconds"):
        asyncio.run(ask())


def test_a_name_that_is_not_the_servers_is_refused(translator):
    async def scenario(other):
        async with Client(other.address) as client:
            client._http.headers["Host"] = "elsewhere.example"
            await client.status()

    text = refused(translator, scenario)
    assert "refuses: this server does not go by the name of elsewhere.example" in text and "--allow-host" in text


@pytest.mark.parametrize("url", ["127.0.0.1:8642", "ws://x/", "http://", "localhost"])
def test_an_address_that_is_none_is_named(url):
    with pytest.raises(ValueError, match=r"is no address of a page, such as http://127.0.0.1:8642/ \(--url\)"):
        Client(url)
