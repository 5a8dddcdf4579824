"""BLEU and chrF of sentences, by sacrebleu; COMET, by unbabel-comet; of recognised speech error rates, by jiwer."""

from typing import Any, Dict, List, Sequence, Union

from leap_fairseq.scoring.comet import comet_score
from leap_fairseq.scoring.instances import Instance
from leap_fairseq.scoring.settings import Settings
from leap_fairseq.scoring.signature import installed_version, signature

Row = Dict[str, Union[str, int, float]]
"""Scores by name."""


def quality(instances: Sequence[Instance], settings: Settings) -> Row:
    """BLEU and chrF of the corpus, COMET, WER and CER where they are asked for, and the signature that says how.

    Raises:
        FileNotFoundError: there is no such model of COMET.
        ImportError: jiwer or unbabel-comet is needed and missing.
        ValueError: sacrebleu does not know the tokenizer, or lacks its package or model; or as for `comet_score`.
    """
    from sacrebleu.metrics import CHRF

    bleu, chrf = _bleu(settings.tokenizer), CHRF()
    predictions = [instance.prediction for instance in instances]
    references = [instance.reference for instance in instances]
    row: Row = {
        "BLEU": bleu.corpus_score(predictions, [references]).score,
        "chrF": chrf.corpus_score(predictions, [references]).score,
    }
    # After the scores: sacrebleu knows the number of references from them.
    signatures = f"BLEU|{bleu.get_signature()} chrF|{chrf.get_signature()}"
    if settings.comet:
        transcripts = [instance.transcript for instance in instances]
        row["COMET"], kept = comet_score(predictions, references, transcripts, settings.comet)
        signatures = f"{signatures} {kept}"
    if settings.is_recognition:
        row.update(error_rates(predictions, references))
        kept = signature("WER,CER", case="mixed", punct="yes", version=installed_version("jiwer"))
        signatures = f"{signatures} {kept}"
    return {**row, "signature": signatures}


def require_packages(settings: Settings) -> None:
    """Finds out before a long run whether its scores can be computed.

    Raises:
        ImportError: jiwer is needed and missing.
        ValueError: sacrebleu does not know the tokenizer, or lacks its package or model.
    """
    _bleu(settings.tokenizer)
    if settings.is_recognition:
        _jiwer()


def error_rates(predictions: List[str], references: List[str]) -> Dict[str, float]:
    """Word and character error rate of the corpus in percent, of the texts as they are: case and punctuation count.

    WER = 100 * (substitutions + deletions + insertions) / words of all references; CER the same of characters.

    Raises:
        ImportError: jiwer is not installed.
    """
    jiwer = _jiwer()
    return {"WER": 100 * jiwer.wer(references, predictions), "CER": 100 * jiwer.cer(references, predictions)}


def _bleu(tokenizer: str) -> Any:
    """sacrebleu's BLEU with a tokenizer."""
    from sacrebleu.metrics import BLEU

    if tokenizer not in BLEU.TOKENIZERS:
        raise ValueError(
            f"sacrebleu has no tokenizer {tokenizer!r}; choose one of {', '.join(BLEU.TOKENIZERS)} "
            "(--sacrebleu-tokenizer)"
        )
    try:
        return BLEU(tokenize=tokenizer)
    except (ImportError, RuntimeError) as error:  # the tokenizers of some languages are packages of their own
        raise ValueError(
            f"sacrebleu's tokenizer {tokenizer} is not installed: pip install 'sacrebleu[{tokenizer[:2]}]', or choose "
            f"another, such as char (--sacrebleu-tokenizer) ({error})"
        ) from error
    except OSError as error:  # some fetch a model when they are first used
        raise ValueError(
            f"sacrebleu's tokenizer {tokenizer} could not fetch its model ({error}): use it once with a network, or "
            "choose another, such as char (--sacrebleu-tokenizer)"
        ) from error


def _jiwer() -> Any:
    try:
        import jiwer
    except ImportError as error:
        raise ImportError("WER and CER of recognised speech need jiwer: pip install 'jiwer>=4'") from error
    return jiwer
