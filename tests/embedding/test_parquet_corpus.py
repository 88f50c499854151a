"""Row groups of a Parquet corpus, embedded in any order and again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.commands import complete
from helpers.kills import kill_everywhere

from spacy_elmo import BiLM
from spacy_elmo.embedding.columns import select_columns
from spacy_elmo.embedding.parquet_corpus import (
    RowGroup,
    RowGroupEmbedder,
    list_row_groups,
    open_output,
)
from spacy_elmo.text.tokenization import Tokenization

TEXTS = ["She sat .\n\n Rain ! ", "", "a bank", "one\u2028two", "It rains .", "So ?"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Six documents in four row groups of two files."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    pq.write_table(pa.table({"text": TEXTS[:4]}), folder / "a.parquet", 2)
    pq.write_table(pa.table({"text": TEXTS[4:]}), folder / "b.parquet", 1)
    return folder


def embedder(folder: Path, bilm: BiLM, **options: Any) -> RowGroupEmbedder:
    columns = select_columns("0,2", None, 3)
    return RowGroupEmbedder(folder, bilm, Tokenization(), columns, **options)


def test_the_same_rows_as_elmo_embed(
    corpus: Path, weights: Path, tiny_bilm: BiLM, tmp_path: Path
) -> None:
    lines = [json.dumps({"text": text}) + "\n" for text in TEXTS]
    (tmp_path / "text.jsonl").write_text("".join(lines), encoding="utf8")
    options = ("-m", weights, "--layers", "0,2", "--tokenizer", "whitespace")
    complete("embed", tmp_path / "text.jsonl", tmp_path / "expected", *options)
    expected = pq.read_table(tmp_path / "expected")
    groups = list_row_groups(corpus, "text")
    assert [group.n_documents for group in groups] == [2, 2, 1, 1]
    folder = tmp_path / "out"
    with open_output(folder, groups, {}) as remaining:
        embed = embedder(folder, tiny_bilm)
        for group in reversed(remaining):
            embed(group)
    found = pq.read_table(folder)
    assert found.schema.equals(expected.schema)
    for name in ("document", "sentence", "words"):
        assert found[name].equals(expected[name]), name
    for name in ("layer_0", "layer_2"):
        for one, other in zip(found[name].to_pylist(), expected[name].to_pylist()):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_killed_at_any_moment(corpus: Path, tiny_bilm: BiLM, tmp_path: Path) -> None:
    groups = list_row_groups(corpus, "text")

    def run_again(folder: Path) -> None:
        with open_output(folder, groups, {}) as remaining:
            embed = embedder(folder, tiny_bilm)
            for group in remaining:
                embed(group)

    run_again(tmp_path / "whole")  # imports what each process needs
    folder = tmp_path / "out"
    killed = kill_everywhere(lambda: run_again(folder))
    n_kills = sum(not finished for finished in killed)
    assert n_kills > 4
    table = pq.read_table(folder)
    assert table["document"].to_pylist() == [0, 0, 2, 3, 4, 5]
    assert table["sentence"].to_pylist() == [0, 1, 0, 0, 0, 0]
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".lock") == [
        ".lock",
        "_state.json",
        *(f"part-{number:06d}.parquet" for number in range(4)),
    ]


def test_a_row_group_without_words(tmp_path: Path, tiny_bilm: BiLM) -> None:
    table = pa.table({"text": pa.array(["", None], pa.large_string())})
    pq.write_table(table, tmp_path / "a.parquet")
    (group,) = list_row_groups(tmp_path / "a.parquet", "text")
    (tmp_path / "out").mkdir()
    written = embedder(tmp_path / "out", tiny_bilm, dtype="float16")(group)
    assert written == (0, 0)
    found = pq.read_table(tmp_path / "out")
    assert found.num_rows == 0
    assert found.column_names == ["document", "sentence", "words", "layer_0", "layer_2"]


def test_other_settings_corpora_and_folders_are_refused(
    corpus: Path, tmp_path: Path
) -> None:
    groups = list_row_groups(corpus, "text")
    folder = tmp_path / "out"

    def open_again(groups: list[RowGroup], **settings: str) -> list[RowGroup]:
        with open_output(folder, groups, settings) as remaining:
            return remaining

    assert open_again(groups, dtype="float16") == groups
    groups[0].output(folder).touch()
    assert open_again(groups, dtype="float16") == groups[1:]
    with pytest.raises(ValueError, match=r"found dtype = float16 \(now float32\)"):
        open_again(groups, dtype="float32")
    with pytest.raises(ValueError, match="found corpus = "):
        open_again(groups[1:], dtype="float16")
    (folder / "_state.json").write_text("{", encoding="utf8")
    with pytest.raises(ValueError, match="an earlier run wrote"):
        open_again(groups, dtype="float16")
    (folder / "_state.json").unlink()
    with pytest.raises(ValueError, match="other files"):
        open_again(groups, dtype="float16")


def test_folders_named_as_files(corpus: Path) -> None:
    """As Spark, Dask and `elmo embed` write them."""
    expected = len(list_row_groups(corpus, "text"))
    (corpus / "c.parquet").mkdir()
    (corpus / "a.parquet").rename(corpus / "c.parquet" / "part-0.parquet")
    groups = list_row_groups(corpus, "text")
    assert len(groups) == expected
    assert groups[-1].path.endswith("part-0.parquet")


def test_bad_corpora_are_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"column .body. .* found text \(string\)"):
        list_row_groups(corpus, "body")
    with pytest.raises(ValueError, match="found none"):
        list_row_groups(tmp_path / "nowhere", "text")
    pq.write_table(pa.table({"text": [[1]]}), tmp_path / "lists.parquet")
    with pytest.raises(ValueError, match="of strings"):
        list_row_groups(tmp_path / "lists.parquet", "text")
    (corpus / "c.parquet").write_bytes(b"PAR1 and more")
    with pytest.raises(ValueError, match=r"c\.parquet: expected a Parquet file"):
        list_row_groups(corpus, "text")
