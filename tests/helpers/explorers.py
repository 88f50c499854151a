"""A small language model, and the pages of `elmo explore` that show it."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

from spacy_elmo import save_bilm
from spacy_elmo.files import write_json
from spacy_elmo.formats.output_layer import META, write_output_layer
from spacy_elmo.scoring.scorer import Scorer
from spacy_elmo.text.tokenizers import tokenize_whitespace
from spacy_elmo.text.vocabulary import Vocabulary
from spacy_elmo.visual.explore.corpus import Corpus
from spacy_elmo.visual.explore.explorer import Explorer, Model

from .language_models import SOFTMAXES, make_model

WORDS = ["</S>", "<S>", "<UNK>", "We", "sat", "on", "the", "bank"]
CORPUS = [
    "We sat on the bank of the river .",
    "The bank gave her a loan .",
    "He robbed the bank .",
    "They rowed to the other bank .",
]


def make_scorer() -> Scorer:
    model = make_model(len(WORDS)).requires_grad_(False)
    return Scorer(model.bilm, model.softmax, WORDS)


def write_scorer(folder: Path) -> Path:
    """Write a folder as pretraining does."""
    scorer = make_scorer()
    save_bilm(scorer.bilm, folder)
    write_output_layer(folder, scorer.output_layer, Vocabulary(WORDS, [1] * len(WORDS)))
    meta = {"softmax": SOFTMAXES["full"].to_dict(), "tokenizer": "whitespace"}
    write_json(folder / META, {**meta, "sentences": "lines"})
    return folder


@contextmanager
def served(app: Any, listener: socket.socket | None = None) -> Iterator[str]:
    """Serve an application in a thread, as `elmo explore` does. YIELDS: Its address."""
    import uvicorn

    from spacy_elmo.visual.explore import server

    listener = listener or server.listen("127.0.0.1", 0)
    with listener:
        running = uvicorn.Server(server.make_config(app))
        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()
        try:
            yield server.address_of(listener)
        finally:
            while not running.started and thread.is_alive():
                time.sleep(0.01)
            running.should_exit = True
            thread.join(timeout=10)
            assert not thread.is_alive()


def make_explorer(
    model: Model | None = None, sentences: list[list[str]] | None = None
) -> Explorer:
    if model is None:
        scorer = make_scorer()
        model = Model("a model", scorer.bilm, scorer, no_mixes="no pipeline.")
    if sentences is None:
        sentences = [line.split() for line in CORPUS]
    corpus = Corpus(sentences, "a text")
    return Explorer(model, corpus, tokenize_whitespace)
