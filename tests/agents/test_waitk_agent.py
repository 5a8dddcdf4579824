"""The SimulEval adapter writes what the translator writes, keeps to SimulEval's contract, and names what is wrong."""

import argparse
import json

import pytest
import soundfile
import torch
from fairseq.data import Dictionary
from random_translator import TEXTS, noise, translate, translator
from simuleval.agents import AgentPipeline, AgentStates, TextToTextAgent, TreeAgentPipeline
from simuleval.agents.actions import ReadAction, WriteAction
from simuleval.data.segments import EmptySegment, SpeechSegment, TextSegment, segment_from_json_string

from leap_fairseq.agents import WaitkAgent, waitk_agent
from leap_fairseq.scoring.units import KEPT_SPACE
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

    def load(path, data, config_yaml, unit, max_len_a, max_len_b, long_form, speech_gate, **policy_options):
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


def cut(samples, segment_ms=160, rate=16000):
    """The segments of a recording, as SimulEval sends them."""
    size = segment_ms * rate // 1000
    pieces = [samples[first : first + size] for first in range(0, len(samples), size)]
    return [
        SpeechSegment(content=piece.tolist(), sample_rate=rate, finished=number == len(pieces), tgt_lang=None)
        for number, piece in enumerate(pieces, start=1)
    ]


def run(agent, samples, states=None):
    """The segments that the agent returns, one for each that it is given."""
    return [agent.pushpop(segment, states) for segment in cut(samples)]


def contents(segments):
    return [segment.content for segment in segments]


@pytest.mark.parametrize("lagging", [None, 1, 3])
def test_it_writes_what_the_translator_writes(make, lagging):
    agent = make(*(() if lagging is None else ("--test-waitk-lagging", str(lagging))))
    stream = agent.translator.new_stream()
    assert str(stream.policy) == f"wait-{lagging or 2}"
    expected = [word.text for word in translate(stream, noise(2000), 160)]
    written = run(agent, noise(2000))
    assert " ".join(segment.content for segment in written if not segment.is_empty).split() == expected
    assert [segment.finished for segment in written] == [False] * (len(written) - 1) + [True]
    assert any(segment.is_empty for segment in written[: (lagging or 2) - 1]) == ((lagging or 2) > 1)


def test_an_early_end_is_kept_until_the_source_ends(make):
    agent = make(max_len_b=2)
    written = run(agent, noise(3000))
    assert agent.states.stream.finished and not any(segment.finished for segment in written[:-1])
    assert written[-1].finished and not written[-1].is_empty


def test_nothing_is_left_for_the_next_recording(make):
    agent = make()
    first = [segment.content for segment in run(agent, noise(1500))]
    agent.reset()
    agent.push(SpeechSegment(content=noise(700, 5).tolist(), sample_rate=16000, finished=False))
    agent.pop()
    agent.reset()
    assert [segment.content for segment in run(agent, noise(1500))] == first


def test_sources_are_translated_side_by_side(make):
    """One agent, states for each source; the agent's own are left alone."""
    agent = make()
    sounds = [noise(1500, 1), noise(2300, 2), noise(1900, 3)]
    alone = [contents(run(make(), samples)) for samples in sounds]
    states, written = [agent.build_states() for _ in sounds], [[], [], []]
    segments = [cut(samples) for samples in sounds]
    agent.pushpop(segments[0][0])
    for turn in range(max(map(len, segments))):
        for number, of_it in enumerate(segments):
            if turn < len(of_it):
                written[number].append(agent.pushpop(of_it[turn], states[number]))
    assert [contents(of_it) for of_it in written] == alone and len(set(map(str, alone))) == 3
    assert all(of_it[-1].finished for of_it in written)
    assert agent.pop(states[0]).finished and agent.states.consumed == 2560 and not agent.states.stream.steps
    agent.reset()
    assert contents(run(agent, sounds[0])) == alone[0]


