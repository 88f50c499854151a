"""Compare the speed of small biLMs through `nlp.pipe` with that of the weights that
ship."""

import time
from pathlib import Path
from typing import Annotated, Any, Dict, List, Optional, Tuple

import spacy
import torch
import typer
from measuring import our_versions, summarize, write_results
from spacy.language import Language
from spacy.tokens import Doc
from treebank import Sentence, read_sentences
from wasabi import msg

from spacy_elmo.bilm import BiLM, BiLMConfig
from spacy_elmo.bilm.backends import cpu as kernels

FILTERS = ((1, 32), (2, 32), (3, 64), (4, 128), (5, 128), (6, 128))
"""Sizes in configs/pretrain_distill.cfg."""

SHIPPED = "shipped"
TEXTS = ("new text", "known words")
"""With an empty word cache, and with all words in it."""


def main(
    text: Annotated[Path, typer.Argument(help="CoNLL-U file", exists=True)],
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    sizes: Annotated[
        List[str], typer.Argument(help="Sizes: DIM/PROJECTION_DIM/LAYERS")
    ],
    n_sentences: Annotated[int, typer.Option(help="Sentences of TEXT, 0: all")] = 0,
    n_rounds: int = 5,
) -> None:
    """Measure words per second in alternation, with random weights: speed does not
    depend on what they have learned. There is one thread, whose own time is counted."""
    torch.set_num_threads(1)
    sentences = read_sentences(text, n_sentences)
    pipelines = {SHIPPED: make_pipeline(None), **{s: make_pipeline(s) for s in sizes}}
    speeds: Dict[str, Dict[str, List[float]]] = {
        name: {kind: [] for kind in TEXTS} for name in pipelines
    }
    for number in range(n_rounds + 1):
        for name, (nlp, bilm) in pipelines.items():
            bilm.clear_cache()
            pipe(nlp, [["a"]] * 9)  # packs the weights
            for kind in TEXTS:
                found = sum(map(len, sentences)) / pipe(nlp, sentences)
                if number:
                    speeds[name][kind].append(found)
    results: Dict[str, Any] = {}
    for name, (_, bilm) in pipelines.items():
        results[name] = {"parameters": bilm.n_parameters}
        for kind in TEXTS:
            pairs = zip(speeds[name][kind], speeds[SHIPPED][kind])
            results[name][kind] = {
                "words_per_second": summarize(speeds[name][kind]),
                "ratio": summarize([own / shipped for own, shipped in pairs]),
            }
        ratios = {
            kind: round(results[name][kind]["ratio"]["median"], 2) for kind in TEXTS
        }
        msg.info(f"{name}, {bilm.n_parameters:,} parameters: times shipped: {ratios}")
    write_results(
        target,
        our_versions(),
        1,
        n_rounds=n_rounds,
        tokens=sum(map(len, sentences)),
        instructions=getattr(kernels.selected(), "name", None),
        sizes=results,
    )


def make_pipeline(size: Optional[str]) -> Tuple[Language, BiLM]:
    """Make a pipeline of `elmo` alone, in float32.

    size (Optional[str]): DIM/PROJECTION_DIM/LAYERS, or None for the weights that ship.
    """
    nlp = spacy.blank("en")
    elmo: Any = nlp.add_pipe("elmo")
    if size is not None:
        dim, width, n_layers = map(int, size.split("/"))
        torch.manual_seed(0)
        config = BiLMConfig(
            filters=FILTERS,
            n_highway=1,
            dim=dim,
            projection_dim=width,
            n_layers=n_layers,
        )
        elmo.set_bilm(BiLM(config))
    return nlp, elmo.bilm


def pipe(nlp: Language, sentences: List[Sentence]) -> float:
    """Process a doc per sentence, and return the seconds of this thread."""
    docs = [Doc(nlp.vocab, words) for words in sentences]
    start = time.thread_time()
    for _ in nlp.pipe(docs):
        pass
    return time.thread_time() - start


if __name__ == "__main__":
    typer.run(main)
