"""Compute the vectors of the inputs that are compared, and their speed."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any, Dict, List, NamedTuple, Sequence

import numpy as np
import srsly
import typer
from environments import MARK, python_of
from measuring import ENVIRONMENTS, ratios, summarize_all, write_results
from protocol import Team, Worker
from treebank import spread
from wasabi import msg

app = typer.Typer()

OURS = "elmo float32"
PRECISIONS = ("elmo bfloat16", "elmo int8")
PEERS = ("minilm", "en_core_web_sm", "floret")
INPUTS = (OURS, *PRECISIONS, *PEERS)
CNN = "cnn"
"""spaCy's CNN has no vectors before it is trained; only its speed is measured here."""

FLORET = "floret.bin"
IDENTITY = "input.json"

Sets = Annotated[Path, typer.Argument(help="Folder of the sets", exists=True)]
Folder = Annotated[Path, typer.Argument(help="Folder of the vectors")]
Weights = Annotated[Path, typer.Argument(help="Folder of our weights", exists=True)]


class Set(NamedTuple):
    """Annotated sentences. For the format, see input_sets.py."""

    words: List[List[str]]
    spans: List[List[List[int]]]
    rows: List[Dict[str, Any]]

    @property
    def labels(self) -> List[Any]:
        return [label for row in self.rows for label in row["labels"]]


def read_set(path: Path) -> Set:
    rows = list(srsly.read_jsonl(path))
    return Set([row["words"] for row in rows], [row["spans"] for row in rows], rows)


class Features:
    """Vectors of an input in a folder, one file per set."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.folder = folder / name.replace(" ", "-")

    @property
    def identity(self) -> Dict[str, Any]:
        """SHA-256 of the weights, and versions. Exits if there are no vectors."""
        path = self.folder / IDENTITY
        if not path.is_file():
            msg.fail(f"Expected {path}, found no such file", "Run inputs-features.")
            raise typer.Exit(1)
        found: Dict[str, Any] = srsly.read_json(path)
        return found

    def path(self, part: Path) -> Path:
        """Name the file by the weights and the sentences."""
        digest = hashlib.sha256(json.dumps(self.identity["weights"]).encode())
        digest.update(part.read_bytes())
        return self.folder / f"{part.stem}-{digest.hexdigest()[:12]}.npy"

    def read(self, part: Path) -> np.ndarray:
        """Read the vectors, float16 of shape (n_layers, n_spans, width)."""
        return np.load(self.path(part), mmap_mode="r")


def start(team: Team, name: str) -> Worker:
    """Start an input's worker. Exits if its environment is missing."""
    python = sys.executable
    if name not in (OURS, *PRECISIONS, CNN):
        folder = ENVIRONMENTS / "inputs"
        if not (folder / MARK).is_file():
            msg.fail(
                "No environment at environments/inputs",
                "Create it with `python -m spacy project run inputs-environment`.",
                exits=1,
            )
        python = python_of(folder)
    return team.start(name, python, "input_worker.py")


@app.command()
def features(
    sets: Sets,
    folder: Folder,
    weights: Weights,
    text: Annotated[
        Path, typer.Argument(help="Raw text (.xz) for floret", exists=True)
    ],
    words: Annotated[int, typer.Option(help="Words of it")] = 5_000_000,
    epochs: Annotated[int, typer.Option(help="Passes over it")] = 5,
) -> None:
    """Write the vectors of each set to FOLDER, except those that exist."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in INPUTS:
        with Team(threads=1) as team:
            worker = start(team, name)
            floret = folder / FLORET
            if name == "floret" and not floret.is_file():
                worker.ask(
                    "train_floret",
                    text=str(text),
                    target=str(floret),
                    n_words=words,
                    n_epochs=epochs,
                )
            path = floret if name == "floret" else weights
            identity = worker.ask("load", name=name, path=str(path))
            found = Features(folder, name)
            found.folder.mkdir(exist_ok=True)
            srsly.write_json(found.folder / IDENTITY, identity)
            for part in sorted(sets.glob("*.jsonl")):
                add(worker, found, part)


def add(worker: Worker, found: Features, part: Path) -> None:
    """Write the vectors of one set unless they exist, and delete older ones."""
    target = found.path(part)
    if target.is_file():
        return
    for old in found.folder.glob(f"{part.stem}-{'?' * 12}.npy"):
        old.unlink()
    content = read_set(part)
    spent = worker.ask(
        "encode", sentences=content.words, spans=content.spans, target=str(target)
    )
    msg.info(f"{found.name}, {part.stem}: {spent['cpu_seconds']:.1f} s")


@app.command()
def speed(
    sets: Sets,
    folder: Folder,
    weights: Weights,
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    sentences: Annotated[int, typer.Option(help="Evenly spaced; 0: all")] = 200,
    n_rounds: int = 3,
) -> None:
    """Measure words per CPU second with one thread, in rounds in which the inputs take
    turns."""
    text = spread(read_set(sets / "upos-test.jsonl").words, sentences)
    n_words = sum(map(len, text))
    names: Sequence[str] = (*INPUTS, CNN)
    rounds = []
    with Team(threads=1) as team:
        # All of them import their packages while the first loads.
        workers = {name: start(team, name) for name in names}
        loaded = {
            name: worker.ask(
                "load",
                name=name,
                path=str(folder / FLORET if name == "floret" else weights),
            )
            for name, worker in workers.items()
        }
        for number in range(n_rounds):
            spent = {
                name: workers[name].ask("speed", sentences=text)["cpu_seconds"]
                for name in names
            }
            rounds.append({name: n_words / spent[name] for name in names})
            msg.info(f"Round {number + 1}: {rounds[-1]}")
    write_results(
        target,
        {name: one["versions"] for name, one in loaded.items()},
        1,
        n_rounds=n_rounds,
        words=n_words,
        sentences=len(text),
        weights={name: one["weights"] for name, one in loaded.items()},
        words_per_cpu_second=summarize_all(rounds),
        relative_to_ours=ratios(rounds, names, [OURS])[OURS],
    )


if __name__ == "__main__":
    app()
