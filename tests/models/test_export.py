"""A translator as one folder: in another type of number it is smaller, and else the same."""

import pytest
import torch
import yaml
from exported_model import write_model

from leap_fairseq.cli import main
from leap_fairseq.models import load_translator
from leap_fairseq.models.translator_checkpoint import read_checkpoint


@pytest.fixture
def trained(tmp_path):
    return write_model(tmp_path / "trained", share_decoder_input_output_embed=True)


@pytest.fixture
def export(trained):
    """A function: exports to a folder beside; returns it, and the exit code."""

    def run(*options):
        out = trained.with_name("exported")
        return out, main(["export", str(trained / "checkpoint.pt"), str(out), "--data-bin", str(trained), *options])

    return run


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_are_rounded_once_and_computed_with_in_float32(trained, export, dtype):
    out, code = export("--dtype", dtype)
    before, after = (read_checkpoint(folder)[0]["model"] for folder in (trained, out))
    assert code == 0 and before.keys() == after.keys()
    for name, value in before.items():
        expected = value.to(getattr(torch, dtype)) if value.is_floating_point() else value
        assert after[name].dtype == expected.dtype and torch.equal(after[name], expected), name
    names = ("decoder.embed_tokens.weight", "decoder.output_projection.weight")
    assert len({after[name].data_ptr() for name in names}) == 1
    loaded = load_translator(out).model.state_dict()
    assert all(torch.equal(loaded[name], after[name].to(loaded[name].dtype)) for name in after)
    assert (out / "checkpoint.pt").stat().st_size < 0.75 * (trained / "checkpoint.pt").stat().st_size


def test_a_moving_average_is_left_out(trained, export):
    size = (export()[0] / "checkpoint.pt").stat().st_size
    state = torch.load(trained / "checkpoint.pt", weights_only=False)
    state["extra_state"] = {"train_iterator": {"epoch": 1}, "ema": {n: x.clone() for n, x in state["model"].items()}}
    torch.save(state, trained / "checkpoint.pt")
    assert (export()[0] / "checkpoint.pt").stat().st_size < 1.1 * size
    assert load_translator(trained.with_name("exported"))


def test_the_same_bytes_again_and_without_a_type_the_same_weights(trained, export):
    contents = []
    for options in ((), (), ("--dtype", "float16"), ("--dtype", "float16")):
        out, code = export(*options)
        contents.append({path.name: path.read_bytes() for path in out.iterdir()})
        assert code == 0
    assert contents[0] == contents[1] != contents[2] == contents[3]
    before, after = (read_checkpoint(folder)[0]["model"] for folder in (trained, export()[0]))
    assert all(torch.equal(value, after[name]) and value.dtype == after[name].dtype for name, value in before.items())


def test_an_exported_folder_is_exported_again_and_closed(trained, export, capsys, monkeypatch):
    out, _ = export()
    monkeypatch.chdir(trained.parent)
    content = {path.name: path.read_bytes() for path in out.iterdir()}
    # Into another folder, and in its own place.
    for place in ("again", "exported"):
        assert main(["export", "exported", place]) == 0
        assert {path.name: path.read_bytes() for path in (trained.parent / place).iterdir()} == content
    config = out / "config.yaml"
    model = yaml.safe_load(content["config.yaml"])["bpe_tokenizer"]["sentencepiece_model"]
    config.write_text(config.read_text().replace(model, f"../trained/{model}"))
    assert main(["export", "exported", "other"]) == 1 and not (trained.parent / "other").exists()
    assert f"'../trained/{model}', which is not in exported" in capsys.readouterr().err


def test_a_weight_that_is_too_large_is_refused_by_name(trained, export, capsys):
    state = torch.load(trained / "checkpoint.pt", weights_only=False)
    state["model"]["encoder.out.bias"][0] = 1e5
    torch.save(state, trained / "checkpoint.pt")
    out, code = export("--dtype", "float16")
    assert code == 1 and not out.exists()
    assert "encoder.out.bias has a weight that is too large for torch.float16: take bfloat16" in capsys.readouterr().err
    assert export("--dtype", "bfloat16")[1] == 0
