"""--bf16 and --fp16 mean the device that is there."""

import pytest
import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.optim.fp16_optimizer import FP16Optimizer

import leap_fairseq.tasks  # noqa: F401  (applies the repairs)
from leap_fairseq.compat.half_precision import repair_fp16_on_cpus
from leap_fairseq.compat.replacing import original


def parse(*flags, parser=options.parse_args_and_arch):
    command = options.get_training_parser(default_task="leap_language_modeling")
    return parser(command, ["data", "--arch", "transformer_lm", "--optimizer", "adam", *flags])


@pytest.mark.parametrize("flags", [("--bf16",), ("--memory-efficient-bf16",), ("--bf16", "--cpu")])
def test_bf16_is_no_tpu(flags):
    args = parse(*flags)
    assert args.bf16 and not args.tpu
    # The control: fairseq alone leaves the device unused.
    assert parse(*flags, parser=original(options.parse_args_and_arch)).tpu


def test_known_arguments_are_parsed_too():
    args, rest = parse("--bf16", "--unknown", parser=lambda *a: options.parse_args_and_arch(*a, parse_known=True))
    assert not args.tpu and rest == ["--unknown"]


# hydra warns of the age of fairseq's calls.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_fp16_on_a_cpu_needs_no_cuda(monkeypatch):
    def no_driver():
        raise RuntimeError("no driver")

    monkeypatch.setattr(torch.cuda, "current_device", no_driver)
    parameter = torch.nn.Parameter(torch.ones(3, dtype=torch.half))
    cfg = convert_namespace_to_omegaconf(parse("--fp16", "--cpu", "--lr", "0.1"))
    # The control: fairseq alone asks for a device.
    with pytest.raises(RuntimeError, match="no driver"):
        original(FP16Optimizer.build_optimizer)(cfg, [parameter])
    optimizer = FP16Optimizer.build_optimizer(cfg, [parameter])
    optimizer.zero_grad()
    optimizer.backward((parameter * 2).sum())
    optimizer.step()
    assert float(parameter[0].detach()) == pytest.approx(0.9, abs=1e-3)
    assert not parse("--cpu").fp16 and not parse("--cpu").bf16


def test_an_optimizer_that_does_not_ask_for_cuda_is_left_alone(monkeypatch):
    sound = original(FP16Optimizer.build_optimizer)
    monkeypatch.setattr(FP16Optimizer, "build_optimizer", sound)
    monkeypatch.setattr(FP16Optimizer, "build_fp32_params", lambda args, params, flatten=True: params)
    repair_fp16_on_cpus()
    assert FP16Optimizer.build_optimizer is sound
