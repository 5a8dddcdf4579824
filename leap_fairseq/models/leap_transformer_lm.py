"""``leap_transformer_lm``: fairseq's transformer language model with linear attention.

Sizes and options are those of fairseq's ``transformer_lm``; a command changes by the name of its architecture.
"""

import copy
import logging
from dataclasses import dataclass
from typing import Optional

import torch
from fairseq import options
from fairseq.dataclass import ChoiceEnum
from fairseq.models import register_model, register_model_architecture
from fairseq.models.transformer_lm import (
    TransformerLanguageModel,
    TransformerLanguageModelConfig,
    base_lm_architecture,
    transformer_lm_baevski_wiki103,
)
from fairseq.tasks.language_modeling import LanguageModelingTask
from fairseq.utils import safe_getattr

from leap_fairseq.attention import KINDS, causal_visibility
from leap_fairseq.models.checked import CheckedModel
from leap_fairseq.models.options import (
    AttentionOptions,
    attention_option,
    attention_spec,
    half_life_option,
    learned_pace_option,
    refuse_generation_options,
    refuse_options,
)
from leap_fairseq.modules import ATTENTION_KINDS, LeapTransformerDecoder

logger = logging.getLogger(__name__)

WITHOUT_END = 10**9
"""Positions of a model without positions, as a number that fairseq can count with."""

WITHOUT_EFFECT = {
    **dict.fromkeys(("scale_attn", "scale_heads", "scale_fc", "scale_resids"), False),
    **{"base_layers": 0, "decoder_xformers_att_config": None},
}
"""Options of fairseq's ``transformer_lm`` that this model does not have, and the value that asks for nothing."""


@dataclass
class LeapTransformerLanguageModelConfig(AttentionOptions, TransformerLanguageModelConfig):
    """Options of ``leap_transformer_lm``: fairseq's for ``transformer_lm``, and the attention."""

    decoder_self_attention: ChoiceEnum(ATTENTION_KINDS) = attention_option(
        "attention over the text so far", "decoder", "max_target_positions"
    )
    attention_half_life: Optional[str] = half_life_option("decoder")
    attention_learned_pace: bool = learned_pace_option("decoder")


@register_model("leap_transformer_lm", dataclass=LeapTransformerLanguageModelConfig)
class LeapTransformerLanguageModel(CheckedModel, TransformerLanguageModel):
    """An autoregressive language model whose training is linear in length and whose decoding state is constant.

    Source:
        Agostinelli, Hong, Chen, LeaPformer, ICML 2024, section 4.2 (Wikitext-103).
    """

    tasks = ("leap_language_modeling", "language_modeling")
    carries_state = True

    def __init__(self, decoder):
        super().__init__(decoder)
        # Of training and of evaluation, so that a validation does not disturb the epoch that it interrupts.
        self._carried = {True: {}, False: {}}

    def __getstate__(self):
        """Of a copy, as ``--store-ema`` makes one: what is carried belongs to a gradient, and cannot be copied."""
        return {**self.__dict__, "_carried": {True: {}, False: {}}}

    def forward(self, src_tokens, continues=None, **kwargs):
        """Computes logits.

        Args:
            src_tokens: int64 [B, T].
            continues: with ``--carry-state``, whether the tokens follow those of the last call; None to compute them
                from nothing.
            kwargs: as for fairseq's language models.

        Returns:
            Logits [B, T, vocabulary] (features, with an adaptive softmax), and fairseq's dictionary.
        """
        if continues is None:
            return super().forward(src_tokens, **kwargs)
        state = self._carried[self.training]
        if not continues:
            state.clear()
        self.decoder.detach_state(state)
        return self.decoder.forward_block(src_tokens, state)

    def carried_state(self):
        """What training carries to its next block, as plain numbers and tensors; None before the first one."""
        state = self._carried[True]
        return self.decoder.export_state(state) if state else None

    def carry_on(self, exported):
        """Trains on behind the block after which :meth:`carried_state` was asked for.

        Raises:
            ValueError: the state of a model of other sizes.
        """
        self._carried[True] = self.decoder.import_state(exported)

    def get_normalized_probs(self, net_output, log_probs, sample=None):
        """fairseq's hook.

        Raises:
            ValueError: an adaptive softmax is trained by another criterion than its own.
        """
        if self.training and self.decoder.adaptive_softmax is not None:
            raise ValueError(
                "--adaptive-softmax-cutoff is trained by --criterion adaptive_loss --ddp-backend legacy_ddp: give both"
            )
        return super().get_normalized_probs(net_output, log_probs, sample)

    def prepare_for_inference_(self, cfg):
        """fairseq's hook.

        Raises:
            ValueError: an option of generation that needs a source.
        """
        reason = "a source, and a language model has none"
        refuse_generation_options(cfg, dict.fromkeys(("constraints", "print_alignment"), reason))
        super().prepare_for_inference_(cfg)

    def max_positions(self):
        """The longest block: that of training, or any where the model has no positions."""
        args = self.decoder.args
        kind = KINDS[str(args.decoder_self_attention)]
        if self.decoder.embed_positions is None and kind.linear and not kind.needs_length:
            return WITHOUT_END
        return super().max_positions()

    @staticmethod
    def check_carry(args):
        """Refuses what cannot be carried.

        Raises:
            ValueError: softmax attention, whose state grows, or learned positions, which end.
        """
        if not KINDS[str(args.decoder_self_attention)].linear:
            raise ValueError("--carry-state needs linear attention: the state of softmax grows with the text")
        if args.decoder_learned_pos:
            raise ValueError("--carry-state needs positions without end: leave --decoder-learned-pos out")

    @classmethod
    def hub_models(cls):
        """There are no published checkpoints of this model."""
        return {}

    @classmethod
    def build_model(cls, args, task):
        """fairseq's hook.

        Raises:
            ValueError: attention options that do not fit the sizes, cutoffs that do not fit the dictionary, options
                that do not go together, or one that would have no effect.
        """
        if type(task) is LanguageModelingTask:
            logger.info(
                "--task language_modeling leaves out blocks that are longer than the positions of the model, and has "
                "no --carry-state: use --task leap_language_modeling"
            )
        refuse_options(args, "leap_transformer_lm", WITHOUT_EFFECT)
        if args.quant_noise_scalar and not torch.cuda.is_available():
            raise ValueError("--quant-noise-scalar needs a GPU, on which fairseq measures the weights: leave it out")
        _check_cutoffs(args, len(task.target_dictionary))
        _check_embeddings(args)
        # fairseq checks the options and builds the embeddings, in a model without layers; the decoder is ours.
        without_layers = copy.deepcopy(args)
        without_layers.decoder_layers = 0
        without_layers.decoder_layers_to_keep = None
        embeddings = super().build_model(without_layers, task).decoder.embed_tokens
        args.max_target_positions = without_layers.max_target_positions
        if args.decoder_layers_to_keep:
            args.decoder_layers = len(args.decoder_layers_to_keep.split(","))
        spec = attention_spec(
            *(args, args.decoder_self_attention, causal_visibility, args.max_target_positions),
            # A checkpoint from before there were half-lives has none.
            half_life=safe_getattr(args, "attention_half_life", None),
            learned_pace=safe_getattr(args, "attention_learned_pace", False),
        )
        return cls(LeapTransformerDecoder(args, task.target_dictionary, embeddings, self_attention=spec))


