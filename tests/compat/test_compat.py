"""Each repair: what it mends fails without it, works with it, and applying it again changes nothing."""

import argparse
import importlib
import inspect
import io
import pickle
import sys
from pathlib import Path

import numpy as np
import omegaconf
import pytest
import torch
import yaml
from fairseq.data import data_utils
from fairseq.data.audio import audio_utils
from fairseq.data.audio.data_cfg import S2TDataConfig
from fairseq.data.audio.feature_transforms import CompositeAudioFeatureTransform
from fairseq.data.token_block_dataset import TokenBlockDataset
from fairseq.models.speech_to_text import hub_interface
from hypothesis import given, settings
from hypothesis import strategies as st

import leap_fairseq  # noqa: F401  (applies the repairs)
from leap_fairseq import repairs
from leap_fairseq.compat import replacing
from leap_fairseq.compat.replacing import original
from leap_fairseq.compat.stack import allow_checkpoint_types, restore_numpy_compat


def repaired_names():
    functions = [
        data_utils.batch_by_size,
        audio_utils.convert_waveform,
        audio_utils._get_torchaudio_fbank,
        hub_interface.convert_wav,
        S2TDataConfig.__init__,
        S2TDataConfig.get_feature_transforms,
    ]
    properties = ["audio_root", "pre_tokenizer", "bpe_tokenizer", "global_cmvn_stats_npz"]
    return functions + [vars(S2TDataConfig)[name].fget for name in properties]


def test_applied_twice_is_applied_once():
    before = repaired_names()
    repairs.apply()
    for name in sorted(name for name in sys.modules if name.startswith("leap_fairseq.compat")):
        importlib.reload(sys.modules[name])
    importlib.reload(repairs).apply()
    assert repaired_names() == before
    for function in before:
        assert original(function) is not function
        assert original(original(function)) is original(function)


def test_replacement_keeps_name_and_signature_of_the_original():
    assert inspect.signature(data_utils.batch_by_size) == inspect.signature(original(data_utils.batch_by_size))
    assert data_utils.batch_by_size.__name__ == "batch_by_size"


def test_replace_reaches_a_second_name():
    first, second = argparse.Namespace(f=len), argparse.Namespace(g=len)
    replacing.replace([first, (second, "g")], "f", lambda old: lambda x: old(x) + 1)
    replacing.replace([first, (second, "g")], "f", lambda old: lambda x: old(x) + 1)
    assert first.f("abc") == 4 and second.g is first.f


class TestCheckpoints:
    @pytest.fixture
    def unrepaired(self):
        allowed = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        yield
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(allowed)

    @staticmethod
    def saved(value) -> io.BytesIO:
        file = io.BytesIO()
        torch.save(value, file)
        file.seek(0)
        return file

    def contents(self):
        from fairseq.distributed.utils import _TensorPlaceholder

        yield {"args": argparse.Namespace(arch="convtransformer", lr=[0.1])}
        config = {"model": {"_name": "transformer_lm", "layers": 2}, "lr": [0.1], "none": None, "path": "a"}
        yield omegaconf.OmegaConf.create(config, flags={"allow_objects": True})
        yield {"weight": _TensorPlaceholder(3)}
        yield {"metric": np.float64(0.5), "counts": np.arange(4), "flag": np.bool_(True), "half": np.float16(1)}

    def test_refused_without_the_repair(self, unrepaired):
        for value in self.contents():
            with pytest.raises(pickle.UnpicklingError, match="weights_only"):
                torch.load(self.saved(value))

    def test_read_with_the_repair(self, unrepaired):
        allow_checkpoint_types()
        allow_checkpoint_types()
        for value in self.contents():
            loaded = torch.load(self.saved(value))
            assert str(loaded) == str(value)

    def test_numbers_written_under_numpy_1_are_read(self):
        file = self.saved({"best": np.float64(0.5)})
        # Both names have the same meaning; the pickle inside is rewritten as numpy 1 would have written it.
        data = pickle.dumps(np.float64(0.5), protocol=2).replace(b"numpy._core.", b"numpy.core.")
        assert torch.load(file)["best"] == 0.5
        from torch import _weights_only_unpickler

        assert _weights_only_unpickler.load(io.BytesIO(data), encoding="utf-8") == 0.5

    def test_foreign_class_is_refused_and_runs_nothing(self, tmp_path):
        witness = tmp_path / "ran"

        class Attack:
            def __reduce__(self):
                return Path.touch, (witness,)

        class Shell:
            def __reduce__(self):
                return eval, (f"open({str(witness)!r}, 'w')",)

        for attack in (Attack(), Shell()):
            with pytest.raises(pickle.UnpicklingError, match="Unsupported global"):
                torch.load(self.saved({"args": argparse.Namespace(x=1), "model": attack}))
        from fairseq.checkpoint_utils import load_checkpoint_to_cpu

        path = tmp_path / "checkpoint.pt"
        path.write_bytes(self.saved({"args": Shell()}).getvalue())
        with pytest.raises(pickle.UnpicklingError, match="Unsupported global"):
            load_checkpoint_to_cpu(str(path))
        assert not witness.exists()


