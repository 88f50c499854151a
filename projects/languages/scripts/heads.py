"""Train and score the heads of a language, except those that are done."""

import json
import os
import shutil
import time
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Dict, List, Sequence

import spacy
import typer
from languages import LANGUAGES, Language, Task, find_language
from spacy.cli.train import train
from spacy.language import Language as Pipeline
from spacy.util import resolve_dot_names
from thinc.api import Config
from variants import PRETRAINED, READ_TEXT, VARIANTS, Run, Settings, make_config
from wasabi import msg

from spacy_elmo.files import hash_files, write_json

PACKAGES = ("spacy-elmo", "spacy", "thinc", "torch", "floret")


def main(
    language: Annotated[str, typer.Argument(help=f"One of {', '.join(LANGUAGES)}")],
    seeds: Annotated[str, typer.Argument(help="Integers, separated by commas")],
    configs: Annotated[Path, typer.Option(help="Folder of ner.cfg and tagger.cfg")],
    corpora: Annotated[Path, typer.Option(help="Folder of the tasks' corpora")],
    training: Annotated[Path, typer.Option(help="Folder for the trainings")],
    weights: Annotated[Path, typer.Option(help="Folder of the biLM")],
    results: Annotated[Path, typer.Option(help="Folder for the results")],
    max_steps: Annotated[int, typer.Option(help="Steps of a training")] = 2000,
    text_sizes: Annotated[
        str, typer.Option(help="Sizes of raw text for learning curves")
    ] = "",
    sentences: Annotated[
        str, typer.Option(help="Numbers of training sentences for learning curves")
    ] = "",
    variants: Annotated[
        str, typer.Option(help=f"What is compared: {', '.join(VARIANTS)}")
    ] = ",".join(VARIANTS),
    gpu_id: Annotated[int, typer.Option(help="-1: CPU")] = -1,
) -> None:
    """Train the variants of all tasks, or, with sizes or sentences, the first task's
    learning curves. A training whose result was made with the same config and files is
    not repeated."""
    known = find_language(language)
    settings = Settings(known.code, configs, corpora, training, weights, max_steps)
    chosen = names(variants)
    if unknown := sorted({*chosen} - {*VARIANTS}):
        raise typer.BadParameter(
            f"--variants: expected {', '.join(VARIANTS)}, found {', '.join(unknown)}"
        )
    if text_sizes or sentences:
        plan = plan_curves(
            known, integers(seeds), names(text_sizes), integers(sentences)
        )
        plan = [run for run in plan if run.variant in chosen]
    else:
        plan = [
            Run(task, variant, seed=seed)
            for seed in integers(seeds)
            for task in known.tasks
            for variant in chosen
        ]
    check_inputs(plan, settings)
    for run in plan:
        path = results / f"{run.task}.json"
        config = make_config(known.tasks[run.task], run, settings)
        inputs = hash_inputs(config, run, settings)
        if read_results(path).get(run.name, {}).get("inputs") == inputs:
            continue
        result = train_head(known.tasks[run.task], run, config, settings, gpu_id)
        result = {**run._asdict(), "inputs": inputs, **result}
        # Read again: another process may train other variants.
        write_json(path, {**read_results(path), run.name: result})
        msg.good(f"{run.task} {run.name}", json.dumps(result["test"]))
    msg.good(f"{len(plan)} trainings are done")


def read_results(path: Path) -> Dict[str, Any]:
    """Read the results of a task by the name of the run, if there are any."""
    results: Dict[str, Any] = {}
    if path.is_file():
        results = json.loads(path.read_text("utf8"))
    return results


def names(text: str) -> List[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def integers(text: str) -> List[int]:
    """Split a list. RAISES: BadParameter if a part is no integer."""
    parts = names(text)
    if not all(part.isdecimal() for part in parts):
        raise typer.BadParameter(f"expected integers such as 0,1,2, found {text}")
    return [int(part) for part in parts]


def plan_curves(
    language: Language, seeds: List[int], sizes: List[str], sentences: List[int]
) -> List[Run]:
    """Plan the learning curves, starting with the first seed."""
    task = next(iter(language.tasks))
    plan = []
    for seed in seeds:
        plan += [
            Run(task, variant, text=size, seed=seed)
            for size in sizes
            for variant in READ_TEXT
        ]
        plan += [
            Run(task, variant, sentences=number, seed=seed)
            for number in sentences
            for variant in VARIANTS
        ]
    return plan


def check_inputs(plan: List[Run], settings: Settings) -> None:
    """Check that all files exist before the first training. Exits if one is missing."""
    for run in plan:
        for path in settings.inputs(run):
            if not path.is_file():
                msg.fail(
                    f"{run.task} {run.name}: expected {path}, found no such file",
                    "Run the workflow all, and for learning curves, curves.",
                )
                raise typer.Exit(1)


def hash_inputs(config: Config, run: Run, settings: Settings) -> str:
    """Hash the config and the contents of the files of a training."""
    digest = sha256(config.to_bytes())
    digest.update(hash_files(settings.inputs(run)).encode())
    return digest.hexdigest()[:16]


def train_head(
    task: Task, run: Run, config: Config, settings: Settings, gpu_id: int
) -> Dict[str, Any]:
    """Train and score one head. Its pipeline is kept for the first seed, if it has read
    everything."""
    folder = settings.training / "heads" / f"{run.task}-{run.name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config.to_disk(folder / "config.cfg")
    start = time.process_time()
    train(folder / "config.cfg", folder, use_gpu=gpu_id)
    seconds = time.process_time() - start
    nlp = spacy.load(folder / "model-best")
    result = {
        **score(nlp, config, task),
        "steps": settings.max_steps,
        **({"passes": settings.n_passes} if run.variant == PRETRAINED else {}),
        "cpu_seconds": round(seconds, 1),
        "versions": {name: version(name) for name in PACKAGES},
        "cores": os.cpu_count(),
    }
    shutil.rmtree(folder / "model-last")
    if run != Run(run.task, run.variant):
        shutil.rmtree(folder)
    return result


def score(
    nlp: Pipeline, config: Config, task: Task, parts: Sequence[str] = ("dev", "test")
) -> Dict[str, Any]:
    """Compute scores in percent, and words per second on the last part."""
    corpora = resolve_dot_names(config.interpolate(), [f"corpora.{p}" for p in parts])
    scores: Dict[str, Any] = {}
    for part, corpus in zip(parts, corpora):
        found = nlp.evaluate(list(corpus(nlp)))
        scores[part] = {name: round(100 * found[name], 2) for name in task.metrics}
        scores["words_per_second"] = round(found["speed"])
    return scores


if __name__ == "__main__":
    typer.run(main)
