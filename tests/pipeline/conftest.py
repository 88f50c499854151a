"""The pipeline that most tests of the component use."""

import pytest
from helpers.pipelines import embedder
from spacy.language import Language

from spacy_elmo import BiLM


@pytest.fixture
def nlp(bilm: BiLM) -> Language:
    """A blank English pipeline with the elmo component and the tiny biLM."""
    return embedder(bilm)
