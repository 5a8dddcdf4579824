"""The mean of checkpoints: exact, of the right ones, of one model only, whole or absent, and loadable."""

import os
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from fairseq import checkpoint_utils
from tiny_models import make_dictionary, make_lm, make_speech_model

from leap_fairseq.cli import average, command
from leap_fairseq.files import DataError
from leap_fairseq.models.averaging import average_checkpoints, find_checkpoints

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "simulst"
ARCH, OTHER = "leap_convtransformer_simul_trans_tiny", "leap_convtransformer_simul_trans"


def save(path, model, updates=1, higher=False, **options):
    """A checkpoint as fairseq-train writes it."""
    options = {"_name": ARCH, "arch": ARCH, "waitk_lagging": "3", "decoder_self_attention": "leap", **options}
    history = [{"optimizer_name": "FairseqAdam", "lr_scheduler_state": {"best": 2.0}, "num_updates": updates}]
    state = {
        "args": None,
        "cfg": {
            "_name": None,
            "checkpoint": {"maximize_best_checkpoint_metric": higher},
            "model": Namespace(**options),
            "task": Namespace(_name="leap_speech_to_text", task="leap_speech_to_text"),
        },
        "model": model,
        "criterion": None,
        "optimizer_history": history,
        "task_state": {},
        "extra_state": {"train_iterator": {"epoch": updates}, "val_loss": 2.0},
        "last_optimizer_state": {"state": {0: torch.ones(1000)}},
    }
    torch.save(state, path)


def weights(value, dtype=torch.float32, crc=7):
    return {"layer.weight": torch.full((2, 3), value, dtype=dtype), "dictionary_crc32": torch.tensor(crc)}


def read(path):
    return checkpoint_utils.load_checkpoint_to_cpu(str(path))


def names(paths):
    return [path.name for path in paths]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_mean_is_exact(tmp_path, dtype):
    # Added up in a half type, or even in float32 from the large one on, the small ones would be lost.
    large = 2.0**12 if dtype in (torch.float16, torch.bfloat16) else 2.0**26
    for number, value in enumerate((large, 1.0, 1.0, -large), start=1):
        save(tmp_path / f"checkpoint{number}.pt", weights(value, dtype), number)
    average_checkpoints(tmp_path, tmp_path / "average.pt")
    model = read(tmp_path / "average.pt")["model"]
    assert model["layer.weight"].dtype == dtype and torch.equal(
        model["layer.weight"], weights(0.5, dtype)["layer.weight"]
    )
    assert torch.equal(model["dictionary_crc32"], torch.tensor(7))


def test_a_moving_average_of_other_weights_is_left_out(tmp_path):
    for number in (1, 2):
        path = tmp_path / f"checkpoint{number}.pt"
        save(path, weights(number), number)
        state = torch.load(path, weights_only=False)
        state["extra_state"].update(ema=state["model"], ema_fp32_params=state["model"])
        torch.save(state, path)
    average_checkpoints(tmp_path, tmp_path / "average.pt")
    assert read(tmp_path / "average.pt")["extra_state"] == {"train_iterator": {"epoch": 2}, "val_loss": 2.0}


def test_mean_of_random_weights(tmp_path):
    given = [torch.randn(50, generator=torch.Generator().manual_seed(n)) for n in range(3)]
    for number, weight in enumerate(given, start=1):
        save(tmp_path / f"checkpoint{number}.pt", {"w": weight})
    average_checkpoints(tmp_path, tmp_path / "average.pt")
    expected = torch.stack([weight.double() for weight in given]).mean(0).float()
    assert torch.equal(read(tmp_path / "average.pt")["model"]["w"], expected)


def test_everything_else_is_of_the_newest_without_its_optimizer(tmp_path):
    for updates in (900, 1000):
        save(tmp_path / f"checkpoint_{updates // 90}_{updates}.pt", weights(float(updates)), updates)
    average_checkpoints(tmp_path, tmp_path / "new" / "average.pt")
    newest, state = read(tmp_path / "checkpoint_11_1000.pt"), read(tmp_path / "new" / "average.pt")
    assert set(state) == set(newest) - {"last_optimizer_state"}
    for name in set(state) - {"model"}:
        assert state[name] == newest[name], name
    raw = torch.load(tmp_path / "new" / "average.pt")
    assert type(raw["cfg"]) is dict and type(raw["cfg"]["model"]) is Namespace


