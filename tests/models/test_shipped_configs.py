"""The YAML configurations for fairseq-hydra-train are the command lines of fairseq-train that are written out here."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from fairseq import optim, options
from fairseq.dataclass.initialize import add_defaults, hydra_init
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.optim.lr_scheduler import build_lr_scheduler
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tiny_models import make_dictionary

import leap_fairseq.models
from leap_fairseq.tasks.leap_language_modeling import LeapLanguageModelingTask

FOLDER = Path(leap_fairseq.__file__).parent / "config"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
# hydra and fairseq warn of the age of each other's interfaces.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

WITHOUT_MEANING = {
    "model._name",  # the preset's own
    "model.base_shuffle",  # read only where base_layers is above 0
    # read where a text is generated
    *(f"scoring.{key}" for key in ("_name", "pad", "eos", "unk")),
}

COMMANDS = {
    "leap_transformer_lm_tiny": """
        data --arch leap_transformer_lm_tiny --task leap_language_modeling
        --sample-break-mode none --tokens-per-sample 256 --max-tokens 2048 --criterion cross_entropy
        --optimizer adam --adam-betas '(0.9, 0.98)' --lr 0.002 --lr-scheduler inverse_sqrt --warmup-updates 100
        --clip-norm 1.0 --max-update 600 --seed 1 --no-epoch-checkpoints --log-format simple --log-interval 20
    """,
    # OSU-STARLAB/LeaPformer, fairseq-leapformer/leapformer-scripts/lm/adaptive_lm_train.sh, with our architecture and
    # our logs; LeaP needs no option.
    "leap_transformer_lm_wiki103": """
        data --arch leap_transformer_lm_wiki103 --task leap_language_modeling
        --max-update 250000 --lr 1.0 --t-mult 2 --lr-period-updates 270000 --lr-scheduler cosine --lr-shrink 0.75
        --warmup-updates 8000 --warmup-init-lr 1e-07 --stop-min-lr 1e-09 --optimizer nag --min-lr 0.0001 --clip-norm 0.1
        --criterion adaptive_loss --max-tokens 4096 --update-freq 2 --tokens-per-sample 512 --seed 1
        --sample-break-mode none --skip-invalid-size-inputs-valid-test --ddp-backend=legacy_ddp
        --log-format simple --log-interval 100
    """,
}

# The learning rate of the recipe for Wikitext-103, by the number of updates before.
WIKI103_LR = {
    # Warm-up from 1e-7 to 1, linear.
    0: 1e-7,
    4_000: 0.50000005,  # 1e-7 + (1 - 1e-7) / 2
    # A period of 270,000 from 1 to 1e-4: 1e-4 + 0.9999 * (1 + cos(180 degrees * part of the period)) / 2.
    8_000: 1.0,
    98_000: 0.750025,  # a third, 60 degrees: 1e-4 + 0.9999 * 3/4
    143_000: 0.50005,  # half, 90 degrees: 1e-4 + 0.9999 * 1/2
    188_000: 0.250075,  # two thirds, 120 degrees: 1e-4 + 0.9999 * 1/4
    # Training ends here: 242/270 of the period, 161 1/3 degrees, whose cosine is -0.94739664.
    250_000: 0.02639905,  # 1e-4 + 0.9999 * 0.05260336 / 2
    277_999: 0.0001,  # the last of the period, 3e-11 above its end
    # It would go on: periods twice as long as the one before, whose rates are 3/4 of it.
    278_000: 0.75,
    548_000: 0.3750375,  # half of 540,000: (0.75 + 0.75e-4) / 2
    818_000: 0.5625,
}


def composed(name):
    """The configuration as fairseq-hydra-train composes it; it sets the plugin's folder itself, at run time."""
    hydra_init(name)
    with initialize_config_dir(str(FOLDER), version_base="1.1"):
        cfg = compose(name, overrides=["task.data=data", "common.user_dir=null"])
    add_defaults(cfg)
    return cfg


def parsed(name):
    """The configuration as fairseq-train reads it from the command line."""
    parser = options.get_training_parser()
    return convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, shlex.split(COMMANDS[name])))


def flat(cfg):
    """Its values by their full names."""
    sections = OmegaConf.to_container(cfg, resolve=True).items()
    return {
        f"{section}.{key}": value
        for section, values in sections
        if isinstance(values, dict)
        for key, value in values.items()
    }


def parameters(cfg, dictionary_size):
    """Names and shapes of the model's parameters; nothing is allocated."""
    task = LeapLanguageModelingTask(cfg.task, make_dictionary(dictionary_size))
    with torch.device("meta"):
        model = task.build_model(cfg.model)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def test_every_size_but_the_default_has_a_configuration():
    assert NAMES == ["leap_transformer_lm_tiny", "leap_transformer_lm_wiki103"]


@pytest.mark.parametrize("name", NAMES)
def test_equals_the_command_line(name):
    cfg, expected = composed(name), parsed(name)
    resolved, wanted = flat(cfg), flat(expected)
    differences = {key: (resolved.get(key), wanted[key]) for key in wanted if resolved.get(key) != wanted[key]}
    assert set(differences) <= WITHOUT_MEANING, differences
    # Above the highest cutoff of the adaptive softmax.
    size = 60010 if wanted["model.adaptive_input"] else 50
    assert parameters(cfg, size) == parameters(expected, size)


def test_the_script_trains_by_the_same_recipe(monkeypatch):
    name = "leap_transformer_lm_wiki103"
    script = (FOLDER.parents[1] / "scripts/lm/train.sh").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^RECIPE=\((.*?)^\)", script, re.MULTILINE | re.DOTALL)
    eight_processes = {"$BATCHES": "2", "$BATCH_TOKENS": "4096", "$DATA": "data", "$PLUGIN": FOLDER.parent}
    for variable, value in eight_processes.items():
        assert variable in recipe
        recipe = recipe.replace(variable, str(value))
    monkeypatch.setitem(COMMANDS, name, COMMANDS[name])
    expected = flat(parsed(name))
    COMMANDS[name] = recipe
    found = flat(parsed(name))
    differences = {key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)}
    # Where and how often it saves.
    allowed = ("checkpoint.", "common.user_dir")
    assert {key for key in differences if not key.startswith(allowed)} == set()


@pytest.mark.parametrize("read", [composed, parsed])
def test_the_learning_rate_for_wikitext_103(read):
    cfg = read("leap_transformer_lm_wiki103")
    optimizer = optim.build_optimizer(cfg.optimizer, [torch.nn.Parameter(torch.zeros(1))])
    scheduler = build_lr_scheduler(cfg.lr_scheduler, optimizer)
    rates = {updates: scheduler.step_update(updates) for updates in WIKI103_LR}
    assert rates == pytest.approx(WIKI103_LR, rel=1e-6, abs=0)
    assert optimizer.get_lr() == rates[818_000]


@pytest.mark.parametrize("name", NAMES)
def test_the_command_line_in_its_comment_names_it(name):
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert f"fairseq-hydra-train --config-dir leap_fairseq/config --config-name {name} task.data=DATA" in text
