"""Every attention of the zoo: padding reaches nothing, a batch equals its members, the equations are the papers'."""

import pytest
import torch
from fairseq.modules import MultiheadAttention
from naive_zoo import NAIVE, softmax
from tolerances import assert_same
from torch.utils._python_dispatch import TorchDispatchMode

from leap_fairseq.modules.zoo import ZOO_KINDS, ZooAttention, ZooSizes, ZooSpec
from leap_fairseq.modules.zoo.base import drawn_positions

KINDS = pytest.mark.parametrize("kind", ZOO_KINDS)
DRAWING = ("skyformer", "informer", "reformer")
"""In training, random numbers for each batch."""
PEERS = pytest.mark.parametrize("kind", sorted(NAIVE))
SIZES = {"max_length": 100, "features": 12, "block": 6, "hashes": 2, "random_blocks": 2}
LENGTHS = [61, 60, 37, 6, 2, 1]


def make(kind, seed=0, dtype=torch.float64, dropout=0.0, dim=16, **sizes):
    torch.manual_seed(seed)
    spec = ZooSpec(kind, ZooSizes(**{**SIZES, **sizes}))
    module = spec.build(dim, 2, dropout=dropout, self_attention=True).to(dtype)
    for name, parameter in module.named_parameters():
        if "bias" in name:  # so that padding that is not silenced after the projection shows
            torch.nn.init.normal_(parameter)
    return module.eval()


def attend(module, x, padding=None):
    return module(x, x, x, key_padding_mask=padding, need_weights=False)[0]


def batch(lengths=LENGTHS, dim=16, dtype=torch.float64, seed=1):
    """Input [T, B, C], with random numbers as padding, and the mask [B, T]."""
    x = torch.randn(max(lengths), len(lengths), dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return x, torch.arange(max(lengths)) >= torch.tensor(lengths).unsqueeze(1)


def heads_of(module, length, scale=1.0):
    """q, k, v [H, T, K] of a sequence; k is q where the method has no keys of its own."""
    generator = torch.Generator().manual_seed(2)
    q, k, v = (torch.randn(2, length, module.head_dim, generator=generator, dtype=torch.float64) for _ in "qkv")
    return scale * q, scale * (q if module.k_proj is None else k), v


def alone(module, q, k, v):
    valid = torch.ones(1, q.shape[1], dtype=torch.bool)
    return module.attend(q[None], k[None], v[None], valid)[0]


def compare_with_alone(module, masked=True):
    """Fails unless outputs and gradients of a batch are those of its members."""
    x, padding = batch()
    x.requires_grad_()
    hidden = padding.t().unsqueeze(-1)
    cotangent = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype).masked_fill(hidden, 0)
    leaves = [x, *module.parameters()]
    torch.manual_seed(4)
    together = attend(module, x, padding if masked else None)
    expected = [torch.zeros_like(leaf) for leaf in leaves]
    for b, n in enumerate(LENGTHS):
        torch.manual_seed(4)
        out = attend(module, x[:n, b : b + 1])
        assert_same(together[:n, b : b + 1], out, what=f"length {n}")
        grads = torch.autograd.grad(out, leaves, cotangent[:n, b : b + 1])
        expected = [total + grad for total, grad in zip(expected, grads)]
    for grad, wanted in zip(torch.autograd.grad(together, leaves, cotangent), expected):
        assert_same(grad, wanted, what="gradient")


@KINDS
def test_a_batch_equals_its_members(kind):
    compare_with_alone(make(kind))


@pytest.mark.parametrize("kind", DRAWING)
def test_a_batch_equals_its_members_in_training_too(kind):
    """What is drawn does not depend on the batch, so that one seed gives one result."""
    compare_with_alone(make(kind).train())


@KINDS
def test_without_its_mask_a_batch_differs(kind):
    """The control."""
    with pytest.raises(AssertionError):
        compare_with_alone(make(kind), masked=False)


