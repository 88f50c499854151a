"""The published format of bilm-tf and AllenNLP: options.json and an HDF5 file, its
matrices in TensorFlow's (in, out) layout and gate order i, j, f, o."""

from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Set, Tuple, Union

import h5py
import numpy as np
import torch

from ..bilm import BiLM, BiLMConfig
from ..files import replace_file
from . import options
from .checks import PathLike, WeightsError, check_array, check_is_file, fill, outline

NAME = "published (bilm-tf, AllenNLP)"
WEIGHTS = "weights.hdf5"

_GROUPS = ("CNN", "RNN_")

Convert = Callable[[np.ndarray], np.ndarray]


class Entry(NamedTuple):
    """How one dataset of the HDF5 file and our parameters correspond.

    key, shape: of the dataset.
    names: our parameters, one, or two that lie one under the other in the dataset.
    read: dataset -> our parameters, stacked along the last axis.
    write: the inverse.
    """

    key: str
    shape: Tuple[int, ...]
    names: Tuple[str, ...]
    read: Convert
    write: Convert


def read(options_file: PathLike, weights_file: PathLike) -> BiLM:
    """Load the published pair.

    Raises WeightsError (a ValueError) that names file, key, expected and found, for a
    missing file or key, a shape that disagrees with the options, a truncated file, NaN
    or infinity, or layers in the file that the options do not mention.
    """
    config = options.read(options_file)
    _check_expressible(config, options_file)
    weights_file = check_is_file(weights_file, "the HDF5 file of the weights")
    model = outline(config)
    state = {"character_encoder.char_embedding.weight": _zero_row(config)}
    parameters = dict(model.named_parameters())
    try:
        with h5py.File(weights_file, "r") as file:
            for entry in entries(config):
                array = entry.read(_dataset(file, entry, weights_file))
                arrays = [array]
                if len(entry.names) == 2:
                    width = parameters[entry.names[0]].shape[1]
                    arrays = [array[:, :width], array[:, width:]]
                for name, part in zip(entry.names, arrays):
                    tensor = torch.from_numpy(np.ascontiguousarray(part))
                    if name in state:
                        tensor = torch.cat([state[name], tensor])
                    state[name] = tensor
            _check_nothing_left(file, config, weights_file)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"{weights_file}: expected an HDF5 file, found one that cannot be read "
            f"({error}). It is truncated or of another format: fetch it again."
        ) from error
    return fill(model, state)


def write(model: BiLM, options_file: PathLike, weights_file: PathLike) -> None:
    """Write the published pair, bit for bit what `read` would read; n_characters is
    written as 262, as inference has it.

    Raises WeightsError where the model has parts that the format has no place for, or
    weights that are not finite; nothing is written then.
    """
    config = model.config
    _check_expressible(config, weights_file)
    state = {name: p.detach().cpu().numpy() for name, p in model.named_parameters()}
    with replace_file(weights_file) as beside, h5py.File(beside, "w") as file:
        for entry in entries(config):
            array = np.concatenate([state[name] for name in entry.names], axis=-1)
            if entry.key == "char_embed":
                array = array[1:]
            array = np.ascontiguousarray(entry.write(array))
            check_array(weights_file, entry.key, array, entry.shape)
            file[entry.key] = array
    options.write(config, options_file)


def entries(config: BiLMConfig) -> Iterator[Entry]:
    """All datasets that a model of these sizes has."""
    encoder = "character_encoder"
    yield Entry(
        "char_embed",
        (config.n_characters - 1, config.char_dim),
        (f"{encoder}.char_embedding.weight",),
        _same,
        _same,
    )
    for i, (width, number) in enumerate(config.filters):
        yield Entry(
            f"CNN/W_cnn_{i}",
            (1, width, config.char_dim, number),
            (f"{encoder}.convolutions.{i}.weight",),
            lambda array: array[0].transpose(2, 1, 0),
            lambda array: array.transpose(2, 1, 0)[None],
        )
        yield _vector(f"CNN/b_cnn_{i}", number, f"{encoder}.convolutions.{i}.bias")
    n = config.n_filters
    for k in range(config.n_highway):
        # What the file calls carry is the gate of the transformed part.
        for theirs, ours in (("transform", "transform"), ("carry", "gate")):
            name = f"{encoder}.highways.{k}.{ours}"
            yield _matrix(f"CNN_high_{k}/W_{theirs}", (n, n), f"{name}.weight")
            yield _vector(f"CNN_high_{k}/b_{theirs}", n, f"{name}.bias")
    if config.has_token_projection:
        name, width = f"{encoder}.projection", config.projection_dim
        yield _matrix("CNN_proj/W_proj", (n, width), f"{name}.weight")
        yield _vector("CNN_proj/b_proj", width, f"{name}.bias")
    for group, direction in (("RNN_0", "forward"), ("RNN_1", "backward")):
        for layer in range(config.n_layers):
            yield from _lstm_entries(
                f"{group}/RNN/MultiRNNCell/Cell{layer}/LSTMCell",
                f"{direction}_layers.{layer}",
                config,
            )


