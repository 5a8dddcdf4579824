"""Whatever the plugin loads, a stranger's checkpoint runs no code and is refused by name; good ones load as ever."""

import contextlib
import importlib.util
import pickle
import shutil
from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest
import torch
from brought_data import as_official
from fairseq import checkpoint_utils
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from hostile_checkpoints import KINDS, WRITERS, change, save
from tiny_models import SMALL_SPEECH, make_dictionary, make_speech_model

from leap_fairseq.agents import WaitkAgent
from leap_fairseq.cli.evaluate import read_model
from leap_fairseq.models import LeapConvTransformerModel, LeapTransformerLanguageModel, load_translator
from leap_fairseq.models.averaging import average_checkpoints
from leap_fairseq.models.export import export_translator

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of a good model of each family."""
    folder = tmp_path_factory.mktemp("models")
    for family, write in WRITERS.items():
        write(folder / family)
    return folder


@pytest.fixture(autouse=True)
def unchecked_by_default(monkeypatch):
    """A user's environment may tell torch to read everything."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")


def script(name):
    spec = importlib.util.spec_from_file_location(Path(name).stem, SCRIPTS / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def agent(folder):
    parser = ArgumentParser()
    WaitkAgent.add_args(parser)
    return WaitkAgent.from_args(parser.parse_args(["--model-path", str(folder)]))


def average(folder):
    for number in (1, 2):
        shutil.copy(folder / "checkpoint.pt", folder / f"checkpoint{number}.pt")
    average_checkpoints(folder, folder / "made.pt", 2)


WAYS = {
    ("speech", "load_translator"): load_translator,
    ("speech", "agent"): agent,
    ("speech", "evaluate"): lambda folder: read_model(str(folder)),
    ("speech", "export"): lambda folder: export_translator(folder / "checkpoint.pt", folder / "made", folder),
    ("speech", "average"): average,
    ("speech", "pretrained encoder"): lambda folder: make_speech_model(
        load_pretrained_encoder_from=str(folder / "checkpoint.pt")
    ),
    ("speech", "from_pretrained"): lambda folder: LeapConvTransformerModel.from_pretrained(folder, "checkpoint.pt"),
    ("lm", "from_pretrained"): lambda folder: LeapTransformerLanguageModel.from_pretrained(folder, "checkpoint.pt"),
    ("lm", "average"): average,
    ("lra", "average"): average,
    ("lra", "evaluate"): lambda folder: script("lra/evaluate.py").evaluate(folder, folder / "checkpoint.pt", "test"),
}


# All in the slow tests; in the others, these by every way, and all by one way of each family.
DECISIVE = ("another architecture", "text that is evaluated", "a call")
FIRST = {family: way for family, way in reversed(WAYS)}
CASES = [
    pytest.param(family, way, kind, marks=[] if kind in DECISIVE or FIRST[family] == way else pytest.mark.slow)
    for family, way in WAYS
    for kind in KINDS
]


@pytest.mark.parametrize("family, way, kind", CASES)
def test_a_hostile_checkpoint_is_refused(models, tmp_path, family, way, kind):
    folder = shutil.copytree(models / family, tmp_path / "model")
    change(folder / "checkpoint.pt", tmp_path / "ran", kind)
    with pytest.raises((ValueError, pickle.UnpicklingError), match=f"{folder}/checkpoint.*{KINDS[kind]}"):
        WAYS[family, way](folder)
    assert not (tmp_path / "ran").exists() and not list(folder.glob("made*"))


@pytest.mark.parametrize("age", ["new", "old"])
@pytest.mark.parametrize("family, way", WAYS)
def test_a_good_one_loads(models, tmp_path, family, way, age):
    folder = shutil.copytree(models / family, tmp_path / "model")
    if age == "old":
        grow_old(folder / "checkpoint.pt")
    WAYS[family, way](folder)
    if way in ("average", "export"):
        assert list(folder.glob("made*"))


def grow_old(path):
    """As a version that lacked some options saved it, from a command line that had others and found its files."""
    state = torch.load(path, weights_only=True)
    for section in (state["cfg"]["model"], state["cfg"]["task"]):
        options = vars(section) if isinstance(section, Namespace) else section
        for name in ("attention_half_life", "encoder_segment", "encoder_visibility", "carry_state", "lra_eval_samples"):
            options.pop(name, None)
        if isinstance(section, Namespace):
            options.update(
                adam_betas="(0.9, 0.98)", lr=[0.002], update_freq=[1], user_dir="/gone", no_seed_provided=True
            )
            options.update(load_pretrained_encoder_from="/gone/asr.pt", speaker_to_id={"a": 1}, input_channels=1)
            options.update(label_smoothing=0.1, multitask_config_yaml=None, waitk_lagging=3)
    torch.save(state, path)


@pytest.mark.parametrize("kind", ["another architecture", "text that is evaluated"])
def test_the_control_that_fairseq_itself_runs_the_code(models, tmp_path, kind):
    folder = shutil.copytree(models / "lm", tmp_path / "model")
    change(folder / "checkpoint.pt", tmp_path / "ran", kind)
    with contextlib.suppress(AttributeError, TypeError, AssertionError, ValueError):
        checkpoint_utils.load_model_ensemble_and_task([str(folder / "checkpoint.pt")], {"data": str(folder)})
    assert (tmp_path / "ran").exists()


def test_the_control_that_the_environment_lets_a_call_run(models, tmp_path):
    folder = shutil.copytree(models / "lm", tmp_path / "model")
    change(folder / "checkpoint.pt", tmp_path / "ran", "a call")
    torch.load(folder / "checkpoint.pt")
    assert (tmp_path / "ran").exists()


def test_a_checkpoint_of_the_fork_is_converted_or_refused(models, tmp_path):
    convert, path = script("lm/convert_official.py"), tmp_path / "official.pt"
    official = as_official(torch.load(models / "lm/checkpoint.pt", weights_only=True))
    torch.save(official, path)
    folder = shutil.copytree(models / "lm", tmp_path / "model")
    convert.run(Namespace(official=path, converted=folder / "converted.pt"))
    hub = LeapTransformerLanguageModel.from_pretrained(folder, "converted.pt")
    assert type(hub.models[0]) is LeapTransformerLanguageModel
    code = f"__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()"
    for name in ("adaptive_softmax_cutoff", "decoder_attention_heads"):
        torch.save({**official, "cfg": {**official["cfg"], "model": {**official["cfg"]["model"], name: code}}}, path)
        with pytest.raises(ValueError, match=f"official.pt: --{name.replace('_', '-')} is .*, but must be"):
            convert.run(Namespace(official=path, converted=folder / "refused.pt"))
    assert not (folder / "refused.pt").exists() and not (tmp_path / "ran").exists()


def test_an_encoder_of_fairseqs_own_network_is_begun_with(tmp_path):
    """Nothing is built from its options, which are compared."""
    args = Namespace(**SMALL_SPEECH, arch="convtransformer", input_channels=1)
    ARCH_CONFIG_REGISTRY[args.arch](args)
    task = Namespace(target_dictionary=make_dictionary(), source_dictionary=None)
    model, path = ARCH_MODEL_REGISTRY[args.arch].build_model(args, task), tmp_path / "asr.pt"
    save(path, model, args, Namespace(task="speech_to_text"))
    ours = {
        "arch": "leap_convtransformer",
        "encoder_self_attention": "softmax",
        "load_pretrained_encoder_from": str(path),
    }
    assert torch.equal(make_speech_model(**ours).encoder.out.weight, model.encoder.out.weight)
    save(path, model, Namespace(**vars(args), encoder_xformers_att_config="{}"), Namespace(task="speech_to_text"))
    with pytest.raises(ValueError, match="there is no option 'encoder_xformers_att_config'"):
        make_speech_model(**ours)
    with pytest.raises(ValueError, match="architecture 'convtransformer', which is not one of ours"):
        load_translator(path)


def test_an_address_or_archive_is_not_opened(models):
    for place in ("https://example.org/model.tar.gz", models / "lm/checkpoint.pt", models / "gone"):
        with pytest.raises(FileNotFoundError, match="give one; addresses and archives are not opened"):
            LeapTransformerLanguageModel.from_pretrained(place)


def test_of_the_file_only_model_task_and_batch_are_used(models, tmp_path):
    folder = shutil.copytree(models / "lm", tmp_path / "model")
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    state["cfg"].update(bpe={"_name": "gpt2"}, tokenizer={"_name": "moses"}, criterion={"_name": "adaptive_loss"})
    state["cfg"].update(generation={"replace_unk": "/gone", "beam": 7}, common={"user_dir": "/gone"})
    torch.save(state, folder / "checkpoint.pt")
    hub = LeapTransformerLanguageModel.from_pretrained(folder, "checkpoint.pt", folder, tokenizer="space")
    assert hub.bpe is None and hub.align_dict is None and hub.tokenizer.encode("a  b") == "a b"
    assert hub.cfg.generation.beam == 5 and hub.cfg.dataset.max_tokens == 512 and hub.cfg.task.data == str(folder)
    assert len(hub.sample(["▁w1 ▁w2"], beam=2, max_len_b=4)) == 1
