"""The published format of bilm-tf and AllenNLP: options.json and an HDF5 file, whose
matrices have TensorFlow's layout (in, out) and gate order i, j, f, o."""

from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

import h5py
import numpy as np
import torch
from torch import Tensor

from ..bilm import BiLM, BiLMConfig
from ..files import PathLike, replace_file
from . import options
from .checks import (
    DISAGREE,
    WeightsError,
    build_empty,
    check_array,
    check_is_file,
    check_shape,
    fill,
)

NAME = "published (bilm-tf, AllenNLP)"
WEIGHTS = "weights.hdf5"

LAYER_PREFIXES = ("CNN", "RNN_")

Convert = Callable[[np.ndarray], np.ndarray]


class Entry(NamedTuple):
    """How a dataset of the HDF5 file maps to parameters of the model.

    key (str): Key of the dataset.
    shape (Tuple[int, ...]): Shape of the dataset.
    names (Tuple[str, ...]): One parameter, or two that are stacked in the dataset.
    read (Callable): Converts the dataset to the parameters, stacked along axis 1.
    write (Callable): The inverse.
    """

    key: str
    shape: Tuple[int, ...]
    names: Tuple[str, ...]
    read: Convert
    write: Convert


def find_pair(folder: Path) -> Optional[Tuple[Path, Path]]:
    """Find the published pair in a folder, also under the names it is published under
    (NAME_options.json, NAME_weights.hdf5).

    RETURNS (Optional[Tuple[Path, Path]]): The options and the weights file; None if
        either is missing.
    RAISES: WeightsError if there are several pairs.
    """
    weights = sorted(folder.glob("*.hdf5"))
    files = sorted(folder.glob(f"*{options.FILE_NAME}"))
    if folder / options.FILE_NAME in files:
        files = [folder / options.FILE_NAME]
    if not weights or not files:
        return None
    if len(weights) > 1 or len(files) > 1:
        names = ", ".join(path.name for path in [*files, *weights])
        raise WeightsError(
            f"{folder}: expected one *.hdf5 and one {options.FILE_NAME}, found "
            f"{names}. Name the two files: load_bilm(options_file, weights_file)."
        )
    return files[0], weights[0]


def read(options_file: PathLike, weights_file: PathLike) -> BiLM:
    """Load the published pair.

    RAISES: WeightsError (a ValueError) that names file, key, expected and found value,
        if a file or key is missing, a shape does not match the options, the file is
        damaged, a number is not finite, or there are layers that the options do not
        mention.
    """
    config = options.read(options_file)
    _check_expressible(config, options_file)
    weights_file = check_is_file(weights_file, "the HDF5 file of the weights")
    # Id 0, a masked position, has no row in the file.
    embedding = "character_encoder.char_embedding.weight"
    state: Dict[str, Tensor] = {embedding: torch.zeros(1, config.char_dim)}
    try:
        with h5py.File(weights_file, "r") as file:
            for entry in entries(config):
                array = entry.read(_read_dataset(file, entry, weights_file))
                arrays = [array]
                if len(entry.names) == 2:
                    arrays = np.split(array, [config.projection_dim], axis=1)
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
    # Built last, so that absurd options fail for lack of data before they take time.
    return fill(build_empty(config), state)


def write(model: BiLM, options_file: PathLike, weights_file: PathLike) -> None:
    """Write the published pair, bit for bit what `read` reads. n_characters is written
    as 262, as for inference.

    RAISES: WeightsError if the format cannot hold the model or weights are not finite.
        Nothing is written then.
    """
    config = model.config
    _check_expressible(config, weights_file)
    state = {name: p.detach().cpu().numpy() for name, p in model.named_parameters()}
    with replace_file(weights_file) as path, h5py.File(path, "w") as file:
        for entry in entries(config):
            array = np.concatenate([state[name] for name in entry.names], axis=-1)
            if entry.key == "char_embed":
                array = array[1:]
            array = np.ascontiguousarray(entry.write(array))
            check_array(weights_file, entry.key, array, entry.shape)
            file[entry.key] = array
    options.write(config, options_file)


def entries(config: BiLMConfig) -> Iterator[Entry]:
    """Iterate over all datasets of a model of these sizes."""
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
        # "carry" in the file is the gate of the transformed part.
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
    """Convert i, j, f, o <-> i, f, g, o along axis 0 (g is TensorFlow's j)."""
    i, second, third, o = np.split(array, 4)
    return np.concatenate([i, third, second, o])


def _same(array: np.ndarray) -> np.ndarray:
    return array


def _vector(key: str, size: int, name: str) -> Entry:
    return Entry(key, (size,), (name,), _same, _same)


def _matrix(key: str, shape: Tuple[int, int], name: str) -> Entry:
    return Entry(key, shape, (name,), np.transpose, np.transpose)


def _read_dataset(file: h5py.File, entry: Entry, path: Path) -> np.ndarray:
    dataset = file.get(entry.key)
    if not isinstance(dataset, h5py.Dataset):
        parent = file.get(entry.key.rsplit("/", 1)[0]) if "/" in entry.key else file
        group = parent if isinstance(parent, h5py.Group) else file
        keys = ", ".join(sorted(map(_to_text, group))) or "no datasets"
        raise WeightsError(
            f"{path}: expected the dataset {entry.key} of shape {entry.shape}, found "
            f"only {keys}. {DISAGREE}"
        )
    if dataset.shape is None or dataset.dtype.kind != "f":
        raise WeightsError(
            f"{path}: {entry.key}: expected floats, found {dataset.dtype}."
        )
    # The shape comes first: a small file may declare a dataset that fills the memory.
    check_shape(path, entry.key, dataset.shape, entry.shape)
    if dataset.is_virtual or dataset.external or dataset.file != file:
        raise WeightsError(
            f"{path}: {entry.key}: expected the numbers in this file, found a "
            "reference to other data. Do not trust this file."
        )
    array = np.asarray(dataset[...], dtype=np.float32)
    check_array(path, entry.key, array, entry.shape)
    return array


def _check_nothing_left(file: h5py.File, config: BiLMConfig, path: Path) -> None:
    """Check that the file has no further layers, which would be dropped silently."""
    expected = {entry.key for entry in entries(config)}
    unexpected: List[str] = []

    def visit(stored: Union[str, bytes], item: object) -> None:
        key = _to_text(stored)
        is_layer = isinstance(item, h5py.Dataset) and key.startswith(LAYER_PREFIXES)
        if is_layer and key not in expected:
            unexpected.append(key)

    file.visititems(visit)
    if unexpected:
        raise WeightsError(
            f"{path}: expected only the layers that the options mention "
            f"({len(config.filters)} filters, {config.n_highway} highways, "
            f"{config.n_layers} LSTM layers), found "
            f"{', '.join(sorted(unexpected)[:6])}. {DISAGREE}"
        )


def _to_text(key: Union[str, bytes]) -> str:
    """h5py returns bytes for keys that are not UTF-8."""
    return key if isinstance(key, str) else key.decode("utf8", "backslashreplace")


def _check_expressible(config: BiLMConfig, path: PathLike) -> None:
    features = {
        "a character vocabulary": config.characters != "bytes",
        "a word embedding": config.word_dim > 0,
        f"a forget bias of {config.forget_bias}": config.forget_bias != 1.0,
    }
    unsupported = [name for name, is_used in features.items() if is_used]
    if unsupported:
        raise WeightsError(
            f"{path}: expected a model of UTF-8 bytes, the only kind that the "
            f"published format can hold, found one with {' and '.join(unsupported)}. "
            "Use our own format (safetensors) for it."
        )
