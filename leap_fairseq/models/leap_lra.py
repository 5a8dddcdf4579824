"""``leap_lra``: a small transformer encoder that classifies long sequences, with any attention of the zoo.

Sizes and shape are those of the comparison of Skyformer and LeaPformer on Long-Range Arena: pre-norm layers, learned
positions, mean or CLS pooling and a head of two layers, which for pairs reads both pooled sequences, their product and
their difference. Two departures make a sequence independent of its batch: the mean is over its tokens alone, and CLS
is a token of its own in front of the sequence instead of in place of its last token.

Shape legend: B batch, T tokens, C model dimension.
"""

from argparse import Namespace
from dataclasses import dataclass, field
from typing import Optional, Tuple

import torch
from fairseq.dataclass import ChoiceEnum
from fairseq.models import BaseFairseqModel, register_model, register_model_architecture
from fairseq.models.transformer import TransformerConfig
from fairseq.modules import LayerNorm
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.utils import safe_getattr
from torch import Tensor, nn

from leap_fairseq.models.checked import CheckedModel
from leap_fairseq.models.options import AttentionOptions, attention_option, leap_factor_option, option
from leap_fairseq.modules import LeapEncoderLayer
from leap_fairseq.modules.zoo import ZOO_KINDS, ZooSizes, ZooSpec

PADDING = 0
POOLINGS = ("mean", "cls")


@dataclass
class LeapLraConfig(AttentionOptions):
    """Options of ``leap_lra``."""

    attention: ChoiceEnum(ZOO_KINDS) = attention_option("attention over the sequence", "encoder")
    attention_features: int = option(
        128,
        "random features (performer), projected positions (linformer), landmarks (nystromformer, skyformer), active "
        "queries at the longest length (informer)",
        "encoder",
    )
    attention_block: int = option(
        64, "tokens of a block (bigbird), of a chunk (reformer), of a side of the window (local)", "encoder"
    )
    attention_hashes: int = option(2, "rounds of hashing (reformer)", "encoder")
    attention_random_blocks: int = option(3, "random blocks of a block of queries (bigbird)", "encoder")
    leap_factor: int = leap_factor_option(2)
    pooling: ChoiceEnum(POOLINGS) = option(
        "mean", "what stands for a sequence: the mean of its tokens, or a token before it", "encoder"
    )
    encoder_layers: int = option(2, "layers of the encoder", "encoder")
    encoder_embed_dim: int = option(64, "model dimension", "encoder")
    encoder_ffn_embed_dim: int = option(128, "hidden width of the feed-forward networks", "encoder")
    encoder_attention_heads: int = option(2, "attention heads", "encoder")
    dropout: float = field(default=0.1, metadata={"help": "dropout of embeddings and sublayers"})
    attention_dropout: float = field(
        default=0.1, metadata={"help": "dropout of attention weights (linear attention: of keys), where there are any"}
    )
    activation_dropout: float = field(default=0.1, metadata={"help": "dropout inside of the feed-forward networks"})


