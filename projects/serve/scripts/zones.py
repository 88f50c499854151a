"""Measure the memory of a pipeline over many short docs of new words, with and without
memory zones."""

import os
import random
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, Dict, Iterator, List

import spacy
import srsly
import torch
import typer
from load_test import resident_mb
from spacy.language import Language
from spacy.util import minibatch

N_WARM_UP = 5_000
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def make_texts(n_texts: int, seed: int) -> Iterator[str]:
    """Yield texts of ten words that are most likely new."""
    choice = random.Random(seed)
    for _ in range(n_texts):
        yield " ".join("".join(choice.choices(LETTERS, k=7)) for _ in range(10))


def run(nlp: Language, texts: Iterator[str], use_zones: bool) -> None:
    """Compute the vectors of all texts, in batches of 100."""
    for batch in minibatch(texts, 100):
        if use_zones:
            with nlp.memory_zone():
                consume(nlp, batch)
        else:
            consume(nlp, batch)


def consume(nlp: Language, texts: List[str]) -> None:
    for doc in nlp.pipe(texts):
        assert doc.vector.any() == ("elmo" in nlp.pipe_names)


def measure(n_docs: int, use_elmo: bool, use_zones: bool) -> Dict[str, Any]:
    """Memory over `n_docs`, a tenth of them at a time, once caches are full.

    n_docs (int): Number of docs.
    use_elmo (bool): Whether to compute vectors, or only to tokenize.
    use_zones (bool): Whether to process each batch in a memory zone.
    """
    nlp = spacy.blank("en")
    if use_elmo:
        settings = {"precision": "auto", "word_cache_mb": 8}
        nlp.add_pipe("elmo", config={"model": settings})
    run(nlp, make_texts(N_WARM_UP, seed=0), use_zones)
    memory, start = [resident_mb(os.getpid())], time.perf_counter()
    for tenth in range(1, 11):
        run(nlp, make_texts(n_docs // 10, seed=tenth), use_zones)
        memory.append(resident_mb(os.getpid()))
    return {
        "elmo": use_elmo,
        "memory_zones": use_zones,
        "docs": n_docs,
        "docs_per_second": round(n_docs / (time.perf_counter() - start)),
        "memory_mb": [round(megabytes, 1) for megabytes in memory],
        "memory_growth_percent": round(100 * (memory[-1] / memory[0] - 1), 2),
        "second_half_growth_percent": round(100 * (memory[-1] / memory[5] - 1), 2),
        "strings": len(nlp.vocab.strings),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def main(
    output: Annotated[Path, typer.Argument(help="JSON file to write")],
    n_docs: Annotated[int, typer.Option(help="Number of docs", min=10)] = 100_000,
) -> None:
    """Measure with and without memory zones, then spaCy's tokenizer alone in memory
    zones, and write all to OUTPUT."""
    variants = [(True, True), (True, False), (False, True)]
    # A process each: memory that a variant frees would hide the growth of the next.
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        results = pool.starmap(measure, [(n_docs, *each) for each in variants], 1)
    output.parent.mkdir(parents=True, exist_ok=True)
    srsly.write_json(output, results)
    print(srsly.json_dumps(results, indent=2))


if __name__ == "__main__":
    typer.run(main)
