"""Tasks that measure spacy_elmo and the machine's own limits. See `protocol`."""

import contextlib
import ctypes
import itertools
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import numpy as np
import torch
from protocol import option, serve, versions
from torch import Tensor
from treebank import Sentence, count_words, in_batches, read_sentences, warming

from spacy_elmo import BiLM, load_bilm
from spacy_elmo.bilm.backends import CPUBackend, select_backend
from spacy_elmo.bilm.batching import DEFAULT_BATCH_TOKENS, group_by_length
from spacy_elmo.bilm.precision import has_native_bfloat16

torch.set_num_threads(int(option("--threads")))

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

# Shape of the products that measure the matrix peak: larger than any core's cache, with
# as many rows as a batch of sentences has.
PEAK_ROWS, PEAK_IN, PEAK_OUT, PEAK_RUNS = 1024, 1024, 4096, 11

SHORT = "She sat on the bank of the river."


class Work:
    """State shared by the tasks, set by `load`."""

    bilm: BiLM
    text: List[Sentence]
    batches: List[List[Sentence]]
    sentences: List[Sentence]
    nlp: Any


def load(
    weights: str, text: str, n_sentences: int = 0, n_batches: int = 0
) -> Dict[str, Any]:
    Work.bilm = load_bilm(weights)
    Work.text = read_sentences(text, n_sentences)
    Work.batches = in_batches(Work.text, n_batches=n_batches)
    Work.sentences = [sentence for batch in Work.batches for sentence in batch]
    # Pack the weights now: that is part of loading them.
    Work.bilm.encode(Work.text[:1])
    return {
        "words": count_words(Work.sentences),
        "sentences": len(Work.sentences),
        "parameters": Work.bilm.n_parameters,
        "native_bfloat16": has_native_bfloat16(torch.device("cpu")),
        "versions": versions("spacy_elmo", "torch", "numpy"),
    }


# Inference


def peak(precision: str = "float32", is_packed: bool = False) -> Optional[float]:
    """GFLOP/s of a matrix product at this moment.

    is_packed (bool): Pack the weights beforehand.
    RETURNS (Optional[float]): None if this machine has no packed product.
    """
    dtype = DTYPES[precision]
    rows = torch.randn(PEAK_ROWS, PEAK_IN).to(dtype)
    weight = torch.randn(PEAK_OUT, PEAK_IN).to(dtype)
    if not is_packed:
        return speed(lambda: torch.mm(rows, weight.t()))
    backend = select_backend(torch.device("cpu"), dtype)
    if not isinstance(backend, CPUBackend):
        return None
    product, inputs = backend.prepare_linear(weight.float(), None), rows.float()
    return speed(lambda: product(inputs))


@torch.no_grad()
def speed(multiply: Callable[[], Tensor]) -> float:
    """Median GFLOP/s of some runs."""
    times = [seconds(multiply) for _ in range(PEAK_RUNS)]
    flop = 2 * PEAK_ROWS * PEAK_IN * PEAK_OUT
    return flop / statistics.median(times) / 1e9


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def warm_up(precision: str = "float32") -> None:
    """Run before each measurement: the system may have taken memory or code pages from
    a process that waited for minutes."""
    for batch in warming(Work.batches):
        Work.bilm.encode(batch, precision=precision)


def forget_words(precision: str) -> None:
    """Empty the word cache, but keep the weights packed."""
    Work.bilm.clear_cache()
    Work.bilm.encode([[""]], precision=precision)


def encode_batches(precision: str) -> Dict[str, float]:
    """Encode one batch per call, starting with an empty word cache."""
    forget_words(precision)
    start = time.perf_counter()
    for batch in Work.batches:
        Work.bilm.encode(batch, precision=precision)
    return {"seconds": time.perf_counter() - start}


def encode_cold(precision: str) -> Dict[str, float]:
    """Encode everything in one call, starting with an empty word cache."""
    forget_words(precision)
    return encode_warm(precision)


def encode_warm(precision: str) -> Dict[str, float]:
    """Encode everything in one call; after another pass, all words are cached."""
    return {
        "seconds": seconds(
            lambda: Work.bilm.encode(Work.sentences, precision=precision)
        )
    }


@torch.no_grad()
def lstms(precision: str) -> Dict[str, float]:
    """Run the LSTMs alone, in the batches of one call.

    RETURNS (Dict[str, float]): Seconds, GFLOP of the matrix products, and the mean
        number of rows in the product of a step.
    """
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
    elapsed = time.perf_counter() - start
    tokens = sum(map(sum, groups))
    # Input and state to four gates each, and the projection.
    weights = 9 * config.dim * config.projection_dim
    flop = 2 * tokens * 2 * config.n_layers * weights
    return {
        "seconds": elapsed,
        "gflop": flop / 1e9,
        "rows": tokens / sum(max(group) for group in groups),
    }


def vectors(sentences: List[List[str]], path: str, precision: str = "float32") -> None:
    """Write the layers of the sentences to an .npz file."""
    np.savez(path, *Work.bilm.encode(sentences, precision=precision))


def cosines() -> List[Dict[str, float]]:
    """Compute the cosines between words' vectors in bfloat16 and float32, by layer."""
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


# Training


def warm_up_training(precision: str = "float32") -> None:
    forward_and_back(Work.batches[0], precision)


