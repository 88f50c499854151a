"""Compare recipes of a head on the development set, one seed each."""

import json
import time
from pathlib import Path
from typing import Annotated, Any, Dict

import spacy
import typer
from heads import score
from languages import LANGUAGES, find_language
from spacy.cli.train import train
from variants import Run, Settings, make_config
from wasabi import msg

from spacy_elmo.files import write_json


def main(
    language: Annotated[str, typer.Argument(help=f"One of {', '.join(LANGUAGES)}")],
    recipes: Annotated[Path, typer.Argument(help="JSON of the recipes", exists=True)],
    target: Annotated[Path, typer.Argument(help="JSON of the results")],
    configs: Annotated[Path, typer.Option(help="Folder of ner.cfg and tagger.cfg")],
    corpora: Annotated[Path, typer.Option(help="Folder of the tasks' corpora")],
    training: Annotated[Path, typer.Option(help="Folder for the trainings")],
    weights: Annotated[Path, typer.Option(help="Folder of the biLM")],
    max_steps: Annotated[int, typer.Option(help="Steps of a training")] = 2000,
    gpu_id: Annotated[int, typer.Option(help="-1: CPU")] = -1,
) -> None:
    """Train the head of the first task by each recipe that has no result yet: a variant
    with changed settings of the head's model and of [training]."""
    known = find_language(language)
    name, task = next(iter(known.tasks.items()))
    settings = Settings(known.code, configs, corpora, training, weights, max_steps)
    results = json.loads(target.read_text("utf8")) if target.is_file() else {}
    for number, recipe in enumerate(json.loads(recipes.read_text("utf8"))):
        if recipe["title"] in results:
            continue
        config = make_config(task, Run(name, recipe["variant"]), settings)
        model = config["components"][task.head]["model"]
        change(model, recipe.get("model", {}))
        change(config["training"], recipe.get("training", {}))
        folder = training / "recipes" / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        config.to_disk(folder / "config.cfg")
        start = time.process_time()
        train(folder / "config.cfg", folder, use_gpu=gpu_id)
        seconds = time.process_time() - start
        found = score(spacy.load(folder / "model-best"), config, task, ["dev"])
        results[recipe["title"]] = {
            **recipe,
            **found,
            "steps": max_steps,
            "cpu_seconds": round(seconds, 1),
        }
        write_json(target, results)
        msg.good(recipe["title"], json.dumps(found["dev"]))


def change(section: Dict[str, Any], changes: Dict[str, Any]) -> None:
    """Change settings, which are named by their path from the section."""
    for path, value in changes.items():
        *parents, key = path.split(".")
        inner = section
        for parent in parents:
            inner = inner[parent]
        if key not in inner:
            raise KeyError(f"{path}: expected a setting of the config, found none")
        inner[key] = value


if __name__ == "__main__":
    typer.run(main)
