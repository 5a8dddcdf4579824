"""The language model: any split of the tokens, beam search with its state, batches, every kind of attention."""

import pytest
import torch
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.sequence_generator import SequenceGenerator
from tiny_models import configure_lm, make_dictionary, make_lm, parse, spread_proportions
from tolerances import assert_same

from leap_fairseq.attention import KINDS
from leap_fairseq.modules import ATTENTION_KINDS

EACH_KIND = pytest.mark.parametrize("kind", ATTENTION_KINDS)
ADAPTIVE = ("--adaptive-input", "--adaptive-input-cutoff", "8,12", "--adaptive-softmax-cutoff", "8,12")


def lm(kind, *flags):
    return spread_proportions(make_lm("--decoder-self-attention", kind, "--decoder-layers", "2", *flags))


def random_tokens(batch, length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, 20, (batch, length), generator=generator)


def memories(state):
    """The sums of every attention, in the order of the layers."""
    return [x.state.kvz for x in state.values() if hasattr(x, "state")]


@pytest.mark.parametrize(
    "flags",
    [
        (*ADAPTIVE, "--decoder-self-attention", "contrast", "--attention-half-life", "2-32", "--leap-factor", "4"),
        ("--decoder-layers", "1", "--dropout", "0.2", "--checkpoint-activations", "--no-token-positional-embeddings"),
    ],
)
def test_the_models_of_these_tests_are_configured_as_by_fairseq(flags):
    words = ("--arch", "leap_transformer_lm_tiny", "--tokens-per-sample", "64")
    whole = convert_namespace_to_omegaconf(parse(*words, *flags))
    found, plain = configure_lm(*flags), configure_lm()
    assert (found.model, found.task) == (whole.model, whole.task) and found.model != plain.model


@EACH_KIND
@pytest.mark.parametrize("flags", [(), ("--decoder-learned-pos",), ("--no-token-positional-embeddings",)])
def test_any_split_gives_the_same_logits_and_state(kind, flags):
    model = lm(kind, *flags)
    if kind != "softmax":
        model.double()  # the exponentials of sharp features enlarge rounding; fairseq's softmax is float32 at all times
    tokens = random_tokens(2, 12)
    expected = model(tokens)[0]
    reference = None
    for splits in ([1] * 12, [12], [5, 7], [11, 1], [2, 3, 4, 3]):
        state, outputs, end = {}, [], 0
        for n in splits:
            end += n
            outputs.append(model.decoder(tokens[:, :end], incremental_state=state)[0])
        assert_same(torch.cat(outputs, 1), expected, what=f"split {splits}")
        reference = reference or memories(state)
        for actual, wanted in zip(memories(state), reference):
            assert_same(actual, wanted, what="state")
    assert (len(reference) == 2) == (kind != "softmax")


@EACH_KIND
def test_left_padded_prompts_equal_alone(kind):
    if kind == "softmax":
        pytest.skip("fairseq's softmax gives nan where a query sees padding alone")
    model = lm(kind)
    pad = model.decoder.padding_idx
    tokens = random_tokens(3, 9)
    lengths = [4, 9, 1]
    for row, n in enumerate(lengths):
        tokens[row, : 9 - n] = pad
    batch, state = model(tokens)[0], {}
    stepped = torch.cat([model.decoder(tokens[:, : i + 1], incremental_state=state)[0] for i in range(9)], 1)
    for row, n in enumerate(lengths):
        alone = model(tokens[row : row + 1, 9 - n :])[0]
        assert_same(batch[row : row + 1, 9 - n :], alone, what="at once")
        assert_same(stepped[row : row + 1, 9 - n :], alone, what="stepped")


@EACH_KIND
def test_reorder_equals_running_the_chosen_prefixes(kind):
    model = lm(kind)
    tokens, order = random_tokens(3, 7), torch.tensor([2, 0, 0])
    state = {}
    model.decoder(tokens[:, :6], incremental_state=state)
    model.decoder.reorder_incremental_state_scripting(state, order)
    chosen = torch.cat((tokens[order, :6], tokens[:, 6:]), 1)
    assert_same(model.decoder(chosen, incremental_state=state)[0], model(chosen)[0][:, 6:])


