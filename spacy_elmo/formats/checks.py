"""What every weight file must satisfy, and the one error for where it does not."""

from pathlib import Path
from typing import Dict, Iterable, Mapping, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from ..bilm import BiLM

PathLike = Union[str, Path]


class WeightsError(ValueError):
    """A weight file that is missing, damaged or not what its options say. The message
    names the file, the key, what was expected and what was found."""


def check_shape(
    file: PathLike, key: str, found: Iterable[int], expected: Iterable[int]
) -> None:
    """Raises WeightsError where a stored array has not the shape that the options
    ask for."""
    found, expected = tuple(found), tuple(expected)
    if found != expected:
        raise WeightsError(
            f"{file}: {key}: expected the shape {expected} by the options, found "
            f"{found}. The options and the weights do not belong together, or the "
            "options were edited: fetch both from one source."
        )


def check_finite(file: PathLike, key: str, array: Union[np.ndarray, Tensor]) -> None:
    """Raises WeightsError where an array holds NaN or infinity."""
    finite = torch.isfinite(torch.as_tensor(array))
    if not bool(finite.all()):
        raise WeightsError(
            f"{file}: {key}: expected finite numbers, found {int((~finite).sum())} of "
            f"{finite.numel()} that are NaN or infinite. The file is damaged or its "
            "training diverged: fetch it again, or take an earlier checkpoint."
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


def load_state(model: BiLM, state: Mapping[str, Tensor], file: PathLike) -> BiLM:
    """Put float tensors into the model, each parameter once.

    state: the model's parameter names -> tensors of any float dtype.

    Raises WeightsError for a missing or unknown name, a wrong shape, NaN or infinity.
    """
    wanted: Dict[str, Tuple[int, ...]] = {
        name: tuple(parameter.shape) for name, parameter in model.named_parameters()
    }
    missing = sorted(set(wanted) - set(state))
    unknown = sorted(set(state) - set(wanted))
    if missing or unknown:
        raise WeightsError(
            f"{file}: expected the {len(wanted)} tensors that the options ask for, "
            f"found {', '.join(missing) or 'none'} missing and "
            f"{', '.join(unknown) or 'none'} unknown."
        )
    for name, tensor in state.items():
        check_shape(file, name, tensor.shape, wanted[name])
        check_finite(file, name, tensor)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(state[name])
    return model
