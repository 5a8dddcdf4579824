"""A speech processor of simulstream, so that its server, clients, inference and metrics run our translators.

A YAML names it, and is read by simulstream's metrics too:

    type: leap_fairseq.agents.simulstream_processor.LeapSpeechProcessor
    model: my_translator          # folder of leap-fairseq export, or checkpoint; or, in its place, example: true
    waitk_lagging: 5              # options of the policy, by the names of the command line
    detokenizer_type: simuleval   # simulstream's name for tokens that are words, characters or pieces
    latency_unit: word            # which of these: word, char, spm

More in :class:`LeapSpeechProcessor`. Source: simulstream 1.0.0, ``server/speech_processors``.
"""

import functools
import logging
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any, List, Sequence, Tuple

import numpy as np

try:
    from simulstream.server.speech_processors import SAMPLE_RATE, SpeechProcessor
    from simulstream.server.speech_processors.incremental_output import IncrementalOutput
except ImportError as error:
    raise ImportError("this speech processor needs simulstream: pip install 'leap-fairseq[simulstream]'") from error

from leap_fairseq.example import LANGUAGE, MODEL
from leap_fairseq.models import load_translator
from leap_fairseq.scoring.languages import base_language
from leap_fairseq.speech.vocabulary import WORD_BOUNDARY
from leap_fairseq.streaming import FRAME_MS, StreamingTranslator, Word
from leap_fairseq.streaming.policy import OPTIONS, read_options

# isort: split
# Behind fairseq, whose import is made quick, and torch's with it.
import torch

logger = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

NUMBER = (int, float)


@dataclass(frozen=True)
class Settings:
    """What a YAML says of the translator: processors with equal settings share its weights.

    Attributes:
        model: exported folder, or checkpoint.
        data_bin, config_yaml: of a checkpoint, folder and name of its data YAML; empty for those of training.
        latency_unit: what is written: word, char or spm.
        long_form: a recording holds any number of sentences.
        speech_gate: nothing is written before speech is heard.
        max_len_a, max_len_b: at most a * features + b tokens, in long form of each sentence.
        device: cpu, cuda, ...
        dtype: of the model: fp32, bf16 or fp16.
        policy: names and values of the options of the policy.
    """

    model: str
    data_bin: str = ""
    config_yaml: str = ""
    latency_unit: str = "word"
    long_form: bool = False
    speech_gate: bool = True
    max_len_a: float = 0.0
    max_len_b: int = 200
    device: str = "cpu"
    dtype: str = "fp32"
    policy: Tuple[Tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, config: SimpleNamespace) -> "Settings":
        """The settings of a YAML; keys that it has for others are left alone.

        Raises:
            ValueError: no model, or a value that cannot be, with its key.
        """
        if option(config, "example", (bool,), False):
            if getattr(config, "model", None):
                raise ValueError("the YAML has both example and model: give one of them")
            config = SimpleNamespace(**{**vars(config), "model": str(MODEL)})
        elif not getattr(config, "model", None):
            remedy = "give model: a folder of leap-fairseq export or a checkpoint; or example: true"
            raise ValueError(f"the YAML of the speech processor names no model: {remedy}")
        chosen = {name: getattr(config, name, None) for name in OPTIONS}
        given = {"policy": tuple(read_options(chosen, "of the YAML").items())}
        for field in fields(cls):
            if field.name != "policy":
                default = "" if field.name == "model" else field.default
                kinds = NUMBER if type(default) is float else (type(default),)
                given[field.name] = option(config, field.name, kinds, default)
        if given["dtype"] not in DTYPES:
            raise ValueError(f"dtype of the YAML is {given['dtype']}, but must be one of {', '.join(DTYPES)}")
        return cls(**given)


def option(config: SimpleNamespace, name: str, kinds: Sequence[type], default: Any) -> Any:
    """The value of a key, or the default where it is missing or empty; a ValueError where it is of another kind."""
    value = getattr(config, name, None)
    if value is None:
        return default
    if type(value) not in kinds:
        wanted = {bool: "true or false", str: "a text", int: "a whole number", float: "a number"}[kinds[-1]]
        raise ValueError(f"{name} of the YAML is {value!r:.60}, but must be {wanted}")
    return value


