"""A trained language model as a folder that Hugging Face's transformers loads: weights, configuration, tokenizer.

fairseq imports this file with each of its commands, which must neither need transformers nor wait for it: what needs it
is imported where it is used.
"""

import math
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Sequence, Union

import torch

from leap_fairseq.attention import KINDS
from leap_fairseq.files import DataError, whole_folder
from leap_fairseq.models.checked import asked_for, load_model, read_plain
from leap_fairseq.models.data_places import data_folder
from leap_fairseq.models.options import model_options
from leap_fairseq.speech.vocabulary import PIECES, WORD_BOUNDARY

if TYPE_CHECKING:
    from leap_fairseq.hf import LeapForCausalLM

ARCHITECTURE = "leap_transformer_lm"

REMOTE_CODE = '''"""Loaded by transformers with trust_remote_code=True; it needs `pip install 'leap-fairseq[hf]'`."""

from leap_fairseq.hf import LeapForCausalLM, LeapLMConfig  # noqa: F401
'''
CODE = "modeling_leap_lm.py"

REFUSED = {**dict.fromkeys(("character_embeddings", "quant_noise_pq", "quant_noise_scalar"), "train without it")}
"""Options of a model that is not exported, and what to do."""

WITHOUT_WEIGHTS = re.compile(r".*\.(version|dictionary_crc32|_float_tensor)")
"""Names of fairseq's buffers that hold none."""


def export_language_model(
    checkpoint: Union[str, Path],
    out: Union[str, Path],
    data: Optional[Union[str, Path]] = None,
    dtype: Optional[torch.dtype] = None,
) -> Path:
    """Writes a language model for transformers.

    Args:
        checkpoint: of a ``leap_transformer_lm`` with linear attention.
        out: the folder to make; an older one of this kind is replaced.
        data: folder of its dictionary, and of the model of its pieces (default: as in training, or near the
            checkpoint).
        dtype: of the weights (default: float32).

    Returns:
        The folder.

    Raises:
        DataError: another model, an option that cannot be carried over, pieces without their SentencePiece model, a
            weight that is too large for its type, or an ``out`` that holds something else.
        FileNotFoundError: no such checkpoint, or no dictionary.
        ValueError: a dictionary that is not the one of the training, or pieces that cannot be carried over.
    """
    checkpoint, out = Path(checkpoint), Path(out)
    if not checkpoint.is_file():
        raise FileNotFoundError(f"no checkpoint at {checkpoint}: give the .pt file that fairseq-train saved")
    if out.exists() and not (out / CODE).is_file() and any(out.iterdir()):
        raise DataError(f"{out} holds something that is not an exported language model: give a new folder")
    state = read_plain(checkpoint)
    asked = asked_for(state["cfg"], checkpoint)
    options = model_options(asked)
    name = options["_name"]
    if not name.startswith(ARCHITECTURE):
        raise DataError(f"{checkpoint} holds a {name}: --format huggingface is for a {ARCHITECTURE}")
    refuse_what_stays(options)
    folder = Path(data_folder(checkpoint, asked["task"]["data"], "dict.txt") if data is None else data)
    model, _, task = load_model(state, checkpoint, {"data": str(folder)})
    made = exported(model)
    # Before anything is written.
    tokenizer = _tokenizer(task.source_dictionary.symbols, folder)
    if dtype is not None:
        made = made.to(dtype)
        _check_finite(made, dtype)
    with whole_folder(out) as partial:
        made.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        for weights in partial.glob("*.safetensors"):
            # safetensors leaves them to their owner alone.
            shutil.copymode(partial / "config.json", weights)
        (partial / CODE).write_text(REMOTE_CODE, encoding="utf-8")
    return out


def _tokenizer(symbols: Sequence[str], folder: Path):
    """That of a dictionary, of words or pieces.

    Raises:
        DataError: there is no model of its pieces, or one of others.
    """
    from leap_fairseq.hf import piece_tokenizer, word_tokenizer

    pieces = sum(symbol.startswith(WORD_BOUNDARY) for symbol in symbols)
    if not (folder / PIECES).is_file():
        if pieces * 10 > len(symbols):
            raise DataError(
                f"{folder / 'dict.txt'} has pieces of SentencePiece ({pieces} of {len(symbols)} begin with "
                f"{WORD_BOUNDARY}), but no {PIECES} is beside it: put their model there under this name"
            )
        return word_tokenizer(symbols)
    made = piece_tokenizer(folder / PIECES)
    if made.convert_ids_to_tokens(range(len(made))) != list(symbols):
        raise DataError(
            f"{folder / PIECES} has other pieces than {folder / 'dict.txt'}: both must be of one preparation, as "
            "`leap-fairseq prepare wikitext --vocab-type` writes them"
        )
    return made


