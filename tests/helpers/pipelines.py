"""Small pipelines with the tiny biLM, and a few sentences to train their heads on."""

from __future__ import annotations

import copy
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator

import numpy as np
from click.testing import Result
from spacy.cli._util import app
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.util import load_model_from_config, registry
from spacy.vocab import Vocab
from thinc.api import Config, Model, fix_random_seed
from typer.testing import CliRunner

from spacy_elmo import BiLM

CORPUS = [
    ("She sat on the river bank .", "PRP VBD IN DT NN NN .", ["O"] * 7),
    (
        "He left Paris with Ann Lee",
        "PRP VBD NNP IN NNP NNP",
        ["O", "O", "U-GPE", "O", "B-PERSON", "L-PERSON"],
    ),
    ("They bank in Rome .", "PRP VBP IN NNP .", ["O", "O", "O", "U-GPE", "O"]),
    (
        "Bob Ray saw the old bank",
        "NNP NNP VBD DT JJ NN",
        ["B-PERSON", "L-PERSON", "O", "O", "O", "O"],
    ),
]

POS = {"VBD": "VERB", "VBP": "VERB", "IN": "ADP", "DT": "DET", ".": "PUNCT"}

NO_SETTINGS: dict[str, Any] = {}

LISTENER = {"@architectures": "spacy_elmo.ElmoListener.v1"}
EMBED = {
    "@architectures": "spacy.MultiHashEmbed.v2",
    "width": 12,
    "attrs": ["NORM"],
    "rows": [100],
    "include_static_vectors": False,
}
ENCODE = {
    "@architectures": "spacy.MaxoutWindowEncoder.v2",
    "width": 12,
    "depth": 1,
    "window_size": 1,
    "maxout_pieces": 2,
}
CONCAT = {
    "@architectures": "spacy_elmo.ElmoConcatTok2Vec.v1",
    "embed": EMBED,
    "elmo": LISTENER,
    "encode": ENCODE,
}
CONCAT_TWICE = {**CONCAT, "output_elmo": LISTENER}
TOK2VEC = {"@architectures": "spacy.HashEmbedCNN.v2", "pretrained_vectors": None}
TOK2VEC.update(width=12, depth=1, embed_size=100, window_size=1, maxout_pieces=2)
TOK2VEC.update(subword_features=False)


def loader(weights: Path) -> dict[str, Any]:
    return {"@callbacks": "spacy_elmo.PretrainedWeights.v1", "path": str(weights)}


def own_bilm(weights: Path | None, **settings: Any) -> dict[str, Any]:
    """Build the config of an ElmoTok2Vec."""
    return {
        "@architectures": "spacy_elmo.ElmoTok2Vec.v1",
        "model": {"@architectures": "spacy_elmo.ElmoModel.v1"},
        "weights": loader(weights) if weights else None,
        **settings,
    }


def head(name: str, tok2vec: dict[str, Any]) -> dict[str, Any]:
    """Build the config of a tagger, an NER or a text classifier."""
    models: dict[str, dict[str, Any]] = {
        "tagger": {"@architectures": "spacy.Tagger.v2"},
        "ner": {
            "@architectures": "spacy.TransitionBasedParser.v2",
            "state_type": "ner",
            "extra_state_tokens": False,
            "hidden_width": 16,
            "maxout_pieces": 2,
        },
        "textcat_multilabel": {
            "@architectures": "spacy.TextCatReduce.v1",
            "exclusive_classes": False,
            "use_reduce_first": False,
            "use_reduce_last": False,
            "use_reduce_max": False,
            "use_reduce_mean": True,
        },
    }
    return {"factory": name, "model": {**models[name], "tok2vec": tok2vec}}


def config(
    components: dict[str, dict[str, Any]],
    weights: Path | None = None,
    elmo: dict[str, Any] | None = NO_SETTINGS,
    **training: Any,
) -> Config:
    """Build a config of components.

    components (Dict[str, Dict]): By name and in order, the config of each component, or
        of its tok2vec for a tagger, ner or textcat_multilabel.
    weights (Optional[Path]): Path for [initialize.components.elmo.weights].
    elmo (Optional[Dict]): Settings of the elmo component, which comes first. None omits
        the component.
    training: Settings of [training].
    """
    blocks: dict[str, dict[str, Any]] = {}
    if elmo is not None:
        blocks["elmo"] = {"factory": "elmo", **elmo}
    for name, block in components.items():
        blocks[name] = block if "factory" in block else head(name, block)
    text: dict[str, Any] = {
        "nlp": {"lang": "en", "pipeline": list(blocks)},
        "components": blocks,
        "training": training,
    }
    if weights is not None:
        initialize = {"components": {"elmo": {"weights": loader(weights)}}}
        text["initialize"] = initialize
    return Config(copy.deepcopy(text))