@functools.cache
def loaded(settings: Settings) -> StreamingTranslator:
    """The translator of some settings, once a process.

    Raises:
        FileNotFoundError, ValueError: as for :func:`leap_fairseq.models.load_translator`.
    """
    translator = load_translator(
        settings.model,
        settings.data_bin or None,
        settings.config_yaml or None,
        unit=settings.latency_unit,
        max_len_a=settings.max_len_a,
        max_len_b=settings.max_len_b,
        long_form=settings.long_form,
        speech_gate=settings.speech_gate,
        **dict(settings.policy),
    )
    return translator.to(settings.device, DTYPES[settings.dtype])


class LeapSpeechProcessor(SpeechProcessor):
    """Writes what :class:`leap_fairseq.streaming.StreamingTranslator` writes, and takes nothing back.

    Args:
        config: of the YAML. Beside the keys of :class:`Settings` and the options of the policy: ``example``, true for
            the model that comes with leap-fairseq; ``src_lang`` and ``tgt_lang``, the languages of the model, which
            are then the only ones that a client may ask for; and simulstream's ``speech_chunk_size``, seconds of
            speech between two calls (default: those between two decisions of the policy).

    Raises:
        FileNotFoundError, ValueError: the model cannot be loaded, or a value cannot be.
    """

    def __init__(self, config: SimpleNamespace):
        super().__init__(config)
        self.settings = Settings.of(config)
        self.stream = loaded(self.settings).new_stream()
        is_example = option(config, "example", (bool,), False)
        self._languages = {
            "src_lang": option(config, "src_lang", (str,), ""),
            "tgt_lang": option(config, "tgt_lang", (str,), LANGUAGE if is_example else ""),
        }
        decision = self.stream.policy.decision_frames * FRAME_MS / 1000
        self._chunk_seconds = option(config, "speech_chunk_size", NUMBER, decision)
        if not self._chunk_seconds > 0:
            raise ValueError(f"speech_chunk_size of the YAML is {self._chunk_seconds}, but must be above 0 (seconds)")
        self._has_written = False

    @property
    def speech_chunk_size(self) -> float:
        """Speech between two calls of :meth:`process_chunk`, in seconds."""
        return self._chunk_seconds

    @classmethod
    def load_model(cls, config: SimpleNamespace) -> None:
        """Loads the weights, unless a processor with the same settings has.

        Raises:
            FileNotFoundError, ValueError: as for the class.
        """
        loaded(Settings.of(config))

    def process_chunk(self, waveform: np.ndarray) -> IncrementalOutput:
        """Takes the next piece of speech.

        Args:
            waveform: [N], floats in [-1, 1], 16 kHz.

        Returns:
            The words that became known.
        """
        return self._output(self.stream.push(waveform, SAMPLE_RATE))

    def end_of_stream(self) -> IncrementalOutput:
        """Ends the speech, or a part of it that simulstream's VAD has cut out: what follows is translated anew.

        Returns:
            All words that remain.
        """
        words = self.stream.finish()
        self.stream.reset()
        return self._output(words)

    def clear(self) -> None:
        """Forgets the speech, for a new client."""
        self.stream.reset()
        self._has_written = False

    def set_source_language(self, language: str) -> None:
        """Takes note of the language that a client will speak; a ValueError for one that the model does not hear."""
        self._check_language("src_lang", language)

    def set_target_language(self, language: str) -> None:
        """Takes note of the language that a client wants; a ValueError for one that the model does not write."""
        self._check_language("tgt_lang", language)

    def tokens_to_string(self, tokens: List[str]) -> str:
        """The text of words (or characters, or pieces), to be put behind what was written before."""
        if self.settings.latency_unit == "word":
            return "".join(f" {token}" for token in tokens)
        return "".join(tokens).replace(WORD_BOUNDARY, " ")

    def _output(self, words: Sequence[Word]) -> IncrementalOutput:
        tokens = [word.text for word in words]
        text = self.tokens_to_string(tokens)
        text = text if self._has_written else text.lstrip()
        self._has_written = self._has_written or bool(tokens)
        return IncrementalOutput(new_tokens=tokens, new_string=text, deleted_tokens=[], deleted_string="")

    def _check_language(self, name: str, asked: str) -> None:
        own = self._languages[name]
        if own and base_language(asked) != base_language(own):
            raise ValueError(
                f"a client asks for {name} {asked}, but the model has {own}, as its YAML says: ask for {own}"
            )
        if not own:
            logger.warning(
                "a client asks for %s %s, which changes nothing: the model has one, and the YAML does not say which",
                *(name, asked),
            )
