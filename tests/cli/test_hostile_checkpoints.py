"""Each command that loads a model refuses a stranger's in one line, and runs nothing of it."""

import re
import shutil

import pytest
from hostile_checkpoints import KINDS, WRITERS, change

from leap_fairseq.cli import average, command, convert, evaluate, export, plot, serve, translate

LOADING = (average, convert, evaluate, export, plot, serve, translate)
MODULES = {module.__name__.rpartition(".")[2]: module for module in LOADING}
COMMANDS = {
    "average": "MODEL MODEL/made.pt 1",
    "convert": "MODEL/checkpoint.pt MODEL/made.pt --attention hedgehog",
    "evaluate": "MODEL LISTS MODEL/made",
    "export": "MODEL/checkpoint.pt MODEL/made",
    "plot": "proportions MODEL speech.wav --out MODEL/made.png",
    "serve": "--model MODEL --port 0",
    "translate": "speech.wav --model MODEL",
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "model"
    WRITERS["speech"](folder)
    shutil.copy(folder / "checkpoint.pt", folder / "checkpoint1.pt")
    return folder


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("kind", ["another architecture", "text that is evaluated"])
def test_one_line_and_nothing_runs(exported, tmp_path, capsys, name, kind):
    folder = shutil.copytree(exported, tmp_path / "model")
    for file in ("checkpoint.pt", "checkpoint1.pt"):
        change(folder / file, tmp_path / "ran", kind)
    (tmp_path / "LISTS.wav_list").write_text("speech.wav\n", encoding="utf-8")
    (tmp_path / "LISTS.target").write_text("Hallo.\n", encoding="utf-8")
    words = COMMANDS[name].replace("MODEL", str(folder)).replace("LISTS", str(tmp_path / "LISTS"))
    assert command.main(MODULES[name], words.split()) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if not line.startswith("INFO"))
    assert re.match(f"error: {folder}/checkpoint1?.pt.*{KINDS[kind]}", line), line
    assert not (tmp_path / "ran").exists() and not list(folder.glob("made*"))
