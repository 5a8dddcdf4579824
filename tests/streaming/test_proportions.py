"""The proportions of a sentence are those that its attentions used, nothing else changes, and the picture is drawn."""

import importlib.util
import math
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from fairseq.data import Dictionary
from tiny_models import SMALL_SPEECH, make_speech_model, spread_proportions

from leap_fairseq.modules import MultiheadLinearAttention
from leap_fairseq.streaming import StreamingDetokenizer, StreamingTranslator
from leap_fairseq.streaming.proportions import collect_proportions
from leap_fairseq.speech import GlobalCmvn, fbank, train_vocabulary, write_data_config

RATE = 16000
RATIO = 4
TEXTS = ["Ich möchte am Montag nach Köln fahren.", "Der Zug fährt um fünf Uhr ab, und ein Zimmer ist frei."] * 5
BLOCKS = ("encoder_self_attention", "decoder_self_attention", "decoder_cross_attention")


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("spm") / "spm"
    train_vocabulary(TEXTS, str(prefix), 40, "unigram")
    return Dictionary.load(f"{prefix}.txt"), f"{prefix}.model"


def translator(vocabulary, kinds=("leap",) * 3, lagging=3, max_len_b=12, **changes):
    """A translator with random weights that writes no </s> before its maximum length."""
    dictionary, model_file = vocabulary
    options = dict(zip(BLOCKS, kinds), waitk_lagging=str(lagging), fixed_pre_decision_ratio=RATIO, dropout=0.0)
    model = spread_proportions(make_speech_model(dictionary=dictionary, **options, **changes))
    model.decoder.output_projection.weight.data[dictionary.eos()] = 0
    cmvn = GlobalCmvn(np.full(80, 10.0, np.float32), np.full(80, 3.0, np.float32))
    return StreamingTranslator(model, dictionary, StreamingDetokenizer(model_file), cmvn, max_len_b=max_len_b)