@KINDS
@pytest.mark.parametrize("junk", [float("inf"), float("nan"), 1e30])
def test_junk_in_padding_reaches_no_output_and_no_gradient(kind, junk):
    module = make(kind)
    x, padding = batch([20, 13, 1])
    hidden, results = padding.t().unsqueeze(-1), []
    for fill in (0.0, junk):
        filled = x.masked_fill(hidden, fill).requires_grad_()
        out = attend(module, filled, padding).masked_fill(hidden, 0)
        results.append([out, *torch.autograd.grad(out.square().sum(), [filled, *module.parameters()])])
    for clean, dirty in zip(*results):
        assert_same(dirty, clean)


@KINDS
@pytest.mark.parametrize("training", [False, True])
def test_a_sequence_that_is_all_padding_is_finite(kind, training):
    module = make(kind, dropout=0.2).train(training)
    x, padding = batch([20, 0, 7])
    x.requires_grad_()
    out = attend(module, x, padding)
    bias = module.out_proj.bias.expand_as(out[:, 1])
    assert torch.isfinite(out).all()
    assert_same(out[:, 1], bias)
    for gradient in torch.autograd.grad(out.square().sum(), [x, *module.parameters()]):
        assert torch.isfinite(gradient).all()


class MeanOverAll(ZooAttention):
    """Broken: the mean of the values is over tokens and padding."""

    def attend(self, q, k, v, valid):
        return v.mean(2, keepdim=True) + 0 * (q + k)


def test_the_padding_tests_can_fail():
    """The control: attentions that are wrong with padding are found, fairseq's with inf in it among them."""
    with pytest.raises(AssertionError, match="length 60"):
        compare_with_alone(MeanOverAll(16, 2, ZooSizes(**SIZES)).double().eval())
    fairseqs = MultiheadAttention(16, 2, self_attention=True).double().eval()
    x, padding = batch([20, 13])
    hidden = padding.t().unsqueeze(-1)
    out = attend(fairseqs, x.masked_fill(hidden, torch.inf), padding).masked_fill(hidden, 0)
    gradients = torch.autograd.grad(out.square().sum(), list(fairseqs.parameters()))
    assert not all(torch.isfinite(gradient).all() for gradient in gradients)


@PEERS
@pytest.mark.parametrize("length", [1, 2, 6, 7, 13, 50, 100])
def test_equals_the_equations(kind, length):
    module = make(kind)
    module.iterations = 30 if kind == "skyformer" else 6
    q, k, v = heads_of(module, length)
    assert_same(alone(module, q, k, v), NAIVE[kind](module, q, k, v))


@pytest.mark.parametrize("kind", sorted(set(NAIVE) - {"softmax", "local", "kernelized"}))
def test_other_random_numbers_or_sizes_do_not_equal_the_equations(kind):
    """The control: the comparison above sees the sizes and the random numbers."""
    module, other = make(kind), make(kind, seed=1, features=9, random_blocks=1)
    module.iterations = other.iterations = 30
    q, k, v = heads_of(module, 100)
    with pytest.raises(AssertionError):
        assert_same(alone(other, q, k, v), NAIVE[kind](module, q, k, v))


def test_enough_of_everything_is_softmax():
    """Windows, blocks, landmarks, projections and queries that leave nothing out."""
    length = 24
    for kind, sizes in (
        ("local", {"block": 23}),
        ("bigbird", {"random_blocks": 4, "block": 3}),
        ("bigbird", {"block": 8}),
        ("nystromformer", {"features": 24}),
        ("linformer", {"features": 24, "max_length": 24}),
        ("informer", {"features": 100}),
    ):
        module = make(kind, **sizes)
        module.iterations = 20
        if kind == "linformer":
            module.projection.copy_(torch.eye(length))
        q, k, v = heads_of(module, length)
        assert_same(alone(module, q, k, v), softmax(module, q, k, v), what=kind)
    # The controls: the same with too little.
    for kind, sizes in (("local", {"block": 20}), ("bigbird", {"random_blocks": 0, "block": 3}), ("informer", {})):
        module = make(kind, **{"features": 2, **sizes})
        q, k, v = heads_of(module, length)
        assert not torch.allclose(alone(module, q, k, v), softmax(module, q, k, v), atol=1e-6), kind


def test_reformer_with_one_chunk_is_softmax_over_the_other_tokens():
    module = make("reformer", block=24)
    q, k, v = heads_of(module, 24)
    keys = torch.nn.functional.normalize(q, dim=-1)
    others = 1 - torch.eye(24, dtype=torch.float64)
    assert_same(alone(module, q, k, v), softmax(module, q, keys, v, others))


