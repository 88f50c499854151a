"""Scores of the elmo component: equal to Scorer's, on every doc, also when stored."""

from __future__ import annotations

import math
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import pytest
import spacy
from helpers.language_models import write_weights
from helpers.pipelines import LISTENER, blank, docs_of, embedder, no_warnings, trainable
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span, Token

from spacy_elmo import BiLM
from spacy_elmo.bilm.backends import CPUBackend
from spacy_elmo.pipeline.scores import GETTERS, get_scores, install
from spacy_elmo.scoring.scorer import Scorer, perplexity

WORDS = ["the", "bank", "She", "sat", "on", "river", ".", "He", "robbed", "a"]
TEXT = "She sat  on the river bank . He robbed the unseen bank .\n"
SENTENCES = [text.split() for text in TEXT.replace(" .", " .|").split("|")[:2]]


@pytest.fixture(scope="module", params=["full", "sampled", "adaptive"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights with an output layer, as pretraining writes them."""
    return write_weights(tmp_path_factory.mktemp("weights"), WORDS)


@pytest.fixture(autouse=True)
def _no_extensions() -> Iterator[None]:
    yield
    for owner, getters in GETTERS.items():
        for name in getters:
            if owner.has_extension(name):
                owner.remove_extension(name)


def scoring(folder: Path, **elmo: Any) -> Language:
    """A pipeline with sentence boundaries whose elmo component scores."""
    nlp = blank({}, elmo={"score": True, **elmo})
    nlp.add_pipe("sentencizer", first=True)
    nlp.get_pipe("elmo").set_scorer(Scorer.load(folder))  # type: ignore[attr-defined]
    return nlp


def assert_scores(doc: Doc, folder: Path, atol: float = 1e-5) -> None:
    """Compare with `Scorer` on the same sentences."""
    expected = Scorer.load(folder).log_probs(SENTENCES)
    tokens = [token for token in doc if not token.is_space]
    for name, arrays in (
        ("surprisal", [-s.forward for s in expected]),
        ("surprisal_backward", [-s.backward for s in expected]),
        ("entropy", [s.forward_entropy for s in expected]),
        ("entropy_backward", [s.backward_entropy for s in expected]),
        ("known", [s.known for s in expected]),
    ):
        found = [getattr(token._, name) for token in tokens]
        np.testing.assert_allclose(found, np.concatenate(arrays), rtol=0, atol=atol)
    total = perplexity(expected)
    assert doc._.perplexity == pytest.approx(total.forward, abs=1e-4)
    assert doc._.perplexity_backward == pytest.approx(total.backward, abs=1e-4)
    assert doc[1:5]._.surprisal == pytest.approx(-expected[0].forward[1:4].sum())
    assert [t.text for t in tokens if not t._.known] == ["unseen"]


def test_scores_are_those_of_scorer(kind: str, tmp_path: Path) -> None:
    folder = write_weights(tmp_path, WORDS, kind)
    nlp = scoring(folder)
    doc = nlp(TEXT)
    assert_scores(doc, folder)
    assert not doc[2]._.known
    assert math.isnan(doc[2]._.surprisal)
    assert get_scores(doc).shape == (5, len(doc))
    stored = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    assert_scores(stored(TEXT), folder)


def test_a_doc_alone_scores_as_in_any_batch(folder: Path) -> None:
    nlp = scoring(folder)
    texts = [TEXT, "", " ", "bank", TEXT * 3]
    for doc, text in zip(nlp.pipe(texts), texts):
        np.testing.assert_allclose(get_scores(doc), get_scores(nlp(text)), atol=1e-5)
    empty = nlp("")
    assert math.isnan(empty._.perplexity)
    assert empty[:]._.surprisal == 0


@pytest.mark.parametrize(
    "settings", [{"keep_layers": False}, {"keep_on_cpu": True}, {"set_tensor": False}]
)
def test_scores_with_other_settings(folder: Path, settings: dict[str, Any]) -> None:
    assert_scores(scoring(folder, **settings)(TEXT), folder)


@pytest.mark.parametrize("precision", ["bfloat16", "int8", "fastest"])
def test_scores_with_other_precisions(folder: Path, precision: str) -> None:
    """Words and boundaries have the same precision, also in Scorer."""
    if precision == "int8" and CPUBackend.why_no_int8():
        pytest.skip(f"int8: {CPUBackend.why_no_int8()}")
    architecture = "spacy_elmo.ElmoModel.v1"
    model = {"@architectures": architecture, "precision": precision}
    nlp = scoring(folder, model=model)
    exact = scoring(folder)
    doc, other = nlp(TEXT), exact(TEXT)
    np.testing.assert_allclose(get_scores(doc), get_scores(other), atol=0.1)
    scores = Scorer.load(folder).log_probs(SENTENCES, precision=precision)
    surprisals = [t._.surprisal for t in doc if not t.is_space]
    expected = [-s for each in scores for s in each.forward]
    np.testing.assert_allclose(surprisals, expected, atol=1e-5)


def test_the_scorer_of_the_component_is_packed_once(folder: Path) -> None:
    elmo = scoring(folder).get_pipe("elmo")
    first, second = elmo.scorer, elmo.scorer  # type: ignore[attr-defined]
    assert first.top_layer_scorer is second.top_layer_scorer


def test_scores_survive_storage_without_warnings(folder: Path) -> None:
    with no_warnings():
        nlp = scoring(folder)
        doc = nlp(TEXT)
        assert_scores(Doc(nlp.vocab).from_bytes(doc.to_bytes()), folder)
        assert_scores(pickle.loads(pickle.dumps(doc)), folder)
        data = DocBin(docs=[doc], store_user_data=True).to_bytes()
        (restored,) = DocBin().from_bytes(data).get_docs(nlp.vocab)
        assert_scores(restored, folder)


def test_pipeline_on_disk_brings_its_output_layer(folder: Path, tmp_path: Path) -> None:
    nlp = scoring(folder)
    nlp.to_disk(tmp_path / "pipeline")
    assert (tmp_path / "pipeline" / "elmo" / "output_layer").is_file()
    assert_scores(spacy.load(tmp_path / "pipeline")(TEXT), folder)
    silent = {"components.elmo.score": False}
    doc = spacy.load(tmp_path / "pipeline", config=silent)(TEXT)
    with pytest.raises(ValueError, match="score = true"):
        _ = doc[0]._.surprisal
    (tmp_path / "pipeline" / "elmo" / "output_layer").write_bytes(b"12345678")
    with pytest.raises(ValueError, match="stored output layer"):
        spacy.load(tmp_path / "pipeline")


def test_scores_by_weights_of_the_config(folder: Path, tmp_path: Path) -> None:
    nlp = trainable({"tagger": LISTENER}, folder, elmo={"score": True})
    nlp.add_pipe("sentencizer", first=True)
    assert_scores(nlp(TEXT), folder)
    nlp.to_disk(tmp_path)
    assert_scores(spacy.load(tmp_path)(TEXT), folder)


def test_weights_without_output_layer_are_refused(
    weights: Path, folder: Path, bilm: BiLM
) -> None:
    with pytest.raises(ValueError, match=r"no softmax\.safetensors.*softmax_steps"):
        trainable({}, weights, elmo={"score": True})
    with pytest.raises(ValueError, match="expected weights with an output layer"):
        embedder(bilm, score=True)("bank")
    nlp = scoring(folder)
    nlp.get_pipe("elmo").set_bilm(bilm)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="expected weights with an output layer"):
        nlp("bank")
    with pytest.raises(ValueError, match="expected the setting score = true"):
        embedder(bilm).get_pipe("elmo").set_scorer(  # type: ignore[attr-defined]
            Scorer.load(folder)
        )


def test_pipeline_without_weights_can_be_stored() -> None:
    nlp = blank({}, elmo={"score": True})
    nlp.get_pipe("elmo").model.attrs["default_weights"] = lambda: None
    assert nlp.to_bytes()


def test_other_tokens_are_refused(folder: Path) -> None:
    nlp = scoring(folder)
    doc = nlp(TEXT)
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[4:7])
    assert doc[0]._.surprisal > 0
    for read in (lambda: doc[5]._.surprisal, lambda: doc._.perplexity):
        with pytest.raises(ValueError, match="run it again"):
            read()
    with doc.retokenize() as retokenizer:
        retokenizer.split(doc[0], ["S", "h", "e"], heads=[doc[0]] * 3)
    with pytest.raises(ValueError, match="run it again"):
        _ = doc[0]._.surprisal
    with pytest.raises(ValueError, match="no scores"):
        _ = docs_of(nlp, "bank")[0][0]._.surprisal
    doc = nlp(TEXT)
    doc._.elmo = None
    assert not doc.user_data


def test_attributes_of_the_users_own_are_refused(folder: Path) -> None:
    Token.set_extension("known", default=True)
    with pytest.raises(ValueError, match=re.escape("token._.known to be free")):
        blank({}, elmo={"score": True})
    assert blank({}, elmo={"score": False})


def test_without_scores_no_attributes(bilm: BiLM) -> None:
    doc = embedder(bilm)("bank")
    assert not Token.has_extension("surprisal")
    assert not Span.has_extension("surprisal")
    assert not any("score" in str(key) for key in doc.user_data)
    install()
    with pytest.raises(ValueError, match="no scores"):
        _ = doc[0]._.surprisal


PROCESSES = """
import multiprocessing, sys, warnings
import spacy
from spacy.language import Language

@Language.component("look")
def look(doc):
    doc.user_data["looked"] = [token._.surprisal for token in doc]
    return doc

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[2])
    nlp = spacy.load(sys.argv[1])
    nlp.add_pipe("look")
    texts = ["She sat on the bank", "He robbed a bank", "the river"] * 3
    single = list(nlp.pipe(texts))
    for one, two in zip(single, nlp.pipe(texts, n_process=2, batch_size=2)):
        found = [token._.surprisal for token in two]
        assert found == two.user_data["looked"]
        expected = [token._.surprisal for token in one]
        assert max(abs(a - b) for a, b in zip(found, expected)) < 1e-5
    print("done")
"""


@pytest.mark.parametrize(
    "method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)]
)
def test_processes(folder: Path, tmp_path: Path, method: str) -> None:
    scoring(folder).to_disk(tmp_path / "pipeline")
    script = tmp_path / "script.py"
    script.write_text(PROCESSES)
    result = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "pipeline"), method],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.stdout == "done\n", result.stderr
