"""The command lines on a GPU: training in each precision, scores, generation and streaming as on the CPU."""

import json
import random
import re

import pytest
from fake_corpora import write_mustc
from lra_data import write_lra
from preloading import PLUGIN, ROOT

PRECISIONS = ["", "--fp16", "--bf16", "--memory-efficient-fp16", "--memory-efficient-bf16", "--amp"]
COMMON = "--dropout 0 --optimizer adam --lr 0.002 --seed 1 --log-format simple --log-interval 1 --no-epoch-checkpoints"
LM = "--task leap_language_modeling --arch leap_transformer_lm_tiny --tokens-per-sample 64 --max-tokens 512"
WAITK = (
    "--task leap_speech_to_text --config-yaml config_st.yaml --train-subset train_st --valid-subset dev_st "
    "--arch leap_convtransformer_simul_trans_tiny --encoder-visibility segment --waitk-lagging 1-3 "
    "--fixed-pre-decision-ratio 2 --encoder-layers 2 --decoder-layers 1 --max-source-positions 1000 "
    "--max-target-positions 100 --max-tokens 6000 --criterion label_smoothed_cross_entropy --num-workers 0"
)
LRA = (
    "--task long_range_arena --criterion sequence_classification --arch leap_lra_tiny --optimizer adam --lr 3e-3 "
    "--batch-size 8 --num-workers 0 --seed 1 --dropout 0 --attention-dropout 0 --activation-dropout 0 "
    "--log-format simple --log-interval 1 --no-epoch-checkpoints"
)


@pytest.fixture(scope="session")
def on_device(device):
    """Options of fairseq's commands; those on the CPU need `--cpu`."""
    return ["--cpu"] if device == "cpu" else []


@pytest.fixture(scope="session")
def train(command, on_device):
    """A function: trains; returns the loss of each update and the checkpoint."""

    def run(data, options, updates, save, *more, where=on_device):
        words = [*options.split(), *more, "--max-update", updates, "--save-dir", save]
        output = command("fairseq-train", data, "--user-dir", PLUGIN, *words, *where)
        losses = re.findall(r"train_inner \| .*?\bloss=([\d.]+).*?num_updates=(\d+)", output)
        assert [int(number) for _, number in losses] == list(range(1, updates + 1)), output[-3000:]
        return [float(loss) for loss, _ in losses], save / "checkpoint_last.pt"

    return run


