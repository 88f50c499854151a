"""Tasks that time the epochs of `spacy train`. See `protocol`."""

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
    """State shared by the tasks, set by `train`."""

    nlp: Language
    dev: str


class EpochClock:
    """Time of each epoch's first update."""

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
    """Train with a config for `n_epochs`, without early stopping, evaluation and log,
    which are not measured.

    config (str): Path of the config.
    corpus (str): Path of the training docs.
    dev (str): Path of the development docs.
    weights (str): Folder of the biLM, if the config uses one.
    n_epochs (int): Number of epochs.
    limit (int): Maximum number of docs; 0: all.
    RETURNS (Dict[str, Any]): Seconds before the first epoch and of each epoch, the
        number of words, and whether the pipeline has a biLM.
    """
    settings = load_config(Path(config), interpolate=False)
    has_elmo = "elmo" in settings["paths"]
    settings["paths"].update({"train": corpus, "dev": dev})
    if has_elmo:
        settings["paths"]["elmo"] = weights
    settings["corpora"]["train"]["limit"] = limit
    # The loop evaluates once, after its first step.
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
    """Run the pipeline, freshly loaded and with an empty word cache, on the treebank.

    limit (int): Maximum number of docs; 0: all.
    RETURNS (Dict[str, float]): Seconds, and the number of words.
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
    """Load the trained pipeline as a user would."""
    with tempfile.TemporaryDirectory() as folder:
        Work.nlp.to_disk(folder)
        return spacy.load(folder, config=config)


def score(precision: str, limit: int) -> float:
    """Score the trained pipeline on gold-standard sentences, by the config's weights.

    precision (str): Precision of the biLM.
    limit (int): Maximum number of docs; 0: all.
    RETURNS (float): The weighted score.
    """
    nlp = reload({"components": {"elmo": {"model": {"precision": precision}}}})
    corpus = Corpus(Work.dev, gold_preproc=True, limit=limit)
    scores = nlp.evaluate(list(corpus(nlp)))
    weights = nlp.config["training"]["score_weights"]
    return sum(weight * scores[name] for name, weight in weights.items() if weight)


if __name__ == "__main__":
    serve({"train": train, "annotate": annotate, "score": score})
