"""The SimulEval 1.1.4 adapter over the streaming translator.

    simuleval --agent-class leap_fairseq.agents.WaitkAgent --model-path my_translator --segment-ms 280 \\
        --source SPLIT.wav_list --target SPLIT.target --output OUT

`scripts/simulst/evaluate.sh` does so in several processes and can resume.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import Optional

import torch
from simuleval.agents import AgentStates, SpeechToTextAgent
from simuleval.agents.actions import Action, ReadAction, WriteAction
from simuleval.data.segments import Segment

from leap_fairseq.agents import recordings
from leap_fairseq.models import load_translator
from leap_fairseq.scoring.units import KEPT_SPACE
from leap_fairseq.speech.corpus import read_lines
from leap_fairseq.speech.sound_list import why_unusable
from leap_fairseq.streaming import StreamingTranslator
from leap_fairseq.streaming.policy import add_gate_option, add_policy_options, at_least_one, policy_options

SEGMENT_MS = 160


class SourceStates(AgentStates):
    """What SimulEval keeps of a source, and the translation of it.

    Args:
        stream: of this source alone.

    Attributes:
        consumed: samples of ``source`` that the stream has heard.
    """

    def __init__(self, stream: StreamingTranslator):
        self.stream = stream
        super().__init__()

    def reset(self) -> None:
        """Prepares for the next source; SimulEval's constructor calls it."""
        super().reset()
        self.stream.reset()
        self.consumed = 0