def _check_cutoffs(args, size: int) -> None:
    """Refuses bands of an adaptive input or softmax that do not divide a dictionary of `size` symbols."""
    for name, used in (("adaptive_input_cutoff", args.adaptive_input), ("adaptive_softmax_cutoff", True)):
        text = getattr(args, name)
        flag = f"--{name.replace('_', '-')}"
        try:
            cutoffs = options.eval_str_list(text, type=int) if used and text is not None else []
        except Exception as error:
            # fairseq evaluates the text as Python, which fails in any way.
            raise ValueError(f"{flag} {text!r} must be whole numbers with commas between them") from error
        if any(a >= b for a, b in zip([0, *cutoffs], [*cutoffs, size + 1])):
            raise ValueError(
                f"{flag} {text} must rise and stay within the {size} symbols of the dictionary: "
                f"give, for example, {size // 5},{size * 3 // 5}"
            )


def _check_embeddings(args) -> None:
    """Refuses embeddings that cannot be shared, or have no bands."""
    width, own = args.decoder_output_dim, args.decoder_input_dim
    if args.adaptive_input and not args.adaptive_input_cutoff:
        raise ValueError("--adaptive-input needs --adaptive-input-cutoff: give, for example, that of the softmax")
    if args.share_decoder_input_output_embed and args.adaptive_softmax_cutoff is None:
        if args.character_embeddings or args.adaptive_input or own != width:
            raise ValueError(
                "--share-decoder-input-output-embed, a part of the tiny architecture, needs one matrix for both: leave "
                "--character-embeddings and --adaptive-input out (or give --adaptive-softmax-cutoff), and give "
                f"--decoder-input-dim {own} and --decoder-output-dim {width} alike"
            )
    sides = [[getattr(args, f"adaptive_{side}_{x}") for x in ("cutoff", "factor")] for side in ("input", "softmax")]
    if args.tie_adaptive_weights and not (
        args.adaptive_input and sides[0] == sides[1] and own == width == args.decoder_embed_dim
    ):
        raise ValueError(
            "--tie-adaptive-weights needs --adaptive-input, and of the input and the softmax the same cutoffs, factors "
            "and dimensions: give --adaptive-input-cutoff as --adaptive-softmax-cutoff, or leave it out"
        )


# fairseq itself registers the architecture "leap_transformer_lm": the defaults of the dataclass (6 layers, d 512).


@register_model_architecture("leap_transformer_lm", "leap_transformer_lm_wiki103")
def leap_transformer_lm_wiki103(args):
    """The sizes of ``transformer_lm_wiki103``: 16 layers, d 1024, 8 heads, adaptive input and softmax."""
    transformer_lm_baevski_wiki103(args)


@register_model_architecture("leap_transformer_lm", "leap_transformer_lm_tiny")
def leap_transformer_lm_tiny(args):
    """For demonstrations on a CPU: 4 layers, d 128, 4 heads, tied embeddings."""
    args.decoder_layers = safe_getattr(args, "decoder_layers", 4)
    args.decoder_embed_dim = safe_getattr(args, "decoder_embed_dim", 128)
    args.decoder_ffn_embed_dim = safe_getattr(args, "decoder_ffn_embed_dim", 512)
    args.decoder_attention_heads = safe_getattr(args, "decoder_attention_heads", 4)
    args.share_decoder_input_output_embed = safe_getattr(args, "share_decoder_input_output_embed", True)
    base_lm_architecture(args)
