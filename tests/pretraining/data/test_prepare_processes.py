"""prepare: several processes, on one text or several, some of which are killed."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.corpora import contents, corpus_refused, documents_of, read_back, write

from spacy_elmo.files import part_path
from spacy_elmo.pretraining.data.prepare import prepare
from spacy_elmo.pretraining.data.shards import Shards
from spacy_elmo.text.tokenization import Tokenization


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    write(tmp_path / "corpus" / "a.txt", "The dog sees a cat .\nIt runs .\n\nWhy .\n")
    return tmp_path / "corpus"


def test_recovers_from_a_killed_process(corpus: Path, tmp_path: Path) -> None:
    """It leaves an unfinished folder, and one without meta.json."""
    whole = prepare([corpus], tmp_path / "cache")
    expected = contents(whole.folder)
    part = part_path(whole.folder)
    shutil.copytree(whole.folder, part)
    (whole.folder / "meta.json").unlink()
    (whole.folder / "tokens-00000.npy").write_bytes(b"half")
    again = prepare([corpus], tmp_path / "cache")
    assert contents(again.folder) == expected
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [again.folder.name]


@pytest.mark.parametrize("moment", ["reading", "replacing"])
def test_another_process_was_faster(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    ready = prepare([corpus], tmp_path / "ready")
    folder = tmp_path / "cache" / ready.folder.name
    replace = os.replace

    def finish(*_: Any) -> None:
        if not folder.exists():
            shutil.copytree(ready.folder, folder)

    def replace_later(source: Any, target: Any) -> None:
        if Path(target) == folder:
            finish()
        replace(source, target)

    if moment == "replacing":
        monkeypatch.setattr(os, "replace", replace_later)
    progress = finish if moment == "reading" else None
    shards = prepare([corpus], tmp_path / "cache", progress=progress)
    assert read_back(shards) == read_back(ready)
    assert contents(shards.folder) == contents(ready.folder)
    assert list((tmp_path / "cache").iterdir()) == [folder]


SCRIPT = """
import sys
from spacy_elmo.pretraining.data.prepare import prepare
from spacy_elmo.text.tokenization import Tokenization

if __name__ == "__main__":
    corpus, cache, tokenizer, n_process = sys.argv[1:]
    calls = []
    shards = prepare(
        [corpus], cache, Tokenization(tokenizer), shard_tokens=200,
        n_process=int(n_process), chunk_chars=100,
        progress=lambda *call: calls.append(call[0]),
    )
    print(len(shards.tokens), sum(calls))
"""


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    (folder / "script.py").write_text(SCRIPT, encoding="utf8")
    command = [sys.executable, folder / "script.py", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


def finished(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output


@pytest.fixture
def longer_corpus(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for name in "ab":
        lines = [
            " ".join(f"w{n}," for n in rng.zipf(1.5, rng.integers(0, 12)))
            for _ in range(300)
        ]
        write(tmp_path / "long" / f"{name}.txt", "\n".join(lines))
    return tmp_path / "long"


@pytest.mark.parametrize(
    "tokenizer", ["whitespace", pytest.param("en", marks=pytest.mark.slow)]
)
def test_number_of_processes_does_not_matter(
    longer_corpus: Path, tmp_path: Path, tokenizer: str
) -> None:
    process = start(tmp_path, longer_corpus, tmp_path / "two", tokenizer, 2)
    one = prepare(
        [longer_corpus],
        tmp_path / "one",
        Tokenization(tokenizer),
        shard_tokens=200,
        chunk_chars=100,
    )
    total = sum(path.stat().st_size for path in longer_corpus.iterdir())
    assert finished(process).split() == [str(len(one.tokens)), str(total)]
    assert len(one.tokens) > 5
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_a_killed_tokenizer_process(longer_corpus: Path, tmp_path: Path) -> None:
    """As the kernel does when it runs out of memory."""

    def kill(*_: int) -> None:
        for process in multiprocessing.active_children():
            process.kill()

    with corpus_refused("2 tokenizer processes", "Lower corpus.n_process"):
        prepare(
            [longer_corpus],
            tmp_path / "cache",
            n_process=2,
            chunk_chars=20,
            progress=kill,
        )
    assert not list((tmp_path / "cache").iterdir())


def test_two_processes_prepare_the_same_text(
    longer_corpus: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    processes = [start(tmp_path, longer_corpus, cache, "whitespace", 1) for _ in "12"]
    outputs = [finished(process).split()[0] for process in processes]
    assert outputs[0] == outputs[1]
    [folder] = cache.iterdir()
    assert len(Shards(folder).tokens) == int(outputs[0])
    texts = [path.read_text("utf8") for path in sorted(longer_corpus.iterdir())]
    assert read_back(Shards(folder)) == documents_of(*texts)
