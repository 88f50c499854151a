"""ELMoForManyLangs (Che et al. 2018): a folder with config.json, the two vocabularies
and two PyTorch state dicts."""

import warnings
import zipfile
from pathlib import Path, PureWindowsPath
from typing import Any, Dict, Iterator, Mapping, NamedTuple, Tuple

import torch
from torch import Tensor

from ..bilm import BiLM, BiLMConfig, VocabularyCharacters
from ..bilm.config import ORIGINAL_FILTERS
from ..files import PathLike
from .checks import (
    WeightsError,
    build_empty,
    check_array,
    check_is_file,
    check_keys,
    check_n_layers,
    check_shape,
    fill,
    read_json,
)

NAME = "ELMoForManyLangs"
CONFIG, ENCODER, EMBEDDER = "config.json", "encoder.pkl", "token_embedder.pkl"

PUBLISHED_CONFIG = "cnn_50_100_512_4096_sample.json"
PUBLISHED_DEFAULT: Dict[str, Any] = {
    "encoder": {
        "name": "elmo",
        "projection_dim": 512,
        "cell_clip": 3,
        "proj_clip": 3,
        "dim": 4096,
        "n_layers": 2,
    },
    "token_embedder": {
        "name": "cnn",
        "activation": "relu",
        "filters": ORIGINAL_FILTERS,
        "n_highway": 2,
        "word_dim": 100,
        "char_dim": 50,
        "max_characters_per_token": 50,
    },
}
"""Architecture of the 44 published models. Their config.json names a file
(PUBLISHED_CONFIG) that was not published with them."""


class Entry(NamedTuple):
    """How a stored tensor maps to parameters of the model.

    key (str): Key of the tensor.
    shape (Tuple[int, ...]): Shape of the tensor.
    names (Tuple[str, ...]): One parameter, or a highway's two, stacked.
    """

    key: str
    shape: Tuple[int, ...]
    names: Tuple[str, ...]


def read(folder: PathLike) -> BiLM:
    """Load an ELMoForManyLangs folder.

    RAISES: WeightsError (a ValueError) that names file, key, expected and found value.
        A pickle that contains anything but tensors is refused without being loaded.
    """
    folder = Path(folder)
    architecture, source = _read_architecture(folder)
    characters = _read_vocabulary(folder / "char.dic")
    words: Dict[str, int] = {}
    if _get(architecture, source, "token_embedder", "word_dim"):
        words = _read_vocabulary(folder / "word.dic")
    config = _build_config(architecture, source, characters, words)
    try:
        vocabulary = VocabularyCharacters(
            characters, words, config.max_characters_per_token
        )
    except ValueError as error:
        raise WeightsError(f"{folder}: {error}") from error
    tensors = {file: _read_pickle(folder / file) for file in (EMBEDDER, ENCODER)}
    check_n_layers(source, config, sum(map(len, tensors.values())))
    state: Dict[str, Tensor] = {}
    for name, entries in (
        (EMBEDDER, list(_embedder_entries(config))),
        (ENCODER, list(_encoder_entries(config))),
    ):
        file, stored = folder / name, tensors[name]
        check_keys(file, stored, [entry.key for entry in entries])
        for key, shape, _ in entries:
            check_shape(file, key, stored[key].shape, shape)
        for key, shape, names in entries:
            check_array(file, key, stored[key], shape)
            state[names[0]] = stored[key]
            if len(names) == 2:
                # The transformed part, then the gate. Theirs multiplies the input, so
                # it is one minus ours: hence the sign.
                transform, gate = stored[key].chunk(2)
                state.update({names[0]: transform, names[1]: -gate})
    return fill(build_empty(source, config, vocabulary), state)


def _embedder_entries(config: BiLMConfig) -> Iterator[Entry]:
    ours, width, n = "character_encoder", config.projection_dim, config.n_filters
    for kind, rows, dim in (
        ("char", config.n_characters, config.char_dim),
        ("word", config.n_words, config.word_dim),
    ):
        if rows:
            key = f"{kind}_emb_layer.embedding.weight"
            yield Entry(key, (rows, dim), (f"{ours}.{kind}_embedding.weight",))
    for i, (size, number) in enumerate(config.filters):
        key = f"convolutions.{i}"
        filters = (number, config.char_dim, size)
        yield Entry(f"{key}.weight", filters, (f"{ours}.{key}.weight",))
        yield Entry(f"{key}.bias", (number,), (f"{ours}.{key}.bias",))
    for k in range(config.n_highway):
        for part, shape in (("weight", (2 * n, n)), ("bias", (2 * n,))):
            name = f"{ours}.highways.{k}"
            yield Entry(
                f"highways._layers.{k}.{part}",
                shape,
                (f"{name}.transform.{part}", f"{name}.gate.{part}"),
            )
    both = (width, config.word_dim + n)
    yield Entry("projection.weight", both, (f"{ours}.projection.weight",))
    yield Entry("projection.bias", (width,), (f"{ours}.projection.bias",))


def _encoder_entries(config: BiLMConfig) -> Iterator[Entry]:
    dim, width = config.dim, config.projection_dim
    for direction in ("forward", "backward"):
        for layer in range(config.n_layers):
            for key, shape, name in (
                ("input_linearity.weight", (4 * dim, width), "weight_ih"),
                ("state_linearity.weight", (4 * dim, width), "weight_hh"),
                ("state_linearity.bias", (4 * dim,), "bias"),
                ("state_projection.weight", (width, dim), "weight_hr"),
            ):
                yield Entry(
                    f"{direction}_layer_{layer}.{key}",
                    shape,
                    (f"{direction}_layers.{layer}.{name}",),
                )


