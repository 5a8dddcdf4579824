"""--stage and --stop-stage of both scripts: parts give the same as the whole, and what is missing is named."""

import shutil

import pytest
from fake_corpora import write_covost, write_mustc

from leap_fairseq.prepare.covost import prep_covost
from leap_fairseq.prepare.mustc import prep_mustc
from leap_fairseq.speech import DataError

OPTIONS = dict(vocab_type="char", specaugment="none")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Tests must not change it."""
    return write_covost(tmp_path_factory.mktemp("covost") / "cv")


def test_one_at_a_time_gives_the_same_as_all(corpus, tmp_path, hashes):
    whole = prep_covost(corpus, "en", "de", tmp_path / "whole", task="both", **OPTIONS)
    out, options = tmp_path / "data", dict(task="both", **OPTIONS)
    counts = []
    for number in (1, 2, 3, 4):
        prep_covost(corpus, "en", "de", out, stage=number, stop_stage=number, **options)
        counts.append(len([path for path in out.iterdir() if path.is_file()]))
    assert counts == [3, 9, 13, 15]
    assert hashes(out) == hashes(whole)


def test_earlier_stages_must_be_complete(corpus, tmp_path):
    out = tmp_path / "data"
    with pytest.raises(DataError, match=r"--stage 2 starts after stage 1 \(features\), which is not complete"):
        prep_covost(corpus, "en", "de", out, stage=2, **OPTIONS)
    prep_covost(corpus, "en", "de", out, stop_stage=1, **OPTIONS)
    with pytest.raises(DataError, match=r"stage 2 \(manifests\).* start with --stage 2"):
        prep_covost(corpus, "en", "de", out, stage=3, **OPTIONS)
    prep_covost(corpus, "en", "de", out, stage=2, **OPTIONS)
    with pytest.raises(DataError, match=r"stage 2 \(manifests\).* for this corpus and these options"):
        prep_covost(corpus, "en", "de", out, stage=4, max_frames=35, **OPTIONS)
    (out / "fbank80.zip").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"stage 1 \(features\)"):
        prep_covost(corpus, "en", "de", out, stage=2, **OPTIONS)


def test_later_stages_do_without_the_audio(corpus, tmp_path):
    copy = shutil.copytree(corpus, tmp_path / "cv")
    out = prep_covost(copy, "en", "de", tmp_path / "data", stop_stage=1, **OPTIONS)
    for clip in (copy / "en" / "clips").iterdir():
        clip.unlink()
    prep_covost(copy, "en", "de", out, stage=2, **OPTIONS)
    assert len((out / "train_st.tsv").read_bytes().splitlines()) == 6
    path = copy / "en" / "covost_v2.en_de.dev.tsv"
    path.write_bytes(path.read_bytes().replace(b"dev_4", b"dev_9"))
    with pytest.raises(DataError, match=r"stage 1 \(features\)"):
        prep_covost(copy, "en", "de", out, stage=2, **OPTIONS)


@pytest.mark.parametrize("stages", [dict(stage=0), dict(stop_stage=5), dict(stage=3, stop_stage=2)])
def test_numbers_are_checked(corpus, tmp_path, stages):
    with pytest.raises(DataError, match="1 <= stage <= stop-stage <= 4"):
        prep_covost(corpus, "en", "de", tmp_path / "data", **stages)


def test_mustc_has_them_too(tmp_path):
    root = write_mustc(tmp_path / "mustc", splits=("train", "dev"))
    with pytest.raises(DataError, match="--stage 2 starts after stage 1"):
        prep_mustc(root, out=tmp_path / "data", stage=2, **OPTIONS)
    out = prep_mustc(root, out=tmp_path / "data", stop_stage=2, **OPTIONS)
    assert (out / "train_st.tsv").exists() and not (out / "spm_char_st.model").exists()
