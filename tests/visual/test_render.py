"""spacy_elmo.render."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.explorers import make_scorer
from helpers.html_pages import Page, assert_accessible, assert_self_contained
from helpers.pipelines import blank
from spacy.language import Language
from spacy.tokens import Doc

import spacy_elmo
from spacy_elmo.embedding.neighbors import Occurrence, find_neighbors
from spacy_elmo.scoring.scorer import Scorer
from spacy_elmo.visual.surprisal import MAX_WORDS

TEXTS = [
    "We sat on the bank",
    "The bank gave her a loan",
    "He robbed the bank",
    "A bank by the river",
    "<b>bank</b> & 'x' \"y\"",
]
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return make_scorer()


@pytest.fixture(scope="module")
def nlp(scorer: Scorer) -> Language:
    nlp = blank({}, elmo={"score": True})
    nlp.get_pipe("elmo").set_scorer(scorer)  # type: ignore[attr-defined]
    return nlp


@pytest.fixture(scope="module")
def docs(nlp: Language) -> list[Doc]:
    return list(nlp.pipe(nlp_doc(nlp, text) for text in TEXTS))


def nlp_doc(nlp: Language, text: str) -> Doc:
    """A doc with the words between spaces."""
    return Doc(nlp.vocab, words=text.split(" "))


def html(*arguments: Any, **settings: Any) -> Page:
    rendered = spacy_elmo.render(*arguments, **settings)
    assert rendered is not None
    return Page(rendered)


def each_style(docs: list[Doc], word: str = "bank") -> list[tuple[Any, dict[str, Any]]]:
    return [
        (docs, {"style": "surprisal"}),
        ([docs[0][4], docs[2][3]], {"style": "layers"}),
        ([docs[0], docs[1][1:4]], {"style": "layers"}),
        (docs[0], {"style": "layers"}),
        (docs, {"style": "neighbors", "options": {"word": docs[0][4]}}),
        (docs, {"style": "senses", "options": {"word": word}}),
    ]


def test_pages_are_self_contained_and_accessible(docs: list[Doc]) -> None:
    for items, settings in each_style(docs):
        page = html(items, page=True, **settings)
        assert_self_contained(page)
        assert_accessible(page)
        assert len(page.find("script")) == 1


def test_fragments_have_no_script(docs: list[Doc]) -> None:
    """Notebooks run scripts of trusted outputs only."""
    for items, settings in each_style(docs):
        fragment = html(items, **settings)
        assert_self_contained(fragment)
        assert fragment.tags[0] == ("div", {"class": "elmo"})
        assert not fragment.find("script")


def test_everything_is_escaped(nlp: Language) -> None:
    text = f"a b c {HOSTILE} {HOSTILE} <img/src=x> &amp; {{}}"
    hostile = [nlp(nlp_doc(nlp, text.format(number))) for number in range(3)]
    for items, settings in each_style(hostile, HOSTILE):
        page = html(items, **settings)
        assert not page.find("script")
        assert not page.find("img")
        assert HOSTILE in page.text


def test_surprisal_shows_the_scores(docs: list[Doc], scorer: Scorer) -> None:
    page = html(docs[0])
    (scores,) = scorer.log_probs([TEXTS[0].split()])
    for k, word in enumerate(TEXTS[0].split()):
        shown = f"{word} {-scores.forward[k]:.2f} {-scores.backward[k]:.2f} "
        shown += f"{scores.forward_entropy[k]:.2f}"
        assert shown in page.words()
    bits = html(docs[0], options={"unit": "bits"})
    assert f"{-scores.forward[0] / np.log(2):.2f} given" in bits.words()
    assert "bits" in bits.text


def test_unknown_words_are_marked(docs: list[Doc]) -> None:
    page = html(docs[1])
    assert "scored as <UNK>" in page.text
    assert len(page.find("span", **{"class": "text unknown"})) == 5


def test_sentences_are_scored_separately(nlp: Language, scorer: Scorer) -> None:
    doc = nlp_doc(nlp, "We sat \n the bank")
    for token in doc:
        token.is_sent_start = token.i in (0, 3)
    nlp(doc)
    page = html(doc)
    second = scorer.log_probs([["the", "bank"]])[0]
    assert f"the {-second.forward[0]:.2f}" in page.words()
    assert len(page.find("ol")) == 2


def test_long_docs_are_cut(nlp: Language) -> None:
    doc = nlp(Doc(nlp.vocab, words=["bank"] * (MAX_WORDS + 5)))
    page = html(doc)
    assert len(page.find("li", tabindex="0")) == MAX_WORDS
    assert "Only the first words" in page.text
    short = html(doc, options={"max_words": 3})
    assert len(short.find("li", tabindex="0")) == 3


def test_layers_of_two_words(docs: list[Doc]) -> None:
    first, second = docs[0][4], docs[2][3]
    page = html([first, second], style="layers")
    left, right = docs[0]._.elmo.layers[:, 4], docs[2]._.elmo.layers[:, 3]
    for a, b in zip(left, right):
        cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert f"{cosine:.3f}" in page.text
    assert "1.000" in page.text  # the same word without context
    assert page.words().startswith("We sat on the bank He robbed the bank")


def test_layers_of_two_docs(docs: list[Doc]) -> None:
    page = html([docs[0], docs[1]], style="layers")
    means = [doc._.elmo.layers.mean(axis=1)[2] for doc in docs[:2]]
    cosine = means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1])
    assert f"{cosine:.3f}" in page.text


def test_layers_of_one_doc(nlp: Language, docs: list[Doc]) -> None:
    page = html(docs[0], style="layers")
    top = docs[0]._.elmo.layers[2]
    top = top / np.linalg.norm(top, axis=1, keepdims=True)
    assert f"{top[1] @ top[4]:.2f}" in page.text
    assert len(page.find("table")) == 3
    long = html(nlp(nlp_doc(nlp, "a " * 40 + "b")), style="layers")
    assert "The first 30 of 41 words." in long.words()


def test_neighbors(docs: list[Doc], scorer: Scorer) -> None:
    options = {"word": docs[0][4], "n": 3, "layer": "1", "among": "other"}
    page = html(docs, style="neighbors", options=options)
    sentences = [text.split(" ") for text in TEXTS]
    query = Occurrence(None, 4, tuple(sentences[0]))
    expected = find_neighbors(
        scorer.bilm, query, sentences, n=3, layer="1", among="other"
    )
    found = re.findall(r"\d\.\d{3}", page.text)
    assert found == [f"{cosine:.3f}" for cosine, _ in expected.nearest]
    assert f"{expected.n_compared} words" in page.text
    by_string = html(docs, style="neighbors", options={**options, "word": "BANK"})
    assert by_string.text == page.text


def test_a_text_with_nothing_to_compare(nlp: Language) -> None:
    doc = nlp(nlp_doc(nlp, "bank"))
    page = html(doc, style="neighbors", options={"word": "bank"})
    assert "no other word" in page.text


def test_senses(docs: list[Doc]) -> None:
    options = {"word": "bank", "clusters": 2}
    page = html(docs, style="senses", options=options)
    points = [a for a in page.find("g") if a["class"].startswith("point")]
    assert [point["tabindex"] for point in points] == ["0"] * 4
    labels = {point["aria-label"].partition(": ")[2] for point in points}
    assert labels == set(TEXTS[:4])
    assert {point["class"] for point in points} == {
        "point cluster-0",
        "point cluster-1",
    }
    assert page.words().startswith("4 occurrences of “bank”, layer top")


def test_many_occurrences_are_sampled_evenly(nlp: Language) -> None:
    doc = nlp(Doc(nlp.vocab, words=["bank"] * 50))
    options = {"word": "bank", "max_occurrences": 5}
    page = html(doc, style="senses", options=options)
    assert "5 of 50 occurrences of “bank”, evenly spaced" in page.words()
    assert len([a for a in page.find("g") if "tabindex" in a]) == 5


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"style": "dep"}, "style: expected surprisal, layers, neighbors, senses"),
        ({"style": "senses"}, "expected a word, found None"),
        ({"style": "senses", "options": {"color": 1}}, "found 'color'"),
        ({"style": "senses", "options": {"word": "zzz"}}, "found it nowhere"),
        ({"style": "senses", "options": {"word": "bank", "layer": "9"}}, "found '9'"),
        (
            {"style": "senses", "options": {"word": "bank", "max_occurrences": 0}},
            "found 0",
        ),
        ({"style": "neighbors"}, "a Token or a string, found None"),
        ({"style": "neighbors", "options": {"word": "zzz"}}, "found it in none"),
        ({"style": "neighbors", "options": {"word": "bank", "layer": "x"}}, "'x'"),
        ({"style": "neighbors", "options": {"word": "bank", "n": 0}}, "found 0"),
        ({"style": "neighbors", "options": {"word": "bank", "among": "x"}}, "'x'"),
        ({"style": "layers", "options": {"layer": 1}}, "expected none with the style"),
    ],
)
def test_invalid_options(
    docs: list[Doc], settings: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)):
        spacy_elmo.render(docs, **settings)


def test_invalid_docs(nlp: Language, docs: list[Doc]) -> None:
    unseen = nlp_doc(nlp, "no layers here")
    for items, expected in (
        ([], "docs: expected one or more of Doc, Span, found none"),
        ("text", "found str"),
        ([docs[0], "text"], "found str"),
        (unseen, "expected a Doc that the elmo component has seen"),
    ):
        with pytest.raises(ValueError, match=expected):
            spacy_elmo.render(items, style="senses", options={"word": "layers"})
    with pytest.raises(ValueError, match="score = true"):
        spacy_elmo.render(unseen)
    for items, expected in (
        (docs[:3], "found 3"),
        (docs[0][1], "found 1"),
        ([docs[0], nlp.make_doc("")], "expected words, found none"),
        (nlp.make_doc(" "), "expected a text with words, found none"),
    ):
        with pytest.raises(ValueError, match=expected):
            spacy_elmo.render(items, style="layers")
    for option in ({"unit": "dB"}, {"max_words": 0}):
        with pytest.raises(ValueError, match="found"):
            spacy_elmo.render(docs, options=option)


def test_in_a_notebook(docs: list[Doc], monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    display = types.SimpleNamespace(HTML=str, display=shown.append)
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    settings: dict[str, Any] = {"style": "senses", "options": {"word": "bank"}}
    fragment = spacy_elmo.render(docs, jupyter=False, **settings)
    assert spacy_elmo.render(docs, jupyter=True, **settings) is None
    assert shown == [f'<div class="tex2jax_ignore">{fragment}</div>']


def test_templates_ship_with_the_package() -> None:
    """In the wheel, too: setup.cfg lists their folders."""
    package = Path(spacy_elmo.__file__).parent
    setup = (package.parent / "setup.cfg").read_text(encoding="utf8")
    for path in (package / "visual").iterdir():
        if path.is_dir() and not list(path.glob("*.py")) and path.name[0] != "_":
            assert f"visual/{path.name}/*" in setup