def _read_architecture(folder: Path) -> Tuple[Mapping[str, Any], Path]:
    """Read the architecture that config.json names: a path relative to the folder, as
    ELMoForManyLangs resolves it, or a file of this name in the folder.

    RETURNS (Tuple[Mapping, Path]): The architecture, and the file that it comes from.
    """
    file = check_is_file(
        folder / CONFIG, "the config.json of an ELMoForManyLangs model"
    )
    named = str(read_json(file, "the key config_path").get("config_path") or "")
    base = PureWindowsPath(named).name
    for path in (folder / named, folder / base, Path(named)):
        try:
            if named and path.is_file():
                return read_json(path, "the architecture"), path
        except OSError:  # for example, a name that is too long
            pass
    if named and base != PUBLISHED_CONFIG:
        warnings.warn(
            f"{file}: expected the file of config_path, {named[:200]!r}, found none. "
            "The architecture of the published models is assumed. If this model has "
            "another one, put its file into the folder.",
            stacklevel=4,
        )
    return PUBLISHED_DEFAULT, file


def _build_config(
    architecture: Mapping[str, Any],
    source: Path,
    characters: Mapping[str, int],
    words: Mapping[str, int],
) -> BiLMConfig:
    def encoder(key: str) -> Any:
        return _get(architecture, source, "encoder", key)

    def embedder(key: str) -> Any:
        return _get(architecture, source, "token_embedder", key)

    for name, found, expected in (
        ("encoder.name", encoder("name"), "elmo"),
        ("token_embedder.name", embedder("name"), "cnn"),
    ):
        if str(found).lower() != expected:
            raise WeightsError(
                f"{source}: {name}: expected {expected!r}, found {found!r}, an "
                "architecture that is not ELMo's."
            )
    try:
        config = BiLMConfig(
            char_dim=embedder("char_dim"),
            filters=embedder("filters"),
            n_highway=embedder("n_highway"),
            max_characters_per_token=embedder("max_characters_per_token"),
            activation=embedder("activation"),
            dim=encoder("dim"),
            projection_dim=encoder("projection_dim"),
            n_layers=encoder("n_layers"),
            cell_clip=encoder("cell_clip"),
            proj_clip=encoder("proj_clip"),
            use_skip_connections=True,
            forget_bias=0.0,
            characters="vocabulary",
            n_characters=max(characters.values()) + 1,
            word_dim=embedder("word_dim") or 0,
            n_words=max(words.values()) + 1 if words else 0,
        )
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{source}: {error}") from error
    # Theirs always project, ours only between different widths.
    for has_projection, name, width in (
        (config.has_lstm_projection, "encoder.dim", config.dim),
        (config.has_token_projection, "the number of filters", config.n_filters),
    ):
        if not has_projection:
            raise WeightsError(
                f"{source}: {name}: expected a width that differs from the projection "
                f"({config.projection_dim}), found {width}. Models that project to the "
                "same width are not supported."
            )
    return config


def _get(architecture: Mapping[str, Any], source: Path, section: str, key: str) -> Any:
    try:
        return architecture[section][key]
    except (KeyError, TypeError):
        raise WeightsError(
            f"{source}: expected the key {section}.{key}, found none. It must be the "
            "architecture file of an ELMoForManyLangs model."
        ) from None


def _read_vocabulary(path: Path) -> Dict[str, int]:
    check_is_file(path, "a vocabulary of ELMoForManyLangs")
    entries: Dict[str, int] = {}
    try:
        lines = path.read_text(encoding="utf8").split("\n")
    except UnicodeDecodeError as error:
        raise WeightsError(f"{path}: expected UTF-8 text, found {error}.") from error
    for number, line in enumerate(lines, start=1):
        # The models were used with lines stripped of all whitespace, which removes the
        # ideographic space: an id alone belongs to this character.
        fields = line.strip().split("\t")
        if fields == [""]:
            continue
        if len(fields) == 1:
            fields.insert(0, "\u3000")
        # Longer numbers are no ids, and from 4,300 digits on no number for int().
        if len(fields) != 2 or not fields[1].isdecimal() or len(fields[1]) > 10:
            raise WeightsError(
                f"{path}, line {number}: expected token<TAB>id, found {line[:80]!r}."
            )
        entries[fields[0]] = int(fields[1])
    if not entries:
        raise WeightsError(f"{path}: expected lines of token<TAB>id, found none.")
    return entries


def _read_pickle(path: Path) -> Mapping[str, Tensor]:
    check_is_file(path, "a PyTorch state dict of an ELMoForManyLangs model")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                size = sum(info.file_size for info in archive.infolist())
            if size > path.stat().st_size:
                raise ValueError("compressed, which PyTorch's files are not")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles raise almost anything
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        raise WeightsError(
            f"{path}: expected a PyTorch state dict with nothing but tensors, found a "
            "file that is damaged or contains other objects, which could run code; it "
            f"was not read. ({reason})"
        ) from error
    if not isinstance(state, Mapping) or not all(map(_is_plain, state.values())):
        raise WeightsError(
            f"{path}: expected a PyTorch state dict (names -> dense tensors), found "
            f"{type(state).__name__}."
        )
    return state


def _is_plain(value: object) -> bool:
    """Whether a value is a dense tensor of numbers in memory, each of them stored."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_nested
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )
