"""What a stream costs: the encoder that encodes each frame once against the one that encodes the prefix anew.

Both translators have the same sizes and random weights, write one token per pre-decision and never end. Compared are
(a) the total time on one recording, the two alternating pre-decision by pre-decision in one process, and the encoder
frames computed; (b) for the former alone, the time per segment in the last quarter of a long stream, alternating with
the first quarter of another, and the resident memory; (c) several streams, begun at different times, advanced together
and one by one. Ratios are what counts: the machine may be busy.

The gate: frames that are encoded segment by segment equal those of the whole recording; streams advanced together write
the tokens that each writes alone.
"""

import argparse
import itertools
import statistics
import time
from typing import Any, Dict, List, Tuple

import numpy as np
import torch

# isort: split
# Before fairseq, which else lets every library log its details.
import leap_fairseq.models  # noqa: F401
from leap_fairseq.modules import ATTENTION_KINDS
from leap_fairseq.speech import SAMPLE_RATE
from leap_fairseq.streaming import StreamingTranslator, push_batch
from leap_fairseq.streaming.frames import FRAME_MS, SAMPLES_PER_FRAME

# isort: split
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

from benchmarks import measuring
from benchmarks.gate import GateError, largest_share
from benchmarks.reporting import Panel, plot, write_rows

LOG_LEVEL = "WARNING"
ARCH = "leap_convtransformer_simul_trans"
TURNS = 20
"""Pre-decisions of streams together and one by one."""

NO_TEXT = argparse.Namespace(push=lambda piece: [], flush=lambda: [])
"""A detokenizer that writes nothing: text is not what is measured."""

