"""Compare spacy-elmo with its peers on the same weights and text: vectors,
words per second, training; and bfloat16 with float32."""

import tempfile
from pathlib import Path
from typing import Annotated, Any, Dict, List

import numpy as np
import typer
from measuring import (
    ALLENNLP,
    MODELS,
    OURS,
    SIMPLE_ELMO,
    SYSTEMS,
    Model,
    parse_models,
    ratios,
    start_all,
    summarize_all,
    versions_of,
    write_results,
)
from protocol import Team, Worker
from treebank import BATCH_SIZE, Sentence, read_sentences
from wasabi import msg

app = typer.Typer()

# Rare in the treebank and easy to get wrong: a word that is longer than the network
# reads, one that is cut within a character, other scripts, a sentence of one word.
RARE: List[Sentence] = [
    ["x" * 60, "ä" * 30, "東京", "😀", "naïve"],
    ["One"],
]

PASSES = ("batches", "cold", "warm")
PEERS = ("allennlp", "allennlp from words", "allennlp cached", "simple_elmo")
"""AllenNLP from precomputed character ids, from words, and with precomputed vectors of
all words; simple_elmo from words."""

Figures = Dict[str, Dict[str, float]]

Text = Annotated[Path, typer.Argument(help="CoNLL-U file", exists=True)]
Target = Annotated[Path, typer.Argument(help="JSON file to write")]
Models = Annotated[List[str], typer.Argument(help=MODELS)]


@app.command()
def agree(
    text: Text,
    target: Target,
    folders: Annotated[
        List[Path], typer.Argument(help="Folders of weights", exists=True)
    ],
    threads: int = 2,
    tolerance: Annotated[
        float, typer.Option(help="Absolute tolerance of vectors")
    ] = 1e-4,
    gradient_tolerance: Annotated[
        float, typer.Option(help="Tolerance of gradients, relative to the largest one")
    ] = 1e-3,
) -> None:
    """Compare the vectors of all systems, and gradients with AllenNLP's. Fails if a
    difference exceeds its tolerance."""
    sentences = RARE + read_sentences(text, BATCH_SIZE - len(RARE))
    sizes: Dict[str, Any] = {}
    for folder in folders:
        # Each worker loads a text as well; a single sentence of it is enough here.
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
    told = (
        f"Vectors differ by up to {worst:.1e}, gradients by up to {worst_gradient:.1e}"
    )
    if not (worst <= tolerance and worst_gradient <= gradient_tolerance):
        msg.fail(told, exits=1)
    msg.good(told)


@app.command()
def inference(
    text: Text, target: Target, models: Models, n_rounds: int = 3, threads: int = 2
) -> None:
    """Measure words per second of all systems, and our LSTMs alone.

    In each round the systems take turns, each right after the machine's matrix peak.
    """
    sizes: Dict[str, Any] = {}
    for model in parse_models(models):
        with Team(threads) as team:
            found = start_all(team, SYSTEMS, model, text)
            ours = found[OURS]
            precisions = ["float32"] + ["bfloat16"] * ours["native_bfloat16"]
            team.workers[SIMPLE_ELMO].ask("warm_up")
            rounds = []
            for number in range(n_rounds):
                rounds.append(inference_round(team, ours["words"], precisions))
                show(model, number, rounds[-1]["speeds"])
        sizes[model.name] = {
            "words": ours["words"],
            "sentences": ours["sentences"],
            "parameters": ours["parameters"],
            **gather(rounds, precisions),
        }
    write_results(
        target,
        versions_of(found),
        threads,
        n_rounds=n_rounds,
        batch_size=BATCH_SIZE,
        sizes=sizes,
    )


@app.command()
def training(
    text: Text,
    target: Target,
    models: Models,
    n_batches: Annotated[int, typer.Option(help="Evenly spaced; 0: all")] = 4,
    n_rounds: int = 3,
    threads: int = 2,
) -> None:
    """Measure the forward and backward pass through a biLM that is not frozen, and
    AllenNLP's.

    The loss is a fixed random projection of all layers. No optimizer runs: it would be
    the same for both.
    """
    sizes: Dict[str, Any] = {}
    options: Dict[str, Dict[str, Any]] = {
        OURS: {"n_batches": n_batches},
        ALLENNLP: {"n_batches": n_batches, "trainable": True},
    }
    for model in parse_models(models):
        with Team(threads) as team:
            found = start_all(team, [OURS, ALLENNLP], model, text, options)
            ours = found[OURS]
            precisions = ["float32"] + ["bfloat16"] * ours["native_bfloat16"]
            rounds, peaks = [], []
            for number in range(n_rounds):
                peaks.append({"float32": team.workers[OURS].ask("peak")})
                rounds.append(training_round(team, ours["words"], precisions))
                show(model, number, rounds[-1])
        sizes[model.name] = {
            "words": ours["words"],
            "sentences": ours["sentences"],
            "words_per_second": summarize_all(rounds),
            "ratios": ratios(rounds, precisions, [ALLENNLP]),
            "peak_gflops": summarize_all(peaks),
        }
    write_results(
        target,
        versions_of(found),
        threads,
        n_rounds=n_rounds,
        batch_size=BATCH_SIZE,
        sizes=sizes,
    )


