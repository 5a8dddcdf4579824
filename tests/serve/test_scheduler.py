"""Messages of several sessions, computed together by the worker that is free."""

import asyncio
import json
import threading

import pytest

pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'leap-fairseq[serve]'")

from live_client import HEADER, noise, words_of  # noqa: E402

from leap_fairseq.serve import scheduler as module  # noqa: E402
from leap_fairseq.serve.scheduler import Scheduler  # noqa: E402
from leap_fairseq.serve.session import ProtocolError, Session, take_together  # noqa: E402

END = json.dumps({"end": True})


def pcm(samples):
    return samples.astype("<i2").tobytes()


def new_sessions(translator, count):
    return [Session(translator.new_stream(), max_minutes=1) for _ in range(count)]


def test_who_waits_is_computed_together(translator, monkeypatch):
    """While the only worker computes for the first, four others come: one call for all of them."""
    sessions, sizes, busy, go_on = new_sessions(translator, 5), [], threading.Event(), threading.Event()

    def noted(turns):
        sizes.append(len(turns))
        busy.set()
        assert go_on.wait(20)
        return take_together(turns)

    monkeypatch.setattr(module, "take_together", noted)
    sounds = [noise(900 + 300 * number, number) for number in range(5)]

    async def scenario():
        scheduler = Scheduler(workers=1)
        for session in sessions:
            assert session.hear(json.dumps(HEADER)) is False
        first = asyncio.create_task(scheduler.take(sessions[0], pcm(sounds[0])))
        await asyncio.to_thread(busy.wait, 20)
        others = [asyncio.create_task(scheduler.take(*pair)) for pair in zip(sessions[1:], map(pcm, sounds[1:]))]
        gone = asyncio.create_task(scheduler.take(Session(translator.new_stream(), 1), END))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        go_on.set()
        heard = await asyncio.gather(first, *others)
        ended = await asyncio.gather(*(scheduler.take(session, END) for session in sessions))
        scheduler.stop()
        return heard, ended

    heard, ended = asyncio.run(scenario())
    assert sizes[:2] == [1, 4] and sum(sizes) == 10
    for sound, begin, end, session in zip(sounds, heard, ended, sessions):
        assert session.finished
        texts = [word["text"] for word in begin["words"] + end["words"]]
        assert texts == [word["text"] for word in words_of(translator, sound)]


def test_nonsense_fails_alone_and_the_model_for_all(translator, monkeypatch):
    good, bad = new_sessions(translator, 2)
    good.hear(json.dumps(HEADER))
    results = take_together([(bad, b"\0\0"), (good, pcm(noise(500)))])
    assert isinstance(results[0], ProtocolError) and results[1]["heard_ms"] == 500

    def broken(translators):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("leap_fairseq.serve.session.write_batch", broken)
    results = take_together([(bad, json.dumps({"sample_rate": 8000})), (good, pcm(noise(500)))])
    assert results[0] is None and isinstance(results[1], RuntimeError)
