"""Run one training of the comparison and score it."""

import json
import platform
import shutil
import time
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Dict, List

import spacy
import typer
from spacy.cli.train import train
from spacy.language import Language
from spacy.util import resolve_dot_names
from thinc.api import Config
from variants import (
    FIRST_FROZEN,
    PRETRAINED,
    TASKS,
    UNFROZEN,
    VARIANTS,
    WITHOUT_ELMO,
    Budget,
    Paths,
    make_config,
)
from wasabi import msg

from spacy_elmo.files import write_json
from spacy_elmo.layers.mix import learned_mix

PACKAGES = ("spacy-elmo", "spacy", "thinc", "torch", "numpy")


def main(
    task: Annotated[str, typer.Argument(help=", ".join(TASKS))],
    variant: Annotated[str, typer.Argument(help=", ".join(VARIANTS))],
    seed: Annotated[int, typer.Argument(help="Seed of weights and order")],
    settings: Annotated[Path, typer.Argument(help="JSON: Settings, by name")],
) -> None:
    """Train, score on the development and test sets, and write the results."""
    given = Settings(json.loads(settings.read_text("utf8")))
    folder = given.folder(task, variant, seed)
    config = given.config(task, variant, seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config.to_disk(folder / "config.cfg")
    wall, cpu = time.perf_counter(), time.process_time()
    train(folder / "config.cfg", folder, use_gpu=given.gpu_id)
    spent = {
        "seconds": round(time.perf_counter() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }
    shutil.rmtree(folder / "model-last")
    nlp = spacy.load(folder / "model-best")
    result = {
        "task": task,
        "variant": variant,
        "seed": seed,
        "inputs": given.inputs(task, variant, seed),
        **score(nlp, config, task),
        **steps(folder / "log.jsonl"),
        **spent,
        "mixes": mixes(nlp),
        "versions": {name: version(name) for name in PACKAGES},
        "processor": platform.processor() or platform.machine(),
    }
    write_json(given.result(task, variant, seed), result)
    msg.good(str(given.result(task, variant, seed)), json.dumps(result["test"]))


class Settings:
    """Settings that compare.py passes to every training."""

    def __init__(self, values: Dict[str, Any]) -> None:
        self.values = values
        self.gpu_id: int = values["gpu_id"]
        self.weights = Path(values["weights"])
        self.equal_time = Path(values["equal_time"])
        self.pretrained = Path(values["pretrained"])
        self.trainings = Path(values["trainings"])
        self.results = Path(values["results"])

    def folder(self, task: str, variant: str, seed: int) -> Path:
        return self.trainings / f"{task}-{variant}-{seed}"

    def result(self, task: str, variant: str, seed: int) -> Path:
        return self.results / f"{task}-{variant}-{seed}.json"

    def paths(self, task: str, variant: str, seed: int) -> Paths:
        corpora = self.values["conll2003"] if task == "conll2003" else "."
        return Paths(
            Path(self.values["configs"]),
            Path(corpora),
            self.weights,
            self.equal_time,
            self.pretrained,
            self.folder(task, FIRST_FROZEN, seed) / "model-best",
            self.folder(task, variant, seed) / "log.jsonl",
        )

    def config(self, task: str, variant: str, seed: int) -> Config:
        return make_config(
            task,
            variant,
            seed,
            self.paths(task, variant, seed),
            Budget(
                self.values["max_steps"],
                self.values["eval_frequency"],
                self.values["unfrozen_steps"],
            ),
        )

    def inputs(self, task: str, variant: str, seed: int) -> str:
        """Hash the config and the weights of a training."""
        digest = sha256(self.config(task, variant, seed).to_bytes())
        if variant == UNFROZEN:
            digest.update(self.inputs(task, FIRST_FROZEN, seed).encode())
        if variant not in WITHOUT_ELMO:
            weights = self.paths(task, variant, seed).bilm(variant)
            digest.update((weights / "model.safetensors").read_bytes())
        if variant == PRETRAINED:
            digest.update(self.pretrained.read_bytes())
        return digest.hexdigest()[:16]


def score(nlp: Language, config: Config, task: str) -> Dict[str, Any]:
    """Compute development and test scores in percent, and words per second on the test
    set."""
    names = ["corpora.dev", "corpora.test"]
    corpora = resolve_dot_names(config.interpolate(), names)
    scores: Dict[str, Any] = {}
    for part, corpus in zip(("dev", "test"), corpora):
        found = nlp.evaluate(list(corpus(nlp)))
        scores[part] = {
            metric: round(100 * found[metric], 2) for metric in TASKS[task].metrics
        }
        scores["words_per_second"] = round(found["speed"])
    return scores


def steps(log: Path) -> Dict[str, int]:
    """Get the number of steps, and the step with the best development score."""
    rows = [json.loads(line) for line in log.read_text("utf8").splitlines()]
    best = max(rows, key=lambda row: row["score"])
    return {"steps": rows[-1]["step"], "best_step": best["step"]}


def mixes(nlp: Language) -> Dict[str, List[Dict[str, Any]]]:
    """Get the weights and gamma of each head's mixes, the one at the input first."""
    found: Dict[str, List[Dict[str, Any]]] = {}
    for name, component in nlp.components:
        model = getattr(component, "model", None)
        for node in model.walk() if hasattr(model, "walk") else ():
            if node.name == "elmo_mix":
                weights, gamma = learned_mix(node)
                shown = [round(float(weight), 4) for weight in weights]
                mix = {"weights": shown, "gamma": round(gamma, 4)}
                found.setdefault(name, []).append(mix)
    return found


if __name__ == "__main__":
    typer.run(main)
