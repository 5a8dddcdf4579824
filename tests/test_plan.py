"""scripts/plan.py: parameters and operations are those of the models, and what was measured wins over estimates."""

import sys
from pathlib import Path

import pytest
import torch
from fairseq.data import Dictionary
from tiny_models import make_dictionary, make_lm, make_speech_model
from torch.utils.flop_counter import FlopCounterMode

from leap_fairseq.report.tables import read_tsv

SCRIPT = Path(__file__).parents[1] / "scripts" / "plan.py"
sys.path.insert(0, str(SCRIPT.parent))

import plan  # noqa: E402
import recipe_sizes  # noqa: E402

from leap_fairseq.cli import command  # noqa: E402


def products(run):
    """Multiplications and additions of matrix products, without those of attention."""
    with FlopCounterMode(display=False) as counter:
        run()
    counted = {str(name): value for name, value in counter.get_flop_counts()["Global"].items()}
    return sum(value for name, value in counted.items() if "bmm" not in name)


def numbers(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("kind", ["leap", "relu"])
@torch.no_grad()
def test_language_model(kind):
    flags = (
        "--decoder-layers 3 --decoder-embed-dim 32 --decoder-input-dim 32 --decoder-output-dim 32 "
        "--decoder-ffn-embed-dim 48 --decoder-attention-heads 2 --adaptive-input-cutoff 20,30 "
        f"--adaptive-softmax-cutoff 20,30 --decoder-self-attention {kind}"
    )
    model = make_lm(*flags.split(), dictionary=make_dictionary(50), arch="leap_transformer_lm_wiki103")
    sizes = recipe_sizes.language_model(3, 32, 48, 2, 50, [20, 30], leap=kind == "leap")
    assert sizes["parameters"] == numbers(model)
    if kind == "relu":
        tokens = torch.randint(4, 20, (2, 10))
        decoder = model.decoder
        counted = products(lambda: decoder.adaptive_softmax.head(decoder.extract_features(tokens)[0].view(20, 32)))
        assert 3 * counted == sizes["products"] * 20


def test_the_full_language_model_is_that_of_the_results():
    page = (SCRIPT.parents[1] / "docs/results/language_models.md").read_text(encoding="utf-8")
    for leap in (True, False):
        assert f"{recipe_sizes.wikitext103(leap, 8).parameters:,}" in page


@pytest.mark.parametrize(
    "gpus, batch, update", [(1, 4096, 65536), (16, 4096, 65536), (64, 1024, 65536), (200, 512, 102400)]
)
def test_many_cards_share_an_update_as_the_script_has_them(gpus, batch, update):
    """Those of tests/e2e/test_scaling.py, which asks scripts/lm/train.sh."""
    recipe = recipe_sizes.wikitext103(True, gpus)
    assert recipe.batch == batch and recipe.words == 250_000 * update


@pytest.mark.parametrize("kind", ["leap", "relu"])
@torch.no_grad()
def test_translator(kind):
    sizes = {
        **{"encoder_embed_dim": 32, "decoder_embed_dim": 32, "encoder_ffn_embed_dim": 48, "decoder_ffn_embed_dim": 48},
        **{"encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2},
        **{f"{side}_normalize_before": True for side in ("encoder", "decoder")},
        **{name: kind for name in ("encoder_self_attention", "decoder_self_attention", "decoder_cross_attention")},
        **{"conv_out_channels": 8, "share_decoder_input_output_embed": True},
    }
    words = Dictionary()
    model = make_speech_model("leap_convtransformer_simul_trans_espnet", words, **sizes)
    counted = recipe_sizes.translator(3, 2, 32, 48, 2, len(words), leap=kind == "leap", channels=8)
    assert counted["parameters"] == numbers(model)
    if kind == "relu":
        speech, tokens = torch.randn(1, 40, 80), torch.full((1, 5), 2)
        found = products(lambda: model(speech, torch.tensor([40]), tokens))
        assert 3 * found == 10 * counted["frame"] + 5 * counted["word"]


@pytest.fixture
def call(capsys, tmp_path):
    """A function: runs a command line; returns its rows by card and its errors."""

    def run(*words, code=0):
        out = tmp_path / "plan.tsv"
        assert command.main(plan, [*words, "--tsv", str(out)]) == code
        return {row["card"]: row for row in read_tsv(out)}

    return run


@pytest.mark.parametrize("recipe", recipe_sizes.RECIPES)
def test_what_was_measured_takes_the_place_of_the_estimate(call, recipe):
    rows = call(recipe, "--gpus", "4", "--words-per-s", "H100=1000", "--price", "H100=2.5", "A100=1")
    words = recipe_sizes.RECIPES[recipe](True, 4).words
    assert rows["H100"]["basis"] == "measured" and rows["A100"]["basis"] == "estimate"
    assert rows["H100"]["gpu_hours"] == pytest.approx(words / 1000 / 3600)
    assert rows["H100"]["cost"] == pytest.approx(2.5 * rows["H100"]["gpu_hours"])
    assert rows["A100"]["cost"] == rows["A100"]["gpu_hours"] == 4 * rows["A100"]["hours"]
    assert rows["L40S"]["cost"] != rows["L40S"]["cost"]
    assert all(0 < row["needs_gib"] < row["gib"] for row in rows.values())


def test_estimates_follow_the_card_and_the_attention(call):
    leap, softmax = (call("wikitext103", "--attention", kind) for kind in ("leap", "softmax"))
    assert list(leap) == list(plan.CARDS)
    speeds = [row["words_per_s"] for row in leap.values()]
    assert speeds == sorted(speeds, reverse=True)
    assert softmax["H100"]["words_per_s"] > leap["H100"]["words_per_s"]
    faster = call("wikitext103", "--utilisation", "0.7", "--cards", "H100")
    assert faster["H100"]["words_per_s"] > leap["H100"]["words_per_s"]


@pytest.mark.parametrize(
    "words, message",
    [
        (["--price", "H100"], "'H100' must be CARD=NUMBER, with a card of H200"),
        (["--price", "K80=1"], "'K80=1' must be CARD=NUMBER"),
        (["--words-per-s", "H100=-1"], "must be CARD=NUMBER"),
        (["--gpus", "0"], "--gpus must be 1 or more"),
        (["--utilisation", "2"], "--utilisation above 0 and at most 1"),
    ],
)
def test_wrong_options_are_refused(capsys, words, message):
    with pytest.raises(SystemExit):
        command.main(plan, ["mustc", *words])
    assert message in capsys.readouterr().err
