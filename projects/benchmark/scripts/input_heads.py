"""Train and score heads on each input: the entity recognizer of configs/ner.cfg, which
reads stored vectors in place of the component elmo, or spaCy's CNN; and a tagger on
spaCy's CNN, which cannot be probed before it is trained."""

from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any, Callable, Dict, Iterator, List, Tuple

import numpy as np
import spacy
import torch
import typer
from input_results import TEST, Scores, update
from inputs import CNN, INPUTS, OURS, PRECISIONS, Features, read_set
from measuring import PROJECT, our_versions
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config
from thinc.api import Config, Model, chain
from thinc.types import Floats2d, Floats3d

from spacy_elmo.files import replace_folder
from spacy_elmo.layers.mix import elmo_mix

torch.set_num_threads(1)

TRAINING = PROJECT / "training" / "inputs"
TASKS = {
    "ner": (PROJECT.parents[1] / "configs" / "ner.cfg", "ents", "ents_f"),
    "upos": (PROJECT / "configs" / "tagger_cnn.cfg", "tags", "tag_acc"),
}
"""Config, annotation of a Doc, and score, by the prefix of the sets."""

LAYERS: Dict[Tuple[str, ...], np.ndarray] = {}
"""Stored layers, (n_layers, n_words, width), by the words of a sentence."""


def main(
    sets: Annotated[Path, typer.Argument(help="Folder of the sets", exists=True)],
    folder: Annotated[Path, typer.Argument(help="Folder of the vectors", exists=True)],
    target: Annotated[Path, typer.Argument(help="Folder of the results")],
    seeds: Annotated[int, typer.Option(help="Number of heads per input")] = 3,
    max_steps: Annotated[int, typer.Option(help="Steps of a head")] = 1000,
) -> None:
    """Write TARGET/ner_head.json and upos_head.json. Our vectors in lower precisions
    are given to the heads that were trained in float32."""
    cnn = {CNN: {"weights": None, "versions": our_versions()}}
    vectors = {name: Features(folder, name).identity for name in INPUTS}
    for task, identities in (("ner", {**vectors, **cnn}), ("upos", cnn)):

        def score(name: str, task: str = task) -> Scores:
            return score_heads(task, name, sets, folder, seeds, max_steps)

        update(
            target / f"{task}_head.json",
            sorted(sets.glob(f"{task}-*.jsonl")),
            identities,
            score,
            seeds=seeds,
            max_steps=max_steps,
        )


def score_heads(
    task: str, name: str, sets: Path, folder: Path, seeds: int, max_steps: int
) -> Scores:
    """Score each form of the test set, with one head per seed."""
    scores: Dict[str, List[float]] = defaultdict(list)
    _, _, metric = TASKS[task]
    for seed in range(seeds):
        trained = OURS if name in PRECISIONS else name
        nlp = load_head(task, trained, seed, sets, folder, max_steps)
        for form, suffix in TEST.items():
            path = sets / f"{task}-test{suffix}.jsonl"
            use(name, folder, path)
            examples = list(read_examples(path, task)(nlp))
            scores[form].append(nlp.evaluate(examples)[metric])
    return {"scores": dict(scores)}


def load_head(
    task: str, name: str, seed: int, sets: Path, folder: Path, max_steps: int
) -> Language:
    """Train a head, unless it is there. The steps are not chosen by a development
    set: the learning rate decays to the last one."""
    weights = "" if name == CNN else Features(folder, name).identity["weights"]
    title = f"{task}-{name}-{seed}-{max_steps}-{weights[:12]}".replace(" ", "-")
    output = TRAINING / title
    path = sets / f"{task}-train.jsonl"
    if not output.is_dir():
        use(name, folder, path)
        config = make_config(task, name, seed, path, max_steps)
        output.parent.mkdir(parents=True, exist_ok=True)
        # Only a complete training gets the name.
        with replace_folder(output) as part:
            train(init_nlp(config), part)
    return spacy.load(output / "model-last")


def make_config(task: str, name: str, seed: int, path: Path, max_steps: int) -> Config:
    config = load_config(TASKS[task][0], interpolate=False)
    if task == "ner":
        config["nlp"]["pipeline"] = ["ner"]
        del config["components"]["elmo"]
        config["initialize"]["components"] = {}
        schedule = config["training"]["optimizer"]["learn_rate"]
        schedule["total_steps"] = max_steps
        config["initialize"]["before_init"] = None
        model = config["components"]["ner"]["model"]
        if name == CNN:
            model["tok2vec"] = {
                "@architectures": "spacy.HashEmbedCNN.v2",
                "width": 96,
                "depth": 4,
                "embed_size": 2000,
                "window_size": 1,
                "maxout_pieces": 3,
                "subword_features": True,
                "pretrained_vectors": None,
            }
        else:
            model["tok2vec"]["elmo"] = {
                "@architectures": "benchmark.StoredLayers.v1",
                "dropout": model["tok2vec"]["elmo"]["dropout"],
            }
    config["system"]["seed"] = seed
    reader = {"@readers": "benchmark.Set.v1", "path": str(path), "task": task}
    config["corpora"] = {"train": reader, "dev": {**reader, "limit": 1}}
    config["training"]["max_steps"] = max_steps
    config["training"]["eval_frequency"] = max_steps
    config["training"]["patience"] = 0
    return config


@spacy.registry.readers("benchmark.Set.v1")
def read_examples(
    path: str, task: str, limit: int = 0
) -> Callable[[Language], Iterator[Example]]:
    """Create a reader of a set; see input_sets.py.

    limit (int): Maximum number of sentences; 0: all.
    """

    def read(nlp: Language) -> Iterator[Example]:
        for row in read_set(Path(path)).rows[: limit or None]:
            annotation = {TASKS[task][1]: row["labels"]}
            doc = Doc(nlp.vocab, words=row["words"], **annotation)
            yield Example(Doc(nlp.vocab, words=row["words"]), doc)

    return read


def use(name: str, folder: Path, path: Path) -> None:
    """Store the layers of a set."""
    LAYERS.clear()
    if name == CNN:
        return
    vectors, begin = Features(folder, name).read(path), 0
    for words in read_set(path).words:
        LAYERS[tuple(words)] = vectors[:, begin : begin + len(words)]
        begin += len(words)


@spacy.registry.architectures("benchmark.StoredLayers.v1")
def stored_layers(dropout: float) -> Model[List[Doc], List[Floats2d]]:
    """Build a learned mix of the stored layers, in the place of an ElmoListener."""
    mix = elmo_mix(dropout=dropout)
    mix.attrs["backprop_layers"] = False
    return chain(Model("stored_layers", forward), mix)


def forward(
    model: Model, docs: List[Doc], is_train: bool
) -> Tuple[List[Floats3d], Callable[[Any], List[Doc]]]:
    layers = [LAYERS[tuple(token.text for token in doc)].astype("f") for doc in docs]
    return layers, lambda d_layers: []


if __name__ == "__main__":
    typer.run(main)
