"""A prepared folder can be moved: relative paths of its YAML are looked up beside the YAML."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import yaml
from fairseq import tasks
from fairseq.data.audio.data_cfg import S2TDataConfig
from fairseq.data.audio.feature_transforms import CompositeAudioFeatureTransform
from fairseq.tasks.speech_to_text import SpeechToTextTask
from tiny_models import SMALL_SPEECH, make_dictionary

import leap_fairseq.models  # noqa: F401  (registers the models)
from leap_fairseq.files import DataError
from leap_fairseq.tasks.leap_speech_to_text import LeapS2TDataConfig, LeapSpeechToTextTask


@pytest.fixture
def folder(tmp_path, monkeypatch):
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    (data / "audio").mkdir(parents=True)
    elsewhere.mkdir()
    (data / "spm.model").write_bytes(b"spm")
    np.savez(data / "gcmvn.npz", mean=np.full(80, 2.0), std=np.ones(80))
    monkeypatch.chdir(elsewhere)
    return data


def read(folder, **changes) -> LeapS2TDataConfig:
    values = {
        "audio_root": "audio",
        "bpe_tokenizer": {"bpe": "sentencepiece", "sentencepiece_model": "spm.model"},
        "global_cmvn": {"stats_npz_path": "gcmvn.npz"},
        "transforms": {"*": ["global_cmvn"]},
    }
    values.update(changes)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in values.items() if value is not None}))
    return LeapS2TDataConfig(path)


def test_paths_beside_the_yaml(folder):
    config = read(folder)
    assert S2TDataConfig(config.yaml_path).audio_root == "audio"
    assert config.audio_root == (folder / "audio").as_posix()
    assert config.bpe_tokenizer["sentencepiece_model"] == (folder / "spm.model").as_posix()
    assert config.bpe_tokenizer["bpe"] == "sentencepiece"
    assert config.global_cmvn_stats_npz == (folder / "gcmvn.npz").as_posix()


@pytest.mark.parametrize("key", ["transforms", "feature_transforms"])
def test_statistics_of_the_transform(folder, key):
    config = read(folder, **{"transforms": None, key: {"*": ["global_cmvn"]}})
    with pytest.raises(FileNotFoundError):
        theirs = S2TDataConfig(config.yaml_path).get_feature_transforms("train", True)
        CompositeAudioFeatureTransform.from_config_dict(theirs)
    transforms = CompositeAudioFeatureTransform.from_config_dict(config.get_feature_transforms("train", True))
    assert transforms(np.zeros((3, 80))).mean() == -2
    assert config.config["global_cmvn"] == {"stats_npz_path": "gcmvn.npz"}


def test_the_yaml_folder_comes_before_the_working_directory(folder):
    Path("audio").mkdir()
    Path("spm.model").touch()
    config = read(folder)
    assert config.audio_root == (folder / "audio").as_posix()
    assert config.bpe_tokenizer["sentencepiece_model"] == (folder / "spm.model").as_posix()


def test_the_working_directory_still_works(folder):
    (folder / "spm.model").rename("spm.model")
    (folder / "gcmvn.npz").rename("gcmvn.npz")
    (folder / "audio").rename("audio")
    config = read(folder)
    assert config.audio_root == "audio"
    assert config.bpe_tokenizer["sentencepiece_model"] == "spm.model"
    assert config.global_cmvn_stats_npz == "gcmvn.npz"


def test_absolute_paths_urls_and_absence_stay(folder):
    config = read(folder, audio_root="/no/such/folder", bpe_tokenizer=None, global_cmvn=None, transforms=None)
    assert config.audio_root == "/no/such/folder"
    assert config.bpe_tokenizer == {"bpe": None}
    assert config.global_cmvn_stats_npz is None
    assert config.get_feature_transforms("train", True)["feature_transforms"] is None
    assert read(folder, audio_root=None).audio_root == ""
    assert read(folder, audio_root="").audio_root == ""
    remote = {"bpe": "gpt2", "gpt2_encoder_json": "https://example.org/encoder.json"}
    assert read(folder, bpe_tokenizer=remote).bpe_tokenizer == remote


def test_files_of_a_moved_folder_are_beside_the_yaml(folder, caplog):
    """As fairseq's own preparation writes them, with their whole paths; of a folder nothing is guessed."""
    tokenizer = {"bpe": "sentencepiece", "sentencepiece_model": "/was/here/spm.model"}
    config = read(folder, bpe_tokenizer=tokenizer, audio_root="/was/here")
    assert read(folder).bpe_tokenizer and "is not there" not in caplog.text
    for _ in range(2):
        assert config.bpe_tokenizer["sentencepiece_model"] == str(folder / "spm.model")
    assert caplog.text.count("/was/here/spm.model, named by the key bpe_tokenizer.sentencepiece_model of") == 1
    assert config.audio_root == "/was/here"


