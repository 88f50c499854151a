"""elmo and tok2vec components in one pipeline. The latter communicate through
doc.tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from helpers.pipelines import LISTENER, TOK2VEC, train, trainable
from numpy.testing import assert_array_equal
from spacy.language import Language


def test_tok2vec_enabled_after_loading(weights: Path, tmp_path: Path) -> None:
    """It writes doc.tensor, which was not known when the pipeline was linked."""
    later = {"tok2vec": {"factory": "tok2vec", "model": TOK2VEC}, "tagger": LISTENER}
    trainable(later, weights).to_disk(tmp_path / "pipeline")
    expected = spacy.load(tmp_path / "pipeline")("She sat on the river bank .")
    nlp = spacy.load(tmp_path / "pipeline", disable=["tok2vec"])
    nlp.enable_pipe("tok2vec")
    doc = nlp("She sat on the river bank .")
    assert doc.tensor.shape[1] == 12 != doc._.elmo.layers.shape[2]
    tensor = doc.tensor.copy()
    for _ in range(2):
        np.testing.assert_allclose(
            doc._.elmo.vectors, expected._.elmo.vectors, atol=1e-6
        )
        np.testing.assert_allclose(doc.vector, expected.vector, atol=1e-6)
    assert_array_equal(doc.tensor, tensor)


@pytest.mark.parametrize("set_tensor", [True, False])
def test_listener_to_a_tok2vec_that_was_replaced(
    weights: Path, set_tensor: bool
) -> None:
    """The error names the architecture to use."""
    spacys = {"@architectures": "spacy.Tok2VecListener.v1", "width": 12}
    elmo = {"factory": "elmo", "set_tensor": set_tensor}
    with pytest.raises(ValueError, match=r"found elmo, tagger\..*ElmoListener\.v1"):
        trainable({"elmo": elmo, "tagger": spacys}, weights, elmo=None)


def test_set_tensor_with_an_earlier_tok2vec(weights: Path) -> None:
    """Components that listen to it need set_tensor = false."""
    spacys = {"@architectures": "spacy.Tok2VecListener.v1", "width": 12}
    first = {"tok2vec": {"factory": "tok2vec", "model": TOK2VEC}}

    def build(elmo: dict[str, Any] | None) -> Language:
        component = {} if elmo is None else {"elmo": {"factory": "elmo", **elmo}}
        return trainable(
            {**first, **component, "tagger": spacys},
            weights if component else None,
            elmo=None,
        )

    mistaken = build({"set_tensor": True})
    message = r"'tagger' listens .*spacy_elmo\.ElmoListener\.v1.* set_tensor = false"
    for use in (lambda: mistaken("She sat ."), lambda: train(mistaken, 1)):
        with pytest.raises(ValueError, match=message):
            use()
    with_elmo, without = build({"set_tensor": False}), build(None)
    train(without, 10)
    for name in ("tok2vec", "tagger"):
        model = with_elmo.get_pipe(name).model
        model.from_bytes(without.get_pipe(name).model.to_bytes())
    text = "She sat on the river bank ."
    one, two = with_elmo(text), without(text)
    assert_array_equal(one.tensor, two.tensor)
    assert [t.tag_ for t in one] == [t.tag_ for t in two]
    assert len({t.tag_ for t in two}) > 1
    assert_array_equal(one[3].vector, one._.elmo.vectors[3])
    np.testing.assert_allclose(
        one._.elmo.vectors, one._.elmo.layers.mean(axis=0), atol=1e-5
    )


def test_disabled_tok2vec(weights: Path, tmp_path: Path) -> None:
    """Only its listeners cannot run without it."""
    spacys = {"@architectures": "spacy.Tok2VecListener.v1", "width": 12}
    later = {"tok2vec": {"factory": "tok2vec", "model": TOK2VEC}, "tagger": spacys}
    trainable(later, weights).to_disk(tmp_path)
    for settings in ({"disable": ["tok2vec"]}, {"exclude": ["tok2vec"]}):
        nlp = spacy.load(tmp_path, **settings)
        with pytest.raises(ValueError, match="'tagger' listens to a tok2vec component"):
            nlp("She sat .")
    nlp = spacy.load(tmp_path, disable=["tok2vec", "tagger"])
    assert nlp("She sat .")[0].has_vector
    nlp = spacy.load(tmp_path)
    with nlp.select_pipes(disable=["tok2vec"]):
        nlp.from_disk(tmp_path)
    nlp.remove_pipe("tok2vec")
    nlp.remove_pipe("tagger")
    nlp.add_pipe("sentencizer")
    assert nlp("She sat .")[0].has_vector


def test_set_tensor_with_a_later_tok2vec(weights: Path) -> None:
    """doc.tensor belongs to it; the vectors are still ELMo's."""
    spacys = {"@architectures": "spacy.Tok2VecListener.v1", "width": 12}
    nlp = trainable(
        {
            "tok2vec": {"factory": "tok2vec", "model": TOK2VEC},
            "tagger": spacys,
            "ner": LISTENER,
        },
        weights,
    )
    train(nlp, 2)
    doc = nlp("She sat on the river bank .")
    assert doc.tensor.shape == (7, 12)
    mean = doc._.elmo.layers.mean(axis=0)
    np.testing.assert_allclose(doc._.elmo.vectors, mean, atol=1e-5)
    np.testing.assert_allclose(doc[3].vector, mean[3], atol=1e-5)
    np.testing.assert_allclose(doc.vector, mean.mean(axis=0), atol=1e-5)
