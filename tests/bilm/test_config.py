"""BiLMConfig: sizes, clips and presets of a biLM."""

from __future__ import annotations

from typing import Any

import pytest

from spacy_elmo import BiLMConfig


@pytest.mark.parametrize("key", ["cell_clip", "proj_clip"])
@pytest.mark.parametrize("value", [None, 0, 0.0])
def test_null_and_zero_mean_no_clip(key: str, value: Any) -> None:
    assert getattr(BiLMConfig(**{key: value}), key) is None


def test_derived_sizes() -> None:
    config = BiLMConfig(filters=((1, 3), (2, 5)), dim=9, projection_dim=8)
    assert (config.n_filters, config.width) == (8, 16)
    assert config.has_lstm_projection
    assert not config.has_token_projection
    assert config.replace(word_dim=1, n_words=2).has_token_projection
    assert config.replace(projection_dim=7).has_token_projection
    assert not config.replace(dim=8).has_lstm_projection


def test_presets_are_the_published_sizes() -> None:
    assert BiLMConfig.preset("original") == BiLMConfig()
    small = BiLMConfig.preset("small", n_layers=1)
    assert (small.dim, small.projection_dim, small.n_layers) == (1024, 128, 1)
    with pytest.raises(ValueError, match=r"small, medium, original, found 'huge'"):
        BiLMConfig.preset("huge")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"n_layers": 0}, "n_layers.* at least 1, found 0"),
        ({"dim": 4.0}, "dim.*whole number.*found 4.0"),
        ({"n_highway": -1}, "n_highway.*at least 0, found -1"),
        ({"filters": ()}, r"filters.*found \[\]"),
        ({"filters": ((0, 4),)}, r"filters.*found \[\[0, 4\]\]"),
        ({"filters": ((2, 0),)}, r"filters.*found \[\[2, 0\]\]"),
        ({"activation": "gelu"}, "activation.*relu, tanh.*'gelu'"),
        ({"characters": "utf16"}, "characters.*bytes, vocabulary.*'utf16'"),
        ({"max_characters_per_token": 6}, "max_characters.*at least 7.*found 6"),
        ({"cell_clip": -1.0}, "cell_clip.*positive.*found -1.0"),
        ({"proj_clip": float("nan")}, "proj_clip.*positive.*found nan"),
        ({"dim": 256}, r"projection_dim.*at most dim \(256\), found 512"),
        ({"word_dim": 3}, "word_dim and n_words.*found 3 and 0"),
        ({"dim": 2**31}, "dim: .*at most 2147483647, found 2147483648"),
        ({"n_highway": 10**20}, f"n_highway: .*at most 2147483647, found {10**20}"),
        ({"filters": ((2, 2**31),)}, r"filters.*2147483647, found \[\[2, 2147483648"),
        ({"filters": ((2**63, 1),)}, r"filters.*2147483647, found \[\[92233720"),
    ],
)
def test_invalid_sizes_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        BiLMConfig(**values)


@pytest.mark.parametrize("n_characters", [261, 300])
def test_byte_scheme_requires_262_characters(n_characters: int) -> None:
    """With fewer rows, encoding would fail; more rows cannot be stored."""
    with pytest.raises(ValueError, match=f"n_characters.*262.*{n_characters}"):
        BiLMConfig(n_characters=n_characters)
