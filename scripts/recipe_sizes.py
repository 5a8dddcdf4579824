"""What the full recipes compute: parameters, operations and words, counted from their sizes; for `plan.py`."""

import functools
from typing import Dict, List, NamedTuple

ACTIVATION_BYTES = 34
"""Of a layer in half precision, for each token and column, without attention itself. Source: Korthikanti et al.,
Reducing Activation Recomputation in Large Transformer Models, 2022, section 4.1."""


class Recipe(NamedTuple):
    """A training, counted for each word that is predicted.

    Attributes:
        words: of the whole training.
        batch: words of a batch on one card.
        parameters: of the model.
        optimizer_bytes: of a parameter: weights and gradients in half precision and in float32, and averages.
        products: multiplications and additions of matrix products, forward and backward.
        columns: positions of attention times their columns, over all layers.
        activations: bytes beside those of attention.
        head: columns of a head.
        attentions: of all layers.
    """

    words: float
    batch: float
    parameters: int
    optimizer_bytes: int
    products: float
    columns: float
    activations: float
    head: int
    attentions: int


def attention_parameters(dim: int, heads: int, leap: bool = True) -> int:
    """Of four projections, and of LeaP's two networks, which all heads share."""
    head, hidden = dim // heads, dim // heads // 4
    return 4 * (dim * dim + dim) + 2 * leap * (head * hidden + 2 * hidden + 1)


def layer_parameters(dim: int, inner: int, heads: int, leap: bool = True, attentions: int = 1) -> int:
    """Of attentions and a feed-forward network, each with its norm."""
    attention = attention_parameters(dim, heads, leap) + 2 * dim
    return attentions * attention + 2 * dim * inner + inner + dim + 2 * dim


def language_model(
    layers: int, dim: int, inner: int, heads: int, words: int, cutoffs: List[int], leap: bool = True
) -> Dict[str, float]:
    """Parameters, and products of a word, of a ``leap_transformer_lm_wiki103`` of these sizes.

    The bands of rare words are left out of the products: few words are in them.
    """
    ends = [*cutoffs, words]
    bands = [end - first for first, end in zip([0, *ends], ends)]
    widths = [dim // 4**number for number in range(len(bands))]
    embeddings = sum(size * width + width * dim for size, width in zip(bands, widths)) + dim * (len(bands) - 1)
    parameters = layers * layer_parameters(dim, inner, heads, leap) + embeddings
    products = 6 * (layers * (4 * dim * dim + 2 * dim * inner) + dim * (bands[0] + len(bands) - 1) + dim * dim)
    return {"parameters": parameters, "products": products}


def translator(
    encoder_layers: int,
    decoder_layers: int,
    dim: int,
    inner: int,
    heads: int,
    words: int,
    leap: bool = True,
    channels: int = 256,
) -> Dict[str, float]:
    """Parameters of a ``leap_convtransformer_simul_trans_espnet`` of these sizes, and products by what they are for.

    Returns:
        "parameters"; products of a "frame" of 40 ms, and of a "word".
    """
    bins = 80
    convolutions = 9 * channels + channels + 9 * channels * channels + channels
    out = channels * (bins // 4) * dim
    layers = encoder_layers * layer_parameters(dim, inner, heads, leap)
    layers += decoder_layers * layer_parameters(dim, inner, heads, leap, attentions=2)
    # The first convolution halves time and bins, the second both again.
    frame = 9 * channels * 2 * bins // 2 + 9 * channels * channels * bins // 4 + out
    frame += encoder_layers * (4 * dim * dim + 2 * dim * inner) + decoder_layers * 2 * dim * dim
    word = decoder_layers * (6 * dim * dim + 2 * dim * inner) + words * dim
    # Of norms behind all layers, the encoder has none.
    parameters = convolutions + out + dim + layers + words * dim + 2 * dim
    return {"parameters": parameters, "frame": 6 * frame, "word": 6 * word}


def wikitext103(leap: bool, gpus: int) -> Recipe:
    """250,000 updates of 65,536 words, in batches of 4,096, or of what is left for each of more than 16 cards, a block
    at least. Source: scripts/lm/train.sh."""
    layers, dim, heads, update, block = 16, 1024, 8, 65_536, 512
    batch = min(4096, max(block, update // gpus // block * block))
    sizes = language_model(layers, dim, 4096, heads, 267_744, [20_000, 60_000], leap)
    head = (20_000 + 2) * (2 + 4 + 4)  # scores, their logarithms in float32, and the gradient
    return Recipe(
        words=250_000 * max(update, gpus * block),
        batch=batch,
        parameters=sizes["parameters"],
        optimizer_bytes=2 + 2 + 4 + 4 + 4,
        products=sizes["products"],
        columns=layers * dim,
        activations=layers * dim * ACTIVATION_BYTES + head,
        head=dim // heads,
        attentions=layers,
    )


HOURS, EPOCHS, VOCABULARY = 408, 40, 8000
"""Of MuST-C en-de (Di Gangi et al., NAACL 2019); the limit of the recipes, which comes before that of their updates."""

WORDS_PER_S = {"st": 3.5, "asr": 3.8}
"""Of the corpus, 4.0 million words of German and 4.3 of English in its hours, with 1.3 pieces to a word."""

SECONDS = {"st": 900, "asr": 600}
"""Of speech in an update; one card takes two batches for it, several share it."""


def mustc(leap: bool, gpus: int, task: str = "st") -> Recipe:
    """40 epochs, in updates of 90,000 frames of 10 ms (60,000 of a recogniser). Source: scripts/simulst/recipes.sh."""
    dim, heads, layers, decoder_layers = 256, 8, 12, 6
    sizes = translator(layers, decoder_layers, dim, 2048, heads, VOCABULARY, leap)
    frames = 25 / WORDS_PER_S[task]  # of 40 ms, for a word
    convolved = 256 * 2 * (2 * 40 + 20) * frames
    layers_bytes = ACTIVATION_BYTES * dim * (layers * frames + 1.5 * decoder_layers)
    return Recipe(
        words=EPOCHS * HOURS * 3600 * WORDS_PER_S[task],
        batch=SECONDS[task] / max(2, gpus) * WORDS_PER_S[task],
        parameters=sizes["parameters"],
        optimizer_bytes=2 + 2 + 4 + 4 + 8,
        products=sizes["word"] + frames * sizes["frame"],
        columns=dim * (layers * frames + decoder_layers * (1 + (1 + frames) / 2)),
        activations=layers_bytes + convolved + VOCABULARY * (2 + 4 + 4),
        head=dim // heads,
        attentions=layers + 2 * decoder_layers,
    )


RECIPES = {
    "wikitext103": wikitext103,
    "mustc-asr": functools.partial(mustc, task="asr"),
    "mustc": mustc,
}
