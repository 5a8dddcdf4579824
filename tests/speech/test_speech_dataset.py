"""The files fairseq reads: features zip, manifests, vocabulary, data YAML; all of them whole or absent."""

import zipfile

import numpy as np
import pytest
import sentencepiece
import yaml
from fairseq.data import Dictionary
from fairseq.data.audio.audio_utils import get_features_or_waveform
from fairseq.data.audio.feature_transforms import CompositeAudioFeatureTransform
from fairseq.data.audio.speech_to_text_dataset import SpeechToTextDatasetCreator

from leap_fairseq.files import Stages, whole_file, whole_folder
from leap_fairseq.speech import (
    CmvnAccumulator,
    DataError,
    FeatureZip,
    ManifestRow,
    train_vocabulary,
    write_data_config,
    write_manifest,
)
from leap_fairseq.speech.stored_zip import Member, end_zip, stored
from leap_fairseq.speech.vocabulary import vocabulary_name
from leap_fairseq.speech.yaml_entries import entries_of
from leap_fairseq.tasks.leap_speech_to_text import LeapS2TDataConfig

TEXTS = ["Der Zug fährt um sieben Uhr ab.", "Ich möchte in Köln ein Zimmer buchen.", 'Er sagt "ja" \\ nein.'] * 20


def clip(seed, frames=7):
    return np.random.default_rng(seed).standard_normal((frames, 80)).astype(np.float32)


def write_zip(path, names=("a", "dev/ü_1", "c")):
    with FeatureZip(path) as features:
        return {name: features.add(name, clip(i)) for i, name in enumerate(names)}


def test_fairseq_reads_the_zip(tmp_path):
    places = write_zip(tmp_path / "fbank80.zip")
    for index, (offset, length) in enumerate(places.values()):
        loaded = get_features_or_waveform(f"{tmp_path / 'fbank80.zip'}:{offset}:{length}")
        np.testing.assert_array_equal(loaded, clip(index))
    with zipfile.ZipFile(tmp_path / "fbank80.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a.npy", "dev/ü_1.npy", "c.npy"]


