"""Files of scores, written in parts."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from spacy_elmo.resumable_output import open_parts
from spacy_elmo.scoring import score_file
from spacy_elmo.scoring.score_file import COLUMNS, write_scores
from spacy_elmo.text.documents import SentenceCounter, identify

from .test_scorer import SENTENCES, make_scorer


def write(output: Path, n_copies: int, words_per_part: int) -> int:
    counter = SentenceCounter()
    sentences = [counter.add(words) for words in SENTENCES * n_copies if words]
    with open_parts(output, {}, identify) as parts:
        return write_scores(
            output, parts, make_scorer(), sentences, words_per_part=words_per_part
        )


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_parts_do_not_change_the_output(tmp_path: Path, suffix: str) -> None:
    whole, parts = tmp_path / f"whole{suffix}", tmp_path / f"parts{suffix}"
    assert write(whole, 5, 10_000) == write(parts, 5, 20) == 20
    columns = [line.split(",")[:4] for line in whole.read_text().splitlines()]
    assert columns == [line.split(",")[:4] for line in parts.read_text().splitlines()]


def test_parquet_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are joined to row groups that are large enough to read fast."""
    monkeypatch.setattr(score_file, "_ROWS_PER_GROUP", 40)
    output = tmp_path / "out.parquet"
    write(output, 7, 10)
    file = pq.ParquetFile(output)
    rows = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert sum(rows) == 16 * 7
    assert all(n_rows >= 40 for n_rows in rows[:-1])
    assert file.schema_arrow.names == list(COLUMNS)
    assert file.read()["index"].to_pylist() == list(range(16 * 7))
