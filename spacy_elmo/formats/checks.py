"""What every weight file must satisfy, and the one error for where it does not."""

from pathlib import Path
from typing import Iterable, Mapping, Optional, Union

import numpy as np
import torch
from torch import Tensor

from ..bilm import BiLM, BiLMConfig, Characters

PathLike = Union[str, Path]


class WeightsError(ValueError):
    """A weight file that is missing, damaged or not what its options say. The message
    names the file, the key, what was expected and what was found."""


def check_array(
    file: PathLike, key: str, array: Union[np.ndarray, Tensor], shape: Iterable[int]
) -> None:
    """Raises WeightsError where a stored array is not of floats, has not the shape that
    the options ask for, or holds NaN or infinity."""
    if isinstance(array, np.ndarray):
        kind = array.dtype
        if kind.kind != "f":
            raise WeightsError(f"{file}: {key}: expected floats, found {kind}.")
        array = torch.from_numpy(array)
    if not array.is_floating_point():
        raise WeightsError(f"{file}: {key}: expected floats, found {array.dtype}.")
    found, expected = tuple(array.shape), tuple(shape)
    if found != expected:
        raise WeightsError(
            f"{file}: {key}: expected the shape {expected} by the options, found "
            f"{found}. The options and the weights do not belong together, or the "
            "options were edited: fetch both from one source."
        )
    finite = torch.isfinite(array)
    if not bool(finite.all()):
        raise WeightsError(
            f"{file}: {key}: expected finite numbers, found {int((~finite).sum())} of "
            f"{finite.numel()} that are NaN or infinite. The file is damaged or its "
            "training diverged: fetch it again, or take an earlier checkpoint."
        )


def check_keys(file: PathLike, found: Iterable[str], expected: Iterable[str]) -> None:
    """Raises WeightsError where tensors are missing or are more than expected."""
    found, expected = set(found), set(expected)
    missing, unknown = sorted(expected - found), sorted(found - expected)
    found_so = [f"no {key}" for key in missing] + [f"also {key}" for key in unknown]
    if found_so:
        raise WeightsError(
            f"{file}: expected the {len(expected)} tensors that the options ask for, "
            f"found {', '.join(found_so)}. The options and the weights do not belong "
            "together: fetch both from one source."
        )


def check_is_file(path: PathLike, what: str) -> Path:
    """Raises WeightsError where no file is, with what lies beside it."""
    path = Path(path)
    if path.is_file():
        return path
    folder = path.parent
    if folder.is_dir():
        names = sorted(entry.name for entry in folder.iterdir())[:8]
        beside = f"the folder holds {', '.join(names) or 'nothing'}"
    else:
        beside = f"the folder {folder} does not exist either"
    raise WeightsError(f"{path}: expected {what}, found no such file; {beside}.")


def outline(config: BiLMConfig, characters: Optional[Characters] = None) -> BiLM:
    """A biLM whose parameters have shapes but no memory, to be filled by `fill`: no
    time goes into random numbers, and absurd options meet their check first."""
    with torch.device("meta"):
        return BiLM(config, characters)


def fill(model: BiLM, state: Mapping[str, Tensor]) -> BiLM:
    """Give an outline its checked weights, in float32, each in memory of its own."""
    own = {name: tensor.to(torch.float32, copy=True) for name, tensor in state.items()}
    model.load_state_dict(own, assign=True)
    return model
