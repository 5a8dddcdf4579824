"""Beginning with an encoder or decoder of another training: all of its weights, into a network that computes the same.

Weights of equal shapes load into another attention or another number of heads without a complaint; so the options are
compared before the weights are.
"""

import logging
from pathlib import Path
from typing import Any

from leap_fairseq.models.checked import read_checked
from leap_fairseq.models.options import differences, model_options

logger = logging.getLogger(__name__)

SAME_NETWORKS = dict.fromkeys(("convtransformer", "convtransformer_espnet"), ("speech_to_text", "leap_speech_to_text"))
"""Architectures of fairseq's own whose encoder with softmax attention is one of ours, and their tasks."""


def load_pretrained(component: Any, kind: str, args: Any) -> None:
    """Replaces all weights of a component by those of the checkpoint that the options name, if any, and logs which.

    Args:
        component: a new encoder or decoder.
        kind: "encoder" or "decoder".
        args: the options of its model.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an option of the component differs, the file holds other tensors than it has, or it asks for another
            model than ours.
    """
    flag, checkpoint = f"--load-pretrained-{kind}-from", getattr(args, f"load_pretrained_{kind}_from", None)
    if not checkpoint:
        return
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"no checkpoint at {checkpoint} ({flag}): give a .pt file that fairseq-train saved")
    state = read_checked(checkpoint, also=SAME_NETWORKS)
    trained = model_options(state["cfg"])
    changed = differences(trained, vars(args), kind)
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
    arch = trained.get("arch") or trained.get("_name", "model")
    updates = (state.get("optimizer_history") or [{}])[-1].get("num_updates", "unknown")
    logger.info(
        "%s: all %d tensors (%s numbers) are those of %s, a %s after %s updates: %s",
        *(kind, len(loaded), f"{sum(tensor.numel() for tensor in loaded.values()):,}", checkpoint, arch, updates),
        ", ".join(sorted({name.split(".")[0] for name in loaded})),
    )