@pytest.mark.parametrize("key", ["bpe_tokenizer", "pre_tokenizer", "feature_transforms", "specaugment", "global_cmvn"])
def test_an_empty_section_is_none_and_anything_else_is_refused(folder, key):
    (folder / "config.yaml").write_text(f"{key}:\n")
    config = LeapS2TDataConfig(folder / "config.yaml")
    assert (config.bpe_tokenizer, config.pre_tokenizer) == ({"bpe": None}, {"tokenizer": None})
    assert not config.get_feature_transforms("train", True)["feature_transforms"]
    (folder / "config.yaml").write_text(f"{key}: sentencepiece\n")
    with pytest.raises(DataError, match=f"config.yaml: {key} is 'sentencepiece', but must have keys with values"):
        LeapS2TDataConfig(folder / "config.yaml")


@pytest.mark.parametrize(
    "key,changes,use",
    [
        ("audio_root", {"audio_root": "gone"}, lambda c: c.audio_root),
        (
            "bpe_tokenizer.sentencepiece_model",
            {"bpe_tokenizer": {"bpe": "sentencepiece", "sentencepiece_model": "gone"}},
            lambda c: c.bpe_tokenizer,
        ),
        (
            "global_cmvn.stats_npz_path",
            {"global_cmvn": {"stats_npz_path": "/gone"}},
            lambda c: c.get_feature_transforms("dev", False),
        ),
    ],
)
def test_a_missing_file_is_named_with_its_key_and_yaml(folder, key, changes, use):
    config = read(folder, **changes)
    with pytest.raises(FileNotFoundError) as error:
        use(config)
    for part in ("gone", key, "config.yaml"):
        assert part in str(error.value)
    assert "\n" not in str(error.value) and f"{folder}/gone" in str(error.value)


def test_a_transform_without_statistics_says_so(folder):
    with pytest.raises(ValueError, match="stats_npz_path"):
        read(folder, global_cmvn=None).get_feature_transforms("train", True)


@pytest.fixture
def arguments(folder):
    """The options of a task, of an argparse model's checkpoint likewise."""
    read(folder)
    make_dictionary().save(str(folder / "dict.txt"))
    fixed = {"seed": 1, "max_source_positions": 400, "max_target_positions": 60, "train_subset": "train"}
    return Namespace(data=str(folder), config_yaml="config.yaml", **fixed)


@pytest.mark.parametrize("trained_as", ["leap_speech_to_text", "speech_to_text"])
def test_the_task_reads_a_folder_wherever_it_is(folder, arguments, trained_as):
    arguments.task = trained_as
    task = LeapSpeechToTextTask.setup_task(arguments)
    assert task.data_cfg.audio_root == (folder / "audio").as_posix()
    assert len(task.target_dictionary) == 20


def test_the_name_of_the_task_decides_and_fairseqs_own_stays_as_it_is(arguments):
    for name, kind, data_config in (
        ("leap_speech_to_text", LeapSpeechToTextTask, LeapS2TDataConfig),
        ("speech_to_text", SpeechToTextTask, S2TDataConfig),
    ):
        arguments.task = name
        task = tasks.setup_task(arguments, from_checkpoint=True)
        assert type(task) is kind and type(task.data_cfg) is data_config


def test_no_yaml_is_an_error_that_names_it(arguments):
    arguments.config_yaml = "none.yaml"
    with pytest.raises(FileNotFoundError, match="no data YAML at .*none.yaml: give the prepared folder .a translator"):
        LeapSpeechToTextTask.setup_task(arguments)


def test_a_checkpoint_needs_no_file_that_its_training_began_with(arguments):
    task = LeapSpeechToTextTask.setup_task(arguments)
    options = {**SMALL_SPEECH, "arch": "leap_convtransformer_tiny", "load_pretrained_encoder_from": "gone.pt"}
    assert task.build_model(Namespace(**options), from_checkpoint=True).encoder is not None
    with pytest.raises(FileNotFoundError, match="gone.pt .--load-pretrained-encoder-from."):
        task.build_model(Namespace(**options))
