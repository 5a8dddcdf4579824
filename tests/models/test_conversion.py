"""A softmax model with another attention: of fairseq or ours, near what it was, loadable, whole or refused."""

import math
import re
import shutil
from argparse import Namespace

import lm_runs
import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from hostile_checkpoints import KINDS as HOSTILE
from hostile_checkpoints import WRITERS, change, save
from tiny_models import SMALL_SPEECH, make_dictionary, make_speech_model
from tolerances import assert_same

from leap_fairseq.attention import KINDS
from leap_fairseq.files import DataError
from leap_fairseq.layers import LinearAttention
from leap_fairseq.models.checked import load_models, read_plain
from leap_fairseq.models.conversion import begin_near_softmax, convert_checkpoint
from leap_fairseq.models.distillation import Distillation, attention_pairs, output_error, train_attentions
from leap_fairseq.models.options import model_options
from leap_fairseq.modules import AttentionSpec, MultiheadSoftmaxAttention

BLOCKS = {
    "encoder_self_attention": "encoder.transformer_layers.0.self_attn",
    "decoder_self_attention": "decoder.layers.0.self_attn",
    "decoder_cross_attention": "decoder.layers.0.encoder_attn",
}
LINEAR = [name for name, kind in KINDS.items() if kind.linear]
STOCK_LM = f"--arch transformer_lm {lm_runs.BATCHES['language_modeling']}"
SMALL = {
    **{**SMALL_SPEECH, "input_channels": 1, "waitk_lagging": "3", "encoder_layers": 1, "decoder_layers": 1},
    **{"decoder_ffn_embed_dim": 48, "encoder_attention_heads": 4, "decoder_attention_heads": 4},
}
SIMUL = {"simul_type": "waitk_fixed_pre_decision", "waitk_lagging": 3, "fixed_pre_decision_ratio": 4}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return lm_runs.write_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def stock_lm(text, tmp_path_factory):
    """What fairseq-train saves of fairseq's own language model, with learned positions and after two updates."""
    folder = tmp_path_factory.mktemp("stock")
    return lm_runs.train(text, folder, f"{STOCK_LM} --decoder-learned-pos", updates=2) / "checkpoint_last.pt"


def write_speech(path, arch="leap_convtransformer_simul_trans", dictionary=None, **options):
    """A checkpoint of a small speech model; of fairseq's simultaneous one, the weights of its attention as well."""
    built = arch.replace("_simul_trans", "") if not arch.startswith("leap") else arch
    args = Namespace(**{**SMALL, **options}, arch=arch, _name=arch)
    ARCH_CONFIG_REGISTRY[built](args)
    torch.manual_seed(0)
    task = Namespace(target_dictionary=dictionary or make_dictionary(), source_dictionary=None)
    model = ARCH_MODEL_REGISTRY[built].build_model(args, task).eval()
    save(path, model, args, Namespace(task="speech_to_text", _name="speech_to_text"))
    return model


def options_of(path):
    return model_options(read_plain(path)["cfg"])


def load_speech(path):
    """The model that a checkpoint asks for, with its weights."""
    args = read_plain(path)["cfg"]["model"]
    task = Namespace(target_dictionary=make_dictionary(), source_dictionary=None)
    model = ARCH_MODEL_REGISTRY[args.arch].build_model(args, task).eval()
    model.load_state_dict(read_plain(path)["model"], strict=True, model_cfg=args)
    return model


def hear(model):
    generator = torch.Generator().manual_seed(1)
    speech, text = torch.randn(2, 90, 80, generator=generator), torch.randint(4, 20, (2, 6), generator=generator)
    return model(speech, torch.tensor([90, 60]), text)[0]


def read(model):
    model.eval()
    return model(torch.randint(4, 20, (2, 7), generator=torch.Generator().manual_seed(1)))[0]


SOFTMAX = dict.fromkeys(BLOCKS, "softmax")


