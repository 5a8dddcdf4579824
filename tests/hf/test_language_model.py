"""A language model in transformers: the numbers of fairseq's, all at once, step by step, in batches and in beams."""

import pytest
import torch
from tiny_models import make_lm, spread_proportions
from tolerances import assert_same

pytest.importorskip("transformers")

from leap_fairseq.hf import LeapCache, LeapForCausalLM  # noqa: E402
from leap_fairseq.models.huggingface import exported  # noqa: E402

EOS, PAD = 2, 1
SIZES = ("--decoder-layers", "2", "--decoder-embed-dim", "32", "--decoder-ffn-embed-dim", "48")

VARIANTS = {
    **{
        kind: ("--decoder-self-attention", kind)
        for kind in ("leap", "cosformer", "elu", "relu", "hedgehog", "leap_hedgehog", "contrast", "slots")
    },
    "half-lives": ("--attention-half-life", "4-64"),
    "learned pace": ("--attention-half-life", "4-64", "--attention-learned-pace"),
    "learned positions": ("--decoder-learned-pos",),
    "no positions": ("--no-token-positional-embeddings",),
    "norm first": ("--decoder-normalize-before", "--activation-fn", "gelu", "--no-decoder-final-norm"),
    "narrow": ("--decoder-input-dim", "24", "--decoder-output-dim", "16", "--no-scale-embedding"),
    "norm of embeddings": ("--layernorm-embedding", "--activation-fn", "gelu_accurate", "--decoder-normalize-before"),
}


def lm(*flags):
    model = make_lm(*SIZES, "--decoder-attention-heads", "2", *flags, arch="leap_transformer_lm")
    return spread_proportions(model)


def text(rows, length, seed=0):
    tokens = torch.randint(4, 20, (rows, length), generator=torch.Generator().manual_seed(seed))
    tokens[:, 0] = EOS
    return tokens


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_logits_are_those_of_fairseq_at_once_and_in_pieces(variant):
    model, tokens = lm(*VARIANTS[variant]), text(3, 30)
    theirs, expected = exported(model), model(tokens)[0]
    assert_same(theirs(tokens).logits, expected)
    cache, pieces = None, []
    for piece in tokens.split([7, 1, 1, 21], 1):
        out = theirs(piece, cache=cache)
        cache = out.cache
        pieces.append(out.logits)
    assert_same(torch.cat(pieces, 1), expected)
    assert cache.get_seq_length() == 30
    assert_same(theirs(tokens, use_cache=False).logits, expected)


@torch.no_grad()
def test_the_control_that_positions_matter():
    model, tokens = lm(), text(1, 10)
    theirs = exported(model)
    theirs.config.positions = "none"
    with pytest.raises(AssertionError):
        assert_same(theirs(tokens).logits, model(tokens)[0])


@pytest.mark.parametrize("kind", ["leap", "cosformer", "slots"])
@torch.no_grad()
def test_greedy_search_takes_fairseqs_best_tokens(kind):
    model, tokens = lm("--decoder-self-attention", kind), text(1, 6)
    # Otherwise the norms leave little of a token, and one is repeated.
    model.decoder.embed_tokens.weight.mul_(5)
    written = exported(model).generate(tokens, max_new_tokens=12)[0].tolist()
    expected = tokens[0].tolist()
    while len(expected) < 18 and (len(expected) == 6 or expected[-1] != EOS):
        scores = model(torch.tensor([expected]))[0][0, -1]
        scores[PAD] = -torch.inf
        expected.append(int(scores.argmax()))
    assert written == expected and len(set(written[6:])) > 1


@pytest.mark.parametrize("how", [{}, {"num_beams": 3}])
@torch.no_grad()
def test_a_batch_padded_on_the_left_is_its_rows_alone(how):
    theirs, lengths = exported(lm("--attention-half-life", "8")), (9, 4, 6)
    rows = [text(1, length, seed)[0] for seed, length in enumerate(lengths)]
    batch = torch.stack([torch.nn.functional.pad(row, (9 - len(row), 0), value=PAD) for row in rows])
    options = {"max_new_tokens": 8, "min_new_tokens": 8, **how}
    together = theirs.generate(batch, attention_mask=batch.ne(PAD).long(), **options)
    for row, out in zip(rows, together):
        assert theirs.generate(row[None], **options)[0, len(row) :].tolist() == out[9:].tolist()


