"""A trained translator as one folder, and one line that translates a file or a pipe."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from preloading import ROOT

from leap_fairseq.models import load_translator

SCRIPTS = Path(sys.executable).parent
EXPORT = ROOT / "scripts/simulst/export.py"


@pytest.fixture(scope="module")
def folder(run_forked, simul_checkpoint, tmp_path_factory):
    """The exported model, after its training data has moved away."""
    made = tmp_path_factory.mktemp("exported") / "model"
    run_forked(EXPORT, simul_checkpoint, made)
    moved = made.parent / "moved"
    made.rename(moved)
    return moved


def words_of(output):
    """(seconds, word) of each line."""
    return [(float(line.split()[0]), line.split()[1]) for line in output.splitlines()]


@pytest.fixture(scope="module")
def translate(environment, elsewhere, commands):
    """A function: starts the command."""

    def start(*args, folder=commands, **streams):
        command = [folder / "python", "-m", "leap_fairseq", "translate", *map(str, args)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        return subprocess.Popen(command, cwd=elsewhere, env={**environment, "PYTHONWARNINGS": "ignore"}, **pipes)

    return start


@pytest.fixture(scope="module")
def of_file(translate, folder, wavs):
    """What the command writes for a recording, in a process of its own."""
    process = translate(wavs[0][0], "--model", folder, folder=SCRIPTS)
    output, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


def test_the_words_are_those_of_the_translator(of_file, simul_checkpoint, wavs):
    stream = load_translator(simul_checkpoint)
    samples, rate = soundfile.read(wavs[0][0], dtype="float32")
    expected = []
    for first in range(0, len(samples), rate * 160 // 1000):
        expected += stream.push(samples[first : first + rate * 160 // 1000], rate)
    expected += stream.finish()
    assert words_of(of_file) == [(round(word.delay / 1000, 2), word.text) for word in expected] and expected


def test_piped_pcm_gives_the_same_words_and_the_first_before_the_end(translate, folder, wavs, of_file):
    samples, _ = soundfile.read(wavs[0][0], dtype="int16")
    pcm = samples.astype("<i2").tobytes()
    process = translate("-", "--model", folder, stdin=subprocess.PIPE)
    # Up to the end of the segment in which the first word is known; the rest is not there yet.
    first = words_of(of_file)[0]
    heard = int(first[0] * 16000) * 2
    assert heard < len(pcm)
    process.stdin.write(pcm[:heard])
    process.stdin.flush()
    line = process.stdout.readline().decode()
    assert words_of(line) == [first]
    rest, _ = process.communicate(pcm[heard:])
    assert process.returncode == 0 and line + rest.decode() == of_file


def test_silence_is_not_translated_and_stderr_says_so(translate, folder):
    for options, silent in (((), True), (("--no-speech-gate",), False)):
        process = translate("-", "--model", folder, "--waitk-lagging", 1, *options, stdin=subprocess.PIPE)
        output, errors = process.communicate(bytes(64000))
        assert process.returncode == 0 and (not output) == silent
        assert ("WARNING: no speech in 2.00 s of sound, nothing is written" in errors.decode()) == silent


def test_the_folder_holds_no_path_of_training(folder, simul_checkpoint, speech_data):
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["checkpoint.pt", "config.yaml", "gcmvn.npz", "spm_unigram150_st.model", "spm_unigram150_st.txt"]
    for path in (folder / "config.yaml", folder / "checkpoint.pt"):
        assert str(speech_data).encode() not in path.read_bytes()
    assert os.path.getsize(folder / "checkpoint.pt") < 0.5 * os.path.getsize(simul_checkpoint)


def test_exporting_again_replaces_it_and_nothing_else(run_forked, simul_checkpoint, folder, tmp_path):
    again = shutil.copytree(folder, tmp_path / "again")
    run_forked(EXPORT, simul_checkpoint, again)
    assert (again / "config.yaml").read_bytes() == (folder / "config.yaml").read_bytes()
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    assert "holds something that is not" in run_forked(EXPORT, simul_checkpoint, tmp_path, code=1).reason
    assert (tmp_path / "notes.txt").is_file()


def test_what_cannot_be_exported_is_named(run_forked, offline_checkpoint, simul_checkpoint, tmp_path):
    assert "no read/write policy" in run_forked(EXPORT, offline_checkpoint, tmp_path / "x", code=1).reason
    assert "no checkpoint at" in run_forked(EXPORT, tmp_path / "none.pt", tmp_path / "x", code=1).reason
    options = ("--data-bin", tmp_path)
    assert "no data YAML at" in run_forked(EXPORT, simul_checkpoint, tmp_path / "x", *options, code=1).reason
    assert not (tmp_path / "x").exists()


def test_a_broken_sample_at_the_end_is_said(translate, folder):
    process = translate("-", "--channels", 2, "--model", folder, stdin=subprocess.PIPE)
    output, errors = process.communicate(bytes(6))
    assert process.returncode == 0 and not output
    assert "WARNING: the PCM ends inside of a sample, 2 bytes of 4" in errors.decode()


@pytest.mark.parametrize(
    "args, message",
    [
        (("missing.wav",), "cannot read audio file missing.wav"),
        (("WAV", "--segment-ms", 0), "a segment is 0 ms, but must be above 0 (--segment-ms)"),
    ],
)
def test_errors_are_one_line(translate, folder, wavs, args, message):
    given = [wavs[0][0] if arg == "WAV" else arg for arg in args]
    process = translate(*given, "--model", folder)
    _, errors = process.communicate()
    lines = [line for line in errors.decode().splitlines() if line]
    assert process.returncode == 1 and lines[-1].startswith("error: ") and message in lines[-1]
    assert not any("Traceback" in line for line in lines)