def test_performer_approaches_softmax_with_its_features():
    errors = []
    for features in (16, 256, 4096):
        found = []
        for seed in range(4):
            module = make("performer", seed=seed, features=features)
            q, k, v = heads_of(module, 30, scale=0.6)
            found.append((alone(module, q, k, v) - softmax(module, q, k, v)).square().mean().sqrt())
        errors.append(float(torch.stack(found).mean()))
    assert errors[0] > errors[1] > 2 * errors[2] and errors[2] < 0.02


def test_performer_directions_are_orthogonal_and_of_gaussian_length():
    directions = make("performer", features=4000, dim=32).directions.double()
    group = directions[:16]
    assert_same(group @ group.t(), torch.diag(group.square().sum(1)), torch.float32)
    assert float(directions.square().sum(1).mean()) == pytest.approx(16, rel=0.03)
    # In all directions alike: QR alone would leave a mean of about 1 in the first of each group.
    assert float(directions.mean(0).abs().max()) < 0.1 and float(directions[::16].mean(0).abs().max()) < 0.25


def test_skyformer_with_all_landmarks_is_kernelized_attention():
    length, errors = 12, []
    for gamma in (1e-2, 1e-4):
        module = make("skyformer", features=2 * length)
        module.draws.copy_((torch.arange(length).repeat(2) + 0.5) / length)
        module.gamma, module.iterations = gamma, 40
        q, k, v = heads_of(module, length)
        errors.append(float((alone(module, q, k, v) - NAIVE["kernelized"](module, q, k, v)).abs().max()))
    assert errors[1] < 1e-3 and errors[1] < 0.1 * errors[0]


def test_softmax_is_fairseqs():
    module, fairseqs = make("softmax"), MultiheadAttention(16, 2, self_attention=True).double().eval()
    fairseqs.load_state_dict(module.state_dict())
    x, padding = batch()
    hidden = padding.t().unsqueeze(-1)
    expected = fairseqs(x, x, x, key_padding_mask=padding, need_weights=False)[0].masked_fill(hidden, 0)
    assert_same(attend(module, x, padding).masked_fill(hidden, 0), expected)


def test_one_layer_of_proportions():
    """Weights cos(pi/2 (P_q - P_k)) relu(q) . relu(k), P from one layer, written out."""
    module = make("leap_one_layer", normalizer_floor=1e-6)
    x, _ = batch([9])
    q, k, v = (
        projection(x[:, 0]).view(9, 2, 8).transpose(0, 1)
        for projection in (module.q_proj, module.k_proj, module.v_proj)
    )
    q, k = (q / 8**0.5).relu(), k.relu()
    p_q, p_k = ((x @ net[0].weight.t() + net[0].bias).sigmoid() for x, net in ((q, module.q_LeaP), (k, module.k_LeaP)))
    weights = (q @ k.transpose(1, 2)) * torch.cos(torch.pi / 2 * (p_q - p_k.transpose(1, 2)))
    out = (weights / weights.sum(-1, keepdim=True) @ v).transpose(0, 1).flatten(1)
    assert_same(attend(module, x)[:, 0], module.out_proj(out))
    assert sum(p.numel() for n, p in module.named_parameters() if "LeaP" in n) == 2 * 9


@KINDS
def test_random_numbers_come_from_the_seed_and_are_fixed_in_evaluation(kind):
    module, again, other = make(kind), make(kind), make(kind, seed=1)
    buffers = dict(module.named_buffers())
    for name, buffer in again.named_buffers():
        assert torch.equal(buffer, buffers[name]) and not torch.equal(buffer, dict(other.named_buffers())[name])
    x, _ = batch([80])
    assert torch.equal(attend(module, x), attend(module, x))
    module.train()
    assert torch.equal(attend(module, x), attend(module, x)) != (kind in DRAWING)
    other.load_state_dict(module.state_dict())
    assert torch.equal(attend(other, x), attend(again, x))


