"""Streams recordings to a server of leap-fairseq serve as its users do, and measures what comes back.

    leap-fairseq client --example
    leap-fairseq client speech.wav --url http://127.0.0.1:8642/
    leap-fairseq client --lists eval/tst-COMMON --out runs/live --sessions 4

Each word is a line, written as soon as it is received: the time of speech that the server had heard, in seconds, and
the word; in long form, a sentence is a line. With several sessions at a time, no words are written.

With --lists, which names what leap-fairseq prepare lists wrote without its ending, OUT gets SimulEval's instances.log,
for leap-fairseq score OUT. Its delays are the server's, its elapsed times what passed here until a word was received:
since the recording began; with --fast the delay, and all waiting for answers. A recording that cannot be translated is
left out by name (OUT/left_out.tsv). The same command goes on where an interrupted one stopped.
"""

import argparse
import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple

from leap_fairseq.cli.evaluate import read_list
from leap_fairseq.cli.translate import Lines
from leap_fairseq.example import RECORDING, TRANSCRIPT
from leap_fairseq.scoring.languages import read_languages
from leap_fairseq.scoring.run_folder import MODEL, RunFolder, heard
from leap_fairseq.scoring.settings import LANGUAGE, SPOKEN, UNIT
from leap_fairseq.scoring.units import KEPT_SPACE, Characters, Pieces, unit_named
from leap_fairseq.speech import stream_file
from leap_fairseq.speech.sound_list import unusable, write_left_out
from leap_fairseq.streaming.policy import add_policy_options, at_least_one, policy_options

if TYPE_CHECKING:
    from leap_fairseq.serve.client import Client, Translation

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("files", metavar="FILE", nargs="*", help="wav, flac, mp3 or ogg of any rate")
    text = f'in place of FILE: the recording that comes with leap-fairseq, "{TRANSCRIPT}"'
    parser.add_argument("--example", action="store_true", help=text)
    text = "in place of FILE: path of LISTS.wav_list and LISTS.target"
    parser.add_argument("--lists", metavar="LISTS", help=text)
    parser.add_argument("--out", metavar="OUT", help="of LISTS: folder for the log")
    text = "as leap-fairseq serve printed it"
    parser.add_argument("--url", default="http://127.0.0.1:8642/", help=f"{text} (default: %(default)s)")
    add_policy_options(parser)
    text = "as fast as the server takes it (default: at the speed of speech)"
    parser.add_argument("--fast", action="store_true", help=text)
    parser.add_argument("--sessions", type=at_least_one, default=1, metavar="N", help="recordings at a time")
    text = "length of a piece of sound (default: that between two decisions of the server's policy)"
    parser.add_argument("--segment-ms", type=at_least_one, metavar="MS", help=text)
    text = "for a server that is starting (default: 0)"
    parser.add_argument("--wait-seconds", type=float, default=0.0, metavar="S", help=text)
    text = "in which the server must say something, or it counts as gone"
    parser.add_argument("--patience", type=float, default=60.0, metavar="S", help=text)


def run(options: argparse.Namespace) -> None:
    """Streams, and writes words or the log.

    Raises:
        argparse.ArgumentTypeError: not one of FILE, --example and --lists, or --lists without --out.
    """
    given = [bool(options.files), options.example, options.lists is not None]
    if sum(given) != 1 or (options.lists is None) != (options.out is None):
        raise argparse.ArgumentTypeError("give one of FILE ..., --example alone, and --lists LISTS --out OUT")
    from leap_fairseq.serve.client import Client

    client = Client(options.url, options.patience)
    status = asyncio.run(status_of(client, options.wait_seconds))
    policy = {name: value for name, value in policy_options(options).items() if value is not None}
    segment_ms = options.segment_ms or status["decision_ms"]
    how = How(status, policy, segment_ms, options.fast, options.sessions)
    asked = "".join(f", {name} {value}" for name, value in policy.items())
    logger.info("%s: %s%s, pieces of %d ms", client.url, status["policy"], asked, segment_ms)
    if options.lists is not None:
        measure(client, how, options.lists, Path(options.out))
    else:
        files = [str(RECORDING)] if options.example else options.files
        asyncio.run(stream_all(client, how, dict(enumerate(files)), lambda number, translation: None))