def refuse_what_stays(options: Mapping[str, Any]) -> None:
    """Refuses what transformers' form of the model has no place for.

    Args:
        options: of the model.

    Raises:
        DataError: with the name of the option.
    """
    from leap_fairseq.hf import ACTIVATIONS

    for name, remedy in REFUSED.items():
        value = options.get(name)
        if value:
            flag = f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")
            raise DataError(f"{flag} is not exported to transformers: {remedy}")
    kind = str(options.get("decoder_self_attention"))
    if not KINDS[kind].linear:
        raise DataError(
            f"--decoder-self-attention {kind} is not exported to transformers: make it linear first, by leap-fairseq "
            "convert --attention hedgehog"
        )
    activation = str(options.get("activation_fn"))
    if activation not in ACTIVATIONS:
        raise DataError(
            f"--activation-fn {activation} is not exported to transformers: train with one of {', '.join(ACTIVATIONS)}"
        )


def exported(model) -> "LeapForCausalLM":
    """The same model in transformers.

    Args:
        model: a ``LeapTransformerLanguageModel``, as fairseq builds it, with nothing of :data:`REFUSED`.
    """
    from leap_fairseq.hf import LeapForCausalLM, LeapLMConfig

    decoder = model.decoder
    config = LeapLMConfig(**_configuration(model), architectures=[LeapForCausalLM.__name__])
    module = CODE.removesuffix(".py")
    config.auto_map = {
        "AutoConfig": f"{module}.{LeapLMConfig.__name__}",
        "AutoModelForCausalLM": f"{module}.{LeapForCausalLM.__name__}",
    }
    made = LeapForCausalLM(config).eval()
    weights = {name: value for name, value in model.state_dict().items() if not WITHOUT_WEIGHTS.fullmatch(name)}
    made.load_state_dict(weights)
    # fairseq never writes padding.
    made.generation_config.suppress_tokens = [decoder.padding_idx]
    return made


def _configuration(model) -> Dict[str, Any]:
    """The fields of a configuration."""
    decoder, options = model.decoder, model.decoder.args
    width, words = options.decoder_embed_dim, decoder.dictionary
    positions = "learned" if options.decoder_learned_pos else "sinusoidal"
    half_life = getattr(options, "attention_half_life", None)
    return {
        "vocab_size": len(words),
        "hidden_size": width,
        "intermediate_size": options.decoder_ffn_embed_dim,
        "num_hidden_layers": len(decoder.layers),
        "num_attention_heads": options.decoder_attention_heads,
        "max_positions": options.max_target_positions,
        "attention": str(options.decoder_self_attention),
        "leap_factor": options.leap_factor,
        "normalizer_floor": options.normalizer_floor,
        "half_life": None if half_life is None else str(half_life),
        "learned_pace": bool(getattr(options, "attention_learned_pace", False)),
        "activation_function": str(options.activation_fn),
        "positions": "none" if decoder.embed_positions is None else positions,
        "embedding_scale": 1.0 if options.no_scale_embedding else math.sqrt(width),
        **_embeddings(decoder),
        "normalize_before": bool(options.decoder_normalize_before),
        "final_norm": decoder.layer_norm is not None,
        "normalize_embedding": decoder.layernorm_embedding is not None,
        **{name: float(getattr(options, name)) for name in ("dropout", "attention_dropout", "activation_dropout")},
        **{"bos_token_id": words.eos(), "eos_token_id": words.eos(), "pad_token_id": words.pad()},
    }


def _embeddings(decoder) -> Dict[str, Any]:
    """The fields about embeddings and output."""
    options, fields = decoder.args, {}
    if options.adaptive_input:
        fields["embedding_size"] = options.decoder_input_dim
        fields["input_cutoffs"] = list(decoder.embed_tokens.cutoff)
        fields["input_factor"] = float(options.adaptive_input_factor)
    else:
        fields["embedding_size"] = decoder.embed_tokens.embedding_dim
    if decoder.adaptive_softmax is None:
        shared = bool(options.share_decoder_input_output_embed)
        return {**fields, "output_size": decoder.output_projection.in_features, "tie_word_embeddings": shared}
    return {
        **fields,
        "output_size": decoder.adaptive_softmax.input_dim,
        "output_cutoffs": list(decoder.adaptive_softmax.cutoff),
        "output_factor": float(options.adaptive_softmax_factor),
        "output_dropout": float(options.adaptive_softmax_dropout),
        "tie_word_embeddings": bool(options.tie_adaptive_weights),
        "tie_projections": bool(options.tie_adaptive_proj),
    }


def _check_finite(model: "LeapForCausalLM", dtype: torch.dtype) -> None:
    for name, value in model.named_parameters():
        if not bool(value.isfinite().all()):
            raise DataError(f"{name} has a weight that is too large for {dtype}: take bfloat16 or float32 (--dtype)")
