"""simulstream over our translators: the same words at the same times by its inference, its server and its client."""

import argparse
import asyncio
import functools
import json
import logging
import sys
from types import SimpleNamespace

import pytest
import soundfile
import yaml
from document_blocks import blocks_of
from exported_model import write_model
from preloading import ROOT
from random_translator import noise

from leap_fairseq.example import MODEL, RECORDING
from leap_fairseq.models import load_translator
from leap_fairseq.scoring.instances import read_any_log
from leap_fairseq.scoring.units import unit_named

MODULE = "leap_fairseq.agents.simulstream_processor"
KIND = f"{MODULE}.LeapSpeechProcessor"
EXAMPLE = {"type": KIND, "example": True, "detokenizer_type": "simuleval", "latency_unit": "word"}


@pytest.fixture(scope="module")
def simulstream():
    return pytest.importorskip("simulstream", reason="needs simulstream: pip install 'leap-fairseq[simulstream]'")


@pytest.fixture(scope="module")
def build(simulstream):
    """A function: the speech processor of a YAML with these keys."""
    from simulstream.server.speech_processors import build_speech_processor

    return lambda **keys: build_speech_processor(SimpleNamespace(**{"type": KIND, **keys}))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a translator with random weights."""
    return str(write_model(tmp_path_factory.mktemp("exported") / "model"))


@pytest.fixture(scope="module")
def wavs(tmp_path_factory):
    """A list of the recording of the example, and of its half."""
    folder = tmp_path_factory.mktemp("wavs")
    samples, rate = soundfile.read(RECORDING, dtype="int16")
    for name, part in (("whole", samples), ("half", samples[: len(samples) // 2])):
        soundfile.write(folder / f"{name}.wav", part, rate)
        (folder / f"{name}.txt").write_text(f"{name}.wav\n", encoding="utf-8")
    (folder / "both.txt").write_text("whole.wav\nhalf.wav\n", encoding="utf-8")
    return folder / "both.txt"


@pytest.fixture(scope="module")
def half(wavs):
    """A list of the half alone."""
    return wavs.with_name("half.txt")


@pytest.fixture
def metrics(tmp_path):
    """simulstream's log, which it writes for the whole process."""
    logger = logging.getLogger("fbk_fairseq.simultaneous.metrics")
    # Its programs set that of the root.
    logger.setLevel(logging.INFO)
    yield tmp_path / "metrics.jsonl"
    logger.setLevel(logging.NOTSET)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


@functools.cache
def expected(wavs, unit="word", ends_twice=False):
    """(text, delay in ms) of each unit of each recording, as `leap-fairseq translate` writes them.

    Args:
        ends_twice: the last piece is heard twice, as simulstream 1.0.0's client sends it.
    """
    found = {}
    for name in wavs.read_text(encoding="utf-8").split():
        stream = load_translator(MODEL, unit=unit)
        samples, rate = soundfile.read(wavs.parent / name, dtype="float32")
        pieces = [samples[first : first + 2560] for first in range(0, len(samples), 2560)]
        words = [word for piece in pieces + pieces[-1:] * ends_twice for word in stream.push(piece, rate)]
        found[name.removesuffix(".wav")] = [(word.text, word.delay) for word in words + stream.finish()]
    return found


def logged(metrics, unit="word"):
    """The same of simulstream's log."""
    instances = read_any_log(metrics, unit_named(unit)).instances
    return {each.recording: list(zip(each.written, map(pytest.approx, each.delays))) for each in instances}


def infer(config, wavs, metrics):
    """Runs simulstream's inference of a list with the YAML of some keys."""
    from simulstream import inference

    path = wavs.parent / "processor.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    places = {"speech_processor_config": path, "wav_list_file": str(wavs), "metrics_log_file": metrics}
    inference.main(argparse.Namespace(**places, tgt_lang="de", src_lang=None))