def speech(ms=1500, segment_ms=40):
    """Noise in segments, and its rate."""
    samples = (np.random.default_rng(0).standard_normal(ms * RATE // 1000) * 0.1).astype(np.float32)
    size = segment_ms * RATE // 1000
    return [(samples[first : first + size], RATE) for first in range(0, len(samples), size)]


@pytest.fixture
def used(monkeypatch):
    """What each attention hands to the core, a list of (P_q, P_k) for each module: it knows nothing of hooks."""
    calls, heads = {}, MultiheadLinearAttention._heads

    def spy(self, *args):
        made = heads(self, *args)
        calls.setdefault(self, []).append((made.query_proportion, made.key_proportion))
        return made

    monkeypatch.setattr(MultiheadLinearAttention, "_heads", spy)
    return calls


@pytest.mark.parametrize("kind", ["leap", "cosformer"])
@pytest.mark.parametrize("lagging", [2, 100])
def test_values_are_those_of_the_attentions(vocabulary, used, kind, lagging):
    stream = translator(vocabulary, (kind,) * 3, lagging)
    model = stream.model
    found = collect_proportions(stream, speech())
    frames, tokens = 37 if lagging == 100 else min(37, (12 + lagging) * RATIO), 13
    assert len(stream.steps) == tokens == len(found.pieces) and found.kinds == (kind,) * 3
    assert found.delays == tuple(step.delay for step in stream.steps) and found.source_length == 1500
    for layer, proportions in zip(model.encoder.transformer_layers, found.encoder):
        assert all(torch.equal(a, b[0]) for a, b in zip(proportions, used[layer.self_attn][-1]))
        assert proportions.query.shape == proportions.key.shape == (frames, 4)
    for layer, own, cross in zip(model.decoder.layers, found.decoder, found.cross):
        # One call a token, and one more of all tokens at once, which sees all frames.
        steps = used[layer.self_attn][:tokens]
        assert all(torch.equal(a, torch.cat(b, 1)[0]) for a, b in zip(own, zip(*steps)))
        *steps, final = used[layer.encoder_attn]
        assert torch.equal(cross.query, torch.cat([query for query, _ in steps], 1)[0])
        assert torch.equal(cross.key, final[1][0])
        assert own.query.shape == (tokens, 4) and cross.key.shape == (frames, 4)
    for proportions in (*found.encoder, *found.decoder, *found.cross):
        assert all(0 <= float(side.min()) and float(side.max()) <= 1 for side in proportions)


def test_step_by_step_equals_all_at_once_where_all_had_been_heard(vocabulary, used):
    for lagging, same in ((100, True), (1, False)):
        stream = translator(vocabulary, lagging=lagging)
        found = collect_proportions(stream, speech())
        at_once = [used[layer.encoder_attn][-1][0][0] for layer in stream.model.decoder.layers]
        close = [torch.allclose(a.query, b, atol=1e-5) for a, b in zip(found.cross, at_once)]
        # The bottommost queries come before any cross-attention; those above have read encodings that were renewed.
        assert close == [True, same]


def test_frames_encoded_once_have_the_proportions_of_training(vocabulary, used):
    stream = translator(vocabulary, lagging=1, encoder_visibility="segment")
    found = collect_proportions(stream, speech())
    tokens, model = len(stream.steps), stream.model
    used.clear()
    samples = np.concatenate([samples for samples, _ in speech()])
    features = torch.from_numpy(stream.cmvn(fbank(samples)))[None]
    previous = torch.tensor([[2, *(step.token for step in stream.steps[:-1])]])
    with torch.no_grad():
        model(features, torch.tensor([features.shape[1]]), previous)
    groups = ([layer.self_attn for layer in model.encoder.transformer_layers], found.encoder)
    groups = [groups, ([layer.self_attn for layer in model.decoder.layers], found.decoder)]
    groups += [([layer.encoder_attn for layer in model.decoder.layers], found.cross)]
    for attentions, proportions in groups:
        for attention, (query, key) in zip(attentions, proportions):
            at_once = used[attention][0]
            assert torch.allclose(query, at_once[0][0], atol=1e-5) and torch.allclose(key, at_once[1][0], atol=1e-5)
    assert found.encoder[0].key.shape[0] == found.cross[0].key.shape[0] == 37 and tokens == 13


def test_static_proportions_are_positions(vocabulary):
    found = collect_proportions(translator(vocabulary, ("relu", "softmax", "cosformer")), speech())
    assert found.encoder == found.decoder == () and len(found.cross) == 2
    assert torch.equal(found.cross[0].query[:, 1], torch.arange(13) / 60)
    assert torch.equal(found.cross[1].key[:, 3], torch.arange(37) / 100)


def test_the_translation_stays_and_no_hook_is_left(vocabulary):
    stream, alone = translator(vocabulary), translator(vocabulary)
    for samples, rate in speech():
        alone.push(samples, rate)
    alone.finish()
    for _ in range(2):
        collect_proportions(stream, speech())
        assert stream.steps == alone.steps
    with pytest.raises(ValueError, match="changed from"):
        collect_proportions(stream, [*speech(200), (np.zeros(100, np.float32), 8000)])
    assert not any(module._forward_hooks for module in stream.model.modules())


def test_errors(vocabulary):
    with pytest.raises(ValueError, match="are elu, relu, softmax, .*--decoder-cross-attention leap .* or cosformer"):
        collect_proportions(translator(vocabulary, ("relu", "elu", "softmax")), speech())
    with pytest.raises(ValueError, match="recording of 20 ms is too short"):
        collect_proportions(translator(vocabulary), speech(20))


class TestPicture:
    @pytest.fixture(autouse=True)
    def plot(self):
        pytest.importorskip("matplotlib")
        from leap_fairseq.streaming import proportion_plot

        self.module, self.plot = proportion_plot, proportion_plot.plot_proportions

    @pytest.mark.parametrize("kinds, layer", [(("leap",) * 3, None), (("softmax", "relu", "cosformer"), 1)])
    def test_is_written(self, vocabulary, tmp_path, kinds, layer):
        out = tmp_path / "new" / "proportions.png"
        self.plot(collect_proportions(translator(vocabulary, kinds), speech()), out, layer)
        assert out.read_bytes().startswith(b"\x89PNG") and out.stat().st_size > 5000

    def test_no_text_touches_another_or_is_cut(self, vocabulary, tmp_path, monkeypatch):
        drawn = []
        monkeypatch.setattr(self.module, "save_figure", lambda figure, path: drawn.append(figure))
        # The narrowest picture with the widest legend: the source has ended, and most pieces follow it.
        self.plot(collect_proportions(translator(vocabulary, lagging=7), speech()), tmp_path / "x.png", 0)
        drawn[0].draw_without_rendering()
        legend = drawn[0].legends[0].get_window_extent()
        assert legend.x0 >= 0 and legend.x1 <= drawn[0].bbox.x1 and drawn[0].get_figwidth() == 7.2
        top = drawn[0].axes[0].child_axes[0]
        boxes = [label.get_window_extent() for label in top.get_xticklabels()]
        assert len(boxes) == 13 and all(a.x1 < b.x0 for a, b in zip(boxes, boxes[1:]))
        assert boxes[-1].x1 <= drawn[0].bbox.x1 and max(box.y1 for box in boxes) <= drawn[0].bbox.y1

    def test_pieces_stand_at_their_delays_and_side_by_side_behind_the_end(self, vocabulary):
        found = collect_proportions(translator(vocabulary, lagging=3), speech())
        times = self.module._writing_times(found)
        assert times == pytest.approx([0.04 * RATIO * (index + 3) for index in range(13)])
        late = collect_proportions(translator(vocabulary, lagging=100), speech())
        assert self.module._writing_times(late) == pytest.approx([1.5 + 0.04 * RATIO * index for index in range(13)])
        width, font = self.module._width(100.0, 0.04)
        assert width == 16.0 and 0 < font < 9 and math.isclose(self.module._width(1.0, 0.04)[1], 9.0)

    def test_errors(self, vocabulary, tmp_path):
        found = collect_proportions(translator(vocabulary), speech(600))
        for layer in (-1, 2):
            with pytest.raises(ValueError, match=f"no layer {layer}: choose --layer from 0 to 1"):
                self.plot(found, tmp_path / "x.png", layer)
        without = collect_proportions(translator(vocabulary, ("leap", "cosformer", "elu")), speech(600))
        with pytest.raises(ValueError, match="is elu, .*encoder and decoder self-attention has some.*--decoder-cross"):
            self.plot(without, tmp_path / "x.png")
        assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def folder(vocabulary, tmp_path_factory):
    """A model as scripts/simulst/export.py makes it, with random weights."""
    made = tmp_path_factory.mktemp("model")
    dictionary, model_file = vocabulary
    for name in (model_file, model_file.replace(".model", ".txt")):
        (made / Path(name).name).write_bytes(Path(name).read_bytes())
    np.savez(made / "gcmvn.npz", mean=np.full(80, 10.0, np.float32), std=np.full(80, 3.0, np.float32))
    write_data_config(made / "config.yaml", "spm")
    arch = "leap_convtransformer_simul_trans_tiny"
    options = {**SMALL_SPEECH, "waitk_lagging": "1-9", "fixed_pre_decision_ratio": RATIO, "arch": arch, "_name": arch}
    task = Namespace(_name="speech_to_text", task="speech_to_text", data=".", config_yaml="config.yaml", seed=1)
    model = make_speech_model(dictionary=dictionary, waitk_lagging="1-9", fixed_pre_decision_ratio=RATIO)
    history = [{"optimizer_name": "FairseqAdam", "lr_scheduler_state": {}, "num_updates": 1}]
    state = {"args": None, "model": model.state_dict(), "optimizer_history": history}
    state["extra_state"] = {"train_iterator": {"epoch": 1}}
    torch.save({**state, "cfg": {"task": task, "model": Namespace(**options)}}, made / "checkpoint.pt")
    return made


def test_command_line(folder, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    path = Path(__file__).resolve().parents[2] / "scripts" / "simulst" / "plot.py"
    spec = importlib.util.spec_from_file_location("plot", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    wav, out = tmp_path / "speech.wav", tmp_path / "out.png"
    soundfile.write(wav, np.random.default_rng(0).standard_normal((12000, 2)) * 0.1, 8000)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["plot.py", "proportions", *map(str, arguments), "--out", str(out)])
        return script.main(), capsys.readouterr().err

    assert call(folder, wav, "--waitk-lagging", 2, "--layer", 0) == (0, "") and out.stat().st_size > 5000
    for arguments, message in (
        ((folder, wav, "--layer", 7), "choose --layer from 0 to 1"),
        ((folder, wav, "--waitk-lagging", 0), "lagging 0 must be at least 1"),
        ((folder, tmp_path / "gone.wav"), "cannot read audio file"),
        ((tmp_path / "gone", wav), "scripts/simulst/export.py"),
    ):
        code, error = call(*arguments)
        assert code == 1 and error.startswith("error: ") and message in error