class LraEncoder(nn.Module):
    """Tokens to one vector for each sequence.

    Args:
        args: the model's options.
        vocab_size: V, padding included.
        max_length: tokens of the longest sequence.

    Raises:
        ValueError: sizes that do not fit the attention.
    """

    def __init__(self, args, vocab_size: int, max_length: int):
        super().__init__()
        dim, self.max_length = args.encoder_embed_dim, max_length
        # The last row is the CLS token.
        self.cls = vocab_size if args.pooling == "cls" else None
        extra = 0 if self.cls is None else 1
        self.embed_tokens = nn.Embedding(vocab_size + extra, dim, padding_idx=PADDING)
        self.embed_positions = nn.Embedding(max_length + extra, dim)
        for embedding in (self.embed_tokens, self.embed_positions):
            nn.init.normal_(embedding.weight, std=0.02)
        nn.init.zeros_(self.embed_tokens.weight[PADDING])
        self.dropout_module = FairseqDropout(args.dropout, module_name=self.__class__.__name__)
        cfg, spec = layer_config(args), attention_of(args, max_length + extra)
        self.layers = nn.ModuleList(LeapEncoderLayer(cfg, spec) for _ in range(args.encoder_layers))
        self.layer_norm = LayerNorm(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Encodes and pools.

        Args:
            tokens: int64 [B, T], 0 = padding, on the right.

        Returns:
            [B, C], finite also for a sequence that is all padding.

        Raises:
            ValueError: sequences longer than the positions.
        """
        if tokens.shape[1] > self.max_length:
            raise ValueError(
                f"sequences of {tokens.shape[1]} tokens are longer than the {self.max_length} positions of the model: "
                "cut them with --lra-max-length, or train a model for them"
            )
        if self.cls is not None:
            tokens = torch.cat((torch.full_like(tokens[:, :1], self.cls), tokens), dim=1)
        padding = tokens.eq(PADDING)
        x = self.embed_tokens(tokens) + self.embed_positions.weight[: tokens.shape[1]]
        x = self.dropout_module(x).transpose(0, 1)
        mask = padding if bool(padding.any()) else None
        for layer in self.layers:
            x = layer(x, mask)
        x = self.layer_norm(x)
        if self.cls is not None:
            return x[0]
        real = (~padding).t().unsqueeze(-1)
        # Thousands of tokens: a half type would lose the last of them.
        total = x.masked_fill(~real, 0).sum(0, dtype=torch.promote_types(x.dtype, torch.float32))
        return (total / real.sum(0).clamp(min=1)).to(x)


@register_model("leap_lra", dataclass=LeapLraConfig)
class LeapLraModel(CheckedModel, BaseFairseqModel):
    """Classifies sequences, or pairs of them.

    Args:
        encoder: of one sequence; both of a pair go through it.
        args: the model's options.
        num_classes: C.
        pairs: whether a sample is two sequences.

    Source:
        Chen et al., Skyformer, NeurIPS 2021, section 5 (sizes); Agostinelli, Hong, Chen, LeaPformer, ICML 2024,
        section 4.1; the tasks: Tay et al., Long Range Arena, ICLR 2021.
    """

    tasks = ("long_range_arena",)

    def __init__(self, encoder: LraEncoder, args, num_classes: int, pairs: bool):
        super().__init__()
        self.encoder, self.pairs = encoder, pairs
        pooled = args.encoder_embed_dim * (4 if pairs else 1)
        hidden = args.encoder_ffn_embed_dim
        self.head = nn.Sequential(nn.Linear(pooled, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))

    @classmethod
    def build_model(cls, args, task):
        """fairseq's hook; the task has ``facts``, the sizes of the data.

        Raises:
            ValueError: sizes that do not fit the attention, or a task that is not Long-Range Arena.
        """
        if not hasattr(task, "facts"):
            raise ValueError(f"leap_lra needs --task long_range_arena, not a {type(task).__name__}")
        facts = task.facts
        return cls(LraEncoder(args, facts.vocab_size, facts.max_length), args, facts.num_classes, facts.pairs)

    def forward(self, src_tokens: Tensor, src_tokens2: Optional[Tensor] = None, **unused) -> Tensor:
        """Computes logits.

        Args:
            src_tokens: int64 [B, T], 0 = padding, on the right.
            src_tokens2: int64 [B, T'], the second sequences of pairs; None otherwise.
            unused: what else fairseq's batches hold, src_lengths among them.

        Returns:
            [B, classes].

        Raises:
            ValueError: a second sequence that is missing, or that the model has no use for.
        """
        if (src_tokens2 is not None) != self.pairs:
            given, wanted = ("one", "two") if self.pairs else ("two", "one")
            raise ValueError(f"the batch holds {given} sequences a sample, the model reads {wanted}: use its own data")
        pooled = self.encoder(src_tokens)
        if src_tokens2 is not None:
            other = self.encoder(src_tokens2)
            pooled = torch.cat((pooled, other, pooled * other, pooled - other), dim=-1)
        return self.head(pooled)

    def max_positions(self) -> int:
        """Tokens of the longest sequence."""
        return self.encoder.max_length


def layer_config(args) -> TransformerConfig:
    """fairseq's form of the options, for its layers."""
    names = ("encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads", "encoder_layers")
    rates = ("dropout", "attention_dropout", "activation_dropout")
    options = {name: getattr(args, name) for name in (*names, *rates)}
    return TransformerConfig.from_namespace(Namespace(**options, encoder_normalize_before=True, activation_fn="gelu"))


def attention_of(args, max_length: int) -> ZooSpec:
    """The attention that the options name."""
    sizes = ZooSizes(
        max_length=max_length,
        features=args.attention_features,
        block=args.attention_block,
        hashes=args.attention_hashes,
        random_blocks=args.attention_random_blocks,
        leap_factor=args.leap_factor,
        normalizer_floor=args.normalizer_floor,
    )
    return ZooSpec(args.attention, sizes)


def count_parameters(model: nn.Module) -> Tuple[int, int]:
    """Trained numbers, and those of the tables of tokens and positions among them."""
    total = sum(parameter.numel() for parameter in model.parameters())
    tables = (model.encoder.embed_tokens, model.encoder.embed_positions)
    return total, sum(table.weight.numel() for table in tables)


# fairseq itself registers the architecture "leap_lra": the defaults of the dataclass.


@register_model_architecture("leap_lra", "leap_lra_tiny")
def leap_lra_tiny(args):
    """For trying things out: 1 layer, d 32, 2 heads, blocks of 16, 32 features."""
    args.encoder_layers = safe_getattr(args, "encoder_layers", 1)
    args.encoder_embed_dim = safe_getattr(args, "encoder_embed_dim", 32)
    args.encoder_ffn_embed_dim = safe_getattr(args, "encoder_ffn_embed_dim", 64)
    args.attention_features = safe_getattr(args, "attention_features", 32)
    args.attention_block = safe_getattr(args, "attention_block", 16)
