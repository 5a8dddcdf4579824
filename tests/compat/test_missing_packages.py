"""Options that need a package which is not there are refused before anything begins."""

import sys
from argparse import Namespace

import pytest
from fairseq.distributed import utils as distributed_utils

from leap_fairseq import compat
from leap_fairseq.compat.missing_packages import missing_package

TRACKING = (("tensorboard_logdir", ("torch.utils.tensorboard", "tensorboardX")), ("wandb_project", ("wandb",)))


@pytest.mark.parametrize("option, modules", TRACKING)
def test_tracking_without_its_package_is_refused(monkeypatch, option, modules):
    compat.apply()
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    flag = f"--{option.replace('_', '-')}"
    with pytest.raises(ValueError, match=rf"{flag} needs .* {modules[0]}, .* pip install 'leap-fairseq\[tracking\]'"):
        distributed_utils.call_main(Namespace(common=Namespace(**{option: "x"})), None)
    assert missing_package(Namespace(**{option: None})) is None


def test_another_package_for_the_same_will_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setitem(sys.modules, "tensorboardX", Namespace())
    assert missing_package(Namespace(tensorboard_logdir="x")) is None
