"""Features made bit by bit: by several jobs, after interruptions, or when they are read, always those of one run."""

import re
import shutil
from argparse import Namespace

import pytest
import torch
from fake_corpora import write_covost, write_mustc

from leap_fairseq.files import DataError, digest, digest_of_list, locked
from leap_fairseq.prepare import clip_features, feature_parts
from leap_fairseq.prepare.covost import prep_covost
from leap_fairseq.prepare.feature_parts import FileJob, make_part
from leap_fairseq.prepare.mustc import prep_mustc
from leap_fairseq.prepare.progress import Progress
from leap_fairseq.speech import AudioError
from leap_fairseq.speech.named_sound import named_sound, sound_features
from leap_fairseq.tasks.leap_speech_to_text import LeapSpeechToTextTask

OPTIONS = dict(vocab_type="char", specaugment="none")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Of three splits, with a talk that is broken and an entry that is none; tests must not change it."""
    root = write_mustc(tmp_path_factory.mktemp("mustc"), splits=("train", "dev", "tst-COMMON"))
    (root / "en-de/data/train/wav/ted_2.wav").write_bytes(b"RIFF")
    path = root / "en-de/data/dev/txt/dev.yaml"
    path.write_text(path.read_text().replace("offset: 0.200000", "offset: -1", 1))
    return root


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    return prep_mustc(corpus, out=tmp_path_factory.mktemp("whole") / "data", **OPTIONS)


def test_parts_in_any_order_join_to_the_bytes_of_one_run(corpus, whole, tmp_path, hashes, capsys):
    out = tmp_path / "data"
    for part, left in (("2/3", "0/3, 1/3"), ("0/3", "1/3"), ("0/3", "1/3")):
        prep_mustc(corpus, out=out, part=part, processes=2, **OPTIONS)
        assert f"other jobs have to make the rest, --part {left}\n" in capsys.readouterr().out
    assert not [path for path in out.iterdir() if not path.name.startswith(".")]
    with pytest.raises(DataError, match="divisions into 2 and 3 parts exclude each other in .*parts: go on with one"):
        prep_mustc(corpus, out=out, part="0/2", **OPTIONS)
    prep_mustc(corpus, out=out, part="1/3", **OPTIONS)
    assert hashes(out) == hashes(whole) and not (out / ".prep_mustc/parts").exists()
    times = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    prep_mustc(corpus, out=out, part="0/9", **OPTIONS)
    assert {path: path.stat().st_mtime_ns for path in out.iterdir() if path.is_file()}.items() <= times.items()


def test_one_run_makes_the_parts_that_are_missing(corpus, whole, tmp_path, hashes):
    out = tmp_path / "data"
    prep_mustc(corpus, out=out, part="1/7", **OPTIONS)
    part = out / ".prep_mustc/parts/1-of-7"
    with locked(part / "lock"), pytest.raises(DataError, match="another process is writing the features in .*1-of-7"):
        (part / "complete").unlink()
        prep_mustc(corpus, out=out, **OPTIONS)
    prep_mustc(corpus, out=out, **OPTIONS)
    assert hashes(out) == hashes(whole)


def test_one_job_joins(corpus, whole, tmp_path, hashes, monkeypatch, capsys):
    """Two of them see that all is there: the other one leaves it alone, and finds it done if it comes late."""
    out = tmp_path / "data"
    prep_mustc(corpus, out=out, part="0/2", **OPTIONS)
    with locked(out / ".prep_mustc"):
        prep_mustc(corpus, out=out, part="1/2", **OPTIONS)
    assert not (out / "fbank80.zip").exists()
    capsys.readouterr()

    def late(self, part):
        """The first one joins when the second has made its part."""
        prep_mustc(corpus, out=out, **OPTIONS)

    monkeypatch.setattr(clip_features.Features, "_make", late)
    monkeypatch.setattr(clip_features.Features, "_make_all", join)
    prep_mustc(corpus, out=out, part="1/2", **OPTIONS)
    assert hashes(out) == hashes(whole) and capsys.readouterr().out == ""


def join(self):
    parts = [self._folder(part) for part in (clip_features.Part(0, 2), clip_features.Part(1, 2))]
    self._write_statistics(parts)
    clip_features._join(parts, self._stages.folder / "fbank80.zip")


def test_clips_of_their_own_files_join_too(tmp_path, hashes):
    root = write_covost(tmp_path / "covost")
    one = prep_covost(root, "en", "de", tmp_path / "one", **OPTIONS)
    for number in range(4):
        out = prep_covost(root, "en", "de", tmp_path / "four", part=f"{number}/4", **OPTIONS)
    assert hashes(out) == hashes(one)


@pytest.mark.parametrize("part", ["4/4", "1", "-1/2", "1/0", "x/2", ""])
def test_wrong_parts_are_named(corpus, tmp_path, part):
    with pytest.raises(DataError, match=re.escape(f"--part is {part!r}, but must be I/N")):
        prep_mustc(corpus, out=tmp_path / "data", part=part, **OPTIONS)
    with pytest.raises(DataError, match="--part 0/2 divides stage 1, but --stage is 2"):
        prep_mustc(corpus, out=tmp_path / "data", part="0/2", stage=2, **OPTIONS)


def test_long_recordings_are_cut_into_jobs(corpus, whole, tmp_path, hashes, monkeypatch):
    monkeypatch.setattr(clip_features, "LONGEST_JOB", 0.5)
    jobs, make = [], clip_features.make_part
    monkeypatch.setattr(clip_features, "make_part", lambda *given: (jobs.extend(given[2]), make(*given)))
    assert hashes(prep_mustc(corpus, out=tmp_path / "data", **OPTIONS)) == hashes(whole)
    assert len(jobs) == 14 and all(len(job.names) == 1 for job in jobs)


class TestInterrupted:
    """A part that was stopped anywhere goes on behind the last job that is whole."""

    @pytest.fixture(scope="class")
    def jobs(self, corpus):
        wavs = corpus / "en-de/data/train/wav"
        times = [(0.2, 0.35), (9.0, 1.0), (0.6, 0.35)]
        return [FileJob(split, wavs / "ted_1.wav", list("abc"), times) for split in ("train", "dev", "train")]

    @pytest.fixture(autouse=True)
    def here(self, monkeypatch):
        """Without processes."""
        monkeypatch.setattr(feature_parts, "in_order", lambda function, jobs, processes: map(function, jobs))

    @staticmethod
    def files(folder):
        return {name: (folder / name).read_bytes() for name in ("members", "clips.jsonl", "sums")}

    def test_at_every_cut(self, jobs, tmp_path, caplog):
        caplog.set_level("INFO")
        make_part(tmp_path / "whole", {}, jobs, 1)
        whole = self.files(tmp_path / "whole")
        lines = whole["clips.jsonl"].splitlines(keepends=True)
        assert len(lines) == 9 and len(whole["sums"]) == 4 * 1280
        line_ends = [sum(map(len, lines[:count])) for count in range(10)]
        cuts = [("clips.jsonl", end + more) for end in line_ends for more in (-1, 0, 1)]
        cuts += [("members", end) for end in (0, 1, len(whole["members"]) // 2, len(whole["members"]) - 1)]
        cuts += [("sums", end) for end in (0, 1279, 1280, 2560, 5119)]
        for number, (name, end) in enumerate(cuts):
            folder = shutil.copytree(tmp_path / "whole", tmp_path / str(number))
            (folder / "complete").unlink()
            (folder / name).write_bytes(whole[name][: max(end, 0)])
            caplog.clear()
            make_part(folder, {}, jobs, 1)
            assert self.files(folder) == whole, (name, end)
            there = sum(end >= line_ends[count] for count in (3, 6, 9)) if name == "clips.jsonl" else None
            if there is not None:
                assert (f"{3 * there} of 9 clips are there" in caplog.text) == bool(there)

    def test_after_an_error_what_is_done_is_kept(self, jobs, tmp_path, monkeypatch, caplog):
        caplog.set_level("INFO")

        def broken(function, jobs, processes):
            yield function(jobs[0])
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(feature_parts, "in_order", broken)
            make_part(tmp_path / "part", {}, jobs, 1)
        make_part(tmp_path / "part", {}, jobs, 1)
        make_part(tmp_path / "whole", {}, jobs, 1)
        assert "3 of 9 clips are there from an earlier run" in caplog.text
        assert self.files(tmp_path / "part") == self.files(tmp_path / "whole")

    @pytest.mark.parametrize("call", (1, 2, 3, 4))
    def test_while_it_waits_for_the_disk(self, corpus, tmp_path, monkeypatch, call):
        """Clips without a member and sums: their lines alone tell which are there."""
        wav, times = corpus / "en-de/data/train/wav/ted_1.wav", [(0.2, 0.35), (0.6, 0.35)]
        jobs = [FileJob("dev", wav, names, times, is_zipped=False) for names in (["a", "b"], ["c", "d"], ["e", "f"])]
        make_part(tmp_path / "whole", {}, jobs, 1)
        waits = iter(range(1, 100))

        def stopped(_):
            if next(waits) == call:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(feature_parts, "COMMIT_EVERY", 0)
            patch.setattr(feature_parts.os, "fsync", stopped)
            make_part(tmp_path / "part", {}, jobs, 1)
        make_part(tmp_path / "part", {}, jobs, 1)
        assert self.files(tmp_path / "part") == self.files(tmp_path / "whole")

    def test_a_part_of_something_else_begins_anew(self, jobs, tmp_path, caplog):
        caplog.set_level("INFO")
        make_part(tmp_path / "part", {"of": 1}, jobs[:1], 1)
        make_part(tmp_path / "part", {"of": 2}, jobs, 1)
        assert "earlier run" not in caplog.text and len(self.files(tmp_path / "part")["sums"]) == 4 * 1280


def test_progress_tells_what_remains(monkeypatch, caplog):
    caplog.set_level("INFO")
    times = iter([0.0, 10.0, 40.0, 60.0, 70.0])
    progress = Progress("features", 10_000, 2_000, lambda: next(times))
    for _ in range(4):
        progress.add(1_000)
    assert caplog.messages == [
        "features: 2,000 of 10,000 clips are there from an earlier run",
        "features: 4,000 of 10,000 clips (40.0 %), 50.0 a second, 0:02:00 left",
        "features: 6,000 of 10,000 clips (60.0 %), 57.1 a second, 0:01:10 left",
    ]


def test_a_digest_of_a_list_needs_no_list():
    for values in ([], [{"b": 1, "a": "ü"}], [1, [2, None], "x"]):
        assert digest_of_list(iter(values)) == digest(values)


class TestOnTheFly:
    """--features audio: no zip, and a data set that computes what the zip has."""

    @pytest.fixture(scope="class")
    def unzipped(self, corpus, tmp_path_factory):
        return prep_mustc(corpus, out=tmp_path_factory.mktemp("audio") / "data", features="audio", **OPTIONS)

    @staticmethod
    def task(folder, *subsets):
        options = dict(config_yaml="config_st.yaml", seed=1, max_source_positions=6000, max_target_positions=1024)
        task = LeapSpeechToTextTask.setup_task(
            Namespace(data=str(folder), multitask_config_yaml=None, interleave=0, **options)
        )
        task.load_dataset(",".join(subsets))
        return task.dataset(",".join(subsets))

    def test_there_is_no_zip_and_the_rest_is_the_same(self, whole, unzipped, hashes):
        same, other = (
            {name: content for name, content in hashes(folder).items() if not name.startswith(".")}
            for folder in (whole, unzipped)
        )
        changed = {"config_st.yaml", *(f"{split}_st.tsv" for split in ("train", "dev", "tst-COMMON"))}
        assert set(same) - set(other) == {"fbank80.zip"}
        assert {name for name in other if same[name] != other[name]} == changed

    @pytest.mark.parametrize("subsets", [["train_st"], ["dev_st", "tst-COMMON_st"]])
    def test_the_data_set_gives_what_the_zip_gives(self, whole, unzipped, subsets, tmp_path, monkeypatch):
        moved = shutil.copytree(unzipped, tmp_path / "moved")
        monkeypatch.chdir("/")
        zipped, computed = self.task(whole, *subsets), self.task(moved, *subsets)
        assert len(zipped) == len(computed) > 2
        for index in range(len(zipped)):
            assert torch.equal(zipped[index].source, computed[index].source)
            assert torch.equal(zipped[index].target, computed[index].target)
            assert len(zipped[index].source) == computed.size(index)[0]

    def test_parts_are_joined_without_a_zip_too(self, corpus, unzipped, tmp_path, hashes):
        for number in range(2):
            out = prep_mustc(corpus, out=tmp_path / "data", features="audio", part=f"{number}/2", **OPTIONS)
        assert hashes(out) == hashes(unzipped)

    def test_a_folder_changes_from_one_to_the_other(self, corpus, whole, unzipped, tmp_path, hashes):
        out = shutil.copytree(unzipped, tmp_path / "data")
        prep_mustc(corpus, out=out, **OPTIONS)
        assert hashes(out) == hashes(whole)

    def test_names_are_exact_and_wrong_ones_say_so(self, corpus):
        wav = corpus / "en-de/data/train/wav/ted_1.wav"
        assert named_sound("a:b.wav", 0.1 + 0.2, None) == "a:b.wav:0.30000000000000004:"
        assert len(sound_features(named_sound(wav, 0.2, 0.35))) == 33
        assert len(sound_features(named_sound(wav, 1, None))) > 33
        for name, message in ((str(wav), "must be path:offset:duration"), (f"{wav}:90.0:1.0", "outside of the file")):
            with pytest.raises(AudioError, match=message):
                sound_features(name)
