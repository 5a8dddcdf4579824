"""From a checkpoint and its data folder, or an exported folder, to a translator that hears what it was trained on.

What is loaded says itself by which policy it streams; nothing here knows a particular one.
"""

import logging
from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Union

from fairseq.models import ARCH_MODEL_REGISTRY

from leap_fairseq.models.checked import read_checked
from leap_fairseq.models.data_places import data_folder
from leap_fairseq.models.options import model_options
from leap_fairseq.speech import NUM_MEL_BINS, SAMPLE_RATE, GlobalCmvn
from leap_fairseq.speech.data_config import require_closed
from leap_fairseq.streaming.detokenizer import StreamingDetokenizer
from leap_fairseq.streaming.policy import Policy
from leap_fairseq.streaming.translator import StreamingTranslator
from leap_fairseq.tasks.leap_speech_to_text import LeapS2TDataConfig, LeapSpeechToTextTask

logger = logging.getLogger(__name__)

CHECKPOINT, CONFIG = "checkpoint.pt", "config.yaml"
"""Files of an exported folder."""

UNAVAILABLE = {
    "use_audio_input": "the model reads raw audio",
    "prepend_tgt_lang_tag": "the target begins with a language tag",
    "prepend_bos_and_append_tgt_lang_tag": "the target ends with a language tag",
}


def load_translator(
    path: Union[str, Path],
    data: Optional[Union[str, Path]] = None,
    config_yaml: Optional[str] = None,
    *,
    unit: str = "word",
    max_len_a: float = 0.0,
    max_len_b: int = 200,
    long_form: bool = False,
    speech_gate: bool = True,
    **policy_options: Any,
) -> StreamingTranslator:
    """Loads a simultaneous translator and everything around it.

    Args:
        path: an exported folder, or the .pt file of a checkpoint.
        data: of a checkpoint, folder of its data YAML (default: the one of training, as the checkpoint remembers it, or
            the first place near the checkpoint; see :mod:`leap_fairseq.models.data_places`).
        config_yaml: of a checkpoint, name of its data YAML (default: the one of training).
        unit: what it writes: "word"; "char" for languages without spaces; or "spm", pieces.
        max_len_a, max_len_b, long_form, speech_gate: as for :class:`StreamingTranslator`.
        policy_options: of the model's policy, such as ``waitk_lagging=5``; None for what it was trained with.

    Returns:
        A translator on the CPU, in float32.

    Raises:
        FileNotFoundError: no such checkpoint, data YAML, vocabulary or statistics.
        ValueError: features, normalisation or tokenisation that cannot stream, a dictionary of another size than the
            model's, an unknown unit, an option that the policy does not have, a model that has no policy, a checkpoint
            that asks for another model than ours, or an exported folder whose data YAML names a file elsewhere.
    """
    path = Path(path)
    if path.is_dir():
        data, config_yaml = path, CONFIG
    state, _ = read_checkpoint(path)
    options, trained = state["cfg"]["model"], state["cfg"]["task"]
    if config_yaml is not None:
        trained.config_yaml = config_yaml
    trained.data = str(data_folder(path, trained.data, trained.config_yaml) if data is None else data)
    if path.is_dir():
        require_closed(path, CONFIG)
    task = LeapSpeechToTextTask.setup_task(trained)
    check_streaming(task.data_cfg)
    model = task.build_model(options, from_checkpoint=True)
    model.load_state_dict(state["model"], strict=True, model_cfg=options)
    model.eval()
    transforms = task.data_cfg.get_feature_transforms("test", False)
    cmvn = None
    if transforms.get("feature_transforms"):
        cmvn = GlobalCmvn.load(transforms["global_cmvn"]["stats_npz_path"])
    detokenizer = StreamingDetokenizer(task.data_cfg.bpe_tokenizer["sentencepiece_model"], unit)
    policy = model.policy.configured(**policy_options)
    logger.info("loaded %s: %s, %d frames a decision", path, policy, policy.decision_frames)
    return StreamingTranslator(
        *(model, task.target_dictionary, detokenizer, cmvn, policy, max_len_a, max_len_b),
        long_form=long_form,
        speech_gate=speech_gate,
    )


def read_checkpoint(path: Union[str, Path]) -> Tuple[Dict[str, Any], Policy]:
    """Reads the checkpoint of a simultaneous translator, without building the model.

    Args:
        path: of an exported folder, or of the .pt file.

    Returns:
        What fairseq-train saved, of its configuration the options of model and task alone; and the policy that the
        model was trained for.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the model has no policy; with the name of its architecture. Or, as others, as for
            :func:`leap_fairseq.models.checked.read_checked`.
    """
    path = checkpoint_file(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no checkpoint at {path}: give the .pt file that fairseq-train saved, or a folder of leap-fairseq export"
        )
    state = read_checked(path)
    options = model_options(state["cfg"])
    policy_of = getattr(ARCH_MODEL_REGISTRY[options["_name"]], "policy_of", None)
    if policy_of is None:
        raise ValueError(
            f"{path} holds a {options['_name']}, which has no read/write policy: train --arch "
            "leap_convtransformer_simul_trans"
        )
    return state, policy_of(state["cfg"]["model"])


def checkpoint_file(path: Union[str, Path]) -> Path:
    """The checkpoint of an exported folder, or the file itself."""
    path = Path(path)
    return path / CHECKPOINT if path.is_dir() else path


def files_of_data(
    path: Union[str, Path],
    trained: Namespace,
    data: Optional[Union[str, Path]] = None,
    config_yaml: Optional[str] = None,
) -> List[Path]:
    """The files of its data that a translator needs: vocabulary, pieces and, where it has them, statistics.

    Args:
        path, data, config_yaml: as for :func:`load_translator`.
        trained: options of the task, as :func:`read_checkpoint` gives them.

    Raises:
        FileNotFoundError, ValueError: as for :func:`load_translator`.
    """
    path = Path(path)
    if path.is_dir():
        data, config_yaml = path, CONFIG
        require_closed(path, CONFIG)
    name = config_yaml or trained.config_yaml
    folder = Path(data_folder(path, trained.data, name) if data is None else data)
    found = LeapS2TDataConfig(folder / name)
    check_streaming(found)
    pieces, statistics = found.bpe_tokenizer["sentencepiece_model"], found.global_cmvn_stats_npz
    return [folder / found.vocab_filename, Path(pieces), *([Path(statistics)] if statistics is not None else [])]


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
                "prepare the data with global_cmvn (`leap-fairseq prepare mustc` does) and train on that"
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
    if not data_cfg.bpe_tokenizer.get("sentencepiece_model"):
        raise ValueError("the data YAML sets bpe_tokenizer without its sentencepiece_model: add the path of that file")
