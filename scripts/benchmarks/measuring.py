"""How everything is measured: contenders in turn, medians of rounds, ratios within a round, memory in a process apart.

A busy machine slows all contenders of a round alike, so the ratio of two is taken round by round, and the median of
these ratios is reported, which need not be the ratio of the medians. The rate of the machine (a product of large
matrices) is a contender of every comparison: the share of it that is reached is a ratio too.
"""

import argparse
import contextlib
import multiprocessing
import os
import platform
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import torch

# isort: split
# Before fairseq, which else lets every library log its details.
from leap_fairseq.attention.compiled_library import families

# isort: split
from memory import resident_mib

Clock = Callable[[], float]
Contender = Callable[[], Sequence[float]]
"""Does its work once and returns the seconds of its parts."""

TURN = 0.2
"""Seconds of a turn of `matrix_product`."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def add_measuring_options(parser: argparse.ArgumentParser, rounds: int) -> None:
    """Adds the options that all comparisons share.

    Args:
        parser: of a sub-command.
        rounds: the default.
    """
    parser.add_argument("--rounds", type=int, default=rounds, help=f"measured turns of each (default: {rounds})")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: cpu")
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="wall: time that passes; cpu: time of this process on all its cores (default: wall)",
    )


def check_measuring_options(options: argparse.Namespace) -> None:
    """Refuses what cannot be measured.

    Raises:
        ValueError: no round, a GPU that is not there, or CPU time of a GPU.
    """
    if options.rounds < 1:
        raise ValueError(f"--rounds {options.rounds} must be at least 1")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no CUDA device; leave the option out")
    if options.device == "cuda" and options.clock == "cpu":
        raise ValueError("--clock cpu does not see what a GPU does: leave the option out")


def make_clock(kind: str, device: str) -> Clock:
    """A function that gives seconds: "wall" or "cpu"; on a GPU, when its work is done."""
    if device == "cuda":

        def clock() -> float:
            torch.cuda.synchronize()
            return time.perf_counter()

        return clock
    return time.process_time if kind == "cpu" else time.perf_counter


def alternate(contenders: Mapping[str, Contender], rounds: int, warm_up: int = 1) -> Dict[str, List[Tuple[float, ...]]]:
    """Lets contenders do their work in turn, in one process; every other round backwards.

    Args:
        contenders: by name.
        rounds: measured turns of each.
        warm_up: turns of each that are not counted.

    Returns:
        For each contender the seconds of its parts, one tuple a round.
    """
    names = list(contenders)
    times: Dict[str, List[Tuple[float, ...]]] = {name: [] for name in names}
    for number in range(-warm_up, rounds):
        for name in names if number % 2 == 0 else reversed(names):
            parts = tuple(contenders[name]())
            if number >= 0:
                times[name].append(parts)
    return times


def totals(times: Sequence[Sequence[float]]) -> List[float]:
    """Seconds of each round, all parts together."""
    return [sum(parts) for parts in times]


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """The median of the ratios of each round."""
    return statistics.median(a / b for a, b in zip(numerators, denominators))


def spread(values: Sequence[float]) -> float:
    """The distance of the quartiles over the median; 0 for a single value."""
    if len(values) < 2:
        return 0.0
    first, middle, third = statistics.quantiles(values, n=4, method="inclusive")
    return (third - first) / middle


def matrix_product(size: int, dtype: torch.dtype, device: str, clock: Clock) -> Contender:
    """A product of two square matrices, the rate of which is the machine's; see `matrix_operations`.

    A turn repeats it for as long as `TURN`: on a busy machine what is short escapes the interruptions of what is long.
    """
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator).to(device, dtype) for _ in range(2))
    torch.matmul(a, b)
    start = clock()
    torch.matmul(a, b)
    count = max(1, round(TURN / max(clock() - start, 1e-6)))

    def multiply() -> Sequence[float]:
        start = clock()
        for _ in range(count):
            torch.matmul(a, b)
        return ((clock() - start) / count,)

    return multiply


def matrix_operations(size: int) -> int:
    """Multiplications and additions of `matrix_product`."""
    return 2 * size**3


def apart(function: Callable, *args: Any, threads: int) -> Any:
    """Calls a function of a module in a new process, which has imports in its memory and nothing computed.

    Raises:
        ValueError: it failed, or was killed for its memory.
    """
    try:
        context = multiprocessing.get_context("forkserver")
        # Imported once, before the first of them.
        context.set_forkserver_preload(["leap_fairseq.models"])
        with ProcessPoolExecutor(1, context, initializer=torch.set_num_threads, initargs=(threads,)) as process:
            return process.submit(function, *args).result()
    except RuntimeError as error:
        raise ValueError(f"a measurement of memory failed, try smaller sizes: {str(error).splitlines()[0]}") from error


def peak_mib(work: Callable[[], Any], device: str) -> float:
    """What work takes at its peak beyond what is there before it: resident memory, or torch's on a GPU."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    # Linux: the peak begins anew. Else it is that of the imports, which is hardly more than what is left of them.
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    before = resident_mib("VmRSS")
    work()
    return resident_mib("VmHWM") - before


def machine(options: argparse.Namespace) -> str:
    """Hardware, versions and threads in one line."""
    found = families()
    parts = [
        torch.cuda.get_device_name() if getattr(options, "device", "cpu") == "cuda" else _processor(),
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}",
        f"Python {platform.python_version()}, torch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()})",
        f"compiled code for {found[0]}" if found else "no compiled code",
    ]
    if getattr(options, "clock", "wall") == "cpu":
        parts.append("CPU time")
    return "; ".join(parts)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