@torch.no_grad()
def test_a_mask_hides_any_token_on_either_side():
    theirs, tokens = exported(lm()), text(1, 6)
    for before, after in ((3, 0), (0, 3)):
        padded = torch.nn.functional.pad(tokens, (before, after), value=7)
        mask = torch.nn.functional.pad(torch.ones_like(tokens), (before, after))
        logits = theirs(padded, attention_mask=mask).logits
        assert_same(logits[:, before : before + 6], theirs(tokens).logits)
        if before:
            with pytest.raises(AssertionError):
                assert_same(theirs(padded).logits[:, before:], theirs(tokens).logits)


@torch.no_grad()
def test_beams_are_those_without_a_cache():
    """Without one, nothing has to follow the beams."""
    theirs, tokens = exported(lm()), text(2, 5)
    options = {"num_beams": 4, "max_new_tokens": 10, "num_return_sequences": 2}
    expected = theirs.generate(tokens, use_cache=False, **options)
    assert torch.equal(theirs.generate(tokens, **options), expected)
    for seed in range(2):
        torch.manual_seed(seed)
        drawn = theirs.generate(tokens, do_sample=True, max_new_tokens=10)
        torch.manual_seed(seed)
        assert torch.equal(theirs.generate(tokens, do_sample=True, max_new_tokens=10, use_cache=False), drawn)


@torch.no_grad()
def test_a_cache_is_reordered_repeated_and_never_grows():
    theirs, tokens = exported(lm()), text(3, 20)
    cache = LeapCache(2)
    theirs(tokens[:, :4], cache=cache)
    size = [layer.state.state.kvz.numel() for layer in cache.layers]
    theirs(tokens[:, 4:-1], cache=cache)
    assert [layer.state.state.kvz.numel() for layer in cache.layers] == size
    order = torch.tensor([2, 2, 0])
    cache.reorder_cache(order)
    logits = theirs(tokens[order, -1:], cache=cache).logits
    assert_same(logits, theirs(tokens[order]).logits[:, -1:])
    cache.batch_repeat_interleave(2)
    cache.batch_select_indices(torch.tensor([1, 4]))
    assert torch.equal(cache.layers[0].state.positions, torch.tensor([20, 20]))
    with pytest.raises(ValueError, match="cannot be shortened"):
        cache.crop(1)
    cache.reset()
    assert cache.get_seq_length() == 0


@torch.no_grad()
def test_a_text_beyond_the_positions():
    tokens = text(1, 100)
    model = lm()
    assert_same(exported(model)(tokens).logits, model.decoder.forward_block(tokens, {})[0])
    with pytest.raises(ValueError, match="64 tokens for which this model has learned positions"):
        exported(lm("--decoder-learned-pos"))(tokens)


def test_the_loss_is_the_mean_of_the_next_tokens_and_trains():
    theirs, tokens = exported(lm()), text(2, 12)
    out = theirs(tokens, labels=tokens)
    expected = torch.nn.functional.cross_entropy(out.logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    assert_same(out.loss, expected)
    out.loss.backward()
    assert all(parameter.grad is not None for parameter in theirs.parameters())


@pytest.mark.parametrize("kind", ["leap_hedgehog", "contrast"])
@torch.no_grad()
def test_saved_and_loaded_it_is_the_same_and_a_new_one_begins_as_in_training(kind, tmp_path):
    theirs, tokens = exported(lm("--decoder-self-attention", kind, "--attention-half-life", "4-64")), text(2, 20)
    start = theirs.decoder.layers[0].self_attn
    names = list(start.kind.learned)
    new = LeapForCausalLM(theirs.config).decoder.layers[0].self_attn
    assert names and all(torch.equal(getattr(new, name), getattr(start, name)) for name in names)
    for number, parameter in enumerate(theirs.parameters()):
        parameter.add_(0.01 * (number % 7))
    theirs.save_pretrained(tmp_path)
    assert_same(LeapForCausalLM.from_pretrained(tmp_path)(tokens).logits, theirs(tokens).logits)


@pytest.mark.parametrize("name", ["activation_function", "positions", "attention"])
def test_what_there_is_not_is_refused(name):
    config = exported(lm()).config
    setattr(config, name, "unheard")
    with pytest.raises(ValueError, match=f"{name} 'unheard'"):
        LeapForCausalLM(config)


def test_foreign_caches_and_drafts_are_refused():
    from transformers import DynamicCache

    theirs, tokens = exported(lm()), text(1, 5)
    with pytest.raises(ValueError, match="must be a LeapCache, got DynamicCache"):
        theirs(tokens, cache=DynamicCache())
    with pytest.raises(ValueError, match="not supported with stateful models"):
        theirs.generate(tokens, prompt_lookup_num_tokens=3)
