"""A checkpoint is copied whole or not at all; one that is refused or damaged is named in one line."""

import pickle

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager

from leap_fairseq import compat
from leap_fairseq.compat.checkpoints import repair_checkpoint_reading
from leap_fairseq.compat.replacing import original

compat.apply()


class Foreign:
    def __reduce__(self):
        return eval, ("1",)


@pytest.fixture
def whole(tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save({"model": {"weight": torch.zeros(1000)}, "args": None, "cfg": None}, path)
    return path


DAMAGED = {
    **{"empty": b"", "text": b"version https", "pickle": pickle.dumps([1], 2)[:3]},
    **{"list": b"attention", "memo": b"j1234", "number": b"r", "letter": b"U\xdc\xb7"},
}


@pytest.mark.parametrize("content", ["half", *DAMAGED])
def test_damaged(whole, content):
    whole.write_bytes(DAMAGED.get(content, whole.read_bytes()[:900]))
    with pytest.raises((RuntimeError, EOFError, pickle.UnpicklingError)) as error:
        checkpoint_utils.load_checkpoint_to_cpu(str(whole))
    message = str(error.value)
    assert message.startswith(f"{whole}: not a whole checkpoint (") and "copy it again" in message
    assert "\n" not in message and error.value.__suppress_context__


def test_foreign_type(whole):
    torch.save({"model": {}, "args": Foreign()}, whole)
    with pytest.raises(pickle.UnpicklingError) as error:
        checkpoint_utils.load_checkpoint_to_cpu(str(whole))
    message = str(error.value)
    assert message.startswith(f"{whole}: Unsupported global") and "eval" in message
    assert "\n" not in message and "weights_only" not in message and error.value.__suppress_context__


def test_torch_alone_proposes_to_load_unchecked(whole):
    torch.save({"args": Foreign()}, whole)
    with pytest.raises(pickle.UnpicklingError, match="weights_only` set to `False` will likely succeed"):
        original(checkpoint_utils.load_checkpoint_to_cpu)(str(whole))


def test_other_errors_and_whole_files_pass(whole, monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError):
        checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / "missing.pt"))

    def fail(*args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(RuntimeError, match="^out of memory$"):
        checkpoint_utils.load_checkpoint_to_cpu(str(whole))


def test_twice_is_once():
    before = checkpoint_utils.load_checkpoint_to_cpu
    repair_checkpoint_reading()
    assert checkpoint_utils.load_checkpoint_to_cpu is before is not original(before)


def interrupted(source, destination):
    """A copy that is killed in the middle."""
    with open(source, "rb") as file, open(destination, "wb") as copy:
        copy.write(file.read(100))
    raise KeyboardInterrupt


@pytest.mark.parametrize("repaired", [True, False])
def test_a_copy_that_is_interrupted_leaves_the_older_checkpoint(whole, tmp_path, monkeypatch, repaired):
    last, before = tmp_path / "checkpoint_last.pt", whole.read_bytes()
    copy = PathManager.copy if repaired else original(PathManager.copy)
    copy(str(whole), str(last), overwrite=True)
    monkeypatch.setattr("fairseq.file_io.IOPathManager", None)
    monkeypatch.setattr("shutil.copyfile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        copy(str(whole), str(last), overwrite=True)
    # The control: fairseq alone leaves it cut short.
    assert (last.read_bytes() == before) == repaired


def test_a_copy_is_the_checkpoint(whole, tmp_path):
    last = tmp_path / "checkpoint_last.pt"
    for _ in range(2):
        assert PathManager.copy(str(whole), str(last), overwrite=True)
        assert last.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "checkpoint_last.pt"]
