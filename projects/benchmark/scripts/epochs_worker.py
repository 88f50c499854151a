"""A `spacy train` whose epochs are timed. See `protocol`."""

import io
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import spacy
import torch
from protocol import option, serve
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Corpus
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as run_training
from spacy.util import load_config

torch.set_num_threads(int(option("--threads")))


class Work:
    """What the tasks share; `train` sets it."""

    nlp: Language
    dev: str


class EpochClock:
    """When each epoch made its first update."""

    def __init__(self) -> None:
        self.starts: List[float] = []

    def __call__(self, nlp: Language, info: Dict[str, Any]) -> None:
        if info["epoch"] == len(self.starts):
            self.starts.append(time.perf_counter())


CLOCK = EpochClock()


@spacy.registry.callbacks("benchmark.EpochClock.v1")
def epoch_clock() -> Callable[[Language, Dict[str, Any]], None]:
    return CLOCK


def train(
    config: str, corpus: str, dev: str, weights: str, n_epochs: int, limit: int
) -> Dict[str, Any]:
    """Train as the config says, so many epochs. Its own stopping, its evaluation and
    its log are left out: they are not what is measured.

    limit: docs of the corpus; 0: all.
    RETURNS: seconds of each epoch and before the first, the corpus's words, and whether
        the pipeline has a biLM.
    """
    settings = load_config(Path(config), interpolate=False)
    has_elmo = "elmo" in settings["paths"]
    settings["paths"].update({"train": corpus, "dev": dev})
    if has_elmo:
        settings["paths"]["elmo"] = weights
    settings["corpora"]["train"]["limit"] = limit
    # The loop asks for a score once, after its first step.
    settings["corpora"]["dev"]["limit"] = 2
    settings["training"].update(
        {
            "max_epochs": n_epochs,
            "max_steps": 0,
            "patience": 0,
            "eval_frequency": 1_000_000_000,
            "before_update": {"@callbacks": "benchmark.EpochClock.v1"},
            "logger": {"@loggers": "spacy.ConsoleLogger.v1", "progress_bar": False},
        }
    )
    CLOCK.starts.clear()
    begin = time.perf_counter()
    Work.nlp, Work.dev = init_nlp(settings.interpolate()), dev
    run_training(Work.nlp, stdout=io.StringIO(), stderr=io.StringIO())
    marks = [*CLOCK.starts, time.perf_counter()]
    examples = Corpus(corpus, limit=limit)(Work.nlp)
    return {
        "before": marks[0] - begin,
        "epochs": [end - start for start, end in zip(marks, marks[1:])],
        "words": sum(len(example.reference) for example in examples),
        "has_elmo": has_elmo,
    }


def annotate(limit: int) -> Dict[str, float]:
    """The whole pipeline, as it is after loading, on the treebank's docs; it knows no
    word yet.

    limit: docs; 0: all. RETURNS: seconds, and the docs' words.
    """
    nlp = reload({})
    texts = [
        [token.text for token in example.reference]
        for example in Corpus(Work.dev, limit=limit)(nlp)
    ]
    for _ in nlp.pipe([Doc(nlp.vocab, words=["Warm", "up"])]):
        pass
    docs = [Doc(nlp.vocab, words=words) for words in texts]
    start = time.perf_counter()
    for _ in nlp.pipe(docs):
        pass
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "words": sum(map(len, texts))}


def reload(config: Dict[str, Any]) -> Language:
    """What `train` trained, as a user would load it."""
    with tempfile.TemporaryDirectory() as folder:
        Work.nlp.to_disk(folder)
        return spacy.load(folder, config=config)


def score(precision: str, limit: int) -> float:
    """Of what `train` trained, on the treebank's own sentences, with the biLM in this
    precision; weighted as the config weights scores.

    limit: docs; 0: all.
    """
    nlp = reload({"components": {"elmo": {"model": {"precision": precision}}}})
    corpus = Corpus(Work.dev, gold_preproc=True, limit=limit)
    scores = nlp.evaluate(list(corpus(nlp)))
    weights = nlp.config["training"]["score_weights"]
    return sum(weight * scores[name] for name, weight in weights.items() if weight)


if __name__ == "__main__":
    serve({"train": train, "annotate": annotate, "score": score})
