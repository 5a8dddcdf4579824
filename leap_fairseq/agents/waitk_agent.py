"""The SimulEval 1.1.4 adapter over the streaming translator.

    simuleval --agent-class leap_fairseq.agents.WaitkAgent --model-path checkpoint_best.pt --data-bin DATA \\
        --source SPLIT.wav_list --target SPLIT.target --output OUT --source-segment-size 280
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import Optional

import torch
from simuleval.agents import SpeechToTextAgent
from simuleval.agents.actions import Action, ReadAction, WriteAction

from leap_fairseq.simul import StreamingTranslator


class WaitkAgent(SpeechToTextAgent):
    """Reads and writes as :class:`leap_fairseq.simul.StreamingTranslator` does.

    Args:
        args: of the command line; see :meth:`add_args`.

    Raises:
        FileNotFoundError: a recording of the list is missing.
        FileNotFoundError, ValueError: as for :func:`leap_fairseq.simul.checkpoint.load_translator`.
    """

    def __init__(self, args: Namespace):
        check_recordings(getattr(args, "source", None))
        # SimulEval's constructor already calls reset().
        self.translator = StreamingTranslator.from_checkpoint(
            args.model_path,
            args.data_bin,
            args.config_yaml,
            lagging=args.test_waitk_lagging,
            max_len_a=args.max_len_a,
            max_len_b=args.max_len_b,
        )
        super().__init__(args)

    @staticmethod
    def add_args(parser: ArgumentParser) -> None:
        """Adds the agent's options to SimulEval's."""
        parser.add_argument("--model-path", required=True, help="checkpoint of a leap_convtransformer_simul_trans")
        parser.add_argument("--data-bin", help="folder of its data YAML (default: as in training)")
        parser.add_argument("--config-yaml", help="name of its data YAML (default: as in training)")
        parser.add_argument(
            "--test-waitk-lagging", type=at_least_one, metavar="K", help="k (default: the highest of training)"
        )
        parser.add_argument("--max-len-a", type=float, default=0.0, help="at most a * features + b tokens")
        parser.add_argument("--max-len-b", type=int, default=200, help="at most a * features + b tokens")

    def to(self, device: str, fp16: bool = False) -> None:
        """Moves the model, as SimulEval's --device and --dtype say."""
        self.translator.to(device, torch.float16 if fp16 else None)

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
        text = " ".join(word.text for word in words)
        if states.source_finished:
            return WriteAction(text, finished=True)
        return WriteAction(text, finished=False) if text else ReadAction()


def at_least_one(text: str) -> int:
    """A number of the command line, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} must be a number of at least 1")
    return int(text)


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
                "file, absolute or from the current directory; correct --source (data_prep/make_eval_list.py writes it)"
            )