class Stateless(torch.nn.Module):
    """The same model for fairseq's generator, which then runs the whole prefix at every step."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens):
        return self.model(tokens)

    def get_normalized_probs(self, *args, **kwargs):
        return self.model.get_normalized_probs(*args, **kwargs)

    def max_decoder_positions(self):
        return self.model.max_decoder_positions()


@EACH_KIND
def test_beam_search_with_state_equals_without(kind):
    dictionary = make_dictionary()
    model = lm(kind)
    prefixes = random_tokens(20, 3, seed=3)
    results = []
    for candidate in (model, Stateless(model)):
        generator = SequenceGenerator([candidate], dictionary, beam_size=4, max_len_b=10)
        sample = {"net_input": {"src_tokens": prefixes, "src_lengths": torch.full((20,), 3)}}
        results.append(generator.generate([candidate], sample, prefix_tokens=prefixes))
    for with_state, without in zip(*results):
        assert [h["tokens"].tolist() for h in with_state] == [h["tokens"].tolist() for h in without]
        scores = [torch.stack([h["score"] for h in x]) for x in (with_state, without)]
        assert_same(*scores, what="score")


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.linear])
def test_state_does_not_grow(kind):
    model = lm(kind)
    tokens, sizes, state = random_tokens(1, 40), [], {}
    for i in range(40):
        model.decoder(tokens[:, : i + 1], incremental_state=state)
        sizes.append(sum(x.numel() for x in memories(state)))
    assert len(set(sizes)) == 1 and sizes[0] > 0


def test_positions_beyond_the_table_continue():
    model = lm("leap")
    tokens = random_tokens(1, 150)
    expected = model(tokens)[0]
    fresh, state = lm("leap"), {}
    outputs = [fresh.decoder(tokens[:, : i + 1], incremental_state=state)[0] for i in range(150)]
    assert_same(torch.cat(outputs, 1), expected)


def test_without_positions_a_block_may_be_of_any_length():
    free = ("--no-token-positional-embeddings", "--attention-half-life", "2-32")
    assert make_lm("--decoder-layers", "1", *free).max_positions() > 10**6
    limited = [(), ("--no-token-positional-embeddings", "--decoder-self-attention", "cosformer")]
    assert [make_lm("--decoder-layers", "1", *flags).max_positions() for flags in limited] == [64, 64]


@EACH_KIND
@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--share-decoder-input-output-embed",),
        ADAPTIVE,
        ("--checkpoint-activations",),
    ],
    ids=["plain", "tied", "adaptive", "checkpointed"],
)
def test_one_update_reaches_every_parameter(kind, flags):
    model = make_lm("--decoder-self-attention", kind, "--decoder-layers", "2", *flags).train()
    tokens = random_tokens(4, 30)
    features, extra = model(tokens)
    if model.decoder.adaptive_softmax is not None:
        logits, target = model.decoder.adaptive_softmax(features, tokens.flatten())
        loss = sum(torch.nn.functional.cross_entropy(x, t) for x, t in zip(logits, target) if t is not None)
    else:
        loss = torch.nn.functional.cross_entropy(features.flatten(0, 1), tokens.flatten())
    loss.backward()
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing and all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_whole_prefix_must_be_given():
    model, state = lm("leap"), {}
    tokens = random_tokens(1, 5)
    model.decoder(tokens, incremental_state=state)
    with pytest.raises(ValueError, match="5 tokens given, but 5 have been computed"):
        model.decoder(tokens, incremental_state=state)
    with pytest.raises(ValueError, match="full_context_alignment is not available"):
        model.decoder(tokens, full_context_alignment=True)


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--leap-factor", "5"), "leap_factor 5 does not divide the head dimension 32: choose --leap-factor"),
        (("--normalizer-floor", "0"), "normalizer_floor 0.0 must be above 0: set --normalizer-floor"),
        (("--attention-half-life", "9-3"), "half-life '9-3' must be at least 1 token"),
        (("--attention-half-life", "9", "--decoder-self-attention", "softmax"), "half-life 9 needs linear attention"),
        (("--attention-learned-pace",), "--attention-learned-pace needs half-lives"),
        (
            ("--adaptive-softmax-cutoff", "8,25"),
            "--adaptive-softmax-cutoff 8,25 must rise and stay within the 20 symbols",
        ),
        ((*ADAPTIVE, "--adaptive-input-cutoff", "12,8"), "--adaptive-input-cutoff 12,8 must rise"),
    ],
)
def test_wrong_options_are_named(flags, message):
    with pytest.raises(ValueError, match=message):
        make_lm(*flags)


@pytest.mark.parametrize("flags", [(), ADAPTIVE])
def test_weights_of_another_dictionary_are_refused(flags):
    weights = make_lm("--decoder-layers", "2", *flags).state_dict()
    make_lm("--decoder-layers", "2", *flags).load_state_dict(dict(weights))
    renamed = make_dictionary(19)
    renamed.add_symbol("other")
    same_size = make_lm("--decoder-layers", "2", *flags, dictionary=renamed)
    with pytest.raises(ValueError, match="dictionary of 20 symbols with the checksum .* one of the same size"):
        same_size.load_state_dict(dict(weights))
    unnamed = {name: x for name, x in weights.items() if not name.endswith("crc32")}
    same_size.load_state_dict(unnamed)
    other = make_lm("--decoder-layers", "2", *flags, dictionary=make_dictionary(25))
    with pytest.raises(ValueError, match="dictionary of 20 symbols, the data folder has 25"):
        other.load_state_dict(dict(weights))


def test_a_tied_embedding_beside_an_adaptive_softmax_is_loaded():
    flags = ("--share-decoder-input-output-embed", "--adaptive-softmax-cutoff", "8,12")
    weights = make_lm(*flags, seed=1).state_dict()
    loaded = make_lm(*flags)
    loaded.load_state_dict(dict(weights))
    assert all(torch.equal(x, weights[name]) for name, x in loaded.state_dict().items())


def test_unknown_attention_lists_the_choices(capsys):
    with pytest.raises(SystemExit):
        make_lm("--decoder-self-attention", "performer")
    error = capsys.readouterr().err
    assert "performer" in error and all(kind in error for kind in ATTENTION_KINDS)
