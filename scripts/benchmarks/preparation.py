"""Preparation of ever larger corpora: time, memory and disk, and what 400 hours would take at that rate.

The corpora are simulated by repetition: a talk of ten minutes, which is one sentence again and again, has as many names
as are needed, by links; each sentence has a text of its own. Features are computed for every one of them.

    python scripts/benchmark.py prepare --hours 1 4 16 -j 2
    python scripts/benchmark.py prepare --sentences 62500 250000 -j 2

With --sentences, each is a tenth of a second, so that what is measured is the handling of lists as long as those of 400
hours (MuST-C has about 230,000 sentences), not that of the sound. Columns: peak_mib is the memory of the command at its
peak, worker_mib that of the largest of its workers; disk_mib is what was written.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import soundfile

from benchmarks.measuring import check_positive, machine
from benchmarks.reporting import rounded, table, write_rows
from leap_fairseq.example import RECORDING
from leap_fairseq.speech import SAMPLE_RATE, load_audio

TALK_SECONDS = 600
GOAL_HOURS = 400
SHORT_SECONDS = 0.1
POLL_SECONDS = 0.2


def write_corpus(root: Path, sentences: int, seconds: float) -> Path:
    """Writes a corpus in MuST-C's layout with so many training sentences of so many seconds; returns its root."""
    sound = load_audio(str(RECORDING))[: round(seconds * SAMPLE_RATE)]
    of_talk = max(1, int(TALK_SECONDS / seconds))
    talk = root / "talk.wav"
    root.mkdir(parents=True)
    soundfile.write(talk, np.tile(sound, of_talk), SAMPLE_RATE, subtype="PCM_16")
    for split, count in (("train", sentences), ("dev", min(sentences, of_talk))):
        folder = root / "en-de" / "data" / split
        for name in ("wav", "txt"):
            (folder / name).mkdir(parents=True)
        for number in range(-(-count // of_talk)):
            os.link(talk, folder / "wav" / f"talk_{number}.wav")
        lines = {name: open(folder / "txt" / f"{split}.{name}", "w", encoding="utf-8") for name in ("yaml", "en", "de")}
        for number in range(count):
            wav, place = divmod(number, of_talk)
            times = f"duration: {seconds:.6f}, offset: {place * seconds:.6f}"
            lines["yaml"].write(f"- {{{times}, rW: 9, uW: 0, speaker_id: spk.{wav}, wav: talk_{wav}.wav}}\n")
            lines["en"].write(f"Please reserve room {number} for the two of us until next Monday.\n")
            lines["de"].write(f"Bitte reservieren Sie uns beiden das Zimmer {number} bis zum nächsten Montag.\n")
        for file in lines.values():
            file.close()
    return root


def measure(root: Path, out: Path, options: argparse.Namespace) -> Tuple[float, float, float, float]:
    """Prepares a corpus in a process of its own; returns wall and CPU seconds, and the peak MiB of it and of a worker.

    Raises:
        ValueError: it failed; with its last lines.
    """
    words = ["prepare", "mustc", root, "--out", out, "-j", options.processes, "--vocab-size", 100]
    command = [sys.executable, "-P", "-m", "leap_fairseq", *map(str, words), *shlex.split(options.options)]
    largest, began, log = 0.0, time.perf_counter(), out.with_suffix(".log")
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        own = 0.0
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            own = max(own, _peak_mib(process.pid))
            largest = max([largest, *map(_peak_mib, _children(process.pid))])
            time.sleep(POLL_SECONDS)
    _, status, usage = ended
    if status:
        raise ValueError(f"{' '.join(command)} failed: {log.read_text(encoding='utf-8')[-500:]}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, own, largest


def _children(pid: int) -> List[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _peak_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def row_of(sentences: int, seconds: float, folder: Path, options: argparse.Namespace) -> Dict[str, Any]:
    """Makes a corpus, prepares it, and removes both."""
    out = folder / "data"
    wall, cpu, own, worker = measure(write_corpus(folder / "corpus", sentences, seconds), out, options)
    written = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {
        "hours": sentences * seconds / 3600,
        "sentences": sentences,
        "wall_s": wall,
        "cpu_s": cpu,
        "peak_mib": own,
        "worker_mib": worker,
        "disk_mib": written / 2**20,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--hours", type=float, nargs="+", default=[1.0, 4.0], help="of training speech (default: 1 4)")
    text = f"training sentences of {SHORT_SECONDS} s each, in place of --hours"
    group.add_argument("--sentences", type=int, nargs="+", metavar="N", help=text)
    parser.add_argument("-j", "--processes", type=int, default=2, metavar="N", help="workers (default: 2)")
    parser.add_argument("--options", default="", help="more options of leap-fairseq prepare mustc, in one argument")
    parser.add_argument("--tsv", metavar="OUT", help="write the table here, numbers unrounded")


def run(options: argparse.Namespace) -> None:
    """Measures size after size, and prints the table."""
    check_positive(options, "processes", *(["sentences"] if options.sentences else []))
    whole = len(load_audio(str(RECORDING))) / SAMPLE_RATE
    sizes = [(count, SHORT_SECONDS) for count in options.sentences or ()]
    sizes = sizes or [(max(1, round(hours * 3600 / whole)), whole) for hours in options.hours]
    rows = []
    for sentences, seconds in sizes:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row_of(sentences, seconds, Path(folder), options))
    print(table(rows))
    if len(rows) > 1 and not options.sentences:
        last, before = rows[-1], rows[-2]
        added = last["hours"] - before["hours"]
        goal = {
            name: last[name] + (GOAL_HOURS - last["hours"]) * (last[name] - before[name]) / added
            for name in ("wall_s", "cpu_s", "disk_mib")
        }
        print(
            f"{GOAL_HOURS} hours at the rate of the last two:", ", ".join(f"{n} {rounded(v)}" for n, v in goal.items())
        )
    print(machine(options))
    write_rows(rows, machine(options), options.tsv)