def blank(*args: Any, **settings: Any) -> Language:
    """Create a pipeline from the arguments of `config`, without initializing it."""
    return load_model_from_config(config(*args, **settings), auto_fill=True)


def trainable(*args: Any, **settings: Any) -> Language:
    """Create a pipeline from the arguments of `config`, initialized on the corpus."""
    fix_random_seed(0)
    nlp = blank(*args, **settings)
    nlp.initialize(lambda: examples(nlp))
    return nlp


def examples(nlp: Language) -> list[Example]:
    """Create examples with tags, entities, sentence starts and categories."""
    made = []
    for text, tags, entities in CORPUS:
        words = text.split()
        annotation = {
            "words": words,
            "tags": tags.split(),
            "entities": entities,
            "sent_starts": [1] + [-1] * (len(words) - 1),
            "cats": {
                "PLACE": float("bank" in words),
                "NAME": float("bank" not in words),
            },
        }
        made.append(Example.from_dict(Doc(nlp.vocab, words=words), annotation))
    return made


def train(
    nlp: Language, steps: int, rate: float = 0.02, **settings: Any
) -> list[dict[str, float]]:
    """Update the pipeline on the whole corpus. RETURNS: The losses of each step."""
    sgd = nlp.create_optimizer()
    sgd.learn_rate = rate
    every = examples(nlp)
    history = []
    for _ in range(steps):
        losses: dict[str, float] = {}
        nlp.update(every, sgd=sgd, losses=losses, **settings)
        history.append(losses)
    return history


def docs_of(nlp: Language, *texts: str) -> list[Doc]:
    """Create docs from texts whose words are separated by spaces."""
    return [Doc(nlp.vocab, words=text.split()) for text in texts]


def expected_layers(bilm: BiLM, *sentences: Iterable[str]) -> np.ndarray:
    """Compute the layers of consecutive sentences of one doc with BiLM.encode."""
    return np.concatenate(bilm.encode([list(s) for s in sentences]), axis=1)


def mixes(model: Model) -> list[Model]:
    return [node for node in model.walk() if node.name == "elmo_mix"]


def parameters(bilm: BiLM) -> dict[str, np.ndarray]:
    return {name: p.detach().numpy().copy() for name, p in bilm.named_parameters()}


def same_numbers(one: BiLM, other: BiLM) -> dict[str, bool]:
    """Compare the parameters of two models, by name."""
    left, right = parameters(one), parameters(other)
    return {name: bool(np.array_equal(left[name], right[name])) for name in left}


def spied(function: Callable[..., Any], calls: list[Any]) -> Callable[..., Any]:
    """Wrap a function to record the arguments of its calls."""

    def spy(*args: Any, **kwargs: Any) -> Any:
        calls.append((args, kwargs))
        return function(*args, **kwargs)

    return spy


def embedder(bilm: BiLM, **elmo: Any) -> Language:
    """Create a pipeline with only an elmo component."""
    nlp = blank({}, elmo=elmo)
    nlp.get_pipe("elmo").set_bilm(bilm)
    return nlp


@contextmanager
def no_warnings() -> Iterator[None]:
    """Turn warnings into errors, as python -W error does. The filters of a new elmo
    component take precedence, so create the pipeline inside."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # PyTorch imports some of its modules late, with warnings about each other.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")
        yield


def write_corpus(path: Path) -> Path:
    """Write the corpus as a .spacy file with annotations for all kinds of heads."""
    vocab = Vocab()
    docs = []
    for text, tag_text, entities in CORPUS:
        words = text.split()
        tags = tag_text.split()
        doc = Doc(
            vocab,
            words=words,
            tags=tags,
            pos=[POS.get(tag, "NOUN") for tag in tags],
            morphs=["Tense=Past" if tag == "VBD" else "" for tag in tags],
            heads=[1] * len(words),
            deps=["dep", "ROOT"] + ["dep"] * (len(words) - 2),
            ents=[tag.replace("U-", "B-").replace("L-", "I-") for tag in entities],
        )
        doc.cats = {"PLACE": float("bank" in words), "NAME": float("bank" not in words)}
        doc.spans["sc"] = list(doc.ents)
        docs.append(doc)
    DocBin(docs=docs * 10, store_user_data=True).to_disk(path)
    return path


def spacy_command(*arguments: str | Path) -> Result:
    """Run `python -m spacy ...` in this process. RETURNS: Its output and status."""
    for load in registry.cli.get_all().values():
        assert load
    return CliRunner().invoke(app, [str(argument) for argument in arguments])
