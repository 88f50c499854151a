"""options.json: reading, checking and writing a biLM's sizes."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_elmo import BiLMConfig
from spacy_elmo.formats import WeightsError, options

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
    values = copy.deepcopy(OPTIONS)
    values[section][key] = value
    return values


@settings(deadline=None)
@given(configs())
def test_every_config_round_trips(config: BiLMConfig) -> None:
    stored = json.loads(json.dumps(options.to_dict(config), allow_nan=False))
    assert options.from_dict(stored) == config


def test_published_keys() -> None:
    assert options.from_dict(OPTIONS) == BiLMConfig(
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


def test_published_sizes_are_written_with_published_keys_only() -> None:
    written = options.to_dict(options.from_dict(OPTIONS))
    assert written == changed("char_cnn", "n_characters", 262)


def test_training_keys_are_ignored() -> None:
    values = {**OPTIONS, "n_epochs": 10, "dropout": 0.1, "bidirectional": True}
    assert options.from_dict(values) == options.from_dict(OPTIONS)


@pytest.mark.parametrize("n_characters", [261, 262])
def test_both_character_counts_mean_262_rows(n_characters: int) -> None:
    values = changed("char_cnn", "n_characters", n_characters)
    assert options.from_dict(values).n_characters == 262


@pytest.mark.parametrize("key", ["cell_clip", "proj_clip"])
@pytest.mark.parametrize("value", [None, 0, 0.0])
def test_null_and_zero_mean_no_clip(key: str, value: Any) -> None:
    assert getattr(options.from_dict(changed("lstm", key, value)), key) is None


@pytest.mark.parametrize(
    ("values", "message"),
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
        (changed("lstm", "cell_clip", 10**400), r"here\.json: lstm\.cell_clip: expe"),
        (changed("lstm", "projection_dim", 65), r"here.json: projection_dim.*\(64\)"),
        (changed("lstm", "use_skip_connections", "no"), "use_skip_connections.*'no'"),
        (changed("char_cnn", "n_characters", 260), "n_characters.*261.*262.*found 260"),
        (changed("char_cnn", "filters", None), "here.json: filters.*found None"),
        (changed("char_cnn", "filters", [3]), r"filters.*pairs.*found \[3\]"),
        (changed("char_cnn", "filters", [[1, "a"]]), r"filters.*pairs.*\[\[1, 'a'\]\]"),
        (changed("char_cnn", "filters", [[1.5, 4]]), r"filters.*1\.5"),
        (changed("char_cnn", "activation", "gelu"), "here.json: activation.*'gelu'"),
    ],
)
def test_errors_name_file_key_expected_and_found(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(WeightsError, match=message):
        options.from_dict(values, source="here.json")


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("key", ["dim", "cell_clip"])
def test_numbers_must_be_finite(key: str, value: float) -> None:
    """Python's JSON reader accepts `Infinity` and `NaN`."""
    with pytest.raises(WeightsError, match=rf"here\.json: lstm\.{key}"):
        options.from_dict(changed("lstm", key, value), source="here.json")


@pytest.mark.parametrize("value", [2**31, 2**63, 10**20, 1e20, 10**400])
@pytest.mark.parametrize("key", ["dim", "n_layers"])
def test_sizes_must_fit_32_bits(key: str, value: float) -> None:
    found = 10**20 if value == 1e20 else value
    with pytest.raises(WeightsError, match=rf"here\.json: .*{key}: .*found {found}"):
        options.from_dict(changed("lstm", key, value), source="here.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1]", "found list"),
    ],
)
def test_file_must_hold_a_json_object(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "options.json"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"options.json: expected.*{message}"):
        options.read(path)


def test_file_round_trips(tmp_path: Path) -> None:
    config = options.from_dict(OPTIONS)
    options.write(config, tmp_path / "options.json")
    assert options.read(tmp_path / "options.json") == config


def test_models_of_forks() -> None:
    """Some forks of bilm-tf use their own character vocabulary, or read words."""
    with pytest.raises(WeightsError, match=r"found 62.*character vocabulary"):
        options.from_dict(changed("char_cnn", "n_characters", 62))
    with pytest.raises(WeightsError, match=r"'char_cnn', found lstm.*reads words"):
        options.from_dict({"lstm": OPTIONS["lstm"]})
