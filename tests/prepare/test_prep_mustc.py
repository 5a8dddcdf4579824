"""From MuST-C's layout to fairseq's data: right, complete, resumable, and the same bytes each time."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from fairseq.data.audio.audio_utils import get_features_or_waveform
from fairseq.data.audio.speech_to_text_dataset import SpeechToTextDatasetCreator

from leap_fairseq.prepare.mustc import prep_mustc
from leap_fairseq.speech import DataError, OnlineFbank, fbank, load_audio
from leap_fairseq.speech.corpus import by_file
from leap_fairseq.speech.mustc import read_split
from leap_fairseq.tasks.leap_speech_to_text import LeapSpeechToTextTask

SCRIPTS = Path(__file__).parents[2] / "data_prep"
OPTIONS = dict(vocab_size=60, specaugment="none")
PART = ".prep_mustc/parts/0-of-1"


def rows(folder, name):
    return SpeechToTextDatasetCreator._load_samples_from_tsv(str(folder), name)


@pytest.fixture(scope="module")
def prepared(travel_corpus, tmp_path_factory):
    return prep_mustc(travel_corpus, task="both", out=tmp_path_factory.mktemp("prepared") / "data", **OPTIONS)


@pytest.fixture
def corpus(travel_corpus, tmp_path):
    """A copy that may be changed; times of change are kept."""
    return shutil.copytree(travel_corpus, tmp_path / "corpus")


def split_files(corpus, split):
    return corpus / "en-de" / "data" / split


def test_files_have_fairseqs_names(prepared):
    assert {path.name for path in prepared.iterdir() if not path.name.startswith(".")} == {
        "fbank80.zip", "gcmvn.npz", "skipped_clips.tsv", "config_st.yaml", "config_asr.yaml",
        *(f"{split}_{task}.tsv" for split in ("train", "dev", "tst-COMMON") for task in ("st", "asr")),
        *(f"spm_unigram60_{task}.{ending}" for task in ("st", "asr") for ending in ("model", "txt")),
    }  # fmt: skip


@pytest.mark.parametrize("split", ["train", "dev", "tst-COMMON"])
def test_manifests_follow_the_text_files(prepared, travel_corpus, split):
    segments = read_split(travel_corpus, split, "de")
    st, asr = rows(prepared, f"{split}_st"), rows(prepared, f"{split}_asr")
    assert [row["tgt_text"] for row in st] == [segment.tgt_text for segment in segments]
    assert [row["tgt_text"] for row in asr] == [segment.src_text for segment in segments]
    assert [row["id"] for row in st] == [segment.id for segment in segments]
    assert {(row["src_lang"], row["tgt_lang"]) for row in st} == {("en", "de")}


@pytest.mark.parametrize("milliseconds", [10, 25, 40, 280, 333, None])
def test_zip_holds_the_features_that_a_stream_gives(prepared, travel_corpus, milliseconds):
    segment, row = read_split(travel_corpus, "dev", "de")[4], rows(prepared, "dev_st")[4]
    samples = load_audio(segment.audio, segment.offset, segment.duration)
    step = len(samples) if milliseconds is None else 16 * milliseconds
    stream = OnlineFbank()
    frames = np.concatenate([stream.push(samples[start : start + step]) for start in range(0, len(samples), step)])
    prepared_frames = get_features_or_waveform(str(prepared / row["audio"]))
    np.testing.assert_array_equal(frames, prepared_frames)
    np.testing.assert_array_equal(fbank(samples), prepared_frames)
    assert len(frames) == int(row["n_frames"])


def test_the_task_loads_it_after_a_move(prepared, tmp_path, monkeypatch):
    from argparse import Namespace

    moved = shutil.copytree(prepared, tmp_path / "elsewhere")
    monkeypatch.chdir("/")
    arguments = Namespace(data=str(moved), config_yaml="config_st.yaml", seed=1, max_source_positions=6000,
                          max_target_positions=1024, multitask_config_yaml=None, interleave=0)  # fmt: skip
    task = LeapSpeechToTextTask.setup_task(arguments)
    task.load_dataset("train_st")
    dataset = task.dataset("train_st")
    frames = torch.cat([dataset[i].source for i in range(len(dataset))])
    assert len(dataset) == 44 and frames.shape[1] == 80
    torch.testing.assert_close(frames.mean(0), torch.zeros(80), atol=1e-3, rtol=0)
    torch.testing.assert_close(frames.std(0), torch.ones(80), atol=1e-3, rtol=0)
    targets = torch.cat([dataset[i].target for i in range(len(dataset))])
    assert task.target_dictionary.unk() not in targets


def test_bytes_are_the_same_with_two_processes(prepared, travel_corpus, tmp_path, hashes):
    prep_mustc(travel_corpus, task="both", out=tmp_path / "data", processes=2, **OPTIONS)
    assert hashes(tmp_path / "data") == hashes(prepared)


def test_second_run_changes_nothing_and_options_redo_only_their_stage(travel_corpus, tmp_path, hashes):
    out = prep_mustc(travel_corpus, out=tmp_path / "data", **OPTIONS)

    def times():
        return {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.is_file()}

    first = times()
    prep_mustc(travel_corpus, out=out, **OPTIONS)
    assert times() == first
    prep_mustc(travel_corpus, out=out, vocab_size=60, specaugment="ld")
    assert {name for name, stamp in times().items() if first.get(name) != stamp} == {"config_st.yaml"}
    second = times()
    prep_mustc(travel_corpus, out=out, vocab_size=60, specaugment="ld", max_frames=350)
    changed = {name for name, stamp in times().items() if second.get(name) != stamp}
    assert "train_st.tsv" in changed and "spm_unigram60_st.model" in changed and "fbank80.zip" not in changed
    (out / "gcmvn.npz").write_bytes(b"damaged")
    prep_mustc(travel_corpus, out=out, **OPTIONS)
    assert hashes(out)["gcmvn.npz"] != hashlib.sha256(b"damaged").hexdigest()


def test_min_and_max_frames_are_for_training_only(travel_corpus, tmp_path, caplog):
    caplog.set_level("INFO")
    out = prep_mustc(travel_corpus, out=tmp_path / "data", min_frames=300, max_frames=360, **OPTIONS)
    lengths = [int(row["n_frames"]) for row in rows(out, "train_st")]
    assert 0 < len(lengths) < 44 and min(lengths) >= 300 and max(lengths) <= 360
    assert len(rows(out, "dev_st")) == 6 and len(rows(out, "tst-COMMON_st")) == 7
    assert f"{len(lengths)} of 44 clips kept" in caplog.text
    with pytest.raises(DataError, match="train_st.tsv.*--min/--max-frames"):
        prep_mustc(travel_corpus, out=out, min_frames=100_000, max_frames=100_000, **OPTIONS)


def test_broken_clips_are_skipped_listed_and_counted(corpus, tmp_path, caplog):
    segments = read_split(corpus, "train", "de")
    talks = by_file(segments)
    (talks[0][0]).write_bytes(b"")
    (talks[1][0]).unlink()
    dev = split_files(corpus, "dev") / "txt" / "dev.yaml"
    lines = dev.read_text().splitlines()
    lines[0] = lines[0].replace("duration: ", "duration: 0.02 #")[:18] + lines[0][lines[0].index(", offset") :]
    lines[1] = lines[1].replace("offset: ", "offset: 9")
    dev.write_text("\n".join(lines) + "\n")
    out = prep_mustc(corpus, out=tmp_path / "data", vocab_size=70)
    broken = len(talks[0][1]) + len(talks[1][1])
    assert len(rows(out, "train_st")) == 44 - broken and len(rows(out, "dev_st")) == 4
    listed = (out / "skipped_clips.tsv").read_text().splitlines()[1:]
    assert len(listed) == broken + 2 and f"{broken + 2} of 57 clips skipped" in caplog.text
    assert "shorter than one window" in listed[-2] + listed[-1] and str(tmp_path) not in "".join(listed)
    assert [row["tgt_text"] for row in rows(out, "dev_st")] == [s.tgt_text for s in read_split(corpus, "dev", "de")[2:]]


def test_repaired_audio_is_noticed(corpus, tmp_path):
    wav = by_file(read_split(corpus, "train", "de"))[0][0]
    content = wav.read_bytes()
    wav.write_bytes(b"")
    out = prep_mustc(corpus, out=tmp_path / "data", vocab_size=70)
    assert len(rows(out, "train_st")) == 24
    wav.write_bytes(content)
    assert len(rows(prep_mustc(corpus, out=out, vocab_size=70), "train_st")) == 44


def test_48_khz_stereo_flac_and_unsorted_segments(corpus, tmp_path):
    folder = split_files(corpus, "dev")
    before = prep_mustc(corpus, out=tmp_path / "before", vocab_size=70)
    wav = by_file(read_split(corpus, "dev", "de"))[0][0]
    samples, _ = soundfile.read(wav)
    soundfile.write(wav, np.stack([np.repeat(samples, 3)] * 2, 1), 48000)
    for name in ("yaml", "en", "de"):
        path = folder / "txt" / f"dev.{name}"
        path.write_text("\n".join(reversed(path.read_text().splitlines())) + "\n")
    after = prep_mustc(corpus, out=tmp_path / "after", vocab_size=70)
    old, new = rows(before, "dev_st"), rows(after, "dev_st")[::-1]
    columns = ("id", "n_frames", "tgt_text", "speaker")
    assert [[row[c] for c in columns] for row in old] == [[row[c] for c in columns] for row in new]


def test_sentence_counts_must_agree(corpus, tmp_path):
    path = split_files(corpus, "dev") / "txt" / "dev.de"
    path.write_text(path.read_text() + "Noch ein Satz.\n")
    with pytest.raises(DataError, match="dev.yaml has 6 segments, dev.en 6 and dev.de 7 lines"):
        prep_mustc(corpus, out=tmp_path / "data")


def test_odd_characters_do_not_shift_lines(corpus, tmp_path):
    path = split_files(corpus, "dev") / "txt" / "dev.de"
    texts = ['Er sagt: "nein" \\ ja', "a\u2028b", "c\x0bd\x0ce", "f\x85g", "\ufeffh", "i\rj"]
    path.write_bytes("\n".join(texts).encode())
    out = prep_mustc(corpus, out=tmp_path / "data", vocab_size=70)
    assert [row["tgt_text"] for row in rows(out, "dev_st")] == [*texts[:4], texts[4], "i j"]


@pytest.mark.parametrize(
    "change, rule",
    [
        (dict(task="mt"), "--task"),
        (dict(vocab_type="bpe"), "--vocab-type"),
        (dict(vocab_size=10), "--vocab-size"),
        (dict(vocab_size=4), "--vocab-size is 4, but must be more than the 4 special symbols"),
        (dict(specaugment="sm"), "--specaugment"),
        (dict(min_frames=9, max_frames=8), "--max-frames"),
        (dict(tgt_lang="fr"), "en-fr"),
        (dict(processes=0), "-j"),
    ],
)
def test_wrong_options_are_refused(travel_corpus, tmp_path, change, rule):
    with pytest.raises(DataError, match=rule):
        prep_mustc(travel_corpus, **{**OPTIONS, "out": tmp_path / "data", **change})


def test_malformed_yaml(corpus, tmp_path):
    (split_files(corpus, "dev") / "txt" / "dev.yaml").write_text("{duration: 1.0, wav: a.wav}\n")
    with pytest.raises(DataError, match="duration, offset, speaker_id, wav"):
        prep_mustc(corpus, out=tmp_path / "data")


def command(corpus, out, *more):
    return [sys.executable, str(SCRIPTS / "prep_mustc.py"), str(corpus), "--out", str(out), "--vocab-size", "60",
            "--specaugment", "none", "--task", "both", *more]  # fmt: skip


def test_killed_run_is_completed_by_the_next(prepared, travel_corpus, tmp_path, hashes):
    """SIGKILL while the features are written; the rerun gives the bytes of an undisturbed run."""
    out = tmp_path / "data"
    process = subprocess.Popen(command(travel_corpus, out, "-j", "2"), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while process.poll() is None and not (out / PART / "members").exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "config_st.yaml").exists()
    prep_mustc(travel_corpus, task="both", out=out, **OPTIONS)
    assert hashes(out) == hashes(prepared)


def test_user_error_is_one_line(tmp_path):
    result = subprocess.run(command("missing", tmp_path / "data"), cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr and "missing/en-de/data/train is missing" in result.stderr.splitlines()[-1]


def test_clip_list_is_plain_data(prepared):
    clips = json.loads((prepared / ".prep_mustc" / "clips.json").read_text())
    assert [len(clips[split]) for split in ("train", "dev", "tst-COMMON")] == [44, 6, 7]