def _lstm_entries(key: str, name: str, config: BiLMConfig) -> Iterator[Entry]:
    dim, width = config.dim, config.projection_dim
    yield Entry(
        f"{key}/W_0",
        (2 * width, 4 * dim),
        (f"{name}.weight_ih", f"{name}.weight_hh"),
        lambda array: _swap_gates(array.T),
        lambda array: _swap_gates(array).T,
    )
    yield Entry(f"{key}/B", (4 * dim,), (f"{name}.bias",), _swap_gates, _swap_gates)
    if config.has_lstm_projection:
        yield _matrix(f"{key}/W_P_0", (dim, width), f"{name}.weight_hr")


def _swap_gates(array: np.ndarray) -> np.ndarray:
    """i, j, f, o <-> i, f, g, o along the first axis (j is what PyTorch calls g)."""
    i, second, third, o = np.split(array, 4)
    return np.concatenate([i, third, second, o])


def _same(array: np.ndarray) -> np.ndarray:
    return array


def _vector(key: str, size: int, name: str) -> Entry:
    return Entry(key, (size,), (name,), _same, _same)


def _matrix(key: str, shape: Tuple[int, int], name: str) -> Entry:
    return Entry(key, shape, (name,), np.transpose, np.transpose)


def _zero_row(config: BiLMConfig) -> torch.Tensor:
    """Id 0, a masked position, has no row in the file."""
    return torch.zeros(1, config.char_dim)


def _dataset(file: h5py.File, entry: Entry, path: Path) -> np.ndarray:
    dataset = file.get(entry.key)
    if not isinstance(dataset, h5py.Dataset):
        group = entry.key.rsplit("/", 1)[0] if "/" in entry.key else "/"
        there = file.get(group)
        keys = there if isinstance(there, h5py.Group) else file
        found = sorted(_text(key) for key in keys)
        raise WeightsError(
            f"{path}: expected the dataset {entry.key} of shape {entry.shape}, found "
            f"none; there are {', '.join(found) or 'no datasets'}. The options ask for "
            "it: do they belong to this file?"
        )
    if dataset.shape is None or dataset.dtype.kind != "f":
        raise WeightsError(
            f"{path}: {entry.key}: expected floats, found {dataset.dtype}."
        )
    array = np.asarray(dataset[...], dtype=np.float32)
    check_array(path, entry.key, array, entry.shape)
    return array


def _check_nothing_left(file: h5py.File, config: BiLMConfig, path: Path) -> None:
    """A layer that the options do not mention must not be dropped in silence."""
    wanted: Set[str] = {entry.key for entry in entries(config)}
    left: List[str] = []

    def visit(stored: Union[str, bytes], item: object) -> None:
        key = _text(stored)
        is_ours = isinstance(item, h5py.Dataset) and key.startswith(_GROUPS)
        if is_ours and key not in wanted:
            left.append(key)

    file.visititems(visit)
    if left:
        raise WeightsError(
            f"{path}: expected no more layers than the options mention "
            f"({len(config.filters)} filters, {config.n_highway} highways, "
            f"{config.n_layers} LSTM layers), found {', '.join(sorted(left)[:6])}. "
            "The options and the weights do not belong together."
        )


def _text(key: Union[str, bytes]) -> str:
    """h5py gives bytes where a file's key is not UTF-8."""
    return key if isinstance(key, str) else key.decode("utf8", "backslashreplace")


def _check_expressible(config: BiLMConfig, path: PathLike) -> None:
    lacks: Dict[str, bool] = {
        "a character vocabulary": config.characters != "bytes",
        "a word embedding": config.word_dim > 0,
        f"a forget bias of {config.forget_bias}": config.forget_bias != 1.0,
    }
    found = [what for what, is_so in lacks.items() if is_so]
    if found:
        raise WeightsError(
            f"{path}: expected a model of UTF-8 bytes, as the published format has it, "
            f"found one with {' and '.join(found)}, which the format has no place for. "
            "Use our own format (safetensors) for it."
        )
