"""Two processes never write into one folder: the second is refused, and a dead one keeps nobody out."""

import errno
import fcntl
import multiprocessing
import os
import signal

import pytest
from fake_corpora import write_mustc

from leap_fairseq import files
from leap_fairseq.files import DataError, Stages, locked, whole_file, whole_folder
from leap_fairseq.prepare import feature_parts, synthetic_corpus
from leap_fairseq.prepare.mustc import prep_mustc
from leap_fairseq.prepare.travel.corpus import make_travel_corpus

FORK = multiprocessing.get_context("fork")
OPTIONS = dict(vocab_type="char", specaugment="none", processes=2)
REFUSED = "another process is writing .*{}: wait for it, or give another place"


def in_process(function, *args):
    """Starts it in a process of its own, which may hold locks; returns process and the event that it sets."""
    reached, go_on = FORK.Event(), FORK.Event()
    process = FORK.Process(target=function, args=(reached, go_on, *args))
    process.start()
    assert reached.wait(60)
    return process, go_on


def holding(reached, go_on, context, *args):
    with context(*args):
        reached.set()
        go_on.wait(60)


def preparing(reached, go_on, root, out):
    """Prepares a corpus, and stops in the middle of the features until it may go on."""
    add = feature_parts._Record.add

    def slowly(self, made):
        reached.set()
        go_on.wait(60)
        add(self, made)

    feature_parts._Record.add = slowly
    prep_mustc(root, out=out, **OPTIONS)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_mustc(tmp_path_factory.mktemp("mustc"), splits=("train", "dev"))


@pytest.fixture(scope="module")
def alone(corpus, tmp_path_factory, hashes):
    return hashes(prep_mustc(corpus, out=tmp_path_factory.mktemp("alone") / "data", **OPTIONS))


def test_the_second_preparation_is_refused_and_the_first_unharmed(corpus, alone, tmp_path, hashes):
    out = tmp_path / "data"
    process, go_on = in_process(preparing, corpus, out)
    with pytest.raises(DataError, match=REFUSED.format("data")):
        prep_mustc(corpus, out=out, **{**OPTIONS, "vocab_type": "unigram"})
    with pytest.raises(DataError, match=REFUSED.format("data")):
        prep_mustc(corpus, out=out, stage=2, **OPTIONS)
    go_on.set()
    process.join(60)
    assert process.exitcode == 0 and hashes(out) == alone


def test_after_a_killed_preparation_the_next_one_begins_at_once(corpus, alone, tmp_path, hashes):
    out = tmp_path / "data"
    process, _ = in_process(preparing, corpus, out)
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    prep_mustc(corpus, out=out, **OPTIONS)
    assert hashes(out) == alone


def child_that_waits(reached, go_on):
    reached.set()
    go_on.wait(60)


@pytest.mark.parametrize("forgotten", [True, False])
def test_a_worker_does_not_keep_the_lock_of_its_parent(tmp_path, forgotten):
    with locked(tmp_path):
        if not forgotten:  # the control: without the hook a fork shares the lock
            (descriptor,) = files._held
            files._held.clear()
        process, go_on = in_process(child_that_waits)
        if not forgotten:
            os.close(descriptor)  # which the block then cannot
    try:
        if forgotten:
            with locked(tmp_path):
                pass
        else:
            with pytest.raises(DataError), locked(tmp_path):
                pass
    finally:
        go_on.set()
        process.join(60)


def stages_alone(folder):
    return Stages(folder, "work").alone()


@pytest.mark.parametrize("context", [whole_folder, whole_file, stages_alone])
def test_each_kind_of_output_has_one_writer(tmp_path, context):
    place = tmp_path / "out"
    process, go_on = in_process(holding, context, place)
    with pytest.raises(DataError, match=REFUSED.format("out")), context(place):
        pass
    with context(tmp_path / "other"):
        pass
    go_on.set()
    process.join(60)
    assert process.exitcode == 0 and place.exists()
    with context(place):
        pass
    process, _ = in_process(holding, context, place)
    process.kill()
    process.join(60)
    with context(place):
        pass


def test_one_object_may_lock_its_stages_again(tmp_path):
    stages = Stages(tmp_path, "work")
    with stages.alone():
        assert stages.run("one", {}, [], lambda: None)
    with pytest.raises(DataError), Stages(tmp_path, "work").alone(), Stages(tmp_path, "work").alone():
        pass


def test_a_synthetic_corpus_has_one_maker(tmp_path):
    with synthetic_corpus.SyntheticCorpus(tmp_path / "x", "travel", 1, {"train": 1}):
        with pytest.raises(DataError, match=REFUSED.format("x")):
            make_travel_corpus(tmp_path / "x", 1, 1, 1)


def test_what_was_finished_between_opening_and_lock_is_not_touched(tmp_path, monkeypatch):
    """The other process renames its folder just then."""
    flock = files.fcntl.flock

    def late(descriptor, how):
        (tmp_path / ".out.partial").rename(tmp_path / "out")
        flock(descriptor, how)

    monkeypatch.setattr(files.fcntl, "flock", late)
    with pytest.raises(DataError, match=REFUSED.format("out")), whole_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out").is_dir()


def test_a_file_system_without_locks_is_said_once(tmp_path, monkeypatch, caplog):
    asked = []

    def unsupported(descriptor, how):
        asked.append(how)
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", unsupported)
    files._warn_once.cache_clear()
    for name in ("a", "b"):
        with whole_file(tmp_path / name) as file:
            file.write(b"x")
    assert (tmp_path / "b").read_bytes() == b"x"
    # Each is asked for once, without waiting.
    assert asked == [fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN] * 2
    assert caplog.text.count(f"no locks in {tmp_path} (No locks available)") == 1


def test_a_command_that_is_being_started_keeps_no_lock(tmp_path):
    """Between its fork and its program it has a copy of what another thread has just locked."""
    with locked(tmp_path):
        (descriptor,) = files._held
        copy = os.dup(descriptor)
        with pytest.raises(DataError, match=REFUSED.format("")), locked(tmp_path):
            pass
    with locked(tmp_path):
        pass
    os.close(copy)
