"""``leap_convtransformer_simul_trans``: simultaneous speech translation by wait-k with a fixed pre-decision.

Target i sees ``min(S, (i + k) * r)`` encoder frames, in training by its schedule and in streaming because no more
have been read. With ``--encoder-visibility full`` the encoder sees the whole prefix, which streaming encodes anew at
each step, as in the paper; with ``segment``, streaming encodes each frame once, and training computes the same frames.
"""

import functools

from fairseq.models import register_model, register_model_architecture

from leap_fairseq.models.leap_convtransformer import (
    LeapConvTransformerModel,
    leap_convtransformer,
    leap_convtransformer_espnet,
    leap_convtransformer_tiny,
)
from leap_fairseq.models.options import WaitkOptions
from leap_fairseq.modules import LeapTransformerDecoder
from leap_fairseq.streaming import WaitkPolicy
from leap_fairseq.streaming.waitk import WaitkSchedule


class WaitkDecoder(LeapTransformerDecoder):
    """A decoder whose cross-attentions share one wait-k schedule; each training batch draws its k.

    Attributes:
        waitk: the schedule. Outside of training, its current k stays until it is set.
    """

    @property
    def waitk(self) -> WaitkSchedule:
        """The schedule of all cross-attentions."""
        return self.cross_attention_spec.schedule

    def train(self, mode: bool = True):
        """Switches between training, which draws k, and evaluation, which starts from the highest k of the range."""
        if self.training and not mode:
            self.waitk.set(self.waitk.high)
        return super().train(mode)

    def extract_features(self, prev_output_tokens, encoder_out=None, incremental_state=None, **kwargs):
        """Draws a k in training; see :meth:`LeapTransformerDecoder.extract_features`."""
        if self.training and incremental_state is None:
            self.waitk.draw()
        return super().extract_features(prev_output_tokens, encoder_out, incremental_state, **kwargs)


@register_model("leap_convtransformer_simul_trans")
class LeapConvTransformerSimulTransModel(LeapConvTransformerModel):
    """A wait-k speech translator.

    Source:
        Ma, Pino, Koehn, SimulMT to SimulST, AACL 2020 (fixed pre-decision); Agostinelli, Hong, Chen, LeaPformer,
        ICML 2024, section 4.3.
    """

    options = WaitkOptions
    decoder_class = WaitkDecoder

    @staticmethod
    def schedule_of(args) -> WaitkSchedule:
        """The part of the speech that wait-k has read.

        Raises:
            ValueError: a lagging or ratio that is not a number of at least 1.
        """
        return WaitkSchedule(args.waitk_lagging, args.fixed_pre_decision_ratio)

    @classmethod
    def policy_of(cls, args) -> WaitkPolicy:
        """The policy that a model with these options streams by; errors as for :meth:`schedule_of`."""
        return cls.schedule_of(args).policy

    @property
    def policy(self) -> WaitkPolicy:
        """The policy that it was trained for, with the k in the middle of its range."""
        return self.decoder.waitk.policy


# The sizes are those of the offline models.
_architecture = functools.partial(register_model_architecture, "leap_convtransformer_simul_trans")
_architecture("leap_convtransformer_simul_trans")(leap_convtransformer)
_architecture("leap_convtransformer_simul_trans_espnet")(leap_convtransformer_espnet)
_architecture("leap_convtransformer_simul_trans_tiny")(leap_convtransformer_tiny)
