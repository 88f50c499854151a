"""Embed a corpus through nlp.pipe and print words per second and peak memory."""

import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Annotated

import spacy
import srsly
import typer
from spacy.tokens import DocBin

import spacy_elmo


def main(
    corpus: Annotated[Path, typer.Argument(help="A .spacy file.", exists=True)],
    weights: Annotated[Path, typer.Argument(help="A folder of weights.", exists=True)],
    output: Annotated[Path, typer.Argument(help="JSON file to write.")],
    runs: Annotated[int, typer.Option(help="Counted runs, after a warm-up.")] = 3,
    batch_size: Annotated[int, typer.Option(help="Docs a batch of nlp.pipe.")] = 128,
) -> None:
    """Write and print the median of RUNS. The docs' layers are dropped after each
    batch, so the peak is that of one batch of docs."""
    nlp = spacy.blank("en")
    nlp.add_pipe("elmo").set_bilm(spacy_elmo.load_bilm(weights))  # type: ignore
    texts = list(DocBin().from_disk(corpus).get_docs(nlp.vocab))
    n_words = sum(not token.is_space for doc in texts for token in doc)
    seconds = []
    for run in range(runs + 1):
        docs = (doc.copy() for doc in texts)
        start = time.perf_counter()
        for _ in nlp.pipe(docs, batch_size=batch_size):
            pass
        if run:
            seconds.append(time.perf_counter() - start)
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    result = {
        "corpus": corpus.name,
        "weights": weights.name,
        "words": n_words,
        "words_per_second": round(n_words / statistics.median(seconds)),
        "slowest": round(n_words / max(seconds)),
        "fastest": round(n_words / min(seconds)),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    srsly.write_json(output, result)
    print(result)


if __name__ == "__main__":
    typer.run(main)
