"""The speech encoder: convolutions that subsample by 4, and transformer layers with a chosen attention.

With full visibility a frame sees the whole utterance. With segment visibility it sees the segments up to its own and
nothing of later ones: the same frames then come out of a stream, segment by segment, each computed once. All that a
stream carries on is the last inputs of the convolutions and, for each layer, the state of its attention.

Shape legend: B batch, T feature frames, S encoder frames (ceil(T / 4) of an utterance), M mel bins, C model dimension.
"""

import copy
import functools
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from fairseq.models.speech_to_text.convtransformer import ConvTransformerEncoder
from fairseq.models.transformer import TransformerConfig
from torch import Tensor, nn

from leap_fairseq.attention import full_visibility, segment_visibility
from leap_fairseq.layers.state import Count, as_offset, by_row, increased
from leap_fairseq.layers.subsampler import SUBSAMPLING, Carry, CausalConvSubsampler, ConvSubsampler
from leap_fairseq.models.options import attention_spec, refuse_fading_whole
from leap_fairseq.modules import LeapEncoderLayer, merge_attention, position_rows, split_attention


@dataclass(frozen=True)
class EncoderState:
    """What a stream carries from one segment to the next. Immutable: a call returns a new one.

    Attributes:
        carry: of the convolutions.
        waiting: [B, W, features], subsampled frames whose segment is not complete.
        attention: the states of the layers, in fairseq's form.
        frames: encoder frames that have been computed.
    """

    carry: Optional[Carry] = None
    waiting: Optional[Tensor] = None
    attention: Dict[str, Any] = field(default_factory=dict)
    frames: Count = 0

    @property
    def shape(self) -> tuple:
        """The shapes of what is carried on, but for the batch; streams in which they agree can be computed together."""
        held = () if self.carry is None else (*self.carry, self.waiting)
        return tuple(x.shape[1:] for x in held)