class WaitkAgent(SpeechToTextAgent):
    """Reads and writes as :class:`leap_fairseq.streaming.StreamingTranslator` does.

    What is heard and written belongs to the states that SimulEval hands over, or to the agent's own where it hands over
    none: one agent serves any number of sources at a time, also within SimulEval's pipelines.

    Args:
        args: of the command line; see :meth:`add_args`. Of SimulEval's own, ``--eval-latency-unit`` decides whether
            words, characters or pieces are written; ``--device`` and ``--dtype`` say where and how it is computed.

    Raises:
        FileNotFoundError, ValueError: a recording of the list is missing, or cannot be translated; others as for
            :func:`leap_fairseq.models.load_translator`.
    """

    def __init__(self, args: Namespace):
        check_recordings(getattr(args, "source", None))
        self._bf16 = args.bf16
        unit = getattr(args, "eval_latency_unit", "word")
        self._separator = "" if unit == "char" else " "
        # SimulEval's constructor already calls build_states().
        self.translator = load_translator(
            args.model_path,
            args.data_bin,
            args.config_yaml,
            unit=unit,
            max_len_a=args.max_len_a,
            max_len_b=args.max_len_b,
            long_form=args.long_form,
            speech_gate=args.speech_gate,
            **policy_options(args),
        )
        super().__init__(args)

    @staticmethod
    def add_args(parser: ArgumentParser) -> None:
        """Adds the agent's options to SimulEval's."""
        text = "folder of `leap-fairseq export`, or checkpoint of a leap_convtransformer_simul_trans"
        parser.add_argument("--model-path", required=True, metavar="PATH", help=text)
        parser.add_argument("--data-bin", help="of a checkpoint: folder of its data YAML (default: as in training)")
        parser.add_argument("--config-yaml", help="of a checkpoint: name of its data YAML (default: as in training)")
        # SimulEval's own reader differs from the one of all else here.
        parser.set_defaults(dataloader=recordings.NAME)
        add_policy_options(parser, prefix="test-")
        # SimulEval's own name for it has a default of 1 ms, which would call the policy for each of them.
        parser.add_argument(
            *("--segment-ms", "--source-segment-size"),
            dest="source_segment_size",
            type=at_least_one,
            default=SEGMENT_MS,
            metavar="MS",
            help=f"speech between two calls of the policy (default: {SEGMENT_MS}); the words do not depend on it",
        )
        parser.add_argument("--beam", type=only_one, default=1, help="1: what has been written stays")
        parser.add_argument("--max-len-a", type=float, default=0.0, help="at most a * features + b tokens")
        parser.add_argument("--max-len-b", type=int, default=200, help="at most a * features + b tokens a sentence")
        text = "a recording holds any number of sentences: end one and begin the next"
        parser.add_argument("--long-form", action="store_true", help=text)
        add_gate_option(parser)
        # SimulEval reads its own --dtype before it knows of agents, with fp16 and fp32 as the only choices.
        parser.add_argument("--bf16", action="store_true", help="compute in bfloat16")

    def to(self, device: str, fp16: bool = False) -> None:
        """Moves the model, as SimulEval's --device, --dtype and --fp16, and our --bf16 say.

        Raises:
            ValueError: fp16 and bf16 at once.
        """
        if fp16 and self._bf16:
            raise ValueError("--bf16 and fp16 at once: give one of --bf16, --dtype fp16, --fp16")
        self.translator.to(device, torch.float16 if fp16 else torch.bfloat16 if self._bf16 else None)

    def build_states(self) -> SourceStates:
        """The states of a further source."""
        return SourceStates(self.translator.new_stream())

    def policy(self, states: Optional[SourceStates] = None) -> Action:
        """Reads, or writes the words that have become known; SimulEval calls it once per segment.

        The last call, when the source has ended, writes all that remains, so that nothing is lost or left behind. An
        early end of the hypothesis is kept to oneself until then: SimulEval would take it for the end of the source.

        Args:
            states: of the source, made by :meth:`build_states` (default: the agent's own).

        Raises:
            ValueError: states that were made elsewhere.
        """
        states = self.states if states is None else states
        if not isinstance(states, SourceStates):
            raise ValueError(f"the states are {type(states).__name__}: make those of a source with build_states()")
        samples = states.source[states.consumed :]
        states.consumed = len(states.source)
        words = states.stream.push(samples, states.source_sample_rate) if samples else []
        if states.source_finished:
            words += states.stream.finish()
        text = self._separator.join(word.text for word in words)
        # SimulEval would take plain spaces out of characters.
        text = text if self._separator else text.replace(" ", KEPT_SPACE)
        if states.source_finished:
            return WriteAction(text, finished=True)
        return WriteAction(text, finished=False) if text else ReadAction()

    def pop(self, states: Optional[SourceStates] = None) -> Segment:
        """What is written, in the language that the source asks for.

        Args:
            states: as for :meth:`policy`.
        """
        segment = super().pop(states)
        language = (self.states if states is None else states).tgt_lang
        # Where nobody has set one, SimulEval has a type for a language, which its server cannot write as JSON.
        segment.tgt_lang = language if isinstance(language, str) else None
        return segment


def only_one(text: str) -> int:
    """The one beam that a policy can have which takes nothing back."""
    if text.strip() != "1":
        raise ArgumentTypeError(f"{text!r} must be 1: the agent shows each word at once and never takes it back")
    return 1


def check_recordings(source: Optional[str]) -> None:
    """Reads all recordings before the first one is translated, which SimulEval does not.

    Args:
        source: SimulEval's --source; anything but a list in a file passes.

    Raises:
        FileNotFoundError: there is none, with the line of the list.
        ValueError: one cannot be translated, or the list is not UTF-8.
    """
    if not source or not Path(source).is_file():
        return
    for number, line in enumerate(read_lines(Path(source)), start=1):
        if Path(line).is_file():
            reason = why_unusable(line)
            if reason:
                remedy = "take it out of --source and --target, as leap-fairseq evaluate does by itself"
                raise ValueError(f"line {number} of {source}: {reason}; {remedy}")
        else:
            raise FileNotFoundError(
                f"no recording at {line!r}, line {number} of {source}: a line must be the path of an audio "
                "file, absolute or from the current directory; correct --source (`leap-fairseq prepare lists` makes it)"
            )
