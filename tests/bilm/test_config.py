"""BiLMConfig and the options.json that carries it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_elmo import BiLMConfig
from spacy_elmo.bilm.config import read_options

OPTIONS: dict[str, Any] = {
    "lstm": {
        "dim": 64,
        "projection_dim": 16,
        "n_layers": 2,
        "cell_clip": 3,
        "proj_clip": 3,
        "use_skip_connections": True,
    },
    "char_cnn": {
        "embedding": {"dim": 4},
        "filters": [[1, 4], [2, 8]],
        "n_highway": 1,
        "n_characters": 261,
        "max_characters_per_token": 50,
        "activation": "relu",
    },
}

sizes = st.integers(1, 5000)
clips = st.none() | st.floats(1e-3, 100)


@st.composite
def configs(draw: st.DrawFn) -> BiLMConfig:
    filters = draw(
        st.lists(st.tuples(st.integers(1, 9), sizes), min_size=1, max_size=7)
    )
    widest = max(width for width, _ in filters)
    projection_dim = draw(sizes)
    scheme: dict[str, Any] = {}
    if draw(st.booleans()):
        scheme = {"characters": "vocabulary", "n_characters": draw(sizes)}
        if draw(st.booleans()):
            scheme.update(word_dim=draw(sizes), n_words=draw(sizes))
    return BiLMConfig(
        char_dim=draw(sizes),
        filters=tuple(filters),
        n_highway=draw(st.integers(0, 3)),
        max_characters_per_token=draw(st.integers(max(3, widest), 200)),
        activation=draw(st.sampled_from(["relu", "tanh"])),
        dim=draw(st.integers(projection_dim, 6000)),
        projection_dim=projection_dim,
        n_layers=draw(st.integers(1, 4)),
        cell_clip=draw(clips),
        proj_clip=draw(clips),
        use_skip_connections=draw(st.booleans()),
        forget_bias=draw(st.floats(-2, 2)),
        **scheme,
    )


def changed(section: str, key: str, value: Any) -> dict[str, Any]:
    options = copy.deepcopy(OPTIONS)
    options[section][key] = value
    return options


@settings(deadline=None)
@given(configs())
def test_options_carry_every_config(config: BiLMConfig) -> None:
    options = json.loads(json.dumps(config.to_options(), allow_nan=False))
    assert BiLMConfig.from_options(options) == config


def test_published_options_are_read_key_by_key() -> None:
    assert BiLMConfig.from_options(OPTIONS) == BiLMConfig(
        char_dim=4,
        filters=((1, 4), (2, 8)),
        n_highway=1,
        max_characters_per_token=50,
        activation="relu",
        dim=64,
        projection_dim=16,
        n_layers=2,
        cell_clip=3.0,
        proj_clip=3.0,
        use_skip_connections=True,
    )


def test_a_published_model_is_written_without_keys_of_ours() -> None:
    options = BiLMConfig.from_options(OPTIONS).to_options()
    assert options == changed("char_cnn", "n_characters", 262)


def test_the_trainers_own_keys_are_passed_over() -> None:
    options = {**OPTIONS, "n_epochs": 10, "dropout": 0.1, "bidirectional": True}
    assert BiLMConfig.from_options(options) == BiLMConfig.from_options(OPTIONS)


@pytest.mark.parametrize("n_characters", [261, 262])
def test_both_counts_of_characters_mean_262_rows(n_characters: int) -> None:
    options = changed("char_cnn", "n_characters", n_characters)
    assert BiLMConfig.from_options(options).n_characters == 262


@pytest.mark.parametrize("key", ["cell_clip", "proj_clip"])
@pytest.mark.parametrize("value", [None, 0, 0.0])
def test_null_and_zero_mean_no_clip(key: str, value: Any) -> None:
    assert getattr(BiLMConfig.from_options(changed("lstm", key, value)), key) is None
    assert getattr(BiLMConfig(**{key: value}), key) is None


def test_sizes_that_follow_from_others() -> None:
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
    with pytest.raises(ValueError, match=r"'huge'.*small, medium, original"):
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
def test_sizes_that_cannot_work_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        BiLMConfig(**values)


@pytest.mark.parametrize("n_characters", [261, 300])
def test_the_byte_scheme_has_262_characters(n_characters: int) -> None:
    """Fewer rows than ids fail only when a word is encoded; more cannot be stored."""
    with pytest.raises(ValueError, match=f"n_characters.*262.*{n_characters}"):
        BiLMConfig(n_characters=n_characters)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "here.json: expected an object under the key 'lstm'"),
        ({"lstm": 3}, "'lstm', found 3"),
        ({"lstm": OPTIONS["lstm"]}, "'char_cnn', found lstm"),
        (changed("char_cnn", "embedding", None), "here.json: char_cnn.*'embedding'"),
        (changed("lstm", "dim", None), r"here.json: lstm\.dim.*found nothing"),
        (changed("lstm", "dim", "64"), r"lstm\.dim.*whole number.*'64'"),
        (changed("lstm", "n_layers", 1.5), r"lstm\.n_layers.*whole number.*1\.5"),
        (changed("lstm", "n_layers", True), r"lstm\.n_layers.*whole number.*True"),
        (changed("lstm", "cell_clip", "3"), r"lstm\.cell_clip.*a number.*'3'"),
        (changed("lstm", "cell_clip", -3), "here.json: cell_clip.*found -3"),
        (changed("lstm", "projection_dim", 65), r"here.json: projection_dim.*\(64\)"),
        (changed("char_cnn", "n_characters", 260), "n_characters.*261.*262.*found 260"),
        (changed("char_cnn", "filters", None), "filters.*found"),
        (changed("char_cnn", "filters", [3]), r"filters.*pairs.*found \[3\]"),
        (changed("char_cnn", "filters", [[1, "a"]]), r"filters.*pairs.*\[\[1, 'a'\]\]"),
        (changed("char_cnn", "activation", "gelu"), "here.json: activation.*'gelu'"),
    ],
)
def test_errors_name_file_key_expected_and_found(
    options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        BiLMConfig.from_options(options, source="here.json")


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("key", ["dim", "cell_clip"])
def test_numbers_must_be_finite(key: str, value: float) -> None:
    """Python's JSON reader takes `Infinity` and `NaN` for numbers."""
    with pytest.raises(ValueError, match=rf"here\.json: lstm\.{key}"):
        BiLMConfig.from_options(changed("lstm", key, value), source="here.json")


