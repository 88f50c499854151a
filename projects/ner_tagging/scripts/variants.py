"""Tasks, variants of the heads' inputs, and their configs."""

from copy import deepcopy
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Tuple

from spacy.cli.init_config import init_config
from spacy.util import load_config
from thinc.api import Config

CONLL2003 = "spacy_elmo.Conll2003Corpus.v1"
PARTS = ("train", "dev", "test")


class Task(NamedTuple):
    """A corpus and the heads that are trained on it.

    title (str): Name of the corpus.
    config (str): Name of the config.
    heads (Tuple[str, ...]): Names of the heads.
    reader (Dict[str, Any]): Reader of the corpus, without a path.
    files (Tuple[str, str, str]): Files of PARTS, in the folder of the corpora.
    metrics (Dict[str, str]): Titles of the metrics, by name in spaCy's scores.
    """

    title: str
    config: str
    heads: Tuple[str, ...]
    reader: Dict[str, Any]
    files: Tuple[str, str, str]
    metrics: Dict[str, str]


ENTITIES = {"ents_p": "P", "ents_r": "R", "ents_f": "F1"}

TASKS = {
    "tagging": Task(
        "UD English EWT",
        "tagger",
        ("tagger", "morphologizer"),
        {"@readers": "spacy.Corpus.v1", "gold_preproc": True},
        (
            "corpus/ewt/en_ewt-ud-train.spacy",
            "corpus/ewt/en_ewt-ud-dev.spacy",
            "corpus/ewt/en_ewt-ud-test.spacy",
        ),
        {"tag_acc": "TAG", "pos_acc": "UPOS", "morph_acc": "MORPH"},
    ),
    "ner": Task(
        "WNUT-17",
        "ner",
        ("ner",),
        {"@readers": CONLL2003},
        (
            "assets/wnut17/wnut17train.conll",
            "assets/wnut17/emerging.dev.conll",
            "assets/wnut17/emerging.test.annotated",
        ),
        ENTITIES,
    ),
    "conll2003": Task(
        "CoNLL-2003",
        "ner",
        ("ner",),
        {"@readers": CONLL2003},
        ("eng.train", "eng.testa", "eng.testb"),
        ENTITIES,
    ),
}

VARIANTS = {
    "a": "hash embedding, CNN (spaCy's HashEmbedCNN)",
    "b": "a, after spacy pretrain (characters)",
    "c": "ELMo, frozen, learned mix",
    "d": "c next to the hash embedding",
    "e": "c, top layer only",
    "f": "c, mean of the layers",
    "g": "c, ELMo also at the encoder's output",
    "h": "c, then the biLM unfrozen",
    "i": "c, with a biLM pretrained as long as b",
    "j": "d, with a biLM pretrained as long as b",
}
PRETRAINED, UNFROZEN, FIRST_FROZEN = "b", "h", "c"
EQUAL_TIME = {"i": "c", "j": "d"}
"""Variants that differ only in the biLM."""

WITHOUT_ELMO = ("a", "b")

UNFROZEN_RATE = 1e-4
"""Learning rate of (h): the heads are trained already, and the biLM should change
only a little."""


class Paths(NamedTuple):
    """Paths of a training.

    configs (Path): Folder of the configs.
    corpora (Path): Folder that the tasks' files are relative to.
    weights (Path): Folder of the biLM.
    equal_time (Path): Folder of the biLM of (i) and (j).
    pretrained (Path): Weights of the CNN of (b).
    frozen (Path): Trained pipeline that (h) continues.
    log (Path): Log of the training.
    """

    configs: Path
    corpora: Path
    weights: Path
    equal_time: Path
    pretrained: Path
    frozen: Path
    log: Path

    def bilm(self, variant: str) -> Path:
        return self.equal_time if variant in EQUAL_TIME else self.weights


class Budget(NamedTuple):
    """Steps of a training.

    max_steps (Optional[int]): Number of steps; None: as in the config.
    eval_frequency (Optional[int]): Steps between evaluations; None: as in the config.
    unfrozen_steps (int): Further steps of (h).
    """

    max_steps: Optional[int]
    eval_frequency: Optional[int]
    unfrozen_steps: int


