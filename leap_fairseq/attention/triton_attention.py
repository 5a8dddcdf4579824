"""Training and inference on a GPU by our own Triton kernels: the blockwise algorithm in six launches.

They know any schedule, padding, proportions, half-lives, paces and a state before. bfloat16 goes to the tensor cores as
it is; float16 as TF32, which has its digits and not its range, for sums over a long text have none; float32 as three
products in TF32 (3xTF32), which keep its digits. All sums are float32.

Shape legend: B samples, T queries, S keys, H heads, K key dimension, V value dimension, M blocks, P parts.
"""

import functools
import importlib.util
import math
import os
from typing import Optional, Tuple

import torch
from torch import Tensor

from leap_fairseq.attention.arguments import Arguments
from leap_fairseq.attention.compiled_library import in_half_lives
from leap_fairseq.attention.inputs import zero_padding
from leap_fairseq.attention.triton_plan import BLOCK, TILE, Plan, make_plan

WIDTH = 128
"""Numbers of a state that a program carries through the blocks."""

LARGEST = 64
"""The largest dimension of a head: the states of larger ones are beyond the shared memory of a multiprocessor."""

MOST_HEADS = 65535
"""Of a batch, its samples times their heads: programs along the second dimension of a launch."""

PRECISIONS = {torch.bfloat16: "tf32", torch.float16: "tf32", torch.float32: "tf32x3"}


@functools.cache
def installed() -> bool:
    """Whether Triton can be imported; torch for CUDA brings it."""
    return importlib.util.find_spec("triton") is not None


def can_launch(given: Arguments) -> bool:
    """Whether the kernels know such arguments; on a GPU, or in Triton's interpreter."""
    initial = given.initial_state
    return (
        installed()
        and (given.q.device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1")
        and given.q.dtype in PRECISIONS
        and given.q.dtype == given.k.dtype == given.v.dtype
        and max(given.q.shape[-1], given.v.shape[-1]) <= LARGEST
        and given.q.shape[0] * given.q.shape[2] <= MOST_HEADS
        and (initial is None or not initial.kvz.requires_grad)
        and 0 not in (*given.q.shape, *given.v.shape)
    )


def worth_launching(given: Arguments) -> bool:
    """Whether ``auto`` takes the kernels: on a GPU, unless all queries see the same keys, which are few products."""
    visible = given.visible
    alike = visible.numel() == 0 or int(visible[0]) == int(visible[-1])
    return given.q.device.type == "cuda" and not alike and can_launch(given)


def by_triton(given: Arguments) -> Tensor:
    """Computes :func:`leap_fairseq.attention.prefix_attention` in O(T + S).

    Raises:
        ValueError: Triton is missing, or the kernels do not know such arguments.
    """
    if not can_launch(given):
        raise ValueError(
            f"the algorithm triton needs a GPU, Triton, heads of at most {LARGEST}, at most {MOST_HEADS} of them in a "
            "batch, an initial state without gradient, "
            f'and q, k and v of one type among {[str(t)[6:] for t in PRECISIONS]}, none of them empty: choose "auto"'
        )
    half_life = None if given.half_life is None else given.half_life.to(given.q.device, torch.float32).contiguous()
    proportions = [
        None if p is None else zero_padding(p, mask).float().contiguous()
        for p, mask in ((given.query_proportion, None), (given.key_proportion, given.key_padding_mask))
    ]
    clock = in_half_lives(given.fading)
    initial = None if given.initial_state is None else given.initial_state.kvz.float()
    padding = None if given.key_padding_mask is None else given.key_padding_mask.contiguous()
    options = (padding, half_life, initial, make_plan(given), given.normalizer_floor)
    # Triton launches on the current device.
    with torch.cuda.device_of(given.q):
        return _PrefixAttention.apply(given.q, given.k, given.v, *proportions, clock, *options)


class _PrefixAttention(torch.autograd.Function):
    """The kernels as a function with gradients of q, k, v, the proportions and the clock."""

    @staticmethod
    def forward(ctx, q, k, v, p_q, p_k, clock, padding, half_life, initial, plan, floor):
        inputs = [x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v)]
        call = _Call(*inputs, p_q, p_k, clock, padding, half_life, plan, floor)
        states = call.states_of_keys(initial)
        out, denominator = call.outputs(*states)
        ctx.save_for_backward(*inputs, p_q, p_k, clock, padding, half_life, *states, denominator)
        ctx.plan, ctx.floor = plan, floor
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        *given, kv, z, denominator = ctx.saved_tensors
        call = _Call(*given, ctx.plan, ctx.floor)
        found = call.gradients(kv, z, gradient.contiguous(), denominator)
        return (*found, call.gradient_of_clock(ctx.needs_input_grad[5], *found[:2]), None, None, None, None, None)