def test_its_inference_writes_what_translate_writes(simulstream, wavs, metrics):
    infer(EXAMPLE, wavs, metrics)
    assert logged(metrics) == expected(wavs) and len(expected(wavs)["whole"]) == 11
    from simulstream.metrics.readers import LogReader
    from simulstream.metrics.stats import NormalizedErasure, RealTimeFactor

    reader = LogReader(SimpleNamespace(**EXAMPLE), metrics)
    texts = {name: " ".join(text for text, _ in words) for name, words in expected(wavs).items()}
    assert reader.final_outputs() == texts
    assert NormalizedErasure().compute(reader) == 0 and RealTimeFactor().compute(reader) > 0


def test_characters_are_simulstreams(simulstream, half, metrics):
    infer({**EXAMPLE, "latency_unit": "char"}, half, metrics)
    from simulstream.metrics.readers import LogReader

    output = LogReader(SimpleNamespace(**{**EXAMPLE, "latency_unit": "char"}), metrics, "char")
    for name, characters in expected(half, "char").items():
        text = "".join(text for text, _ in characters)
        found = output.final_outputs_and_latencies()[name]
        assert found.final_text == text and len(found.ideal_delays) == len(text)
        (instance,) = [each for each in read_any_log(metrics, unit_named("char")).instances if each.recording == name]
        assert instance.prediction == text and len(instance.delays) == len(text)


def test_its_server_and_client(simulstream, half, metrics):
    from simulstream.client.wav_reader_client import load_wav_file_list, stream_wav_files
    from simulstream.metrics.logger import setup_metrics_logger
    from simulstream.server.websocket_server import SpeechProcessorPool, connection_handler_factory
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import serve

    setup_metrics_logger(SimpleNamespace(enabled=True, filename=metrics))

    async def scenario():
        pool = SpeechProcessorPool(SimpleNamespace(**EXAMPLE), 2, 10)
        async with serve(connection_handler_factory(pool), "127.0.0.1", 0) as server:
            uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            # A piece is as long as the processor waits for.
            await stream_wav_files(uri, load_wav_file_list(str(half)), 160, tgt_lang="de")
            async with connect(uri) as socket:
                samples, _ = soundfile.read(half.with_suffix(".wav"), dtype="int16")
                await socket.send(json.dumps({"metrics_metadata": {"wav_name": "again.wav"}}))
                await socket.send(samples[:24000].astype("<i2").tobytes())
                await socket.send(samples[24000:].astype("<i2").tobytes())
                await socket.send(json.dumps({"end_of_stream": True}))
                return [json.loads(await socket.recv()) for _ in range(4)]

    *written, end = asyncio.run(scenario())
    found, words = logged(metrics), [word for word, _ in expected(half)["half"]]
    assert [word for word, _ in found.pop("again")] == words and found == expected(half, ends_twice=True)
    assert "".join(each["new"] for each in written) == " ".join(words) and end == {"end_of_processing": True}


def outputs(processor, samples, size=4000):
    pieces = [processor.process_chunk(samples[first : first + size]) for first in range(0, len(samples), size)]
    return [*pieces, processor.end_of_stream()]


def test_processors_share_the_weights_and_nothing_else(build, model):
    first, second = (build(model=model, waitk_lagging=2, max_len_b=9) for _ in range(2))
    other = build(model=model, waitk_lagging=3, max_len_b=9)
    assert first.stream.model is second.stream.model is not other.stream.model
    assert (str(first.stream.policy), str(other.stream.policy)) == ("wait-2", "wait-3")
    alone = [outputs(first, noise(2000, seed)) for seed in (0, 1)]
    assert alone[0] != alone[1] and any(output.new_tokens for output in alone[0])
    first.clear()
    pairs = []
    for begin in range(0, 32000, 4000):
        pieces = (noise(2000, seed)[begin : begin + 4000] for seed in (0, 1))
        pairs.append([processor.process_chunk(piece) for processor, piece in zip((first, second), pieces)])
    pairs.append([processor.end_of_stream() for processor in (first, second)])
    tokens = [[output.new_tokens for output in each] for each in alone]
    assert [[output.new_tokens for output in each] for each in zip(*pairs)] == tokens


