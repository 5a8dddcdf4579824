#!/usr/bin/env python
"""What a stream costs: the encoder that encodes each frame once against the one that encodes the prefix anew.

    python scripts/simulst/streaming_cost.py --arch leap_convtransformer_simul_trans_espnet --tsv cost.tsv

Both translators have the same sizes and random weights, write one token per pre-decision and never end. Compared are
(a) the total time on one recording, the two alternating pre-decision by pre-decision in one process, and the encoder
frames computed; (b) for the former alone, the time per segment in the last quarter of a long stream, alternating with
the first quarter of another, and the resident memory. Ratios are what counts: the machine may be busy.
"""

import argparse
import os
import statistics
import sys
import time
from typing import Dict, List

import numpy as np
import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

import leap_fairseq  # noqa: F401  (registers the models)
from leap_fairseq.simul import StreamingTranslator
from leap_fairseq.simul.scoring import write_tsv
from leap_fairseq.simul.streaming_translator import FRAME_MS
from leap_fairseq.speech import SAMPLE_RATE

ARCH = "leap_convtransformer_simul_trans"


class NoText:
    """A detokenizer that writes nothing: text is not what is measured."""

    def push(self, piece: str) -> List[str]:
        return []

    def flush(self) -> List[str]:
        return []


def make_translator(options: argparse.Namespace, visibility: str) -> StreamingTranslator:
    """A translator with random weights."""
    args = argparse.Namespace(
        encoder_visibility=visibility,
        waitk_lagging=str(options.waitk_lagging),
        fixed_pre_decision_ratio=options.ratio,
        max_source_positions=6000,
        max_target_positions=1 + options.minutes * 60_000 // (options.ratio * FRAME_MS),
        input_feat_per_channel=80,
    )
    ARCH_CONFIG_REGISTRY[options.arch](args)
    dictionary = Dictionary()
    for number in range(options.vocab_size - len(dictionary)):
        dictionary.add_symbol(f"word{number}")
    torch.manual_seed(1)
    task = argparse.Namespace(target_dictionary=dictionary, source_dictionary=None)
    model = ARCH_MODEL_REGISTRY[options.arch].build_model(args, task).eval()
    with torch.no_grad():
        model.decoder.output_projection.weight[dictionary.eos()] = 0  # never the best of many
    return StreamingTranslator(model, dictionary, NoText(), max_len_b=10**9)


def noise(segments: int, samples: int) -> List[np.ndarray]:
    generator = np.random.default_rng(1)
    return [(generator.standard_normal(samples) * 0.1).astype(np.float32) for _ in range(segments)]


def timed(translator: StreamingTranslator, samples: np.ndarray) -> float:
    start = time.perf_counter()
    translator.push(samples)
    return time.perf_counter() - start


def resident_mib() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def compare(options: argparse.Namespace) -> List[Dict[str, object]]:
    """Both translators on the same speech, segment by segment in turn."""
    size = options.ratio * FRAME_MS * SAMPLE_RATE // 1000
    speech = noise(options.seconds * SAMPLE_RATE // size, size)
    translators = {name: make_translator(options, name) for name in ("full", "segment")}
    for translator in translators.values():
        for samples in speech[:5]:
            translator.push(samples)
        translator.reset()
    seconds = dict.fromkeys(translators, 0.0)
    for samples in speech:
        for name, translator in translators.items():
            seconds[name] += timed(translator, samples)
    heard = len(speech) * options.ratio
    return [
        {
            "encoder": name,
            "speech_s": len(speech) * size / SAMPLE_RATE,
            "compute_s": round(seconds[name], 3),
            "share_of_time": round(seconds[name] * SAMPLE_RATE / (len(speech) * size), 4),
            "times_segment": round(seconds[name] / seconds["segment"], 2),
            "encoded_per_frame": round(translator.encoder_frames / heard, 2),
            "decoder_steps": translator.decoder_steps,
        }
        for name, translator in translators.items()
    ]


def endure(options: argparse.Namespace) -> Dict[str, object]:
    """The translator that encodes once, on a long stream: its last quarter in turn with the first one of another."""
    size = options.ratio * FRAME_MS * SAMPLE_RATE // 1000
    count = options.minutes * 60 * SAMPLE_RATE // size
    quarter, speech = count // 4, noise(50, size)
    old, young = make_translator(options, "segment"), make_translator(options, "segment")
    for number in range(count - quarter):
        old.push(speech[number % len(speech)])
        if number == quarter:
            early = resident_mib()
    late, times = resident_mib(), {"first": [], "last": []}
    for number in range(quarter):
        samples = speech[number % len(speech)]
        times["last"].append(timed(old, samples))
        times["first"].append(timed(young, samples))
    first, last = (statistics.median(times[name][5:]) for name in ("first", "last"))
    return {
        "minutes": options.minutes,
        "segments": count,
        "first_quarter_ms": round(1000 * first, 2),
        "last_quarter_ms": round(1000 * last, 2),
        "last_over_first": round(last / first, 3),
        "resident_mib_after_one_quarter": round(early, 1),
        "resident_mib_after_three": round(late, 1),
        "decoder_steps": old.decoder_steps,
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default=f"{ARCH}_espnet", choices=[ARCH, f"{ARCH}_espnet", f"{ARCH}_tiny"])
    parser.add_argument("--ratio", type=int, default=9, help="encoder frames of a pre-decision (default: 9)")
    parser.add_argument("--waitk-lagging", type=int, default=3, metavar="K", help="k (default: 3)")
    parser.add_argument("--seconds", type=int, default=60, help="of the comparison (default: 60)")
    parser.add_argument("--minutes", type=int, default=10, help="of the long stream (default: 10)")
    parser.add_argument("--vocab-size", type=int, default=8000, help="default: 8000")
    parser.add_argument("--tsv", metavar="OUT", help="write the comparison here")
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    rows = compare(options)
    for row in [*rows, endure(options)]:
        sys.stdout.write("  ".join(f"{name} {value}" for name, value in row.items()) + "\n")
        sys.stdout.flush()
    sys.stdout.write(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.arch}\n")
    if options.tsv:
        write_tsv(rows, options.tsv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
