"""A data YAML by which nothing can stream is refused with the key, its value and what to do."""

import pytest
import yaml

from leap_fairseq.models.translator_checkpoint import check_streaming
from leap_fairseq.speech import write_data_config
from leap_fairseq.tasks.leap_speech_to_text import LeapS2TDataConfig


def read(folder, **changes):
    for name in ("spm.model", "gcmvn.npz"):
        (folder / name).touch()
    config = {**write_data_config(folder / "config.yaml", "spm"), **changes}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return LeapS2TDataConfig(folder / "config.yaml")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"feature_transforms": {"*": ["utterance_cmvn"]}}, "utterance_cmvn, which needs the whole .*global_cmvn"),
        ({"feature_transforms": {"*": ["global_cmvn", "delta_deltas"]}}, "applies delta_deltas in evaluation"),
        ({"use_audio_input": True}, "sets use_audio_input: the model reads raw audio"),
        ({"prepend_tgt_lang_tag": True}, "sets prepend_tgt_lang_tag: the target begins with a language tag"),
        ({"input_feat_per_channel": 40}, "sets input_feat_per_channel to 40, the streaming features have 80"),
        ({"input_channels": 2}, "sets input_channels to 2, the streaming features have 1"),
        ({"sample_rate": 8000}, "sets sample_rate to 8000, the streaming features have 16000"),
        ({"pre_tokenizer": {"tokenizer": "moses"}}, "sets pre_tokenizer, which cannot be undone"),
        ({"bpe_tokenizer": None}, "sets bpe_tokenizer to None: .* from sentencepiece only"),
        ({"bpe_tokenizer": {"bpe": "sentencepiece"}}, "sets bpe_tokenizer without its sentencepiece_model: add"),
    ],
)
def test_what_cannot_stream_is_named(tmp_path, changes, message):
    check_streaming(read(tmp_path))
    with pytest.raises(ValueError, match=message):
        check_streaming(read(tmp_path, **changes))
