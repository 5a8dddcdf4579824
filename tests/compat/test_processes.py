"""Options of several processes on a CPU: they work, or are refused by their names, as docs/scaling.md says."""

import re
from argparse import Namespace

import pytest
import torch
from fairseq.dataclass.constants import DDP_BACKEND_CHOICES
from fairseq.distributed import utils as distributed_utils
from fairseq.models import distributed_fairseq_model
from fairseq.trainer import Trainer
from omegaconf import OmegaConf
from preloading import ROOT

from leap_fairseq import compat
from leap_fairseq.compat.processes import unworkable_processes
from leap_fairseq.compat.replacing import original

compat.apply()
BACKENDS = sorted(choice.name for choice in DDP_BACKEND_CHOICES)


@pytest.fixture(autouse=True)
def without_torchrun(monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def configured(cpu=True, **changes):
    """The parts of a configuration that are looked at: two processes of gloo, which were started by hand."""
    options = {
        **{"ddp_backend": "legacy_ddp", "distributed_world_size": 2, "distributed_backend": "gloo"},
        **{"distributed_no_spawn": True, "distributed_init_method": "env://"},
    }
    groups = {"common": {"cpu": cpu, "tpu": False}, "distributed_training": {**options, **changes}}
    return OmegaConf.create(groups)


def said_of_cpus():
    """What the table of the page says of each backend on CPUs."""
    page = (ROOT / "docs/scaling.md").read_text(encoding="utf-8").partition("## Which `--ddp-backend`")[2]
    rows = re.findall(r"^\| (`[^|]+) \| (\w+)[^|]* \|", page, re.M)
    return {name: cpus for names, cpus in rows for name in re.findall(r"`(\w+)`", names)}


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_table_of_backends(backend):
    assert sorted(said_of_cpus()) == BACKENDS
    reason = unworkable_processes(configured(ddp_backend=backend))
    assert said_of_cpus()[backend] == ("refused" if reason else "trains")
    if reason:
        assert reason.startswith(f"--ddp-backend {backend} needs GPUs")
        assert reason.endswith("give --ddp-backend legacy_ddp")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"distributed_backend": "nccl"}, "--distributed-backend nccl, the default, needs GPUs: give .* gloo"),
        ({"distributed_no_spawn": False}, "--distributed-world-size 2 needs --distributed-no-spawn on a CPU, where"),
        ({"distributed_no_spawn": False, "distributed_world_size": 1}, "--distributed-init-method needs"),
        ({"ddp_backend": "fully_sharded", "distributed_world_size": 1}, "--ddp-backend fully_sharded needs GPUs"),
    ],
)
def test_what_would_train_nothing(changes, message):
    for refuse in (lambda cfg: distributed_utils.call_main(cfg, None), lambda cfg: Trainer(cfg, None, None, None)):
        with pytest.raises(ValueError, match=message):
            refuse(configured(**changes))


def test_one_process_needs_nothing(monkeypatch):
    one = {"distributed_world_size": 1, "distributed_init_method": None, "distributed_backend": "nccl"}
    assert unworkable_processes(configured(**one)) is None
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert unworkable_processes(configured(**one)) is None
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "any")
    assert "torchrun has started 2 processes, of which each would train alone" in unworkable_processes(
        configured(**one)
    )


def test_a_cpu_trains_in_one_process_though_gpus_are_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    default = {"distributed_init_method": None, "distributed_no_spawn": False, "tpu": False}
    default["pipeline_model_parallel"] = False
    began = []

    def sizes(**changes):
        distributed_utils.call_main(configured(**{**default, **changes}), began.append)
        return began.pop().distributed_training.distributed_world_size

    assert sizes() == 1
    # The control: three are not the default, and were asked for.
    with pytest.raises(ValueError, match="--distributed-world-size 3 needs .*: give 1 to train in one process, or"):
        sizes(distributed_world_size=3)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "any")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="torchrun has started 2 processes"):
        sizes()


def test_gpus_need_fairscale_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    on_gpus = {"cpu": False, "distributed_no_spawn": False, "distributed_backend": "nccl"}
    assert unworkable_processes(configured(**on_gpus)) is None
    for found, message in ((None, "needs the Python module fairscale"), ("one", None)):
        monkeypatch.setattr("importlib.util.find_spec", lambda name, found=found: found)
        reason = unworkable_processes(configured(ddp_backend="slowmo", **on_gpus))
        assert reason is None if message is None else message in reason


def test_torchs_ddp_on_a_cpu(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", world_size=1, rank=0)
    try:
        options = {"tpu": False, "ddp_backend": "pytorch_ddp", "device_id": 0, "broadcast_buffers": False}
        options |= {"bucket_cap_mb": 25, "find_unused_parameters": False, "gradient_as_bucket_view": False}
        options |= {"ddp_comm_hook": "none", "heartbeat_timeout": -1}
        wrap = distributed_fairseq_model.DistributedFairseqModel
        wrapped = wrap(Namespace(**options), torch.nn.Linear(2, 2), None, torch.device("cpu"))
        assert wrapped(torch.ones(1, 2)).shape == (1, 2)
        # The control: fairseq's own names a GPU.
        with pytest.raises(ValueError, match="device_ids"):
            parallel = original(distributed_fairseq_model.DistributedDataParallel)
            parallel(module=torch.nn.Linear(2, 2), device_ids=[0], output_device=0)
    finally:
        torch.distributed.destroy_process_group()
