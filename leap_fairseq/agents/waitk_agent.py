"""The SimulEval 1.1.4 adapter over the streaming translator.

    simuleval --agent-class leap_fairseq.agents.WaitkAgent --model-path checkpoint_best.pt --data-bin DATA \\
        --source SPLIT.wav_list --target SPLIT.target --output OUT --source-segment-size 280
"""

from argparse import ArgumentParser, Namespace
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
        FileNotFoundError, ValueError: as for :func:`leap_fairseq.simul.checkpoint.load_translator`.
    """

    def __init__(self, args: Namespace):
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
        parser.add_argument("--test-waitk-lagging", type=int, help="k (default: the highest of training)")
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
