"""bilm-tf trains on a text and is evaluated, in an environment of its own.

Imports nothing of this project. Argument: a JSON file, see `compare.work_of`. Writes
its figures as JSON to stdout.
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

# bilm-tf knows the Keras and the names of its day only; TensorFlow reads these at once.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow

tf = tensorflow.compat.v1
tf.disable_v2_behavior()
sys.modules["tensorflow"] = tf


class Timed:
    """A data set that knows when each batch was asked for, and comes to an end: under
    today's Python, bilm-tf's own ends in an error."""

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
    at_once = work["log_frequency"]
    moments = train.times[::at_once]
    return {
        "perplexity": float(perplexity),
        "words_per_second": statistics.median(
            n_words * at_once / (end - start)
            for start, end in zip(moments, moments[1:])
        ),
    }


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf8") as file:
        asked = json.load(file)
    with contextlib.redirect_stdout(sys.stderr):
        found = main(asked)
    print(json.dumps(found))
