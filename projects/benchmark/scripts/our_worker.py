"""spacy_elmo at work, and the machine's own limits. See `protocol`."""

import statistics
import time
from typing import Any, Callable, Dict, List, Optional

import numpy as np
import torch
from protocol import option, serve, versions
from torch import Tensor
from treebank import count_words, in_batches, read_sentences, warming

from spacy_elmo import BiLM, load_bilm
from spacy_elmo.bilm.backends import CPUBackend, select_backend
from spacy_elmo.bilm.model import DEFAULT_BATCH_TOKENS, group_by_length
from spacy_elmo.bilm.precision import has_native_bfloat16

torch.set_num_threads(int(option("--threads")))

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

# Of the products that tell the machine's limit: larger than any cache of a core, and as
# many rows as a batch of sentences has.
PEAK_ROWS, PEAK_IN, PEAK_OUT, PEAK_RUNS = 1024, 1024, 4096, 11


class Work:
    """What the tasks share; `load` sets it."""

    bilm: BiLM
    batches: List[List[List[str]]]
    sentences: List[List[str]]


def load(
    weights: str, text: str, n_sentences: int = 0, n_batches: int = 0
) -> Dict[str, Any]:
    Work.bilm = load_bilm(weights)
    Work.batches = in_batches(read_sentences(text, n_sentences), n_batches=n_batches)
    Work.sentences = [sentence for batch in Work.batches for sentence in batch]
    return {
        "words": count_words(Work.sentences),
        "sentences": len(Work.sentences),
        "parameters": Work.bilm.n_parameters,
        "native_bfloat16": has_native_bfloat16(torch.device("cpu")),
        "versions": versions("spacy_elmo", "torch", "numpy"),
    }


def peak(precision: str = "float32", is_packed: bool = False) -> Optional[float]:
    """GFLOP/s of a matrix product in this minute: PyTorch's own, or that of the
    compiled kernels with packed weights, None if there are no kernels."""
    dtype = DTYPES[precision]
    rows = torch.randn(PEAK_ROWS, PEAK_IN).to(dtype)
    weight = torch.randn(PEAK_OUT, PEAK_IN).to(dtype)
    if not is_packed:
        return speed(lambda: torch.mm(rows, weight.t()))
    backend = select_backend(torch.device("cpu"), dtype)
    if not isinstance(backend, CPUBackend):
        return None
    multiply, inputs = backend.prepare_linear(weight.float(), None), rows.float()
    return speed(lambda: multiply(inputs))


@torch.no_grad()
def speed(multiply: Callable[[], Tensor]) -> float:
    """GFLOP/s, the median of some runs."""
    times = []
    for _ in range(PEAK_RUNS):
        start = time.perf_counter()
        multiply()
        times.append(time.perf_counter() - start)
    flop = 2 * PEAK_ROWS * PEAK_IN * PEAK_OUT
    return flop / statistics.median(times) / 1e9


def warm_up(precision: str = "float32") -> None:
    """Before each measurement: a system may have given back the memory, or the pages of
    code, of a process that waited for minutes."""
    for batch in warming(Work.batches):
        Work.bilm.encode(batch, precision=precision)


def forget_words(precision: str) -> None:
    """The weights stay laid out: that is done once, and belongs to loading them."""
    Work.bilm.clear_cache()
    Work.bilm.encode([[""]], precision=precision)


def encode_batches(precision: str) -> Dict[str, float]:
    """A call for each batch; no word is known at the beginning of the pass."""
    forget_words(precision)
    start = time.perf_counter()
    for batch in Work.batches:
        Work.bilm.encode(batch, precision=precision)
    return {"seconds": time.perf_counter() - start}


def encode_cold(precision: str) -> Dict[str, float]:
    """One call for all; no word is known."""
    forget_words(precision)
    return encode_warm(precision)


def encode_warm(precision: str) -> Dict[str, float]:
    """One call for all; after another pass, all words are known."""
    start = time.perf_counter()
    Work.bilm.encode(Work.sentences, precision=precision)
    return {"seconds": time.perf_counter() - start}


@torch.no_grad()
def lstms(precision: str) -> Dict[str, float]:
    """The LSTMs alone, in the batches of one call. RETURNS: seconds, GFLOP of their
    matrix products, and the mean number of rows in a step's product."""
    bilm, config = Work.bilm, Work.bilm.config
    groups = [
        [len(Work.sentences[number]) + 2 for number in numbers]
        for numbers in group_by_length(Work.sentences, DEFAULT_BATCH_TOKENS)
    ]
    inputs = [torch.randn(sum(group), config.projection_dim) for group in groups]
    bilm.contextualize(inputs[-1], groups[-1], dtype=DTYPES[precision])
    start = time.perf_counter()
    for vectors, lengths in zip(inputs, groups):
        bilm.contextualize(vectors, lengths, dtype=DTYPES[precision])
    seconds = time.perf_counter() - start
    tokens = sum(map(sum, groups))
    # Input and state to four gates each, and the projection.
    weights = 9 * config.dim * config.projection_dim
    flop = 2 * tokens * 2 * config.n_layers * weights
    return {
        "seconds": seconds,
        "gflop": flop / 1e9,
        "rows": tokens / sum(max(group) for group in groups),
    }


def vectors(sentences: List[List[str]], path: str, precision: str = "float32") -> None:
    """Write the sentences' layers to an .npz file."""
    np.savez(path, *Work.bilm.encode(sentences, precision=precision))


def warm_up_training(precision: str = "float32") -> None:
    forward_and_back(Work.batches[0], precision)


def train(precision: str = "float32") -> Dict[str, float]:
    """Forward and back over all batches, the biLM not frozen."""
    start = time.perf_counter()
    for batch in Work.batches:
        forward_and_back(batch, precision)
    return {"seconds": time.perf_counter() - start}


def gradient(sentences: List[List[str]], path: str) -> float:
    """Write the gradient of the characters' vectors. RETURNS: the loss."""
    loss = forward_and_back(sentences, "float32")
    embedding = Work.bilm.character_encoder.char_embedding.weight
    if embedding.grad is None:
        raise ValueError("Expected a gradient.")
    np.save(path, embedding.grad.numpy())
    return loss


def forward_and_back(sentences: List[List[str]], precision: str) -> float:
    """The loss is a fixed random projection of all layers of all words."""
    Work.bilm.zero_grad(set_to_none=True)
    layers = Work.bilm(sentences, precision=precision)
    random = np.random.RandomState(0).randn(layers.shape[2])
    loss = (layers @ torch.from_numpy(random).float()).sum()
    loss.backward()
    return float(loss.detach())


def cosines() -> List[Dict[str, float]]:
    """Of the words' vectors in bfloat16 to those in float32, layer by layer."""
    exact = Work.bilm.encode(Work.sentences)
    rounded = Work.bilm.encode(Work.sentences, precision="bfloat16")
    layers = []
    for number in range(len(exact[0])):
        left, right = (
            torch.from_numpy(np.concatenate([array[number] for array in encoded]))
            for encoded in (exact, rounded)
        )
        found = torch.cosine_similarity(left.double(), right.double(), dim=1)
        layers.append({"mean": float(found.mean()), "min": float(found.min())})
    return layers


if __name__ == "__main__":
    tasks = (load, peak, warm_up, encode_batches, encode_cold, encode_warm, lstms)
    others = (vectors, warm_up_training, train, gradient, cosines)
    serve({task.__name__: task for task in (*tasks, *others)})