@KINDS
def test_a_kind_that_is_tied_to_its_length_says_so(kind):
    module = make(kind, max_length=30)
    x, _ = batch([31])
    if kind == "linformer":
        padded = torch.cat((x[:20], torch.full((10, 1, 16), float("nan"), dtype=x.dtype)))
        expected = attend(module, padded, (torch.arange(30) >= 20).unsqueeze(0))
        assert_same(attend(module, x[:20]), expected[:20])
        with pytest.raises(ValueError, match="a sequence of 31 tokens does not fit .* 30 positions: build it with"):
            attend(module, x)
    elif kind == "bigbird":
        with pytest.raises(ValueError, match="6 blocks of 6 tokens are more than the 5 .*: build it with a larger"):
            attend(module, x)
    else:
        assert torch.isfinite(attend(module, x)).all()


@KINDS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(kind, dtype):
    x, padding = batch([40, 23], dtype=torch.float32)
    module = make(kind, dtype=torch.float32).to(dtype)
    out = attend(module, x.to(dtype), padding)
    assert out.dtype == dtype and torch.isfinite(out).all()
    difference = out.float() - attend(module.float(), x.to(dtype).float(), padding)
    if kind not in ("reformer", "informer"):  # rounding changes what they sort
        # Queries and keys come rounded from their projections; sums of half precision would be off by far more.
        assert difference.norm() < 0.05 * out.float().norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_draws_from_all_positions(dtype):
    module = make("skyformer", features=4096).to(dtype).train()
    positions = drawn_positions(module.drawn(module.draws), torch.tensor([4000, 10**6]))
    assert (positions[0] % 2 == 1).any() and positions[0].unique().numel() > 2400 and positions[1].max() > 990_000


def test_blocks_of_equal_rank_are_drawn_alike_whatever_the_batch():
    """Half precision has few numbers for many pairs of blocks."""
    module = make("bigbird", max_length=40 * SIZES["block"])
    module.ranks.copy_((4 * module.ranks).floor() / 4)
    longest = module.plan(torch.tensor([39]), 40)
    for blocks in range(1, 40):
        last = torch.tensor([blocks - 1])
        plan = module.plan(last, blocks)
        assert torch.equal(module.plan(last, 40)[..., :blocks, :blocks], plan)
        assert blocks < 30 or not torch.equal(longest[..., :blocks, :blocks], plan)


class Waits(TorchDispatchMode):
    """Counts where a GPU would be waited for."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def test_the_layers_of_a_model_look_at_their_mask_once():
    module, (x, padding) = make("local"), batch([9, 5])
    with Waits() as waits:
        for _ in range(3):
            attend(module, x, padding)
    assert waits.count == 1
    padding[1] = padding[1].flip(0)
    with pytest.raises(ValueError, match="padding before a token"):
        attend(module, x, padding)
    with torch.inference_mode():
        other = torch.zeros(2, 9, dtype=torch.bool)
        attend(module, x, other)
        other[0, 0] = True
        with pytest.raises(ValueError, match="padding before a token"):
            attend(module, x, other)


def test_wrong_use_is_named():
    with pytest.raises(ValueError, match="unknown attention 'flash': choose --attention from leap, .*local"):
        ZooSpec("flash", ZooSizes(10))
    with pytest.raises(ValueError, match="block 0 must be at least 1: set --attention-block"):
        ZooSizes(10, block=0)
    with pytest.raises(ValueError, match="embed_dim 16 is not divisible by 3"):
        ZooSpec("local", ZooSizes(10)).build(16, 3)
    with pytest.raises(ValueError, match="num_heads must be a whole number from 1 .*, got 0"):
        ZooSpec("local", ZooSizes(10)).build(16, 0)
    with pytest.raises(ValueError, match="no other keys"):
        ZooSpec("local", ZooSizes(10)).build(16, 2, self_attention=False)
    module = make("local")
    x, padding = batch([9, 5])
    for options, message in (
        ({"key_padding_mask": padding.flip(1)}, "padding before a token: pad the sequences on the right"),
        ({"key": x.clone()}, "key and value must be the query"),
        ({"need_weights": True}, "neither weights to return nor a mask"),
        ({"attn_mask": torch.zeros(9, 9)}, "neither weights to return nor a mask"),
    ):
        with pytest.raises(ValueError, match=message):
            module(x, **options)
