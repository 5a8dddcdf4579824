"""The plugin and the data are found from anywhere, or one line says what is missing."""

import shutil

import pytest
import torch
from preloading import PLUGIN, ROOT

import leap_fairseq.models  # noqa: F401  (allows the types of fairseq's checkpoints)

WAITK = "leap_convtransformer_simul_trans_tiny"
COMMANDS = ("fairseq-train", "fairseq-validate", "fairseq-eval-lm", "fairseq-generate", "fairseq-interactive")


@pytest.fixture(scope="module")
def start(run_forked, lm_data, lm_options, lm_checkpoint, generate_options, simul_checkpoint, tmp_path_factory):
    """A function: starts a command with the plugin given in some way, by its name or by other words."""

    def start_command(command, plugin, *words, **options):
        lm = ("--user-dir", plugin, "--path", lm_checkpoint, "--cpu")
        arguments = {
            "fairseq-train": lm_options(tmp_path_factory.mktemp("save"), 1, "--no-save", plugin=plugin),
            "fairseq-validate": [lm_data, *lm, "--task", "leap_language_modeling", "--max-tokens", 512],
            "fairseq-eval-lm": [lm_data, *lm, "--gen-subset", "test", "--tokens-per-sample", 64, "--max-tokens", 512],
            "fairseq-generate": generate_options(simul_checkpoint, "--beam", 1, plugin=plugin),
            "fairseq-interactive": [lm_data, *lm, "--task", "leap_language_modeling", "--beam", 1, "--max-len-b", 5],
        }
        return run_forked(*(words or [command]), *arguments[command], stdin="if x\n", **options)

    return start_command


@pytest.fixture(scope="module")
def neighbour(tmp_path_factory):
    """A folder that holds a link to the repository, and so a path to the plugin that is relative to it."""
    folder = tmp_path_factory.mktemp("neighbour")
    (folder / "checkout").symlink_to(ROOT)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("spelling", ["relative", "slash", "bare"])
def test_spellings_of_the_plugin(start, neighbour, command, spelling):
    plugin, folder = {
        "relative": ("checkout/leap_fairseq", neighbour),
        "slash": (f"{PLUGIN}/", neighbour),
        "bare": ("leap_fairseq", ROOT),
    }[spelling]
    start(command, plugin, cwd=folder)


@pytest.mark.parametrize("command", COMMANDS)
def test_imported_before_it_is_named(start, command):
    module = command.replace("-", "_cli.", 1).replace("-", "_")
    start(command, PLUGIN, "python", "-c", f"import leap_fairseq.layers, {module} as module; module.cli_main()")


def test_imported_before_in_a_process_of_its_own(run, lm_options, tmp_path):
    """As a notebook or a user's script does."""
    program = "import leap_fairseq.attention, fairseq_cli.train; fairseq_cli.train.cli_main()"
    run("python", "-c", program, *lm_options(tmp_path, 1, plugin=f"{PLUGIN}/"))
    assert (tmp_path / "checkpoint_last.pt").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_plugin_that_is_not_there_is_named(start, command, tmp_path):
    outcome = start(command, "leap_fairseq", cwd=tmp_path, code=1)
    assert outcome.reason == f"FileNotFoundError: {tmp_path / 'leap_fairseq'}"


def test_data_given_relatively(run_forked, interpret, simul_checkpoint, speech_data, agent_options, wavs, tmp_path):
    """A checkpoint remembers the path as it was written: in another directory the agent asks for the folder."""
    state = torch.load(simul_checkpoint)
    relative = f"{speech_data.parent.name}/{speech_data.name}"
    state["cfg"]["task"].data = relative
    torch.save(state, tmp_path / "checkpoint.pt")
    options, _ = agent_options(tmp_path / "checkpoint.pt", wavs[:1])
    run_forked("simuleval", *options, cwd=speech_data.parents[1])
    outcome = run_forked("simuleval", *options, cwd=tmp_path, code=1)
    assert "no data YAML" in outcome.reason and relative in outcome.reason
    assert "--data-bin" in outcome.reason
    interpret(tmp_path / "checkpoint.pt", wavs[:1], "--data-bin", speech_data)


def test_a_moved_data_folder_still_works(
    run_forked, speech_data, speech_options, generate_options, interpret, simul_checkpoint, wavs, tmp_path
):
    original, moved, checkpoint = (tmp_path / name for name in ("original", "moved", "checkpoint.pt"))
    shutil.copytree(speech_data, original)
    state = torch.load(simul_checkpoint)
    state["cfg"]["task"].data = str(original)
    torch.save(state, checkpoint)
    before = interpret(checkpoint, wavs[:1])
    shutil.move(original, moved)
    run_forked("fairseq-train", *speech_options(WAITK, tmp_path / "save", 1, data=moved))
    run_forked("fairseq-generate", *generate_options(checkpoint, "--beam", 1, data=moved))
    after = interpret(checkpoint, wavs[:1], "--data-bin", moved)
    assert after[0]["prediction"] == before[0]["prediction"] and after[0]["delays"] == before[0]["delays"]
