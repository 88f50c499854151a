"""The sizes and switches of a biLM, and the options.json that carries them."""

import json
import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple, Union

ORIGINAL_FILTERS = (
    (1, 32),
    (2, 32),
    (3, 64),
    (4, 128),
    (5, 256),
    (6, 512),
    (7, 1024),
)
ACTIVATIONS = ("relu", "tanh")
CHARACTER_SCHEMES = ("bytes", "vocabulary")
LARGEST = 2**31 - 1
"""The most that a size may be, the highest whole number of 32 bits."""
BYTE_IDS = 262
"""Rows of the byte scheme's table: a masked position, 256 bytes, 5 markers."""


@dataclass(frozen=True)
class BiLMConfig:
    """Sizes of a biLM; the defaults are the published "original" model
    (Peters et al. 2018, section 3.4).

    char_dim: width of a character embedding.
    filters: (width in characters, number of filters) of each convolution.
    n_highway: highway layers after the convolutions.
    max_characters_per_token: positions a word, its two markers included.
    activation: of the convolutions, "relu" or "tanh".
    dim: width of an LSTM's memory cell.
    projection_dim: width of a word vector and of an LSTM's output, each direction.
    n_layers: LSTM layers in each direction.
    cell_clip, proj_clip: bounds of the cell and of the output; None means no clip.
    use_skip_connections: add a layer's input to its output from layer 2 on.
    forget_bias: what is added to the forget gate at run time (1 in the published
        weights; 0 where the bias already holds it).
    characters: "bytes" (UTF-8, the published scheme) or "vocabulary" (Unicode
        characters with a vocabulary, as ELMoForManyLangs has it).
    n_characters: rows of the character embedding; 262 in the byte scheme.
    word_dim, n_words: a word embedding beside the characters, if any (0: none).

    Raises ValueError where a size or a combination of sizes cannot work.
    """

    char_dim: int = 16
    filters: Tuple[Tuple[int, int], ...] = ORIGINAL_FILTERS
    n_highway: int = 2
    max_characters_per_token: int = 50
    activation: str = "relu"
    dim: int = 4096
    projection_dim: int = 512
    n_layers: int = 2
    cell_clip: Optional[float] = 3.0
    proj_clip: Optional[float] = 3.0
    use_skip_connections: bool = True
    forget_bias: float = 1.0
    characters: str = "bytes"
    n_characters: int = BYTE_IDS
    word_dim: int = 0
    n_words: int = 0

    def __post_init__(self) -> None:
        filters = read_filters(self.filters, "filters")
        object.__setattr__(self, "filters", filters)
        for name in ("cell_clip", "proj_clip"):
            object.__setattr__(self, name, getattr(self, name) or None)
        self._check()

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> "BiLMConfig":
        """One of the published sizes: "small", "medium" or "original"."""
        if name not in PRESETS:
            raise ValueError(
                f"Unknown preset {name!r}: expected one of {', '.join(PRESETS)}."
            )
        return cls(**{**PRESETS[name], **overrides})

    @property
    def n_filters(self) -> int:
        return sum(number for _, number in self.filters)

    @property
    def width(self) -> int:
        """Width of each layer of a word: both directions."""
        return 2 * self.projection_dim

    @property
    def has_token_projection(self) -> bool:
        """Whether a matrix leads from the filters to the word vector."""
        return self.word_dim > 0 or self.n_filters != self.projection_dim

    @property
    def has_lstm_projection(self) -> bool:
        """Whether a matrix leads from an LSTM's cell to its output."""
        return self.projection_dim < self.dim

    def replace(self, **changes: Any) -> "BiLMConfig":
        return replace(self, **changes)

    def to_options(self) -> Dict[str, Any]:
        """This config as the contents of a published options.json, with our own keys
        (`characters`, `word_dim`, `n_words`, `forget_bias`) only where they are not
        the published model's."""
        lstm = {
            "dim": self.dim,
            "projection_dim": self.projection_dim,
            "n_layers": self.n_layers,
            "cell_clip": self.cell_clip,
            "proj_clip": self.proj_clip,
            "use_skip_connections": self.use_skip_connections,
        }
        char_cnn = {
            "embedding": {"dim": self.char_dim},
            "filters": [list(pair) for pair in self.filters],
            "n_highway": self.n_highway,
            "n_characters": self.n_characters,
            "max_characters_per_token": self.max_characters_per_token,
            "activation": self.activation,
        }
        if self.forget_bias != 1.0:
            lstm["forget_bias"] = self.forget_bias
        if self.characters != "bytes":
            char_cnn["characters"] = self.characters
        if self.word_dim:
            char_cnn["word_dim"] = self.word_dim
            char_cnn["n_words"] = self.n_words
        return {"lstm": lstm, "char_cnn": char_cnn}

    @classmethod
    def from_options(
        cls, options: Mapping[str, Any], *, source: str = "options"
    ) -> "BiLMConfig":
        """Read the contents of an options.json, published or ours.

        options: the parsed file; keys that only training uses are passed over.
        source: what to call it in errors.

        Raises ValueError that names the key, what was expected and what was found.
        """
        lstm = _section(options, "lstm", source)
        char_cnn = _section(options, "char_cnn", source)
        embedding = _section(char_cnn, "embedding", f"{source}: char_cnn")
        where = f"{source}: char_cnn"
        values: Dict[str, Any] = {
            "char_dim": _number(embedding, "dim", f"{where}.embedding"),
            "filters": read_filters(char_cnn.get("filters"), f"{where}.filters"),
            "n_highway": _number(char_cnn, "n_highway", where, default=0),
            "max_characters_per_token": _number(
                char_cnn, "max_characters_per_token", where
            ),
            "activation": char_cnn.get("activation"),
            "characters": char_cnn.get("characters", "bytes"),
            "n_characters": _number(char_cnn, "n_characters", where, default=BYTE_IDS),
            "word_dim": _number(char_cnn, "word_dim", where, default=0),
            "n_words": _number(char_cnn, "n_words", where, default=0),
        }
        if values["characters"] == "bytes":
            # 261 is the trainer's count, 262 counts the masked position as well.
            if values["n_characters"] not in (BYTE_IDS - 1, BYTE_IDS):
                raise ValueError(
                    f"{where}.n_characters: expected {BYTE_IDS - 1} (training) or "
                    f"{BYTE_IDS} (inference), found {values['n_characters']}. The "
                    "character ids are UTF-8 bytes: another number means that the "
                    "file is not an ELMo model's or is damaged."
                )
            values["n_characters"] = BYTE_IDS
        where = f"{source}: lstm"
        for name in ("dim", "projection_dim", "n_layers"):
            values[name] = _number(lstm, name, where)
        for name in ("cell_clip", "proj_clip"):
            values[name] = _number(lstm, name, where, default=None, kind=float)
        skip = lstm.get("use_skip_connections", False)
        if skip not in (True, False):
            raise ValueError(
                f"{where}.use_skip_connections: expected true or false, found {skip!r}."
            )
        values["use_skip_connections"] = bool(skip)
        values["forget_bias"] = _number(
            lstm, "forget_bias", where, default=1.0, kind=float
        )
        try:
            return cls(**values)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error

    @classmethod
    def from_file(cls, path: Union[str, Path]) -> "BiLMConfig":
        """Read an options.json."""
        return cls.from_options(read_options(path), source=str(path))

    def _check(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is int or field.type == "int":
                least = 0 if field.name in ("n_highway", "word_dim", "n_words") else 1
                if not isinstance(value, int) or value < least:
                    raise ValueError(
                        f"{field.name}: expected a whole number of at least {least}, "
                        f"found {value!r}."
                    )
                if value > LARGEST:
                    raise ValueError(
                        f"{field.name}: expected a whole number of at most {LARGEST}, "
                        f"found {value}."
                    )
        sizes = [size for pair in self.filters for size in pair]
        if not sizes or min(sizes) < 1 or max(sizes) > LARGEST:
            raise ValueError(
                "filters: expected at least one pair [width, number], both from 1 to "
                f"{LARGEST}, found {[list(pair) for pair in self.filters]}."
            )
        for name, allowed in (
            ("activation", ACTIVATIONS),
            ("characters", CHARACTER_SCHEMES),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name}: expected one of {', '.join(allowed)}, "
                    f"found {getattr(self, name)!r}."
                )
        least = max(3, max(width for width, _ in self.filters))
        if self.max_characters_per_token < least:
            raise ValueError(
                "max_characters_per_token: expected at least "
                f"{least} (room for a word's two markers and a character, and for the "
                f"widest filter), found {self.max_characters_per_token}."
            )
        for name in ("cell_clip", "proj_clip"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(
                    f"{name}: expected a positive number, or null or 0 for no clip, "
                    f"found {value!r}."
                )
        if self.projection_dim > self.dim:
            raise ValueError(
                "projection_dim: expected at most dim "
                f"({self.dim}), found {self.projection_dim}: the LSTM would put out "
                f"{self.dim} values where a word vector has {self.projection_dim}, and "
                "the layers could not be mixed."
            )
        if self.characters == "bytes" and self.n_characters != BYTE_IDS:
            raise ValueError(
                f"n_characters: expected {BYTE_IDS} in the byte scheme, found "
                f"{self.n_characters}."
            )
        if bool(self.word_dim) != bool(self.n_words):
            raise ValueError(
                "word_dim and n_words: expected both or neither, found "
                f"{self.word_dim} and {self.n_words}."
            )


PRESETS: Dict[str, Dict[str, Any]] = {
    "small": {"dim": 1024, "projection_dim": 128, "n_highway": 1},
    "medium": {"dim": 2048, "projection_dim": 256, "n_highway": 1},
    "original": {"dim": 4096, "projection_dim": 512, "n_highway": 2},
}


def read_options(path: Union[str, Path]) -> Dict[str, Any]:
    """Parse an options.json. Raises ValueError where it is not a JSON object."""
    try:
        options = json.loads(Path(path).read_text(encoding="utf8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path}: expected a JSON object with the keys lstm and char_cnn, found "
            f"something that is not JSON ({error})."
        ) from error
    if not isinstance(options, dict):
        raise ValueError(
            f"{path}: expected a JSON object with the keys lstm and char_cnn, found "
            f"{type(options).__name__}."
        )
    return options


def _section(options: Mapping[str, Any], key: str, source: str) -> Mapping[str, Any]:
    section = options.get(key)
    if not isinstance(section, Mapping):
        found = ", ".join(map(str, options)) if section is None else repr(section)
        raise ValueError(
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
    if section.get(key) is None:
        if default is _REQUIRED:
            raise ValueError(
                f"{source}.{key}: expected a number, found nothing. "
                f"The keys there are {', '.join(map(str, section)) or 'none'}."
            )
        return default
    value = section[key]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    try:
        is_number = is_number and math.isfinite(value) and kind(value) == value
    except OverflowError:  # a whole number larger than any float
        is_number = False
    if not is_number:
        raise ValueError(
            f"{source}.{key}: expected "
            f"{'a whole number' if kind is int else 'a number'}, found {value!r}."
        )
    return kind(value)


def read_filters(value: Any, where: str) -> Tuple[Tuple[int, int], ...]:
    """Pairs of whole numbers, as a JSON file has them.

    where: what to call them in errors.

    Raises ValueError for anything else.
    """
    try:
        pairs = tuple((width, number) for width, number in value)
    except (TypeError, ValueError):
        pairs = ()
    if not pairs or not all(type(size) is int for pair in pairs for size in pair):
        raise ValueError(
            f"{where}: expected a list of pairs [width, number] of whole numbers, "
            f"found {list(value) if isinstance(value, tuple) else value!r}."
        )
    return pairs
