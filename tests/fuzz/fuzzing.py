"""Fuzzing of a reader by Atheris, guided by the coverage of what reads the files."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import atheris
import h5py  # noqa: F401  large, and of no interest: imported before what is instrumented
import spacy  # noqa: F401
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # for helpers

INSTRUMENTED = ["spacy_elmo", "pyfive", "json", "zipfile"]


def fuzz(name: str) -> None:
    """Fuzz a reader, with libFuzzer's arguments from the command line."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("-artifact_prefix", default="")
    arguments, _ = parser.parse_known_args()
    with atheris.instrument_imports(include=INSTRUMENTED):
        from readers import read

    def test_one_input(data: bytes) -> None:
        try:
            read(name, data)
        except BaseException:
            # libFuzzer only writes inputs that end the process by a signal.
            digest = hashlib.blake2b(data, digest_size=8).hexdigest()
            Path(f"{arguments.artifact_prefix}{digest}").write_bytes(data)
            raise

    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