@pytest.mark.parametrize("unit", ["word", "spm"])
def test_texts_join_over_parts_until_it_is_cleared(build, unit):
    processor = build(**{**EXAMPLE, "latency_unit": unit})
    samples = soundfile.read(RECORDING, dtype="float32")[0][:30000]
    texts = []
    for _ in range(2):
        written = outputs(processor, samples)
        texts.append("".join(output.new_string for output in written))
        assert not any(output.deleted_tokens or output.deleted_string for output in written)
    # As simulstream's VAD, which ends a part and goes on.
    assert texts[1] == f" {texts[0]}" and texts[0].startswith("Könnten Sie mir")
    processor.clear()
    assert "".join(output.new_string for output in outputs(processor, samples)) == texts[0]


def test_speech_between_two_calls(build, model):
    assert build(model=model).speech_chunk_size == 0.16
    assert build(model=model, speech_chunk_size=2).speech_chunk_size == 2


def test_long_form_is_the_models(build, model):
    with pytest.raises(ValueError, match="long form"):
        build(model=model, long_form=True)


def test_languages(build, caplog):
    processor = build(**EXAMPLE, src_lang="en")
    for language in ("de", "de-AT", "DE"):
        processor.set_target_language(language)
    processor.set_source_language("en-GB")
    assert not caplog.records
    with pytest.raises(ValueError, match="asks for tgt_lang it, but the model has de, as its YAML says: ask for de"):
        processor.set_target_language("it")
    with pytest.raises(ValueError, match="src_lang de, but the model has en"):
        processor.set_source_language("de")
    build(**EXAMPLE).set_source_language("fr")
    assert "asks for src_lang fr, which changes nothing" in caplog.text


@pytest.mark.parametrize(
    "keys, message",
    [
        ({}, "names no model: give model: a folder of leap-fairseq export or a checkpoint; or example: true"),
        ({"model": None}, "names no model"),
        ({"example": True, "model": "x"}, "both example and model"),
        ({"model": 3}, "model of the YAML is 3, but must be a text"),
        ({"model": "x", "long_form": "yes"}, "long_form of the YAML is 'yes', but must be true or false"),
        ({"model": "x", "max_len_b": 2.5}, "max_len_b of the YAML is 2.5, but must be a whole number"),
        ({"model": "x", "max_len_a": True}, "max_len_a of the YAML is True, but must be a number"),
        ({"model": "x", "dtype": "int8"}, "dtype of the YAML is int8, but must be one of fp32, bf16, fp16"),
        ({"model": "x", "waitk_lagging": 0}, "waitk_lagging of the YAML is 0: '0' must be a number of at least 1"),
        ({"example": True, "speech_chunk_size": 0}, "speech_chunk_size of the YAML is 0, but must be above 0"),
        ({"example": True, "latency_unit": "letter"}, "unit 'letter' is not one of word, char, spm"),
    ],
)
def test_what_cannot_be_is_named(build, keys, message):
    with pytest.raises(ValueError) as error:
        build(**keys)
    assert message in str(error.value)


def test_a_missing_model_is_named(build):
    with pytest.raises(FileNotFoundError, match="no checkpoint at nowhere"):
        build(model="nowhere")


def test_the_yaml_of_the_documents(build, model):
    texts = [block.text for block in blocks_of((ROOT / "docs/streaming.md").read_text(encoding="utf-8"))]
    (text,) = [text for text in texts if KIND in text]
    config = yaml.safe_load(text)
    processor = build(**{**config, "model": model})
    assert str(processor.stream.policy) == f"wait-{config['waitk_lagging']}" and config["type"] == KIND


def test_a_missing_simulstream_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] == "simulstream"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "simulstream", None)
    with pytest.raises(ImportError, match=r"needs simulstream: pip install 'leap-fairseq\[simulstream\]'"):
        __import__(MODULE)
