"""The published format of bilm-tf and AllenNLP: options.json and an HDF5 file, whose
matrices have TensorFlow's layout (in, out) and gate order i, j, f, o."""

from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

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
    fill,
)
from .hdf5 import Hdf5File
from .hdf5_writer import write_hdf5

NAME = "published (bilm-tf, AllenNLP)"
WEIGHTS = "weights.hdf5"

EMBEDDING = "char_embed"
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
    state: Dict[str, Tensor] = {}
    with Hdf5File(weights_file) as file:
        # All of them before any is read: absurd options fail before they take time.
        for entry in entries(config):
            _check_dataset(file, entry)
        _check_nothing_left(file, config)
        for entry in entries(config):
            array = entry.read(_read_dataset(file, entry))
            if entry.key == EMBEDDING:
                # Id 0, a masked position, has no row in the file.
                array = np.pad(array, ((1, 0), (0, 0)))
            arrays = [array]
            if len(entry.names) == 2:
                arrays = np.split(array, [config.projection_dim], axis=1)
            for name, part in zip(entry.names, arrays):
                state[name] = torch.from_numpy(np.ascontiguousarray(part))
    return fill(build_empty(options_file, config), state)


def write(model: BiLM, options_file: PathLike, weights_file: PathLike) -> None:
    """Write the published pair, bit for bit what `read` reads. n_characters is written
    as 262, as for inference.

    RAISES: WeightsError if the format cannot hold the model or weights are not finite,
        OSError if the disk is full, ImportError if h5py is not installed. Nothing is
        written then.
    """
    config = model.config
    _check_expressible(config, weights_file)
    state = {name: p.detach().cpu().numpy() for name, p in model.named_parameters()}
    with replace_file(weights_file) as path, write_hdf5(path) as file:
        for entry in entries(config):
            array = np.concatenate([state[name] for name in entry.names], axis=-1)
            if entry.key == EMBEDDING:
                array = array[1:]
            array = np.ascontiguousarray(entry.write(array))
            check_array(weights_file, entry.key, array, entry.shape)
            file.add(entry.key, array)
    options.write(config, options_file)


def entries(config: BiLMConfig) -> Iterator[Entry]:
    """Iterate over all datasets of a model of these sizes."""
    encoder = "character_encoder"
    yield Entry(
        EMBEDDING,
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


def _check_dataset(file: Hdf5File, entry: Entry) -> None:
    if entry.key not in file.keys:
        group = entry.key.rpartition("/")[0]
        names = _names(file, f"{group}/" if group else "") or _names(file, "")
        raise WeightsError(
            f"{file.path}: expected the dataset {entry.key} of shape {entry.shape}, "
            f"found only {', '.join(names) or 'no datasets'}. {DISAGREE}"
        )
    file.check(entry.key, entry.shape)


def _read_dataset(file: Hdf5File, entry: Entry) -> np.ndarray:
    with np.errstate(over="ignore"):  # infinite values are refused below
        array = np.asarray(file.read(entry.key), dtype=np.float32)
    check_array(file.path, entry.key, array, entry.shape)
    return array


def _names(file: Hdf5File, prefix: str) -> List[str]:
    """Names of the datasets and groups of a group."""
    rests = (key[len(prefix) :] for key in file.keys if key.startswith(prefix))
    return sorted({rest.partition("/")[0] for rest in rests})


def _check_nothing_left(file: Hdf5File, config: BiLMConfig) -> None:
    """Check that the file has no further layers, which would be dropped silently."""
    expected = {entry.key for entry in entries(config)}
    unexpected = sorted(
        key
        for key in file.keys
        if key.startswith(LAYER_PREFIXES) and key not in expected
    )
    if unexpected:
        raise WeightsError(
            f"{file.path}: expected only the layers that the options mention "
            f"({len(config.filters)} filters, {config.n_highway} highways, "
            f"{config.n_layers} LSTM layers), found "
            f"{', '.join(unexpected[:6])}. {DISAGREE}"
        )


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
