"""A corpus in parts: killed at any moment, nothing is lost or doubled."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.kills import kill_everywhere

from spacy_elmo import BiLM
from spacy_elmo.embedding.columns import select_columns
from spacy_elmo.embedding.corpus import write_parts
from spacy_elmo.parts import open_dataset
from spacy_elmo.text.documents import DocumentSentence, identify

WORDS = ["a", "few", "words", "of", "a", "short", "text"]


def sentences(n: int) -> list[DocumentSentence]:
    return [
        DocumentSentence(number, 0, list(islice(cycle(WORDS), 1 + number % 9)), [0])
        for number in range(n)
    ]


def write(folder: Path, bilm: BiLM, n: int, **settings: object) -> None:
    columns = select_columns("top", None, 3)
    with open_dataset(folder, settings, identify, ".parquet") as parts:
        write_parts(
            parts, bilm, sentences(n), columns, part_bytes=1000, batch_tokens=20
        )
        parts.finish()


def test_killed_at_any_moment(tiny_bilm: BiLM, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write(tmp_path / "whole", tiny_bilm, 40)
    expected = pq.read_table(tmp_path / "whole")

    def run_again() -> None:
        with suppress(FileExistsError):  # raised if it is complete
            write(folder, tiny_bilm, 40)

    n_kills = sum(not finished for finished in kill_everywhere(run_again))
    assert n_kills > 10
    found = pq.read_table(folder)
    assert found["document"].to_pylist() == list(range(40))
    assert found["words"].equals(expected["words"])
    for one, other in zip(
        found["vectors"].to_pylist(), expected["vectors"].to_pylist()
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_second_writer_is_refused(tiny_bilm: BiLM, tmp_path: Path) -> None:
    columns = select_columns("top", None, 3)
    with open_dataset(tmp_path / "out", {}, identify, ".parquet") as parts:
        with pytest.raises(OSError, match="is using it"):
            write(tmp_path / "out", tiny_bilm, 4)
        write_parts(parts, tiny_bilm, sentences(4), columns)
        parts.finish()
    assert pq.read_table(tmp_path / "out").num_rows == 4


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(weights: Path, tmp_path: Path) -> None:
    code = """
import resource, sys
from spacy.cli._util import app
from spacy_elmo.cli import elmo_cli
try:
    elmo_cli([*sys.argv[1:], "--model", "WEIGHTS"])
except SystemExit as status:
    assert not status.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
    script = code.replace("WEIGHTS", str(weights))
    peaks = []
    for n_lines in (20_000, 200_000):
        text = tmp_path / f"{n_lines}.txt"
        text.write_text("a few more words of text\n" * n_lines, encoding="utf8")
        process = subprocess.run(
            [sys.executable, "-c", script, "embed", text, tmp_path / str(n_lines)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(process.stdout.split()[-1]))
    assert peaks[1] < 1.3 * peaks[0] + 150