@pytest.mark.parametrize("arch", ["convtransformer", "convtransformer_espnet"])
def test_a_speech_model_of_fairseqs_is_ours_with_softmax(tmp_path, arch):
    theirs = write_speech(tmp_path / "stock.pt", arch)
    convert_checkpoint(tmp_path / "stock.pt", tmp_path / "ours.pt", {}, "softmax")
    assert options_of(tmp_path / "ours.pt")["_name"] == f"leap_{arch}"
    # fairseq's convolutions read padding, so that an utterance there depends on its batch.
    alone = (torch.ones(1, 90, 80), torch.tensor([90]), torch.tensor([[5, 6]]))
    assert_same(load_speech(tmp_path / "ours.pt")(*alone)[0], theirs(*alone)[0], what="logits")


def test_a_simultaneous_model_of_fairseqs(tmp_path):
    write_speech(tmp_path / "stock.pt", "convtransformer_simul_trans_espnet", **SIMUL)
    state = read_plain(tmp_path / "stock.pt")
    for name in ("q_proj_soft.weight", "k_proj_soft.bias", "energy_bias"):
        state["model"][f"decoder.layers.0.encoder_attn.{name}"] = torch.ones(1)
    vars(state["cfg"]["task"]).update(task="simul_speech_to_text", _name="simul_speech_to_text")
    torch.save(state, tmp_path / "stock.pt")
    convert_checkpoint(tmp_path / "stock.pt", tmp_path / "ours.pt", {}, "hedgehog")
    model = load_speech(tmp_path / "ours.pt")
    assert type(model).__name__ == "LeapConvTransformerSimulTransModel" and hear(model).isfinite().all()
    assert (model.policy.lagging, model.policy.ratio) == (3, 4)
    vars(state["cfg"]["model"])["simul_type"] = "infinite_lookback"
    torch.save(state, tmp_path / "stock.pt")
    with pytest.raises(DataError, match="--simul-type 'infinite_lookback', but must be one of waitk, "):
        convert_checkpoint(tmp_path / "stock.pt", tmp_path / "refused.pt", {}, "hedgehog")


def test_a_language_model_of_fairseqs(text, stock_lm, tmp_path):
    """Its positions are learned. The perplexity of the same model is the same; another attention's is near."""
    models = {}
    for kind in ("softmax", "hedgehog", "relu"):
        out = tmp_path / kind / "model.pt"
        changed = convert_checkpoint(stock_lm, out, {}, kind)
        assert changed == {"decoder_self_attention": ("softmax", kind)}
        (models[kind],), cfg, _ = load_models([out], {"data": str(text)})
        assert cfg.model._name == "leap_transformer_lm" and cfg.model.decoder_embed_dim == 8
    (theirs,), _ = checkpoint_utils.load_model_ensemble([str(stock_lm)], {"data": str(text)})
    expected = read(theirs)
    assert_same(read(models["softmax"]), expected, what="logits")
    errors = {kind: (read(models[kind]) - expected).norm() for kind in ("hedgehog", "relu")}
    assert errors["hedgehog"] < errors["relu"] / 2


@pytest.mark.parametrize("kind", LINEAR)
def test_all_kinds_in_all_blocks_of_ours(tmp_path, kind):
    before = write_speech(tmp_path / "softmax.pt", **SOFTMAX, encoder_visibility="segment", fixed_pre_decision_ratio=4)
    changed = convert_checkpoint(tmp_path / "softmax.pt", tmp_path / "made.pt", {}, kind, {"leap_factor": 2})
    assert changed == dict.fromkeys(BLOCKS, ("softmax", kind))
    model, weights = load_speech(tmp_path / "made.pt"), read_plain(tmp_path / "made.pt")["model"]
    assert all(torch.equal(weights[name], value) for name, value in before.state_dict().items())
    assert options_of(tmp_path / "made.pt")["encoder_visibility"] == "segment" and hear(model).isfinite().all()
    new = {re.search(r"attn\.(\w+)", name)[1] for name in weights.keys() - before.state_dict().keys()}
    expected = {*KINDS[kind].learned, *(("q_LeaP", "k_LeaP") if KINDS[kind].proportions == "learned" else ())}
    assert new == expected


