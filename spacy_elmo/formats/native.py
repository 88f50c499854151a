"""Our own format: a folder with model.safetensors and options.json, or the same as
bytes. The safetensors file is complete in itself: options.json copies its header in
readable form."""

import json
from pathlib import Path
from typing import Any, Dict, Optional

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ..bilm import BiLM, VocabularyCharacters
from ..bilm.quantization import BLOCK, dequantize, quantize
from ..files import PathLike, write_bytes
from . import options
from .checks import (
    WeightsError,
    build_empty,
    check_array,
    check_is_file,
    check_keys,
    check_n_layers,
    check_shape,
    fill,
)

NAME = "spacy-elmo (safetensors)"
WEIGHTS = "model.safetensors"
HEADER = "spacy-elmo"
MAX_HEADER_BYTES = 100_000_000
"""Maximum size of the header, as in the safetensors library."""

DTYPES = ("float32", "float16", "int8")
MAXIMA = ".maxima"
"""Suffix of a weight's name, for the magnitudes that its 8-bit integers refer to."""
EXACT_IN_INT8 = "character_encoder.char_embedding.weight"
"""A small matrix, which the kernels for int8 do not quantize either."""


def read(folder: PathLike) -> BiLM:
    """Load a folder in our format, or its model.safetensors, as float32.

    RAISES: WeightsError (a ValueError) that names file, key, expected and found value.
    """
    path = Path(folder)
    path = path / WEIGHTS if path.is_dir() else path
    check_is_file(path, "the weights of a spacy-elmo folder")
    return from_bytes(path.read_bytes(), path)


def write(model: BiLM, folder: PathLike, dtype: str = "float32") -> None:
    """Write a folder that `read` reads.

    model (BiLM): The model.
    folder (PathLike): The folder.
    dtype (str): "float32", which is exact; "float16", half the size; or "int8", a
        quarter, see `to_bytes`.
    """
    data = to_bytes(model, dtype)
    write_bytes(Path(folder) / WEIGHTS, data)
    options.write(model.config, Path(folder) / options.FILE_NAME)


def to_bytes(model: BiLM, dtype: str = "float32") -> bytes:
    """Serialize a model in safetensors format, with its options and vocabularies in the
    header.

    model (BiLM): The model.
    dtype (str): "float32", "float16", or "int8" for matrices of 8-bit integers and
        their scales, as `quantization.quantize` returns them. Biases and character
        embeddings remain in float32.
    RAISES: WeightsError if `dtype` is unknown, or a weight is not finite or too large
        for float16.
    """
    if dtype not in DTYPES:
        raise WeightsError(
            f"dtype: expected one of {', '.join(DTYPES)}, found {dtype!r}."
        )
    tensors: Dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        weight = parameter.detach().cpu().float()
        if dtype == "float16":
            weight = weight.half()
        if not bool(torch.isfinite(weight).all()):
            raise WeightsError(
                f"{name}: expected finite numbers that fit {dtype}, found NaN, "
                f"infinity or a number over {torch.finfo(weight.dtype).max:g}. A "
                "model with such weights is not written."
            )
        if dtype == "int8" and weight.dim() > 1 and name != EXACT_IN_INT8:
            integers, tensors[name + MAXIMA] = quantize(weight.flatten(1))
            weight = integers.view(weight.shape)
        tensors[name] = weight.contiguous()
    header = {
        "options": options.to_dict(model.config),
        "vocabularies": model.characters.vocabularies(),
    }
    # A single entry, because safetensors writes several in an order that varies.
    return save_tensors(tensors, metadata={HEADER: json.dumps(header)})


def from_bytes(data: bytes, source: PathLike = "the stored biLM") -> BiLM:
    """Load what `to_bytes` returned.

    data (bytes): The bytes.
    source (PathLike): How error messages refer to the data.
    RAISES: WeightsError if the data is damaged or inconsistent.
    """
    metadata = read_metadata(data, source)
    if HEADER not in metadata:
        raise WeightsError(
            f"{source}: expected a safetensors file written by spacy-elmo, found one "
            f"whose header has {', '.join(metadata) or 'no entries'}. Weights of other "
            "models must be converted first: python -m spacy elmo convert."
        )
    try:
        header = json.loads(metadata[HEADER])
        config = options.from_dict(header["options"], f"{source}: options")
        characters: Optional[VocabularyCharacters] = None
        if config.characters == "vocabulary":
            characters = VocabularyCharacters(
                _read_vocabulary(
                    header["vocabularies"]["characters"], config.n_characters
                ),
                _read_vocabulary(header["vocabularies"]["words"], config.n_words),
                config.max_characters_per_token,
            )
        state = load_tensors(data)
    except (
        AttributeError,
        KeyError,
        RecursionError,
        TypeError,
        ValueError,
        SafetensorError,
    ) as error:
        raise WeightsError(
            f"{source}: expected a complete safetensors file written by spacy-elmo, "
            f"found one that cannot be read ({error})."
        ) from error
    check_n_layers(source, config, len(state))
    model = build_empty(source, config, characters)
    shapes = {name: tensor.shape for name, tensor in model.named_parameters()}
    quantized = [
        name
        for name, shape in shapes.items()
        if len(shape) > 1 and name in state and state[name].dtype == torch.int8
    ]
    check_keys(source, state, [*shapes, *(name + MAXIMA for name in quantized)])
    for name in quantized:
        maxima = state.pop(name + MAXIMA)
        state[name] = _dequantize(source, name, state[name], maxima, shapes[name])
    for name, tensor in state.items():
        check_array(source, name, tensor, shapes[name])
    return fill(model, state)


def _dequantize(
    source: PathLike, name: str, integers: Tensor, maxima: Tensor, shape: torch.Size
) -> Tensor:
    """Restore a weight from 8-bit integers.

    RAISES: WeightsError if the integers or the maxima have other shapes than expected,
        or are out of range.
    """
    check_shape(source, name, integers.shape, shape)
    n_blocks = -(-shape[1:].numel() // BLOCK)
    check_array(source, name + MAXIMA, maxima, (shape[0], n_blocks))
    if integers.numel() and (int(integers.min()) < -127 or float(maxima.min()) < 0):
        raise WeightsError(
            f"{source}: {name}: expected integers from -127 to 127 and maxima of at "
            f"least 0, found {int(integers.min())} and {float(maxima.min()):g}. The "
            "file is damaged: fetch it again, or convert the original weights again."
        )
    return dequantize(integers.flatten(1), maxima.float()).view(shape)


def _read_vocabulary(entries: Any, n_ids: int) -> Dict[str, int]:
    vocabulary = dict(entries)
    for token, number in vocabulary.items():
        if type(number) is not int or not 0 <= number < n_ids:
            raise ValueError(
                f"expected an id from 0 to {n_ids - 1} for {token!r}, found {number!r}"
            )
    return vocabulary


def read_metadata(data: bytes, source: PathLike) -> Dict[str, str]:
    """Read the metadata from the header, which the library only does for files: 8 bytes
    of length, then JSON."""
    size = int.from_bytes(data[:8], "little")
    try:
        if size > len(data):
            raise ValueError(f"a header of {size} bytes in {len(data)}")
        if size > MAX_HEADER_BYTES:
            raise ValueError(f"a header of more than {MAX_HEADER_BYTES} bytes")
        metadata = json.loads(data[8 : 8 + size]).get("__metadata__", {})
        if not isinstance(metadata, dict):
            raise ValueError(f"a header of {type(metadata).__name__}")
        return metadata
    except (ValueError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{source}: expected a safetensors file, found one that is truncated or of "
            f"another format ({error}). Fetch or write it again."
        ) from error
