"""ELMoForManyLangs (Che et al. 2018): a folder with config.json, the two vocabularies
and two torch state dicts."""

import json
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, NamedTuple, Tuple

import torch
from torch import Tensor

from ..bilm import BiLM, BiLMConfig, VocabularyCharacters
from ..bilm.config import ORIGINAL_FILTERS
from .checks import (
    PathLike,
    WeightsError,
    check_array,
    check_is_file,
    check_keys,
    fill,
    outline,
)

NAME = "ELMoForManyLangs"
CONFIG, ENCODER, EMBEDDER = "config.json", "encoder.pkl", "token_embedder.pkl"

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
"""The architecture of the 44 published models, whose config.json names a file that was
never published with them."""


def read(folder: PathLike) -> BiLM:
    """Load a folder of ELMoForManyLangs.

    Raises WeightsError (a ValueError) that names file, key, expected and found; a
    pickle with anything but tensors in it is refused unread.
    """
    folder = Path(folder)
    architecture, source = _architecture(folder)
    characters = _read_dictionary(folder / "char.dic")
    words: Dict[str, int] = {}
    if _get(architecture, source, "token_embedder", "word_dim"):
        words = _read_dictionary(folder / "word.dic")
    config = _config(architecture, source, characters, words)
    try:
        vocabulary = VocabularyCharacters(
            characters, words, config.max_characters_per_token
        )
    except ValueError as error:
        raise WeightsError(f"{folder}: {error}") from error
    state: Dict[str, Tensor] = {}
    for file, entries in (
        (folder / EMBEDDER, list(_embedder_entries(config))),
        (folder / ENCODER, list(_encoder_entries(config))),
    ):
        stored = _read_pickle(file)
        check_keys(file, stored, [entry.key for entry in entries])
        for key, shape, names in entries:
            check_array(file, key, stored[key], shape)
            state[names[0]] = stored[key]
            if len(names) == 2:
                # The non-linear part, then the gate; it multiplies the input, which is
                # one minus our gate: hence the sign.
                transform, gate = stored[key].chunk(2)
                state.update({names[0]: transform, names[1]: -gate})
    return fill(outline(config, vocabulary), state)


class Entry(NamedTuple):
    """A stored tensor's key and shape, and the names of our parameters that it is."""

    key: str
    shape: Tuple[int, ...]
    names: Tuple[str, ...]


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
        key, name = f"highways._layers.{k}", f"{ours}.highways.{k}"
        yield Entry(
            f"{key}.weight",
            (2 * n, n),
            (f"{name}.transform.weight", f"{name}.gate.weight"),
        )
        yield Entry(
            f"{key}.bias", (2 * n,), (f"{name}.transform.bias", f"{name}.gate.bias")
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


def _architecture(folder: Path) -> Tuple[Mapping[str, Any], Path]:
    file = check_is_file(
        folder / CONFIG, "the config.json of an ELMoForManyLangs model"
    )
    named = str(_read_json(file).get("config_path", ""))
    for path in (Path(named), folder / Path(named.replace("\\", "/")).name):
        if named and path.is_file():
            return _read_json(path), path
    return PUBLISHED_DEFAULT, file


def _config(
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
        return BiLMConfig(
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


def _get(architecture: Mapping[str, Any], source: Path, section: str, key: str) -> Any:
    try:
        return architecture[section][key]
    except (KeyError, TypeError):
        raise WeightsError(
            f"{source}: expected the key {section}.{key}, found none. It must be the "
            "architecture file of an ELMoForManyLangs model."
        ) from None


def _read_dictionary(path: Path) -> Dict[str, int]:
    check_is_file(path, "a vocabulary of ELMoForManyLangs")
    entries: Dict[str, int] = {}
    try:
        lines = path.read_text(encoding="utf8").split("\n")
    except UnicodeDecodeError as error:
        raise WeightsError(f"{path}: expected UTF-8 text, found {error}.") from error
    for number, line in enumerate(lines, start=1):
        # The models were used with lines stripped of all white space, by which the
        # ideographic space loses itself: a lone id means that space.
        fields = line.strip().split("\t")
        if fields == [""]:
            continue
        if len(fields) == 1:
            fields.insert(0, "\u3000")
        if len(fields) != 2 or not fields[1].isdecimal():
            raise WeightsError(
                f"{path}, line {number}: expected token<TAB>id, found {line!r}."
            )
        entries[fields[0]] = int(fields[1])
    if not entries:
        raise WeightsError(f"{path}: expected lines of token<TAB>id, found none.")
    return entries


def _read_pickle(path: Path) -> Mapping[str, Tensor]:
    check_is_file(path, "a torch state dict of an ELMoForManyLangs model")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        raise WeightsError(
            f"{path}: expected a torch state dict of nothing but tensors, found a file "
            "that is damaged or that holds other objects, which could run code when "
            f"read; it was not read. ({reason})"
        ) from error
    if not isinstance(state, Mapping) or not all(
        isinstance(tensor, Tensor) for tensor in state.values()
    ):
        raise WeightsError(
            f"{path}: expected a torch state dict (names -> tensors), found "
            f"{type(state).__name__}."
        )
    return state


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path}: expected JSON, found {error}.") from error
    if not isinstance(value, dict):
        raise WeightsError(
            f"{path}: expected a JSON object, found {type(value).__name__}."
        )
    return value