def test_speech_that_fades(tmp_path):
    write_speech(tmp_path / "softmax.pt", **SOFTMAX, encoder_visibility="segment", fixed_pre_decision_ratio=4)
    half_lives = {"encoder_attention_half_life": "2-9", "decoder_attention_half_life": "5"}
    convert_checkpoint(tmp_path / "softmax.pt", tmp_path / "made.pt", {}, "relu", half_lives)
    model = load_speech(tmp_path / "made.pt")
    encoder, decoder, cross = (model.get_submodule(module).half_life for module in BLOCKS.values())
    assert (encoder[0], encoder[-1], cross) == (2, 9, None) and (decoder == 5).all()
    paces = dict.fromkeys(("encoder_attention_learned_pace", "decoder_attention_learned_pace"), True)
    convert_checkpoint(tmp_path / "softmax.pt", tmp_path / "paced.pt", {}, "relu", {**half_lives, **paces})
    paced = load_speech(tmp_path / "paced.pt")
    assert all(paced.get_submodule(module).pace is not None for module in list(BLOCKS.values())[:2])
    # A pace begins at 1.
    torch.testing.assert_close(hear(paced), hear(model))
    # Of a block that is linear already, another block's half-life changes nothing.
    write_speech(tmp_path / "mixed.pt", **{**SOFTMAX, "encoder_self_attention": "relu"}, encoder_visibility="segment")
    convert_checkpoint(tmp_path / "mixed.pt", tmp_path / "made.pt", {}, "relu", {"decoder_attention_half_life": "5"})
    write_speech(tmp_path / "full.pt", **SOFTMAX)
    for source, kinds, message in (
        ("mixed", {}, "--encoder-attention-half-life None in its --encoder-self-attention, which stays"),
        (
            "softmax",
            {"decoder_self_attention": "softmax"},
            "keep softmax, which never fades: leave --decoder-att",
        ),
        ("full", {}, "--encoder-attention-half-life needs --encoder-visibility segment"),
    ):
        with pytest.raises(ValueError, match=message):
            convert_checkpoint(tmp_path / f"{source}.pt", tmp_path / "refused.pt", kinds, "relu", half_lives)


def test_a_moving_average_of_the_old_model_is_left_out(tmp_path):
    write_speech(tmp_path / "old.pt", "convtransformer_simul_trans", **SIMUL)
    state = torch.load(tmp_path / "old.pt", weights_only=False)
    state["extra_state"] = {"train_iterator": {"epoch": 1}, "ema": state["model"]}
    torch.save(state, tmp_path / "old.pt")
    convert_checkpoint(tmp_path / "old.pt", tmp_path / "new.pt", {}, "leap")
    assert read_plain(tmp_path / "new.pt")["extra_state"] == {"train_iterator": {"epoch": 1}}


def test_one_option_for_a_block_wins(tmp_path):
    write_speech(tmp_path / "softmax.pt", **{**SOFTMAX, "encoder_self_attention": "relu"})
    kinds = {"decoder_cross_attention": "softmax"}
    changed = convert_checkpoint(tmp_path / "softmax.pt", tmp_path / "made.pt", kinds, "leap_hedgehog")
    expected = {"encoder_self_attention": "relu", "decoder_self_attention": "leap_hedgehog", **kinds}
    assert {name: after for name, (_, after) in changed.items()} == expected
    model = load_speech(tmp_path / "made.pt")
    with pytest.raises(DataError, match="--normalizer-floor 0.1 in its --encoder-self-attention, which stays: leave"):
        convert_checkpoint(tmp_path / "softmax.pt", tmp_path / "no.pt", kinds, "relu", {"normalizer_floor": 0.2})
    for name, module in BLOCKS.items():
        assert model.get_submodule(module).kind == KINDS[expected[name]]


