"""Whether all systems give the same vectors for the same weights."""

import tempfile
from pathlib import Path
from typing import Annotated, Any, Dict, List

import numpy as np
import typer
from models import Model
from peers import ALLENNLP, OURS, SYSTEMS, start_all, versions_of
from protocol import Team
from records import write_results
from treebank import BATCH_SIZE, Sentence, read_sentences
from wasabi import msg

# What is rare in the treebank, and easily goes wrong: a word longer than the network
# reads, one that is cut within a character, other scripts, a sentence of one word.
RARE: List[Sentence] = [
    ["x" * 60, "ä" * 30, "東京", "😀", "naïve"],
    ["One"],
]


def main(
    text: Annotated[Path, typer.Argument(help="CoNLL-U file", exists=True)],
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    folders: Annotated[
        List[Path], typer.Argument(help="Folders of weights", exists=True)
    ],
    threads: int = 2,
    tolerance: Annotated[float, typer.Option(help="Of vectors, absolute")] = 1e-4,
    gradient_tolerance: Annotated[
        float, typer.Option(help="Of gradients, in parts of the largest one")
    ] = 1e-3,
) -> None:
    """Compare vectors, and gradients with AllenNLP's. Fails where one is too far."""
    sentences = RARE + read_sentences(text, BATCH_SIZE - len(RARE))
    sizes: Dict[str, Any] = {}
    for folder in folders:
        # Each worker loads a text too, but a single sentence of it is enough here.
        model = Model(folder, 1)
        with Team(threads) as team, tempfile.TemporaryDirectory() as outputs:
            found = start_all(team, SYSTEMS, model, text)
            vectors = compare_vectors(team, sentences, Path(outputs))
        with Team(threads) as team, tempfile.TemporaryDirectory() as outputs:
            options = {ALLENNLP: {"trainable": True}}
            start_all(team, [OURS, ALLENNLP], model, text, options)
            gradient = compare_gradients(team, sentences, Path(outputs))
        sizes[model.name] = {"vectors": vectors, "gradient": gradient}
        msg.info(f"{model.name}: {sizes[model.name]}")
    write_results(
        target,
        versions_of(found),
        threads,
        sentences=len(sentences),
        tolerance=tolerance,
        gradient_tolerance=gradient_tolerance,
        sizes=sizes,
    )
    worst = max(
        difference
        for size in sizes.values()
        for layers in size["vectors"].values()
        for difference in layers
    )
    worst_gradient = max(size["gradient"]["relative"] for size in sizes.values())
    told = f"Vectors differ by {worst:.1e} at most, gradients by {worst_gradient:.1e}"
    if not (worst <= tolerance and worst_gradient <= gradient_tolerance):
        msg.fail(told, exits=1)
    msg.good(told)


def compare_vectors(
    team: Team, sentences: List[Sentence], folder: Path
) -> Dict[str, List[float]]:
    """The largest difference of a value, by pair of systems, layer by layer."""
    arrays: Dict[str, List[np.ndarray]] = {}
    for system, worker in team.workers.items():
        path = folder / f"{system}.npz"
        worker.ask("vectors", sentences=sentences, path=str(path))
        with np.load(path) as file:
            arrays[system] = [file[f"arr_{n}"] for n in range(len(sentences))]
    names = list(arrays)
    pairs = [(a, b) for n, a in enumerate(names) for b in names[n + 1 :]]
    return {f"{a}, {b}": differences(arrays[a], arrays[b]) for a, b in pairs}


def differences(left: List[np.ndarray], right: List[np.ndarray]) -> List[float]:
    """Layer by layer. Raises ValueError where a shape is another."""
    layers: List[List[float]] = []
    for number, (one, other) in enumerate(zip(left, right)):
        if one.shape != other.shape:
            raise ValueError(
                f"Sentence {number}: expected one shape, found {one.shape} and "
                f"{other.shape}."
            )
        # Not a number would hide in a maximum.
        distance = np.nan_to_num(np.abs(one - other), nan=np.inf)
        layers.append(distance.max(axis=(1, 2)).tolist())
    return [max(layer) for layer in zip(*layers)]


def compare_gradients(
    team: Team, sentences: List[Sentence], folder: Path
) -> Dict[str, Any]:
    """Of one loss, with respect to the characters' vectors: what flows there has gone
    through all the network."""
    losses, found = {}, []
    for system, worker in team.workers.items():
        path = folder / f"{system}.npy"
        losses[system] = worker.ask("gradient", sentences=sentences, path=str(path))
        found.append(np.load(path))
    left, right = found
    distance = np.nan_to_num(np.abs(left - right), nan=np.inf)
    return {"losses": losses, "relative": float(distance.max() / np.abs(right).max())}


if __name__ == "__main__":
    typer.run(main)
