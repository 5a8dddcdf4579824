"""From a checkpoint and its data folder to a translator that hears what the model was trained on."""

import logging
from pathlib import Path
from typing import Any, Dict, Optional, Union

from fairseq import checkpoint_utils, tasks

from leap_fairseq.streaming.detokenizer import StreamingDetokenizer
from leap_fairseq.speech import NUM_MEL_BINS, SAMPLE_RATE, GlobalCmvn

logger = logging.getLogger(__name__)

UNAVAILABLE = {
    "use_audio_input": "the model reads raw audio",
    "prepend_tgt_lang_tag": "the target begins with a language tag",
    "prepend_bos_and_append_tgt_lang_tag": "the target ends with a language tag",
}


def load_translator(
    translator_class,
    checkpoint: str,
    data: Optional[str] = None,
    config_yaml: Optional[str] = None,
    unit: str = "word",
    **options,
):
    """Loads a wait-k model and everything around it.

    Args:
        translator_class: the class to make.
        checkpoint: path of the .pt file.
        data: folder of the data YAML (default: the one of training, as the checkpoint remembers it).
        config_yaml: its name (default: the one of training).
        unit: what it writes: "word"; "char" for languages without spaces; or "spm", pieces.
        options: of the translator: lagging, max_len_a, max_len_b.

    Returns:
        A translator on the CPU, in float32.

    Raises:
        FileNotFoundError: no such checkpoint, data YAML, vocabulary or statistics.
        ValueError: features, normalisation or tokenisation that cannot stream, a dictionary of another size than the
            model's, an unknown unit, or a model that is not a wait-k translator.
    """
    state = read_checkpoint(checkpoint)
    cfg = state["cfg"]
    if data is not None:
        cfg.task.data = str(data)
    if config_yaml is not None:
        cfg.task.config_yaml = config_yaml
    if not Path(cfg.task.data, cfg.task.config_yaml).is_file():
        raise FileNotFoundError(
            f"no data YAML at {Path(cfg.task.data, cfg.task.config_yaml)}: give the prepared folder of the model "
            "(--data-bin) and the name of its YAML (--config-yaml)"
        )
    task = tasks.setup_task(cfg.task)
    check_streaming(task.data_cfg)
    model = task.build_model(cfg.model)
    model.load_state_dict(state["model"], strict=True, model_cfg=cfg.model)
    model.eval()
    transforms = task.data_cfg.get_feature_transforms("test", False)
    cmvn = None
    if transforms.get("feature_transforms"):
        cmvn = GlobalCmvn.load(transforms["global_cmvn"]["stats_npz_path"])
    detokenizer = StreamingDetokenizer(task.data_cfg.bpe_tokenizer["sentencepiece_model"], unit)
    logger.info("loaded %s: wait-k %s, ratio %d", checkpoint, cfg.model.waitk_lagging, model.decoder.waitk.ratio)
    return translator_class(model, task.target_dictionary, detokenizer, cmvn, **options)


def read_checkpoint(checkpoint: Union[str, Path]) -> Dict[str, Any]:
    """Reads a checkpoint of a wait-k model.

    Args:
        checkpoint: path of the .pt file.

    Returns:
        What fairseq-train saved.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the model has no policy; with the name of its architecture.
    """
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"no checkpoint at {checkpoint}: give the .pt file that fairseq-train saved")
    state = checkpoint_utils.load_checkpoint_to_cpu(str(checkpoint))
    options = state["cfg"].model
    if getattr(options, "waitk_lagging", None) is None:
        name = getattr(options, "arch", None) or getattr(options, "_name", None)
        raise ValueError(
            f"{checkpoint} holds a {name}, which has no wait-k policy: train --arch leap_convtransformer_simul_trans"
        )
    return state


def check_streaming(data_cfg) -> None:
    """Refuses what cannot stream, by name.

    Args:
        data_cfg: fairseq's ``S2TDataConfig``.

    Raises:
        ValueError: with the key of the data YAML, its value, and what to do.
    """
    transforms = data_cfg.get_feature_transforms("test", False).get("feature_transforms") or []
    for name in transforms:
        if name == "utterance_cmvn":
            raise ValueError(
                "the data YAML normalises by utterance_cmvn, which needs the whole utterance and cannot stream: "
                "prepare the data with global_cmvn (data_prep/prep_mustc.py does) and train on that"
            )
        if name != "global_cmvn":
            raise ValueError(f"the data YAML applies {name} in evaluation, which cannot stream: use global_cmvn alone")
    for key, reason in UNAVAILABLE.items():
        if data_cfg.config.get(key):
            raise ValueError(f"the data YAML sets {key}: {reason}, which the streaming translator does not support")
    for key, given, wanted in (
        ("input_feat_per_channel", data_cfg.input_feat_per_channel, NUM_MEL_BINS),
        ("input_channels", data_cfg.input_channels, 1),
        ("sample_rate", data_cfg.sample_rate, SAMPLE_RATE),
    ):
        if given != wanted:
            raise ValueError(f"the data YAML sets {key} to {given}, the streaming features have {wanted}")
    if data_cfg.pre_tokenizer.get("tokenizer") is not None:
        raise ValueError(
            "the data YAML sets pre_tokenizer, which cannot be undone in a stream: use SentencePiece alone"
        )
    if data_cfg.bpe_tokenizer.get("bpe") != "sentencepiece":
        raise ValueError(
            f"the data YAML sets bpe_tokenizer to {data_cfg.bpe_tokenizer.get('bpe')}: the streaming translator makes "
            "words from sentencepiece only"
        )