def attend(kind, x, scale=None):
    """What an attention of random weights gives, of queries and keys of the usual size."""
    torch.manual_seed(0)
    attention = LinearAttention(64, 2, kind=kind) if kind != "softmax" else MultiheadSoftmaxAttention(64, 2)
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        projection.weight.data, projection.bias.data = torch.randn(64, 64) / 8, torch.zeros(64)
    if kind == "softmax":
        return attention(*[x.transpose(0, 1)] * 3)[0].transpose(0, 1)
    begin_near_softmax(attention)
    for each in (attention.q_scale, attention.k_scale):
        each.data = each.data if scale is None else torch.full_like(each, scale)
    return attention(x)[0]


def test_the_scale_that_is_nearest_to_softmax():
    x = torch.randn(4, 50, 64, generator=torch.Generator().manual_seed(3)) / 4
    with torch.no_grad():
        expected = attend("softmax", x)
        errors = {s: float((attend("hedgehog", x, s) - expected).norm()) for s in (None, 1.0, 1.7, 3.4)}
    assert errors[None] < min(errors[s] for s in (1.0, 1.7, 3.4)) / 1.5


def test_refused(tmp_path, stock_lm):
    write_speech(tmp_path / "linear.pt", **dict.fromkeys(BLOCKS, "relu"))
    write_speech(tmp_path / "softmax.pt", **SOFTMAX)
    write_speech(tmp_path / "emformer.pt", "convtransformer")
    state = read_plain(tmp_path / "emformer.pt")
    vars(state["cfg"]["model"]).update(arch="convtransformer_emformer", _name="convtransformer_emformer")
    torch.save(state, tmp_path / "emformer.pt")
    lm, speech, linear, out = stock_lm, tmp_path / "softmax.pt", tmp_path / "linear.pt", tmp_path / "made.pt"
    cross = {"decoder_cross_attention": "hedgehog"}
    half_life = {"attention_half_life": "4-64"}
    for source, target, arguments, message in (
        (linear, out, ({}, "hedgehog"), "has --encoder-self-attention relu.*give --attention"),
        (linear, out, (cross,), "with --decoder-cross-attention relu: softmax alone is converted"),
        (speech, out, ({},), "has --encoder-self-attention softmax.*and would have no other"),
        (speech, out, ({}, "softmax"), "would have no other"),
        (speech, out, ({}, "sharp"), "--encoder-self-attention is sharp, but must be one of leap, "),
        (speech, out, ({}, "leap", {"leap_factor": 5}), "leap.factor"),
        (speech, out, ({}, "relu", {"normalizer_floor": 0.0}), "normalizer.floor"),
        (speech, out, ({}, "relu", half_life), "is a leap_convtransformer_simul_trans, which has no --attention-half-"),
        (lm, out, (cross, "relu"), "is a leap_transformer_lm, which has no --decoder-cross-attention: leave it out"),
        (lm, out, ({}, "relu", {"attention_half_life": "0"}), "half"),
        (lm, tmp_path / "made", ({}, "relu"), "made must end in .pt"),
        (lm, lm, ({}, "relu"), "must .* be another file than the checkpoint"),
        (tmp_path / "emformer.pt", out, ({}, "relu"), "architecture 'convtransformer_emformer', which is not one of"),
    ):
        with pytest.raises(ValueError, match=message):
            convert_checkpoint(source, target, *arguments)
    with pytest.raises(FileNotFoundError):
        convert_checkpoint(tmp_path / "gone.pt", out, {}, "relu")
    assert not out.exists() and not (tmp_path / "made").exists()
    # The control, of what a language model may have.
    convert_checkpoint(lm, out, {}, "relu", half_life)
    assert options_of(out)["attention_half_life"] == "4-64"


