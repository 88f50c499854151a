"""Train and evaluate bilm-tf in its own environment.

Imports nothing of spacy-elmo. The argument is a JSON file, see `compare.work_of`; the
figures are written to stdout as JSON.
"""

import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
import time
from typing import Any, Dict, Iterator, List

# bilm-tf needs Keras 2 and the names of TensorFlow 1. TensorFlow reads these variables
# when it is imported.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow

tf = tensorflow.compat.v1
tf.disable_v2_behavior()
sys.modules["tensorflow"] = tf


class Timed:
    """Dataset that records when each batch was requested. It also ends properly: with a
    current Python, bilm-tf's own iterator ends with an error."""

    def __init__(self, data: Any) -> None:
        self.data = data
        self.times: List[float] = []

    def iter_batches(self, *shape: int) -> Iterator[Any]:
        batches = self.data.iter_batches(*shape)
        while True:
            self.times.append(time.perf_counter())
            try:
                batch = next(batches)
            except RuntimeError as error:
                if isinstance(error.__cause__, StopIteration):
                    return
                raise
            yield batch


def main(work: Dict[str, Any]) -> Dict[str, float]:
    from bilm import training
    from bilm.data import BidirectionalLMDataset, UnicodeCharsVocabulary

    random.seed(work["seed"])
    tf.set_random_seed(work["seed"])
    options = work["options"]
    characters = options["char_cnn"]["max_characters_per_token"]
    vocabulary = UnicodeCharsVocabulary(
        work["vocabulary"], characters, validate_file=True
    )
    n_words = options["batch_size"] * options["unroll_steps"]
    options["n_tokens_vocab"] = vocabulary.size
    options["n_train_tokens"] = work["n_batches"] * n_words
    train = Timed(
        BidirectionalLMDataset(work["train"], vocabulary, shuffle_on_load=True)
    )
    dev = Timed(BidirectionalLMDataset(work["dev"], vocabulary, test=True))
    with tempfile.TemporaryDirectory() as folder:
        training.train(options, train, 1, folder, folder)
        options, checkpoint = training.load_options_latest_checkpoint(folder)
        tf.reset_default_graph()
        perplexity = training.test(options, checkpoint, dev, options["batch_size"])
    n_batches = work["log_frequency"]
    moments = train.times[::n_batches]
    return {
        "perplexity": float(perplexity),
        "words_per_second": statistics.median(
            n_words * n_batches / (end - start)
            for start, end in zip(moments, moments[1:])
        ),
    }


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf8") as file:
        asked = json.load(file)
    with contextlib.redirect_stdout(sys.stderr):
        found = main(asked)
    print(json.dumps(found))
