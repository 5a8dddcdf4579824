"""How a run is scored: its unit of latency and its language are in its folder, where `leap-fairseq evaluate` made it.

SimulEval's own config.yaml holds neither: for a run that was made with SimulEval alone, the options say them.
"""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Union

from leap_fairseq.files import file_digest
from leap_fairseq.scoring.instances import WORDS, Instance, Log, read_any_log
from leap_fairseq.scoring.languages import base_language, is_unspaced, tokenizer_for, unit_for
from leap_fairseq.scoring.units import Characters, LatencyUnit, unit_named

FACTS = "evaluation.json"
"""What a folder of `leap-fairseq evaluate` was made from."""

UNIT, LANGUAGE, SPM_MODEL, SPM_DIGEST, SENTENCES = "--eval-latency-unit", "--tgt-lang", "spm_model", "spm", "sentences"
SPOKEN, FAST = "--src-lang", "--fast"
"""Facts that a score needs; the last one of `leap-fairseq client`, which else sends speech at its own speed."""

NOTES = (LANGUAGE, SPOKEN, SPM_MODEL, SPM_DIGEST)
"""Those that do not decide what is translated: a folder may lack them."""


@dataclass(frozen=True)
class Settings:
    """How a run is scored.

    Attributes:
        unit: of latency.
        tokenizer: sacrebleu's.
        language: of the translation, where it was said.
        spm_model: path of the SentencePiece model that counts references in pieces.
        sentences: that the run must hold, where its folder says so.
        is_chosen: unit and tokenizer were both given by name: no doubt about the language's.
        spoken: language of the speech, where it was said.
        comet: model of COMET, see `comet_score`; None: no COMET.
        in_real_time: speech was heard at its own speed, so that an elapsed time is when a word came, computing that was
            done meanwhile not counted in.
    """

    unit: LatencyUnit = WORDS
    tokenizer: str = "13a"
    language: Optional[str] = None
    spm_model: Optional[str] = None
    sentences: Optional[int] = None
    is_chosen: bool = False
    spoken: Optional[str] = None
    comet: Optional[str] = None
    in_real_time: bool = False

    @property
    def is_recognition(self) -> bool:
        """Whether what is written is what was said: both languages are known, and the same."""
        return bool(self.language and self.spoken) and base_language(self.language) == base_language(self.spoken)

    def read(self, path: Union[str, Path]) -> Log:
        """Reads the log of a run in its unit; errors are those of `read_any_log`."""
        log = read_any_log(path, self.unit)
        return log._replace(format=log.format._replace(adds_up=log.format.adds_up and not self.in_real_time))

    def notes(self) -> Dict[str, Any]:
        """What a folder shall remember for its scores, see `NOTES`."""
        notes = {name: text for name, text in ((LANGUAGE, self.language), (SPOKEN, self.spoken)) if text}
        if self.spm_model:
            notes.update({SPM_MODEL: str(Path(self.spm_model).resolve()), SPM_DIGEST: file_digest(self.spm_model)})
        return notes

    def check_references(self, references: Sequence[str], name: object) -> None:
        """Refuses to score a language in the unit or with the tokenizer of another, with a ValueError."""
        for_spaces = self.unit.name == "word" or self.tokenizer == "13a"
        if for_spaces and not self.is_chosen and is_unspaced(references):
            remedy = "give its language (--tgt-lang zh), or both --latency-unit and --sacrebleu-tokenizer"
            used = f"unit {self.unit.name} and tokenizer {self.tokenizer}"
            raise ValueError(f"{name}: the references are in a language without spaces, not for {used}: {remedy}")

    def check(self, path: object, instances: Sequence[Instance], references: Sequence[str]) -> None:
        """Refuses a run that cannot be scored so.

        Args:
            path: what a message calls the run.
            instances: all of it.
            references: all of them.

        Raises:
            ValueError: sentences are missing, a language without spaces is not scored as one, or a language with
                spaces was logged without.
        """
        _check_complete(path, [instance.index for instance in instances], self.sentences)
        self.check_references(references, path)
        texts = [instance.prediction for instance in instances if instance.prediction.strip()]
        words = " ".join(references).split()
        if not (self.unit.name == Characters.name and texts and words) or is_unspaced(references):
            return
        # A text without spaces may be a single word.
        letters, longest = sum(map(len, texts)) / len(texts), 2 * sum(map(len, words)) / len(words)
        if not any(" " in text for text in texts) and letters > longest:
            raise ValueError(
                f"{path}: the references have spaces, the predictions none, as SimulEval logs characters "
                "(--eval-latency-unit char), and no BLEU of them means anything: translate again, with leap-fairseq "
                "evaluate, which keeps the spaces, or in words"
            )