def test_weights_of_another_attention_are_refused(tmp_path, stock_lm):
    state = read_plain(stock_lm)
    for name, weight, message in (
        ("q_LeaP.0.weight", torch.ones(1), "decoder.layers.0.self_attn is not softmax attention .*q_LeaP"),
        ("k_proj.weight", torch.ones(4, 8), "not softmax attention of the sizes of the options: .*size mismatch"),
    ):
        broken = {**state["model"], f"decoder.layers.0.self_attn.{name}": weight}
        torch.save({**state, "model": broken}, tmp_path / "broken.pt")
        with pytest.raises(DataError, match=message):
            convert_checkpoint(tmp_path / "broken.pt", tmp_path / "made.pt", {}, "hedgehog")
    torch.save({**state, "model": {"decoder.x": torch.ones(1)}}, tmp_path / "broken.pt")
    with pytest.raises(DataError, match="has no weights of decoder.*self_attn: give a checkpoint of a whole model"):
        convert_checkpoint(tmp_path / "broken.pt", tmp_path / "made.pt", {}, "hedgehog")


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("family", ["lm", "speech"])
def test_a_strangers_runs_nothing(strangers, tmp_path, family, kind):
    folder = shutil.copytree(strangers / family, tmp_path / "model")
    change(folder / "checkpoint.pt", tmp_path / "ran", kind)
    with pytest.raises(Exception, match=HOSTILE[kind]):
        convert_checkpoint(folder / "checkpoint.pt", tmp_path / "made.pt", {}, "hedgehog")
    assert not (tmp_path / "ran").exists() and not (tmp_path / "made.pt").exists()


@pytest.fixture(scope="module")
def strangers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strangers")
    for family in ("lm", "speech", "lra"):
        WRITERS[family](folder / family)
    return folder


def test_a_classifier_has_no_such_block(strangers, tmp_path):
    with pytest.raises(DataError, match="has no attention, and would have no other"):
        convert_checkpoint(strangers / "lra/checkpoint.pt", tmp_path / "made.pt", {}, "hedgehog")


def test_whole_or_not_at_all(stock_lm, tmp_path, monkeypatch):
    def killed(state, file):
        file.write(b"half")
        raise KeyboardInterrupt

    out = tmp_path / "made.pt"
    convert_checkpoint(stock_lm, out, {}, "relu")
    before = out.read_bytes()
    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        convert_checkpoint(stock_lm, out, {}, "hedgehog")
    assert out.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["made.pt"]


def test_a_training_goes_on_from_it(text, stock_lm, tmp_path):
    convert_checkpoint(stock_lm, tmp_path / "made.pt", {}, "hedgehog")
    flags = f"{STOCK_LM} --decoder-learned-pos --arch leap_transformer_lm --decoder-self-attention hedgehog"
    lm_runs.train(text, tmp_path / "on", flags, updates=1, checkpoint__finetune_from_model=str(tmp_path / "made.pt"))
    made, trained = read_plain(tmp_path / "made.pt")["model"], read_plain(tmp_path / "on/checkpoint_last.pt")["model"]
    largest = max(float((trained[name] - value).abs().max()) for name, value in made.items())
    # One update of Adam, of its learning rate, away from where it began.
    assert 0.005 < largest < 0.011


HOW = Distillation(updates=60)


def test_distillation_of_a_language_model(text, stock_lm, tmp_path):
    paths = [tmp_path / name for name in ("plain.pt", "distilled.pt", "again.pt")]
    convert_checkpoint(stock_lm, paths[0], {}, "hedgehog")
    for path in paths[1:]:
        convert_checkpoint(stock_lm, path, {}, "hedgehog", distillation=Distillation(20, data=str(text)))
    plain, distilled, again = (read_plain(path)["model"] for path in paths)
    moved = {
        name.rpartition("self_attn.")[2] for name, value in plain.items() if not torch.equal(value, distilled[name])
    }
    assert moved >= {"q_proj.weight", "k_proj.weight", "q_scale", "k_scale"}
    assert moved <= {"q_proj.weight", "q_proj.bias", "k_proj.weight", "k_proj.bias", "q_scale", "k_scale"}
    assert all(torch.equal(value, again[name]) for name, value in distilled.items())


