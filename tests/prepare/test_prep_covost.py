"""From CoVoST 2 and Common Voice to fairseq's data: texts byte for byte, broken clips, rates, stages, resuming."""

import multiprocessing
import os
import random
import shutil
import signal
import struct
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fake_corpora import SENTENCES, speechlike, write_clip, write_covost, write_tsv

from leap_fairseq.cli import command
from leap_fairseq.prepare import covost as prepare_covost
from leap_fairseq.prepare import feature_parts
from leap_fairseq.prepare.covost import prep_covost
from leap_fairseq.prepare.mustc import prep_mustc
from leap_fairseq.speech import OnlineResampler, covost, fbank, load_audio
from leap_fairseq.speech.covost import SPLIT_COLUMNS, read_corpus

HUMAN_SPEECH = Path(__file__).parents[3] / "shared" / "data" / "speech-fixtures"
OPTIONS = dict(vocab_type="char", specaugment="none")


def rows(folder, name):
    """The rows of a manifest, as bytes between tabs and line feeds."""
    header, *lines = (folder / f"{name}.tsv").read_bytes().decode().split("\n")[:-1]
    return [dict(zip(header.split("\t"), line.split("\t"))) for line in lines]


def features(folder, row):
    path, offset, length = row["audio"].split(":")
    with open(folder / path, "rb") as file:
        file.seek(int(offset))
        assert len(file.read(int(length))) == int(length)
        file.seek(int(offset))
        return np.load(file)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """English to German, as get_covost_splits.py leaves it; tests must not change it."""
    return write_covost(tmp_path_factory.mktemp("covost") / "cv")


@pytest.fixture(scope="module")
def prepared(corpus, tmp_path_factory):
    return prep_covost(corpus, "en", "de", tmp_path_factory.mktemp("data") / "data", task="both", **OPTIONS)


@pytest.fixture
def copy(corpus, tmp_path):
    """A copy that may be changed; times of change are kept."""
    return shutil.copytree(corpus, tmp_path / "cv")


def test_files_and_texts(prepared):
    assert {path.name for path in prepared.iterdir() if not path.name.startswith(".")} == {
        "fbank80.zip", "gcmvn.npz", "skipped_clips.tsv", "config_st.yaml", "config_asr.yaml",
        *(f"{split}_{task}.tsv" for split in ("train", "dev", "test") for task in ("st", "asr")),
        *(f"spm_char_{task}.{ending}" for task in ("st", "asr") for ending in ("model", "txt")),
    }  # fmt: skip
    for split in covost.SPLITS:
        st, asr = rows(prepared, f"{split}_st"), rows(prepared, f"{split}_asr")
        assert [row["tgt_text"] for row in st] == [german for _, german in SENTENCES]
        assert [row["tgt_text"] for row in asr] == [row["src_text"] for row in st] == [text for text, _ in SENTENCES]
        assert [row["id"] for row in st] == [f"common_voice_{split}_{index}" for index in range(5)]
        assert {(row["src_lang"], row["tgt_lang"]) for row in st} == {("en", "de")}
        assert {(row["src_lang"], row["tgt_lang"]) for row in asr} == {("en", "en")}
        assert {row["speaker"] for row in st} == {f"{split}client0", f"{split}client1"}


def test_zip_holds_the_features_of_the_clips(prepared, corpus):
    for row in rows(prepared, "dev_st"):
        expected = fbank(load_audio(corpus / "en" / "clips" / f"{row['id']}.mp3"))
        np.testing.assert_array_equal(features(prepared, row), expected)
        assert len(expected) == int(row["n_frames"])


