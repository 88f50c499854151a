"""Embed a Parquet corpus with a pool of Ray actors, on one machine or a cluster."""

import os
import time
from pathlib import Path
from typing import Annotated, Any, Dict, Iterator, List, Optional

import ray
import torch
import typer
from wasabi import msg

from spacy_elmo import load_bilm
from spacy_elmo.cli._util import (
    Precision,
    choose_tokenization,
    command,
    weights_paths,
)
from spacy_elmo.embedding.columns import select_columns
from spacy_elmo.embedding.parquet_corpus import (
    RowGroup,
    RowGroupEmbedder,
    list_row_groups,
    open_output,
)
from spacy_elmo.files import hash_files


class Actor:
    """Loads the biLM once, and embeds row groups.

    weights (List[str]): Paths for `load_bilm`.
    layers (str): As for `select_columns`.
    mix (Optional[str]): As for `select_columns`.
    n_threads (int): Number of threads on a CPU.
    gpu (bool): Whether to compute on the GPU that Ray has assigned.
    settings: For `RowGroupEmbedder`.
    """

    def __init__(
        self,
        weights: List[str],
        layers: str,
        mix: Optional[str],
        n_threads: int,
        gpu: bool,
        **settings: Any,
    ) -> None:
        torch.set_num_threads(n_threads)
        bilm = load_bilm(*weights).to("cuda" if gpu else "cpu")
        columns = select_columns(layers, mix, bilm.config.n_layers + 1)
        self.embed = RowGroupEmbedder(bilm=bilm, columns=columns, **settings)

    def __call__(self, row: Dict[str, Any]) -> Dict[str, Any]:
        """Embed a row group.

        row (Dict[str, Any]): The row group, as a row of a Ray dataset.
        RETURNS (Dict[str, Any]): The same, what was written, by whom, and when.
        """
        start, cpu_start = time.time(), time.process_time()
        written = self.embed(RowGroup(**row))
        return {
            **row,
            **written._asdict(),
            "process": os.getpid(),
            "start": start,
            "end": time.time(),
            "cpu_seconds": time.process_time() - cpu_start,
        }


def main(
    corpus: Annotated[
        Path, typer.Argument(help="Parquet file or folder, one row per document")
    ],
    output: Annotated[Path, typer.Argument(help="Folder to write, on a shared disk")],
    column: Annotated[str, typer.Option(help="Column of the text")] = "text",
    model: Annotated[
        Optional[str], typer.Option(help="Weights; default: those that ship")
    ] = None,
    layers: Annotated[str, typer.Option(help="As for elmo embed")] = "all",
    mix: Annotated[Optional[str], typer.Option(help="As for elmo embed")] = None,
    half: Annotated[bool, typer.Option(help="Write float16")] = False,
    compress: Annotated[bool, typer.Option(help="Compress with Zstandard")] = False,
    tokenizer: Annotated[Optional[str], typer.Option(help="As for elmo embed")] = None,
    sentences: Annotated[Optional[str], typer.Option(help="As for elmo embed")] = None,
    precision: Precision = Precision.float32,
    actors: Annotated[int, typer.Option(help="Number of actors", min=1)] = 1,
    cpus: Annotated[int, typer.Option(help="Cores per actor", min=1)] = 1,
    gpus: Annotated[int, typer.Option(help="GPUs per actor: 0 or 1", max=1)] = 0,
    address: Annotated[
        str, typer.Option(help="Ray cluster: local to start one, auto, or HOST:PORT")
    ] = "local",
) -> None:
    """Write the vectors of CORPUS to Parquet files in OUTPUT, one per row group, with
    the columns that `elmo embed` writes.

    If the run is interrupted, run it again to resume.
    """
    with command():
        weights = weights_paths(model)
        tokenization = choose_tokenization(weights, tokenizer, sentences, column)
        groups = list_row_groups(corpus.resolve(), column)
        settings = {
            "tokenization": tokenization,
            "dtype": "float16" if half else "float32",
            "compress": compress,
            "precision": precision.value,
        }
        identity = {
            **settings,
            "weights": hash_files(weights),
            "layers": mix or layers,
        }
        actor_settings = {
            **settings,
            "folder": output.resolve(),
            "weights": [str(Path(path).resolve()) for path in weights],
            "layers": layers,
            "mix": mix,
            "n_threads": cpus,
            "gpu": gpus > 0,
        }
        with open_output(output.resolve(), groups, identity) as remaining:
            msg.info(f"{len(remaining):,} of {len(groups):,} row groups to embed")
            if remaining:
                if len(remaining) < actors:
                    msg.warn(f"{actors} actors, of which some will have nothing to do")
                ray.init(address=address)
            n_sentences = n_words = 0
            for row in embed(
                remaining, actor_settings, actors, num_cpus=cpus, num_gpus=gpus
            ):
                n_sentences += row["n_sentences"]
                n_words += row["n_words"]
        msg.good(
            f"{n_sentences:,} sentences, {n_words:,} words",
            str(output),
        )


def embed(
    groups: List[RowGroup], settings: Dict[str, Any], n_actors: int, **resources: Any
) -> Iterator[Dict[str, Any]]:
    """Embed row groups with a pool of actors. Ray restarts an actor that has died, and
    gives it its row group again.

    groups (List[RowGroup]): The row groups.
    settings (Dict[str, Any]): For `Actor`.
    n_actors (int): Number of actors.
    resources: What each actor needs, as Ray names it.
    YIELDS (Dict[str, Any]): The row that `Actor` returns for each row group.
    """
    if not groups:
        return
    # A block is the unit that Ray schedules and retries.
    rows = ray.data.from_items(
        [group._asdict() for group in groups], override_num_blocks=len(groups)
    )
    # Row groups take long: one that waits for a busy actor would delay the end.
    pool = ray.data.ActorPoolStrategy(size=n_actors, max_tasks_in_flight_per_actor=1)
    yield from rows.map(
        Actor, fn_constructor_kwargs=settings, compute=pool, **resources
    ).iter_rows()


if __name__ == "__main__":
    typer.run(main)
