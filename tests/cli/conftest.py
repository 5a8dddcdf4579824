"""A run of SimulEval, a model and a recording, for command lines."""

import json
import logging
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from exported_model import write_model

HYPOTHESIS = "ich möchte am Montag nach Köln fahren"
DELAYS = [840.0, 1120.0, 1400.0, 1680.0, 1960.0, 2240.0, 2500.0]


@pytest.fixture(autouse=True)
def process_as_it_was():
    """A command has its process to itself; run within this one, it must not leave what it sets to the next test."""
    names = ("fairseq", "leap_fairseq.serve", "matplotlib")
    levels, handler = {name: logging.getLogger(name).level for name in names}, signal.getsignal(signal.SIGTERM)
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="session")
def simuleval_run(tmp_path_factory):
    """The folder of a run of three sentences, each translated as its reference."""
    folder = tmp_path_factory.mktemp("run")
    fields = {"prediction": HYPOTHESIS, "reference": HYPOTHESIS, "delays": DELAYS, "source_length": 2500.0}
    fields["elapsed"] = [delay + 50 for delay in DELAYS]
    lines = [json.dumps({"index": index, **fields}) + "\n" for index in range(3)]
    (folder / "instances.log").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The folder of a translator with random weights."""
    return write_model(tmp_path_factory.mktemp("exported") / "model")


@pytest.fixture(scope="session")
def wav(tmp_path_factory):
    """1.5 s of noise, in two channels of 8 kHz."""
    path = tmp_path_factory.mktemp("wav") / "speech.wav"
    soundfile.write(path, np.random.default_rng(0).standard_normal((12000, 2)) * 0.1, 8000)
    return path


@pytest.fixture
def start(tmp_path):
    """A function: runs Python with these words in a process of its own, elsewhere; returns how it ended."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment["OMP_NUM_THREADS"] = "1"

    def run(*words, code=0):
        words = [sys.executable, *map(str, words)]
        ended = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended

    return run
