"""Tasks that measure AllenNLP's ELMo, in its own environment. See `protocol`.

AllenNLP 2.10.1 imports packages that its ELMo does not use, and whose versions of that
time cannot be installed next to a current PyTorch. Stubs take their place.
"""

import importlib.abc
import importlib.machinery
import sys
import time
import types
from typing import Any, Dict, List, Optional

import numpy as np
import torch
from protocol import option, serve, versions
from treebank import count_words, in_batches, read_sentences, warming

UNUSED = (
    "_jsonnet",
    "cached_path",
    "fairscale",
    "huggingface_hub",
    "lmdb",
    "nltk",
    "spacy",
    "torchvision",
    "transformers",
)


class Stub(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        """Return a class of this name: most are base classes or annotations."""
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class Stubs(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        if name.partition(".")[0] not in UNUSED:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return Stub(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        if module.__name__ == "cached_path":
            # Files are given by their paths.
            module.cached_path = lambda path, *_, **__: path  # type: ignore


# The last finder: installed packages are imported as usual.
sys.meta_path.append(Stubs())

from allennlp.modules.elmo import _ElmoBiLm, batch_to_ids  # noqa: E402

torch.set_num_threads(int(option("--threads")))


class Work:
    """State shared by the tasks, set by `load`."""

    model: Any
    batches: List[List[List[str]]]
    ids: List[torch.Tensor]
    word_ids: List[torch.Tensor]


def load(
    weights: str,
    text: str,
    n_sentences: int = 0,
    n_batches: int = 0,
    trainable: bool = False,
) -> Dict[str, Any]:
    """Load the weights and the text. Without gradients, also cache the vectors of the
    text's words, for `encode_cached`."""
    sentences = read_sentences(text, n_sentences)
    Work.batches = in_batches(sentences, n_batches=n_batches)
    words = sorted({word for sentence in sentences for word in sentence})
    # Id 0 is padding.
    numbers = {word: number for number, word in enumerate(words, 1)}
    with torch.set_grad_enabled(trainable):
        Work.model = _ElmoBiLm(
            f"{weights}/options.json",
            f"{weights}/weights.hdf5",
            requires_grad=trainable,
            vocab_to_cache=None if trainable else ["", *words],
        )
    Work.ids = [batch_to_ids(batch) for batch in Work.batches]
    Work.word_ids = []
    for batch in Work.batches:
        word_ids = torch.zeros(len(batch), max(map(len, batch)), dtype=torch.long)
        for row, sentence in zip(word_ids, batch):
            row[: len(sentence)] = torch.tensor([numbers[word] for word in sentence])
        Work.word_ids.append(word_ids)
    return {
        "words": sum(count_words(batch) for batch in Work.batches),
        "versions": versions("allennlp", "torch", "numpy"),
    }


@torch.no_grad()
def warm_up() -> None:
    for batch in warming(Work.batches):
        Work.model(batch_to_ids(batch))


@torch.no_grad()
def encode() -> Dict[str, float]:
    """Encode all batches from precomputed character ids; computing these is timed
    separately."""
    start = time.perf_counter()
    for batch in Work.batches:
        batch_to_ids(batch)
    id_seconds = time.perf_counter() - start
    start = time.perf_counter()
    for ids in Work.ids:
        Work.model(ids)
    return {"seconds": time.perf_counter() - start, "id_seconds": id_seconds}


@torch.no_grad()
def encode_cached() -> Dict[str, float]:
    """Encode all batches from word ids, with precomputed word vectors."""
    start = time.perf_counter()
    for ids, word_ids in zip(Work.ids, Work.word_ids):
        Work.model(ids, word_ids)
    return {"seconds": time.perf_counter() - start}


@torch.no_grad()
def vectors(sentences: List[List[str]], path: str) -> None:
    """Write the layers of the sentences, from a zero state, to an .npz file."""
    Work.model._elmo_lstm.reset_states()
    output = Work.model(batch_to_ids(sentences))
    layers = torch.stack(output["activations"]).numpy()
    arrays = [
        layers[:, row, 1 : len(sentence) + 1] for row, sentence in enumerate(sentences)
    ]
    np.savez(path, *arrays)


def warm_up_training() -> None:
    forward_and_back(Work.ids[0], inner_positions(Work.batches[0]))


def train() -> Dict[str, float]:
    """Run the forward and backward pass over all batches."""
    seconds = 0.0
    for number, batch in enumerate(Work.batches):
        inner = inner_positions(batch)
        start = time.perf_counter()
        forward_and_back(Work.ids[number], inner)
        seconds += time.perf_counter() - start
    return {"seconds": seconds}


def gradient(sentences: List[List[str]], path: str) -> float:
    """Write the gradient of the character embeddings to a file.

    RETURNS (float): The loss.
    """
    Work.model._elmo_lstm.reset_states()
    loss = forward_and_back(batch_to_ids(sentences), inner_positions(sentences))
    embedding = Work.model._token_embedder._char_embedding_weights
    np.save(path, embedding.grad.numpy())
    return loss


def forward_and_back(ids: torch.Tensor, inner: torch.Tensor) -> float:
    """Backpropagate a fixed random projection of all layers. Returns the loss."""
    for parameter in Work.model.parameters():
        parameter.grad = None
    activations = Work.model(ids)["activations"]
    width = activations[0].shape[2]
    direction = torch.from_numpy(np.random.RandomState(0).randn(width)).float()
    loss = sum((layer @ direction * inner).sum() for layer in activations)
    loss.backward()
    return loss.item()


def inner_positions(batch: List[List[str]]) -> torch.Tensor:
    """Mask with 1 for words and 0 for boundaries and padding."""
    inner = torch.zeros(len(batch), max(map(len, batch)) + 2)
    for row, sentence in zip(inner, batch):
        row[1 : len(sentence) + 1] = 1
    return inner


if __name__ == "__main__":
    tasks = (load, warm_up, encode, encode_cached, vectors)
    others = (warm_up_training, train, gradient)
    serve({task.__name__: task for task in (*tasks, *others)})