def train(precision: str = "float32") -> Dict[str, float]:
    """Run the forward and backward pass over all batches, with the biLM not frozen."""
    start = time.perf_counter()
    for batch in Work.batches:
        forward_and_back(batch, precision)
    return {"seconds": time.perf_counter() - start}


def gradient(sentences: List[List[str]], path: str) -> float:
    """Write the gradient of the character embeddings to a file.

    RETURNS (float): The loss.
    """
    loss = forward_and_back(sentences, "float32")
    embedding = Work.bilm.character_encoder.char_embedding.weight
    if embedding.grad is None:
        raise ValueError("Expected a gradient.")
    np.save(path, embedding.grad.numpy())
    return loss


def forward_and_back(sentences: List[List[str]], precision: str) -> float:
    """Backpropagate a fixed random projection of all layers. Returns the loss."""
    Work.bilm.zero_grad(set_to_none=True)
    layers = Work.bilm(sentences, precision=precision)
    random = np.random.RandomState(0).randn(layers.shape[2])
    loss = (layers @ torch.from_numpy(random).float()).sum()
    loss.backward()
    return float(loss.detach())


# Through spaCy, which is imported on demand: tasks without it start faster.


def add_component() -> int:
    """Put the network itself, not a copy, into a pipeline, so that both share one word
    cache. RETURNS (int): Number of words in the short doc."""
    import spacy

    Work.nlp = spacy.blank("en")
    Work.nlp.add_pipe("elmo").set_bilm(Work.bilm)
    return len(short_words())


def encode() -> Dict[str, float]:
    """Run the network alone. All words are cached after the first pass."""
    return {"seconds": seconds(lambda: Work.bilm.encode(Work.sentences))}


def pipe() -> Dict[str, float]:
    """Run the same sentences as docs through nlp.pipe, in its default batches."""
    from spacy.tokens import Doc

    docs = [Doc(Work.nlp.vocab, words=sentence) for sentence in Work.sentences]
    return {"seconds": seconds(lambda: list(Work.nlp.pipe(docs)))}


def short_doc(n_runs: int) -> Dict[str, float]:
    """Time nlp(text) of a short text and the network alone on its words, in
    alternation.

    RETURNS (Dict[str, float]): Median seconds of each.
    """
    words = short_words()
    through: List[float] = []
    alone: List[float] = []
    for _ in range(n_runs):
        through.append(seconds(lambda: Work.nlp(SHORT)))
        alone.append(seconds(lambda: Work.bilm.encode([words])))
    return {"nlp": statistics.median(through), "bilm": statistics.median(alone)}


def short_words() -> List[str]:
    return [token.text for token in Work.nlp.make_doc(SHORT)]


# Scaling: one point of a curve, with its memory, per process.


def batch_tokens(value: int, n_words: int) -> Dict[str, float]:
    """Encode the text in one call.

    value (int): Maximum number of tokens per batch.
    """
    return measured(lambda: Work.bilm.encode(Work.sentences, value))


def sentence_length(value: int, n_words: int) -> Dict[str, float]:
    """Encode sentences of `value` words, with the network alone."""
    texts = cut(value, n_words)
    return measured(lambda: Work.bilm.encode(texts))


def doc_length(value: int, n_words: int) -> Dict[str, float]:
    """Run docs of `value` words without sentence boundaries through the component,
    which cuts them into windows."""
    from spacy.tokens import Doc

    add_component()
    docs = [Doc(Work.nlp.vocab, words=words) for words in cut(value, n_words)]
    return measured(lambda: [doc._.elmo.layers for doc in Work.nlp.pipe(docs)])


def cut(length: int, n_words: int) -> List[Sentence]:
    """Cut the text, repeated as needed, into pieces of `length` words that have
    `n_words` words in total; at least one piece."""
    words = itertools.cycle(itertools.chain.from_iterable(Work.text))
    n_pieces = max(1, n_words // length)
    return [list(itertools.islice(words, length)) for _ in range(n_pieces)]


def measured(encode: Callable[[], List[np.ndarray]]) -> Dict[str, float]:
    """Measure words per second, peak memory above the start in MiB, and the result's
    part of it."""
    before = reset_peak()
    start = time.perf_counter()
    layers = encode()
    elapsed = time.perf_counter() - start
    n_bytes = sum(array.nbytes for array in layers)
    n_words = sum(array.shape[1] for array in layers)
    return {
        "words_per_second": n_words / elapsed,
        "peak_mb": peak_mb() - before,
        "result_mb": n_bytes / 2**20,
    }


def reset_peak() -> float:
    """Reset the peak. Returns the MiB in use."""
    # Memory that was freed but kept would be reused, and not be counted.
    with contextlib.suppress(AttributeError, OSError, TypeError):  # without glibc
        ctypes.CDLL(None).malloc_trim(0)
    # Elsewhere than on Linux, the peak covers the whole life of the process.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf8")
    return peak_mb()


def peak_mb() -> float:
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf8").splitlines()
    except OSError:
        unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


TASKS = (
    *(load, peak, warm_up, encode_batches, encode_cold, encode_warm, lstms, vectors),
    *(cosines, warm_up_training, train, gradient),
    *(add_component, encode, pipe, short_doc),
    *(batch_tokens, sentence_length, doc_length),
)

if __name__ == "__main__":
    serve({task.__name__: task for task in TASKS})
