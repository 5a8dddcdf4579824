"""Adaptive embeddings and an adaptive softmax in transformers: the log-probabilities of fairseq's, as logits."""

import pytest
import torch
from tiny_models import make_lm, spread_proportions
from tolerances import assert_same

pytest.importorskip("transformers")

from leap_fairseq.hf import LeapForCausalLM  # noqa: E402
from leap_fairseq.models.huggingface import exported  # noqa: E402

EOS, PAD = 2, 1
SIZES = "--decoder-layers 2 --decoder-embed-dim 32 --decoder-ffn-embed-dim 48 --decoder-attention-heads 2"
SOFTMAX = "--adaptive-softmax-cutoff 8,12"
BOTH = f"--adaptive-input --adaptive-input-cutoff 8,12 --decoder-input-dim 32 --decoder-output-dim 32 {SOFTMAX}"
TIED = f"{BOTH} --tie-adaptive-weights"

VARIANTS = {
    "softmax": SOFTMAX,
    "narrow": f"{SOFTMAX} --adaptive-softmax-factor 2 --decoder-output-dim 16",
    "ends with the words": "--adaptive-softmax-cutoff 8,20",
    "input": "--adaptive-input --adaptive-input-cutoff 8,12 --adaptive-input-factor 2 --decoder-input-dim 24",
    "other bands": "--adaptive-input --adaptive-input-cutoff 6 --adaptive-softmax-cutoff 9,12",
    "both": BOTH,
    "tied": f"{TIED} --adaptive-softmax-dropout 0.2",
    "wiki103": TIED,
}


def lm(variant):
    arch = f"leap_transformer_lm{'_wiki103' * (variant == 'wiki103')}"
    model = spread_proportions(make_lm(*SIZES.split(), *VARIANTS[variant].split(), arch=arch))
    # Otherwise all words are nearly as probable.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.split(".")[1] in ("adaptive_softmax", "embed_tokens", "output_projection"):
                parameter.mul_(2)
    return model


def text(rows, length):
    tokens = torch.randint(4, 20, (rows, length), generator=torch.Generator().manual_seed(0))
    tokens[:, 0] = EOS
    return tokens


def log_probs(model, tokens):
    out = model(tokens)
    return model.get_normalized_probs(out, log_probs=True)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_log_probabilities_are_those_of_fairseq(variant, tmp_path):
    model, tokens = lm(variant), text(3, 30)
    tokens[1, 20:] = PAD
    theirs, expected = exported(model), log_probs(model, tokens)
    assert set(tokens.flatten().tolist()) > set(range(4, 20)) and float(expected.std()) > 0.5
    logits = theirs(tokens).logits
    # Padding is nobody's word.
    assert_same(logits.log_softmax(-1), expected)
    if model.decoder.adaptive_softmax is not None:
        assert_same(logits, expected)
    first = theirs(tokens[:, :9])
    assert_same(theirs(tokens[:, 9:], cache=first.cache).logits, logits[:, 9:])
    theirs.save_pretrained(tmp_path)
    again = LeapForCausalLM.from_pretrained(tmp_path)
    assert_same(again(tokens, logits_to_keep=1).logits, logits[:, -1:])
    assert sum(p.numel() for p in again.parameters()) == sum(p.numel() for p in model.parameters())


@torch.no_grad()
def test_the_controls_that_bands_and_ties_matter():
    model, tokens = lm("wiki103"), text(2, 30)
    expected = log_probs(model, tokens)
    for change in ("head", "bands"):
        theirs = exported(model)
        if change == "head":
            theirs.decoder.adaptive_softmax.head.class_proj.weight.mul_(1.1)
        else:
            theirs.decoder.embed_tokens.bands = [range(0, 9), range(9, 12), range(12, 20)]
        with pytest.raises((AssertionError, IndexError)):
            assert_same(theirs(tokens).logits, expected)


@torch.no_grad()
def test_greedy_search_takes_fairseqs_best_tokens():
    model, tokens = lm("tied"), text(1, 6)
    expected = tokens[0].tolist()
    while len(expected) < 18 and (len(expected) == 6 or expected[-1] != EOS):
        scores = log_probs(model, torch.tensor([expected]))[0, -1]
        scores[PAD] = -torch.inf
        expected.append(int(scores.argmax()))
    theirs = exported(model)
    assert theirs.generate(tokens, max_new_tokens=12)[0].tolist() == expected and len(set(expected[6:])) > 1
    out = theirs.generate(tokens, num_beams=3, max_new_tokens=6, use_cache=False)
    assert torch.equal(theirs.generate(tokens, num_beams=3, max_new_tokens=6), out)


def test_the_loss_is_that_of_fairseqs_probabilities_and_trains_what_is_tied_once():
    model, tokens = lm("wiki103"), text(2, 12)
    theirs = exported(model)
    out = theirs(tokens, labels=tokens)
    expected = log_probs(model, tokens)[:, :-1].gather(2, tokens[:, 1:, None]).mean()
    assert_same(out.loss, -expected)
    out.loss.backward()
    assert all(parameter.grad is not None for parameter in theirs.parameters())
    softmax, embeddings = theirs.decoder.adaptive_softmax, theirs.decoder.embed_tokens.embeddings
    assert softmax.head.word_proj.weight is embeddings[0][0].weight
    assert softmax.tail[1][0].weight is embeddings[2][1].weight
    assert softmax.tail[1][2].weight is embeddings[2][0].weight
    assert theirs.config.output_dropout == model.decoder.args.adaptive_softmax_dropout


@torch.no_grad()
def test_half_types_keep_the_probabilities():
    model, tokens = lm("tied"), text(2, 20)
    half = exported(model).to(torch.bfloat16)
    assert_same(half(tokens).logits.float(), log_probs(model, tokens), torch.bfloat16)


@pytest.mark.parametrize("number", [-1, 20])
def test_a_number_that_is_no_words_is_refused(number):
    with pytest.raises(IndexError):
        exported(lm("tied"))(torch.tensor([[EOS, number]]))


def test_mixed_precision_trains():
    theirs, tokens = exported(lm("tied")), text(2, 20)
    with torch.autocast("cpu", torch.bfloat16):
        out = theirs(tokens, labels=tokens)
    assert_same(out.logits.float(), theirs(tokens).logits, torch.bfloat16)
    out.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in theirs.parameters())


def test_a_new_model_begins_with_finite_weights_and_no_other_vocabulary():
    theirs = exported(lm("wiki103"))
    new = LeapForCausalLM(theirs.config)
    embeddings = new.decoder.embed_tokens.embeddings
    assert all(0.01 < float(part.weight.std()) < 0.03 for band in embeddings for part in band)
    with pytest.raises(ValueError, match="are not resized"):
        theirs.resize_token_embeddings(30)
