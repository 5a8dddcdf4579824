"""Quality and latency of a SimulEval run, recomputed from its instances.log, as one row of a table.

SimulEval's own ``--computation-aware`` overwrites the plain latencies, and its mean leaves empty hypotheses out
without a word; here both kinds of latency stand side by side, and empty hypotheses are counted.
"""

import argparse
import json
import logging
import math
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from leap_fairseq.streaming.detokenizer import UNITS
from leap_fairseq.scoring.instances import Instance, read_instances
from leap_fairseq.scoring.latency import LATENCY_SCORES

logger = logging.getLogger(__name__)

Row = Dict[str, Union[str, int, float]]

COLUMNS = (
    "BLEU",
    "chrF",
    *LATENCY_SCORES,
    *(f"{name}_CA" for name in LATENCY_SCORES),
    "sentences",
    "empty",
    "signature",
)
"""The columns of a row, in order. Latencies in ms, AP a share; _CA counts the time of computing too."""

DECIMALS = {"BLEU": 2, "chrF": 2, "AP": 3, "AP_CA": 3}
"""Digits after the point in tables; 1 for everything else that is no whole number."""


TOKENIZERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}
"""sacrebleu's tokenizer for languages whose words 13a cannot find."""

CHARACTER_LANGUAGES = ("zh", "ja")
"""Written without spaces: a word is as long as a sentence, so that latency counts characters."""


def tokenizer_for(language: str) -> str:
    """sacrebleu's tokenizer for a language such as de or zh-CN."""
    return TOKENIZERS.get(_base(language), "13a")


def unit_for(language: str) -> str:
    """The unit of latency for a language: "char" or "word"."""
    return "char" if _base(language) in CHARACTER_LANGUAGES else "word"


def _base(language: str) -> str:
    return language.lower().replace("_", "-").split("-")[0]


