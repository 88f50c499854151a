"""Compare the speed of writing a corpus' vectors with the speed of encoding alone."""

import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Callable, Dict, List, NamedTuple

import torch
import typer
from measuring import our_versions, summarize, summarize_all, write_results
from treebank import read_sentences
from wasabi import msg

from spacy_elmo import load_bundled
from spacy_elmo.bilm import BiLM
from spacy_elmo.bilm.backends import cpu as kernels
from spacy_elmo.embedding.columns import select_columns
from spacy_elmo.embedding.output import open_vectors, write_vectors
from spacy_elmo.text.documents import DocumentSentence

MIX = "0.2,0.3,0.5"
"""The weights of the mix; others take the same time."""


class Output(NamedTuple):
    """What to write, as the options of `elmo embed` say."""

    name: str
    layers: str
    dtype: str

    def write(self, bilm: BiLM, text: List[DocumentSentence]) -> None:
        """Write the vectors of a text to a temporary folder."""
        layers, mix = ("all", MIX) if self.layers == "mix" else (self.layers, None)
        columns = select_columns(layers, mix, bilm.config.n_layers + 1)
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / self.name
            with open_vectors(output, {}) as parts:
                write_vectors(parts, output, bilm, text, columns, dtype=self.dtype)


OUTPUTS = {
    "Parquet, all layers, float32": Output("v.parquet", "all", "float32"),
    "Parquet, a mix, float16": Output("v.parquet", "mix", "float16"),
    "HDF5, all layers, float32": Output("v.hdf5", "all", "float32"),
    "HDF5, a mix, float16": Output("v.hdf5", "mix", "float16"),
}


def main(
    text: Annotated[Path, typer.Argument(help="CoNLL-U file", exists=True)],
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    n_sentences: Annotated[int, typer.Option(help="Sentences of TEXT, 0: all")] = 0,
    n_copies: Annotated[int, typer.Option(help="Copies of them to encode")] = 2,
    n_rounds: int = 3,
    threads: int = 1,
) -> None:
    """Measure words per second with the English weights, from tokenized text."""
    torch.set_num_threads(threads)
    words = read_sentences(text, n_sentences) * n_copies
    sentences = [DocumentSentence(0, i, s, range(len(s))) for i, s in enumerate(words)]
    n_words = sum(map(len, words))
    bilm = load_bundled()
    tasks: Dict[str, Callable[[], Any]] = {"encode": lambda: bilm.encode(words)}
    for name, output in OUTPUTS.items():
        tasks[name] = lambda output=output: output.write(bilm, sentences)
    rounds: List[Dict[str, Dict[str, float]]] = []
    for number in range(n_rounds):
        rounds.append({name: measure(task, bilm) for name, task in tasks.items()})
        msg.info(f"Round {number + 1} of {n_rounds}")
    found = {
        clock: compare([{name: one[name][clock] for name in one} for one in rounds])
        for clock in rounds[0]["encode"]
    }
    for name in OUTPUTS:
        shares = (
            f"{clock} {one['share'][name]['median']:.0%}"
            for clock, one in found.items()
        )
        msg.info(f"{name}: {', '.join(shares)} of encode")
    write_results(
        target,
        our_versions(),
        threads,
        n_rounds=n_rounds,
        words=n_words,
        instructions=getattr(kernels.selected(), "name", None),
        clocks=found,
    )


def measure(task: Callable[[], Any], bilm: BiLM) -> Dict[str, float]:
    """Time a task, with an empty word cache.

    RETURNS (Dict[str, float]): Seconds by clock: wall time; CPU time of the encoding
        thread, which excludes other processes; and CPU time of all threads, including
        the reader and the writer.
    """
    bilm.clear_cache()
    bilm.encode([["a"]] * 9)  # packs the weights
    clocks = {
        "elapsed": time.perf_counter,
        "encoding thread": time.thread_time,
        "all threads": time.process_time,
    }
    starts = {name: clock() for name, clock in clocks.items()}
    task()
    return {name: clock() - starts[name] for name, clock in clocks.items()}


def compare(seconds: List[Dict[str, float]]) -> Dict[str, Any]:
    """Summarize seconds, and the speed of each output as a share of that of encoding.
    Shares are computed within each round."""
    return {
        "seconds": summarize_all(seconds),
        "share": {
            name: summarize([one["encode"] / one[name] for one in seconds])
            for name in OUTPUTS
        },
    }


if __name__ == "__main__":
    typer.run(main)