def test_zip_does_not_depend_on_the_clock(tmp_path, monkeypatch):
    write_zip(tmp_path / "1.zip")
    monkeypatch.setattr("time.localtime", lambda *_: (2031, 5, 6, 7, 8, 9, 0, 0, 0))
    write_zip(tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()


def test_nothing_half_written(tmp_path):
    (tmp_path / "kept.txt").write_text("old")
    with pytest.raises(RuntimeError):
        with FeatureZip(tmp_path / "a.zip") as features:
            features.add("a", clip(0))
            raise RuntimeError
    with pytest.raises(RuntimeError):
        with whole_file(tmp_path / "kept.txt", text=True) as file:
            file.write("new")
            raise RuntimeError
    with pytest.raises(RuntimeError):
        with whole_folder(tmp_path / "folder") as folder:
            (folder / "x").touch()
            raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
    assert (tmp_path / "kept.txt").read_text() == "old"


KEPT = ['"quoted"', "it's", "back\\slash\\t", "a\\", '"', "#1, 2; 3", "ß–„“ \u2028 é"]
CHANGED = {"1\t2": "1 2", "3\n4": "3 4", "5\r\n6": "5  6", "nul\0": "nul ", "": ""}


def test_fairseq_reads_every_text_byte_for_byte(tmp_path):
    texts = [*KEPT, *CHANGED]
    rows = [ManifestRow(f"id_{i}", f"f.zip:{i}:9", i, text, text, "spk.1", "en", "de") for i, text in enumerate(texts)]
    assert write_manifest(tmp_path / "train_st.tsv", rows) == len(texts)
    loaded = SpeechToTextDatasetCreator._load_samples_from_tsv(str(tmp_path), "train_st")
    assert list(loaded[0]) == ["id", "audio", "n_frames", "tgt_text", "src_text", "speaker", "src_lang", "tgt_lang"]
    expected = [*KEPT, *CHANGED.values()]
    assert [row["tgt_text"] for row in loaded] == [row["src_text"] for row in loaded] == expected


def test_empty_manifest_is_refused(tmp_path):
    with pytest.raises(DataError, match="no clip is left for train_st.tsv"):
        write_manifest(tmp_path / "train_st.tsv", [])
    assert not list(tmp_path.iterdir())


def test_ids_are_unique(tmp_path):
    rows = [ManifestRow(name, "f.zip:0:9", 3, "text") for name in ("a", "b", "a")]
    with pytest.raises(DataError, match="train_st.tsv: the id 'a' occurs twice"):
        write_manifest(tmp_path / "train_st.tsv", rows)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("vocab_type, size", [("unigram", 50), ("char", 8000)])
def test_dictionary_and_model_agree(tmp_path, vocab_type, size):
    trained = train_vocabulary(TEXTS, tmp_path / "spm", size, vocab_type)
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spm.model"))
    dictionary = Dictionary.load(str(tmp_path / "spm.txt"))
    assert trained == len(model) == len(dictionary)
    assert [model.id_to_piece(i) for i in range(trained)] == dictionary.symbols
    pieces = model.encode(TEXTS[0], out_type=str)
    assert dictionary.unk() not in dictionary.encode_line(" ".join(pieces), add_if_not_exist=False)
    assert model.decode(pieces) == TEXTS[0]


def test_vocabulary_is_reproducible_and_as_large_as_possible(tmp_path, caplog):
    sizes = {train_vocabulary(TEXTS, tmp_path / name, 8000) for name in "ab"}
    assert len(sizes) == 1 and sizes.pop() < 200
    assert "--vocab-size" in caplog.text
    for ending in ("model", "txt"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_vocabulary_refuses(tmp_path):
    with pytest.raises(DataError, match="raise --vocab-size"):
        train_vocabulary(TEXTS, tmp_path / "a", 10)
    with pytest.raises(DataError, match="no text"):
        train_vocabulary(["", " "], tmp_path / "a", 50)
    with pytest.raises(DataError, match="unigram, char"):
        train_vocabulary(TEXTS, tmp_path / "a", 50, "bpe")
    assert vocabulary_name("unigram", 85, "st") == "spm_unigram85_st"
    assert vocabulary_name("char", 85, "asr") == "spm_char_asr"


@pytest.mark.parametrize("policy, kinds", [("none", ["GlobalCMVN"]), ("lb", ["GlobalCMVN", "SpecAugmentTransform"])])
def test_fairseq_reads_the_yaml(tmp_path, policy, kinds):
    accumulator = CmvnAccumulator()
    accumulator.add(clip(0))
    accumulator.finish().save(tmp_path / "gcmvn.npz")
    written = write_data_config(tmp_path / "config_st.yaml", "spm_unigram85_st", specaugment=policy)
    config = LeapS2TDataConfig(tmp_path / "config_st.yaml")
    assert config.config == written
    assert config.vocab_filename == "spm_unigram85_st.txt" and config.input_feat_per_channel == 80
    for split, is_train in (("train_st", True), ("dev_st", False)):
        feature_config = config.get_feature_transforms(split, is_train)
        transforms = CompositeAudioFeatureTransform.from_config_dict(feature_config).transforms
        assert [type(transform).__name__ for transform in transforms] == (kinds if is_train else ["GlobalCMVN"])
    with pytest.raises(DataError, match="none, lb, ld"):
        write_data_config(tmp_path / "x.yaml", "spm", specaugment="sm")


def test_stages_run_when_something_changed(tmp_path):
    stages, calls = Stages(tmp_path, "work"), []

    def make():
        calls.append(1)
        (tmp_path / "out.txt").write_text("result")

    def run(options):
        return stages.run("stage", options, ["out.txt"], make)

    assert run({"n": 1}) and not run({"n": 1})
    assert run({"n": 2}) and not run({"n": 2})
    (tmp_path / "out.txt").write_text("tamper")
    assert run({"n": 2})
    (tmp_path / "out.txt").unlink()
    assert run({"n": 2})
    (tmp_path / ".work" / "stage.json").write_text("{")
    assert run({"n": 2}) and len(calls) == 5


def test_a_zip_may_be_larger_than_4_gib(tmp_path):
    """Its members in a sparse file, but for the last one."""
    far = [Member(f"train/{number}.npy", 3 * 2**29, 0) for number in range(3)]
    last, content = stored("dev/ü", clip(0))
    start = sum(member.header + member.length for member in far)
    with open(tmp_path / "large.zip", "w+b") as file:
        file.seek(start)
        file.write(content + b"a directory that an interrupted run has left")
        end_zip(file, [*far, last])
    loaded = get_features_or_waveform(f"{tmp_path / 'large.zip'}:{start + last.header}:{last.length}")
    np.testing.assert_array_equal(loaded, clip(0))
    with zipfile.ZipFile(tmp_path / "large.zip") as archive:
        assert archive.namelist() == [member.name for member in (*far, last)]
        assert archive.read(last.name) == content[last.header :]
        assert archive.getinfo(last.name).header_offset == start > 2**32


ODD = [
    "- {a: 1, b: 'x y', c: \"\\u00e9\", a: 2}\n- [1, {b: [2, ~]}]\n- plain\n-\n- |\n  two\n  lines\n",
    "- &x {a: [1]}\n- *x\n- {b: *x}\n",
    "# a comment\n---\n- !!int 3\n- !thing {a: null}\n",
    "[]\n",
    "",
    "---\n",
]


@pytest.mark.parametrize("text", ODD)
def test_entries_are_those_of_yaml(text):
    assert list(entries_of(text)) == (yaml.load(text, Loader=yaml.BaseLoader) or [])


NO_LISTS = ["a: 1\n", "text\n", "- a\n---\n- b\n", "- {a: 1\n- b\n", "- *x\n", "- {[1]: 2}\n", "- a\nb: 1\n"]


@pytest.mark.parametrize("text", NO_LISTS)
def test_no_entries_are_errors(text):
    with pytest.raises((ValueError, yaml.YAMLError)):
        list(entries_of(text))
    with pytest.raises((AssertionError, yaml.YAMLError)):
        assert isinstance(yaml.load(text, Loader=yaml.BaseLoader), list)
