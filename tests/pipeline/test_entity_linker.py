"""spaCy's entity linker over ELMo: it reads sentences as docs of their own."""

from __future__ import annotations

from pathlib import Path

from helpers.pipelines import LISTENER, blank
from spacy.kb import InMemoryLookupKB, KnowledgeBase
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab

WORDS = ["He", "left", "Paris", ".", "She", "sat", "."]
STARTS = [1, 0, 0, 0, 1, 0, 0]
WIDTH = 16


def _knowledge(vocab: Vocab) -> KnowledgeBase:
    known = InMemoryLookupKB(vocab, entity_vector_length=WIDTH)
    known.add_entity("Q1", 1, [1.0] * WIDTH)
    known.add_entity("Q2", 1, [-1.0] * WIDTH)
    known.add_alias("Paris", ["Q1", "Q2"], [0.5, 0.5])
    return known


def _example(nlp: Language) -> Example:
    doc = Doc(nlp.vocab, words=WORDS, sent_starts=STARTS)
    doc.ents = [Span(doc, 2, 3, "GPE")]
    return Example.from_dict(
        doc,
        {
            "words": WORDS,
            "sent_starts": STARTS,
            "entities": ["O", "O", "U-GPE", "O", "O", "O", "O"],
            "links": {(8, 13): {"Q1": 1.0}},
        },
    )


def test_it_learns_and_links(weights: Path) -> None:
    model = {"@architectures": "spacy.EntityLinker.v2", "tok2vec": LISTENER}
    linker = {"factory": "entity_linker", "model": model}
    nlp = blank({"entity_linker": linker}, weights)
    component = nlp.get_pipe("entity_linker")
    component.set_kb(_knowledge)
    sample = [_example(nlp) for _ in range(4)]
    nlp.initialize(lambda: sample)
    sgd = nlp.resume_training()
    sgd.learn_rate = 0.05
    for _ in range(30):
        losses = nlp.update([_example(nlp) for _ in range(4)], sgd=sgd)
    assert losses["entity_linker"] < 0.1
    doc = nlp(_example(nlp).predicted)
    assert [ent.kb_id_ for ent in doc.ents] == ["Q1"]
