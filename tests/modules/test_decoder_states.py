"""The state of a decoder: in training, as by ``--carry-state``, with options that compute layers otherwise; counts."""

import torch
from tiny_models import make_lm
from tolerances import assert_same

TOKENS = torch.randint(4, 20, (2, 24), generator=torch.Generator().manual_seed(0))


def three_blocks(*flags):
    """The gradients [parameters] of the second and the third block, and the logits of all."""
    model = make_lm("--decoder-layers", "2", "--dropout", "0", *flags).double().train()
    logits, gradients = [], []
    for number, block in enumerate(TOKENS.split(8, 1)):
        model.zero_grad()
        logits.append(model(block, continues=number > 0)[0])
        logits[-1].square().mean().backward()
        gradients += [p.grad.clone() for p in model.parameters()] if number else []
    return torch.cat(logits, 1), gradients


def test_an_activation_checkpoint_computes_a_block_from_the_state_before_it():
    """On the way back, the layers are computed once more; the state behind them would hold the block twice."""
    (logits, gradients), (again, others) = three_blocks(), three_blocks("--checkpoint-activations")
    assert_same(again, logits)
    for actual, expected in zip(others, gradients):
        assert_same(actual, expected)


def test_a_layer_that_was_left_out_has_read_nothing():
    """``--decoder-layerdrop`` leaves all layers out of the first block here, and the state is saved all the same."""
    model = make_lm("--decoder-layers", "2", "--decoder-layerdrop", "1").train()
    state = {}
    model.decoder.forward_block(TOKENS[:, :8], state)
    exported = model.decoder.export_state(state)
    assert exported["tokens"] == 8 and [plain["keys"] for plain in exported["attention"]] == [0, 0]
    model.eval()
    out = model.decoder.forward_block(TOKENS[:, 8:], model.decoder.import_state(exported))[0]
    assert_same(out, model.decoder.forward_block(TOKENS[:, 8:], state)[0])


def test_streams_that_go_on_together_may_be_parted_at_each_token():
    decoder, states = make_lm("--decoder-layers", "1").eval().decoder, [{}, {}]
    decoder.forward_block(TOKENS[:1, :5], states[0])
    merged = decoder.merge_states(states)
    for token in TOKENS[:, :3].split(1, 1):
        decoder.forward_block(token, merged)
        decoder.split_state(merged, states)
    assert [decoder.computed_tokens(state) for state in states] == [8, 3]
