"""Preparation of ever larger corpora: time, memory and disk, and what 400 hours would take at that rate.

The corpora are simulated by repetition: a talk of ten minutes, which is one sentence again and again, has as many names
as are needed, by links; each sentence has a text of its own. Features are computed for every one of them.

    python scripts/benchmark.py prepare --hours 1 4 16 -j 2
    python scripts/benchmark.py prepare --sentences 62500 250000 -j 2

With --sentences, each is a tenth of a second, so that what is measured is the handling of lists as long as those of 400
hours (MuST-C has about 230,000 sentences), not that of the sound. Columns: peak_mib is the memory of the command at its
peak, worker_mib that of the largest of its workers; disk_mib is what was written.

    python scripts/benchmark.py prepare --hours 1 --kill-after 30

kills each preparation once (SIGKILL) and runs it again; times are of both runs together, and two more columns say how
many clips stood on the disk, and how many seconds before the kill they had been written.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
import soundfile

from benchmarks.measuring import check_positive, machine
from benchmarks.reporting import rounded, table, write_rows
from leap_fairseq.example import RECORDING
from leap_fairseq.prepare.clip_features import PARTS
from leap_fairseq.prepare.feature_parts import JOURNAL
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


def measure(root: Path, out: Path, options: argparse.Namespace) -> Dict[str, float]:
    """Prepares a corpus in a process of its own; returns the columns of times and memory.

    Raises:
        ValueError: it failed, or ended before it could be killed; with its last lines. Or it was killed too early.
    """
    words = ["prepare", "mustc", root, "--out", out, "-j", options.processes, "--vocab-size", 100]
    command = [sys.executable, "-P", "-m", "leap_fairseq", *map(str, words), *shlex.split(options.options)]
    measured = {"wall_s": 0.0, "cpu_s": 0.0, "peak_mib": 0.0, "worker_mib": 0.0}
    if options.kill_after:
        _run_measured(command, out, measured, options.kill_after)
        journal = next(out.glob(f".*/{PARTS}/*/{JOURNAL}"), None)
        if journal is None:
            raise ValueError(f"--kill-after {options.kill_after:g}: no features were being made then: give another")
        measured["kept_clips"] = len(journal.read_bytes().splitlines())
        measured["kept_s_before"] = time.time() - journal.stat().st_mtime
    _run_measured(command, out, measured)
    return measured


def _run_measured(
    command: List[str], out: Path, measured: Dict[str, float], kill_after: Optional[float] = None
) -> None:
    began, log, cpu = time.perf_counter(), out.with_suffix(".log"), 0.0
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        try:
            while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
                workers = _children(process.pid)
                measured["peak_mib"] = max(measured["peak_mib"], _peak_mib(process.pid))
                measured["worker_mib"] = max([measured["worker_mib"], *map(_peak_mib, workers)])
                if kill_after is not None and time.perf_counter() - began > kill_after:
                    # Nobody will wait for the workers of a killed process, so that their times are not in its own.
                    cpu = sum(map(_cpu_seconds, workers))
                    process.kill()
                    ended = os.wait4(process.pid, 0)
                    break
                time.sleep(POLL_SECONDS)
        except BaseException:
            # It would go on in a folder that is removed.
            process.kill()
            process.wait()
            raise
    _, status, usage = ended
    if os.waitstatus_to_exitcode(status) != (0 if kill_after is None else -signal.SIGKILL):
        raise ValueError(f"{shlex.join(command)} ended otherwise: {log.read_text(encoding='utf-8')[-500:]}")
    measured["wall_s"] += time.perf_counter() - began
    measured["cpu_s"] += usage.ru_utime + usage.ru_stime + cpu


def _children(pid: int) -> List[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def _peak_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def row_of(sentences: int, seconds: float, folder: Path, options: argparse.Namespace) -> Dict[str, Any]:
    """Makes a corpus, prepares it, and removes both."""
    out = folder / "data"
    measured = measure(write_corpus(folder / "corpus", sentences, seconds), out, options)
    written = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {"hours": sentences * seconds / 3600, "sentences": sentences, **measured, "disk_mib": written / 2**20}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--hours", type=float, nargs="+", default=[1.0, 4.0], help="of training speech (default: 1 4)")
    text = f"training sentences of {SHORT_SECONDS} s each, in place of --hours"
    group.add_argument("--sentences", type=int, nargs="+", metavar="N", help=text)
    parser.add_argument("-j", "--processes", type=int, default=2, metavar="N", help="workers (default: 2)")
    text = "kill each preparation after so many seconds, and run it again"
    parser.add_argument("--kill-after", type=float, metavar="S", help=text)
    parser.add_argument("--options", default="", help="more options of leap-fairseq prepare mustc, in one argument")
    parser.add_argument("--tsv", metavar="OUT", help="write the table here, numbers unrounded")


def run(options: argparse.Namespace) -> None:
    """Measures size after size, and prints the table.

    Raises:
        ValueError: a size or a number below the least, or as for `measure`.
    """
    chosen = [name for name in ("sentences", "kill_after") if getattr(options, name) is not None]
    check_positive(options, "processes", *chosen)
    if wrong := [hours for hours in options.hours if not hours > 0]:
        raise ValueError(f"--hours {wrong[0]:g} must be above 0")
    whole = len(load_audio(str(RECORDING))) / SAMPLE_RATE
    sizes = [(count, SHORT_SECONDS) for count in options.sentences or ()]
    sizes = sizes or [(max(1, round(hours * 3600 / whole)), whole) for hours in options.hours]
    rows = []
    for sentences, seconds in sizes:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row_of(sentences, seconds, Path(folder), options))
    print(table(rows))
    if len(rows) > 1 and not options.sentences and rows[-1]["hours"] != rows[-2]["hours"]:
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
