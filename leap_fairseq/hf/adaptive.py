"""Embeddings and softmax in bands of frequency, by fairseq's names: rare words have narrower vectors.

The softmax gives the logarithms of probabilities of all words; taken as logits, they stay what they are.

Shape legend: B batch, T tokens, C model dimension, V vocabulary.

Source:
    Baevski, Auli, Adaptive Input Representations for Neural Language Modeling, ICLR 2019; Grave et al., Efficient
    softmax approximation for GPUs, ICML 2017.
"""

from typing import List, Sequence

import torch
from torch import Tensor, nn

from leap_fairseq.hf.configuration import LeapLMConfig


def bands(cutoffs: Sequence[int], vocab_size: int) -> List[range]:
    """The numbers of the words of each band, as a range.

    Args:
        cutoffs: rising, the first number behind each band; the last band may be left out, it ends with the vocabulary.
        vocab_size: V.
    """
    ends = [*cutoffs, *([vocab_size] if vocab_size > cutoffs[-1] else [])]
    return [range(first, end) for first, end in zip([0, *ends], ends)]


class AdaptiveEmbedding(nn.Module):
    """A table for each band, and a projection to the model dimension.

    Args:
        config: of a model with ``input_cutoffs``.
    """

    def __init__(self, config: LeapLMConfig):
        super().__init__()
        self.bands = bands(config.input_cutoffs, config.vocab_size)
        self.width = config.hidden_size
        self.embeddings = nn.ModuleList()
        for number, band in enumerate(self.bands):
            dim = int(config.embedding_size // config.input_factor**number)
            table = nn.Embedding(len(band), dim, config.pad_token_id if number == 0 else None)
            self.embeddings.append(nn.Sequential(table, nn.Linear(dim, self.width, bias=False)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Vectors [B, T, C] of tokens, int64 [B, T]."""
        out = self.embeddings[0][1].weight.new_empty(*tokens.shape, self.width)
        # What is in no band is left to the table of the first or the last one, which refuses it.
        number_of_band = sum(((tokens >= band.start).long() for band in self.bands[1:]), torch.zeros_like(tokens))
        for number, (band, embed) in enumerate(zip(self.bands, self.embeddings)):
            inside = number_of_band == number
            # Autocast gives another type, as it would not of a single table.
            out[inside] = embed(tokens[inside] - band.start).to(out.dtype)
        return out


class TiedHead(nn.Module):
    """Scores of the words of the first band, whose weights are its embeddings, and of the other bands."""

    def __init__(self, width: int, words: int, others: int):
        super().__init__()
        self.word_proj = nn.Linear(width, words, bias=False)
        self.class_proj = nn.Linear(width, others, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scores [..., words + others] of x, [..., C]."""
        return torch.cat((self.word_proj(x), self.class_proj(x)), -1)


class TransposedLinear(nn.Module):
    """A linear map by the transpose of its weights [C, dim], which are those of a projection of the embeddings."""

    def __init__(self, width: int, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, dim))

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] of x, [..., C]."""
        return x @ self.weight


class AdaptiveSoftmax(nn.Module):
    """Probabilities of the first band and of each other band as a whole, and within each other band.

    Args:
        config: of a model with ``output_cutoffs``.
    """

    def __init__(self, config: LeapLMConfig):
        super().__init__()
        first, *others = bands(config.output_cutoffs, config.vocab_size)
        self.first, width, tied = len(first), config.output_size, config.tie_word_embeddings
        self.dropout = nn.Dropout(config.output_dropout)
        if tied:
            self.head = TiedHead(width, len(first), len(others))
        else:
            self.head = nn.Linear(width, len(first) + len(others), bias=False)
        self.tail = nn.ModuleList()
        for number, band in enumerate(others, start=1):
            dim = int(width // config.output_factor**number)
            tied_projection = tied and config.tie_projections
            project = TransposedLinear(width, dim) if tied_projection else nn.Linear(width, dim, bias=False)
            out = nn.Linear(dim, len(band), bias=False)
            self.tail.append(nn.Sequential(project, nn.Dropout(config.output_dropout), out))

    def forward(self, x: Tensor) -> Tensor:
        """The logarithms of the probabilities of all words.

        Args:
            x: [B, T, C].

        Returns:
            [B, T, V], in the type of x; the sums are taken in float32.
        """
        x = self.dropout(x)
        head = self.head(x).float().log_softmax(-1)
        parts = [head[..., : self.first]]
        for number, tail in enumerate(self.tail):
            whole = head[..., self.first + number, None]
            parts.append(tail(x).float().log_softmax(-1) + whole)
        return torch.cat(parts, -1).to(x.dtype)


def tied_names(config: LeapLMConfig) -> dict[str, str]:
    """Parameters of a decoder that are one with others: the name of each, and of the other."""
    if config.output_cutoffs is None:
        return {"decoder.output_projection.weight": "decoder.embed_tokens.weight"}
    softmax, embeddings = "decoder.adaptive_softmax", "decoder.embed_tokens.embeddings"
    names = {f"{softmax}.head.word_proj.weight": f"{embeddings}.0.0.weight"}
    for number in range(1, len(bands(config.output_cutoffs, config.vocab_size))):
        names[f"{softmax}.tail.{number - 1}.2.weight"] = f"{embeddings}.{number}.0.weight"
        if config.tie_projections:
            names[f"{softmax}.tail.{number - 1}.0.weight"] = f"{embeddings}.{number}.1.weight"
    return names
