"""The project embed_corpus: text to a Parquet corpus, and its vectors by Ray actors, of
which one is killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, Iterator

import pyarrow.parquet as pq
import pytest
from helpers.project_copies import import_from, refused, script

from spacy_elmo.embedding.parquet_corpus import list_row_groups, open_output
from spacy_elmo.text.tokenization import Tokenization

PROJECT = Path(__file__).parents[2] / "projects" / "embed_corpus"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from import_from(PROJECT / "scripts", monkeypatch)


def test_text_becomes_row_groups_of_documents(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\none line\nanother\n\n\nb\n\nc\n", encoding="utf8")
    target = tmp_path / "corpus" / "a.parquet"
    output = script(PROJECT, "corpus", text, target, "--documents", 2)
    assert "3 documents" in output
    assert pq.read_table(target)["text"].to_pylist() == ["one line\nanother", "b", "c"]
    assert [group.n_documents for group in list_row_groups(target, "text")] == [2, 1]


def test_missing_text_is_refused(tmp_path: Path) -> None:
    arguments = (tmp_path / "none.txt", tmp_path / "a.parquet")
    assert "found none" in refused(PROJECT, "corpus", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_ray_only_starts_if_something_is_left(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="needs Ray: pip install 'spacy-elmo[ray]'")
    (tmp_path / "text.txt").write_text("one\n", encoding="utf8")
    source, output = tmp_path / "a.parquet", tmp_path / "out"
    script(PROJECT, "corpus", tmp_path / "text.txt", source)

    def init(**_: object) -> None:
        raise ValueError("Ray starts")

    monkeypatch.setattr(ray, "init", init)
    arguments = (source, output, "--model", weights)
    assert "Ray starts" in refused(PROJECT, "embed", *arguments)
    (group,) = list_row_groups(source.resolve(), "text")
    group.output(output).touch()
    assert "0 sentences" in script(PROJECT, "embed", *arguments)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Forty row groups, of which each takes a while."""
    text = tmp_path / "text.txt"
    text.write_text("a few more words of text\n\n" * 40_000, encoding="utf8")
    target = tmp_path / "corpus.parquet"
    script(PROJECT, "corpus", text, target, "--documents", 1000)
    return target


@pytest.mark.slow
def test_an_actor_is_killed(corpus: Path, weights: Path, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="needs Ray: pip install 'spacy-elmo[ray]'")
    import embed  # type: ignore[import-not-found]

    folder = tmp_path / "out"
    groups = list_row_groups(corpus, "text")
    settings: dict[str, Any] = {
        "weights": [str(weights)],
        "layers": "top",
        "mix": None,
        "n_threads": 1,
        "gpu": False,
        "tokenization": Tokenization(),
        "folder": folder,
    }
    ray.cloudpickle.register_pickle_by_value(embed)
    ray.init(address="local", num_cpus=2)
    try:
        with open_output(folder, groups, {}) as remaining:
            rows = embed.embed(remaining, settings, 2, num_cpus=1)
            first = next(rows)
            os.kill(first["process"], signal.SIGKILL)
            rest = list(rows)
            assert not any(path.suffix == ".part" for path in folder.iterdir())
        numbers = sorted(row["number"] for row in (first, *rest))
        assert numbers == list(range(40))
        # Two, and the one that Ray has started instead of the first.
        assert len({row["process"] for row in (first, *rest)}) == 3
        found = pq.read_table(folder, columns=["document", "words", "vectors"])
        assert found["document"].to_pylist() == list(range(40_000))
        assert set(map(len, found["words"].to_pylist())) == {6}
        assert set(map(len, found["vectors"].to_pylist())) == {6}
        lost = groups[7].output(folder)
        lost.unlink()
        with open_output(folder, groups, {}) as remaining:
            (row,) = embed.embed(remaining, settings, 1, num_cpus=1)
        assert row["number"] == 7
        assert pq.read_table(lost)["document"].to_pylist() == list(range(7000, 8000))
    finally:
        ray.shutdown()
