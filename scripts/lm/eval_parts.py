#!/usr/bin/env python
"""Perplexity of a language model by several processes, each of which scores a part of the text; the parts are joined.

    python scripts/lm/eval_parts.py DATA CHECKPOINT OPTION OF fairseq-eval-lm ...

A part of `eval.sh`, which tells what the environment says: PROCESSES, NODES, NODE, PARTS and GPUS. A part that is
complete is not scored again; those of several machines are joined by the last one.
"""

import argparse
import json
import logging
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from training_runs import call, run_all  # noqa: E402

from leap_fairseq.cli import command  # noqa: E402
from leap_fairseq.files import DataError, Stages, digest, file_digest, whole_file  # noqa: E402
from leap_fairseq.parts import Part  # noqa: E402

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the data, the model and what is handed on."""
    parser.add_argument("data", metavar="DATA", type=Path, help="folder of fairseq-preprocess")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="of a language model")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="OPTION", help="of fairseq-eval-lm")


def number(name: str, least: int, default: int) -> int:
    """A number from the environment.

    Raises:
        DataError: it is none, or less than the least.
    """
    text = os.environ.get(name) or str(default)
    if not text.isdecimal() or int(text) < least:
        raise DataError(f"{name} is {text}, but must be a whole number from {least} on")
    return int(text)


def run(options: argparse.Namespace) -> None:
    """Scores the parts of this machine, and joins all if they are there.

    Raises:
        OSError, ValueError, RuntimeError: a wrong environment, or a part that fails.
    """
    processes, nodes, node = number("PROCESSES", 1, 1), number("NODES", 1, 1), number("NODE", 0, 0)
    given, shards = os.environ.get("PARTS"), processes * nodes
    if node >= nodes:
        raise DataError(f"NODE is {node}, but NODES is {nodes}: count from 0 to {nodes - 1}")
    if nodes > 1 and not given:
        raise DataError("several machines need a folder for their parts that all of them see: give PARTS")
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    known.add_argument("--gen-subset", default="test")
    subset = known.parse_known_args(options.options)[0].gen_subset
    of = {"checkpoint": file_digest(options.checkpoint), "text": file_digest(options.data / f"{subset}.bin")}
    words = [str(options.data), "--path", str(options.checkpoint), *options.options]
    # Folders may have other names on other machines.
    what = digest({**of, "options": options.options})
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given or temporary)
        first = node * processes
        jobs = [(folder, part, words, what) for part in Part(0, shards).all()[first : first + processes]]
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
        run_all(score, jobs, processes)
        join(folder, shards, what)


def score(folder: Path, part: Part, words: List[str], what: str) -> None:
    """Scores a part of an evaluation, unless it is there."""
    place = folder / part.folder
    gpus = number("GPUS", 0, 0)
    on_card = ["env", f"CUDA_VISIBLE_DEVICES={card(part.number, gpus)}"] if gpus else []

    def make() -> None:
        script = Path(__file__).with_name("score_part.py")
        call([*on_card, sys.executable, script, place / "score.json", *part, *words], place / "log")

    Stages(place, "part").run("score", {"what": what}, ["score.json"], make)
    with whole_file(place / "of.json", text=True) as file:
        json.dump(what, file)


def card(part: int, gpus: int) -> str:
    """The GPU of a part, one of those that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(number) for number in range(gpus)]
    return names[part % gpus].strip()


def join(folder: Path, shards: int, what: str) -> None:
    """Prints the perplexity of the whole text in fairseq's words, or which parts are missing."""
    parts: Dict[int, Dict[str, Any]] = {}
    for shard, part in enumerate(Part(0, shards).all()):
        place = folder / part.folder
        if (place / "of.json").is_file() and json.loads((place / "of.json").read_text(encoding="utf-8")) == what:
            parts[shard] = json.loads((place / "score.json").read_text(encoding="utf-8"))
    if len(parts) < shards:
        missing = ", ".join(str(shard) for shard in range(shards) if shard not in parts)
        sys.stdout.write(f"{len(parts)} of {shards} parts are in {folder}; other machines have to score {missing}\n")
        return
    tokens, nats = sum(part["tokens"] for part in parts.values()), math.fsum(part["nats"] for part in parts.values())
    if not tokens:
        raise DataError("no part has a token to be scored: give another --gen-subset")
    bits = nats / tokens / math.log(2)
    joined = {"tokens": tokens, "bits": bits, "perplexity": 2**bits, "parts": shards}
    words = sum(part.get("words", 0) for part in parts.values())
    if words:
        joined.update(words=words, word_bits=bits * tokens / words, word_perplexity=2 ** (bits * tokens / words))
    with whole_file(folder / "joined.json", text=True) as file:
        json.dump(joined, file)
    sys.stdout.write(f"Evaluated {tokens:,} tokens in {shards} parts\n")
    if words:
        sys.stdout.write(f"Per token: loss (base 2) {bits:.4f}, perplexity {2**bits:.2f}, {tokens:,} tokens\n")
        sys.stdout.write(f"Per word, which follows: {words:,} words and ends of lines\n")
        bits = joined["word_bits"]
    sys.stdout.write(f"Loss (base 2): {bits:.4f}, Perplexity: {2**bits:.2f}\n")


if __name__ == "__main__":
    sys.exit(command.main(sys.modules[__name__]))
