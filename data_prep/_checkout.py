"""Lets the scripts of this folder run from a checkout without installation: import it before `leap_fairseq`."""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("leap_fairseq") is None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