def make_config(
    task: str, variant: str, seed: int, paths: Paths, budget: Budget
) -> Config:
    """Create the config of one training, with the variant's features."""
    recipe = load_config(paths.configs / f"{TASKS[task].config}.cfg", interpolate=False)
    _set_corpora(recipe, task, paths.corpora)
    _set_training(recipe, seed, paths.log, budget)
    heads = TASKS[task].heads
    if variant in WITHOUT_ELMO:
        pretrained = paths.pretrained if variant == PRETRAINED else None
        return _without_elmo(recipe, heads, pretrained)
    recipe["paths"]["elmo"] = paths.bilm(variant).as_posix()
    # False by default. The results are older than the setting, and their hashes are of
    # configs without it.
    del recipe["components"]["elmo"]["score"]
    features = EQUAL_TIME.get(variant, variant)
    for head in heads:
        _set_features(recipe["components"][head]["model"]["tok2vec"], features)
    if variant == UNFROZEN:
        _unfreeze(recipe, heads, paths.frozen, budget)
    return recipe


def cnn_config(heads: Tuple[str, ...]) -> Config:
    """Create spaCy's own config for the heads over one CNN, and for its pretraining."""
    pipeline = list(heads)
    return init_config(pipeline=pipeline, optimize="efficiency", pretraining=True)


def _set_corpora(config: Config, task: str, folder: Path) -> None:
    reader, files = TASKS[task].reader, TASKS[task].files
    config["corpora"] = {
        part: {**reader, "path": (folder / file).as_posix()}
        for part, file in zip(PARTS, files)
    }


def _set_training(config: Config, seed: int, log: Path, budget: Budget) -> None:
    config["system"]["seed"] = seed
    training = config["training"]
    # The recipe has its own number there.
    training["optimizer"]["learn_rate"]["total_steps"] = "${training.max_steps}"
    # `spacy train` resolves it without the recipe's callback. The order of the keys
    # counts in the hashes of the results.
    initialize = config["initialize"]
    callbacks = {"before_init": None, "after_init": initialize["after_init"]}
    config["initialize"] = {
        **{key: initialize[key] for key in initialize if key not in callbacks},
        **callbacks,
    }
    training["logger"] = {
        "@loggers": "spacy.ConsoleLogger.v3",
        "progress_bar": None,
        "console_output": True,
        "output_file": log.as_posix(),
    }
    if budget.max_steps is not None:
        training["max_steps"] = budget.max_steps
    if budget.eval_frequency is not None:
        training["eval_frequency"] = budget.eval_frequency


def _without_elmo(
    recipe: Config, heads: Tuple[str, ...], pretrained: Optional[Path]
) -> Config:
    """Put the config's heads, training and corpora over spaCy's CNN."""
    config = cnn_config(heads)
    for head in heads:
        listener = config["components"][head]["model"]["tok2vec"]
        config["components"][head] = recipe["components"][head]
        config["components"][head]["model"]["tok2vec"] = listener
    for section in ("system", "corpora", "training"):
        config[section] = recipe[section]
    config["initialize"]["init_tok2vec"] = pretrained and pretrained.as_posix()
    # spaCy needs this section to load pretrained weights.
    if pretrained is None:
        del config["pretraining"]
    return config


def _set_features(tok2vec: Dict[str, Any], variant: str) -> None:
    """Set the input of a head with ELMo. Each variant differs from (c) in one point."""
    if variant == "d":
        width = tok2vec["encode"]["width"]
        embed = cnn_config(("tagger",))["components"]["tok2vec"]["model"]["embed"]
        tok2vec["embed"] = {**embed, "width": width}
    else:
        tok2vec["embed"] = None
    if variant == "g":
        tok2vec["output_elmo"] = deepcopy(tok2vec["elmo"])
    else:
        tok2vec["output_elmo"] = None
    tok2vec["elmo"]["mix"] = {"e": "top", "f": "mean"}.get(variant, "learned")


def _unfreeze(
    config: Config, heads: Tuple[str, ...], frozen: Path, budget: Budget
) -> None:
    """Continue training the heads of a trained pipeline together with the biLM."""
    config["components"]["elmo"]["frozen"] = False
    for head in heads:
        config["components"][head] = {"source": frozen.as_posix()}
    config["training"]["max_steps"] = budget.unfrozen_steps
    config["training"]["optimizer"]["learn_rate"] = UNFROZEN_RATE
