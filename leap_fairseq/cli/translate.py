"""Translates speech while it is being read: a file, or raw PCM from standard input.

    python -m leap_fairseq.cli.translate speech.wav --model my_translator
    arecord -t raw -f S16_LE -r 16000 | python -m leap_fairseq.cli.translate - --model my_translator

Each word is a line, written as soon as it is known: the time of speech that had been heard, in seconds, and the word.
With --long-form a sentence is a line: the time of its first word, and its words as they become known.
The model is a folder of scripts/simulst/export.py, or a checkpoint with --data.
"""

import argparse
import logging
import pickle
import sys
from typing import Iterable, List, Optional

import torch

from leap_fairseq.streaming import UNITS, StreamingTranslator, Word
from leap_fairseq.speech import SAMPLE_RATE, stream_file, stream_pcm

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def add_translator_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that :func:`load` reads."""
    parser.add_argument("--model", required=True, metavar="DIR", help="exported folder, or a checkpoint (.pt)")
    parser.add_argument("--data", metavar="DIR", help="data folder of a checkpoint (default: as in training)")
    parser.add_argument("--config-yaml", metavar="NAME", help="data YAML of a checkpoint (default: as in training)")
    parser.add_argument("--waitk-lagging", type=int, metavar="K", help="k of wait-k (default: the highest of training)")
    parser.add_argument("--unit", choices=UNITS, default="word", help="char for zh, ja (default: word)")
    text = "the speech holds any number of sentences: end one and begin the next"
    parser.add_argument("--long-form", action="store_true", help=text)
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, ...")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the model (default: float32)")


def parse_arguments(given: Optional[List[str]] = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m leap_fairseq.cli.translate", description=__doc__.split("\n\n")[0])
    parser.add_argument("file", metavar="FILE", help="wav, flac, mp3 or ogg of any rate; - for PCM on standard input")
    add_translator_options(parser)
    parser.add_argument("--segment-ms", type=int, default=160, metavar="MS", help="length of a segment (default: 160)")
    parser.add_argument("--rate", type=int, default=SAMPLE_RATE, metavar="HZ", help="of the PCM (default: 16000)")
    parser.add_argument("--channels", type=int, default=1, metavar="N", help="of the PCM (default: 1)")
    return parser.parse_args(given)


def load(options: argparse.Namespace) -> StreamingTranslator:
    """The translator that the options name.

    Raises:
        FileNotFoundError, ValueError: see :func:`leap_fairseq.models.translator_checkpoint.load_translator`.
    """
    translator = StreamingTranslator.from_path(
        *(options.model, options.data, options.config_yaml),
        lagging=options.waitk_lagging,
        unit=options.unit,
        long_form=options.long_form,
    )
    return translator.to(options.device, DTYPES[options.dtype])


class Lines:
    """Writes words at once, also into a pipe.

    Args:
        by_sentence: a line is a sentence, not a word.
        separator: between the words of a line.
    """

    def __init__(self, by_sentence: bool, separator: str = " "):
        self.by_sentence, self.separator = by_sentence, separator
        self._open: Optional[int] = None

    def write(self, words: Iterable[Word]) -> None:
        """Writes on."""
        for word in words:
            if self.by_sentence and word.sentence == self._open:
                sys.stdout.write(f"{self.separator}{word.text}")
                continue
            self.end()
            sys.stdout.write(f"{word.delay / 1000:8.2f}  {word.text}")
            self._open = word.sentence
            if not self.by_sentence:
                self.end()
        sys.stdout.flush()

    def end(self) -> None:
        """Ends the open line, if there is one."""
        if self._open is not None:
            sys.stdout.write("\n")
            sys.stdout.flush()
        self._open = None


def main() -> int:
    """Runs the command line; returns the exit code."""
    options = parse_arguments()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        translator = load(options)
        if options.file == "-":
            speech = stream_pcm(sys.stdin.buffer, options.segment_ms, options.rate, options.channels)
        else:
            speech = stream_file(options.file, options.segment_ms)
        lines = Lines(options.long_form, separator="" if options.unit == "char" else " ")
        for samples, rate in speech:
            lines.write(translator.push(samples, rate))
        lines.write(translator.finish())
        lines.end()
    except (OSError, ValueError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