def test_the_task_loads_it_after_a_move(prepared, tmp_path, monkeypatch):
    import torch

    from leap_fairseq.tasks.leap_speech_to_text import LeapSpeechToTextTask

    moved = shutil.copytree(prepared, tmp_path / "elsewhere")
    monkeypatch.chdir("/")
    arguments = Namespace(data=str(moved), config_yaml="config_st.yaml", seed=1, max_source_positions=6000,
                          max_target_positions=1024, multitask_config_yaml=None, interleave=0)  # fmt: skip
    task = LeapSpeechToTextTask.setup_task(arguments)
    task.load_dataset("train_st")
    dataset = task.dataset("train_st")
    frames = torch.cat([dataset[i].source for i in range(len(dataset))])
    torch.testing.assert_close(frames.mean(0), torch.zeros(80), atol=1e-3, rtol=0)
    assert dataset.tgt_texts == [german for _, german in SENTENCES]
    assert task.target_dictionary.unk() not in torch.cat([dataset[i].target for i in range(len(dataset))])


@pytest.mark.parametrize("pair", [("fr", "en"), ("en", "zh-CN")])
def test_published_tsv_is_joined_with_common_voice(tmp_path, pair, prepared):
    root = write_covost(tmp_path / "cv", *pair, published=True)
    out = prep_covost(root, *pair, tmp_path / "data", task="both", **OPTIONS)
    for split in covost.SPLITS:
        for task in ("st", "asr"):
            ours, theirs = rows(out, f"{split}_{task}"), rows(prepared, f"{split}_{task}")
            kept = ("id", "tgt_text", "src_text", "speaker", "n_frames")
            assert [[row[name] for name in kept] for row in ours] == [[row[name] for name in kept] for row in theirs]
            assert {(row["src_lang"], row["tgt_lang"]) for row in ours} == {(pair[0], pair[task == "st"])}


def test_root_may_be_the_language_itself_and_the_test_may_be_missing(copy, prepared, tmp_path, hashes):
    out = prep_covost(copy / "en", "en", "de", tmp_path / "data", task="both", **OPTIONS)
    assert hashes(out) == hashes(prepared)
    (copy / "en" / "covost_v2.en_de.test.tsv").unlink()
    assert set(read_corpus(copy, "en", "de")) == {"train", "dev"}


def test_one_process_or_eight(prepared, corpus, tmp_path, hashes):
    out = prep_covost(corpus, "en", "de", tmp_path / "data", task="both", processes=8, **OPTIONS)
    assert hashes(out) == hashes(prepared)


def stall(marker, *arguments, **options):
    """Prepares in a process of its own, but stops for ever after the fourth clip."""
    add, added = feature_parts._Record.add, []

    def add_four(self, made):
        added.append(made)
        if len(added) > 4:
            marker.touch()
            time.sleep(3600)
        add(self, made)

    feature_parts._Record.add, feature_parts.COMMIT_EVERY = add_four, 0
    prep_covost(*arguments, **options)


def test_killed_run_is_completed_by_the_next(corpus, prepared, tmp_path, hashes, caplog):
    """SIGKILL while the features are written; the rerun gives the bytes of an undisturbed run."""
    out, marker, options = tmp_path / "data", tmp_path / "stalled", dict(task="both", processes=2, **OPTIONS)
    process = multiprocessing.get_context("fork").Process(
        target=stall, args=(marker, corpus, "en", "de", out), kwargs=options
    )
    process.start()
    while not marker.exists() and process.is_alive():
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    caplog.set_level("INFO")
    assert not [path for path in out.iterdir() if not path.name.startswith(".")]
    assert hashes(prep_covost(corpus, "en", "de", out, **options)) == hashes(prepared)
    assert "features: 4 of 15 clips are there from an earlier run" in caplog.text


