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
        object.__setattr__(self, "filters", _read_filters(self.filters))
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