def test_the_newest_are_taken_by_number(tmp_path, caplog):
    for epoch, updates in ((2, 900), (10, 1000), (9, 980)):
        save(tmp_path / f"checkpoint_{epoch}_{updates}.pt", weights(float(updates)))
    for other in ("checkpoint_last.pt", "checkpoint_best.pt", "checkpoint3-shard0.pt", "xcheckpoint3.pt"):
        (tmp_path / other).touch()
    out = tmp_path / "average.pt"
    assert names(average_checkpoints(tmp_path, out, 2)) == ["checkpoint_9_980.pt", "checkpoint_10_1000.pt"]
    assert read(out)["model"]["layer.weight"][0, 0] == 990 and not caplog.text
    assert len(average_checkpoints(tmp_path, out)) == 3
    assert f"{tmp_path} has only 3 of the 10 checkpoints: all of them are averaged" in caplog.text
    for epoch in (9, 10):
        save(tmp_path / f"checkpoint{epoch}.pt", weights(float(epoch)))
    assert names(find_checkpoints(tmp_path)) == ["checkpoint9.pt", "checkpoint10.pt"]
    assert names(find_checkpoints(tmp_path, "update"))[0] == "checkpoint_2_900.pt"


@pytest.mark.parametrize("metric, higher, best", [("loss", False, "2.5"), ("sacre_bleu", True, "10.25")])
def test_the_best_by_their_metric(tmp_path, metric, higher, best):
    for value in ("2.5", "9.75", "10.25"):
        save(tmp_path / f"checkpoint.best_{metric}_{value}.pt", weights(float(value)), higher=higher)
    paths = average_checkpoints(tmp_path, tmp_path / "average.pt", 2, "best")
    assert names(paths) == [f"checkpoint.best_{metric}_{value}.pt" for value in ("9.75", best)]
    save(tmp_path / "checkpoint.best_wer_3.0.pt", weights(1.0))
    with pytest.raises(DataError, match=f"by {metric} and by wer: move one kind"):
        find_checkpoints(tmp_path, "best")


def test_nothing_to_average(tmp_path):
    with pytest.raises(DataError, match="no folder .*gone: give the --save-dir"):
        find_checkpoints(tmp_path / "gone")
    with pytest.raises(DataError, match="no checkpoint to average: fairseq-train keeps .*--save-interval-updates"):
        average_checkpoints(tmp_path, tmp_path / "average.pt")
    save(tmp_path / "checkpoint_1_2.pt", weights(1.0))
    with pytest.raises(DataError, match=r"of the best \(it has those of --by update\).*--keep-best-checkpoints"):
        find_checkpoints(tmp_path, "best")
    with pytest.raises(DataError, match="series 'last' is not one of epoch, update, best"):
        find_checkpoints(tmp_path, "last")
    with pytest.raises(DataError, match="0 checkpoints cannot be averaged: give a number of at least 1"):
        average_checkpoints(tmp_path, tmp_path / "average.pt", 0)
    for name in ("checkpoint_last.pt", "checkpoint_1_2.pt", "checkpoint7.pt"):
        with pytest.raises(DataError, match=f"{name} is a name that fairseq-train gives itself"):
            average_checkpoints(tmp_path, tmp_path / name)
    # Where OUT.pt was left out, the number is not taken for it.
    with pytest.raises(DataError, match="3 does not end in .pt.*such as average.pt"):
        average_checkpoints(tmp_path, tmp_path / "3")
    assert names(tmp_path.iterdir()) == ["checkpoint_1_2.pt"]


@pytest.mark.parametrize(
    "model, options, message",
    [
        ({"layer.weight": torch.zeros(2, 3)}, {}, "checkpoint1.pt has no dictionary_crc32, which .*checkpoint2.pt has"),
        ({**weights(1.0), "more": torch.zeros(1)}, {}, "checkpoint2.pt has no more, which .*checkpoint1.pt has"),
        ({**weights(1.0), "layer.weight": torch.zeros(2, 4)}, {}, r"layer.weight is torch.float32 \(2, 4\) in "),
        ({**weights(1.0), "layer.weight": torch.zeros(2, 3).int()}, {}, r"layer.weight is torch.int32 \(2, 3\) in "),
        (weights(1.0, crc=8), {}, "dictionary_crc32, whole numbers that have no mean, differs between"),
        (weights(1.0), dict.fromkeys(("arch", "_name"), OTHER), f"with --arch {OTHER}, not {ARCH} as .*checkpoint2.pt"),
        (weights(1.0), {"decoder_self_attention": "relu"}, "trained with --decoder-self-attention relu, not leap as"),
    ],
)
def test_another_model_is_refused(tmp_path, model, options, message):
    save(tmp_path / "checkpoint1.pt", model, **options)
    save(tmp_path / "checkpoint2.pt", weights(1.0))
    with pytest.raises(DataError, match=f"{message}.*: average checkpoints of one training only"):
        average_checkpoints(tmp_path, tmp_path / "average.pt")
    assert not (tmp_path / "average.pt").exists()


