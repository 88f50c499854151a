"""Measure two actors against one, and against `elmo embed`, which is one process."""

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Dict, List

import pyarrow.parquet as pq
import ray
import srsly
import torch
import typer
from embed import embed
from wasabi import msg

from spacy_elmo import load_bundled
from spacy_elmo.bilm.backends import cpu as kernels
from spacy_elmo.embedding.columns import select_columns
from spacy_elmo.embedding.output import open_vectors, write_vectors
from spacy_elmo.embedding.parquet_corpus import RowGroup, list_row_groups
from spacy_elmo.formats.bundled import bundled_folder
from spacy_elmo.text.documents import MAX_WORDS, split_texts
from spacy_elmo.text.tokenization import Tokenization

Figures = Dict[str, float]
WAYS = ("elmo embed", "1 actor", "2 actors")


def main(
    corpus: Annotated[Path, typer.Argument(help="Parquet file or folder")],
    target: Annotated[Path, typer.Argument(help="JSON file to write")],
    rounds: Annotated[int, typer.Option(help="Number of rounds", min=1)] = 3,
    row_groups: Annotated[int, typer.Option(help="Row groups to embed, 0: all")] = 0,
) -> None:
    """Measure words per second with the English weights, top layer, float16, one thread
    per process, without the time to start. The ways alternate, and are compared within
    each round, so that what else the machine does affects all of them."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    groups = list_row_groups(corpus.resolve(), "text")[: row_groups or None]
    ray.init(address="local", num_cpus=2)
    found: List[Dict[str, Figures]] = []
    for number in range(rounds):
        found.append({})
        for way in WAYS:
            with tempfile.TemporaryDirectory() as folder:
                if way == "elmo embed":
                    figures = embed_alone(groups, Path(folder) / "vectors")
                else:
                    figures = embed_with_ray(groups, Path(folder), int(way[0]))
            found[-1][way] = figures
            msg.info(f"Round {number + 1}, {way}: {figures}")
        target.parent.mkdir(parents=True, exist_ok=True)
        srsly.write_json(target, {**summarize(found), "rounds": found})
    msg.good(str(target))


def embed_alone(groups: List[RowGroup], output: Path) -> Figures:
    """Do what `elmo embed` does, in this process."""
    texts = (
        text
        for group in groups
        for text in pq.ParquetFile(group.path)
        .read_row_group(group.group, columns=["text"])["text"]
        .to_pylist()
    )
    bilm = load_bundled()
    bilm.encode([["a"]] * 9)  # packs the weights
    columns = select_columns("top", None, bilm.config.n_layers + 1)
    tokenize = Tokenization("en").make_tokenizer()
    start, cpu_start = time.time(), time.process_time()
    with open_vectors(output, {}) as parts:
        sentences = split_texts(tokenize, texts, max_words=MAX_WORDS)
        written = write_vectors(
            parts, output, bilm, sentences, columns, dtype="float16"
        )
    cpu_seconds = time.process_time() - cpu_start
    return to_figures(written.n_words, time.time() - start, cpu_seconds)


def embed_with_ray(groups: List[RowGroup], folder: Path, n_actors: int) -> Figures:
    """Embed with a pool of actors, timed from the first row group to the last."""
    settings = {
        "weights": [str(bundled_folder())],
        "layers": "top",
        "mix": None,
        "n_threads": 1,
        "gpu": False,
        "tokenization": Tokenization("en"),
        "dtype": "float16",
        "folder": folder,
    }
    rows = list(embed(groups, settings, n_actors, num_cpus=1))
    elapsed = max(row["end"] for row in rows) - min(row["start"] for row in rows)
    n_words = sum(row["n_words"] for row in rows)
    return to_figures(n_words, elapsed, sum(row["cpu_seconds"] for row in rows))


def to_figures(n_words: int, elapsed: float, cpu_seconds: float) -> Figures:
    return {
        "words": n_words,
        "words_per_second": round(n_words / elapsed),
        "words_per_cpu_second": round(n_words / cpu_seconds),
        "cores_used": round(cpu_seconds / elapsed, 2),
    }


def summarize(found: List[Dict[str, Figures]]) -> Dict[str, Any]:
    """Medians, and medians of the ratios within each round."""

    def median_ratio(way: str, other: str, name: str) -> float:
        ratios = (each[way][name] / each[other][name] for each in found)
        return round(statistics.median(ratios), 3)

    return {
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "instructions": getattr(kernels.selected(), "name", None),
        "cores": os.cpu_count(),
        "median": {
            way: {
                name: statistics.median(each[way][name] for each in found)
                for name in found[0][way]
            }
            for way in WAYS
        },
        "ratio": {
            f"{way} : {other}": {
                name: median_ratio(way, other, name)
                for name in ("words_per_second", "words_per_cpu_second")
            }
            for way, other in (
                ("2 actors", "1 actor"),
                ("1 actor", "elmo embed"),
                ("2 actors", "elmo embed"),
            )
        },
    }


if __name__ == "__main__":
    typer.run(main)
