"""The learned pace: begins at 1, stays in its bounds, and learns what begins something new."""

import pytest
import torch
from tolerances import assert_same

from leap_fairseq.attention import causal_visibility
from leap_fairseq.attention.pace import LearnedPace
from leap_fairseq.layers import LinearAttention


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_begins_at_one_and_stays_in_bounds(dtype):
    network, x = LearnedPace(8, 3).to(dtype), torch.randn(2, 5, 8).to(dtype)
    pace = network(x)
    assert pace.dtype == torch.promote_types(dtype, torch.float32)
    assert torch.equal(pace, torch.ones(2, 5, 3, dtype=pace.dtype))
    torch.nn.init.normal_(network.weight, std=1000)
    pace, limit = network(x), torch.tensor(2.0, dtype=pace.dtype).exp()
    assert (pace <= limit * 1.0001).all() and (pace >= 0.9999 / limit).all()
    assert_same(pace.max(), limit)
    assert_same(pace.min(), 1 / limit)


def trained(learned_pace, updates=60):
    """The loss of a head that is to give the mean of the tokens since the last marker."""
    torch.manual_seed(1)
    layer = LinearAttention(9, 1, kind="elu", schedule=causal_visibility, half_life=8, learned_pace=learned_pace)
    optimizer, losses = torch.optim.Adam(layer.parameters(), lr=0.03), []
    for _ in range(updates):
        marked = torch.rand(16, 40) < 0.1
        x = torch.cat((torch.randn(16, 40, 8), marked.unsqueeze(-1)), -1)
        piece = marked.cumsum(1)
        same = (piece.unsqueeze(1) == piece.unsqueeze(2)).tril().double()
        target = (same / same.sum(-1, keepdim=True)).float() @ x
        loss = (layer(x)[0] - target)[..., :8].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return sum(losses[-10:]) / 10, layer


def test_a_marker_makes_a_head_forget():
    paced, layer = trained(True)
    unpaced, _ = trained(False)
    assert paced < 0.8 * unpaced, f"{paced} {unpaced}"
    tokens = torch.zeros(1, 2, 9)
    tokens[0, 0, 8] = 1
    marked, plain = layer.pace(tokens).flatten().tolist()
    assert marked > 2 * plain
