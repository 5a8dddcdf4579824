"""MuST-C as its three releases lie on disk, and as people keep it: other roots, splits and formats."""

import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from fairseq.data.audio.audio_utils import get_features_or_waveform
from fairseq.data.audio.speech_to_text_dataset import SpeechToTextDatasetCreator
from fake_corpora import SENTENCES, YAML, speechlike, write_mustc

from leap_fairseq.prepare.joined_segments import join_segments
from leap_fairseq.prepare.lists import make_eval_list
from leap_fairseq.prepare.mustc import prep_mustc
from leap_fairseq.speech import DataError, fbank, load_audio
from leap_fairseq.speech.mustc import read_split


def rows(folder, name):
    return SpeechToTextDatasetCreator._load_samples_from_tsv(str(folder), name)


@pytest.mark.parametrize("version", sorted(YAML))
def test_layouts_of_all_versions(tmp_path, version):
    root = write_mustc(tmp_path / "mustc", version, tgt_lang="ja")
    out = prep_mustc(root, "ja", tmp_path / "data", task="both", vocab_type="char")
    for split, first in zip(("train", "dev", "tst-COMMON", "tst-HE"), (0, 10, 20, 30)):
        found = rows(out, f"{split}_st")
        assert [row["id"] for row in found] == [
            f"ted_{first + t}_{i}" for t, i in ((1, 0), (1, 1), (1, 2), (2, 0), (2, 1))
        ]
        assert [row["speaker"] for row in found] == ["spk.1"] * 3 + ["spk.2"] * 2
        assert [(row["src_text"], row["tgt_text"]) for row in found] == list(SENTENCES)
        assert {(row["n_frames"], row["tgt_lang"]) for row in found} == {("33", "ja")}
    samples = load_audio(root / "en-ja" / "data" / "train" / "wav" / "ted_2.wav", 0.6, 0.35)
    frames = get_features_or_waveform(str(out / rows(out, "train_st")[4]["audio"]))
    np.testing.assert_array_equal(frames, fbank(samples))


def test_all_versions_and_eight_processes_give_the_same_bytes(tmp_path, hashes):
    options = dict(task="both", vocab_type="char")
    outs = [prep_mustc(write_mustc(tmp_path / f"v{v}", v), out=tmp_path / f"out{v}", **options) for v in sorted(YAML)]
    outs.append(prep_mustc(tmp_path / "v1", out=tmp_path / "out8", processes=8, **options))
    # The stamps know when the audio was written.
    found = [{name: value for name, value in hashes(out).items() if "features.json" not in name} for out in outs]
    assert len(found[0]) > 15 and found[0] == found[1] == found[2] == found[3]


def test_root_may_be_the_language_pair_itself(tmp_path, hashes):
    root = write_mustc(tmp_path / "mustc", splits=("train", "dev"))
    outs = [prep_mustc(root, out=tmp_path / "1", vocab_type="char"), prep_mustc(root / "en-de", vocab_type="char")]
    assert outs[1] == root / "en-de"
    names = [path.name for path in outs[0].iterdir() if path.is_file()]
    assert all((outs[0] / name).read_bytes() == (outs[1] / name).read_bytes() for name in names)
    with pytest.raises(DataError, match="en-fr/data/train is missing: ROOT must .* holds en-de"):
        prep_mustc(root, "fr", out=tmp_path / "2")


def test_further_splits_and_converted_audio(tmp_path):
    root = write_mustc(tmp_path / "mustc", 2, splits=("train", "dev", "tst2019"))
    (root / "en-de" / "data" / "notes").mkdir()
    before = prep_mustc(root, out=tmp_path / "before", vocab_type="char")
    assert [row["tgt_text"] for row in rows(before, "tst2019_st")] == [german for _, german in SENTENCES]
    for wav in (root / "en-de" / "data").rglob("*.wav"):
        samples, rate = soundfile.read(wav, dtype="int16")
        soundfile.write(wav.with_suffix(".flac"), samples, rate, subtype="PCM_16")
        wav.unlink()
    after = prep_mustc(root, out=tmp_path / "after", vocab_type="char")
    assert (after / "fbank80.zip").read_bytes() == (before / "fbank80.zip").read_bytes()


def test_damaged_header_of_one_talk(tmp_path):
    root = write_mustc(tmp_path / "mustc", splits=("train", "dev"))
    soundfile.write(root / "en-de" / "data" / "train" / "wav" / "ted_1.wav", speechlike(2, 1), 4, subtype="PCM_16")
    out = prep_mustc(root, out=tmp_path / "data", vocab_type="char")
    assert [row["id"] for row in rows(out, "train_st")] == ["ted_2_0", "ted_2_1"]
    listed = (out / "skipped_clips.tsv").read_text().splitlines()[1:]
    assert len(listed) == 3 and all("is 4 Hz, but must be 4000 to 192000 Hz" in line for line in listed)