def settings_for(
    run: Union[str, Path],
    language: Optional[str] = None,
    latency_unit: Optional[str] = None,
    sacrebleu_tokenizer: Optional[str] = None,
    spm_model: Optional[str] = None,
    spoken: Optional[str] = None,
) -> Settings:
    """How a run is scored: as its folder says, else as given, else in words and with the tokenizer 13a.

    Args:
        run: the folder, which may be still to be made, or the log in it.
        language: of the translation, such as de or zh-CN; decides unit and tokenizer that are not given.
        latency_unit: "word", "char" or "spm", of the run.
        sacrebleu_tokenizer: of BLEU: 13a, intl, zh, ja-mecab, char, ... A run has none of its own.
        spm_model: that counts the references where the unit is spm.
        spoken: language of the speech; where it is that of the translation, speech is recognised.

    Raises:
        FileNotFoundError: there is no such SentencePiece model.
        ValueError: what is given contradicts the folder, an unknown unit, or no model for spm.
    """
    facts = recorded(run)
    language = _agreed(run, "--tgt-lang", language, facts.get(LANGUAGE))
    name = _agreed(run, "--latency-unit", latency_unit, facts.get(UNIT)) or unit_for(language or "")
    spm_model = spm_model or facts.get(SPM_MODEL)
    if name == "spm" and not spm_model:
        raise ValueError("--latency-unit spm needs --spm-model, which counts the references")
    unit = unit_named(name, spm_model)
    if name == "spm" and facts.get(SPM_DIGEST) not in (None, file_digest(spm_model)):
        raise ValueError(f"{run} was made with another SentencePiece model than {spm_model} (--spm-model)")
    return Settings(
        unit=unit,
        tokenizer=sacrebleu_tokenizer or tokenizer_for(language or ""),
        language=language,
        spm_model=spm_model if name == "spm" else None,
        sentences=facts.get(SENTENCES),
        is_chosen=bool(latency_unit and sacrebleu_tokenizer),
        spoken=_agreed(run, SPOKEN, spoken, facts.get(SPOKEN)),
        in_real_time=facts.get(FAST) is False,
    )


def recorded(run: Union[str, Path]) -> Dict[str, Any]:
    """What the folder of a run says that it was made from; nothing where `evaluate` did not make it.

    Raises:
        ValueError: the file that says so is damaged.
    """
    run = Path(run)
    path = (run.parent if run.is_file() else run) / FACTS
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(facts, dict):
            raise ValueError("it is no object")
        for name, kind in {
            UNIT: str,
            LANGUAGE: str,
            SPOKEN: str,
            SPM_MODEL: str,
            SPM_DIGEST: str,
            SENTENCES: int,
            FAST: bool,
        }.items():
            if name in facts and type(facts[name]) is not kind:
                raise ValueError(f"its {name} is {facts[name]!r}")
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): remove the folder, and evaluate again") from error
    return facts


def _agreed(run: object, option: str, given: Optional[str], found: Optional[str]) -> Optional[str]:
    """What was given or is recorded; a ValueError where both are there and differ."""
    if given and found and given != found:
        raise ValueError(
            f"{run} was made with {option} {found}, not {given}: leave {option} out, or give another folder"
        )
    return given or found


def _check_complete(path: object, indices: Sequence[int], sentences: Optional[int]) -> None:
    """Refuses a run in which sentences are missing; without a record of their number, between two others."""
    first, last = (0, sentences - 1) if sentences else (min(indices, default=0), max(indices, default=-1))
    wanted, found = range(first, last + 1), set(indices)
    beyond = [index for index in indices if index not in wanted]
    count = last + 1 - first - len(found) + 2 * len(beyond)
    if count:
        # Not all of them: a damaged index may be far away.
        missing = itertools.chain(beyond, (index for index in wanted if index not in found))
        numbers = ", ".join(str(index) for index in itertools.islice(missing, 5)) + (", ..." if count > 5 else "")
        kind = "are missing or too many" if sentences else "are missing"
        raise ValueError(f"{path}: {count} sentences {kind} (index {numbers}): finish the run first")
