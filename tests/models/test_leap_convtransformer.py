"""The speech models: batches, steps, wait-k visibility, ranges of k, every combination of attentions."""

import itertools

import pytest
import torch
from tiny_models import make_dictionary, make_speech_model, spread_proportions
from tolerances import assert_same

from leap_fairseq.attention import waitk_visibility
from leap_fairseq.modules import ATTENTION_KINDS
from leap_fairseq.streaming.waitk import WaitkSchedule, parse_lagging

ARCHES = ["leap_convtransformer_tiny", "leap_convtransformer_simul_trans_tiny"]
KINDS = pytest.mark.parametrize("kind", ATTENTION_KINDS)


def speech(kind="leap", arch=ARCHES[1], **changes):
    blocks = {f"{block}_attention": kind for block in ("encoder_self", "decoder_self", "decoder_cross")}
    return spread_proportions(make_speech_model(arch, **{**blocks, "dropout": 0.0, **changes}))


def utterances(lengths, targets, seed=0):
    """A right-padded batch as fairseq's speech_to_text task collates it; junk beyond the lengths."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(len(lengths), max(lengths), 80, generator=generator)
    tokens = torch.full((len(targets), max(targets)), 1)
    for row, n in enumerate(targets):
        tokens[row, :n] = torch.randint(4, 20, (n,), generator=generator)
    tokens[:, 0] = 2
    return features, torch.tensor(lengths), tokens


@KINDS
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("lengths", [[5, 9, 16], [64, 61, 30]])
def test_batch_equals_alone(kind, arch, lengths):
    model = speech(kind, arch, waitk_lagging="1", fixed_pre_decision_ratio=2)
    targets = [4, 6, 3]
    features, n_frames, tokens = utterances(lengths, targets)
    target = torch.roll(tokens, -1, 1)
    cross_entropy = torch.nn.CrossEntropyLoss(ignore_index=1, reduction="sum")
    n_tokens = sum(targets)

    def run(*inputs, target):
        out = model(*inputs)[0]
        loss = cross_entropy(out.flatten(0, 1), target.flatten()) / n_tokens
        return out, loss, torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)

    target[torch.arange(3), torch.tensor(targets) - 1] = 2
    target = target.masked_fill(tokens.eq(1), 1)
    batch, batch_loss, batch_gradients = run(features, n_frames, tokens, target=target)
    total, summed = 0.0, None
    for row, (n, t) in enumerate(zip(lengths, targets)):
        one = slice(row, row + 1)
        out, loss, gradients = run(features[one, :n], n_frames[one], tokens[one, :t], target=target[one, :t])
        assert_same(batch[one, :t], out, what=f"{n} frames")
        total = total + loss
        summed = gradients if summed is None else [a + b for a, b in zip(summed, gradients)]
    assert_same(batch_loss, total, what="loss")
    for (name, _), actual, expected in zip(model.named_parameters(), batch_gradients, summed):
        assert_same(actual, expected, what=name)


def test_fairseq_own_encoder_fails_the_batch_test():
    """The control: the stock encoder lets an utterance depend on the batch it is in."""
    from fairseq.models.speech_to_text.convtransformer import ConvTransformerEncoder

    torch.manual_seed(0)
    ours = speech("softmax", ARCHES[0])
    args = ours.decoder.args
    args.no_scale_embedding = False
    stock = ConvTransformerEncoder(args).eval()
    features, n_frames, _ = utterances([64, 30], [1, 1])
    features[1, 30:] = 0
    batch = stock(features, n_frames)["encoder_out"][0][:7, 1]
    alone = stock(features[1:, :30], n_frames[1:])["encoder_out"][0][:7, 0]
    with pytest.raises(AssertionError):
        assert_same(batch, alone)


@KINDS
@pytest.mark.parametrize("arch", ARCHES)
def test_step_by_step_equals_teacher_forcing(kind, arch):
    model = speech(kind, arch, waitk_lagging="2", fixed_pre_decision_ratio=2)
    features, n_frames, tokens = utterances([60, 40], [12, 12])
    encoder_out = model.encoder(features, n_frames)
    expected = model.decoder(tokens, encoder_out=encoder_out)[0]
    for splits in ([1] * 12, [12], [5, 7]):
        state, outputs, end = {}, [], 0
        for n in splits:
            end += n
            outputs.append(model.decoder(tokens[:, :end], encoder_out=encoder_out, incremental_state=state)[0])
        assert_same(torch.cat(outputs, 1), expected, what=f"split {splits}")


@KINDS
def test_beam_reorder_with_reordered_source(kind):
    model = speech(kind, waitk_lagging="2", fixed_pre_decision_ratio=2)
    features, n_frames, tokens = utterances([60, 50, 40], [7, 7, 7])
    order = torch.tensor([2, 0, 0])
    encoder_out, state = model.encoder(features, n_frames), {}
    model.decoder(tokens[:, :6], encoder_out=encoder_out, incremental_state=state)
    model.decoder.reorder_incremental_state_scripting(state, order)
    reordered = model.encoder.reorder_encoder_out(encoder_out, order)
    actual = model.decoder(tokens[order], encoder_out=reordered, incremental_state=state)[0]
    assert_same(actual, model.decoder(tokens[order], encoder_out=reordered)[0][:, 6:])


@pytest.mark.parametrize("ratio", [2, 7, 9])
@pytest.mark.parametrize("lagging", [1, 3])
@KINDS
def test_a_target_depends_on_exactly_its_visible_frames(kind, lagging, ratio):
    """Frames the target may read, by the gradient of its logits, are those of the schedule."""
    if kind == "softmax":
        pytest.skip("a softmax weight may round to zero; its mask is the schedule, tested with the module")
    model = speech(kind, waitk_lagging=str(lagging), fixed_pre_decision_ratio=ratio, normalizer_floor=1e-3)
    features, n_frames, tokens = utterances([180], [6])
    encoder_out = model.encoder(features, n_frames)
    frames = encoder_out["encoder_out"][0].detach().requires_grad_()
    size = frames.shape[0]
    logits = model.decoder(tokens, encoder_out={**encoder_out, "encoder_out": [frames]})[0]
    visible = waitk_visibility(6, size, lagging=lagging, ratio=ratio)
    assert visible.tolist() == [min(size, (i + lagging) * ratio) for i in range(6)]
    for i, seen in enumerate(visible.tolist()):
        (gradient,) = torch.autograd.grad(logits[:, i].square().sum(), frames, retain_graph=True)
        reached = gradient.abs().sum((1, 2)).nonzero().flatten()
        # The first target sees all its frames; a later one also what earlier targets saw, never more than its own.
        assert int(reached.max()) < seen
        assert len(set(reached.tolist())) >= 0.9 * seen


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("blocks", itertools.product(["leap", "softmax"], repeat=3))
def test_every_combination_trains_every_parameter(arch, blocks):
    names = ("encoder_self_attention", "decoder_self_attention", "decoder_cross_attention")
    model = make_speech_model(arch, **dict(zip(names, blocks)), waitk_lagging="1-3").train()
    one_update(model)


@KINDS
@pytest.mark.parametrize("arch", ["leap_convtransformer", "leap_convtransformer_espnet", "leap_convtransformer_tiny"])
@pytest.mark.parametrize("simul", [False, True])
def test_every_architecture_trains_every_parameter(kind, arch, simul):
    arch = arch.replace("leap_convtransformer", "leap_convtransformer_simul_trans") if simul else arch
    blocks = {f"{block}_attention": kind for block in ("encoder_self", "decoder_self", "decoder_cross")}
    one_update(make_speech_model(arch, **blocks).train())


def one_update(model):
    features, n_frames, tokens = utterances([40, 33], [5, 4])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss = torch.nn.functional.cross_entropy(model(features, n_frames, tokens)[0].flatten(0, 1), tokens.flatten())
    loss.backward()
    assert not [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    optimizer.step()


def test_range_of_lagging_is_drawn_per_batch_and_repeats_with_the_seed():
    model = speech(waitk_lagging="2-5").train()
    inputs = utterances([80, 70], [5, 5])
    draws = []
    for seed in list(range(40)) * 2:
        torch.manual_seed(seed)
        model(*inputs)
        draws.append(model.decoder.waitk.lagging)
    assert set(draws) == {2, 3, 4, 5} and draws[:40] == draws[40:]
    model.eval()
    model(*inputs)
    assert model.decoder.waitk.lagging == 5
    model.decoder.waitk.set(3)
    model(*inputs)
    assert model.decoder.waitk.lagging == 3


def test_large_lagging_equals_offline_attention():
    model = speech(waitk_lagging="100")
    offline = speech(arch=ARCHES[0])
    offline.load_state_dict(model.state_dict())
    inputs = utterances([80, 70], [5, 5])
    assert_same(model(*inputs)[0], offline(*inputs)[0])


@pytest.mark.parametrize("prenorm", [False, True])
def test_softmax_model_is_fairseq_own(prenorm):
    """It loads a checkpoint of fairseq's ConvTransformer and computes the same; a LeaP model has the official names."""
    from fairseq.models.speech_to_text.convtransformer import ConvTransformerModel

    ours = speech("softmax", ARCHES[0], encoder_normalize_before=prenorm)
    task = type("Task", (), {"target_dictionary": make_dictionary()})
    torch.manual_seed(1)
    stock = ConvTransformerModel.build_model(ours.decoder.args, task).eval()
    ours.load_state_dict(stock.state_dict())
    inputs = utterances([64, 64], [5, 5])
    assert_same(ours(*inputs)[0], stock(*inputs)[0])
    more = set(speech("leap", ARCHES[0], encoder_normalize_before=prenorm).state_dict()) - set(ours.state_dict())
    assert {name.split(".")[-3] for name in more} == {"q_LeaP", "k_LeaP"}


@pytest.mark.parametrize("text", ["0", "-1", "3-1", "a", "1-", "", "0-3", "2.5"])
def test_wrong_lagging_is_refused(text):
    with pytest.raises(ValueError, match="--waitk-lagging"):
        parse_lagging(text)


def test_wrong_policies_name_their_flag():
    assert parse_lagging("3") == (3, 3) and parse_lagging(" 1-7 ") == (1, 7) and parse_lagging(4) == (4, 4)
    with pytest.raises(ValueError, match="--fixed-pre-decision-ratio"):
        WaitkSchedule("3", 0)
    with pytest.raises(ValueError, match="unknown attention kind 'linear': choose from leap"):
        make_speech_model(decoder_cross_attention="linear")
    with pytest.raises(ValueError, match="leap_factor 3 does not divide"):
        make_speech_model(leap_factor=3)
