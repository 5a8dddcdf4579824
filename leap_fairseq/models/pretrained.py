"""Beginning with an encoder or decoder of another training: all of its weights, into a network that computes the same.

Weights of equal shapes load into another attention or another number of heads without a complaint; so the options are
compared before the weights are.
"""

import logging
from pathlib import Path
from typing import Any, Dict, List

from fairseq import checkpoint_utils

logger = logging.getLogger(__name__)

SHARED = ("activation_fn", "normalizer_floor", "leap_factor", "no_scale_embedding", "no_token_positional_embeddings")

OPTIONS = {
    "encoder": (
        "encoder_self_attention",
        "encoder_layers",
        "encoder_embed_dim",
        "encoder_ffn_embed_dim",
        "encoder_attention_heads",
        "encoder_normalize_before",
        "conv_out_channels",
        "input_feat_per_channel",
        "input_channels",
        "encoder_visibility",
        "encoder_segment",
        *SHARED,
    ),
    "decoder": (
        "decoder_self_attention",
        "decoder_cross_attention",
        "decoder_layers",
        "decoder_embed_dim",
        "decoder_output_dim",
        "decoder_ffn_embed_dim",
        "decoder_attention_heads",
        "decoder_normalize_before",
        "decoder_learned_pos",
        "share_decoder_input_output_embed",
        *SHARED,
    ),
}
"""What the weights of each component are for. A dropout may differ, and so may the policy: it has no weights."""

FAIRSEQ = {
    "encoder_self_attention": "softmax",
    "decoder_self_attention": "softmax",
    "decoder_cross_attention": "softmax",
    "encoder_visibility": "full",
}
"""What a checkpoint without our options was trained with: one of fairseq's own ConvTransformer."""


def load_pretrained(component: Any, kind: str, args: Any, checkpoint: str) -> None:
    """Replaces all weights of a component by those of a checkpoint, and logs which.

    Args:
        component: a new encoder or decoder.
        kind: "encoder" or "decoder".
        args: the options of its model.
        checkpoint: path of a .pt file of fairseq-train.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an option of the component differs, or the file holds other tensors than it has.
    """
    flag = f"--load-pretrained-{kind}-from"
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"no checkpoint at {checkpoint} ({flag}): give a .pt file that fairseq-train saved")
    state = checkpoint_utils.load_checkpoint_to_cpu(checkpoint)
    trained = state["cfg"]["model"]
    changed = differences(kind, vars(trained) if hasattr(trained, "__dict__") else dict(trained), vars(args))
    if changed:
        raise ValueError(
            f"{flag} {checkpoint}: its {kind} was trained with {'; '.join(changed)}: give the same options, or train "
            "another one to begin with"
        )
    prefix = f"{kind}."
    weights = {name[len(prefix) :]: tensor for name, tensor in state["model"].items() if name.startswith(prefix)}
    try:
        component.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{flag} {checkpoint}: its {kind} has other tensors than this model's ({reason})") from error
    loaded = component.state_dict()
    arch = getattr(trained, "arch", None) or getattr(trained, "_name", "model")
    updates = (state.get("optimizer_history") or [{}])[-1].get("num_updates", "unknown")
    logger.info(
        "%s: all %d tensors (%s numbers) are those of %s, a %s after %s updates: %s",
        *(kind, len(loaded), f"{sum(tensor.numel() for tensor in loaded.values()):,}", checkpoint, arch, updates),
        ", ".join(sorted({name.split(".")[0] for name in loaded})),
    )


def differences(kind: str, before: Dict[str, Any], now: Dict[str, Any]) -> List[str]:
    """The options of a component that differ, each as "--name A, not B".

    Args:
        kind: "encoder" or "decoder".
        before: options that the checkpoint was trained with.
        now: those of the command.
    """
    changed = []
    leap = "leap" in (str(now.get(name)) for name in OPTIONS[kind])
    for name in OPTIONS[kind]:
        if name not in now or (name == "leap_factor" and not leap):
            continue
        if name == "encoder_segment" and now.get("encoder_visibility") != "segment":
            continue
        was = before.get(name, FAIRSEQ.get(name, now[name]))
        if str(was) != str(now[name]):
            changed.append(f"--{name.replace('_', '-')} {was}, not {now[name]}")
    # Only where positions are part of the attention does the longest length matter.
    if "cosformer" in str(now.get(f"{kind}_self_attention")):
        name = "max_source_positions" if kind == "encoder" else "max_target_positions"
        if before.get(name) != now.get(name):
            changed.append(f"--{name.replace('_', '-')} {before.get(name)}, not {now.get(name)}")
    return changed
