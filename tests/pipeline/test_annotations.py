"""The component's annotations on a Doc, and spaCy's vectors and similarities."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import spacy
from helpers.pipelines import embedder, expected_layers, no_warnings
from numpy.testing import assert_allclose
from spacy.language import Language
from spacy.tokens import Doc

from spacy_elmo import BiLM

WORDS = ["She", "sat", "on", "the", "river", "bank", ".", "He", "robbed", "the", "bank"]
TEXT = " ".join(WORDS)
BANKS = (5, 10)


@pytest.fixture(params=["blank vocab", "static vectors"])
def nlp(request: pytest.FixtureRequest, bilm: BiLM) -> Language:
    made = embedder(bilm)
    if request.param == "static vectors":
        for number, word in enumerate(sorted(set(WORDS))):
            vector = np.arange(16, dtype="float32") + number
            made.vocab.set_vector(word, vector)
    return made


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_layers(nlp: Language, tiny_bilm: BiLM) -> None:
    layers = nlp(TEXT)._.elmo.layers
    assert isinstance(layers, np.ndarray)
    assert layers.dtype == np.float32
    assert_allclose(layers, expected_layers(tiny_bilm, WORDS), atol=1e-5)


def test_vectors_come_from_elmo(nlp: Language, tiny_bilm: BiLM) -> None:
    doc = nlp(TEXT)
    mean = expected_layers(tiny_bilm, WORDS).mean(axis=0)
    assert_allclose(doc.tensor, mean, atol=1e-5)
    assert_allclose(doc._.elmo.vectors, mean, atol=1e-5)
    assert_allclose(doc[5].vector, mean[5], atol=1e-5)
    assert_allclose(doc[4:6].vector, mean[4:6].mean(axis=0), atol=1e-5)
    assert_allclose(doc.vector, mean.mean(axis=0), atol=1e-5)
    for item, vector in (
        (doc[5], mean[5]),
        (doc[4:6], mean[4:6].mean(axis=0)),
        (doc, mean.mean(axis=0)),
    ):
        assert item.has_vector
        assert item.vector_norm == pytest.approx(np.linalg.norm(vector), rel=1e-4)


def test_similarity_of_a_word_in_two_contexts(nlp: Language) -> None:
    doc = nlp(TEXT)
    one, other = (doc[i] for i in BANKS)
    assert one.orth == other.orth
    similarity = one.similarity(other)
    assert similarity < 0.9999
    assert similarity == pytest.approx(_cosine(one.vector, other.vector), abs=1e-6)
    assert one.similarity(one) == pytest.approx(1.0, abs=1e-5)


def test_similarity_of_docs_spans_and_tokens(nlp: Language) -> None:
    doc, second = nlp(TEXT), nlp("the old bank")
    items = [doc, doc[4:6], doc[5], second, second[1:], second[2]]
    for one in items:
        for other in items:
            expected = _cosine(one.vector, other.vector)
            assert one.similarity(other) == pytest.approx(expected, abs=1e-5)


def test_similarity_of_spans_with_the_same_words(nlp: Language) -> None:
    """spaCy would return 1.0 without comparing the vectors."""
    doc = nlp("the bank the bank")
    similarity = doc[:2].similarity(doc[2:])
    expected = _cosine(doc[:2].vector, doc[2:].vector)
    assert similarity == pytest.approx(expected, abs=1e-6)
    assert similarity < 0.99995


def test_similarity_of_different_widths(nlp: Language, tiny_config: Any) -> None:
    wider = embedder(BiLM(tiny_config.replace(projection_dim=10)))
    with pytest.raises(ValueError, match=r"vectors of the same width, found 16 and 20"):
        nlp("a b").similarity(wider("a b"))


def test_cached_doc_vector(nlp: Language) -> None:
    doc = nlp.make_doc(TEXT)
    before = (doc.vector, doc.vector_norm)
    nlp.get_pipe("elmo")(doc)
    assert_allclose(doc.vector, doc.tensor.mean(axis=0), atol=1e-6)
    assert doc.vector_norm == pytest.approx(np.linalg.norm(doc.vector), rel=1e-4)
    assert before[1] != doc.vector_norm


def test_empty_span(nlp: Language) -> None:
    span = nlp(TEXT)[3:3]
    assert not span.vector.any()
    assert span.vector.shape == (16,)
    assert not span.has_vector
    assert span.vector_norm == 0.0


def test_whitespace_has_no_vector(nlp: Language) -> None:
    doc = nlp("the  bank")
    assert [token.has_vector for token in doc] == [True, False, True]
    assert not doc[1].vector.any()
    assert doc[1].similarity(doc[0]) == 0.0


@pytest.mark.parametrize(
    ("mix", "s"),
    [("mean", [1 / 3] * 3), ("top", [0, 0, 1]), ([0.5, 0.0, 2.0], [0.5, 0, 2])],
)
def test_mix_of_the_component(bilm: BiLM, mix: Any, s: list[float]) -> None:
    doc = embedder(bilm, mix=mix)(TEXT)
    expected = np.tensordot(s, doc._.elmo.layers, axes=1)
    assert_allclose(doc.tensor, expected, atol=1e-5)
    assert_allclose(doc[5].vector, expected[5], atol=1e-5)
    assert_allclose(doc._.elmo.mix(mix), expected, atol=1e-5)


def test_other_mixes_of_the_layers(nlp: Language) -> None:
    elmo = nlp(TEXT)._.elmo
    assert_allclose(elmo.mix("top"), elmo.layers[2], atol=1e-6)
    assert_allclose(elmo.mix([0, 1, 0]), elmo.layers[1], atol=1e-6)
    with pytest.raises(ValueError, match="mix: expected 3 weights"):
        elmo.mix([1.0])


def test_vectors_without_layers(bilm: BiLM) -> None:
    doc = embedder(bilm, keep_layers=False)(TEXT)
    expected = expected_layers(bilm, WORDS).mean(axis=0)
    assert_allclose(doc._.elmo.vectors, expected, atol=1e-5)
    assert_allclose(doc[5].vector, expected[5], atol=1e-5)
    assert doc[5].similarity(doc[10]) < 0.9999
    with pytest.raises(ValueError, match=r"keep_layers = true"):
        _ = doc._.elmo.layers
    assert not any(getattr(value, "ndim", 0) == 3 for value in doc.user_data.values())


def test_keep_layers_false_removes_earlier_layers(bilm: BiLM) -> None:
    doc = embedder(bilm)(TEXT)
    embedder(bilm, keep_layers=False).get_pipe("elmo")(doc)
    with pytest.raises(ValueError, match="keep_layers = true"):
        _ = doc._.elmo.layers


def test_keep_on_cpu(bilm: BiLM) -> None:
    doc = embedder(bilm, keep_on_cpu=True)(TEXT)
    assert type(doc._.elmo.layers) is np.ndarray
    assert type(doc.tensor) is np.ndarray
    assert_allclose(doc._.elmo.layers, expected_layers(bilm, WORDS), atol=1e-5)


def test_set_tensor_false(bilm: BiLM) -> None:
    nlp = embedder(bilm, set_tensor=False)
    doc = nlp.make_doc(TEXT)
    doc.tensor = np.full((len(doc), 3), 7.0, dtype="float32")
    nlp.get_pipe("elmo")(doc)
    assert np.array_equal(doc.tensor, np.full((len(doc), 3), 7.0))
    mean = expected_layers(bilm, WORDS).mean(axis=0)
    assert_allclose(doc._.elmo.vectors, mean, atol=1e-5)
    assert_allclose(doc[5].vector, mean[5], atol=1e-5)
    assert_allclose(doc.vector, mean.mean(axis=0), atol=1e-5)
    assert doc[5].similarity(doc[10]) < 0.9999


def test_doc_without_elmo(nlp: Language) -> None:
    doc = nlp.make_doc(TEXT)
    for name in ("layers", "vectors"):
        with pytest.raises(ValueError, match="expected"):
            getattr(doc._.elmo, name)
    assert not doc.user_hooks


def test_retokenized_doc(bilm: BiLM) -> None:
    nlp = embedder(bilm)
    doc = nlp(TEXT)
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[4:6])
    assert len(doc) == len(WORDS) - 1
    with pytest.raises(
        ValueError, match=r"expected.* 10 tokens, found layers of 11 different.*again"
    ):
        _ = doc._.elmo.layers
    with pytest.raises(ValueError, match="retokenized"):
        doc._.elmo.mix("top")
    # spaCy itself keeps the last row of doc.tensor for the merged token.
    assert_allclose(doc[4].vector, nlp(TEXT)[5].vector, atol=1e-5)
    nlp.get_pipe("elmo")(doc)
    assert doc._.elmo.layers.shape == (3, 10, 16)


@pytest.mark.parametrize("settings", [{"keep_layers": False}, {"set_tensor": False}])
def test_vectors_after_a_merge_and_a_split(
    bilm: BiLM, settings: dict[str, bool]
) -> None:
    """The number of tokens is unchanged."""
    doc = embedder(bilm, **settings)(TEXT)
    doc.tensor = np.zeros((0, 0), dtype="float32")
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[0:2])
    with doc.retokenize() as retokenizer:
        retokenizer.split(doc[3], ["ri", "ver"], heads=[(doc[3], 1), doc[2]])
    assert len(doc) == len(WORDS)
    with pytest.raises(ValueError, match="found vectors of 11 different"):
        _ = doc[1].vector
    if settings.get("keep_layers", True):
        with pytest.raises(ValueError, match="found layers of 11 different"):
            _ = doc._.elmo.layers


def test_a_word_that_moved_to_another_of_its_form(bilm: BiLM) -> None:
    """The word in a place has the same form, but is another."""
    doc = embedder(bilm, keep_layers=False, set_tensor=False)("so the the river bank")
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[0:2])
    with doc.retokenize() as retokenizer:
        retokenizer.split(doc[3], ["ba", "nk"], heads=[(doc[3], 1), doc[2]])
    assert [token.text for token in doc] == ["so the", "the", "river", "ba", "nk"]
    with pytest.raises(ValueError, match="found vectors of 5 different"):
        _ = doc[1].vector


def test_vectors_of_a_long_doc_are_read_in_linear_time(bilm: BiLM) -> None:
    nlp = embedder(bilm, keep_layers=False)
    seconds = []
    for n_tokens in (1_000, 10_000):
        doc = nlp(Doc(nlp.vocab, words=["bank"] * n_tokens))
        start = time.perf_counter()
        assert all(token.vector.any() for token in doc)
        seconds.append(time.perf_counter() - start)
    assert seconds[1] < 40 * seconds[0]


def test_hooks_of_the_users_own_are_kept(bilm: BiLM) -> None:
    doc = embedder(bilm)(TEXT)
    doc.user_token_hooks["similarity"] = lambda token, other: 42.0
    assert doc._.elmo.layers is not None
    assert doc[0].similarity(doc[1]) == 42.0
    embedder(bilm).get_pipe("elmo")(doc)
    assert doc[0].similarity(doc[1]) != 42.0


@pytest.mark.parametrize("mix", ["last", "learned"])
def test_unknown_mixes(bilm: BiLM, mix: str) -> None:
    nlp = embedder(bilm)
    with pytest.raises(ValueError, match=f"expected mean, top.*found '{mix}'"):
        nlp(TEXT)._.elmo.mix(mix)
    nlp.get_pipe("elmo").mix = mix  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=f"expected mean, top.*found '{mix}'"):
        nlp(TEXT)


def test_retokenized_doc_without_a_tensor(bilm: BiLM) -> None:
    doc = embedder(bilm, set_tensor=False)(TEXT)
    with doc.retokenize() as retokenizer:
        retokenizer.split(doc[4], ["ri", "ver"], heads=[(doc[4], 1), doc[3]])
    for use in (lambda: doc._.elmo.vectors, lambda: doc[0].vector):
        with pytest.raises(ValueError, match=r"expected ELMo vectors of .*12 tokens"):
            use()


def test_span_as_doc(nlp: Language) -> None:
    doc = nlp(TEXT)
    for copied in (False, True):
        part = doc[4:7].as_doc(copy_user_data=copied)
        assert_allclose(part.tensor, doc.tensor[4:7])
        with pytest.raises(ValueError, match="expected"):
            _ = part._.elmo.layers
        assert part.vector.shape == (16,)
        nlp.get_pipe("elmo")(part)
        assert part._.elmo.layers.shape == (3, 3, 16)


def test_doc_copy(nlp: Language) -> None:
    doc = nlp(TEXT)
    copied = doc.copy()
    assert np.array_equal(copied._.elmo.layers, doc._.elmo.layers)
    assert np.array_equal(copied[5].vector, doc[5].vector)
    assert copied[5].similarity(copied[10]) == doc[5].similarity(doc[10])
    assert copied._.elmo.doc is copied


def test_from_docs(bilm: BiLM) -> None:
    with no_warnings():
        nlp = embedder(bilm)
        one, other = nlp("He robbed the bank ."), nlp("She sat on the bank .")
        merged = Doc.from_docs([one, other])
    assert_allclose(merged.tensor, np.concatenate([one.tensor, other.tensor]))
    assert_allclose(merged._.elmo.vectors, merged.tensor)
    assert merged[3].similarity(merged[9]) == one[3].similarity(other[4]) < 0.999999
    with pytest.raises(ValueError, match="Run the doc through a pipeline"):
        _ = merged._.elmo.layers
    nlp.get_pipe("elmo")(merged)
    assert merged._.elmo.layers.shape == (3, 11, 16)


def test_from_docs_whose_tensor_is_not_elmos(bilm: BiLM) -> None:
    nlp = embedder(bilm, set_tensor=False)
    docs = [nlp.make_doc("the river"), nlp.make_doc("bank")]
    for doc in docs:
        doc.tensor = np.ones((len(doc), 16), dtype="float32")
        nlp.get_pipe("elmo")(doc)
    with pytest.raises(ValueError, match=r"expected ELMo vectors of .*3 tokens"):
        _ = Doc.from_docs(docs)._.elmo.vectors


def test_extension_of_the_same_name() -> None:
    Doc.set_extension("elmo", default=None, force=True)
    try:
        with pytest.raises(ValueError, match="remove_extension"):
            spacy.blank("en").add_pipe("elmo")
    finally:
        Doc.remove_extension("elmo")
        spacy.blank("en").add_pipe("elmo")
    assert Doc.get_extension("elmo")[2] is not None


def test_several_components_share_the_extension() -> None:
    for _ in range(2):
        spacy.blank("en").add_pipe("elmo")
    assert Doc.has_extension("elmo")


@pytest.mark.parametrize("keep_layers", [True, False])
def test_merging_with_static_vectors(bilm: BiLM, keep_layers: bool) -> None:
    """As by merge_entities after elmo. spaCy then adds a static vector for the merged
    form, the mean of its parts' vectors."""
    nlp = embedder(bilm, keep_layers=keep_layers)
    for word in set(WORDS):
        nlp.vocab.set_vector(word, np.full(5, len(word), dtype="float32"))
    doc = nlp(TEXT)
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[4:6])
    assert doc[4].text == "river bank"
    np.testing.assert_allclose(nlp.vocab.get_vector("river bank"), np.full(5, 4.5))


def test_doc_cleaner(nlp: Language) -> None:
    attrs = {"tensor": None, "_.elmo": None}
    nlp.add_pipe("doc_cleaner", config={"attrs": attrs})
    doc = nlp(TEXT)
    assert (doc.tensor, doc.user_data, doc.user_hooks) == (None, {}, {})
    with pytest.raises(ValueError, match=r"expected ELMo vectors.*found none"):
        _ = doc._.elmo.vectors
    with pytest.raises(ValueError, match="expected None"):
        doc._.elmo = 1
