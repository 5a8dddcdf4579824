"""The SimulEval 1.1.4 adapter over the streaming translator.

    simuleval --agent-class leap_fairseq.agents.WaitkAgent --model-path my_translator --segment-ms 280 \\
        --source SPLIT.wav_list --target SPLIT.target --output OUT

`scripts/simulst/evaluate.sh` does so in several processes and can resume.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import Optional

import torch
from simuleval.agents import SpeechToTextAgent
from simuleval.agents.actions import Action, ReadAction, WriteAction

from leap_fairseq.models import load_translator
from leap_fairseq.streaming.policy import add_policy_options, at_least_one, policy_options

SEGMENT_MS = 160


class WaitkAgent(SpeechToTextAgent):
    """Reads and writes as :class:`leap_fairseq.streaming.StreamingTranslator` does.

    Args:
        args: of the command line; see :meth:`add_args`. Of SimulEval's own, ``--eval-latency-unit`` decides whether
            words, characters or pieces are written; ``--device`` and ``--dtype`` say where and how it is computed.

    Raises:
        FileNotFoundError: a recording of the list is missing.
        FileNotFoundError, ValueError: as for :func:`leap_fairseq.models.load_translator`.
    """

    def __init__(self, args: Namespace):
        check_recordings(getattr(args, "source", None))
        self._bf16 = args.bf16
        unit = getattr(args, "eval_latency_unit", "word")
        self._separator = "" if unit == "char" else " "
        # SimulEval's constructor already calls reset().
        self.translator = load_translator(
            args.model_path,
            args.data_bin,
            args.config_yaml,
            unit=unit,
            max_len_a=args.max_len_a,
            max_len_b=args.max_len_b,
            long_form=args.long_form,
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

    def reset(self) -> None:
        """Prepares for the next utterance."""
        super().reset()
        self.translator.reset()
        self._consumed = 0

    def policy(self, states: Optional[None] = None) -> Action:
        """Reads, or writes the words that have become known; SimulEval calls it once per segment.

        The last call, when the source has ended, writes all that remains, so that nothing is lost or left behind. An
        early end of the hypothesis is kept to oneself until then: SimulEval would take it for the end of the source.
        """
        states = self.states
        samples = states.source[self._consumed :]
        self._consumed = len(states.source)
        words = self.translator.push(samples, states.source_sample_rate) if samples else []
        if states.source_finished:
            words += self.translator.finish()
        text = self._separator.join(word.text for word in words)
        if states.source_finished:
            return WriteAction(text, finished=True)
        return WriteAction(text, finished=False) if text else ReadAction()


def only_one(text: str) -> int:
    """The one beam that a policy can have which takes nothing back."""
    if text.strip() != "1":
        raise ArgumentTypeError(f"{text!r} must be 1: the agent shows each word at once and never takes it back")
    return 1


def check_recordings(source: Optional[str]) -> None:
    """Looks for all recordings before the first one is translated, which SimulEval does not.

    Args:
        source: SimulEval's --source; anything but a list in a file passes.

    Raises:
        FileNotFoundError: with the line of the list.
    """
    if not source or not Path(source).is_file():
        return
    for number, line in enumerate(Path(source).read_text(encoding="utf-8").rstrip("\n").split("\n"), start=1):
        if not Path(line.strip()).is_file():
            raise FileNotFoundError(
                f"no recording at {line.strip()!r}, line {number} of {source}: a line must be the path of an audio "
                "file, absolute or from the current directory; correct --source (`leap-fairseq prepare lists` makes it)"
            )
