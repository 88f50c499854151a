"""Sizes, clips and presets of a biLM."""

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Dict, Optional, Tuple

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
MAX_SIZE = 2**31 - 1
"""Largest size: sizes are stored as 32-bit integers."""
MAX_CHARACTERS = 10_000
"""Most characters per token: each takes memory in every word."""
BYTE_IDS = 262
"""Rows of the character embedding in the byte scheme: a masked position, 256 bytes and
5 markers."""


@dataclass(frozen=True)
class BiLMConfig:
    """Sizes of a biLM. The defaults are the published "original" model (Peters et al.
    2018, section 3.4).

    char_dim (int): Width of a character embedding.
    filters (Tuple[Tuple[int, int], ...]): (width in characters, number of filters) of
        each convolution.
    n_highway (int): Number of highway layers after the convolutions.
    max_characters_per_token (int): Characters per word, including two markers.
    activation (str): Activation after the convolutions, "relu" or "tanh".
    dim (int): Width of an LSTM's memory cell.
    projection_dim (int): Width of a word vector and of an LSTM's output, per direction.
    n_layers (int): Number of LSTM layers in each direction.
    cell_clip (Optional[float]): Bound of the memory cell. None or 0 for no bound.
    proj_clip (Optional[float]): Bound of the projected output. None or 0 for no bound.
    use_skip_connections (bool): Whether to add a layer's input to its output, from the
        second layer on.
    forget_bias (float): Constant added to the forget gate: 1 in the published weights,
        0 if the stored bias includes it.
    characters (str): "bytes" (UTF-8, the published scheme) or "vocabulary" (Unicode
        characters with a vocabulary, as in ELMoForManyLangs).
    n_characters (int): Rows of the character embedding; 262 in the byte scheme.
    word_dim (int): Width of the word embedding next to the characters; 0 for none.
    n_words (int): Rows of the word embedding; 0 for none.
    RAISES: ValueError if a size or a combination of sizes cannot work.
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
        object.__setattr__(self, "filters", _read_filters(self.filters))
        for name in ("cell_clip", "proj_clip"):
            object.__setattr__(self, name, getattr(self, name) or None)
        self._check()

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> "BiLMConfig":
        """Return one of the published sizes: "small", "medium" or "original"."""
        if name not in PRESETS:
            raise ValueError(
                f"preset: expected one of {', '.join(PRESETS)}, found {name!r}."
            )
        return cls(**{**PRESETS[name], **overrides})

    @property
    def n_filters(self) -> int:
        return sum(number for _, number in self.filters)

    @property
    def width(self) -> int:
        """Width of a layer of the biLM: two halves, one per direction."""
        return 2 * self.projection_dim

    @property
    def has_token_projection(self) -> bool:
        """Whether the character features are projected to the word vector."""
        return self.word_dim > 0 or self.n_filters != self.projection_dim

    @property
    def has_lstm_projection(self) -> bool:
        """Whether the LSTMs project their output to `projection_dim`."""
        return self.projection_dim < self.dim

    def replace(self, **changes: Any) -> "BiLMConfig":
        return replace(self, **changes)

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
                if value > MAX_SIZE:
                    raise ValueError(
                        f"{field.name}: expected a whole number of at most {MAX_SIZE}, "
                        f"found {value}."
                    )
        sizes = [size for pair in self.filters for size in pair]
        if not sizes or min(sizes) < 1 or max(sizes) > MAX_SIZE:
            raise ValueError(
                "filters: expected at least one pair [width, number], both from 1 to "
                f"{MAX_SIZE}, found {[list(pair) for pair in self.filters]}."
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
                f"{least} (two markers and one character, and the width of the widest "
                f"filter), found {self.max_characters_per_token}."
            )
        if self.max_characters_per_token > MAX_CHARACTERS:
            raise ValueError(
                f"max_characters_per_token: expected at most {MAX_CHARACTERS}, found "
                f"{self.max_characters_per_token}."
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
                f"projection_dim: expected at most dim ({self.dim}), found "
                f"{self.projection_dim}: the LSTM's output would be narrower "
                f"({self.dim}) than a word vector, and the layers could not be mixed."
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


def _read_filters(value: Any) -> Tuple[Tuple[int, int], ...]:
    """Convert a list of pairs, as a JSON file has them, to tuples.

    RAISES: ValueError if `value` is anything but pairs of integers.
    """
    try:
        pairs = tuple((width, number) for width, number in value)
    except (TypeError, ValueError):
        pairs = ()
    if not pairs or not all(type(size) is int for pair in pairs for size in pair):
        raise ValueError(
            "filters: expected a list of pairs [width, number] of whole numbers, "
            f"found {list(value) if isinstance(value, tuple) else value!r}."
        )
    return pairs
