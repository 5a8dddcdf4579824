"""The same utterance in other files, through SimulEval: the same words, or a refusal that names the file."""

import numpy as np
import pytest
import soundfile
import soxr

from leap_fairseq.scoring.units import KEPT_SPACE


@pytest.fixture(scope="module")
def original(wavs):
    return wavs[0]


@pytest.fixture(scope="module")
def expected(interpret, simul_checkpoint, original):
    return interpret(simul_checkpoint, [original])[0]


@pytest.mark.parametrize(
    "name, rate, channels, subtype",
    [
        ("stereo.wav", 16000, 2, "PCM_16"),
        ("mono.flac", 16000, 1, "PCM_16"),
        ("deep.wav", 16000, 1, "PCM_24"),
        ("float.wav", 16000, 1, "FLOAT"),
        ("stereo48.flac", 48000, 2, "PCM_24"),
        ("mono44.wav", 44100, 1, "PCM_24"),
    ],
)
def test_another_file_gives_the_same_words(
    interpret, simul_checkpoint, original, expected, tmp_path, name, rate, channels, subtype
):
    samples, own_rate = soundfile.read(original[0], dtype="float32")
    if rate != own_rate:
        samples = soxr.resample(samples, own_rate, rate)
    soundfile.write(tmp_path / name, np.stack([samples] * channels, 1), rate, subtype=subtype)
    line = interpret(simul_checkpoint, [(tmp_path / name, original[1])])[0]
    assert line["prediction"] == expected["prediction"]
    assert len(line["delays"]) == len(expected["delays"])
    # The last ones are the length of the recording, which may be a sample longer.
    assert all(abs(a - b) < 1 for a, b in zip(line["delays"], expected["delays"]))


@pytest.mark.parametrize("segment", [10, 70, 1000])
def test_another_segment_gives_the_same_words_not_sooner(interpret, simul_checkpoint, original, expected, segment):
    line = interpret(simul_checkpoint, [original], "--segment-ms", segment)[0]
    assert line["prediction"] == expected["prediction"]
    assert all(abs(a - b) < max(segment, 160) for a, b in zip(line["delays"], expected["delays"]))


@pytest.mark.parametrize("options", [("--beam", 2), ("--segment-ms", 0)])
def test_what_cannot_be_is_refused(run_forked, agent_options, simul_checkpoint, original, options):
    arguments, _ = agent_options(simul_checkpoint, [original], *options)
    assert options[0] in run_forked("simuleval", *arguments, code=2).reason


def test_half_precision_and_an_exported_folder(run_forked, interpret, simul_checkpoint, original, expected, tmp_path):
    from preloading import ROOT

    run_forked(ROOT / "scripts/simulst/export.py", simul_checkpoint, tmp_path / "model")
    line = interpret(tmp_path / "model", [original])[0]
    assert (line["prediction"], line["delays"]) == (expected["prediction"], expected["delays"])
    assert interpret(tmp_path / "model", [original], "--bf16")[0]["prediction"]
    characters = interpret(tmp_path / "model", [original], "--eval-latency-unit", "char")[0]
    assert characters["prediction"].replace(KEPT_SPACE, " ") == expected["prediction"]
    assert characters["delays"][0] <= expected["delays"][0]
