"""The component in a pipeline at work, beside its network alone. See `protocol`."""

import statistics
import time
from typing import Any, Callable, Dict, List

import spacy
import torch
from protocol import option, serve
from spacy.language import Language
from spacy.tokens import Doc
from treebank import count_words, read_sentences

from spacy_elmo import BiLM, load_bilm

torch.set_num_threads(int(option("--threads")))

SHORT = "She sat on the bank of the river."


class Work:
    """What the tasks share; `load` sets it."""

    nlp: Language
    bilm: BiLM
    sentences: List[List[str]]


def load(weights: str, text: str, n_sentences: int = 0) -> Dict[str, Any]:
    Work.bilm = load_bilm(weights)
    Work.nlp = spacy.blank("en")
    # The component has the network itself, not a copy: one word cache, one layout.
    Work.nlp.add_pipe("elmo").set_bilm(Work.bilm)  # type: ignore[attr-defined]
    Work.sentences = read_sentences(text, n_sentences)
    return {
        "words": count_words(Work.sentences),
        "sentences": len(Work.sentences),
        "short_doc_words": len(short_words()),
    }


def encode() -> Dict[str, float]:
    """The network alone. All words are known after the first pass."""
    start = time.perf_counter()
    Work.bilm.encode(Work.sentences)
    return {"seconds": time.perf_counter() - start}


def pipe() -> Dict[str, float]:
    """The same sentences as docs through nlp.pipe, in its usual batches."""
    docs = [Doc(Work.nlp.vocab, words=sentence) for sentence in Work.sentences]
    start = time.perf_counter()
    for _ in Work.nlp.pipe(docs):
        pass
    return {"seconds": time.perf_counter() - start}


def short_doc(n_runs: int) -> Dict[str, float]:
    """One short text, from characters to a Doc with vectors, beside the network alone
    on its words; medians, in alternation."""
    words = short_words()
    through: List[float] = []
    alone: List[float] = []
    for _ in range(n_runs):
        through.append(seconds(lambda: Work.nlp(SHORT)))
        alone.append(seconds(lambda: Work.bilm.encode([words])))
    return {
        "nlp": statistics.median(through),
        "bilm": statistics.median(alone),
    }


def short_words() -> List[str]:
    return [token.text for token in Work.nlp.make_doc(SHORT)]


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    serve({task.__name__: task for task in (load, encode, pipe, short_doc)})
