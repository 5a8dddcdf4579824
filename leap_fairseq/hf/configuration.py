"""The options of ``leap_transformer_lm`` as a configuration of transformers."""

from transformers import PreTrainedConfig


class LeapLMConfig(PreTrainedConfig):
    """Sizes and attention of a language model; a name without an explanation means what it does in transformers.

    Attributes:
        attention: a linear kind of :data:`leap_fairseq.attention.KINDS`.
        leap_factor, normalizer_floor, half_life, learned_pace: as for :class:`leap_fairseq.layers.LinearAttention`.
        max_positions: the longest block of training. Learned positions end there, and a kind that needs a
            length counts by it; to any other it means nothing.
        activation_function: by fairseq's name.
        positions: "sinusoidal", "learned" or "none".
        embedding_scale: factor of the embeddings.
        embedding_size, output_size: width of the embeddings (of the first band), and of what is read by the output
            projection or the adaptive softmax.
        input_cutoffs, input_factor: of adaptive embeddings: where each band of words ends, and how many times
            narrower each is than the one before. None for a single table.
        output_cutoffs, output_factor, output_dropout: likewise of an adaptive softmax. None for a single projection.
        tie_projections: whether embeddings and softmax also share the projections of their bands; with
            ``tie_word_embeddings``.
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
    learned_pace: bool = False
    activation_function: str = "relu"
    positions: str = "sinusoidal"
    embedding_scale: float = 1.0
    embedding_size: int = 512
    output_size: int = 512
    input_cutoffs: list[int] | None = None
    input_factor: float = 4.0
    output_cutoffs: list[int] | None = None
    output_factor: float = 4.0
    output_dropout: float = 0.0
    tie_projections: bool = False
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
