"""When an unfrozen biLM takes its step."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipelines import LISTENER, examples, same_numbers, trainable

from spacy_elmo import BiLM


@pytest.mark.parametrize("n_heads", [1, 2])
def test_unfrozen_learns_from_a_batch_at_once(
    weights: Path, tiny_bilm: BiLM, n_heads: int
) -> None:
    """nlp.update ends with each component, by `finish_update`, before the next one
    begins: the heads answer after that."""
    heads = dict.fromkeys(("tagger", "ner")[:n_heads], LISTENER)
    nlp = trainable(heads, weights, elmo={"frozen": False})
    elmo = nlp.get_pipe("elmo")
    sgd = nlp.create_optimizer()
    nlp.update(examples(nlp), sgd=sgd)
    assert not all(same_numbers(elmo.bilm, tiny_bilm).values())
