"""A small trained translator, and a sentence to try it on; README.md beside this file is its card.

leap-fairseq translate --example
leap_fairseq.models.load_translator(leap_fairseq.example.MODEL)
"""

from pathlib import Path

_FOLDER = Path(__file__).parent

MODEL = _FOLDER / "model"
"""Folder of `leap-fairseq export`, for `load_translator` and every --model."""

RECORDING = _FOLDER / "speech.flac"
"""A sentence of its test set."""

TRANSCRIPT = "Could you bring me six cups of coffee and the bill, please?"
"""What is said in it."""

CARD = _FOLDER / "README.md"
"""What it was trained on and how, its scores and its licence; what programs may read of it is YAML at its top."""

LANGUAGE = "de"
"""Of its translations."""
