"""Serialization of annotated docs without warnings: bytes, DocBin, pickle, processes.

A new component adds a filter for spaCy's warning about hooks (W109). pytest resets the
filters after each test, so tests of warnings create their pipeline in `no_warnings`.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.pipelines import LISTENER, embedder, no_warnings, trainable
from numpy.testing import assert_array_equal
from spacy.language import Language
from spacy.tokens import Doc, DocBin

from spacy_elmo import BiLM

TEXT = "She sat on the river bank . He robbed the bank"
BANKS = (5, 10)


def _add_static_vectors(nlp: Language) -> None:
    for number, word in enumerate(TEXT.split()):
        nlp.vocab.set_vector(word, np.arange(5, dtype="float32") + number)


def _check_same(doc: Doc, restored: Doc, *, has_layers: bool = True) -> None:
    """Check the annotations. Accessing doc._.elmo must restore the hooks."""
    if has_layers:
        assert_array_equal(restored._.elmo.layers, doc._.elmo.layers)
    assert_array_equal(restored._.elmo.vectors, doc._.elmo.vectors)
    assert restored.user_hooks
    assert_array_equal(restored[5].vector, doc[5].vector)
    assert_array_equal(restored[4:6].vector, doc[4:6].vector)
    assert_array_equal(restored.vector, doc.vector)
    one, other = BANKS
    similarity = restored[one].similarity(restored[other])
    assert similarity == doc[one].similarity(doc[other]) < 0.9999


SETTINGS: list[dict[str, Any]] = [
    {},
    {"mix": "top"},
    {"mix": [0.5, 0.2, 2.0]},
    {"set_tensor": False},
    {"keep_on_cpu": True},
]


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("settings", [*SETTINGS, {"keep_layers": False}])
def test_to_bytes_and_back(bilm: BiLM, settings: dict[str, Any], static: bool) -> None:
    with no_warnings():
        nlp = embedder(bilm, **settings)
        if static:
            _add_static_vectors(nlp)
        doc = nlp(TEXT)
        restored = Doc(nlp.vocab).from_bytes(doc.to_bytes())
        assert_array_equal(restored.tensor, doc.tensor)
        has_layers = settings.get("keep_layers", True)
        _check_same(doc, restored, has_layers=has_layers)


def test_user_data_has_plain_values(nlp: Language) -> None:
    doc = nlp(TEXT)
    for key, value in doc.user_data.items():
        assert isinstance(key, (str, tuple))
        assert type(value) in (np.ndarray, str, list, float, int), key


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("settings", SETTINGS)
def test_docbin(
    bilm: BiLM, settings: dict[str, Any], static: bool, tmp_path: Path
) -> None:
    """A DocBin stores user data but not doc.tensor."""
    with no_warnings():
        nlp = embedder(bilm, **settings)
        if static:
            _add_static_vectors(nlp)
        docs = list(nlp.pipe([TEXT, "", TEXT + " again"]))
        DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "docs.spacy")
        loaded = DocBin().from_disk(tmp_path / "docs.spacy")
        restored = list(loaded.get_docs(nlp.vocab))
        assert len(restored) == 3
        for doc, copied in zip(docs, restored):
            assert_array_equal(copied._.elmo.layers, doc._.elmo.layers)
        _check_same(docs[0], restored[0])
        _check_same(docs[2], restored[2])


def test_docbin_of_a_pipeline_with_heads(weights: Path) -> None:
    """Heads can run on the stored layers."""
    with no_warnings():
        nlp = trainable({"tagger": LISTENER}, weights)
        doc = nlp(TEXT)
        docbin = DocBin(docs=[doc], store_user_data=True)
        (restored,) = docbin.get_docs(nlp.vocab)
        with nlp.select_pipes(enable="tagger"):
            again = nlp(restored)
        assert [t.tag_ for t in again] == [t.tag_ for t in doc]


@pytest.mark.parametrize("settings", [*SETTINGS, {"keep_layers": False}])
def test_pickle(bilm: BiLM, settings: dict[str, Any]) -> None:
    with no_warnings():
        nlp = embedder(bilm, **settings)
        doc = nlp(TEXT)
        restored = pickle.loads(pickle.dumps(doc))
        has_layers = settings.get("keep_layers", True)
        _check_same(doc, restored, has_layers=has_layers)


def test_restored_doc_can_be_stored_again(bilm: BiLM) -> None:
    with no_warnings():
        nlp = embedder(bilm)
        doc = nlp(TEXT)
        once = Doc(nlp.vocab).from_bytes(doc.to_bytes())
        assert once._.elmo.vectors.any()
        twice = Doc(nlp.vocab).from_bytes(once.to_bytes())
        _check_same(doc, twice)


SCRIPT = '''
import multiprocessing
import sys
import warnings
from pathlib import Path

import numpy as np
import spacy
import torch
from spacy.language import Language

TEXTS = ["She sat on the river bank . He robbed the bank", "", "\\n", "the bank"] * 8


@Language.component("look")
def look(doc):
    """A later component, which uses the vectors in the worker process."""
    if len(doc) > 10:
        doc.user_data["looked"] = [
            doc[5].similarity(doc[10]), float(doc.vector.sum()), doc.vector_norm
        ]
    return doc


def similarity(nlp, queue):
    doc = nlp(TEXTS[0])
    queue.put(doc[5].similarity(doc[10]))


def main():
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    method = sys.argv[2]
    multiprocessing.set_start_method(method)
    nlp = spacy.load(sys.argv[1])
    for number, word in enumerate(TEXTS[0].split()):
        nlp.vocab.set_vector(word, np.arange(5, dtype="float32") + number)
    nlp.add_pipe("look")
    torch.set_num_threads(4)
    # Before the fork: PyTorch's threads are alive in this process.
    single = list(nlp.pipe(TEXTS))
    double = list(nlp.pipe(TEXTS, n_process=2, batch_size=5))
    assert len(double) == len(TEXTS)
    for one, other in zip(single, double):
        assert one.text == other.text
        np.testing.assert_allclose(
            one._.elmo.layers, other._.elmo.layers, rtol=0, atol=1e-5
        )
        assert [t.tag_ for t in one] == [t.tag_ for t in other]
        np.testing.assert_allclose(one.vector, other.vector, rtol=0, atol=1e-5)
        looked = [doc.user_data.get("looked", []) for doc in (one, other)]
        np.testing.assert_allclose(*looked, rtol=0, atol=1e-4)
    threads = torch.get_num_threads()
    assert threads == 4, threads
    if method == "fork":
        # As in a web server that loads the pipeline before it forks its workers.
        queue = multiprocessing.Queue()
        worker = multiprocessing.Process(target=similarity, args=(nlp, queue))
        worker.start()
        found = queue.get(timeout=60)
        worker.join()
        assert abs(found - single[0][5].similarity(single[0][10])) < 1e-5, found
    print("done")


if __name__ == "__main__":
    main()
'''


@pytest.mark.parametrize(
    "kind", ["fork", pytest.param("spawn", marks=pytest.mark.slow)]
)
def test_pipe_with_two_processes(weights: Path, tmp_path: Path, kind: str) -> None:
    """Run in a subprocess, so that a worker that hangs is a failure."""
    nlp = trainable({"tagger": LISTENER}, weights)
    nlp.to_disk(tmp_path / "model")
    script = tmp_path / "two.py"
    script.write_text(SCRIPT, encoding="utf8")
    command = [sys.executable, str(script), str(tmp_path / "model"), kind]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith("done")
    assert "Warning" not in result.stderr
