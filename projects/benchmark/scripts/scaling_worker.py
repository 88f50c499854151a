"""One point of a scaling curve, with its memory, in a fresh process. See `protocol`."""

import contextlib
import itertools
import resource
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import torch
from protocol import option, serve
from treebank import Sentence, count_words, read_sentences

from spacy_elmo import BiLM, load_bilm
from spacy_elmo.pretraining.memory import return_holes

torch.set_num_threads(int(option("--threads")))

Layers = List[np.ndarray]


class Work:
    """What the tasks share; `load` sets it."""

    bilm: BiLM
    sentences: List[Sentence]
    n_words: int


def load(weights: str, text: str, n_sentences: int, n_words: int) -> Dict[str, Any]:
    """n_words: of texts of one length."""
    Work.bilm = load_bilm(weights)
    Work.sentences = read_sentences(text, n_sentences)
    Work.n_words = n_words
    # The weights are laid out now.
    Work.bilm.encode(Work.sentences[:1])
    return {
        "words": count_words(Work.sentences),
        "parameters": Work.bilm.n_parameters,
    }


def sentences(value: int) -> Dict[str, float]:
    """The table's work in one call. value: batch_tokens."""
    return measured(lambda: Work.bilm.encode(Work.sentences, value))


def long_sentences(value: int) -> Dict[str, float]:
    """Sentences of so many words, by the network alone."""
    texts = cut(value)
    return measured(lambda: Work.bilm.encode(texts))


def long_docs(value: int) -> Dict[str, float]:
    """Docs of so many words without sentence boundaries, through the component: it
    reads them in stretches of its `window`."""
    # The other tasks do without spaCy: less to start for each point.
    import spacy
    from spacy.tokens import Doc

    nlp = spacy.blank("en")
    nlp.add_pipe("elmo").set_bilm(Work.bilm)  # type: ignore[attr-defined]
    docs = [Doc(nlp.vocab, words=words) for words in cut(value)]
    return measured(lambda: [doc._.elmo.layers for doc in nlp.pipe(docs)])


def cut(length: int) -> List[Sentence]:
    """The text's words one after the other, again from its start where it ends, in
    pieces that have `n_words` together, or one piece if that is longer."""
    words = itertools.cycle(itertools.chain.from_iterable(Work.sentences))
    n_pieces = max(1, Work.n_words // length)
    return [list(itertools.islice(words, length)) for _ in range(n_pieces)]


def measured(encode: Callable[[], Layers]) -> Dict[str, float]:
    """Words per second, and the MiB that were in use at most beside what was there
    before, and of those the result's."""
    before = reset_peak()
    start = time.perf_counter()
    layers = encode()
    seconds = time.perf_counter() - start
    n_bytes = sum(array.nbytes for array in layers)
    n_words = sum(array.shape[1] for array in layers)
    return {
        "words_per_second": n_words / seconds,
        "peak_mb": peak_mb() - before,
        "result_mb": n_bytes / 2**20,
    }


def reset_peak() -> float:
    """RETURNS: MiB in use now."""
    # What was freed and is kept would be used again, and not be seen.
    return_holes()
    # Elsewhere than on Linux the peak is that of the whole life of the process.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf8")
    return peak_mb()


def peak_mb() -> float:
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf8").splitlines()
    except OSError:
        unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    tasks = (load, sentences, long_sentences, long_docs)
    serve({task.__name__: task for task in tasks})