def test_states_are_used_again_after_a_reset(make):
    agent = make()
    states = agent.build_states()
    first = contents(run(agent, noise(1500), states))
    states.reset()
    assert run(agent, noise(700, 5), states)[-1].finished
    states.reset()
    assert contents(run(agent, noise(1500), states)) == first and any(first)


def test_states_made_elsewhere_are_refused(make):
    with pytest.raises(ValueError, match="the states are AgentStates: make those of a source with build_states()"):
        make().pushpop(cut(noise(500))[0], AgentStates())


def test_a_source_that_ends_without_sound(make):
    agent = make()
    for states in (None, agent.build_states()):
        assert agent.pushpop(EmptySegment(), states).is_empty
        last = agent.pushpop(EmptySegment(finished=True), states)
        assert last.finished and not last.content


class Shouting(TextToTextAgent):
    """Writes what it reads, in capitals."""

    def policy(self, states=None):
        states = self.states if states is None else states
        new = states.source[len(states.target) :]
        if not new and not states.source_finished:
            return ReadAction()
        return WriteAction(" ".join(new).upper(), finished=states.source_finished)


def pipeline(agent):
    return AgentPipeline([agent, Shouting()])


def tree(agent):
    return TreeAgentPipeline({agent: [Shouting], Shouting(): []}, argparse.Namespace(output_index=0))


@pytest.mark.parametrize("build", [pipeline, tree])
@pytest.mark.parametrize("with_states", [True, False])
def test_pipelines_of_simuleval(make, build, with_states):
    expected = " ".join(text for text in contents(run(make(), noise(2000))) if text).upper().split()
    system = build(make())
    for _ in range(2):
        written = run(system, noise(2000), system.build_states() if with_states else None)
        assert " ".join(segment.content for segment in written if segment.content).split() == expected
        assert [segment.finished for segment in written] == [False] * (len(written) - 1) + [True]
        if not with_states:
            system.reset()


@pytest.mark.parametrize("language", [None, "de"])
def test_segments_travel_as_json(make, language):
    """As SimulEval's server reads and writes them; by default it has a type in place of a language."""
    agent, expected = make(), contents(run(make(), noise(1500)))
    written = []
    for segment in cut(noise(1500)):
        segment.tgt_lang, segment.config = language, {"speed": 1}
        agent.push(segment_from_json_string(segment.json()))
        written.append(segment_from_json_string(agent.pop().json()))
    assert contents(written) == expected and written[-1].finished
    assert {segment.tgt_lang for segment in written if isinstance(segment, TextSegment)} == {language}
    assert agent.states.config == {"speed": 1}
    unset = SpeechSegment(content=[0.1] * 16000, sample_rate=16000, finished=True)
    assert json.loads(make().pushpop(unset).json())["tgt_lang"] is None


def test_characters_keep_the_spaces_of_the_text(make):
    words, characters = make(), make(eval_latency_unit="char")
    text = " ".join(segment.content for segment in run(words, noise(1500)) if segment.content)
    written = "".join(segment.content for segment in run(characters, noise(1500)) if segment.content)
    assert written.replace(KEPT_SPACE, " ") == text and " " in text and " " not in written


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
    soundfile.write(tmp_path / "a.wav", noise(100), 16000)
    (tmp_path / "list").write_text(f"{tmp_path}/a.wav\n{tmp_path}/b.wav\n", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=r"no recording at .*b\.wav', line 2 of .*correct --source"):
        make(source=str(tmp_path / "list"))


@pytest.mark.parametrize("value, rate", [(float("nan"), 16000), (1e30, 16000), (float("inf"), 48000), (0.1, 0)])
def test_sound_that_is_none_is_refused(make, value, rate):
    agent = make()
    agent.push(SpeechSegment(content=[0.1] * 2000 + [value], sample_rate=rate, finished=True, tgt_lang=None))
    with pytest.raises(ValueError, match=r"the samples go from .* but must be floats in \[-1, 1\]|source_rate is 0 Hz"):
        agent.pop()
