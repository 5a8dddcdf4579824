"""A folder is gone on with only if all that decides its run is the same; an earlier version did not note all of it."""

import json

import pytest

from leap_fairseq.files import DataError
from leap_fairseq.scoring.run_folder import RunFolder, heard, logged

FACTS = {"k": 3, "model": "m", "data": "d"}


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "1.wav"
    path.write_bytes(b"clean")
    return path


@pytest.fixture
def run(wav, tmp_path):
    """A function: the folder of a run of the recording as it is, with these facts."""
    return lambda facts=FACTS: RunFolder(tmp_path / "out", [str(wav)], ["eins"], {**facts, **heard([str(wav)])})


def test_other_sound_under_the_same_name_is_another_run(run, wav):
    run()
    wav.write_bytes(b"noisy")
    with pytest.raises(DataError, match="holds an evaluation of recordings .*: give a new folder"):
        run()
    # Written again, as by prepare lists.
    wav.write_bytes(b"clean")
    run()


@pytest.mark.parametrize("name", FACTS)
def test_another_model_or_other_data_are_another_run(run, name):
    run()
    with pytest.raises(DataError, match=f"holds an evaluation of {name} "):
        run({**FACTS, name: "other"})


def test_a_run_of_an_earlier_version_goes_on(run, tmp_path):
    folder = run()
    times = {"delays": [1], "elapsed": [1], "source_length": 1}
    folder.add({0: {"prediction": "eins", "reference": "eins", **times}})
    path = tmp_path / "out/evaluation.json"
    noted = json.loads(path.read_text())
    for name in ("data", "recordings"):
        del noted[name]
    path.write_text(json.dumps(noted))
    again = run()
    assert not again.missing() and 0 in logged([tmp_path / "out"], again.facts)
    with pytest.raises(DataError, match="holds an evaluation of k 3, not 4"):
        run({**FACTS, "k": 4})
