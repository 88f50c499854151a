"""Time the epochs of training heads on a frozen ELMo and on spaCy's CNN, and the
trained pipelines on new text."""

import statistics
import sys
from pathlib import Path
from typing import Annotated, Any, Dict, List

import typer
from measuring import our_versions, summarize_all, write_results
from protocol import Team
from wasabi import msg

PRECISIONS = ("float32", "bfloat16")


def main(
    corpus: Annotated[Path, typer.Argument(help=".spacy to train on", exists=True)],
    dev: Annotated[Path, typer.Argument(help=".spacy, for scores", exists=True)],
    weights: Annotated[
        Path, typer.Argument(help="Weights of ELMo, for configs that use it")
    ],
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    configs: Annotated[
        List[Path],
        typer.Argument(
            help="Configs; the others are compared with the first", exists=True
        ),
    ],
    n_epochs: Annotated[int, typer.Option(min=2)] = 3,
    n_rounds: int = 3,
    limit: Annotated[int, typer.Option(help="Docs of each corpus; 0: all")] = 0,
    threads: int = 2,
) -> None:
    """In each round, every config is trained in its own process. Pipelines with ELMo
    that the last round trained are scored in each precision."""
    rounds: Dict[str, List[Dict[str, float]]] = {path.stem: [] for path in configs}
    if len(rounds) != len(configs):
        msg.fail("Expected configs with different names.", exits=1)
    scores: Dict[str, Dict[str, float]] = {}
    for number in range(1, n_rounds + 1):
        for path in configs:
            with Team(threads) as team:
                worker = team.start("epochs", sys.executable, "epochs_worker.py")
                answer = worker.ask(
                    "train",
                    config=str(path),
                    corpus=str(corpus),
                    dev=str(dev),
                    weights=str(weights),
                    n_epochs=n_epochs,
                    limit=limit,
                )
                new_text = worker.ask("annotate", limit=limit)
                if number == n_rounds and answer["has_elmo"]:
                    scores[path.stem] = {
                        precision: worker.ask("score", precision=precision, limit=limit)
                        for precision in PRECISIONS
                    }
            new_seconds = new_text["seconds"]
            rounds[path.stem].append({**shorten(answer), "new text": new_seconds})
            msg.info(f"{path.stem}, round {number}: {rounds[path.stem][-1]}")
    baseline, *others = rounds
    write_results(
        target,
        our_versions(),
        threads,
        n_rounds=n_rounds,
        n_epochs=n_epochs,
        words=answer["words"],
        new_words=new_text["words"],
        weights=weights.name,
        baseline=baseline,
        seconds={name: summarize_all(found) for name, found in rounds.items()},
        ratios={
            name: summarize_all(
                [compare(*pair) for pair in zip(rounds[name], rounds[baseline])]
            )
            for name in others
        },
        scores=scores,
    )


def shorten(answer: Dict[str, Any]) -> Dict[str, float]:
    """Get the seconds before the first epoch, of the first epoch, and the median of
    later epochs."""
    epochs: List[float] = answer["epochs"]
    return {
        "before": answer["before"],
        "first epoch": epochs[0],
        "later epochs": statistics.median(epochs[1:]),
    }


def compare(one: Dict[str, float], baseline: Dict[str, float]) -> Dict[str, float]:
    return {name: seconds / baseline[name] for name, seconds in one.items()}


if __name__ == "__main__":
    typer.run(main)