@app.command()
def precision(text: Text, target: Target, models: Models, threads: int = 2) -> None:
    """Measure what bfloat16 loses: the mean and the smallest cosine between words'
    vectors in bfloat16 and float32, by layer.

    The loss depends on the weights and not on the machine; trained weights are a better
    test than random weights.
    """
    sizes: Dict[str, Any] = {}
    for model in parse_models(models):
        with Team(threads) as team:
            found = start_all(team, [OURS], model, text)
            layers = team.workers[OURS].ask("cosines")
        sizes[model.name] = {
            "words": found[OURS]["words"],
            "sentences": found[OURS]["sentences"],
            "cosines": layers,
        }
        msg.info(f"{model.name}: {layers}")
    write_results(target, versions_of(found), threads, sizes=sizes)


def show(model: Model, number: int, speeds: Dict[str, float]) -> None:
    words = ", ".join(f"{name} {speed:,.0f}" for name, speed in speeds.items())
    msg.info(f"{model.name}, round {number + 1}: {words} words/s")


def compare_vectors(
    team: Team, sentences: List[Sentence], folder: Path
) -> Dict[str, List[float]]:
    """Find the largest difference of a value in each layer, by pair of systems."""
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
    """Find the largest difference of a value in each layer.

    RAISES: ValueError if two shapes differ.
    """
    layers: List[List[float]] = []
    for number, (one, other) in enumerate(zip(left, right)):
        if one.shape != other.shape:
            raise ValueError(
                f"Sentence {number}: expected one shape, found {one.shape} and "
                f"{other.shape}."
            )
        # max() would hide a NaN.
        distance = np.nan_to_num(np.abs(one - other), nan=np.inf)
        layers.append(distance.max(axis=(1, 2)).tolist())
    return [max(layer) for layer in zip(*layers)]


def compare_gradients(
    team: Team, sentences: List[Sentence], folder: Path
) -> Dict[str, Any]:
    """Compare the gradients of one loss with respect to the character embeddings, which
    have passed through the whole network."""
    losses, found = {}, []
    for system, worker in team.workers.items():
        path = folder / f"{system}.npy"
        losses[system] = worker.ask("gradient", sentences=sentences, path=str(path))
        found.append(np.load(path))
    left, right = found
    distance = np.nan_to_num(np.abs(left - right), nan=np.inf)
    return {"losses": losses, "relative": float(distance.max() / np.abs(right).max())}


def inference_round(team: Team, words: int, precisions: List[str]) -> Figures:
    """Measure words per second of each pass, GFLOP/s of the LSTMs, and the machine's
    matrix peaks: each precision's once, and float32's again before each pass."""
    mine, other = team.workers[OURS], team.workers[ALLENNLP]
    speeds: Dict[str, float] = {}
    beside: Dict[str, float] = {}
    lstms: Dict[str, float] = {}
    peaks: Dict[str, float] = {}

    def measure(
        name: str, worker: Worker, task: str, **options: str
    ) -> Dict[str, float]:
        beside[name] = mine.ask("peak")
        worker.ask("warm_up", **options)
        answer: Dict[str, float] = worker.ask(task, **options)
        speeds[name] = words / answer["seconds"]
        return answer

    for precision in precisions:
        for name in PASSES:
            measure(f"{name} {precision}", mine, f"encode_{name}", precision=precision)
        peaks[precision] = mine.ask("peak", precision=precision)
        packed = mine.ask("peak", precision=precision, is_packed=True)
        answer = mine.ask("lstms", precision=precision)
        gflops = answer["gflop"] / answer["seconds"]
        lstms[f"{precision} gflops"] = gflops
        lstms[f"{precision} rows a product"] = answer["rows"]
        if packed:
            peaks[f"{precision} packed"] = packed
            lstms[f"{precision} share of packed peak"] = gflops / packed
    answer = measure("allennlp", other, "encode")
    speeds["allennlp from words"] = words / (answer["seconds"] + answer["id_seconds"])
    measure("allennlp cached", other, "encode_cached")
    measure("simple_elmo", team.workers[SIMPLE_ELMO], "encode")
    return {"speeds": speeds, "beside": beside, "lstms": lstms, "peaks": peaks}


def training_round(team: Team, words: int, precisions: List[str]) -> Dict[str, float]:
    """Measure words per second, by precision and for AllenNLP."""
    ours, other = team.workers[OURS], team.workers[ALLENNLP]
    speeds: Dict[str, float] = {}
    for precision in precisions:
        ours.ask("warm_up_training", precision=precision)
        speeds[precision] = words / ours.ask("train", precision=precision)["seconds"]
    other.ask("warm_up_training")
    speeds[ALLENNLP] = words / other.ask("train")["seconds"]
    return speeds


def gather(rounds: List[Figures], precisions: List[str]) -> Dict[str, Any]:
    """Compute medians and spreads over the rounds."""
    speeds = [one["speeds"] for one in rounds]
    ours = [f"{name} {precision}" for precision in precisions for name in PASSES]
    gathered: Dict[str, Any] = {
        "words_per_second": summarize_all(speeds),
        "ratios": ratios(speeds, ours, PEERS),
    }
    if "bfloat16" in precisions:
        gathered["bfloat16_to_float32"] = summarize_all(
            [
                {n: one[f"{n} bfloat16"] / one[f"{n} float32"] for n in PASSES}
                for one in speeds
            ]
        )
    return {
        **gathered,
        "lstms": summarize_all([one["lstms"] for one in rounds]),
        "peak_gflops": summarize_all([one["peaks"] for one in rounds]),
        "float32_peak_gflops_beside": summarize_all([one["beside"] for one in rounds]),
    }


if __name__ == "__main__":
    app()