class _Call:
    """The launches of one problem."""

    def __init__(self, q, k, v, p_q, p_k, clock, padding, half_life, plan: Plan, floor: float):
        from leap_fairseq.attention import triton_kernels, triton_states

        self.kernels, self.states, self.plan, self.floor = triton_kernels, triton_states, plan, floor
        self.q, self.k, self.v, self.p_q, self.p_k, self.padding = q, k, v, p_q, p_k, padding
        self.half_life, self.clock = half_life, clock
        self.batch, self.queries, self.heads, key_dim = q.shape
        self.keys, value_dim = v.shape[1], v.shape[3]
        self.parts = 1 if p_q is None else 2
        tl = triton_kernels.tl
        # Triton's interpreter has no products of bfloat16.
        self.half = q.dtype == torch.bfloat16 and q.is_cuda
        dot = tl.bfloat16 if self.half else tl.float32
        widths = (max(16, 1 << (size - 1).bit_length()) for size in (key_dim, value_dim))
        self.common = dict(zip(("H", "K", "V", "BK", "BV"), (self.heads, key_dim, value_dim, *widths)))
        self.common.update(REWEIGHTED=p_q is not None, AGED=half_life is not None, CLOCKED=clock is not None)
        self.common.update(BLOCK=BLOCK, DOT=dot, PRECISION=PRECISIONS[q.dtype], num_warps=4)
        self.strides = [stride for x in (q, k, v) for stride in x.stride()[:3]]

    def states_of_keys(self, initial: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        """The states before each block, kv [B, H, M, P, K, V] and z [B, H, M, P, K]."""
        kv, z = self._room()
        if self.plan.blocks > 1:
            self.states.sum_keys[self._grid(self.plan.blocks - 1)](
                *(self.k, self.v, self.p_k, self.padding, self.half_life, self.clock, kv, z),
                *(self.keys, self.plan.blocks, *self.strides[3:]),
                PADDED=self.padding is not None,
                **self.common,
            )
        return self._carried(kv, z, initial, False)

    def outputs(self, kv: Tensor, z: Tensor) -> Tuple[Tensor, Tensor]:
        """out [B, T, H, V] and the denominators [B, H, T]."""
        out = self.v.new_empty(self.batch, self.queries, self.heads, self.v.shape[3])
        denominator = self.q.new_empty(self.batch, self.heads, self.queries, dtype=torch.float32)
        self.kernels.outputs[self._grid(len(self.plan.tiles))](
            *self._inputs(),
            *(self.plan.limits, self.plan.tiles, kv, z, out, denominator, self.floor),
            *self._sizes(),
            PADDED=self.padding is not None,
            TILE=TILE,
            **self.common,
        )
        return out, denominator

    def gradients(self, kv: Tensor, z: Tensor, gradient: Tensor, denominator: Tensor) -> Tuple[Optional[Tensor], ...]:
        """Of q, k, v and the proportions."""
        plan, d = self.plan, torch.empty_like(denominator)
        # Keys that no query sees belong to no block.
        new = torch.empty if plan.blocks * BLOCK >= self.keys else torch.zeros
        found = [
            None if x is None else new(x.shape, dtype=x.dtype, device=x.device)
            for x in (self.q, self.k, self.v, self.p_q, self.p_k)
        ]
        dq, dk, dv, dp_q, dp_k = found
        cotangent = (gradient, denominator, self.floor, d)
        more = {"PADDED": self.padding is not None, "TILE": TILE, **self.common}
        self.kernels.query_gradients[self._grid(len(plan.tiles))](
            *(*self._inputs(), plan.limits, plan.tiles, kv, z, *cotangent, dq, dp_q, *self._sizes()), **more
        )
        un, ud = self._room()
        if plan.blocks > 1:
            self.states.sum_queries[self._grid(plan.blocks - 1)](
                *(self.q, self.p_q, self.half_life, self.clock, *plan[2:], *cotangent, un, ud),
                *(self.queries, self.keys, plan.blocks, *self.strides[:3]),
                TILE=TILE,
                **self.common,
            )
        un, ud = self._carried(un, ud, None, True)
        self.kernels.key_gradients[self._grid(plan.blocks)](
            *(*self._inputs(), *plan[2:], un, ud, *cotangent, dk, dv, dp_k, *self._sizes()), **more
        )
        return tuple(found)

    def gradient_of_clock(self, needed: bool, dq: Tensor, dk: Tensor) -> Optional[Tensor]:
        """[B, H, S + 1], from the gradients of what it multiplies: 2 ** -(time of the query - time of the key).

        The gradient of a pace sums this over all later keys: in bfloat16, its error grows with the length of the text.
        """
        if not needed:
            return None
        queries, keys = ((x.double() * dx).sum(-1) for x, dx in ((self.q, dq), (self.k, dk)))
        keys = torch.nn.functional.pad(zero_padding(keys, self.padding), (0, 0, 1, 0))
        gradient = keys.index_add_(1, self.plan.visible, queries, alpha=-1)
        return math.log(2) * gradient.transpose(1, 2)

    def _inputs(self):
        return self.q, self.k, self.v, self.p_q, self.p_k, self.padding, self.half_life, self.clock

    def _sizes(self):
        return (self.queries, self.keys, self.plan.blocks, *self.strides)

    def _grid(self, count: int) -> Tuple[int, int]:
        return count, self.batch * self.heads

    def _room(self) -> Tuple[Tensor, Tensor]:
        shape = (self.batch, self.heads, self.plan.blocks, self.parts, self.q.shape[3])
        return tuple(self.q.new_empty(size, dtype=torch.float32) for size in ((*shape, self.v.shape[3]), shape))

    def _carried(self, kv: Tensor, z: Tensor, first: Optional[Tensor], backward: bool) -> Tuple[Tensor, Tensor]:
        """The states before each block, in the type of the products; or those behind it, which cancel: in float32."""
        dtype = torch.bfloat16 if self.half and not backward else torch.float32
        states = torch.empty_like(kv, dtype=dtype), torch.empty_like(z)
        programs = sum(-(-x[0, 0, 0].numel() // WIDTH) for x in (kv, z))
        self.states.carry[self._grid(programs)](
            *(kv, z, None if first is None else first.contiguous(), *states, self.half_life, self.clock),
            *(self.keys, self.plan.blocks),
            **{name: self.common[name] for name in ("H", "K", "V", "BLOCK", "AGED", "CLOCKED")},
            WIDTH=WIDTH,
            PARTS=self.parts,
            CONTINUED=first is not None,
            BACKWARD=backward,
        )
        return states
