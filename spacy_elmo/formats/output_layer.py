"""The output layer of a language model and its vocabulary, beside our own format."""

import json
from pathlib import Path
from typing import Any, Dict, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..bilm.softmax import OutputLayer, make_output_layer
from ..files import replace_file
from ..text.tokenization import PRETRAINING_META
from ..text.vocabulary import Vocabulary
from .checks import WeightsError

SOFTMAX, VOCABULARY, META = "softmax.safetensors", "vocabulary.txt", PRETRAINING_META


class StoredOutputLayer(NamedTuple):
    """What `read_output_layer` returns.

    softmax (OutputLayer): The output layer.
    vocabulary (Vocabulary): Words of its rows.
    meta (Dict[str, Any]): The description that pretraining wrote.
    """

    softmax: OutputLayer
    vocabulary: Vocabulary
    meta: Dict[str, Any]


def write_output_layer(
    folder: Path, softmax: OutputLayer, vocabulary: Vocabulary
) -> None:
    """Write the tensors and the vocabulary. How the layer is made is part of META.

    RAISES: OSError if the disk is full or cannot be written.
    """
    state = softmax.state_dict()
    tensors = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
    with replace_file(folder / SOFTMAX) as path:
        try:
            save_file(tensors, str(path))
        except SafetensorError as error:
            # safetensors has its own error for a full disk.
            raise OSError(f"{path}: {error}") from error
    vocabulary.write(folder / VOCABULARY)


def check_output_layer(folder: Path) -> None:
    """Check that a folder has an output layer, before anything large is read.

    RAISES: WeightsError if it has none, as is the case for published weights.
    """
    files = (SOFTMAX, VOCABULARY, META)
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise WeightsError(
            f"{folder}: expected a model-best or model-last that pretraining wrote, "
            f"found no {', '.join(missing)} in it. Weights without an output layer "
            "have no perplexity: `elmo pretrain` with initialize.weights and "
            "initialize.softmax_steps trains an output layer for them."
        )


def read_output_layer(folder: Path, width: int) -> StoredOutputLayer:
    """Read an output layer from a folder that pretraining wrote.

    width (int): Width of the biLM's top layer, projection_dim.
    RAISES: WeightsError if a file is missing or damaged.
    """
    check_output_layer(folder)
    try:
        vocabulary = Vocabulary.read(folder / VOCABULARY)
        meta = json.loads((folder / META).read_text(encoding="utf8"))
        softmax = make_output_layer(len(vocabulary), width, **meta["softmax"])
        softmax.load_state_dict(load_file(folder / SOFTMAX))
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,  # RecursionError is one
        SafetensorError,
    ) as error:
        raise WeightsError(
            f"{folder}: expected {META}, {VOCABULARY} and {SOFTMAX} as pretraining "
            f"wrote them, found others ({error}). Copy or train it again."
        ) from error
    return StoredOutputLayer(softmax, vocabulary, meta)
