"""AllenNLP's ELMo at work, in an environment of its own. See `protocol`."""

import time
from typing import Any, Dict, List

import numpy as np
import torch
from absent_packages import stand_in
from protocol import option, serve, versions
from treebank import count_words, in_batches, read_sentences, warming

stand_in()

from allennlp.modules.elmo import _ElmoBiLm, batch_to_ids  # noqa: E402

torch.set_num_threads(int(option("--threads")))


class Work:
    """What the tasks share; `load` sets it."""

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
    """Read the weights and the text. Without gradients, the vectors of the text's words
    are cached too, for `encode_cached`."""
    sentences = read_sentences(text, n_sentences)
    Work.batches = in_batches(sentences, n_batches=n_batches)
    words = sorted({word for sentence in sentences for word in sentence})
    # Id 0 is the padding's.
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
    """All batches from their character ids. Those are formed apart, and their time is
    told apart."""
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
    """All batches from word ids, with the words' vectors formed before."""
    start = time.perf_counter()
    for ids, word_ids in zip(Work.ids, Work.word_ids):
        Work.model(ids, word_ids)
    return {"seconds": time.perf_counter() - start}


@torch.no_grad()
def vectors(sentences: List[List[str]], path: str) -> None:
    """Write the sentences' layers, without a state from before, to an .npz file."""
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
    """Forward and back over all batches."""
    seconds = 0.0
    for number, batch in enumerate(Work.batches):
        inner = inner_positions(batch)
        start = time.perf_counter()
        forward_and_back(Work.ids[number], inner)
        seconds += time.perf_counter() - start
    return {"seconds": seconds}


def gradient(sentences: List[List[str]], path: str) -> float:
    """Write the gradient of the characters' vectors. RETURNS: the loss."""
    Work.model._elmo_lstm.reset_states()
    loss = forward_and_back(batch_to_ids(sentences), inner_positions(sentences))
    embedding = Work.model._token_embedder._char_embedding_weights
    np.save(path, embedding.grad.numpy())
    return loss


def forward_and_back(ids: torch.Tensor, inner: torch.Tensor) -> float:
    """The loss is a fixed random projection of all layers of all words."""
    for parameter in Work.model.parameters():
        parameter.grad = None
    activations = Work.model(ids)["activations"]
    width = activations[0].shape[2]
    direction = torch.from_numpy(np.random.RandomState(0).randn(width)).float()
    loss = sum((layer @ direction * inner).sum() for layer in activations)
    loss.backward()
    return loss.item()


def inner_positions(batch: List[List[str]]) -> torch.Tensor:
    """1 for words, 0 for boundaries and padding."""
    inner = torch.zeros(len(batch), max(map(len, batch)) + 2)
    for row, sentence in zip(inner, batch):
        row[1 : len(sentence) + 1] = 1
    return inner


if __name__ == "__main__":
    tasks = (load, warm_up, encode, encode_cached, vectors)
    others = (warm_up_training, train, gradient)
    serve({task.__name__: task for task in (*tasks, *others)})