@pytest.mark.parametrize("value", [2**31, 2**63, 10**20, 1e20, 10**400])
@pytest.mark.parametrize("key", ["dim", "n_layers"])
def test_a_number_that_no_size_can_be(key: str, value: float) -> None:
    options = changed("lstm", key, value)
    found = 10**20 if value == 1e20 else value
    with pytest.raises(ValueError, match=rf"here\.json: .*{key}: .*found {found}"):
        BiLMConfig.from_options(options, source="here.json")


def test_a_number_larger_than_any_float() -> None:
    options = changed("lstm", "cell_clip", 10**400)
    with pytest.raises(ValueError, match=r"here\.json: lstm\.cell_clip: expected"):
        BiLMConfig.from_options(options, source="here.json")


def test_fractions_of_filters_are_refused() -> None:
    with pytest.raises(ValueError, match=r"filters.*1\.5"):
        BiLMConfig.from_options(changed("char_cnn", "filters", [[1.5, 4]]))


def test_a_switch_must_be_true_or_false() -> None:
    with pytest.raises(ValueError, match=r"use_skip_connections.*'false'"):
        BiLMConfig.from_options(changed("lstm", "use_skip_connections", "false"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1]", "found list"),
    ],
)
def test_a_file_that_is_no_json_object_is_refused(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "options.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"options.json: expected.*{says}"):
        read_options(path)


def test_a_config_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "options.json"
    path.write_text(json.dumps(OPTIONS), encoding="utf8")
    assert BiLMConfig.from_file(path) == BiLMConfig.from_options(OPTIONS)