class LeapConvTransformerEncoder(ConvTransformerEncoder):
    """fairseq's convolutional transformer encoder, with a chosen attention and an utterance independent of its batch.

    Args:
        args: the model's options.

    Raises:
        ValueError: segment visibility without a segment of at least 1 frame, or with one that does not divide the
            pre-decision of wait-k; a half-life where all frames see the whole utterance, or one that cannot be.
    """

    def __init__(self, args):
        # fairseq builds everything but the layers, which are ours.
        without_layers = copy.copy(args)
        without_layers.encoder_layers = 0
        super().__init__(without_layers)
        # fairseq makes a norm for the output of pre-norm layers and never applies it; its gradient would be missing.
        self.layer_norm = None
        self.segment = args.encoder_segment if args.encoder_visibility == "segment" else None
        schedule, subsampler = full_visibility, ConvSubsampler
        if args.encoder_visibility == "segment":
            _check_segment(args)
            schedule, subsampler = functools.partial(segment_visibility, segment=self.segment), CausalConvSubsampler
        self.conv = subsampler(args.conv_out_channels)
        refuse_fading_whole(vars(args))
        half_life, frames = args.encoder_attention_half_life, max_encoder_frames(args)
        self.fades = half_life is not None
        spec = attention_spec(
            *(args, args.encoder_self_attention, schedule, frames),
            half_life=half_life,
            learned_pace=args.encoder_attention_learned_pace,
        )
        cfg = TransformerConfig.from_namespace(args)
        self.transformer_layers = nn.ModuleList(LeapEncoderLayer(cfg, spec) for _ in range(args.encoder_layers))

    def upgrade_state_dict_named(self, state_dict, name):
        """Leaves the unused norm of a checkpoint of fairseq's own encoder out."""
        for parameter in ("weight", "bias"):
            state_dict.pop(f"{name}.layer_norm.{parameter}", None)
        return super().upgrade_state_dict_named(state_dict, name)

    def forward(self, src_tokens: Tensor, src_lengths: Tensor) -> Dict[str, List[Tensor]]:
        """Encodes utterances.

        Args:
            src_tokens: [B, T, M], features; anything may lie beyond the lengths.
            src_lengths: int64 [B], frames of each utterance.

        Returns:
            fairseq's dictionary: "encoder_out" holds [S, B, C]; "encoder_padding_mask" bool [B, S], True = padding,
            or nothing where there is none.
        """
        # fairseq-generate --fp16 halves the model, and leaves the features as they are.
        x, lengths = self.conv(src_tokens.to(self.out.weight.dtype), src_lengths)
        count, x = x.shape[1], self._whole_segments(x)
        padding = torch.arange(x.shape[1], device=x.device) >= lengths.unsqueeze(1)
        x = self._embed(x, self.embed_positions(padding))
        mask = padding if bool(padding.any()) else None
        for layer in self.transformer_layers:
            x = layer(x, mask)
        if len(x) > count:
            x, mask = x[:count], mask[:, :count]
            mask = mask if bool(mask.any()) else None
        return {
            "encoder_out": [x],
            "encoder_padding_mask": [] if mask is None else [mask],
            "encoder_embedding": [],
            "encoder_states": [],
            "src_tokens": [],
            "src_lengths": [],
        }

    def encode_segment(
        self, features: Tensor, state: Optional[EncoderState] = None, last: bool = False
    ) -> Tuple[Tensor, EncoderState]:
        """Encodes the next features of a stream, however they are cut: the frames of all calls are those of forward.

        Args:
            features: [B, T, M], T >= 0; B streams that have been going on equally long.
            state: what the last call returned, None at the start.
            last: the stream ends here, so that its last segment may be shorter.

        Returns:
            The frames whose segment is now complete, [S, B, C], and the state behind them.

        Raises:
            ValueError: an encoder with full visibility, whose frames are never final.
        """
        if self.segment is None:
            raise ValueError(
                "this encoder sees whole utterances, so that no frame is final before the end: train with "
                "--encoder-visibility segment"
            )
        state = state or EncoderState()
        x, carry = self.conv.step(features, state.carry)
        if state.waiting is not None:
            x = torch.cat((state.waiting, x), dim=1)
        count = x.shape[1] if last else x.shape[1] - x.shape[1] % self.segment
        waiting, x = x[:, count:], x[:, :count]
        if not count:
            empty = features.new_zeros(0, features.shape[0], self.out.out_features)
            return empty, EncoderState(carry, waiting, state.attention, state.frames)
        x = self._whole_segments(x)
        padding = None
        if x.shape[1] > count:
            padding = (torch.arange(x.shape[1], device=x.device) >= count).expand(x.shape[:2])
        numbers = torch.arange(1, x.shape[1] + 1, device=x.device) + self.padding_idx
        numbers = (as_offset(state.frames, x.device) + numbers).expand(x.shape[0], -1)
        x = self._embed(x, position_rows(self.embed_positions, numbers))
        # fairseq's softmax attention writes into the dictionaries it is given.
        attention = {key: dict(held) if isinstance(held, dict) else held for key, held in state.attention.items()}
        for layer in self.transformer_layers:
            x = layer.step(x, attention, padding)
        return x[:count], EncoderState(carry, waiting, attention, increased(state.frames, count))

    def merge_states(self, states: Sequence[Optional[EncoderState]]) -> Optional[EncoderState]:
        """The states of several streams as one, for :meth:`encode_segment`.

        Args:
            states: each of one stream, of the same ``shape``; None before its first features. The streams may have
                been going on differently long.

        Returns:
            A state with a row for each; of a single stream its own.

        Raises:
            ValueError: an attention is not linear.
        """
        if len(states) == 1:
            return states[0]
        known = [state or EncoderState() for state in states]
        carry = waiting = None
        if known[0].carry is not None:
            carry = tuple(torch.cat(pieces) for pieces in zip(*(state.carry for state in known)))
            waiting = torch.cat([state.waiting for state in known])
        attention = merge_attention(self, [state.attention for state in known])
        return EncoderState(carry, waiting, attention, tuple(state.frames for state in known))

    def split_state(self, merged: EncoderState, count: int) -> List[EncoderState]:
        """The reverse of :meth:`merge_states`, of `count` streams."""
        if count == 1:
            return [merged]
        attention: List[Dict[str, Any]] = [{} for _ in range(count)]
        split_attention(self, merged.attention, attention)
        carries = zip(*(piece.split(1) for piece in merged.carry))
        rows = zip(carries, merged.waiting.split(1), attention, by_row(merged.frames, count))
        return [EncoderState(*row) for row in rows]

    def _whole_segments(self, x: Tensor) -> Tensor:
        """Frames [B, S, features], where weights fade with hidden ones behind them that fill the last segment.

        A frame is as old as there are newer ones in the segments of a query. Else it would be older in a batch with a
        longer utterance than alone.
        """
        return nn.functional.pad(x, (0, 0, 0, -x.shape[1] % self.segment)) if self.fades else x

    def _embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Subsampled frames [B, S, features] as input of the layers, [S, B, C]."""
        x = self.embed_scale * self.out(x) + positions
        return nn.functional.dropout(x, p=self.dropout, training=self.training).transpose(0, 1)


def max_encoder_frames(args) -> int:
    """The longest utterance in encoder frames, from ``--max-source-positions``."""
    return -(-args.max_source_positions // SUBSAMPLING)


def _check_segment(args) -> None:
    """Refuses no segment, one below 1 frame, and one that does not divide the pre-decision of wait-k."""
    segment, ratio = args.encoder_segment, getattr(args, "fixed_pre_decision_ratio", None)
    if segment is None or segment < 1:
        raise ValueError(
            f"--encoder-visibility segment needs --encoder-segment of at least 1 encoder frame, not {segment}: give "
            "the --fixed-pre-decision-ratio of the translator"
        )
    if ratio is not None and ratio % segment:
        raise ValueError(
            f"--encoder-segment {segment} does not divide --fixed-pre-decision-ratio {ratio}: a pre-decision must be "
            "whole segments, or its last frames would not be final"
        )
