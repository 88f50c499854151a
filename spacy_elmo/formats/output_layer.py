"""The output layer of a language model and its vocabulary: next to our own format, or
as bytes."""

import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save
from torch import Tensor

from ..bilm.softmax import OutputLayer, make_output_layer, output_layer_settings
from ..files import hash_files
from ..tensor_files import save_tensors
from ..text.tokenization import PRETRAINING_META
from ..text.vocabulary import Vocabulary
from .checks import WeightsError
from .native import HEADER, WEIGHTS, read_metadata

_DAMAGE = (
    AttributeError,
    KeyError,
    RuntimeError,  # RecursionError is one
    SafetensorError,
    TypeError,
    ValueError,
)

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
    folder: Path,
    softmax: OutputLayer,
    vocabulary: Vocabulary,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write the tensors and the vocabulary. How the layer is made is part of META.

    dtype (torch.dtype): torch.float32, or torch.float16 for half the size.
    RAISES: OSError if the disk is full or cannot be written, WeightsError if a weight
        is not finite or too large for float16.
    """
    tensors = {name: t.to(dtype) for name, t in softmax.state_dict().items()}
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(
                f"{name} of the output layer: expected finite numbers of at most "
                f"{torch.finfo(dtype).max:g}, found others. An output layer with such "
                "weights is not written."
            )
    save_tensors(tensors, folder / SOFTMAX)
    vocabulary.write(folder / VOCABULARY)


def remove_output_layer(folder: Path) -> None:
    """Delete the output layer and its vocabulary, if there are any."""
    for name in (SOFTMAX, VOCABULARY):
        (folder / name).unlink(missing_ok=True)


def check_output_layer(folder: Path) -> None:
    """Check that a folder has an output layer, before anything large is read.

    RAISES: WeightsError if it has none, as is the case for published weights.
    """
    missing = _missing_files(folder)
    if missing:
        raise WeightsError(
            f"{folder}: expected a model-best or model-last that pretraining wrote, "
            f"found no {', '.join(missing)} in it. A biLM without an output layer "
            "gives no perplexity and no probabilities: `elmo pretrain` with "
            "initialize.weights and initialize.softmax_steps trains one for it."
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
        softmax = _load(
            len(vocabulary),
            {"width": width, **meta["softmax"]},
            load_file(folder / SOFTMAX),
        )
    except _DAMAGE as error:
        raise WeightsError(
            f"{folder}: expected {META}, {VOCABULARY} and {SOFTMAX} as pretraining "
            f"wrote them, found damaged files ({error}). Copy or train it again."
        ) from error
    return StoredOutputLayer(softmax, vocabulary, meta)


def has_output_layer(folder: Path) -> bool:
    """Whether a folder has an output layer."""
    return not _missing_files(folder)


def _missing_files(folder: Path) -> List[str]:
    names = (SOFTMAX, VOCABULARY, META)
    return [name for name in names if not (folder / name).is_file()]


def hash_model(folder: Path) -> str:
    """Hash the weights of a model folder, its output layer and its vocabulary."""
    return hash_files([folder / name for name in (WEIGHTS, SOFTMAX, VOCABULARY)])


def to_bytes(softmax: OutputLayer, words: Sequence[str]) -> bytes:
    """Serialize an output layer in safetensors format, with its settings and vocabulary
    in the header.

    words (Sequence[str]): Words of its rows.
    """
    header = {
        "softmax": {"width": softmax.width, **output_layer_settings(softmax)},
        "words": list(words),
    }
    data: bytes = save(_tensors(softmax), metadata={HEADER: json.dumps(header)})
    return data


def from_bytes(data: bytes) -> Tuple[OutputLayer, List[str]]:
    """Load what `to_bytes` returned.

    RETURNS (Tuple[OutputLayer, List[str]]): The output layer and the words of its rows.
    RAISES: WeightsError if the data is damaged.
    """
    source = "the stored output layer"
    try:
        header = json.loads(read_metadata(data, source)[HEADER])
        words = [str(word) for word in header["words"]]
        softmax = _load(len(words), header["softmax"], load(data))
    except _DAMAGE as error:
        raise WeightsError(
            f"{source}: expected what spacy-elmo stored with the pipeline, found "
            f"damaged data ({error}). Copy the pipeline again."
        ) from error
    return softmax, words


def _load(
    n_words: int, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> OutputLayer:
    """Create an output layer with the given weights, as float32, without drawing random
    ones first."""
    with torch.device("meta"):
        softmax = make_output_layer(n_words, **settings)
    weights = {name: tensor.float() for name, tensor in tensors.items()}
    softmax.load_state_dict(weights, assign=True)
    return softmax


def _tensors(softmax: OutputLayer) -> Dict[str, Tensor]:
    state = softmax.state_dict()
    return {name: tensor.cpu().contiguous() for name, tensor in state.items()}
