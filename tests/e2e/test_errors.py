"""Wrong input ends with one line that says what was given, what is allowed and what to do; audio of any kind works."""

import shutil

import numpy as np
import pytest
import soundfile
import soxr
import yaml

WAITK = "leap_convtransformer_simul_trans_tiny"
KINDS = ("leap", "cosformer", "relu", "elu", "hedgehog", "leap_hedgehog", "contrast", "slots", "softmax")


def check(outcome, *parts):
    """The last line holds these parts, and is the whole message: an error of fairseq's parser, or an exception."""
    assert all(str(part) in outcome.reason for part in parts), outcome.reason
    assert outcome.reason.startswith(("fairseq-", "simuleval: error")) or outcome.reason.split(":")[0].endswith("Error")


@pytest.mark.parametrize(
    "options, parts",
    [
        (("--decoder-self-attention", "linear"), ("--decoder-self-attention", "'linear'", *KINDS)),
        (("--encoder-self-attention", "linear"), ("--encoder-self-attention", "'linear'", *KINDS)),
        (("--decoder-cross-attention", "linear"), ("--decoder-cross-attention", "'linear'", *KINDS)),
        (("--waitk-lagging", "0"), ("--waitk-lagging '0'", "at least 1")),
        (("--waitk-lagging", "3-1"), ("--waitk-lagging '3-1'", "1-7")),
        (("--waitk-lagging", "some"), ("--waitk-lagging 'some'", "at least 1")),
        (("--fixed-pre-decision-ratio", "0"), ("ratio 0", "at least 1", "--fixed-pre-decision-ratio")),
        (("--leap-factor", "3"), ("leap_factor 3", "head dimension 32", "--leap-factor", "[1, 2, 4, 8, 16, 32]")),
        (("--normalizer-floor", "0"), ("normalizer_floor 0", "above 0", "--normalizer-floor")),
        (("--config-yaml", "missing.yaml"), ("no data YAML", "missing.yaml", "--config-yaml")),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") and len(value) == 2 else "",
)
def test_training(run_forked, speech_options, tmp_path, options, parts):
    check(run_forked("fairseq-train", *speech_options(WAITK, tmp_path, 1, *options), code=None), *parts)


@pytest.mark.parametrize(
    "options, parts",
    [
        (("--decoder-self-attention", "linear"), ("--decoder-self-attention", "'linear'", *KINDS)),
        (("--leap-factor", "5"), ("leap_factor 5", "head dimension 32", "--leap-factor")),
    ],
    ids=["kind", "factor"],
)
def test_training_of_a_language_model(run_forked, lm_options, tmp_path, options, parts):
    check(run_forked("fairseq-train", *lm_options(tmp_path, 1, *options), code=None), *parts)


def test_error_of_a_process_of_its_own(run, speech_options, tmp_path):
    """Nothing of ours follows the line when Python ends."""
    outcome = run("fairseq-train", *speech_options(WAITK, tmp_path, 1, "--waitk-lagging", "0"), code=1)
    check(outcome, "--waitk-lagging '0'", "at least 1")


class TestAgent:
    @pytest.fixture
    def refusal(self, run_forked, agent_options, simul_checkpoint, wavs):
        def start(*parts, checkpoint=simul_checkpoint, recordings=wavs[:1], options=()):
            check(run_forked("simuleval", *agent_options(checkpoint, recordings, *options)[0], code=None), *parts)

        return start

    def test_options(self, refusal, tmp_path):
        refusal("--test-waitk-lagging", "'0'", "at least 1", options=("--test-waitk-lagging", 0))
        refusal("no data YAML", "missing.yaml", "--config-yaml", options=("--config-yaml", "missing.yaml"))
        refusal("no data YAML", tmp_path, "--data-bin", options=("--data-bin", tmp_path))

    def test_utterance_cmvn(self, refusal, speech_data, tmp_path):
        path = shutil.copytree(speech_data, tmp_path / "data") / "config_st.yaml"
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        config["feature_transforms"] = {"*": ["utterance_cmvn"]}
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        refusal("utterance_cmvn", "cannot stream", "global_cmvn", options=("--data-bin", path.parent))

    def test_dictionary_of_another_size(self, refusal, other_speech_data):
        refusal("dictionary of 150", "has 60", "trained on", options=("--data-bin", other_speech_data))

    def test_other_models(self, refusal, lm_checkpoint, offline_checkpoint):
        refusal("leap_transformer_lm_tiny", "no read/write policy", "--arch", checkpoint=lm_checkpoint)
        refusal("leap_convtransformer_tiny", "no read/write policy", "--arch", checkpoint=offline_checkpoint)

    def test_missing_recording(self, refusal, wavs, tmp_path):
        recordings = [wavs[0], (tmp_path / "missing.wav", "Nein."), wavs[1]]
        refusal("missing.wav", "line 2", "--source", recordings=recordings)

    def test_missing_checkpoint(self, refusal, tmp_path):
        refusal("no checkpoint", tmp_path / "missing.pt", "fairseq-train", checkpoint=tmp_path / "missing.pt")


def test_generate_with_a_dictionary_of_another_size(run_forked, generate_options, simul_checkpoint, other_speech_data):
    outcome = run_forked("fairseq-generate", *generate_options(simul_checkpoint, data=other_speech_data), code=1)
    check(outcome, "dictionary of 150", "60")


class TestDamagedCheckpoint:
    @pytest.fixture(params=["truncated", "empty", "text"])
    def damaged(self, request, simul_checkpoint, tmp_path):
        whole = simul_checkpoint.read_bytes()
        content = {"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"version https://example.org\n"}
        path = tmp_path / "checkpoint_last.pt"
        path.write_bytes(content[request.param])
        return path

    def test_is_named(self, run_forked, damaged, generate_options, agent_options, speech_options, wavs):
        for command, options in (
            ("fairseq-generate", generate_options(damaged)),
            ("simuleval", agent_options(damaged, wavs[:1])[0]),
            ("fairseq-train", speech_options(WAITK, damaged.parent, 50)),
        ):
            outcome = run_forked(command, *options, code=1)
            check(outcome, damaged.name, "not a whole checkpoint", "copy it again")


class TestAudio:
    @pytest.fixture(scope="class")
    def mono(self, interpret, simul_checkpoint, wavs):
        return interpret(simul_checkpoint, wavs[:1])[0]

    def other(self, wavs, folder, change, rate):
        samples, _ = soundfile.read(wavs[0][0], dtype="float32")
        soundfile.write(folder / "other.wav", change(samples), rate, subtype="FLOAT")
        return [(folder / "other.wav", wavs[0][1])]

    def test_stereo_copies_are_the_mono_file(self, interpret, simul_checkpoint, wavs, mono, tmp_path):
        stereo = self.other(wavs, tmp_path, lambda x: np.stack([x, x], axis=1), 16000)
        (line,) = interpret(simul_checkpoint, stereo)
        assert (line["prediction"], line["delays"]) == (mono["prediction"], mono["delays"])

    def test_another_rate(self, interpret, simul_checkpoint, wavs, mono, tmp_path):
        fast = self.other(wavs, tmp_path, lambda x: soxr.resample(np.stack([x, x], axis=1), 16000, 48000), 48000)
        (line,) = interpret(simul_checkpoint, fast)
        assert line["source_length"] == pytest.approx(mono["source_length"], abs=1)
        assert line["prediction"] and line["delays"] == sorted(line["delays"])
        assert line["delays"][-1] <= line["source_length"]
