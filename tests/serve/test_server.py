"""The server: the words of the translator, each listener's own, whatever others do or send."""

import asyncio
import copy
import json
import re

import numpy as np
import pytest
import torch

pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'leap-fairseq[serve]'")

from live_client import HEADER, give, joined, noise, pieces, replies, served, words_of  # noqa: E402

from leap_fairseq.serve.session_policy import offered  # noqa: E402
from leap_fairseq.streaming import StreamingTranslator  # noqa: E402


def test_words_are_those_of_the_translator_and_come_while_it_listens(translator):
    samples = noise(2500)
    expected = words_of(translator, samples)

    async def scenario(client):
        received = []
        async with client.open() as socket:
            await give(socket, HEADER)
            for piece in pieces(samples):
                await give(socket, piece)
                # The rest has not been sent yet.
                received.append(await socket.receive_json(timeout=20))
            status = await client.status()
            await give(socket, {"end": True})
            received += await replies(socket)
        await client.freed()
        return received, status, await client.status()

    received, during, after = served(translator, scenario)
    assert joined(received) == expected and len(expected) > 10
    assert [reply["heard_ms"] for reply in received[:25]] == [100.0 * (i + 1) for i in range(25)]
    assert next(i for i, reply in enumerate(received) if reply["words"]) < 20
    policy = {
        "policy": "wait-2",
        "decision_ms": 280,
        "policy_options": offered(),
        "unit": "char",
        "long_form": False,
        "language": "",
        "example": False,
    }
    always = {"max_sessions": 8, "total": 1, "model": after["model"], **policy}
    assert during == {"open": 1, **always} and after == {"open": 0, **always}


def test_the_status_tells_one_model_from_another(translator):
    def model():
        return served(translator, lambda client: client.status())["model"]

    other = translator.new_stream()
    other.model = copy.deepcopy(other.model)
    with torch.no_grad():
        next(iter(other.model.parameters())).flatten()[0] += 1
    assert served(other, lambda client: client.status())["model"] != model() == model()


@pytest.mark.parametrize("rate, channels", [(48000, 2), (8000, 1), (44100, 1), (22050, 6)])
def test_other_formats(translator, rate, channels):
    samples = noise(1500, rate=rate, channels=channels)
    header = {"sample_rate": rate, "channels": channels, "more": "ignored"}
    received = served(translator, lambda client: client.translate(pieces(samples, rate=rate), header))
    assert joined(received) == words_of(translator, samples, rate) and joined(received)


def all_at_once(translator, recordings, workers=4):
    """The replies to recordings whose sessions are computed at the same time."""

    async def scenario(client):
        return await asyncio.gather(*(client.translate(pieces(samples)) for samples in recordings))

    return served(translator, scenario, workers=workers)


@pytest.mark.parametrize("kind, ms", [("translator", 1500), ("long_form", 2500), ("hybrid", 1500)])
def test_four_at_once_are_each_as_alone(request, kind, ms):
    translator = request.getfixturevalue(kind)
    recordings = [noise(ms + 300 * seed, seed) for seed in range(4)]
    alone = [words_of(translator, samples) for samples in recordings]
    assert len({json.dumps(words) for words in alone}) == 4
    assert [joined(received) for received in all_at_once(translator, recordings)] == alone


def test_long_speech_goes_on_sentence_by_sentence(long_form):
    samples = noise(8000)
    words = joined(served(long_form, lambda client: client.translate(pieces(samples))))
    assert words == words_of(long_form, samples)
    assert len({word["sentence"] for word in words}) >= 3


def test_four_at_once_on_one_state_are_not(translator, monkeypatch):
    """The control, in one thread: what several do to one state may end the process."""
    shared = translator.new_stream()
    monkeypatch.setattr(StreamingTranslator, "new_stream", lambda _: shared)
    recordings = [noise(1500 + 300 * seed, seed) for seed in range(4)]
    received = all_at_once(translator, recordings, workers=1)
    words = [[word for reply in each for word in reply.get("words", ())] for each in received]
    assert words != [words_of(translator, samples) for samples in recordings]


