"""Run all trainings of the comparison that are not done yet."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Dict, List, NamedTuple, NoReturn, Optional, Sequence

import srsly
import typer
from train import Settings
from variants import (
    EQUAL_TIME,
    FIRST_FROZEN,
    PRETRAINED,
    TASKS,
    UNFROZEN,
    VARIANTS,
    WITHOUT_ELMO,
)
from wasabi import msg

from spacy_elmo.files import write_json

TRAIN = Path(__file__).with_name("train.py")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Run(NamedTuple):
    task: str
    variant: str
    seed: int

    def __str__(self) -> str:
        return f"{self.task}-{self.variant}-{self.seed}"


def main(
    tasks: Annotated[str, typer.Argument(help=f"Some of {','.join(TASKS)}")],
    variants: Annotated[str, typer.Argument(help=f"Some of {','.join(VARIANTS)}")],
    seeds: Annotated[str, typer.Argument(help="Integers, separated by commas")],
    configs: Annotated[Path, typer.Option(help="Folder of the configs")],
    weights: Annotated[Path, typer.Option(help="Folder of the biLM")],
    equal_time: Annotated[Path, typer.Option(help="Folder of the biLM of i and j")],
    pretrained: Annotated[Path, typer.Option(help="Weights of the CNN of b")],
    trainings: Annotated[Path, typer.Option(help="Folder for the trainings")],
    results: Annotated[Path, typer.Option(help="Folder for the results")],
    conll2003: Annotated[
        Path, typer.Option(help="Folder of eng.train, eng.testa, eng.testb")
    ],
    unfrozen_steps: Annotated[int, typer.Option(help="Further steps of h")],
    max_steps: Annotated[str, typer.Option(help="null: as in the config")] = "null",
    eval_frequency: Annotated[
        str, typer.Option(help="null: as in the config")
    ] = "null",
    jobs: Annotated[int, typer.Option(help="Number of parallel trainings")] = 1,
    gpu_id: Annotated[int, typer.Option(help="-1: CPU")] = -1,
) -> None:
    """Run the trainings, seed by seed, whose results are missing or were made with
    another config or other weights."""
    plan = make_plan(names(tasks), names(variants), names(seeds))
    values: Dict[str, Any] = {
        "configs": str(configs),
        "weights": str(weights),
        "equal_time": str(equal_time),
        "pretrained": str(pretrained),
        "trainings": str(trainings),
        "results": str(results),
        "conll2003": str(conll2003),
        "unfrozen_steps": unfrozen_steps,
        "max_steps": number(max_steps),
        "eval_frequency": number(eval_frequency),
        "gpu_id": gpu_id,
    }
    check_inputs(plan, values)
    settings = Settings(values)
    pending = [run for run in plan if not is_done(run, settings)]
    pending = with_first(pending, settings)
    msg.info(f"{len(plan)} trainings, {len(pending)} of them to do")
    for group in in_order(pending):
        with ThreadPoolExecutor(jobs) as pool:
            done = list(pool.map(lambda run: start(run, settings, jobs), group))
        if not all(done):
            fail(f"{done.count(False)} trainings failed", "Their logs say why.")


def names(text: str) -> List[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def number(text: str) -> Optional[int]:
    return None if text == "null" else int(text)


def make_plan(
    tasks: Sequence[str], variants: Sequence[str], seeds: Sequence[str]
) -> List[Run]:
    """Plan all runs, starting with the first seed, so that there are tables early."""
    for given, known in ((tasks, TASKS), (variants, VARIANTS)):
        unknown = [name for name in given if name not in known]
        if unknown:
            fail(f"Expected some of {', '.join(known)}, found {', '.join(unknown)}")
    if not all(seed.isdecimal() for seed in seeds):
        fail(f"Expected integers as seeds, found {', '.join(seeds)}")
    return [Run(t, v, int(s)) for s in seeds for t in tasks for v in variants]


def check_inputs(plan: Sequence[Run], values: Dict[str, Any]) -> None:
    """Check that all files exist before the first training. Exits if one is missing."""
    wanted = {}
    if any(run.variant not in (*WITHOUT_ELMO, *EQUAL_TIME) for run in plan):
        weights = Path(values["weights"]) / "model.safetensors"
        wanted[weights] = "Run the project's command weights."
    if any(run.variant in EQUAL_TIME for run in plan):
        weights = Path(values["equal_time"]) / "model.safetensors"
        wanted[weights] = (
            "Run the project's command pretrain-elmo, or leave i and j out of "
            "vars.variants."
        )
    if any(run.variant == PRETRAINED for run in plan):
        pretrained = Path(values["pretrained"])
        wanted[pretrained] = (
            "Run the project's command pretrain-cnn, or leave b out of vars.variants."
        )
    for run in plan:
        folder = Path(values["conll2003"] if run.task == "conll2003" else ".")
        for file in TASKS[run.task].files:
            wanted[folder / file] = (
                "Its license does not allow us to include it. Name the folder of your "
                "copy: --vars.conll2003 FOLDER."
                if run.task == "conll2003"
                else "Run the project's commands assets and convert."
            )
    for path, advice in wanted.items():
        if not path.is_file():
            fail(f"Expected {path}, found no such file", advice)


def is_done(run: Run, settings: Settings) -> bool:
    path = settings.result(*run)
    if not path.is_file():
        return False
    if srsly.read_json(path)["inputs"] == settings.inputs(*run):
        return True
    msg.warn(f"{path}: made with another config or other weights, so repeated")
    return False


def with_first(pending: Sequence[Run], settings: Settings) -> List[Run]:
    """Add the trainings that unfrozen trainings continue."""
    runs = list(pending)
    for run in pending:
        first = Run(run.task, FIRST_FROZEN, run.seed)
        is_there = (settings.folder(*first) / "model-best" / "meta.json").is_file()
        if run.variant == UNFROZEN and first not in runs and not is_there:
            runs.append(first)
    return runs


def in_order(runs: Sequence[Run]) -> List[List[Run]]:
    """Group the runs, so that a run comes after the one that it continues."""
    return [
        [run for run in runs if run.variant != UNFROZEN],
        [run for run in runs if run.variant == UNFROZEN],
    ]


def start(run: Run, settings: Settings, jobs: int) -> bool:
    """Run one training in its own process.

    RETURNS (bool): Whether it succeeded.
    """
    # One file per run, because other comparisons may be running.
    file = settings.trainings / f"{run}.json"
    write_json(file, settings.values)
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    log = settings.trainings / f"{run}.log"
    command = [sys.executable, str(TRAIN), run.task, run.variant, str(run.seed)]
    with log.open("w", encoding="utf8") as output:
        status = subprocess.run(
            [*command, str(file)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**dict.fromkeys(THREADS, threads), **os.environ},
            check=False,
        ).returncode
    if status:
        msg.fail(f"{run}: ended with status {status}", f"See {log}")
        return False
    result = srsly.read_json(settings.result(*run))
    scores = ", ".join(f"{name} {value}" for name, value in result["test"].items())
    msg.good(f"{run}: {scores} ({result['seconds'] / 60:.1f} min)")
    return True


def fail(title: str, text: str = "") -> NoReturn:
    msg.fail(title, text)
    raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
