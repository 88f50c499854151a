"""A corpus in parts: killed at any moment, nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path
from typing import Iterable, Iterator

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.kills import kill_everywhere

from spacy_elmo import BiLM
from spacy_elmo.embedding.columns import select_columns
from spacy_elmo.embedding.output import open_vectors, write_vectors
from spacy_elmo.files import part_path
from spacy_elmo.text.documents import DocumentSentence

WORDS = ["a", "few", "words", "of", "a", "short", "text"]


def sentences(n: int) -> list[DocumentSentence]:
    return [
        DocumentSentence(number, 0, list(islice(cycle(WORDS), 1 + number % 9)), [0])
        for number in range(n)
    ]


def write(output: Path, bilm: BiLM, n: int) -> None:
    write_sentences(output, bilm, sentences(n))


def write_sentences(
    output: Path, bilm: BiLM, source: Iterable[DocumentSentence]
) -> None:
    columns = select_columns("top", None, 3)
    options = {"part_bytes": 800, "batch_tokens": 20}
    with open_vectors(output, {}) as parts:
        write_vectors(parts, output, bilm, source, columns, **options)


def read(output: Path) -> tuple[list[list[str]], np.ndarray]:
    """The words, and all vectors."""
    if output.suffix == ".npz":
        with np.load(output) as arrays:
            words = arrays["words"].tobytes().decode("utf8").split("\n")
            ends = np.cumsum(arrays["lengths"]).tolist()
            split = [words[i:j] for i, j in zip([0, *ends], ends)]
            return split, arrays["vectors"]
    if output.suffix == ".h5":
        with h5py.File(output) as file:
            datasets = [file[str(number)] for number in range(len(file) - 1)]
            split = [json.loads(dataset.attrs["words"]) for dataset in datasets]
            return split, np.concatenate([dataset[:] for dataset in datasets])
    table = pq.read_table(output)
    assert table["document"].to_pylist() == list(range(table.num_rows))
    return table["words"].to_pylist(), np.concatenate(table["vectors"].to_pylist())


@pytest.mark.parametrize("name", ["v", "v.h5", "v.npz"])
def test_killed_at_any_moment(tiny_bilm: BiLM, tmp_path: Path, name: str) -> None:
    output = tmp_path / name
    write(tmp_path / "whole" / name, tiny_bilm, 9)  # imports what each process needs

    def run_again() -> None:
        with suppress(FileExistsError):  # raised if it is complete
            write(output, tiny_bilm, 9)

    n_kills = sum(not finished for finished in kill_everywhere(run_again))
    assert n_kills > 5
    words, vectors = read(output)
    assert words == [sentence.words for sentence in sentences(9)]
    expected = np.concatenate([layers[2] for layers in tiny_bilm.encode(words)])
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_the_temporary_file_of_a_killed_process(
    tiny_bilm: BiLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers of the folder skip it, and the next run removes it, on any host."""
    output = tmp_path / "v"

    def interrupted() -> Iterator[DocumentSentence]:
        yield from sentences(80)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sentences(output, tiny_bilm, interrupted())
    first = output / "part-000000.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(platform, "node", lambda: "another host")
        left = part_path(output / "part-000099.parquet")
    for content in b"", first.read_bytes():
        left.write_bytes(content)
        assert 0 < len(read(output)[0]) < 99
    write(output, tiny_bilm, 99)
    assert not left.exists()
    assert len(read(output)[0]) == 99


def test_a_second_writer_is_refused(tiny_bilm: BiLM, tmp_path: Path) -> None:
    columns = select_columns("top", None, 3)
    output = tmp_path / "out"
    with open_vectors(output, {}) as parts:
        with pytest.raises(OSError, match="is using it"):
            write(output, tiny_bilm, 4)
        write_vectors(parts, output, tiny_bilm, sentences(4), columns)
    assert pq.read_table(tmp_path / "out").num_rows == 4


MEMORY = """
import resource, sys
from pathlib import Path
from spacy_elmo import load_bilm
from spacy_elmo.embedding.columns import select_columns
from spacy_elmo.embedding.output import open_vectors, write_vectors
from spacy_elmo.text.documents import read_documents
from spacy_elmo.text.tokenization import Tokenization

weights, text, output = sys.argv[1:]
output = Path(output)
text = read_documents(Tokenization(), [text], max_words=100)
columns = select_columns("all", None, 3)
options = {"index": False, "part_bytes": 1 << 20}
with open_vectors(output, {}) as parts:
    write_vectors(parts, output, load_bilm(weights), text, columns, **options)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v", "v.h5", "v.npz"])
def test_memory_does_not_grow_with_the_corpus(
    weights: Path, tmp_path: Path, name: str
) -> None:
    peaks = []
    for n_lines in (20_000, 100_000):  # 23 and 115 parts
        text = tmp_path / f"{n_lines}.txt"
        text.write_text("a few more words of text\n" * n_lines, encoding="utf8")
        output = tmp_path / str(n_lines) / name
        process = subprocess.run(
            [sys.executable, "-c", MEMORY, weights, text, output],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(process.stdout))
    assert peaks[1] < 1.05 * peaks[0], peaks
