"""ELMoForManyLangs (Che et al. 2018): a folder with config.json, the two vocabularies
and two torch state dicts."""

import json
import pickle
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Tuple

import torch
from torch import Tensor

from ..bilm import BiLM, BiLMConfig, VocabularyCharacters
from ..bilm.config import ORIGINAL_FILTERS
from .checks import PathLike, WeightsError, check_is_file, check_shape, load_state

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
    model = BiLM(config, vocabulary)
    embedder = _read_pickle(folder / EMBEDDER)
    encoder = _read_pickle(folder / ENCODER)
    state: Dict[str, Tensor] = {}
    for stored, file, names in (
        (embedder, folder / EMBEDDER, dict(_embedder_names(config))),
        (encoder, folder / ENCODER, dict(_encoder_names(config))),
    ):
        _check_keys(stored, names, file)
        for key, name in names.items():
            state[name] = stored[key]
    for k in range(config.n_highway):
        _split_highway(state, k, config, folder / EMBEDDER)
    return load_state(model, state, folder)


def _embedder_names(config: BiLMConfig) -> Iterator[Tuple[str, str]]:
    ours = "character_encoder"
    yield "char_emb_layer.embedding.weight", f"{ours}.char_embedding.weight"
    if config.word_dim:
        yield "word_emb_layer.embedding.weight", f"{ours}.word_embedding.weight"
    for part in ("weight", "bias"):
        for i in range(len(config.filters)):
            yield f"convolutions.{i}.{part}", f"{ours}.convolutions.{i}.{part}"
        for k in range(config.n_highway):
            yield f"highways._layers.{k}.{part}", f"{ours}.highways.{k}.{part}"
        yield f"projection.{part}", f"{ours}.projection.{part}"


def _encoder_names(config: BiLMConfig) -> Iterator[Tuple[str, str]]:
    for direction in ("forward", "backward"):
        for layer in range(config.n_layers):
            theirs = f"{direction}_layer_{layer}"
            ours = f"{direction}_layers.{layer}"
            yield f"{theirs}.input_linearity.weight", f"{ours}.weight_ih"
            yield f"{theirs}.state_linearity.weight", f"{ours}.weight_hh"
            yield f"{theirs}.state_linearity.bias", f"{ours}.bias"
            yield f"{theirs}.state_projection.weight", f"{ours}.weight_hr"


def _split_highway(
    state: Dict[str, Tensor], k: int, config: BiLMConfig, file: Path
) -> None:
    """One matrix holds the non-linear part, then the gate, which multiplies the input:
    one minus our gate, hence the sign."""
    name, n = f"character_encoder.highways.{k}", config.n_filters
    for part, shape in (("weight", (2 * n, n)), ("bias", (2 * n,))):
        both = state.pop(f"{name}.{part}")
        check_shape(file, f"highways._layers.{k}.{part}", both.shape, shape)
        state[f"{name}.transform.{part}"] = both[:n]
        state[f"{name}.gate.{part}"] = -both[n:]


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
            filters=tuple(map(tuple, embedder("filters"))),
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
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(
            f"{path}: expected a torch state dict of nothing but tensors, found a file "
            "that is damaged or that holds other objects, which could run code when "
            f"read; it was not read. ({str(error).splitlines()[0]})"
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


def _check_keys(
    stored: Mapping[str, Tensor], names: Mapping[str, str], file: Path
) -> None:
    missing: List[str] = sorted(set(names) - set(stored))
    unknown: List[str] = sorted(set(stored) - set(names))
    if missing or unknown:
        raise WeightsError(
            f"{file}: expected the keys that the architecture asks for, found no "
            f"{', '.join(missing) or 'lack'} and beside them "
            f"{', '.join(unknown) or 'no others'}."
        )
