"""Where files and folders are put: into folders that are made, through links, and never over a file by mistake."""

import pytest

from leap_fairseq import files
from leap_fairseq.files import DataError, locked, whole_file, whole_folder


def write_into(folder):
    with whole_folder(folder) as made:
        (made / "new").write_text("x", encoding="utf-8")


def test_the_folder_of_a_file_is_made(tmp_path):
    with whole_file(tmp_path / "a/b/table.tsv", text=True) as file:
        file.write("x")
    assert (tmp_path / "a/b/table.tsv").read_text(encoding="utf-8") == "x"


def test_a_link_to_a_folder_on_another_disk_stays_one(tmp_path):
    (tmp_path / "disk/out").mkdir(parents=True)
    (tmp_path / "disk/out/old").touch()
    (tmp_path / "link").symlink_to(tmp_path / "disk/out")
    write_into(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert [path.name for path in (tmp_path / "disk").rglob("*")] == ["out", "new"]


def test_the_folder_that_a_command_is_called_in(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    write_into(".")
    assert (tmp_path / "out/new").is_file()


def test_a_file_is_no_folder_and_that_is_said_before_the_work(tmp_path):
    (tmp_path / "text").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="text is a file, but must be a folder"), whole_folder(tmp_path / "text"):
        pytest.fail("the work was begun")
    assert [path.name for path in tmp_path.iterdir()] == ["text"]
    assert (tmp_path / "text").read_text(encoding="utf-8") == "mine"


def test_what_another_process_finished_before_the_opening(tmp_path, monkeypatch):
    """It has renamed the temporary file that was still there."""
    monkeypatch.setattr(files.os, "open", lambda *_: files.os.stat(tmp_path / "gone"))
    with pytest.raises(DataError, match="another process is writing .*out: wait for it"), locked(tmp_path, "out"):
        pass


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_folder_whose_replacement_is_interrupted_is_the_old_one_or_the_new_one(tmp_path, monkeypatch, after):
    """While the old one is being removed, after so many of its two files."""
    out = tmp_path / "out"
    out.mkdir()
    for name in ("a", "b"):
        (out / name).touch()

    def interrupted(folder, ignore_errors=False):
        if not folder.exists():
            return
        for path in sorted(folder.glob("*"))[:after]:
            path.unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files.shutil, "rmtree", interrupted)
        write_into(out)
    assert [path.name for path in sorted(out.iterdir())] in (["a", "b"], ["new"])
    write_into(out)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "new"]