def test_whole_or_not_at_all(tmp_path, monkeypatch):
    save(tmp_path / "checkpoint1.pt", weights(1.0))
    out = tmp_path / "average.pt"
    average_checkpoints(tmp_path, out)
    before = out.read_bytes()

    def killed(state, file):
        file.write(before[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        average_checkpoints(tmp_path, out)
    assert out.read_bytes() == before and sorted(names(tmp_path.iterdir())) == ["average.pt", "checkpoint1.pt"]


def test_a_damaged_checkpoint_is_named(tmp_path):
    for number in (1, 2):
        save(tmp_path / f"checkpoint{number}.pt", weights(1.0))
    (tmp_path / "checkpoint1.pt").write_bytes((tmp_path / "checkpoint1.pt").read_bytes()[:900])
    with pytest.raises(RuntimeError, match="checkpoint1.pt: not a whole checkpoint"):
        average_checkpoints(tmp_path, tmp_path / "average.pt")


def test_real_models_load_the_average(tmp_path):
    for make in (make_speech_model, make_lm):
        models = [make(dictionary=make_dictionary(), seed=seed) for seed in range(3)]
        for number, model in enumerate(models[:2], start=1):
            save(tmp_path / f"checkpoint{number}.pt", model.state_dict())
        average_checkpoints(tmp_path, tmp_path / "average.pt")
        models[2].load_state_dict(read(tmp_path / "average.pt")["model"], strict=True)
        for a, b, mean in zip(*(model.parameters() for model in models)):
            assert torch.equal(mean, ((a.double() + b.double()) / 2).float())


def test_a_tied_embedding_is_saved_once(tmp_path):
    for dtype in (torch.float64, torch.float32):
        for number in (1, 2):
            shared = torch.full((1000, 100), float(number), dtype=dtype)
            save(tmp_path / f"checkpoint{number}.pt", {"embedding": shared, "projection": shared})
        average_checkpoints(tmp_path, tmp_path / "average.pt")
        model = read(tmp_path / "average.pt")["model"]
        assert model["embedding"].data_ptr() == model["projection"].data_ptr()
        assert torch.equal(model["projection"], torch.full((1000, 100), 1.5, dtype=dtype))


def test_command_line(tmp_path, capsys):
    def call(*arguments, code=0):
        assert command.main(average, list(map(str, arguments))) == code
        return capsys.readouterr()

    for epoch in (1, 2, 3):
        save(tmp_path / f"checkpoint{epoch}.pt", weights(float(epoch)))
    out = tmp_path / "average.pt"
    assert call(tmp_path, out, 2).out == f"{out}: mean of checkpoint2.pt, checkpoint3.pt\n"
    assert read(out)["model"]["layer.weight"][0, 0] == 2.5
    for arguments, message in (
        (("--best", 2), "error: .* has no checkpoint to average of the best"),
        (("--by", "update"), "error: .* has no checkpoint to average by update"),
    ):
        assert re.match(message, call(tmp_path, out, *arguments, code=1).err)
    with pytest.raises(SystemExit, match="2"):
        call(tmp_path, out, 3, "--best", 2)
    assert "--best N stands alone" in capsys.readouterr().err


FAIRSEQ = Path(sys.executable).with_name("fairseq-train")


@pytest.mark.skipif(not FAIRSEQ.exists(), reason="the shell script would set up an environment")
def test_usage(tmp_path):
    environment = dict(os.environ, PATH=f"{FAIRSEQ.parent}{os.pathsep}{os.environ['PATH']}")
    command = ["bash", str(SCRIPTS / "average.sh"), str(tmp_path)]
    usage = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert usage.returncode == 2 and "bash scripts/simulst/average.sh SAVE_DIR OUT.pt [N]" in usage.stderr
