"""--bf16 and --fp16 on the command line mean the device that is there."""

import pytest
from fairseq import options

import leap_fairseq  # noqa: F401  (applies the repairs)
from leap_fairseq.compat.replacing import original


def parse(*flags, parser=options.parse_args_and_arch):
    command = options.get_training_parser(default_task="language_modeling")
    return parser(command, ["data", "--arch", "leap_transformer_lm_tiny", *flags])


@pytest.mark.parametrize("flags", [("--bf16",), ("--memory-efficient-bf16",), ("--bf16", "--cpu")])
def test_bf16_is_no_tpu(flags):
    args = parse(*flags)
    assert args.bf16 and not args.tpu
    # The control: fairseq alone leaves the device unused.
    assert parse(*flags, parser=original(options.parse_args_and_arch)).tpu


def test_fp16_on_a_cpu_needs_no_cuda():
    assert parse("--fp16", "--cpu").fp16_no_flatten_grads
    assert not parse("--cpu").fp16_no_flatten_grads and not parse("--cpu").bf16


def test_known_arguments_are_parsed_too():
    args, rest = parse("--bf16", "--unknown", parser=lambda *a: options.parse_args_and_arch(*a, parse_known=True))
    assert not args.tpu and rest == ["--unknown"]