def add_scoring_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say how a run is scored; see `ways_to_score`."""
    parser.add_argument("--tgt-lang", default="de", metavar="LANG", help="decides unit and tokenizer (default: de)")
    text = "unit of latency (default: char for zh and ja, word otherwise)"
    parser.add_argument("--latency-unit", choices=UNITS, help=text)
    text = "that counts the references where the unit is spm"
    parser.add_argument("--spm-model", metavar="MODEL", help=text)
    text = "of BLEU (default: zh, ja-mecab or ko-mecab for these languages, 13a otherwise)"
    parser.add_argument("--sacrebleu-tokenizer", metavar="NAME", help=text)


def ways_to_score(options: argparse.Namespace) -> Tuple[str, str, Optional[str]]:
    """Unit, tokenizer and SentencePiece model for `score_run`, as the options or else the language say.

    Raises:
        ValueError: The unit is spm, and no model is given that counts the references.
    """
    unit = options.latency_unit or unit_for(options.tgt_lang)
    if unit == "spm" and not options.spm_model:
        raise ValueError("--latency-unit spm needs --spm-model, which counts the references")
    return unit, options.sacrebleu_tokenizer or tokenizer_for(options.tgt_lang), options.spm_model


def score_run(
    path: Union[str, Path],
    latency_unit: str = "word",
    sacrebleu_tokenizer: str = "13a",
    spm_model: Optional[Union[str, Path]] = None,
) -> Row:
    """Scores one run.

    Args:
        path: instances.log, or the folder that holds it.
        latency_unit: "word", "char" or "spm", the unit SimulEval ran with (``--eval-latency-unit``).
        sacrebleu_tokenizer: tokenizer of BLEU: 13a, intl, zh, ja-mecab, char, ...
        spm_model: for "spm", the SentencePiece model that counts the pieces of the references.

    Returns:
        A value for every name in `COLUMNS`. A latency is nan where all hypotheses are empty.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no sentence, a broken log, an unknown unit or tokenizer, or no model for "spm".
    """
    instances = read_instances(path)
    if not instances:
        raise ValueError(f"{path}: holds no sentence; did the simuleval run finish one?")
    row: Row = {}
    row.update(quality(instances, sacrebleu_tokenizer))
    row.update(mean_latency(instances, latency_unit, spm_model))
    row["sentences"] = len(instances)
    row["empty"] = sum(1 for instance in instances if not instance.prediction.strip())
    if row["empty"]:
        logger.warning(
            "%s: %d of %d hypotheses are empty: BLEU and chrF count them as they are, no latency counts them",
            *(path, row["empty"], len(instances)),
        )
    warn_if_degenerate(instances, path)
    return {name: row[name] for name in COLUMNS}


def quality(instances: Sequence[Instance], tokenizer: str = "13a") -> Row:
    """BLEU and chrF of the corpus, with the sacrebleu signature that says how they were computed.

    Raises:
        ValueError: sacrebleu does not know the tokenizer, or lacks its package.
    """
    from sacrebleu.metrics import BLEU, CHRF

    if tokenizer not in BLEU.TOKENIZERS:
        raise ValueError(
            f"sacrebleu has no tokenizer {tokenizer!r}; choose one of {', '.join(BLEU.TOKENIZERS)} "
            "(--sacrebleu-tokenizer)"
        )
    try:
        bleu, chrf = BLEU(tokenize=tokenizer), CHRF()
    except (ImportError, RuntimeError) as error:  # the tokenizers of some languages are packages of their own
        raise ValueError(
            f"sacrebleu's tokenizer {tokenizer} is not installed: pip install 'sacrebleu[{tokenizer[:2]}]', or choose "
            f"another, such as char (--sacrebleu-tokenizer) ({error})"
        ) from error
    predictions = [instance.prediction for instance in instances]
    references = [[instance.reference for instance in instances]]
    return {
        "BLEU": bleu.corpus_score(predictions, references).score,
        "chrF": chrf.corpus_score(predictions, references).score,
        "signature": f"BLEU|{bleu.get_signature()} chrF|{chrf.get_signature()}",
    }


def mean_latency(
    instances: Sequence[Instance], unit: str = "word", spm_model: Optional[Union[str, Path]] = None
) -> Dict[str, float]:
    """Mean over the sentences that have a latency, plain and computation-aware; nan where none has.

    Args:
        instances: the sentences.
        unit: "word", "char" or "spm".
        spm_model: as for `score_run`.

    Raises:
        ValueError: an unknown unit, or no model for "spm".
    """
    pieces = None if spm_model is None else piece_model(spm_model)
    scorable = [instance for instance in instances if instance.is_scorable]
    means: Dict[str, float] = {}
    for suffix, computation_aware in (("", False), ("_CA", True)):
        scores = [instance.latency(unit, computation_aware, pieces) for instance in scorable]
        for name in LATENCY_SCORES:
            values = [score[name] for score in scores]
            means[name + suffix] = sum(values) / len(values) if values else math.nan
    return means


def piece_model(path: Union[str, Path]) -> Any:
    """The SentencePieceProcessor that counts references in pieces."""
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_file=str(path))


def share_after_source(instances: Sequence[Instance]) -> float:
    """Share of all written words that were written only when the source had ended; 0 where none was written."""
    words = [delay >= instance.source_length for instance in instances for delay in instance.delays]
    return sum(words) / len(words) if words else 0.0


def warn_if_degenerate(instances: Sequence[Instance], name: object) -> None:
    """Warns where most words came after the end of the source: such a policy translates offline, whatever its AL."""
    share = share_after_source(instances)
    if share > 0.5:
        logger.warning(
            "%s: %.0f %% of the words were written after the end of the source; this run is closer to offline than to "
            "simultaneous translation. A smaller --test-waitk-lagging writes earlier",
            name,
            100 * share,
        )


def write_tsv(rows: Sequence[Mapping[str, Any]], path: Union[str, Path]) -> None:
    """Writes rows with the same keys as a table with a header; numbers unrounded."""
    lines = ["\t".join(rows[0])] + ["\t".join(str(value) for value in row.values()) for row in rows]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_tsv(path: Union[str, Path]) -> List[Row]:
    """Reads what `write_tsv` wrote; what looks like a number becomes one.

    Raises:
        ValueError: a line has another number of columns than the header.
    """
    header, *lines = Path(path).read_text(encoding="utf-8").splitlines()
    names = header.split("\t")
    rows = []
    for number, line in enumerate(lines, start=2):
        values = line.split("\t")
        if len(values) != len(names):
            raise ValueError(f"{path}: line {number} has {len(values)} columns, the header {len(names)}")
        rows.append({name: _number(value) for name, value in zip(names, values)})
    return rows


def write_json(rows: Sequence[Mapping[str, Any]], path: Union[str, Path]) -> None:
    """Writes rows as a JSON list of objects; nan, which JSON lacks, becomes null."""
    plain = [{key: None if value != value else value for key, value in row.items()} for row in rows]
    Path(path).write_text(json.dumps(plain, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def format_table(rows: Sequence[Mapping[str, Any]], leave_out: Sequence[str] = ("signature",)) -> str:
    """Rows as aligned text for a terminal, rounded."""
    names = [name for name in rows[0] if name not in leave_out]
    cells = [names] + [[_rounded(name, row[name]) for name in names] for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in cells)


def _rounded(name: str, value: object) -> str:
    return f"{value:.{DECIMALS.get(name, 1)}f}" if isinstance(value, float) else str(value)


def _number(text: str) -> Union[str, int, float]:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
