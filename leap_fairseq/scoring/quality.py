"""BLEU and chrF of a corpus of sentences, by sacrebleu."""

from typing import Dict, Sequence, Union

from leap_fairseq.scoring.instances import Instance

Row = Dict[str, Union[str, int, float]]
"""Scores by name."""


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