PANELS = (Panel("ms", "ms a pre-decision"),)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this sub-command."""
    architectures = [ARCH, f"{ARCH}_espnet", f"{ARCH}_tiny"]
    parser.add_argument("--arch", default=architectures[1], choices=architectures, help="with random weights")
    for block in ("encoder_self", "decoder_self", "decoder_cross"):
        name = f"--{block}_attention".replace("_", "-")
        parser.add_argument(name, default="leap", choices=ATTENTION_KINDS, help="kind of attention")
    parser.add_argument("--ratio", type=int, default=9, help="encoder frames of a pre-decision")
    parser.add_argument("--waitk-lagging", type=int, default=3, metavar="K", help="k")
    parser.add_argument("--seconds", type=int, default=60, help="of the comparison")
    parser.add_argument("--minutes", type=int, default=10, help="of the long stream; 0 for none")
    parser.add_argument("--sessions", type=int, default=8, help="streams at once; 0 for none")
    parser.add_argument("--vocab-size", type=int, default=8000, help="symbols of the dictionary")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of the models")
    measuring.add_output_options(parser)


def run(options: argparse.Namespace) -> None:
    """Measures, prints and writes the comparison.

    Raises:
        ValueError: options that do not fit, or a red gate.
    """
    check_lengths(options)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("torch finds no CUDA device: measure on the CPU")
    measuring.set_threads(options)
    print(pass_gate(options), flush=True)
    rows, points = compare(options)
    for row in rows:
        show(row)
    if options.minutes > 0:
        show(endure(options))
    if options.sessions > 0:
        show(advance_together(options))
    kinds = (options.encoder_self_attention, options.decoder_self_attention, options.decoder_cross_attention)
    what = f"{measuring.machine(options)}; {options.arch}; {', '.join(kinds)}"
    print(what)
    write_rows(rows, what, options.tsv)
    if options.png:
        plot(points, options.png, ("speech_s", "speech heard, s"), PANELS, "encoder", what, {}, logarithmic=False)


def check_lengths(options: argparse.Namespace) -> None:
    """Refuses speech in which too few pre-decisions fall; ValueError with the option."""
    measuring.check_positive(options, "ratio", "waitk_lagging", "seconds")
    # Of the last quarter of the long stream, the first five are not counted.
    for name, seconds, least in (("seconds", options.seconds, 1), ("minutes", 60 * options.minutes, 24)):
        count = 1000 * seconds // (options.ratio * FRAME_MS)
        if seconds > 0 and count < least:
            given = f"--{name} {getattr(options, name)} holds {count} pre-decisions of --ratio {options.ratio}"
            raise ValueError(f"{given}, but needs {least}")


def show(row: Dict[str, Any]) -> None:
    """Prints a row, values beside their names."""
    print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)


def make_model(options: argparse.Namespace, visibility: str) -> Tuple[Any, Dictionary]:
    """A model with random weights, and its dictionary."""
    # Where a translator has no position for a token, it ends.
    longest = max(60, 60 * options.minutes, options.seconds)
    args = argparse.Namespace(
        encoder_visibility=visibility,
        waitk_lagging=str(options.waitk_lagging),
        fixed_pre_decision_ratio=options.ratio,
        max_source_positions=6000,
        max_target_positions=1 + 1000 * longest // (options.ratio * FRAME_MS),
        input_feat_per_channel=80,
        **{name: kind for name, kind in vars(options).items() if name.endswith("_attention")},
    )
    ARCH_CONFIG_REGISTRY[options.arch](args)
    dictionary = Dictionary()
    for number in range(options.vocab_size - len(dictionary)):
        dictionary.add_symbol(f"word{number}")
    torch.manual_seed(1)
    task = argparse.Namespace(target_dictionary=dictionary, source_dictionary=None)
    return ARCH_MODEL_REGISTRY[options.arch].build_model(args, task).eval().to(options.device), dictionary


def make_translator(options: argparse.Namespace, visibility: str) -> StreamingTranslator:
    """A translator that never ends."""
    model, dictionary = make_model(options, visibility)
    with torch.no_grad():
        model.decoder.output_projection.weight[dictionary.eos()] = 0  # never the best of many
    return StreamingTranslator(model, dictionary, NO_TEXT, max_len_b=10**9)


@torch.no_grad()
def pass_gate(options: argparse.Namespace) -> str:
    """Compares frames by segments with frames at once.

    Raises:
        GateError: they differ.
    """
    model, _ = make_model(options, "segment")
    each = 4 * options.ratio
    features = torch.randn(1, 3 * each + 5, 80, generator=torch.Generator().manual_seed(0)).to(options.device)
    at_once = model.encoder(features, torch.tensor([features.shape[1]]).to(options.device))["encoder_out"][0]
    state, frames, pieces = None, [], features.split(each, dim=1)
    for number, piece in enumerate(pieces):
        new, state = model.encode_segment(piece, state, last=number == len(pieces) - 1)
        frames.append(new)
    results = ({"frames": x} for x in (torch.cat(frames), at_once))
    share = largest_share(*results, torch.float32, "the encoder by segments")
    return f"frames by segments equal frames at once, by so much of the tolerance: {share:.1%}"


def noise(segments: int, samples: int) -> List[np.ndarray]:
    """Segments of sound."""
    generator = np.random.default_rng(1)
    return [(generator.standard_normal(samples) * 0.1).astype(np.float32) for _ in range(segments)]


def pusher(translator: StreamingTranslator, speech: List[np.ndarray]) -> measuring.Contender:
    """Hears the next segment each time."""
    segments = iter(speech)
    return measuring.timed(time.perf_counter, lambda: translator.push(next(segments)))


def compare(options: argparse.Namespace) -> Tuple[List[Dict[str, Any]], List[Dict[str, Any]]]:
    """Both translators on the same speech, segment by segment in turn: the table, and the time of each segment."""
    size = options.ratio * SAMPLES_PER_FRAME
    speech = noise(options.seconds * SAMPLE_RATE // size, size)
    translators = {name: make_translator(options, name) for name in ("full", "segment")}
    for translator in translators.values():
        for samples in speech[:5]:
            translator.push(samples)
        translator.reset()
    turns = {name: pusher(translator, speech) for name, translator in translators.items()}
    times = {
        name: measuring.totals(parts) for name, parts in measuring.alternate(turns, len(speech), warm_up=0).items()
    }
    heard, seconds = len(speech) * options.ratio, {name: sum(parts) for name, parts in times.items()}
    rows = [
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
    points = [
        {"encoder": name, "speech_s": (number + 1) * size / SAMPLE_RATE, "ms": 1000 * part}
        for name, parts in times.items()
        for number, part in enumerate(parts)
    ]
    return rows, points


def endure(options: argparse.Namespace) -> Dict[str, Any]:
    """The translator that encodes once, on a long stream: its last quarter in turn with the first one of another."""
    size = options.ratio * SAMPLES_PER_FRAME
    count = options.minutes * 60 * SAMPLE_RATE // size
    quarter, speech = count // 4, noise(50, size)
    old, young = make_translator(options, "segment"), make_translator(options, "segment")
    for number in range(count - quarter):
        old.push(speech[number % len(speech)])
        if number == quarter:
            early = measuring.resident_mib("VmRSS")
    late = measuring.resident_mib("VmRSS")
    again = [speech[number % len(speech)] for number in range(quarter)]
    times = measuring.alternate({"last": pusher(old, again), "first": pusher(young, again)}, quarter, warm_up=0)
    first, last = (statistics.median(measuring.totals(times[name])[5:]) for name in ("first", "last"))
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


def advance_together(options: argparse.Namespace) -> Dict[str, Any]:
    """Streams of different ages: a pre-decision of all of them in one call, in turn with one call for each.

    Raises:
        GateError: they do not write the same tokens.
    """
    turns, together, alone = make_turns(options)
    times = {name: measuring.totals(parts) for name, parts in measuring.alternate(turns, TURNS, warm_up=0).items()}
    if [stream.steps for stream in together] != [stream.steps for stream in alone]:
        raise GateError("streams advanced together do not write the tokens that each writes alone")
    # Not before every stream has passed its k and writes a token with each piece.
    skipped = min(options.waitk_lagging + 1, 15)
    one, other = (statistics.median(times[name][skipped:]) for name in ("together", "alone"))
    return {
        "sessions": options.sessions,
        "together_ms": round(1000 * one, 2),
        "alone_ms": round(1000 * other, 2),
        "alone_over_together": round(other / one, 2),
    }


def make_turns(
    options: argparse.Namespace, clock: measuring.Clock = time.perf_counter
) -> Tuple[Dict[str, measuring.Contender], List, List]:
    """The contenders "together" and "alone", for any number of turns, and the streams of each, of different ages."""
    size = options.ratio * SAMPLES_PER_FRAME
    count, first = options.sessions, make_translator(options, "segment")
    together, alone = ([first.new_stream() for _ in range(count)] for _ in range(2))
    speech = noise(TURNS + count, size)
    for age, streams in enumerate(zip(together, alone)):
        for stream in streams:
            for samples in speech[:age]:
                stream.push(samples)
    pieces = [[speech[age + number] for age in range(count)] for number in range(TURNS)]

    def advance_alone(given: List[np.ndarray]) -> None:
        for stream, samples in zip(alone, given):
            stream.push(samples)

    at_once, in_turn = itertools.cycle(pieces), itertools.cycle(pieces)
    turns = {
        "together": measuring.timed(clock, lambda: push_batch(together, next(at_once))),
        "alone": measuring.timed(clock, lambda: advance_alone(next(in_turn))),
    }
    return turns, together, alone