def test_broken_clips_are_skipped_listed_and_counted(copy, tmp_path, caplog):
    clips = copy / "en" / "clips"
    (clips / "common_voice_train_0.mp3").write_bytes(b"")
    (clips / "common_voice_train_1.mp3").unlink()
    content = (clips / "common_voice_dev_2.mp3").read_bytes()
    (clips / "common_voice_dev_2.mp3").write_bytes(content[: len(content) // 2])
    for index, rate in ((3, 0), (4, 4), (1, 2**31 - 1)):
        (clips / f"common_voice_dev_{index}.mp3").unlink()
        write_clip(clips / f"common_voice_dev_{index}.wav", 0.5, 1, 16000)
        wav = bytearray((clips / f"common_voice_dev_{index}.wav").read_bytes())
        wav[24:28] = struct.pack("<I", rate)
        (clips / f"common_voice_dev_{index}.wav").write_bytes(wav)
    write_clip(clips / "common_voice_test_0.mp3", 0.01, 1)
    out = prep_covost(copy, "en", "de", tmp_path / "data", **OPTIONS)
    assert [len(rows(out, f"{split}_st")) for split in covost.SPLITS] == [3, 1, 4]
    _, *listed = (out / "skipped_clips.tsv").read_text().splitlines()
    reasons = {line.split("\t")[1]: line.split("\t")[2] for line in listed}
    assert len(reasons) == 7 and "7 of 15 clips skipped" in caplog.text
    assert "cannot read audio file common_voice_train_0.mp3" in reasons["common_voice_train_0"]
    assert "No such file" in reasons["common_voice_train_1"] or "System error" in reasons["common_voice_train_1"]
    assert "cut short" in reasons["common_voice_dev_2"]
    assert "4 Hz, but must be 4000 to 192000 Hz" in reasons["common_voice_dev_4"]
    assert "2147483647 Hz" in reasons["common_voice_dev_1"]
    assert "shorter than one window" in reasons["common_voice_test_0"]
    assert str(tmp_path) not in "".join(listed)


def test_length_filters_are_for_training_only(corpus, tmp_path, caplog):
    caplog.set_level("INFO")
    out = prep_covost(corpus, "en", "de", tmp_path / "data", min_frames=31, max_frames=43, **OPTIONS)
    assert 0 < len(rows(out, "train_st")) < 5
    assert len(rows(out, "dev_st")) == len(rows(out, "test_st")) == 5
    assert "of 5 clips kept; left out: 1 under 31 frames, 1 over 43, 0 without text" in caplog.text


def correlation(one, other):
    count = min(len(one), len(other))
    return np.corrcoef(one[:count].ravel(), other[:count].ravel())[0, 1]


def recordings():
    if HUMAN_SPEECH.is_dir():
        return [load_audio(path, 0.0, 1.5) for path in sorted(HUMAN_SPEECH.glob("*/*.wav"))[:5]]
    return [speechlike(1.0, seed) for seed in range(5)]


def test_48_khz_copies_have_the_features_of_the_originals_in_any_order(tmp_path):
    folder, names = tmp_path / "cv" / "fr", [f"{index}.wav" for index in range(5)]
    for name, samples in zip(names, recordings()):
        (folder / "clips").mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / "clips" / f"original{name}", samples, 16000)
        high = OnlineResampler(16000, 48000).push(samples, last=True)
        soundfile.write(folder / "clips" / f"copy{name}", high, 48000)
    paths = [f"{kind}{name}" for name in names for kind in ("original", "copy")]
    found = []
    for seed in (0, 1):
        random.Random(seed).shuffle(paths)
        for split in ("train", "dev"):
            table = [(path, "oui", "yes", "speaker") for path in paths]
            write_tsv(folder / f"covost_v2.fr_en.{split}.tsv", SPLIT_COLUMNS, table)
        out = prep_covost(tmp_path / "cv", "fr", "en", tmp_path / f"data{seed}", **OPTIONS)
        found.append({row["id"]: features(out, row) for row in rows(out, "train_st")})
    for index in range(5):
        assert correlation(found[0][f"original{index}"], found[0][f"copy{index}"]) > 0.99
        assert correlation(found[0][f"original{index}"], found[0][f"copy{(index + 1) % 5}"]) < 0.9  # control
    for name in found[0]:
        np.testing.assert_array_equal(found[0][name], found[1][name])


def test_cmvn_is_that_of_all_training_frames(prepared):
    frames = np.concatenate([features(prepared, row) for row in rows(prepared, "train_st")]).astype(np.float64)
    mean = frames.mean(axis=0)
    std = np.sqrt(np.square(frames - mean).mean(axis=0))
    with np.load(prepared / "gcmvn.npz") as stats:
        np.testing.assert_allclose(stats["mean"], mean, atol=1e-4, rtol=0)
        np.testing.assert_allclose(stats["std"], std, atol=1e-4, rtol=0)


def test_vocabulary_larger_than_the_text_allows(corpus, tmp_path, caplog):
    out = prep_covost(corpus, "en", "de", tmp_path / "data", vocab_size=8000)
    size = len((out / "spm_unigram8000_st.txt").read_text().splitlines()) + 4
    assert f"the texts allow only {size} pieces, not 8000 (--vocab-size): trained with {size}" in caplog.text


@pytest.mark.skipif(not HUMAN_SPEECH.is_dir(), reason="needs ../shared/data/speech-fixtures")
@pytest.mark.parametrize("layout", ["mustc", "covost"])
def test_human_recordings_of_22_khz_in_flac(tmp_path, layout):
    lines = (HUMAN_SPEECH / "ljspeech" / "metadata.csv").read_text(encoding="utf-8").splitlines()[:4]
    texts = [line.split("|")[1] for line in lines]
    names = [f"{line.split('|')[0]}.flac" for line in lines]
    if layout == "covost":
        shutil.copytree(HUMAN_SPEECH / "ljspeech" / "wavs", tmp_path / "clips")
        for split in ("train", "dev"):
            table = [(name, text, text, "reader") for name, text in zip(names, texts)]
            write_tsv(tmp_path / f"covost_v2.en_de.{split}.tsv", SPLIT_COLUMNS, table)
        out = prep_covost(tmp_path, "en", "de", tmp_path / "data", **OPTIONS)
    else:
        for split in ("train", "dev"):
            folder = tmp_path / "en-de" / "data" / split
            (folder / "txt").mkdir(parents=True)
            shutil.copytree(HUMAN_SPEECH / "ljspeech" / "wavs", folder / "wav")
            entries = [f"- {{duration: 9, offset: 0, speaker_id: lj, wav: {name}}}\n" for name in names]
            for ending, content in (("yaml", entries), ("en", texts), ("de", texts)):
                text = "".join(f"{line.strip()}\n" for line in content)
                (folder / "txt" / f"{split}.{ending}").write_text(text, encoding="utf-8")
        out = prep_mustc(tmp_path, out=tmp_path / "data", **OPTIONS)
    assert [row["src_text"] for row in rows(out, "dev_st")] == texts
    assert not (out / "skipped_clips.tsv").read_text().splitlines()[1:]
    for name, row in zip(names, rows(out, "dev_st")):
        seconds = min(
            soundfile.info(HUMAN_SPEECH / "ljspeech" / "wavs" / name).duration, 9 if layout == "mustc" else 99
        )
        assert abs(int(row["n_frames"]) - 100 * seconds) <= 3


def test_carriage_returns_at_line_ends(copy, tmp_path, prepared, hashes):
    for split in covost.SPLITS:
        path = copy / "en" / f"covost_v2.en_de.{split}.tsv"
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert hashes(prep_covost(copy, "en", "de", tmp_path / "data", task="both", **OPTIONS)) == hashes(prepared)


def test_command_line(corpus, prepared, tmp_path, hashes):
    line = f"{corpus} --src-lang en --tgt-lang de --out {tmp_path / 'data'} --task both -j 2"
    assert command.main(prepare_covost, [*line.split(), *"--vocab-type char --specaugment none".split()]) == 0
    assert hashes(tmp_path / "data") == hashes(prepared)
