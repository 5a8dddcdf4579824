"""Convolutional subsampling of speech features by 4, blind to padding.

Shape legend: B batch, T frames (T' = ceil(T / 4) after subsampling), M mel bins, C channels.
"""

from typing import Optional, Tuple

import torch
from torch import Tensor, nn

SUBSAMPLING = 4
"""Features of one frame."""

Carry = Tuple[Tensor, Tensor]
"""The inputs of each convolution that its next outputs read, [B, 1 or C, frames, M]."""


class ConvSubsampler(nn.Sequential):
    """Two 3 x 3 convolutions of stride 2 over time and frequency, each followed by a ReLU.

    The parameters are named as in fairseq's ``ConvTransformerEncoder.conv``. There, the first convolution leaves its
    bias in padded frames and the second reads it, so that an utterance depends on the batch it is in; here, padded
    frames are zeroed in between, as the convolution's own border is.

    Args:
        channels: C of both convolutions.

    Source:
        Inaguma et al., ESPnet-ST, ACL 2020 (the shape of the network).
    """

    time_padding = 1

    def __init__(self, channels: int):
        padding = (self.time_padding, 1)
        super().__init__(
            nn.Conv2d(1, channels, 3, stride=2, padding=padding),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, stride=2, padding=padding),
            nn.ReLU(inplace=True),
        )

    def forward(self, features: Tensor, lengths: Tensor) -> Tuple[Tensor, Tensor]:
        """Subsamples.

        Args:
            features: [B, T, M], whatever lies beyond ``lengths``.
            lengths: int64 [B], frames of each utterance.

        Returns:
            [B, T', C * M'], zero beyond the lengths, and the lengths after subsampling, int64 [B].
        """
        x = _one_channel(features.masked_fill(~_heard(features.shape[1], lengths).unsqueeze(-1), 0))
        for layer in self:
            if isinstance(layer, nn.Conv2d):
                x = layer(self._before(x))
                lengths = (lengths + 1) // 2
                x.mul_(_heard(x.shape[2], lengths)[:, None, :, None].to(x.dtype))
            else:
                x = layer(x)
        return x.transpose(1, 2).flatten(2), lengths

    def _before(self, x: Tensor) -> Tensor:
        return x


class CausalConvSubsampler(ConvSubsampler):
    """The same two convolutions, padded on the left only: frame s reads the features up to 4 s, and no later one.

    Its last inputs are all that a stream has to carry on.
    """

    time_padding = 0

    def step(self, features: Tensor, carry: Optional[Carry] = None) -> Tuple[Tensor, Carry]:
        """Subsamples the next features of a stream, however they are cut.

        Args:
            features: [B, T, M], T >= 0.
            carry: of the features before, None at the start.

        Returns:
            The frames that became known, [B, T', C * M'], and the new carry.
        """
        x = _one_channel(features)
        inputs = []
        for index, layer in enumerate(self):
            if isinstance(layer, nn.Conv2d):
                x = self._before(x) if carry is None else torch.cat((carry[index // 2], x), dim=2)
                outputs = max(0, (x.shape[2] - 1) // 2)
                inputs.append(x[:, :, 2 * outputs :])
                x = layer(x) if outputs else x.new_zeros(*x.shape[:1], layer.out_channels, 0, (x.shape[3] + 1) // 2)
            else:
                x = layer(x)
        return x.transpose(1, 2).flatten(2), tuple(inputs)

    def _before(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x, (0, 0, 2, 0))


def _one_channel(features: Tensor) -> Tensor:
    """[B, T, M] as [B, 1, T, M] with the channels innermost in memory, which halves the time of the convolutions."""
    return features.unsqueeze(-1).permute(0, 3, 1, 2)


def _heard(frames: int, lengths: Tensor) -> Tensor:
    """Which frames lie within the lengths, bool [B, frames]."""
    return torch.arange(frames, device=lengths.device) < lengths.unsqueeze(1)
