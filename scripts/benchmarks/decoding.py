"""Decoding with a language model: the time of a token at a far position, with a state and with a cache of all keys.

Each model reads random tokens in blocks up to a position and then writes the best next ones, one by one; both models
and all positions take turns, token by token, in one process. LeaP keeps its sums, softmax the keys and values of all
tokens (fairseq's cache). The columns:

    ms              median of a token
    spread          distance of the quartiles over the median
    vs_softmax      how many times as fast as softmax at the same position (above 1: faster)
    vs_first        time over that of the same model at the first position
    state_kib       what is kept of the text

The gate: a text read in blocks and token by token gives the scores that it gives at once, in both models.
"""

import argparse
import dataclasses
import statistics
from typing import Any, Dict, List, Tuple

import torch

from benchmarks import measuring, training
from benchmarks.gate import largest_share
from benchmarks.reporting import Panel, report

LOG_LEVEL = "WARNING"

GATE_LENGTH, GATE_BLOCK = 90, 70
PANELS = (
    Panel("ms", "ms a token"),
    Panel("vs_softmax", "times as fast as softmax", one=True),
    Panel("state_kib", "kept of the text, KiB"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this sub-command."""
    positions = "tokens before (default: 100 32000)"
    parser.add_argument("--positions", nargs="+", type=int, default=[100, 32000], metavar="N", help=positions)
    parser.add_argument("--block", type=int, default=500, help="tokens that are read at once")
    training.add_size_options(parser)
    measuring.add_measuring_options(parser, rounds=50)


def run(options: argparse.Namespace) -> None:
    """Measures, prints and writes.

    Raises:
        ValueError: options that do not fit, or a red gate.
    """
    measuring.check_measuring_options(options)
    if min(options.positions) < 1 or options.block < 1:
        raise ValueError("--positions and --block must be at least 1")
    training.check_sizes(options)
    models = {kind: training.build(kind, 512, options).model.eval() for kind in ("leap", "softmax")}
    for kind, model in models.items():
        print(f"{kind}: {pass_gate(kind, model, options)}", flush=True)
    report(measure(models, options), options, ("position", "tokens before"), "attention", PANELS)


@torch.no_grad()
def pass_gate(kind: str, model: Any, options: argparse.Namespace) -> str:
    """Compares a model that decodes with itself at once.

    Raises:
        GateError: they differ.
    """
    text = random_text(GATE_LENGTH, options)
    at_once, state = model(text)[0], {}
    outs = [model.decoder.forward_block(text[:, :GATE_BLOCK], state)[0]]
    outs += [model.decoder.forward_block(token, state)[0] for token in text[:, GATE_BLOCK:].split(1, dim=1)]
    share = largest_share({"scores": torch.cat(outs, dim=1)}, {"scores": at_once}, torch.float32, f"decoding by {kind}")
    return f"step by step equals at once, by so much of the tolerance: {share:.1%}"


def random_text(length: int, options: argparse.Namespace) -> torch.Tensor:
    """int64 [1, length], without special symbols."""
    text = torch.randint(4, options.dictionary, (1, length), generator=torch.Generator().manual_seed(0))
    return text.to(options.device)


@torch.no_grad()
def read_up_to(position: int, model: Any, options: argparse.Namespace) -> Dict[str, Any]:
    """The state of a model that has read so many tokens."""
    state: Dict[str, Any] = {}
    for block in random_text(position, options).split(options.block, dim=1):
        model.decoder.forward_block(block, state)
    return state


def make_writer(
    position: int, model: Any, options: argparse.Namespace, clock
) -> Tuple[measuring.Contender, Dict[str, Any]]:
    """Writes the best next token each time, from a position on; and the state it does so from."""
    state, token = read_up_to(position, model, options), random_text(1, options)

    @torch.no_grad()
    def write():
        nonlocal token
        out = model.decoder.forward_block(token, state)
        token = model.get_normalized_probs(out, log_probs=True)[:, -1].argmax(-1, keepdim=True)

    return measuring.timed(clock, write), state


def measure(models: Dict[str, Any], options: argparse.Namespace) -> List[Dict[str, Any]]:
    """A row for each model and position."""
    clock = measuring.make_clock(options.clock, options.device)
    positions = sorted(set(options.positions))
    writers, kept = {}, {}
    for kind, model in models.items():
        for position in positions:
            writer, state = make_writer(position, model, options, clock)
            writers[kind, position], kept[kind, position] = writer, size(state) / 1024
    seconds = {
        key: measuring.totals(times) for key, times in measuring.alternate(writers, options.rounds, warm_up=3).items()
    }
    return [
        {
            "attention": kind,
            "position": position,
            "ms": 1000 * statistics.median(times),
            "spread": measuring.spread(times),
            "vs_softmax": measuring.median_ratio(seconds["softmax", position], times),
            "vs_first": measuring.median_ratio(times, seconds[kind, positions[0]]),
            "state_kib": kept[kind, position],
        }
        for (kind, position), times in seconds.items()
    ]


def size(state: Any) -> int:
    """Bytes of all tensors in a state."""
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    if dataclasses.is_dataclass(state):
        state = vars(state)
    if isinstance(state, dict):
        state = list(state.values())
    return sum(size(part) for part in state) if isinstance(state, (list, tuple)) else 0
