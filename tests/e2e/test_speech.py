"""Speech translation through every command: offline, wait-k, and SimulEval with the agent, from the same files."""

import pickle
import re
import shutil

import pytest
import torch

from leap_fairseq.models import load_translator
from leap_fairseq.scoring.run import score_run
from leap_fairseq.scoring.settings import Settings
from leap_fairseq.scoring.units import unit_named

WAITK = "leap_convtransformer_simul_trans_tiny"
OFFLINE = "leap_convtransformer_tiny"


def updates(checkpoint):
    return torch.load(checkpoint)["optimizer_history"][-1]["num_updates"]


def essence(instance):
    return instance["prediction"], instance["delays"]


@pytest.mark.parametrize("arch", [OFFLINE, WAITK])
def test_training_resumes(run_forked, speech_options, offline_checkpoint, simul_checkpoint, tmp_path, arch):
    checkpoint = offline_checkpoint if arch == OFFLINE else simul_checkpoint
    done = updates(checkpoint)
    shutil.copytree(checkpoint.parent, tmp_path / "resumed")
    policy = [] if arch == OFFLINE else ["--waitk-lagging", "1-3"]
    run_forked("fairseq-train", *speech_options(arch, tmp_path / "resumed", done + 2, *policy))
    assert updates(tmp_path / "resumed/checkpoint_last.pt") == done + 2


@pytest.mark.parametrize("source", ["offline", "simul"])
def test_pretrained_encoder_is_loaded(
    run_forked, speech_options, offline_checkpoint, simul_checkpoint, tmp_path, source
):
    pretrained = {"offline": offline_checkpoint, "simul": simul_checkpoint}[source]
    options = ("--load-pretrained-encoder-from", pretrained, "--lr", 1e-5, "--seed", 2)
    run_forked("fairseq-train", *speech_options(WAITK, tmp_path, 1, *options))
    before, after = (torch.load(path)["model"] for path in (pretrained, tmp_path / "checkpoint_last.pt"))
    # One step of Adam moves a weight by its learning rate at most.
    distances = {name: float((before[name] - after[name]).abs().max()) for name in before if name in after}
    encoder = {name: distance for name, distance in distances.items() if name.startswith("encoder.")}
    assert len(encoder) > 30 and max(encoder.values()) < 2e-5
    assert distances["decoder.embed_tokens.weight"] > 1e-2


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("kind", ["offline", "simul"])
def test_generate(run, run_forked, generate_options, offline_checkpoint, simul_checkpoint, kind, beam):
    checkpoint = {"offline": offline_checkpoint, "simul": simul_checkpoint}[kind]
    start = run if (kind, beam) == ("simul", 1) else run_forked
    output = start("fairseq-generate", *generate_options(checkpoint, "--beam", beam, "--nbest", beam)).output
    hypotheses = re.findall(r"^H-(\d+)\t(\S+)\t(.*)$", output, re.MULTILINE)
    assert sorted(int(number) for number, _, _ in hypotheses) == [n for n in range(8) for _ in range(beam)]
    assert all(float(score) < 0 and text for _, score, text in hypotheses)
    assert "BLEU" in output


@pytest.fixture(scope="module")
def three(run, interpret, simul_checkpoint, wavs):
    """SimulEval's lines for three sentences."""
    return interpret(simul_checkpoint, wavs, start=run)


def test_agent_writes_while_it_listens(three, wavs):
    assert [line["index"] for line in three] == [0, 1, 2]
    for line, (_, reference) in zip(three, wavs):
        words, delays = line["prediction"].split(), line["delays"]
        assert line["reference"] == reference
        assert words and len(delays) == len(words) == line["prediction_length"]
        assert "</s>" not in line["prediction"] and "\u2581" not in line["prediction"]
        assert delays == sorted(delays) and delays[-1] <= line["source_length"]
        # k = 3 pre-decisions of 7 frames of 40 ms, heard in segments of 160 ms: then the first token, no word yet.
        assert 960 <= delays[0] < line["source_length"]


def test_test_waitk_lagging_overrides_the_checkpoint(interpret, simul_checkpoint, wavs, three):
    sooner = interpret(simul_checkpoint, wavs[:1], "--test-waitk-lagging", 1)[0]
    later = interpret(simul_checkpoint, wavs[:1], "--test-waitk-lagging", 100)[0]
    assert sooner["delays"][0] < three[0]["delays"][0] < later["delays"][0]
    assert set(later["delays"]) == {later["source_length"]}


@pytest.mark.parametrize("lagging, segment, unit", [(1, 160, "word"), (3, 320, "word"), (2, 80, "char")])
def test_plain_scores_of_real_logs_are_simulevals(
    run_forked, agent_options, simul_checkpoint, wavs, lagging, segment, unit
):
    more = ("--test-waitk-lagging", lagging, "--segment-ms", segment, "--eval-latency-unit", unit)
    options, out = agent_options(simul_checkpoint, wavs, *more)
    run_forked("simuleval", *options)
    names, values = (out / "scores.tsv").read_text(encoding="utf-8").splitlines()
    theirs = dict(zip(names.split("\t"), map(float, values.split("\t"))))
    ours = score_run(out, Settings(unit_named(unit)))
    assert {"BLEU", "LAAL", "AL", "AP", "DAL"} <= theirs.keys()
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=2e-3), name


def test_nothing_of_a_sentence_reaches_the_next(interpret, simul_checkpoint, wavs, three):
    a, b = wavs[0], wavs[1]
    first, second = interpret(simul_checkpoint, [a, b])
    (alone,) = interpret(simul_checkpoint, [b])
    around = interpret(simul_checkpoint, [b, a, b])
    assert essence(second) == essence(alone) == essence(around[0]) == essence(around[2]) == essence(three[1])
    assert essence(first) == essence(around[1]) == essence(three[0]) != essence(alone)


@pytest.mark.skipif(not hasattr(torch.serialization, "add_safe_globals"), reason="this torch checks nothing")
class TestForeignClass:
    """A checkpoint that would run code is refused everywhere, and its code is not run."""

    @pytest.fixture(scope="class")
    def witness(self, tmp_path_factory):
        return tmp_path_factory.mktemp("attack") / "ran"

    @pytest.fixture(scope="class")
    def attack(self, simul_checkpoint, witness):
        class Attack:
            def __reduce__(self):
                return open, (str(witness), "w")

        state = torch.load(simul_checkpoint)
        state["extra_state"]["attack"] = Attack()
        path = witness.parent / "checkpoint_last.pt"
        torch.save(state, path)
        return path

    def test_the_control_that_the_code_would_run(self, attack, witness):
        torch.load(attack, weights_only=False)
        assert witness.exists()
        witness.unlink()

    def test_refused(
        self, run_forked, attack, witness, generate_options, agent_options, speech_options, wavs, tmp_path
    ):
        shutil.copy(attack, tmp_path / "checkpoint_last.pt")
        for command, options in (
            ("fairseq-generate", generate_options(attack)),
            ("simuleval", agent_options(attack, wavs[:1])[0]),
            ("fairseq-train", speech_options(WAITK, tmp_path, 50)),
            ("fairseq-train", speech_options(WAITK, tmp_path / "new", 1, "--load-pretrained-encoder-from", attack)),
        ):
            outcome = run_forked(command, *options, code=1)
            assert "Unsupported global io.open" in outcome.reason and "checkpoint_last.pt" in outcome.reason
            assert not witness.exists()

    def test_refused_in_python(self, attack, witness, speech_data):
        with pytest.raises(pickle.UnpicklingError, match="Unsupported global io.open"):
            load_translator(attack, speech_data)
        assert not witness.exists()