class TestNumpy:
    def eos_blocks(self):
        sentences = [torch.arange(n) for n in (3, 1, 2)]
        dataset = TokenBlockDataset(sentences, [3, 1, 2], block_size=None, pad=1, eos=2, break_mode="eos")
        return [len(block) for block in dataset]

    @pytest.mark.skipif(int(np.__version__.split(".")[0]) < 2, reason="numpy 1 has np.compat")
    def test_sample_break_mode_eos(self, monkeypatch):
        monkeypatch.delattr(np, "compat")
        with pytest.raises(AttributeError, match="compat"):
            self.eos_blocks()
        restore_numpy_compat()
        compat = np.compat
        assert self.eos_blocks() == [3, 1, 2]
        restore_numpy_compat()
        assert np.compat is compat

    def test_numpy_that_has_it_is_left_alone(self, monkeypatch):
        own = argparse.Namespace(long=int)
        monkeypatch.setattr(np, "compat", own)
        restore_numpy_compat()
        assert np.compat is own


class TestBatchBySize:
    def test_last_batch_is_lost_without_the_repair(self):
        lossy = original(data_utils.batch_by_size)
        arguments = dict(num_tokens_fn=lambda i: 1, max_sentences=100, required_batch_size_multiple=8)
        assert sum(map(len, lossy(range(13), **arguments))) == 8
        assert sum(map(len, data_utils.batch_by_size(range(13), **arguments))) == 13

    def test_no_samples(self):
        with pytest.raises(IndexError):
            original(data_utils.batch_by_size)([], lambda i: 1, max_tokens=9, required_batch_size_multiple=8)
        assert data_utils.batch_by_size([], lambda i: 1, max_tokens=9, required_batch_size_multiple=8) == []

    @settings(deadline=None, max_examples=200)
    @given(
        sizes=st.lists(st.integers(1, 40), min_size=1, max_size=60),
        multiple=st.sampled_from([1, 2, 3, 8, 16]),
        max_tokens=st.one_of(st.none(), st.integers(40, 300)),
        max_sentences=st.one_of(st.none(), st.integers(1, 20)),
        vectorised=st.booleans(),
    )
    def test_every_index_is_in_exactly_one_batch(self, sizes, multiple, max_tokens, max_sentences, vectorised):
        sizes = np.array(sizes)
        order = np.argsort(sizes, kind="stable")
        batches = data_utils.batch_by_size(
            order,
            num_tokens_fn=lambda i: int(sizes[i]),
            num_tokens_vec=sizes[order] if vectorised else None,
            max_tokens=max_tokens,
            max_sentences=max_sentences,
            required_batch_size_multiple=multiple,
        )
        assert np.concatenate(batches).tolist() == order.tolist()
        for batch in batches:
            assert len(batch) <= (max_sentences or len(sizes))
            assert len(batch) * sizes[batch].max() <= (max_tokens or np.inf)

    def test_what_was_right_stays_as_it_was(self):
        arguments = dict(num_tokens_fn=lambda i: 1, max_sentences=4, required_batch_size_multiple=4)
        assert [b.tolist() for b in data_utils.batch_by_size(range(8), **arguments)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
        shapes = dict(num_tokens_fn=lambda i: 1, fixed_shapes=[(2, 5), (1, 9)], required_batch_size_multiple=8)
        batches = data_utils.batch_by_size(range(3), **shapes)
        assert sorted(int(i) for batch in batches for i in batch) == [0, 1, 2]


class TestAudio:
    def wave(self, tmp_path, rate=16000, channels=1, suffix=".wav"):
        soundfile = pytest.importorskip("soundfile")
        time = np.arange(rate) / rate
        tone = 0.5 * np.sin(2 * np.pi * 440 * time)
        samples = tone if channels == 1 else np.stack([tone, np.zeros_like(tone)], axis=1)
        path = tmp_path / f"tone{suffix}"
        soundfile.write(path, samples, rate)
        return str(path), tone

    def test_reading_audio_does_not_need_torchaudio(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "torchaudio", None)
        path, tone = self.wave(tmp_path)
        with pytest.raises(ImportError, match="torchaudio"):
            original(audio_utils.convert_waveform)(np.zeros((1, 9), np.float32), 16000)
        samples, rate = audio_utils.get_waveform(path)
        assert rate == 16000 and samples.shape == (1, 16000)
        np.testing.assert_allclose(samples[0], tone, atol=1e-4)

    @pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
    def test_features_are_those_of_data_preparation(self, tmp_path, suffix):
        from leap_fairseq.speech.features import fbank

        path, _ = self.wave(tmp_path, suffix=suffix)
        samples, rate = audio_utils.get_waveform(path)
        features = audio_utils.get_features_or_waveform(path)
        assert features.shape == (98, 80) and features.dtype == np.float32
        np.testing.assert_array_equal(features, fbank(samples[0], rate, num_mel_bins=80))

    @pytest.mark.parametrize("rate,channels", [(48000, 1), (22050, 2), (8000, 2), (16000, 2)])
    def test_rate_and_channels(self, tmp_path, rate, channels):
        path, _ = self.wave(tmp_path, rate, channels)
        samples, new_rate = audio_utils.get_waveform(path, output_sample_rate=16000)
        assert new_rate == 16000 and samples.shape == (1, 16000) and samples.dtype == np.float32
        expected = 0.5 / channels * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
        np.testing.assert_allclose(samples[0, 200:-200], expected[200:-200], atol=2e-3)

    def test_volume_type_and_identity(self):
        wave = np.array([[0.1, -0.25, 0.0]], np.float32)
        assert audio_utils.convert_waveform(wave, 16000)[0] is wave
        loud, _ = audio_utils.convert_waveform(torch.from_numpy(wave), 16000, normalize_volume=True)
        assert isinstance(loud, torch.Tensor) and loud.abs().max() == 1
        silent, _ = audio_utils.convert_waveform(wave * 0, 16000, normalize_volume=True)
        assert not silent.any()
        with pytest.raises(ValueError, match="channels x samples"):
            audio_utils.convert_waveform(wave[0], 16000)


class TestDataConfig:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
        (data / "audio").mkdir(parents=True)
        elsewhere.mkdir()
        (data / "spm.model").write_bytes(b"spm")
        np.savez(data / "gcmvn.npz", mean=np.full(80, 2.0), std=np.ones(80))
        monkeypatch.chdir(elsewhere)
        return data

    def config(self, folder, **changes) -> S2TDataConfig:
        values = {
            "audio_root": "audio",
            "bpe_tokenizer": {"bpe": "sentencepiece", "sentencepiece_model": "spm.model"},
            "global_cmvn": {"stats_npz_path": "gcmvn.npz"},
            "transforms": {"*": ["global_cmvn"]},
        }
        values.update(changes)
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in values.items() if value is not None}))
        return S2TDataConfig(path)

    def test_paths_beside_the_yaml(self, folder):
        config = self.config(folder)
        assert original(vars(S2TDataConfig)["audio_root"].fget)(config) == "audio"
        assert config.audio_root == (folder / "audio").as_posix()
        assert config.bpe_tokenizer["sentencepiece_model"] == (folder / "spm.model").as_posix()
        assert config.bpe_tokenizer["bpe"] == "sentencepiece"
        assert config.global_cmvn_stats_npz == (folder / "gcmvn.npz").as_posix()

    @pytest.mark.parametrize("key", ["transforms", "feature_transforms"])
    def test_statistics_of_the_transform(self, folder, key):
        config = self.config(folder, **{"transforms": None, key: {"*": ["global_cmvn"]}})
        with pytest.raises(FileNotFoundError):
            unrepaired = original(S2TDataConfig.get_feature_transforms)(config, "train", True)
            CompositeAudioFeatureTransform.from_config_dict(unrepaired)
        transforms = CompositeAudioFeatureTransform.from_config_dict(config.get_feature_transforms("train", True))
        assert transforms(np.zeros((3, 80))).mean() == -2
        assert config.config["global_cmvn"] == {"stats_npz_path": "gcmvn.npz"}

    def test_the_yaml_folder_comes_before_the_working_directory(self, folder):
        Path("audio").mkdir()
        Path("spm.model").touch()
        config = self.config(folder)
        assert config.audio_root == (folder / "audio").as_posix()
        assert config.bpe_tokenizer["sentencepiece_model"] == (folder / "spm.model").as_posix()

    def test_the_working_directory_still_works(self, folder):
        (folder / "spm.model").rename("spm.model")
        (folder / "gcmvn.npz").rename("gcmvn.npz")
        (folder / "audio").rename("audio")
        config = self.config(folder)
        assert config.audio_root == "audio"
        assert config.bpe_tokenizer["sentencepiece_model"] == "spm.model"
        assert config.global_cmvn_stats_npz == "gcmvn.npz"

    def test_absolute_paths_urls_and_absence_stay(self, folder):
        config = self.config(
            folder, audio_root="/no/such/folder", bpe_tokenizer=None, global_cmvn=None, transforms=None
        )
        assert config.audio_root == "/no/such/folder"
        assert config.bpe_tokenizer == {"bpe": None}
        assert config.global_cmvn_stats_npz is None
        assert config.get_feature_transforms("train", True)["feature_transforms"] is None
        assert self.config(folder, audio_root=None).audio_root == ""
        assert self.config(folder, audio_root="").audio_root == ""
        remote = {"bpe": "gpt2", "gpt2_encoder_json": "https://example.org/encoder.json"}
        assert self.config(folder, bpe_tokenizer=remote).bpe_tokenizer == remote

    @pytest.mark.parametrize(
        "key,changes,read",
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
    def test_a_missing_file_is_named_with_its_key_and_yaml(self, folder, key, changes, read):
        config = self.config(folder, **changes)
        with pytest.raises(FileNotFoundError) as error:
            read(config)
        for part in ("gone", key, "config.yaml"):
            assert part in str(error.value)
        assert "\n" not in str(error.value)

    def test_a_transform_without_statistics_says_so(self, folder):
        with pytest.raises(ValueError, match="stats_npz_path"):
            self.config(folder, global_cmvn=None).get_feature_transforms("train", True)
