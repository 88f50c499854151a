"""Our own format: a folder with options.json and model.safetensors, and the same as
one string of bytes. The safetensors file alone is complete; options.json is a copy of
what its header holds, for people to read."""

import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ..bilm import BiLM, VocabularyCharacters
from ..files import write_bytes
from . import options
from .checks import (
    PathLike,
    WeightsError,
    check_array,
    check_is_file,
    check_keys,
    fill,
    outline,
)

NAME = "spacy-elmo (safetensors)"
WEIGHTS = "model.safetensors"
HEADER = "spacy-elmo"

DTYPES = {"float32": torch.float32, "float16": torch.float16}


def read(folder: PathLike) -> BiLM:
    """Load a folder of ours, or its model.safetensors; any stored dtype becomes
    float32.

    Raises WeightsError (a ValueError) that names file, key, expected and found.
    """
    path = Path(folder)
    path = path / WEIGHTS if path.is_dir() else path
    check_is_file(path, "the weights of a spacy-elmo folder")
    return from_bytes(path.read_bytes(), path)


def write(model: BiLM, folder: PathLike, dtype: str = "float32") -> None:
    """Write a folder that `read` reads.

    dtype: "float32", exact, or "float16", half the size.
    """
    folder = Path(folder)
    data = to_bytes(model, dtype)
    write_bytes(folder / WEIGHTS, data)
    options.write(model.config, folder / options.FILE_NAME)


def to_bytes(model: BiLM, dtype: str = "float32") -> bytes:
    """The model as one safetensors string, its options and vocabularies in the header.

    Raises WeightsError for a dtype that is neither float32 nor float16, and where a
    weight is too large for float16.
    """
    if dtype not in DTYPES:
        raise WeightsError(
            f"dtype: expected one of {', '.join(DTYPES)}, found {dtype!r}."
        )
    tensors = {}
    for name, parameter in model.named_parameters():
        tensor = parameter.detach().cpu().to(DTYPES[dtype]).contiguous()
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(
                f"{name}: expected finite numbers that fit {dtype}, found NaN, "
                f"infinity or one over {torch.finfo(DTYPES[dtype]).max:g}. A model "
                "with such weights is not written."
            )
        tensors[name] = tensor
    description = {
        "options": options.to_dict(model.config),
        "vocabularies": model.characters.vocabularies(),
    }
    # One entry: safetensors writes several in an order that changes from run to run.
    return save_tensors(tensors, metadata={HEADER: json.dumps(description)})


def from_bytes(data: bytes, source: Union[str, Path] = "the stored biLM") -> BiLM:
    """The inverse of `to_bytes`.

    source: what to call the data in errors.
    """
    header = _header(data, source)
    if HEADER not in header:
        raise WeightsError(
            f"{source}: expected a safetensors file written by spacy-elmo, found one "
            f"whose header has {', '.join(header) or 'no entries'}. Other models' "
            "weights must be converted first: python -m spacy elmo convert."
        )
    try:
        description = json.loads(header[HEADER])
        config = options.from_dict(description["options"], f"{source}: options")
        vocabularies: Dict[str, List[Any]] = description["vocabularies"]
        characters: Optional[VocabularyCharacters] = None
        if config.characters == "vocabulary":
            characters = VocabularyCharacters(
                dict(vocabularies["characters"]),
                dict(vocabularies["words"]),
                config.max_characters_per_token,
            )
        state = load_tensors(data)
    except (AttributeError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise WeightsError(
            f"{source}: expected a complete safetensors file written by spacy-elmo, "
            f"found one that cannot be read ({error})."
        ) from error
    model = outline(config, characters)
    shapes = {name: tensor.shape for name, tensor in model.named_parameters()}
    check_keys(source, state, shapes)
    for name, tensor in state.items():
        check_array(source, name, tensor, shapes[name])
    return fill(model, state)


def _header(data: bytes, source: Union[str, Path]) -> Dict[str, str]:
    # safetensors reads the header of a file, not of bytes: 8 bytes of length, JSON.
    size = int.from_bytes(data[:8], "little")
    try:
        if size > len(data):
            raise ValueError(f"a header of {size} bytes in {len(data)}")
        header = json.loads(data[8 : 8 + size])
        metadata = header.get("__metadata__", {})
        if not isinstance(metadata, dict):
            raise ValueError(f"a header of {type(metadata).__name__}")
        return metadata
    except (ValueError, AttributeError) as error:
        raise WeightsError(
            f"{source}: expected a safetensors file, found one that is truncated or of "
            f"another format ({error}). Fetch or write it again."
        ) from error
