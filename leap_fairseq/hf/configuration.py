"""The options of ``leap_transformer_lm`` as a configuration of transformers."""

from transformers import PreTrainedConfig


class LeapLMConfig(PreTrainedConfig):
    """Sizes and attention of a language model; a name without an explanation means what it does in transformers.

    Attributes:
        attention: a linear kind of :data:`leap_fairseq.attention.KINDS`.
        leap_factor, normalizer_floor, half_life: as for :class:`leap_fairseq.layers.LinearAttention`.
        max_positions: the longest block of training. Learned positions end there, and a kind that needs a
            length counts by it; to any other it means nothing.
        activation_function: by fairseq's name.
        positions: "sinusoidal", "learned" or "none".
        embedding_scale: factor of the embeddings.
        embedding_size, output_size: width of the embeddings, and of what the output projection reads.
        normalize_before: whether layer norms stand before each block.
        final_norm: whether one stands behind the last layer.
        normalize_embedding: whether one stands behind the embeddings.
    """

    model_type = "leap_lm"
    keys_to_ignore_at_inference = ["cache"]

    vocab_size: int = 50000
    hidden_size: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 6
    num_attention_heads: int = 8
    max_positions: int = 1024
    attention: str = "leap"
    leap_factor: int = 4
    normalizer_floor: float = 0.1
    half_life: str | None = None
    activation_function: str = "relu"
    positions: str = "sinusoidal"
    embedding_scale: float = 1.0
    embedding_size: int = 512
    output_size: int = 512
    normalize_before: bool = True
    final_norm: bool = True
    normalize_embedding: bool = False
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    initializer_range: float = 0.02
    use_cache: bool = True
    bos_token_id: int | None = 2
    pad_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    tie_word_embeddings: bool = False
