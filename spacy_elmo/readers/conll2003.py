"""spacy_elmo.Conll2003Corpus.v1: the name of spacy_elmo.ConllCorpus.v1 in version 0.1,
which configs and trained pipelines refer to."""

from .conll import conll_corpus_v1 as conll2003_corpus_v1

__all__ = ["conll2003_corpus_v1"]