def pair(kind="hedgehog"):
    """An attention of sharp softmax, and a linear one with its weights."""
    torch.manual_seed(0)
    before, after = (AttentionSpec(name).build(16, 2, self_attention=True) for name in ("softmax", kind))
    before.q_proj.weight.data *= 2
    after.load_state_dict(before.state_dict(), strict=False)
    begin_near_softmax(after)
    return before, after


def test_new_attentions_learn_from_the_old_ones():
    before, after = pair()
    model = torch.nn.Module()
    model.decoder, model.attention = torch.nn.Module(), before
    model.forward = lambda x: before(x, x, x, need_weights=False)
    torch.manual_seed(1)
    words = torch.randn(12, 16)
    samples = ({"x": words[torch.randint(0, 12, (20, 3))]} for _ in range(HOW.updates))
    errors = train_attentions(model, {"attention": (before, after)}, samples, HOW)
    assert len(errors) == 60 and sum(errors[-5:]) < 0.2 * sum(errors[:5])
    assert not before._forward_hooks and all(p.grad is None for p in before.parameters())


def test_a_new_attention_sees_what_the_old_one_sees():
    """Of each batch, whatever k was drawn for it."""
    kinds = [{**SOFTMAX, "decoder_cross_attention": kind} for kind in ("softmax", "hedgehog")]
    old, new = (make_speech_model(**kind, waitk_lagging="1-9") for kind in kinds)
    pairs = attention_pairs(old, new)
    assert list(pairs) == [f"decoder.layers.{number}.encoder_attn" for number in range(2)]
    drawn = set()
    speech, text = torch.randn(1, 90, 80), torch.randint(4, 20, (1, 6))
    for _ in range(6):
        sample = {"src_tokens": speech, "src_lengths": torch.tensor([90]), "prev_output_tokens": text}
        train_attentions(old, pairs, iter([sample]), Distillation(1))
        drawn.add(old.decoder.waitk.lagging)
        assert all(after.schedule.lagging == old.decoder.waitk.lagging for _, after in pairs.values())
    assert len(drawn) > 1
    # The control: a model that is only evaluated draws none.
    old.eval()(speech, torch.tensor([90]), text)
    assert old.decoder.waitk.lagging == 9


def test_padding_does_not_count():
    before, after = pair()
    x, padding = torch.randn(9, 2, 16), torch.zeros(2, 9, dtype=torch.bool)
    padding[1, 6:] = True
    error = {}
    for value in (0.0, 50.0):
        x[6:, 1] = value
        call = ((x, x, x), {"key_padding_mask": padding, "need_weights": False})
        error[value] = output_error(after, *call, before(*call[0], **call[1]))
    assert_same(error[50.0], error[0.0], what="error")
    # The control: without the mask it does.
    with torch.no_grad():
        assert float(output_error(after, (x, x, x), {}, before(x, x, x))) != pytest.approx(float(error[0.0]), rel=0.01)


def test_distillation_of_nothing_is_refused(stock_lm, tmp_path, text):
    with pytest.raises(ValueError, match="--distill-updates 0 must be at least 1"):
        Distillation(0)
    for rate in (0.0, -0.01, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"--distill-lr {rate:g} must be a number above 0"):
            Distillation(1, lr=rate)
    with pytest.raises(ValueError, match="no attention differs"):
        how = Distillation(1, data=str(text))
        convert_checkpoint(stock_lm, tmp_path / "made.pt", {}, "softmax", distillation=how)
    assert not (tmp_path / "made.pt").exists()


def test_the_learning_rate_rises_and_falls():
    rates = [Distillation(20, lr=1.0).lr_at(update) for update in range(20)]
    assert rates[0] == 0.5 and max(rates) == rates[1] == 0.95 and rates[-1] == pytest.approx(0.05)