class How(NamedTuple):
    """How recordings are streamed.

    Attributes:
        status: of the server.
        policy: options that each session asks for.
        segment_ms: length of a piece.
        fast: as fast as the server takes it.
        sessions: recordings at a time.
    """

    status: Dict[str, Any]
    policy: Dict[str, Any]
    segment_ms: int
    fast: bool
    sessions: int

    def facts(self) -> Dict[str, Any]:
        """What decides a measurement, by the names of `leap_fairseq.scoring.settings` where a score needs it."""
        names = {UNIT: "unit", "--long-form": "long_form", "server": "policy"}
        given = {**self.policy, "segment_ms": self.segment_ms, "fast": self.fast, "sessions": self.sessions}
        options = {f"--{name.replace('_', '-')}": value for name, value in given.items()}
        # That of an earlier version does not say its model.
        model = {MODEL: self.status[MODEL]} if MODEL in self.status else {}
        return {**options, **{name: self.status[field] for name, field in names.items()}, **model}


async def status_of(client: "Client", wait_seconds: float) -> Dict[str, Any]:
    """What the server says of itself; errors are those of :meth:`leap_fairseq.serve.client.Client.status`."""
    async with client:
        return await client.status(wait_seconds)


async def stream_all(
    client: "Client", how: How, files: Dict[int, str], finished: Callable[[int, "Translation"], None]
) -> None:
    """Streams recordings, several at a time, and writes their words where it is one at a time.

    Args:
        client: of the server.
        how: it is done.
        files: by number.
        finished: is called with each number, and what came of it.

    Raises:
        AudioError: a file cannot be read.
        ServerError: the server fails, or refuses one of them, which the text names.
    """
    from leap_fairseq.serve.client import ServerError

    waiting = iter(files.items())

    async def one_by_one() -> None:
        for number, file in waiting:
            logger.info("%s", file)
            lines = Lines(how.status["long_form"], "" if how.status["unit"] == Characters.name else " ")
            take = (lambda word, lines=lines: lines.write([word])) if how.sessions == 1 else (lambda word: None)
            try:
                translation = await client.translate(stream_file(file, how.segment_ms), how.fast, take, how.policy)
            except ServerError as error:
                raise ServerError(f"{file}: {error}") from error
            lines.end()
            if translation.notice:
                logger.warning("%s: %s", file, translation.notice)
            finished(number, translation)

    try:
        async with client, asyncio.TaskGroup() as group:
            for _ in range(how.sessions):
                group.create_task(one_by_one())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


def measure(client: "Client", how: How, lists: str, out: Path) -> None:
    """Streams what is missing of a list, and logs it.

    Raises:
        OSError, ValueError: a list is missing or no recording of it can be translated, the folder holds something else
            or is being written, or the server fails; what was finished is kept.
    """
    names, references = (read_list(Path(f"{lists}.{name}")) for name in ("wav_list", "target"))
    left_out = unusable(names)
    kept = [[line for number, line in enumerate(each) if number not in left_out] for each in (names, references)]
    noted = read_languages(lists)
    languages = {LANGUAGE: how.status["language"] or noted.tgt_lang, SPOKEN: noted.src_lang}
    facts = {**how.facts(), **heard(kept[0])}
    folder = RunFolder(out, *kept, facts, {name: language for name, language in languages.items() if language})
    late: List[float] = []
    with folder.locked(), folder.noting() as note:
        missing = folder.missing()
        logger.info("%s: %d of %d recordings to translate", out, len(missing), len(folder.sources))

        def finished(number: int, translation: "Translation") -> None:
            source, reference = folder.sources[number], folder.references[number]
            note(log_line(number, source, reference, translation, how.status["unit"]))
            late.extend(word.elapsed - word.delay for word in translation.words)

        asyncio.run(stream_all(client, how, {number: folder.sources[number] for number in missing}, finished))
    if left_out:
        logger.warning("%d recordings were left out, listed in %s", len(left_out), write_left_out(left_out, out))
    if late and not how.fast:
        summary = "%d words came %.0f ms (mean) and at most %.0f ms after the speech that they had waited for"
        logger.info(summary, len(late), sum(late) / len(late), max(late))
    logger.info("score it: leap-fairseq score %s", out)


def log_line(number: int, source: str, reference: str, translation: "Translation", unit: str) -> Dict[str, Any]:
    """A line of SimulEval's instances.log.

    Args:
        number: of the recording in the list.
        source: its path.
        reference: of its translation.
        translation: that was received.
        unit: of the server.
    """
    words = translation.words
    if unit == Characters.name:
        # As our agent for SimulEval: spaces are characters, too.
        words = [word._replace(text=text) for word in words for text in word.text.replace(" ", KEPT_SPACE)]
    texts = [word.text for word in words]
    return {
        "index": number,
        "prediction": "".join(texts) if unit == Characters.name else unit_named(unit).join(texts),
        "delays": [word.delay for word in words],
        "elapsed": [word.elapsed for word in words],
        "prediction_length": len(words),
        "reference": reference,
        "source": [source],
        "source_length": translation.source_ms,
        **({"prediction_spm": texts} if unit == Pieces.name else {}),
    }
