"""Checks of what weight files contain, and the error that they raise."""

import json
from pathlib import Path
from typing import Any, Dict, Iterable, Mapping, Optional, Union

import numpy as np
import torch
from torch import Tensor

from ..bilm import BiLM, BiLMConfig, Characters
from ..files import PathLike

MAX_JSON_BYTES = 1 << 20
"""Maximum size of a JSON file with options. Published files have less than 1 KB."""

DISAGREE = (
    "The options and the weights do not belong together: get both from one source."
)


class WeightsError(ValueError):
    """A weight file is missing, damaged or does not match its options. The message
    names the file, the key, and the expected and the found value."""


def check_shape(
    file: PathLike, key: str, found: Iterable[int], expected: Iterable[int]
) -> None:
    """RAISES: WeightsError if a stored array has another shape than the options say."""
    found, expected = tuple(found), tuple(expected)
    if found != expected:
        raise WeightsError(
            f"{file}: {key}: expected the shape {expected} according to the options, "
            f"found {found}. {DISAGREE}"
        )


def check_array(
    file: PathLike, key: str, array: Union[np.ndarray, Tensor], shape: Iterable[int]
) -> None:
    """Check dtype, shape and values of a stored array.

    file (PathLike): How error messages refer to the file.
    key (str): Key of the array in the file.
    array (Union[ndarray, Tensor]): The array.
    shape (Iterable[int]): Shape according to the options.
    RAISES: WeightsError if it is not a float array, has another shape, or contains
        values that are not finite in float32.
    """
    dtype = array.dtype
    if isinstance(array, np.ndarray) and array.dtype.kind == "f":
        array = torch.from_numpy(array)
    if isinstance(array, np.ndarray) or not array.is_floating_point():
        raise WeightsError(f"{file}: {key}: expected floats, found {dtype}.")
    check_shape(file, key, array.shape, shape)
    finite = torch.isfinite(array.float())
    if not bool(finite.all()):
        raise WeightsError(
            f"{file}: {key}: expected finite numbers, found {int((~finite).sum())} of "
            f"{finite.numel()} that are NaN or infinite. The file is damaged or its "
            "training diverged: fetch it again, or use an earlier checkpoint."
        )


def check_keys(file: PathLike, found: Iterable[str], expected: Iterable[str]) -> None:
    """RAISES: WeightsError if tensors are missing or unknown."""
    found, expected = set(map(str, found)), set(expected)
    problems = [f"no {key}" for key in sorted(expected - found)]
    problems += [f"also {key}" for key in sorted(found - expected)]
    if problems:
        raise WeightsError(
            f"{file}: expected the {len(expected)} tensors that the options call for, "
            f"found {', '.join(problems[:20])}. {DISAGREE}"
        )


def check_n_layers(file: PathLike, config: BiLMConfig, n_tensors: int) -> None:
    """Check the number of layers before building them: each layer has tensors.

    RAISES: WeightsError if there are fewer tensors than layers.
    """
    n_layers = config.n_layers + config.n_highway + len(config.filters)
    if n_layers > n_tensors:
        raise WeightsError(
            f"{file}: expected the tensors of {n_layers} layers ({config.n_layers} "
            f"LSTM layers, {config.n_highway} highways, {len(config.filters)} "
            f"filters), found {n_tensors} tensors. {DISAGREE}"
        )


def read_json(path: Path, keys: str) -> Dict[str, Any]:
    """Read a JSON object.

    path (Path): The file.
    keys (str): What error messages say about its keys.
    RAISES: WeightsError if the file is too large, is not JSON, or is no object.
    """
    with path.open("rb") as file:
        data = file.read(MAX_JSON_BYTES + 1)
    try:
        if len(data) > MAX_JSON_BYTES:
            raise ValueError(f"more than {MAX_JSON_BYTES} bytes")
        value = json.loads(data.decode("utf8"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(
            f"{path}: expected a JSON object with {keys}, found something that is not "
            f"JSON ({error})."
        ) from error
    if not isinstance(value, dict):
        raise WeightsError(
            f"{path}: expected a JSON object with {keys}, found {type(value).__name__}."
        )
    return value


def check_is_file(path: PathLike, description: str) -> Path:
    """RAISES: WeightsError if there is no such file, with the folder's contents."""
    path = Path(path)
    if path.is_file():
        return path
    folder = path.parent
    if folder.is_dir():
        names = sorted(entry.name for entry in folder.iterdir())[:8]
        context = f"the folder contains {', '.join(names) or 'nothing'}"
    else:
        context = f"the folder {folder} does not exist either"
    raise WeightsError(
        f"{path}: expected {description}, found no such file; {context}."
    )


def build_empty(
    file: PathLike, config: BiLMConfig, characters: Optional[Characters] = None
) -> BiLM:
    """Build a biLM whose parameters have shapes but no memory, to be filled by `fill`.

    This saves the time for random numbers, and the weights of absurd options are never
    allocated.

    file (PathLike): How error messages refer to the file.
    RAISES: WeightsError if a size is too large for any tensor.
    """
    try:
        with torch.device("meta"):
            return BiLM(config, characters)
    except (RuntimeError, OverflowError) as error:
        raise WeightsError(
            f"{file}: expected options with sizes of tensors, found {config} ({error})."
        ) from error


def fill(model: BiLM, state: Mapping[str, Tensor]) -> BiLM:
    """Give a model from `build_empty` its checked weights, copied to float32."""
    copies = {name: t.to(torch.float32, copy=True) for name, t in state.items()}
    model.load_state_dict(copies, assign=True)
    return model
