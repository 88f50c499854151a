"""Measure words per second and peak memory by batch_tokens, length, threads, size."""

import sys
from pathlib import Path
from typing import Annotated, Any, Dict, List, NamedTuple

import typer
from measuring import (
    MODELS,
    Model,
    Summary,
    our_versions,
    parse_models,
    summarize_all,
    write_results,
)
from protocol import Team
from wasabi import msg

BATCH_TOKENS = (64, 256, 1024, 4096)
DEFAULT_BATCH_TOKENS = 4096
SENTENCE_LENGTHS = (10, 100, 1000, 10_000, 100_000)
DOC_LENGTHS = (100, 1000, 10_000, 100_000)
LONGEST_SENTENCE = {"small": 100_000}
LONGEST_SENTENCE_ELSE = 1000
"""A sentence is processed word by word, each word with all weights of the LSTMs: longer
sentences would take minutes."""
LONGEST_DOC = 10
"""Longest doc, as a multiple of the longest sentence: the component cuts docs into
windows."""
LONG = 100_000
"""Number of words from which a single round is enough."""


class Point(NamedTuple):
    """Point of a curve: a task of the worker at one value."""

    task: str
    value: int
    threads: int
    n_rounds: int


def main(
    text: Annotated[Path, typer.Argument(help="CoNLL-U file", exists=True)],
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    models: Annotated[List[str], typer.Argument(help=MODELS)],
    n_words: Annotated[
        int, typer.Option(help="Total words of texts of equal length")
    ] = 2000,
    longest: Annotated[int, typer.Option(help="Skip longer texts")] = LONG,
    n_rounds: int = 2,
    threads: int = 2,
) -> None:
    """Each point is measured in fresh processes, so that their peaks are separate."""
    sizes: Dict[str, Any] = {}
    for model in parse_models(models):
        measured: Dict[Point, Dict[str, Summary]] = {}
        curves = plan(model.name, longest, threads, n_rounds)
        for point in (p for points in curves.values() for p in points.values()):
            # Curves meet at the default setting.
            if point not in measured:
                measured[point] = measure(point, model, text, n_words)
                msg.info(f"{model.name}, {point}: {shown(measured[point])}")
        sizes[model.name] = {
            name: {at: measured[point] for at, point in points.items()}
            for name, points in curves.items()
        }
    write_results(
        target,
        our_versions(),
        threads,
        n_rounds=n_rounds,
        default_batch_tokens=DEFAULT_BATCH_TOKENS,
        sizes=sizes,
    )


def plan(
    size: str, longest: int, threads: int, n_rounds: int
) -> Dict[str, Dict[str, Point]]:
    """Plan the curves and their points."""
    sentence = LONGEST_SENTENCE.get(size, LONGEST_SENTENCE_ELSE)

    def lengths(task: str, all_lengths: tuple, bound: int) -> Dict[str, Point]:
        return {
            str(length): Point(task, length, threads, 1 if length >= LONG else n_rounds)
            for length in all_lengths
            if length <= min(bound, longest)
        }

    return {
        "batch_tokens": {
            str(tokens): Point("batch_tokens", tokens, threads, n_rounds)
            for tokens in BATCH_TOKENS
        },
        "threads": {
            str(number): Point("batch_tokens", DEFAULT_BATCH_TOKENS, number, n_rounds)
            for number in range(1, threads + 1)
        },
        "sentence_length": lengths("sentence_length", SENTENCE_LENGTHS, sentence),
        "doc_length": lengths("doc_length", DOC_LENGTHS, LONGEST_DOC * sentence),
    }


def measure(point: Point, model: Model, text: Path, n_words: int) -> Dict[str, Summary]:
    rounds = []
    for _ in range(point.n_rounds):
        with Team(point.threads) as team:
            worker = team.start("scaling", sys.executable, "our_worker.py")
            loaded = worker.ask(
                "load",
                weights=str(model.folder),
                text=str(text),
                n_sentences=model.n_sentences,
            )
            answer = worker.ask(point.task, value=point.value, n_words=n_words)
        rounds.append({**answer, "parameters": loaded["parameters"]})
    return summarize_all(rounds)


def shown(point: Dict[str, Summary]) -> str:
    speed, memory = (point[key]["median"] for key in ("words_per_second", "peak_mb"))
    return f"{speed:,.0f} words/s, {memory:,.0f} MiB"


if __name__ == "__main__":
    typer.run(main)