@pytest.mark.parametrize("ms", [0, 10, 1000])
def test_silence_and_short_sound_finish(translator, ms):
    silence = np.zeros((ms * 16, 1))
    received = served(translator, lambda client: client.translate(pieces(silence)))
    assert joined(received) == words_of(translator, silence) == []
    assert ("no speech in 1.00 s of sound" in received[-1].get("notice", "")) == (ms == 1000)


def test_what_a_complete_sentence_leaves_out_is_told(translator, monkeypatch):
    monkeypatch.setattr(StreamingTranslator, "notice", lambda stream: "9.0 s of speech were not translated")
    received = served(translator, lambda client: client.translate(pieces(noise(800))))
    assert received[-1] == {"finished": True, "notice": "9.0 s of speech were not translated"}


def test_a_complete_translation_ends_the_session(translator):
    parts = translator.model, translator.dictionary, translator.detokenizer, translator.cmvn
    short = StreamingTranslator(*parts, max_len_b=3)
    received = served(short, lambda client: client.translate(pieces(noise(10_000))))
    assert received[-1] == {"finished": True}
    assert received[-2]["heard_ms"] < 3000


GARBAGE = {
    "not JSON": (["hello"], "hello is not JSON: send .*sample_rate.*end"),
    "a list": (["[1]"], r"\[1\] is neither the header .* nor the end"),
    "another object": (['{"rate": 16000}'], "is neither the header"),
    "deep": (["[" * 400], r"\[ \.\.\. is not JSON"),
    "long text": (["[" * 60_000], "text of 60000 characters"),
    "sound first": ([b"\0\0"], "sound came before the header: send"),
    "odd bytes": ([HEADER, b"\0\0\0"], "3 bytes are no whole samples of 1 channel.*16-bit"),
    "half a frame": ([{"sample_rate": 8000, "channels": 2}, b"\0\0"], "whole samples of 2 channel"),
    "rate of 1": ([{"sample_rate": 1}], "sample_rate is 1, but must be a whole number of 8000 to 192000"),
    "huge rate": ([{"sample_rate": 10**300}], r"sample_rate is 10000.*\.\.\., but"),
    "rate of NaN": (['{"sample_rate": NaN}'], "sample_rate is NaN"),
    "rate as text": ([{"sample_rate": "16000"}], 'sample_rate is "16000"'),
    "rate of true": ([{"sample_rate": True}], "sample_rate is true"),
    "no channel": ([{**HEADER, "channels": 0}], "channels is 0, but must be a whole number of 1 to 32"),
    "many channels": ([{**HEADER, "channels": 10**6}], "channels is 1000000"),
    "null channels": ([{**HEADER, "channels": None}], "channels is null"),
    "two headers": ([HEADER, HEADER], "a second header"),
    "no end": ([HEADER, {"end": False}], "end is false, but can only be true"),
    "too large": ([HEADER, b"\0" * 3_000_000], "a message has more than 65536 bytes.*--max-message-bytes"),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_named_and_harms_nobody(translator, spoken, name):
    messages, reason = GARBAGE[name]

    async def scenario(client):
        async with client.open() as neighbour:
            await give(neighbour, HEADER)
            async with client.open() as socket:
                for message in messages:
                    await give(socket, message)
                received = await replies(socket)
                code = socket.close_code
            for message in (*spoken[0], {"end": True}):
                await give(neighbour, message)
            words = joined(await replies(neighbour))
        await client.freed()
        return received, code, words

    received, code, words = served(translator, scenario, max_message_bytes=1 << 16)
    assert list(received[-1]) == ["error"] and re.search(reason, received[-1]["error"])
    assert code == (1009 if name == "too large" else 1008)
    assert words == spoken[1]
