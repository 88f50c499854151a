"""Compare the speed of scoring words by a softmax with the speed of encoding alone."""

import time
from pathlib import Path
from typing import Annotated, Any, Callable, Dict, List

import torch
import typer
from measuring import our_versions, summarize, summarize_all, write_results
from treebank import Sentence, read_sentences
from wasabi import msg

from spacy_elmo.bilm import BiLM, BiLMConfig
from spacy_elmo.bilm.backends import cpu as kernels
from spacy_elmo.bilm.softmax import FullSoftmax
from spacy_elmo.scoring.scorer import Scorer
from spacy_elmo.text.vocabulary import BEGIN, END, UNKNOWN

TEXTS = ("new text", "known words")
"""With an empty word cache, and with all words in it."""


def main(
    text: Annotated[Path, typer.Argument(help="CoNLL-U file", exists=True)],
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    sizes: Annotated[
        List[str], typer.Argument(help="Sizes of the LSTMs: DIM/PROJECTION_DIM")
    ],
    n_words: Annotated[int, typer.Option(help="Words of the output layer")] = 50_000,
    n_sentences: Annotated[int, typer.Option(help="Sentences of TEXT, 0: all")] = 400,
    n_rounds: int = 5,
    threads: int = 1,
) -> None:
    """Measure words per second with random weights: speed does not depend on what they
    have learned. With one thread, the time is the thread's own, in which other
    processes do not count."""
    torch.set_num_threads(threads)
    sentences = read_sentences(text, n_sentences)
    found: Dict[str, Any] = {}
    for size in sizes:
        scorer = make_scorer(size, n_words)
        found[size] = {
            precision: measure(scorer, sentences, precision, n_rounds, threads)
            for precision in ("float32", "bfloat16")
        }
        for precision, each in found[size].items():
            ratios = {kind: round(each[kind]["ratio"]["median"], 2) for kind in TEXTS}
            msg.info(f"{size}, {precision}: scoring / encoding: {ratios}")
    write_results(
        target,
        our_versions(),
        threads,
        n_rounds=n_rounds,
        n_words=n_words,
        tokens=sum(map(len, sentences)),
        instructions=getattr(kernels.selected(), "name", None),
        sizes=found,
    )


@torch.no_grad()
def make_scorer(size: str, n_words: int) -> Scorer:
    dim, width = map(int, size.split("/"))
    torch.manual_seed(0)
    words = [BEGIN, END, UNKNOWN, *(f"word {i}" for i in range(n_words - 3))]
    bilm = BiLM(BiLMConfig(dim=dim, projection_dim=width))
    return Scorer(bilm, FullSoftmax(n_words, width), words)


def measure(
    scorer: Scorer,
    sentences: List[Sentence],
    precision: str,
    n_rounds: int,
    threads: int,
) -> Dict[str, Any]:
    """Measure both in alternation, by kind of text."""
    bilm, n_tokens = scorer.bilm, sum(map(len, sentences))
    tasks: Dict[str, Callable[[], Any]] = {
        "encode": lambda: bilm.encode(sentences, precision=precision),
        "score": lambda: scorer.log_probs(sentences, precision=precision),
    }
    found: Dict[str, Any] = {}
    for kind in TEXTS:
        rounds = []
        for number in range(n_rounds + 1):
            speeds = {}
            for name, task in tasks.items():
                if kind == "new text":
                    forget_words(bilm, precision)
                speeds[name] = n_tokens / seconds(task, threads)
            if number:  # the first one packs weights
                rounds.append(speeds)
        found[kind] = {
            **summarize_all(rounds),
            "ratio": summarize([one["score"] / one["encode"] for one in rounds]),
        }
    return found


def forget_words(bilm: BiLM, precision: str) -> None:
    """Empty the word cache, and pack the weights again."""
    bilm.clear_cache()
    bilm.encode([["a"]], precision=precision)


def seconds(task: Callable[[], Any], threads: int) -> float:
    clock = time.thread_time if threads == 1 else time.perf_counter
    start = clock()
    task()
    return clock() - start


if __name__ == "__main__":
    typer.run(main)