@pytest.fixture(scope="session")
def lm_data(command, tmp_path_factory):
    """Text of a few words, each of which follows one of two others, binarised."""
    folder, chance = tmp_path_factory.mktemp("lm"), random.Random(0)
    followers = {word: chance.sample(range(40), 2) for word in range(40)}
    for split, count in (("train", 60), ("valid", 8), ("test", 9)):
        lines = []
        for _ in range(count):
            words = [chance.randrange(40)]
            while len(words) < 40:
                words.append(chance.choice(followers[words[-1]]))
            lines.append(" ".join(f"w{word}" for word in words) + "\n")
        (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    splits = [part for name in ("train", "valid", "test") for part in (f"--{name}pref", folder / f"{name}.txt")]
    command("fairseq-preprocess", "--only-source", *splits, "--destdir", folder / "data")
    return folder / "data"


@pytest.fixture(scope="session")
def speech_data(command, tmp_path_factory):
    """Five spoken sentences a split, prepared."""
    folder = tmp_path_factory.mktemp("speech")
    corpus = write_mustc(folder / "corpus", splits=("train", "dev", "tst-COMMON"))
    options = ("--out", folder / "data", "--vocab-size", 45, "--specaugment", "none")
    command(ROOT / "data_prep/prep_mustc.py", corpus, *options)
    return folder / "data", corpus


def close(losses, expected, precision):
    """fairseq prints three digits behind the point; halves round each activation."""
    return losses == pytest.approx(expected, rel=2e-2 if precision else 2e-3)


@pytest.fixture(scope="session")
def lm_losses(train, lm_data, tmp_path_factory):
    """Of two updates on the CPU in float32."""
    return train(lm_data, f"{LM} {COMMON}", 2, tmp_path_factory.mktemp("cpu"), where=["--cpu"])[0]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_language_model_trains(train, lm_data, lm_losses, tmp_path, precision):
    losses, _ = train(lm_data, f"{LM} {COMMON} {precision}", 2, tmp_path)
    assert close(losses, lm_losses, precision) and losses[0] > losses[1]


@pytest.mark.parametrize(
    "options",
    ["--decoder-self-attention softmax", "--attention-half-life 4-64", "--carry-state --batch-size 2"],
)
@pytest.mark.parametrize("precision", ["", "--bf16", "--fp16"])
def test_other_attentions_train(train, lm_data, tmp_path, options, precision):
    expected, _ = train(lm_data, f"{LM} {COMMON} {options}", 2, tmp_path / "cpu", where=["--cpu"])
    losses, _ = train(lm_data, f"{LM} {COMMON} {options} {precision}", 2, tmp_path / "gpu")
    assert close(losses, expected, precision)


@pytest.fixture(scope="session")
def language_model(train, lm_data, tmp_path_factory):
    """Trained until it knows what may follow."""
    return train(lm_data, f"{LM} {COMMON}", 40, tmp_path_factory.mktemp("lm"))[1]


@pytest.mark.parametrize("precision", ["", "--fp16", "--bf16"])
def test_a_language_model_is_scored(command, on_device, lm_data, language_model, precision):
    options = "--gen-subset test --tokens-per-sample 64 --max-tokens 512".split()
    fixed = (lm_data, "--user-dir", PLUGIN, "--path", language_model, *options)
    cpu, gpu = (
        float(re.search(r"Perplexity: (\S+)", command("fairseq-eval-lm", *fixed, *where))[1])
        for where in (["--cpu"], [*precision.split(), *on_device])
    )
    assert gpu == pytest.approx(cpu, rel=2e-2 if precision else 1e-3) and 1 < cpu < 20


@pytest.mark.parametrize("beam", [1, 4])
def test_a_language_model_continues_prompts(command, on_device, lm_data, language_model, beam):
    options = f"--task leap_language_modeling --beam {beam} --nbest {beam} --max-len-a 0 --max-len-b 12 --buffer-size 3"
    fixed = (lm_data, "--user-dir", PLUGIN, "--path", language_model, *options.split(), "--batch-size", 3)
    cpu, gpu = (
        re.findall(r"^H-(\d+)\t(\S+)\t(.*)$", command("fairseq-interactive", *fixed, *where, stdin=PROMPTS), re.M)
        for where in (["--cpu"], on_device)
    )
    assert len(gpu) == 3 * beam and [(n, text) for n, _, text in gpu] == [(n, text) for n, _, text in cpu]
    assert [float(score) for _, score, _ in gpu] == pytest.approx([float(score) for _, score, _ in cpu], abs=2e-3)


PROMPTS = "w1\nw2 w3 w4\nw5 w6 w7 w8 w9 w10 w11\n"


@pytest.fixture(scope="session")
def waitk_losses(train, speech_data, tmp_path_factory):
    """Of two updates on the CPU in float32."""
    return train(speech_data[0], f"{WAITK} {COMMON}", 2, tmp_path_factory.mktemp("cpu"), where=["--cpu"])[0]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_translator_trains(train, speech_data, waitk_losses, tmp_path, precision):
    losses, _ = train(speech_data[0], f"{WAITK} {COMMON} {precision}", 2, tmp_path)
    assert close(losses, waitk_losses, precision)


@pytest.fixture(scope="session")
def translator(train, speech_data, tmp_path_factory):
    """Trained until it writes words."""
    return train(speech_data[0], f"{WAITK} {COMMON}", 60, tmp_path_factory.mktemp("waitk"))[1]


@pytest.fixture(scope="session")
def recordings(speech_data, tmp_path_factory):
    """Lists of the test talks for SimulEval: the options."""
    folder, paths = tmp_path_factory.mktemp("lists"), sorted(speech_data[1].rglob("tst-COMMON/wav/*.wav"))
    (folder / "source").write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")
    (folder / "target").write_text("Guten Morgen.\n" * len(paths), encoding="utf-8")
    return ["--source", folder / "source", "--target", folder / "target"]


@pytest.fixture(scope="session")
def interpret(command, translator, recordings):
    """A function: SimulEval's predictions and their delays."""

    def run(out, *words):
        fixed = "--agent-class leap_fairseq.agents.WaitkAgent --segment-ms 160 --max-len-b 30".split()
        scores = "--quality-metrics BLEU --latency-metrics LAAL".split()
        command("simuleval", *fixed, *scores, *recordings, "--output", out, "--model-path", translator, *words)
        lines = (out / "instances.log").read_text(encoding="utf-8").splitlines()
        return [(json.loads(line)["prediction"], json.loads(line)["delays"]) for line in lines]

    return run


@pytest.mark.parametrize("precision", ["", "--dtype fp16", "--fp16", "--bf16"])
def test_simuleval_writes_the_words_of_the_cpu(interpret, device, tmp_path, precision):
    expected = interpret(tmp_path / "cpu")
    assert all(prediction for prediction, _ in expected)
    assert interpret(tmp_path / "gpu", "--device", device, *precision.split()) == expected


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_translate_writes_the_words_of_the_cpu(command, translator, recordings, device, dtype):
    wav = recordings[1].read_text(encoding="utf-8").split()[0]
    fixed = (ROOT / "leap_fairseq/__main__.py", "translate", wav, "--model", translator)
    # Beside the lines of its output there are those of its log.
    cpu, gpu = (
        re.findall(r"^ +\d+\.\d\d  \S.*$", command(*fixed, *where), re.M)
        for where in ((), ("--device", device, "--dtype", dtype))
    )
    assert cpu and gpu == cpu


@pytest.mark.parametrize("precision", ["", "--fp16", "--bf16"])
def test_generation_on_a_gpu(command, on_device, speech_data, translator, precision):
    options = "--task leap_speech_to_text --config-yaml config_st.yaml --gen-subset tst-COMMON_st --num-workers 0"
    fixed = (speech_data[0], "--user-dir", PLUGIN, *options.split(), "--path", translator, "--max-len-b", 30)
    cpu, gpu = (
        re.findall(r"^D-(\d+)\t\S+\t(.*)$", command("fairseq-generate", *fixed, *where), re.M)
        for where in (["--cpu"], [*precision.split(), *on_device])
    )
    assert len(cpu) == 5 and gpu == cpu


@pytest.mark.parametrize("task", ["listops", "retrieval"])
@pytest.mark.parametrize("precision", ["", "--fp16", "--bf16"])
def test_long_range_arena_trains(train, tmp_path, task, precision):
    data = write_lra(tmp_path / "data", task)
    expected, _ = train(data, LRA, 1, tmp_path / "cpu", where=["--cpu"])
    losses, _ = train(data, f"{LRA} {precision}", 1, tmp_path / "gpu")
    assert close(losses, expected, precision)
