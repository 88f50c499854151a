"""spaCy's entity linker over ELMo. It reads sentences as separate docs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import spacy
from helpers.pipelines import LISTENER, blank
from spacy.kb import InMemoryLookupKB, KnowledgeBase
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab

WORDS = ["He", "left", "Paris", ".", "She", "sat", "."]
STARTS = [1, 0, 0, 0, 1, 0, 0]


def _build_kb(vocab: Vocab, width: int) -> KnowledgeBase:
    kb = InMemoryLookupKB(vocab, entity_vector_length=width)
    kb.add_entity("Q1", 1, [1.0] * width)
    kb.add_entity("Q2", 1, [-1.0] * width)
    kb.add_alias("Paris", ["Q1", "Q2"], [0.5, 0.5])
    return kb


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


@pytest.mark.parametrize("kb_width", [16, 8])
def test_training_and_linking(weights: Path, kb_width: int, tmp_path: Path) -> None:
    """The width of ELMo's vectors is not in the config, and may not be the KB's."""
    model = {"@architectures": "spacy.EntityLinker.v2", "tok2vec": LISTENER}
    linker = {"factory": "entity_linker", "model": model}
    nlp = blank({"entity_linker": linker}, weights)
    component = nlp.get_pipe("entity_linker")
    component.set_kb(partial(_build_kb, width=kb_width))
    sample = [_example(nlp) for _ in range(4)]
    nlp.initialize(lambda: sample)
    sgd = nlp.resume_training()
    sgd.learn_rate = 0.05
    for _ in range(15):
        losses = nlp.update([_example(nlp) for _ in range(4)], sgd=sgd)
    assert losses["entity_linker"] < 0.1
    doc = nlp(_example(nlp).predicted)
    assert [ent.kb_id_ for ent in doc.ents] == ["Q1"]
    nlp.to_disk(tmp_path)
    doc = spacy.load(tmp_path)(_example(nlp).predicted)
    assert [ent.kb_id_ for ent in doc.ents] == ["Q1"]
