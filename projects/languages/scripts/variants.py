"""The heads' inputs that are compared, and the configs of their trainings."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple

from languages import ALL, Task
from spacy.cli.init_config import init_config
from spacy.util import load_config
from thinc.api import Config

VARIANTS = {
    "cnn": "spaCy's CNN",
    "vectors": "spaCy's CNN with floret vectors",
    "pretrained": "spaCy's CNN after `spacy pretrain`",
    "elmo": "ELMo, frozen",
    "elmo-embed": "ELMo, frozen, next to the CNN's embedding",
}
BASELINE = "cnn"
PRETRAINED = "pretrained"
WITH_ELMO = ("elmo", "elmo-embed")
READ_TEXT = ("vectors", *WITH_ELMO)
"""Variants that are trained on several sizes of raw text."""


class Run(NamedTuple):
    """One training.

    task (str): Name of the task.
    variant (str): Name of the variant.
    text (str): Millions of words of raw text, or "all".
    sentences (int): Number of training sentences; 0: all.
    seed (int): Seed of weights and order.
    """

    task: str
    variant: str
    text: str = ALL
    sentences: int = 0
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.variant}-{self.text}-{self.sentences or ALL}-{self.seed}"


class Settings(NamedTuple):
    """Settings that all trainings share.

    code (str): spaCy's code of the language.
    configs (Path): Folder of ner.cfg and tagger.cfg.
    corpora (Path): Folder of the tasks' corpora.
    training (Path): Folder of trained biLMs, vectors and heads.
    weights (Path): Folder of the biLM that has read all the text.
    max_steps (int): Steps of a training.
    """

    code: str
    configs: Path
    corpora: Path
    training: Path
    weights: Path
    max_steps: int

    def bilm(self, text: str) -> Path:
        if text == ALL:
            return self.weights
        return self.training / f"bilm-{text}" / "model-best"

    def vectors(self, text: str) -> Path:
        return self.training / f"vectors-{text}"

    @property
    def pretrained(self) -> Path:
        return self.training / "cnn" / "model-last.bin"

    @property
    def n_passes(self) -> int:
        """Passes of `spacy pretrain` over the text: it writes a file after each."""
        return len([*self.pretrained.parent.glob("model[0-9]*.bin")])

    def inputs(self, run: Run) -> List[Path]:
        """Get the files that a training reads."""
        parts = ("train", "dev", "test")
        files = [self.corpora / run.task / f"{part}.spacy" for part in parts]
        if run.variant in WITH_ELMO:
            files.append(self.bilm(run.text) / "model.safetensors")
        elif run.variant == "vectors":
            files.append(self.vectors(run.text) / "vocab" / "vectors")
        elif run.variant == PRETRAINED:
            files.append(self.pretrained)
        return files


def make_config(task: Task, run: Run, settings: Settings) -> Config:
    """Create the config of a training: heads, corpora and budget are the same for all
    variants."""
    recipe = load_config(settings.configs / f"{task.config}.cfg", interpolate=False)
    head = task.head
    recipe["nlp"]["lang"] = settings.code
    recipe["nlp"]["pipeline"] = ["elmo", head]
    for name in list(recipe["components"]):
        if name not in ("elmo", head):
            del recipe["components"][name]
    set_corpora(recipe, run, settings)
    set_training(recipe, task, run, settings)
    if run.variant not in WITH_ELMO:
        return without_elmo(recipe, head, run, settings)
    recipe["paths"]["elmo"] = settings.bilm(run.text).as_posix()
    tok2vec = recipe["components"][head]["model"]["tok2vec"]
    embed = cnn_config(settings.code, head)["components"]["tok2vec"]["model"]["embed"]
    width = tok2vec["encode"]["width"]
    tok2vec["embed"] = {**embed, "width": width} if "embed" in run.variant else None
    return recipe


def set_corpora(config: Config, run: Run, settings: Settings) -> None:
    folder = settings.corpora / run.task
    config["corpora"] = {
        part: {
            "@readers": "spacy.Corpus.v1",
            "path": (folder / f"{part}.spacy").as_posix(),
            "gold_preproc": True,
            "limit": run.sentences if part == "train" else 0,
        }
        for part in ("train", "dev", "test")
    }


def set_training(config: Config, task: Task, run: Run, settings: Settings) -> None:
    config["system"]["seed"] = run.seed
    training = config["training"]
    training["max_steps"] = settings.max_steps
    training["eval_frequency"] = max(1, settings.max_steps // 10)
    weights = dict.fromkeys(training["score_weights"], None)
    share = 1 / len(task.metrics)
    training["score_weights"] = {**weights, **dict.fromkeys(task.metrics, share)}


def without_elmo(config: Config, head: str, run: Run, settings: Settings) -> Config:
    """Put the head, the corpora and the budget over spaCy's CNN."""
    cnn = cnn_config(settings.code, head)
    listener = cnn["components"][head]["model"]["tok2vec"]
    cnn["components"][head] = config["components"][head]
    cnn["components"][head]["model"]["tok2vec"] = listener
    for section in ("system", "corpora", "training"):
        cnn[section] = config[section]
    if run.variant == PRETRAINED:
        cnn["initialize"]["init_tok2vec"] = settings.pretrained.as_posix()
    else:
        del cnn["pretraining"]  # spaCy reads it for pretrained weights alone
    if run.variant == "vectors":
        cnn["initialize"]["vectors"] = settings.vectors(run.text).as_posix()
        embed: Dict[str, Any] = cnn["components"]["tok2vec"]["model"]["embed"]
        embed["include_static_vectors"] = True
    return cnn


def cnn_config(code: str, head: str) -> Config:
    """Create the config that `spacy init config --pretraining` writes."""
    return init_config(
        lang=code, pipeline=[head], optimize="efficiency", pretraining=True
    )
