"""Where the time of one update goes: the operators of torch.profiler, by the time in themselves."""

import argparse
import time
from typing import Callable

import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity

from benchmarks import training
from benchmarks.reporting import table
from benchmarks.streaming import make_model

TOP = 15
BATCH, TARGETS, FRAMES = 2, 40, 360
"""Of wait-k: utterances, tokens and encoder frames of each; a frame is four features."""

LM_SIZES = {
    "tiny": {"layers": 4, "embed_dim": 128, "heads": 4, "ffn_embed_dim": 512},
    "base": {"layers": 6, "embed_dim": 512, "heads": 8, "ffn_embed_dim": 2048},
}
PROFILED = {**dict.fromkeys(LM_SIZES, "language model"), "waitk": "translator"}
"""Names of models that are profiled: language models of two sizes, and the wait-k translator."""


def profile(name: str, device: str) -> str:
    """A table of an update of a model of `PROFILED`: calls, milliseconds in the operator itself, and share of all."""
    update = _waitk_update(device) if name == "waitk" else _lm_update(name, device)
    update()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    start = time.perf_counter()
    with torch.profiler.profile(activities=activities) as profiler:
        update()
        if device == "cuda":
            torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    column = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    events = sorted(profiler.key_averages(), key=lambda event: -getattr(event, column))
    total = sum(getattr(event, column) for event in events)
    rows = []
    for event in events[:TOP]:
        spent = getattr(event, column)
        row = {
            "operator": event.key[:60],
            "calls": event.count,
            "self_ms": spent / 1000,
            "share": spent / max(total, 1),
        }
        rows.append(row)
    return f"{name}, {PROFILED[name]}: an update of {seconds:.2f} s, profiled\n{table(rows)}"


def _lm_update(name: str, device: str) -> Callable[[], None]:
    sizes = argparse.Namespace(**LM_SIZES[name], dictionary=8000, device=device)
    trained = training.build("leap", 512, sizes)
    batch = training.random_batch(4, 512, sizes)
    return lambda: trained.update(batch)


def _waitk_update(device: str) -> Callable[[], None]:
    options = argparse.Namespace(
        arch="leap_convtransformer_simul_trans",
        **{"waitk_lagging": 5, "ratio": 9, "seconds": 60, "minutes": 10, "vocab_size": 8000, "device": device},
    )
    model = make_model(options, "full")[0].to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    speech = torch.randn(BATCH, 4 * FRAMES, 80, device=device)
    lengths = torch.full((BATCH,), 4 * FRAMES, device=device)
    text = torch.randint(4, options.vocab_size, (BATCH, TARGETS + 1), device=device)

    def update() -> None:
        optimizer.zero_grad()
        logits = model(speech, lengths, text[:, :-1].contiguous())[0]
        F.cross_entropy(logits.flatten(0, 1).float(), text[:, 1:].flatten()).backward()
        optimizer.step()

    return update
