"""--store-ema: every weight is averaged once an update, whole numbers are copied, and a resumed run goes on."""

import copy
import functools

import pytest
import torch
from fairseq import checkpoint_utils, options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models.ema.ema import EMA
from fairseq.trainer import Trainer
from tiny_models import make_dictionary, make_lm
from tolerances import assert_same

from leap_fairseq.compat import weight_averages
from leap_fairseq.compat.replacing import original
from leap_fairseq.tasks.leap_language_modeling import LeapLanguageModelingTask

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

OPTIONS = (
    "unused --task leap_language_modeling --arch leap_transformer_lm_tiny --decoder-layers 1 --decoder-embed-dim 16 "
    "--decoder-ffn-embed-dim 16 --dropout 0 --optimizer adam --lr 0.05 --cpu --store-ema --ema-decay 0.7"
)


@functools.cache
def composed():
    """fairseq's configuration, which takes it a second."""
    return convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), OPTIONS.split()))


def make_trainer(**changes):
    """fairseq's own; the output projection of this model is its embedding."""
    cfg = copy.deepcopy(composed())
    cfg.ema.update(changes)
    task = LeapLanguageModelingTask(cfg.task, make_dictionary())
    torch.manual_seed(0)
    trainer = Trainer(cfg, task, task.build_model(cfg.model), task.build_criterion(cfg.criterion))
    trainer.lr_step_begin_epoch(1)
    return trainer


def batch(number):
    tokens = torch.randint(4, 20, (2, 9), generator=torch.Generator().manual_seed(number))
    net_input = {"src_tokens": tokens[:, :-1], "src_lengths": torch.tensor([8, 8])}
    return {
        "id": torch.arange(2),
        "nsentences": 2,
        "ntokens": 16,
        "net_input": net_input,
        "target": tokens[:, 1:].contiguous(),
    }


def train(trainer, numbers):
    """Trains; returns the states after each update."""
    states = []
    for number in numbers:
        trainer.train_step([batch(number)])
        states.append({name: value.clone() for name, value in trainer.get_model().state_dict().items()})
    return states


def averages(trainer):
    return {name: value.clone() for name, value in trainer.ema.get_model().state_dict().items()}


def assert_same_averages(found, expected):
    assert found.keys() == expected.keys() and any(not value.is_floating_point() for value in found.values())
    for name, value in found.items():
        assert_same(value.double(), expected[name].double(), torch.float32, what=name)


CHANGES = [{}, {"ema_fp32": True}, {"ema_start_update": 3}]


@pytest.mark.parametrize(
    "changes", [{"ema_update_freq": 2}, *(pytest.param(change, marks=pytest.mark.slow) for change in CHANGES)]
)
def test_the_average_is_the_recomputed_one_and_resumes(changes, tmp_path):
    trainer = make_trainer(**changes)
    states = train(trainer, range(5))
    start = changes.get("ema_start_update", 0)
    due = [i for i in range(1, 5) if (i + 1) % changes.get("ema_update_freq", 1) == 0]
    # fairseq's begins with the weights after the first update.
    expected = {name: value.double() for name, value in states[0].items()}
    for i in due:
        decay = 0.0 if i + 1 < start else 0.7
        expected = {name: decay * value + (1 - decay) * states[i][name] for name, value in expected.items()}
    found = averages(trainer)
    assert_same_averages(found, expected)
    # The control: an average is not the last state.
    assert not torch.allclose(found["decoder.embed_tokens.weight"], states[-1]["decoder.embed_tokens.weight"])

    halfway = make_trainer(**changes)
    train(halfway, range(3))
    halfway.consolidate_optimizer()
    halfway.save_checkpoint(str(tmp_path / "half.pt"), {})
    resumed = make_trainer(**changes)
    resumed.load_checkpoint(str(tmp_path / "half.pt"))
    train(resumed, range(3, 5))
    assert_same_averages(averages(resumed), found)
    saved = checkpoint_utils.load_ema_from_checkpoint(str(tmp_path / "half.pt"))["model"]
    assert_same_averages(saved, averages(halfway))


def test_a_model_that_carries_its_state_can_be_copied():
    model = make_lm().train()
    model(batch(0)["net_input"]["src_tokens"], continues=False)
    copied = copy.deepcopy(model)
    assert model._carried[True] and not copied._carried[True]


def test_the_control_that_fairseqs_own_ends_in_an_error(monkeypatch):
    monkeypatch.setattr(EMA, "_step_internal", original(EMA._step_internal))
    with pytest.raises(RuntimeError, match="can't be cast to the desired output type Long"):
        train(make_trainer(), range(1))


@pytest.mark.parametrize(
    "name, breaks",
    [
        ("_step_internal", weight_averages._averages_otherwise),
        ("step", weight_averages._counts_from_the_start),
    ],
)
def test_what_breaks_is_repaired_and_what_does_not_is_left_alone(name, breaks, monkeypatch):
    repaired = getattr(EMA, name)
    assert breaks(original(repaired)) and not breaks(repaired)
    monkeypatch.setattr(EMA, name, lambda *args: repaired(*args))
    sound = getattr(EMA, name)
    weight_averages.repair_weight_averages()
    assert getattr(EMA, name) is sound
