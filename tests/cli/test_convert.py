"""`leap-fairseq convert`: what it says, and which words it refuses."""

import pytest
import torch
from exported_model import write_model

from leap_fairseq.cli import command, convert
from leap_fairseq.models import load_translator

BLOCKS = ("encoder_self_attention", "decoder_self_attention", "decoder_cross_attention")


@pytest.fixture(scope="module")
def softmax(tmp_path_factory):
    folder = tmp_path_factory.mktemp("softmax")
    return write_model(folder / "model", **dict.fromkeys(BLOCKS, "softmax")) / "checkpoint.pt"


def test_it_says_what_each_block_has(softmax, tmp_path, capsys):
    out = tmp_path / "new/made.pt"
    words = f"{softmax} {out} --attention hedgehog --decoder-self-attention leap --decoder-cross-attention softmax"
    assert command.main(convert, [*words.split(), "--leap-factor", "2"]) == 0
    expected = ("--encoder-self-attention hedgehog (was softmax)", "--decoder-self-attention leap (was softmax)")
    assert capsys.readouterr().out == "".join(
        f"{out}: {line}\n" for line in (*expected, "--decoder-cross-attention softmax")
    )
    state = torch.load(out)
    assert [getattr(state["cfg"]["model"], name) for name in BLOCKS] == ["hedgehog", "leap", "softmax"]
    assert load_translator(out, softmax.parent, "config.yaml").model.decoder.layers[0].self_attn.kind.name == "leap"
    # Of a head dimension of 8 and a LeaP factor of 2.
    assert state["model"]["decoder.layers.0.self_attn.q_LeaP.0.weight"].shape == (4, 8)


@pytest.mark.parametrize(
    "words, message",
    [
        ("", "give --attention KIND, or the attention of a block"),
        ("--leap-factor 4", "give --attention KIND"),
        ("--attention leap --data-bin x", "--data-bin and --train-subset are those of a distillation: give --"),
        ("--attention leap --distill-updates many", "argument --distill-updates: invalid int value: 'many'"),
    ],
)
def test_words_that_are_wrong_together(softmax, tmp_path, capsys, words, message):
    with pytest.raises(SystemExit, match="2"):
        command.main(convert, [str(softmax), str(tmp_path / "made.pt"), *words.split()])
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "words, message",
    [
        ("--attention sharp", "--encoder-self-attention is sharp, but must be one of leap, "),
        ("--attention hedgehog --attention-half-life 8", "which has no --attention-half-life: leave it out"),
        ("--attention hedgehog --distill-updates 0", "--distill-updates 0 must be at least 1: leave it out"),
        ("--attention hedgehog --distill-updates 1 --data-bin gone", "gone/config.yaml"),
    ],
)
def test_what_a_user_can_mend_is_one_line(softmax, tmp_path, capsys, words, message):
    assert command.main(convert, [str(softmax), str(tmp_path / "made.pt"), *words.split()]) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if not line.startswith("INFO"))
    assert line.startswith("error: ") and message in line and not list(tmp_path.iterdir())
