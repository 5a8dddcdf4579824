"""Convolutional subsampling of speech features by 4, blind to padding.

Shape legend: B batch, T frames (T' = ceil(T / 4) after subsampling), M mel bins, C channels.
"""

from typing import Tuple

import torch
from torch import Tensor, nn


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

    def __init__(self, channels: int):
        super().__init__(
            nn.Conv2d(1, channels, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1),
            nn.ReLU(),
        )

    def forward(self, features: Tensor, lengths: Tensor) -> Tuple[Tensor, Tensor]:
        """Subsamples.

        Args:
            features: [B, T, M], whatever lies beyond ``lengths``.
            lengths: int64 [B], frames of each utterance.

        Returns:
            [B, T', C * M'], zero beyond the lengths, and the lengths after subsampling, int64 [B].
        """
        x = _silence(features.unsqueeze(1), lengths)
        for layer in self:
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                lengths = (lengths + 1) // 2
            else:
                x = _silence(x, lengths)
        return x.transpose(1, 2).flatten(2), lengths


def _silence(x: Tensor, lengths: Tensor) -> Tensor:
    """Zeroes the frames of x [B, C, T, M] beyond the lengths."""
    padded = torch.arange(x.shape[2], device=x.device) >= lengths.unsqueeze(1)
    return x.masked_fill(padded[:, None, :, None], 0)
