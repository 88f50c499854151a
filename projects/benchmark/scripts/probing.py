"""Readers and probes of projects/probing."""

import sys

from measuring import PROJECT

# Last: scripts of the same name here come first.
sys.path.append(str(PROJECT.parent / "probing" / "scripts"))

from probe import MIX, Examples, Probe, fit, predict
from wic import cross_validate, read_pairs

__all__ = ["MIX", "Examples", "Probe", "cross_validate", "fit", "predict", "read_pairs"]
