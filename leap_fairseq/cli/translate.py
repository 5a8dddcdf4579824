"""Translates speech while it is being read: a file, or raw PCM from standard input.

    leap-fairseq translate --example
    leap-fairseq translate speech.wav --model my_translator
    arecord -t raw -f S16_LE -r 16000 | leap-fairseq translate - --model my_translator

Each word is a line, written as soon as it is known: the time of speech that had been heard, in seconds, and the word.
With --long-form a sentence is a line: the time of its first word, and its words as they become known.
Nothing is written before speech is heard. Where the translation of a sentence leaves speech behind it, stderr says so.
The model is a folder of leap-fairseq export, or a checkpoint with --data-bin. With --example, it is a small one that
comes with leap-fairseq, and so does the speech. Ctrl-C ends what is recorded into a pipe, and the rest is translated.
"""

import argparse
import contextlib
import logging
import signal
import sys
from typing import TYPE_CHECKING, Iterable, Iterator, Optional

from leap_fairseq.cli.model_options import add_data_options, add_device_option, add_dtype_option, torch_dtype
from leap_fairseq.example import MODEL, RECORDING, TRANSCRIPT
from leap_fairseq.scoring.languages import UNITS
from leap_fairseq.speech import SAMPLE_RATE, stream_file, stream_pcm
from leap_fairseq.streaming.policy import add_gate_option, add_policy_options, policy_options

if TYPE_CHECKING:
    from leap_fairseq.streaming import StreamingTranslator, Word

LOG_LEVEL = logging.WARNING


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    text = "wav, flac, mp3 or ogg of any rate; - for PCM on standard input"
    parser.add_argument("file", metavar="FILE", nargs="?", help=text)
    text = "in place of FILE and --model: a recording and a small model of travel phrases, English to German"
    parser.add_argument("--example", action="store_true", help=text)
    add_translator_options(parser)
    parser.add_argument("--segment-ms", type=int, default=160, metavar="MS", help="length of a segment")
    parser.add_argument("--rate", type=int, default=SAMPLE_RATE, metavar="HZ", help="of the PCM")
    parser.add_argument("--channels", type=int, default=1, metavar="N", help="of the PCM")


def add_translator_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that :func:`load` reads."""
    parser.add_argument("--model", metavar="DIR", help="exported folder, or a checkpoint (.pt)")
    add_data_options(parser)
    add_policy_options(parser)
    parser.add_argument("--unit", choices=UNITS, default="word", help="char for zh, ja (default: word)")
    text = "the speech holds any number of sentences: end one and begin the next"
    parser.add_argument("--long-form", action="store_true", help=text)
    add_gate_option(parser)
    add_device_option(parser)
    add_dtype_option(parser, default="fp32")


def take_example(options: argparse.Namespace, **others: Optional[str]) -> None:
    """Has the options name the model that comes with leap-fairseq.

    Args:
        others: what must not be given either, by its name in messages.

    Raises:
        argparse.ArgumentTypeError: they name a model already, or a part of one.
    """
    own = {"--model": options.model, "--data-bin": options.data_bin, "--config-yaml": options.config_yaml, **others}
    for name, value in own.items():
        if value is not None:
            raise argparse.ArgumentTypeError(
                f"{name} {value} does not go with the example, which has its own: leave it out, or instead of the "
                f"example choose a model with --model (that of the example is {MODEL})"
            )
    options.model = MODEL


def load(options: argparse.Namespace) -> "StreamingTranslator":
    """The translator that the options name.

    Raises:
        FileNotFoundError, ValueError: see :func:`leap_fairseq.models.load_translator`.
    """
    from leap_fairseq.models import load_translator

    places = options.model, options.data_bin, options.config_yaml
    how = {name: getattr(options, name) for name in ("unit", "long_form", "speech_gate")}
    translator = load_translator(*places, **how, **policy_options(options))
    return translator.to(options.device, torch_dtype(options.dtype))


def run(options: argparse.Namespace) -> None:
    """Translates, and writes words as they come.

    Raises:
        argparse.ArgumentTypeError: neither FILE with --model nor --example is given, or both.
    """
    if options.example:
        take_example(options, FILE=options.file)
        options.file = RECORDING
        sys.stderr.write(f"{RECORDING}: {TRANSCRIPT}\n")
    elif options.file is None or options.model is None:
        raise argparse.ArgumentTypeError("give FILE and --model DIR, or --example alone")
    translator = load(options)
    if options.file == "-":
        speech = stream_pcm(sys.stdin.buffer, options.segment_ms, options.rate, options.channels)
    else:
        speech = stream_file(options.file, options.segment_ms)
    lines = Lines(options.long_form, separator="" if options.unit == "char" else " ")
    with _first_ctrl_c_left_to_others() if options.file == "-" else contextlib.nullcontext():
        for samples, rate in speech:
            lines.write(translator.push(samples, rate))
        lines.write(translator.finish())
    lines.end()


@contextlib.contextmanager
def _first_ctrl_c_left_to_others() -> Iterator[None]:
    """Within it, the first Ctrl-C ends the program that feeds the pipe, which it reaches too, and the next one us."""
    before = signal.signal(signal.SIGINT, lambda *_: signal.signal(signal.SIGINT, signal.default_int_handler))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Lines:
    """Writes words at once, also into a pipe.

    Args:
        by_sentence: a line is a sentence, not a word.
        separator: between the words of a line.
    """

    def __init__(self, by_sentence: bool, separator: str = " "):
        self.by_sentence, self.separator = by_sentence, separator
        self._open: Optional[int] = None

    def write(self, words: Iterable["Word"]) -> None:
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
