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
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import torch

from leap_fairseq.attention.compiled_library import families
from leap_fairseq.report.style import FORMS
from leap_fairseq.waits import end_with_parent

Clock = Callable[[], float]
Contender = Callable[[], Sequence[float]]
"""Does its work once and returns the seconds of its parts."""

MATMUL = "matmul"
"""The name of `matrix_product` in every comparison."""

TURN = 0.2
"""Seconds of a turn of it."""

CLOCKS = ("wall", "cpu")
CLOCK_HELP = "wall: time that passes; cpu: time of this process on all its cores"


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that every sub-command has."""
    parser.add_argument("--threads", type=int, metavar="N", help="of torch (default: its own choice)")
    parser.add_argument("--tsv", metavar="OUT", help="write the table here, numbers unrounded")
    parser.add_argument("--png", type=picture, metavar="OUT", help="write the picture here")


def picture(name: str) -> str:
    """A name of the command line whose ending is that of a picture."""
    if Path(name).suffix.lower() not in FORMS:
        raise argparse.ArgumentTypeError(f"{name!r} must end in one of {', '.join(FORMS)}")
    return name


def add_measuring_options(parser: argparse.ArgumentParser, rounds: int) -> None:
    """Adds the options of comparisons in turn, of so many rounds by default, and those of `add_output_options`."""
    parser.add_argument("--rounds", type=int, default=rounds, help="measured turns of each")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of what is measured")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help=CLOCK_HELP)
    add_output_options(parser)


def check_positive(options: argparse.Namespace, *names: str) -> None:
    """Refuses numbers, or lists of numbers, below 1.

    Raises:
        ValueError: the first of them, with its option.
    """
    for name in names:
        values = getattr(options, name)
        for value in values if isinstance(values, list) else [values]:
            if value < 1:
                raise ValueError(f"--{name.replace('_', '-')} {value} must be at least 1")


def check_measuring_options(options: argparse.Namespace) -> None:
    """Refuses what cannot be measured, and sets the threads.

    Raises:
        ValueError: no round, a GPU that is not there, CPU time of a GPU, or no thread.
    """
    check_positive(options, "rounds")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("torch finds no CUDA device: measure on the CPU")
    if options.device == "cuda" and options.clock == "cpu":
        raise ValueError("--clock cpu does not see what a GPU does: leave the option out")
    set_threads(options)


def set_threads(options: argparse.Namespace) -> None:
    """Gives torch the threads that were asked for; ValueError for less than one."""
    if options.threads is not None:
        check_positive(options, "threads")
        torch.set_num_threads(options.threads)


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


def timed(clock: Clock, *steps: Callable[[], Any]) -> Contender:
    """A contender whose parts are these steps."""

    def turn() -> List[float]:
        times = [clock()]
        for step in steps:
            step()
            times.append(clock())
        return [end - start for start, end in zip(times, times[1:])]

    return turn


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
    """A product of two square matrices, of 2 size^3 operations, the rate of which is the machine's.

    A turn repeats it for as long as `TURN`: on a busy machine what is short escapes the interruptions of what is long.
    """
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator).to(device, dtype) for _ in range(2))
    torch.matmul(a, b)
    (seconds,) = timed(clock, lambda: torch.matmul(a, b))()
    count = max(1, round(TURN / max(seconds, 1e-6)))

    def multiply() -> Sequence[float]:
        start = clock()
        for _ in range(count):
            torch.matmul(a, b)
        return ((clock() - start) / count,)

    return multiply


def rates(name: str, seconds: Mapping[str, Sequence[float]], operations: Mapping[str, int]) -> Dict[str, float]:
    """Necessary operations a second, in 10^9, and as a share of the rate of `matrix_product`.

    Args:
        name: of a contender.
        seconds: of each round, for this one and `MATMUL`.
        operations: of a turn of each.
    """
    share = median_ratio(seconds[MATMUL], seconds[name]) * operations[name] / operations[MATMUL]
    return {"gflops": operations[name] / statistics.median(seconds[name]) / 1e9, "of_matmul": share}


def apart(function: Callable, *args: Any) -> Any:
    """Calls a function of a module in a new process, which has imports in its memory and nothing computed.

    Raises:
        ValueError: it failed, or was killed for its memory.
    """
    try:
        context = multiprocessing.get_context("forkserver")
        # Imported once, before the first of them. No more: memory that an import has freed hides what is taken later.
        context.set_forkserver_preload(["leap_fairseq.models"])
        with ProcessPoolExecutor(1, context, initializer=_begin, initargs=(torch.get_num_threads(),)) as process:
            return process.submit(function, *args).result()
    except RuntimeError as error:
        raise ValueError(f"a measurement of memory failed, try smaller sizes: {str(error).splitlines()[0]}") from error


def _begin(threads: int) -> None:
    torch.set_num_threads(threads)
    # Else it waits for ever for another call of one that was ended, and with it the server of its imports.
    end_with_parent()


def resident_mib(field: str) -> float:
    """Memory of this process: VmRSS now, or VmHWM at its peak.

    On Linux ``ru_maxrss`` of a new process begins at the peak of the one that started it; these do not.
    """
    with open("/proc/self/status", encoding="ascii") as status:
        (kib,) = (line.split()[1] for line in status if line.startswith(f"{field}:"))
    return int(kib) / 1024


def used_mib(device: str, peak: bool) -> float:
    """Memory now, or at its peak: resident, or torch's on a GPU."""
    if device == "cpu":
        return resident_mib("VmHWM" if peak else "VmRSS")
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()) / 2**20


def peak_mib(work: Callable[[], Any], device: str) -> float:
    """What work takes at its peak beyond what is there before it."""
    before = used_mib(device, peak=False)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        # Linux: the peak begins anew. Else it is that of the imports, which is hardly more than what is left of them.
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    work()
    return used_mib(device, peak=True) - before


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