FAULTS = {
    "wav: ted_1.wav": ("wav: [ted_1.wav]", r"wav is \['ted_1.wav'\], but must be a name"),
    "wav: ted_1.wav}": ("wav: ../../../../secret.wav}", "'../../../../secret.wav' is not inside of wav"),
    "wav:": ("file:", "the audio file is '', but must have a name"),
    "speaker_id: spk.1": ("speaker_id: {name: spk.1}", r"speaker_id is \{'name': 'spk.1'\}, but must be a name"),
    "duration: 0.350000": ("duration: 1e308", "duration is '1e308', but must be 0 to 604800 s, a week"),
    "duration: 0.35": ("duration: .nan, x: 0.35", "duration is '.nan'"),
    "duration: 0": ("duration: -0", "duration is '-0.350000'"),
    "duration: 0.3500": ("duration: null, x: 0", "duration is 'null'"),
    "duration:": ("time:", "duration is None"),
    "offset: 0.600000": ("offset: nan", "offset is 'nan'"),
    "- {duration: 0.350000, offset: 0.600000": ("- [1, 2]\n#", r"it is \['1', '2'\], but must have keys"),
}
"""What stands in a list where a name or a time belongs, and what is said of it."""


def damage(root, right, wrong):
    """Writes the wrong thing into the second entry of the training list."""
    path = root / "en-de" / "data" / "train" / "txt" / "train.yaml"
    lines = path.read_text().split("\n")
    assert right in lines[1]
    path.write_text("\n".join([lines[0], lines[1].replace(right, wrong), *lines[2:]]))


@pytest.mark.parametrize("right", FAULTS)
def test_an_entry_that_cannot_be_used_is_skipped(tmp_path, right):
    root = write_mustc(tmp_path / "mustc", splits=("train",))
    whole = read_split(root, "train", "de")
    damage(root, right, FAULTS[right][0])
    first, faulty, *others = read_split(root, "train", "de")
    assert faulty.id == "entry 2" and re.search(
        f"entry 2 of the YAML cannot be used: .*{FAULTS[right][1]}", faulty.fault
    )
    assert (faulty.src_text, faulty.tgt_text) == SENTENCES[1]
    # Fewer segments of this talk have a number, all else is as it was.
    assert [first, replace(others[0], id="ted_1_2"), *others[1:]] == [whole[0], *whole[2:]]
    assert all("entry 2" not in joined.id for joined in join_segments([first, faulty, *others], 3))
    assert all(SENTENCES[0][1] != joined.tgt_text[: -len("<next>")] for joined in join_segments([first, faulty], 3))


@pytest.mark.parametrize("other", ["more/ted_1.wav", "ted_1.flac"])
def test_recordings_of_one_name_are_named(tmp_path, other):
    data = write_mustc(tmp_path / "mustc", splits=("train",)) / "en-de/data/train"
    (data / "wav" / other).parent.mkdir(exist_ok=True)
    (data / "wav/ted_2.wav").rename(data / "wav" / other)
    path = data / "txt/train.yaml"
    path.write_text(path.read_text().replace("ted_2.wav", other))
    with pytest.raises(DataError, match=f"train.yaml: the recordings .*ted_1.wav and .*{other} differ in nothing but"):
        read_split(tmp_path / "mustc", "train", "de")


def test_a_damaged_list_and_damaged_clips_end_nothing(tmp_path, caplog):
    root = write_mustc(tmp_path / "mustc", splits=("train", "dev"))
    damage(root, "duration: 0.350000", "duration: 1e308")
    wavs = root / "en-de" / "data" / "train" / "wav"
    samples, rate = soundfile.read(wavs / "ted_2.wav")
    samples[int(0.3 * rate)] = np.nan
    soundfile.write(wavs / "ted_2.wav", samples, rate, subtype="FLOAT")
    out = prep_mustc(root, out=tmp_path / "data", vocab_type="char", join=2)
    assert [row["id"] for row in rows(out, "train_st") if "+" not in row["id"]] == ["ted_1_0", "ted_1_1", "ted_2_1"]
    listed = [line.split("\t") for line in (out / "skipped_clips.tsv").read_text().splitlines()[1:]]
    assert {tuple(line[:2]) for line in listed} >= {("train", "entry 2"), ("train", "ted_2_0")}
    assert "go from" in dict((line[1], line[2]) for line in listed)["ted_2_0"]
    make_eval_list(root, "train", tmp_path / "eval")
    assert len((tmp_path / "eval" / "train.wav_list").read_text().splitlines()) == 3
    assert "left out entry 2: entry 2 of the YAML cannot be used" in caplog.text
