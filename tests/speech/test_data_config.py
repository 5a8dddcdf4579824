"""The data YAML of an exported model names files of its own folder alone, and holds nothing but text and numbers."""

import os
import shutil

import pytest
import yaml
from exported_model import write_model

from leap_fairseq.files import DataError
from leap_fairseq.models import LeapConvTransformerModel, load_translator
from leap_fairseq.speech.data_config import read_data_config, require_closed


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("exported") / "model")


@pytest.fixture
def folder(exported, tmp_path, monkeypatch):
    """An exported model beside a folder, the working directory, that has the same files."""
    elsewhere = shutil.copytree(exported, tmp_path / "elsewhere")
    monkeypatch.chdir(elsewhere)
    return shutil.copytree(exported, tmp_path / "model")


FILES = {
    "vocab_filename": lambda config, name: config.update(vocab_filename=name),
    "sentencepiece_model": lambda config, name: config["bpe_tokenizer"].update(sentencepiece_model=name),
    "stats_npz_path": lambda config, name: config["global_cmvn"].update(stats_npz_path=name),
    "audio_root": lambda config, name: config.update(audio_root=name),
    "speaker_set_filename": lambda config, name: config.update(speaker_set_filename=name),
}
FILE_OF = {"vocab_filename": "spm.txt", "sentencepiece_model": "spm.model", "stats_npz_path": "gcmvn.npz"}


def name_of(kind, key, folder):
    """A name by which a key reaches out of the folder, to a file that is there and of the right form."""
    file = FILE_OF.get(key, "spm.txt")
    elsewhere = folder.parent / "elsewhere"
    if kind == "link":
        (folder / "linked").symlink_to(elsewhere / file)
    if kind == "linked folder":
        (folder / "linked").symlink_to(elsewhere)
    return {
        "absolute": str(elsewhere / file),
        "above": f"../elsewhere/{file}",
        "above and back": f"../model/{file}",
        "address": f"https://example.org/{file}",
        "link": "linked",
        "linked folder": f"linked/{file}",
    }[kind]


@pytest.mark.parametrize("key", FILES)
@pytest.mark.parametrize("kind", ["absolute", "above", "above and back", "address", "link", "linked folder"])
def test_a_file_elsewhere_is_refused(folder, key, kind):
    config, name = read_data_config(folder / "config.yaml"), name_of(kind, key, folder)
    FILES[key](config, name)
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with pytest.raises(DataError, match=f"the key {key} of {folder}/config.yaml is '{name}', which is not in {folder}"):
        require_closed(folder, "config.yaml")


def test_every_way_of_loading_a_folder_looks(folder):
    config = read_data_config(folder / "config.yaml")
    FILES["sentencepiece_model"](config, name_of("absolute", "sentencepiece_model", folder))
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    for load in (load_translator, lambda folder: LeapConvTransformerModel.from_pretrained(folder, "checkpoint.pt")):
        with pytest.raises(DataError, match="the key sentencepiece_model of"):
            load(folder)


def test_a_training_folder_may_name_files_elsewhere(folder):
    """It is the user's own, and fairseq's preparation writes absolute paths."""
    config = read_data_config(folder / "config.yaml")
    for key in FILE_OF:
        FILES[key](config, name_of("absolute", key, folder))
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert load_translator(folder / "checkpoint.pt", folder).dictionary is not None


@pytest.mark.parametrize("key", FILE_OF)
def test_a_file_of_the_working_directory_is_not_taken(folder, key):
    (folder / FILE_OF[key]).unlink()
    assert os.path.isfile(FILE_OF[key])
    with pytest.raises(DataError, match=f"{folder / FILE_OF[key]} is missing, named by the key {key}"):
        load_translator(folder)


def test_the_name_of_the_yaml_and_anchors(folder):
    require_closed(folder, "config.yaml")
    with pytest.raises(DataError, match="the data YAML is '../elsewhere/config.yaml', which is not in"):
        require_closed(folder, "../elsewhere/config.yaml")
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))
    text = f"a0: &a0 [&own {{x: [*own]}}]\n{levels}\nhub: {{deep: /gone}}\n"
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="the key deep of"):
        require_closed(folder, "config.yaml")


@pytest.mark.parametrize(
    "text, message",
    [
        ("x: !!python/object/apply:os.system ['touch ran']", "not a data YAML .*could not determine a constructor"),
        ("x: !!python/name:os.system", "not a data YAML .*could not determine a constructor"),
        ("[1, 2]", "is a list, but must have keys with values"),
        ("", "is a NoneType, but must have keys"),
        ("x: {", "not a data YAML"),
    ],
)
def test_anything_but_text_and_numbers_is_refused(folder, text, message):
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    for load in (lambda: load_translator(folder), lambda: load_translator(folder / "checkpoint.pt", folder)):
        with pytest.raises(DataError, match=message):
            load()
    assert not os.path.exists("ran")
