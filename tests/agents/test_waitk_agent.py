"""The SimulEval adapter writes what the translator writes, keeps to SimulEval's contract, and names what is wrong."""

import argparse

import pytest
import torch
from fairseq.data import Dictionary
from random_translator import TEXTS, noise, translate, translator
from simuleval.data.segments import SpeechSegment

from leap_fairseq.agents import WaitkAgent, waitk_agent
from leap_fairseq.speech import train_vocabulary
from leap_fairseq.streaming import StreamingDetokenizer


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("spm") / "spm"
    train_vocabulary(TEXTS, str(prefix), 60, "unigram")
    return Dictionary.load(f"{prefix}.txt"), f"{prefix}.model"


@pytest.fixture
def make(vocabulary, monkeypatch):
    """A function: the agent of a command line over a translator with random weights, as SimulEval makes it."""

    def load(path, data, config_yaml, unit, max_len_a, max_len_b, long_form, **policy_options):
        stream = translator(vocabulary, "1-4", 4, visibility="segment", endless=True, max_len_b=max_len_b)
        stream.policy = stream.policy.configured(**policy_options)
        stream.detokenizer = StreamingDetokenizer(vocabulary[1], unit)
        return stream

    monkeypatch.setattr(waitk_agent, "load_translator", load)

    def agent(*words, **more):
        options = parse(*words)
        vars(options).update(more)
        return WaitkAgent.from_args(options)

    return agent


def parse(*words):
    parser = argparse.ArgumentParser()
    WaitkAgent.add_args(parser)
    return parser.parse_args(["--model-path", "model", "--max-len-b", "12", *words])


def run(agent, samples, segment_ms=160, rate=16000):
    """The segments that the agent returns, one for each that it is given."""
    size = segment_ms * rate // 1000
    pieces = [samples[first : first + size] for first in range(0, len(samples), size)]
    returned = []
    for number, piece in enumerate(pieces, start=1):
        segment = SpeechSegment(content=piece.tolist(), sample_rate=rate, finished=number == len(pieces))
        returned.append(agent.pushpop(segment))
    return returned


@pytest.mark.parametrize("lagging", [None, 1, 3])
def test_it_writes_what_the_translator_writes(make, lagging):
    agent = make(*(() if lagging is None else ("--test-waitk-lagging", str(lagging))))
    stream = agent.translator.new_stream()
    assert str(stream.policy) == f"wait-{lagging or 4}"
    expected = [word.text for word in translate(stream, noise(2000), 160)]
    written = run(agent, noise(2000))
    assert " ".join(segment.content for segment in written if not segment.is_empty).split() == expected
    assert [segment.finished for segment in written] == [False] * (len(written) - 1) + [True]
    assert any(segment.is_empty for segment in written[: (lagging or 4) - 1]) == ((lagging or 4) > 1)


def test_an_early_end_is_kept_until_the_source_ends(make):
    agent = make(max_len_b=2)
    written = run(agent, noise(3000))
    assert agent.translator.finished and not any(segment.finished for segment in written[:-1])
    assert written[-1].finished and not written[-1].is_empty


def test_nothing_is_left_for_the_next_recording(make):
    agent = make()
    first = [segment.content for segment in run(agent, noise(1500))]
    agent.reset()
    agent.push(SpeechSegment(content=noise(700, 5).tolist(), sample_rate=16000, finished=False))
    agent.pop()
    agent.reset()
    assert [segment.content for segment in run(agent, noise(1500))] == first


def test_characters_are_joined_without_spaces(make):
    words, characters = make(), make(eval_latency_unit="char")
    text = " ".join(segment.content for segment in run(words, noise(1500)) if segment.content)
    written = "".join(segment.content for segment in run(characters, noise(1500)) if segment.content)
    assert written == text.replace(" ", "") and written


def test_device_and_precision(make):
    agent = make("--bf16")
    agent.to("cpu")
    assert next(agent.translator.model.parameters()).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="--bf16 and fp16 at once: give one of"):
        agent.to("cpu", fp16=True)
    agent = make()
    agent.to("cpu", fp16=True)
    assert next(agent.translator.model.parameters()).dtype == torch.float16


@pytest.mark.parametrize(
    "words, error",
    [
        (("--beam", "4"), "'4' must be 1: the agent shows each word at once and never takes it back"),
        (("--test-waitk-lagging", "0"), "'0' must be a number of at least 1"),
        (("--segment-ms", "-5"), "'-5' must be a number of at least 1"),
    ],
)
def test_options_that_cannot_be(words, error, capsys):
    with pytest.raises(SystemExit):
        parse(*words)
    assert error in capsys.readouterr().err


def test_a_missing_recording_is_named_before_anything_is_translated(make, tmp_path):
    (tmp_path / "a.wav").touch()
    (tmp_path / "list").write_text(f"{tmp_path}/a.wav\n{tmp_path}/b.wav\n", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=r"no recording at .*b\.wav', line 2 of .*correct --source"):
        make(source=str(tmp_path / "list"))
