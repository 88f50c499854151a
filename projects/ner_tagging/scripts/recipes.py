"""Compare recipes of a head: changes of the config of a variant."""

import json
import random
import time
from pathlib import Path
from typing import Annotated, Any, Dict, List

import spacy
import typer
from spacy.cli.train import train
from thinc.api import Config
from train import score
from variants import TASKS, Budget, Paths, make_config
from wasabi import msg

from spacy_elmo.files import write_json


def main(
    task: Annotated[str, typer.Argument(help=f"One of {', '.join(TASKS)}")],
    seeds: Annotated[str, typer.Argument(help="Integers, separated by commas")],
    recipes: Annotated[Path, typer.Argument(help="JSON of the recipes", exists=True)],
    target: Annotated[Path, typer.Argument(help="JSON of the results")],
    configs: Annotated[Path, typer.Option(help="Folder of the configs")],
    weights: Annotated[Path, typer.Option(help="Folder of the biLM")],
    trainings: Annotated[Path, typer.Option(help="Folder for the trainings")],
    gpu_id: Annotated[int, typer.Option(help="-1: CPU")] = -1,
) -> None:
    """Train the head by each recipe that has no result yet. A recipe has a title, a
    variant, and changes that are merged into its config; "keep_empty" is the fraction
    of training sentences without an entity to keep."""
    results = json.loads(target.read_text("utf8")) if target.is_file() else {}
    for seed in map(int, seeds.split(",")):
        for number, recipe in enumerate(json.loads(recipes.read_text("utf8"))):
            done = results.setdefault(recipe["title"], {})
            if str(seed) in done:
                continue
            folder = trainings / f"recipe-{task}-{number}-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            config = make_recipe(task, recipe, seed, configs, weights, folder)
            config.to_disk(folder / "config.cfg")
            start = time.process_time()
            train(folder / "config.cfg", folder, use_gpu=gpu_id)
            seconds = round(time.process_time() - start, 1)
            found = score(spacy.load(folder / "model-best"), config, task)
            done[str(seed)] = {**found, "cpu_seconds": seconds}
            write_json(target, results)
            msg.good(f"{recipe['title']}, seed {seed}", json.dumps(found["dev"]))


def make_recipe(
    task: str,
    recipe: Dict[str, Any],
    seed: int,
    configs: Path,
    weights: Path,
    folder: Path,
) -> Config:
    """Create the config of a recipe.

    folder (Path): Folder of the training.
    """
    unused = Path("unused")
    log = folder / "log.jsonl"
    paths = Paths(configs, Path(), weights, unused, unused, unused, log)
    config = make_config(task, recipe["variant"], seed, paths, Budget(None, None, 0))
    config = config.merge(recipe.get("config", {}))
    if "keep_empty" in recipe:
        corpus = Path(config["corpora"]["train"]["path"])
        kept = drop_empty(corpus.read_text("utf8"), recipe["keep_empty"])
        path = folder / "train.conll"
        path.write_text(kept, encoding="utf8")
        config["corpora"]["train"]["path"] = path.as_posix()
    return config


def drop_empty(conll: str, keep: float) -> str:
    """Leave out sentences that have no entity, at random.

    conll (str): Sentences in CoNLL format, with tags in the last column.
    keep (float): Fraction of these sentences to keep.
    """
    kept: List[str] = []
    chance = random.Random(0)
    for sentence in "\n".join(line.rstrip() for line in conll.splitlines()).split(
        "\n\n"
    ):
        is_empty = all(line.split()[-1] == "O" for line in sentence.splitlines())
        if not is_empty or chance.random() < keep:
            kept.append(sentence)
    return "\n\n".join(kept) + "\n"


if __name__ == "__main__":
    typer.run(main)
