"""options.json: the sizes of a biLM, in the published layout plus a few keys of our
own. Shared by the published format and ours."""

import math
from typing import Any, Dict, Mapping

from ..bilm import BiLMConfig
from ..bilm.config import BYTE_IDS
from ..files import PathLike, write_json
from .checks import WeightsError, check_is_file, read_json

FILE_NAME = "options.json"


def read(path: PathLike) -> BiLMConfig:
    """Read a published options.json, or one of ours.

    RAISES: WeightsError if the file is missing or too large, is not a JSON object, or
        does not describe a biLM.
    """
    file = check_is_file(path, "the options of the model (options.json)")
    return from_dict(read_json(file, "the keys lstm and char_cnn"), str(path))


def write(config: BiLMConfig, path: PathLike) -> None:
    """Write a config as options.json, atomically."""
    write_json(path, to_dict(config))


def to_dict(config: BiLMConfig) -> Dict[str, Any]:
    """Convert a config to the contents of a published options.json.

    Our own keys (`characters`, `word_dim`, `n_words`, `forget_bias`) are included only
    if their values differ from the published models'.
    """
    lstm = {
        "dim": config.dim,
        "projection_dim": config.projection_dim,
        "n_layers": config.n_layers,
        "cell_clip": config.cell_clip,
        "proj_clip": config.proj_clip,
        "use_skip_connections": config.use_skip_connections,
    }
    char_cnn = {
        "embedding": {"dim": config.char_dim},
        "filters": [list(pair) for pair in config.filters],
        "n_highway": config.n_highway,
        "n_characters": config.n_characters,
        "max_characters_per_token": config.max_characters_per_token,
        "activation": config.activation,
    }
    if config.forget_bias != 1.0:
        lstm["forget_bias"] = config.forget_bias
    if config.characters != "bytes":
        char_cnn["characters"] = config.characters
    if config.word_dim:
        char_cnn["word_dim"] = config.word_dim
        char_cnn["n_words"] = config.n_words
    return {"lstm": lstm, "char_cnn": char_cnn}


def from_dict(options: Mapping[str, Any], source: str = "options") -> BiLMConfig:
    """Convert the contents of an options.json to a config.

    options (Mapping[str, Any]): The parsed file. Keys that matter only in training are
        ignored.
    source (str): How error messages refer to the options.
    RAISES: WeightsError if a key is missing or its value is invalid.
    """
    lstm = _section(options, "lstm", source)
    if options.get("char_cnn") is None:
        raise WeightsError(
            f"{source}: expected an object under the key 'char_cnn', found "
            f"{', '.join(map(str, options))}. A biLM that reads words instead of "
            "characters is not supported."
        )
    char_cnn = _section(options, "char_cnn", source)
    embedding = _section(char_cnn, "embedding", f"{source}: char_cnn")
    where = f"{source}: char_cnn"
    characters = char_cnn.get("characters", "bytes")
    n_characters = _number(char_cnn, "n_characters", where, default=BYTE_IDS)
    if characters == "bytes":
        # Training counts 261; inference also counts the masked position.
        if n_characters not in (BYTE_IDS - 1, BYTE_IDS):
            raise WeightsError(
                f"{where}.n_characters: expected {BYTE_IDS - 1} (training) or "
                f"{BYTE_IDS} (inference), found {n_characters}. Character ids are "
                "UTF-8 bytes in this format: models with a character vocabulary of "
                "their own are not supported."
            )
        n_characters = BYTE_IDS
    values: Dict[str, Any] = {
        "char_dim": _number(embedding, "dim", f"{where}.embedding"),
        "filters": char_cnn.get("filters"),
        "n_highway": _number(char_cnn, "n_highway", where, default=0),
        "max_characters_per_token": _number(
            char_cnn, "max_characters_per_token", where
        ),
        "activation": char_cnn.get("activation"),
        "characters": characters,
        "n_characters": n_characters,
        "word_dim": _number(char_cnn, "word_dim", where, default=0),
        "n_words": _number(char_cnn, "n_words", where, default=0),
    }
    where = f"{source}: lstm"
    for name in ("dim", "projection_dim", "n_layers"):
        values[name] = _number(lstm, name, where)
    for name, default in (("cell_clip", None), ("proj_clip", None), ("forget_bias", 1)):
        values[name] = _number(lstm, name, where, default=default, kind=float)
    skip = lstm.get("use_skip_connections", False)
    if skip not in (True, False):
        raise WeightsError(
            f"{where}.use_skip_connections: expected true or false, found {skip!r}."
        )
    values["use_skip_connections"] = bool(skip)
    try:
        return BiLMConfig(**values)
    except ValueError as error:
        raise WeightsError(f"{source}: {error}") from error


def _section(options: Mapping[str, Any], key: str, source: str) -> Mapping[str, Any]:
    section = options.get(key)
    if not isinstance(section, Mapping):
        found = ", ".join(map(str, options)) if section is None else repr(section)
        raise WeightsError(
            f"{source}: expected an object under the key {key!r}, found {found}."
        )
    return section


_REQUIRED = object()


def _number(
    section: Mapping[str, Any],
    key: str,
    source: str,
    *,
    default: Any = _REQUIRED,
    kind: type = int,
) -> Any:
    value = section.get(key)
    if value is None:
        if default is _REQUIRED:
            raise WeightsError(
                f"{source}.{key}: expected a number, found nothing. "
                f"The available keys are {', '.join(map(str, section)) or 'none'}."
            )
        return default
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    try:
        is_number = is_number and math.isfinite(value) and kind(value) == value
    except OverflowError:  # an integer larger than any float
        is_number = False
    if not is_number:
        raise WeightsError(
            f"{source}.{key}: expected "
            f"{'a whole number' if kind is int else 'a number'}, found {value!r}."
        )
    return kind(value)
