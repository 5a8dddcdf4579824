"""The data of a checkpoint that was trained in another directory, or moved: found near it, or named by all places."""

import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from exported_model import write_model

from leap_fairseq.cli import main
from leap_fairseq.models import load_translator
from leap_fairseq.models.data_places import data_folder, places
from leap_fairseq.models.distillation import _data_of

REMEMBERED = "st/data"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the checkpoint st/model/checkpoint.pt, which remembers st/data; the process is elsewhere."""
    folder = tmp_path / "project"
    written = write_model(folder / REMEMBERED)
    (folder / "st/model").mkdir()
    state = torch.load(written / "checkpoint.pt", weights_only=False)
    state["cfg"]["task"].data = REMEMBERED
    torch.save(state, folder / "st/model/checkpoint.pt")
    (written / "checkpoint.pt").unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


LAYOUTS = {
    "below a folder above": (".", REMEMBERED),
    "a folder of its name within": ("st", "st/model/data"),
    "a folder of its name beside": ("st", "data"),
    "the folder of the checkpoint": ("st", "st/model"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_data_near_the_checkpoint_are_found_and_said(project, caplog, name):
    data = project / LAYOUTS[name][1]
    if data != project / REMEMBERED:
        moved = project / "st" / "moved"
        shutil.move(project / REMEMBERED, moved)
        if name == "a folder of its name beside":
            # Of a relative path all folders above are tried, this one too; so it was absolute.
            change(project, "/gone/data")
            data = project / "st/data"
        shutil.copytree(moved, data, dirs_exist_ok=True)
        shutil.rmtree(moved)
    load_translator(project / "st/model/checkpoint.pt")
    (said,) = (record for record in caplog.records if "remembers its data" in record.getMessage())
    text = said.getMessage()
    assert said.levelname == "WARNING" and f"those of {data} are taken (--data-bin names others)" in text
    assert ("relative to where it was trained" in text) == (name != "a folder of its name beside")


def change(project, data):
    path = project / "st/model/checkpoint.pt"
    state = torch.load(path, weights_only=False)
    state["cfg"]["task"].data = data
    torch.save(state, path)


def test_where_it_was_trained_nothing_is_said(project, caplog, monkeypatch):
    """The control; and what is named is taken without a look at other places."""
    load_translator(project / "st/model/checkpoint.pt", project / REMEMBERED)
    monkeypatch.chdir(project)
    load_translator("st/model/checkpoint.pt")
    assert "remembers" not in caplog.text
    with pytest.raises(FileNotFoundError, match="no data YAML at gone/config.yaml"):
        load_translator("st/model/checkpoint.pt", "gone")


@pytest.mark.parametrize("command", ["translate", "export", "plot"])
def test_what_is_nowhere_is_one_line_with_all_places(project, capsys, command):
    shutil.rmtree(project / REMEMBERED)
    checkpoint = str(project / "st/model/checkpoint.pt")
    words = {
        "translate": ["translate", "speech.wav", "--model", checkpoint],
        "export": ["export", checkpoint, "made"],
        "plot": ["plot", "proportions", checkpoint, "speech.wav", "--out", "made.png"],
    }
    assert main(words[command]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"remembers its data in '{REMEMBERED}', a path relative to where it" in error
    for place in places(checkpoint, REMEMBERED):
        assert str(place) in error
    assert f"{project}/{REMEMBERED}," in error and "--data-bin" in error and not os.listdir(".")


def test_export_and_distillation_find_the_same(project):
    checkpoint = project / "st/model/checkpoint.pt"
    assert main(["export", str(checkpoint), "made"]) == 0 and load_translator("made").cmvn is not None
    state = torch.load(checkpoint, weights_only=False)
    assert _data_of(state, checkpoint) == str(project / REMEMBERED)
    state["cfg"]["task"] = {"data": "text/bin"}
    (project / "text/bin").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="no data YAML or dictionary dict.txt of"):
        _data_of(state, checkpoint)
    (project / "text/bin/dict.txt").touch()
    assert _data_of(state, checkpoint) == str(project / "text/bin")
    state["cfg"]["task"]["data"] = "a:b"
    assert _data_of(state, checkpoint) == "a:b"


def test_a_folder_that_others_must_not_read_is_passed_over(project, monkeypatch):
    """That of somebody else who has trained the model; root may read it, and so the kernel's answer is made up."""
    theirs, stat = str(project.parent / "theirs"), os.stat

    def forbidding(path, *args, **kwargs):
        if str(path).startswith(theirs):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *args, **kwargs)

    config = project / REMEMBERED / "config.yaml"
    written = yaml.safe_load(config.read_text(encoding="utf-8"))
    written["bpe_tokenizer"]["sentencepiece_model"] = f"{theirs}/{written['bpe_tokenizer']['sentencepiece_model']}"
    config.write_text(yaml.safe_dump(written), encoding="utf-8")
    change(project, f"{theirs}/data")
    monkeypatch.setattr(os, "stat", forbidding)
    assert load_translator(project / "st/model/checkpoint.pt").cmvn is not None


def test_each_place_is_tried_once_and_in_order(tmp_path, monkeypatch):
    folder = tmp_path / "a/b"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    found = places("a/b/c.pt", "a/data")
    assert found[:4] == [tmp_path / "a/data", folder / "a/data", tmp_path / "a/a/data", tmp_path.parent / "a/data"]
    # Beside the checkpoint's folder would be the first of them again.
    assert found[-2:] == [folder, folder / "data"] and len(found) == len(set(found))
    assert places("a/b/c.pt", "/gone/data") == [Path("/gone/data"), folder, folder / "data", tmp_path / "a/data"]
    (folder / "config.yaml").touch()
    assert data_folder("a/b/c.pt", ".", "config.yaml") == folder
