"""simple_elmo at work, in an environment of its own. See `protocol`."""

import logging
import os
import time
from typing import Any, Dict, List

# simple_elmo knows the Keras of its day only. Both are read when TensorFlow starts.
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
    """What the tasks share; `load` sets it."""

    model: Any
    session: Any
    batches: List[List[List[str]]]
    is_warm: bool = False


def load(weights: str, text: str, n_sentences: int = 0) -> Dict[str, Any]:
    """Read the weights and the text, and start a session, as `get_elmo_vectors` does
    when it is given none: it would build the graph anew at each call."""
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
    """The weights, and the state of the LSTMs, which goes on from batch to batch."""
    Work.session.run(tf.compat.v1.global_variables_initializer())


def layers_of(batch: List[List[str]]) -> np.ndarray:
    layers: np.ndarray = Work.model.get_elmo_vectors(
        batch, warmup=False, layers="all", session=Work.session
    )
    return layers


def warm_up() -> None:
    """Once a whole pass: the first one over a text is slower than the next ones."""
    for batch in warming(Work.batches) if Work.is_warm else Work.batches:
        layers_of(batch)
    Work.is_warm = True


def encode() -> Dict[str, float]:
    """All batches, a call each: one for all would fill one array of the longest
    sentence's length."""
    start = time.perf_counter()
    for batch in Work.batches:
        layers_of(batch)
    return {"seconds": time.perf_counter() - start}


def vectors(sentences: List[List[str]], path: str) -> None:
    """Write the sentences' layers, without a state from before, to an .npz file."""
    reset()
    layers = layers_of(sentences)
    arrays = [layers[row, :, : len(s)] for row, s in enumerate(sentences)]
    np.savez(path, *arrays)


if __name__ == "__main__":
    serve({task.__name__: task for task in (load, warm_up, encode, vectors)})
