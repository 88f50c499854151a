"""Compare heads over biLMs of several sizes on the development sets."""

import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Annotated, Any, Dict, List, NoReturn, Sequence

import srsly
import typer
from variants import FIRST_FROZEN, TASKS
from wasabi import msg

from spacy_elmo import load_bilm, save_bilm
from spacy_elmo.files import write_json

COMPARE = Path(__file__).with_name("compare.py")
FLOAT16 = 2


def main(
    pretrainings: Annotated[
        Path,
        typer.Argument(help="Folder with an output folder of pretraining per size"),
    ],
    tasks: Annotated[str, typer.Argument(help=f"Some of {','.join(TASKS)}")],
    seeds: Annotated[str, typer.Argument(help="Integers, separated by commas")],
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    configs: Annotated[Path, typer.Option(help="Folder of the configs")],
    folder: Annotated[Path, typer.Option(help="Folder for weights and trainings")],
    max_steps: Annotated[str, typer.Option(help="null: as in the config")] = "null",
    eval_frequency: Annotated[
        str, typer.Option(help="null: as in the config")
    ] = "null",
    jobs: Annotated[int, typer.Option(help="Number of parallel trainings")] = 1,
    gpu_id: Annotated[int, typer.Option(help="-1: CPU")] = -1,
) -> None:
    """Train the heads of variant (c) on each biLM. Complete trainings are not
    repeated."""
    models = sorted(pretrainings.glob("*/model-last"))
    if not models:
        fail(
            f"Expected pretrainings with a model-last in {pretrainings}, found none",
            "Run the command sizes of projects/pretrain.",
        )
    sizes: Dict[str, Any] = {}
    for model in models:
        name = model.parent.name
        own = folder / name
        bilm = load_bilm(model)
        save_bilm(bilm, own / "weights")
        options = {
            "weights": own / "weights",
            "trainings": own / "trainings",
            "results": own / "results",
            "configs": configs,
            "max-steps": max_steps,
            "eval-frequency": eval_frequency,
            "jobs": jobs,
            "gpu-id": gpu_id,
            # Not used by variant (c).
            "equal-time": own / "weights",
            "pretrained": own / "weights",
            "conll2003": own,
            "unfrozen-steps": 0,
        }
        command: List[Any] = [sys.executable, COMPARE, tasks, FIRST_FROZEN, seeds]
        for option, value in options.items():
            command += [f"--{option}", value]
        for each in ("trainings", "results"):
            (own / each).mkdir(parents=True, exist_ok=True)
        msg.divider(name)
        done = subprocess.run([str(part) for part in command], check=False)
        if done.returncode:
            fail(f"{name}: ended with status {done.returncode}", "See above.")
        known = srsly.read_json(model / "pretraining.json")
        sizes[name] = {
            "megabytes": round(FLOAT16 * bilm.n_parameters / 1e6, 1),
            "words": known["words"],
            "perplexity": known["held_out"] and known["held_out"]["mean"],
            "scores": {task: gather(own / "results", task) for task in named(tasks)},
        }
        write_json(target, {"seeds": named(seeds), "sizes": sizes})
    print(table(sizes, named(tasks)))
    msg.good(str(target))


def gather(results: Path, task: str) -> Dict[str, Any]:
    """Gather each metric's development scores by seed, and the words per second."""
    paths = sorted(results.glob(f"{task}-{FIRST_FROZEN}-*.json"))
    runs = [srsly.read_json(path) for path in paths]
    scores = {
        metric: [run["dev"][metric] for run in runs] for metric in TASKS[task].metrics
    }
    return {**scores, "words_per_second": [run["words_per_second"] for run in runs]}


def named(text: str) -> List[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def table(sizes: Dict[str, Any], tasks: Sequence[str]) -> str:
    """Format the means over the seeds as a Markdown table."""
    metrics = [(t, m, title) for t in tasks for m, title in TASKS[t].metrics.items()]
    head = ["biLM", "MB in float16", "perplexity"]
    head += [f"dev {title}" for _, _, title in metrics]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for name, size in sizes.items():
        perplexity = size["perplexity"]
        row = [name, str(size["megabytes"])]
        row.append("" if perplexity is None else f"{perplexity:.0f}")
        row += [f"{mean(size['scores'][task][key]):.2f}" for task, key, _ in metrics]
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def fail(title: str, text: str) -> NoReturn:
    msg.fail(title, text)
    raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
