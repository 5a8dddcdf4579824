"""run.json: what several sessions of a training amount to, and what is no record."""

import json

import pytest

from leap_fairseq.files import DataError
from leap_fairseq.report.run_record import NAME, RunRecord


def session(record, first, losses, seconds=1.0, joules=None, maximize=False, **facts):
    """A session that validates at each update from `first` on, one after each `seconds`."""
    record.begin(first, "loss", maximize, **facts)
    for count, loss in enumerate(losses, start=1):
        record.validated("valid", first + count, count * seconds, {"loss": loss})
        record.validated("other", first + count, count * seconds, {"loss": 0.0})
        record.advance(first + count, count * seconds, joules)
    return record


def curve(record, **options):
    return [(entry["updates"], entry["seconds"], entry["loss"]) for entry in record.validations(**options)]


def test_a_record_comes_back_as_it_was_written(tmp_path):
    record = session(RunRecord.open(tmp_path), 0, [3.0, 2.0], joules=5.0, host="ant", command=["fairseq-train", "a b"])
    record.write()
    for place in (tmp_path, tmp_path / NAME):
        again = RunRecord.read(place)
        assert again.sessions == record.sessions and again.folder == tmp_path
    written = json.loads((tmp_path / NAME).read_text(encoding="utf-8"))
    assert written["best"] == {"metric": "loss", "value": 2.0, "updates": 2} and written["cpu_joules"] == 5.0
    assert (written["updates"], written["seconds"]) == (2, 2.0)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_what_was_done_after_the_checkpoint_stays_and_does_not_count(tmp_path):
    record = session(RunRecord(tmp_path, []), 0, [4.0, 3.0, 1.0])
    session(record, 2, [2.5, 2.75], seconds=10.0)
    assert curve(record) == [(1, 1.0, 4.0), (2, 2.0, 3.0), (3, 13.0, 2.5), (4, 23.0, 2.75)]
    assert record.summary() == {"updates": 4, "seconds": 23.0, "best": {"metric": "loss", "value": 2.5, "updates": 3}}
    assert [len(one["validations"]) for one in record.sessions] == [6, 4]
    assert {loss for _, _, loss in curve(record, subset="other")} == {0.0}
    # A training that begins anew in the folder.
    session(record, 0, [5.0])
    assert curve(record) == [(1, 24.0, 5.0)]


def test_more_is_better_where_the_training_says_so(tmp_path):
    record = session(RunRecord(tmp_path, []), 0, [0.5, 0.75, 0.25], maximize=True)
    assert record.summary()["best"]["updates"] == 2


def test_energy_is_left_out_if_a_session_does_not_know_it(tmp_path):
    record = session(RunRecord(tmp_path, []), 0, [1.0], joules=2.0)
    session(record, 1, [1.0], joules=3.5)
    assert record.summary()["cpu_joules"] == 5.5
    session(record, 2, [1.0])
    assert "cpu_joules" not in record.summary() and "cpu_joules" not in record.sessions[-1]


def test_a_loss_that_is_no_number_is_null_and_never_the_best(tmp_path):
    record = session(RunRecord(tmp_path, []), 0, [float("nan"), 3.0, float("inf")])
    record.write()
    assert [loss for _, _, loss in curve(RunRecord.read(tmp_path))] == [None, 3.0, None]
    assert record.summary()["best"]["updates"] == 2
    only = session(RunRecord(tmp_path, []), 0, [float("nan")])
    assert "best" not in only.summary()


DAMAGED = {"first_update": 0, "updates": 1, "seconds": 1.0, "metric": "loss", "maximize": False, "validations": [{}]}


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "{}", '{"sessions": []}', '{"sessions": [{"updates": 1}]}', "\x00"),
        *(json.dumps({"sessions": [{**DAMAGED, **change}]}) for change in ({}, {"seconds": None, "validations": []})),
    ],
)
def test_what_is_no_record_is_refused_and_put_aside_by_a_training(tmp_path, text, caplog):
    (tmp_path / NAME).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="is no record of a training"):
        RunRecord.read(tmp_path)
    session(RunRecord.open(tmp_path), 0, [1.0]).write()
    assert RunRecord.read(tmp_path).summary()["updates"] == 1
    assert (tmp_path / f"{NAME}.unreadable").read_text(encoding="utf-8") == text and "unreadable" in caplog.text


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(DataError, match="none is no run: .*there is no such folder"):
        RunRecord.read(tmp_path / "none")
    with pytest.raises(DataError, match="is no run: it has no run.json: give the --save-dir of a training"):
        RunRecord.read(tmp_path)
    (tmp_path / "leap").mkdir()
    session(RunRecord.open(tmp_path / "leap"), 0, [1.0]).write()
    with pytest.raises(DataError, match="it has no run.json; the folders in it have: leap"):
        RunRecord.read(tmp_path)
    with pytest.raises(DataError, match="file.txt is no run"):
        (tmp_path / "file.txt").touch()
        RunRecord.read(tmp_path / "file.txt")
