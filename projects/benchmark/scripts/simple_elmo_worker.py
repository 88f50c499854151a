"""Tasks that measure simple_elmo, in its own environment. See `protocol`."""

import logging
import os
import time
from typing import Any, Dict, List

# simple_elmo needs Keras 2. TensorFlow reads both variables when it is imported.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import numpy as np
import tensorflow as tf
from protocol import option, serve, versions
from simple_elmo import ElmoModel
from simple_elmo.elmo import weight_layers
from treebank import BATCH_SIZE, count_words, in_batches, read_sentences, warming

THREADS = int(option("--threads"))


class Work:
    """State shared by the tasks, set by `load`."""

    model: Any
    session: Any
    batches: List[List[List[str]]]
    is_warm: bool = False


def load(weights: str, text: str, n_sentences: int = 0) -> Dict[str, Any]:
    """Load the weights and the text, and start a session. Without one,
    `get_elmo_vectors` would build the graph again in each call."""
    Work.batches = in_batches(read_sentences(text, n_sentences))
    Work.model = ElmoModel()
    # It logs each batch.
    logging.disable(logging.WARNING)
    Work.model.load(weights, max_batch_size=BATCH_SIZE)
    Work.model.elmo_sentence_input = weight_layers(
        "input", Work.model.sentence_embeddings_op, use_layers="all"
    )
    Work.session = tf.compat.v1.Session(
        config=tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=THREADS, inter_op_parallelism_threads=THREADS
        )
    )
    reset()
    return {
        "words": sum(count_words(batch) for batch in Work.batches),
        "versions": versions("simple_elmo", "tensorflow", "numpy"),
    }


def reset() -> None:
    """Initialize the weights and the LSTM state, which carries over between calls."""
    Work.session.run(tf.compat.v1.global_variables_initializer())


def layers_of(batch: List[List[str]]) -> np.ndarray:
    layers: np.ndarray = Work.model.get_elmo_vectors(
        batch, warmup=False, layers="all", session=Work.session
    )
    return layers


def warm_up() -> None:
    """Make a whole pass the first time, which is slower than later passes."""
    for batch in warming(Work.batches) if Work.is_warm else Work.batches:
        layers_of(batch)
    Work.is_warm = True


def encode() -> Dict[str, float]:
    """Encode one batch per call: a single call would pad everything to the longest
    sentence."""
    start = time.perf_counter()
    for batch in Work.batches:
        layers_of(batch)
    return {"seconds": time.perf_counter() - start}


def vectors(sentences: List[List[str]], path: str) -> None:
    """Write the layers of the sentences, from a zero state, to an .npz file."""
    reset()
    layers = layers_of(sentences)
    arrays = [layers[row, :, : len(s)] for row, s in enumerate(sentences)]
    np.savez(path, *arrays)


if __name__ == "__main__":
    serve({task.__name__: task for task in (load, warm_up, encode, vectors)})
