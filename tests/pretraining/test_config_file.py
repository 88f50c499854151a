"""Config files of `elmo pretrain` are read as by spaCy, with clearer errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from confection import Config
from hypothesis import given
from hypothesis import strategies as st
from spacy.cli._util import parse_config_overrides
from spacy.util import load_config

from spacy_elmo.pretraining.config_file import ConfigError, read_config


def write(folder: Path, text: str) -> Path:
    path = folder / "run.cfg"
    path.write_text(text, encoding="utf8")
    return path


def read(folder: Path, text: str, *overrides: str) -> dict[str, Any]:
    return read_config(write(folder, text), overrides)


def problems(folder: Path, text: str, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, *overrides)
    assert str(caught.value).splitlines() == list(caught.value.args)
    return caught.value.args


VALUES = [
    '[a]\nx = 1\ny = 1.5\nz = "text"\nu = null\nv = true\nw = ["a", 2]\nk = {"a": [1]}',
    "[a]\nx = hello\ny = two words\nz = data/*.txt\nu: 3",
    '[a]\n# why\nx = 1\n; why\ny = "a # b ; c"\n\n[b]\nz = 2',
    "[a]\nx = [1,\n  2,\n  # why\n  3]\ny = 4",
    "[a]\nX = 1\nx = 2",
    '[a]\nx = 1\n[a.b]\n@y = 2\n[a.b.c]\nz = "ä"',
    "[a]\nx = 1e-8\ny = -3",
    # Variables
    '[a]\nx = 3\n[b]\ny = ${a.x}\nz = "n${a.x}"\nv = ["${a.x}", 1]\nw = [1, ${a.x}]',
    '[a]\nx = "t"\n[b]\ny = ${a.x}\nz = "${a.x}/${a.x}/u"\nw = {"k": "${a.x}"}',
    "[a]\nx = t\n[b]\ny = ${a.x}/u",
    "[a]\nx = null\n[b]\ny = ${a.x}",
    "[a]\nx = ${b.x}\n[b]\nx = ${c.x}\n[c]\nx = [1, true]",
    "[a]\nx = 1\n[a.b]\nx = 2\n[c]\ny = ${a.b.x}\nz = ${a.b}\nu = ${a}",
    '[a]\nx = true\ny = "$$5"\nz = "n ${a.x}"',
]


@pytest.mark.parametrize("text", VALUES)
def test_values_are_read_as_by_spacy(tmp_path: Path, text: str) -> None:
    values = read(tmp_path, text)
    expected = load_config(tmp_path / "run.cfg", interpolate=True)
    # As JSON, because 1, 1.0 and True are equal.
    assert json.dumps(values) == json.dumps(expected)


BASE = '[a]\nx = 1\n[b]\ny = ${a.x}\nz = "n${a.x}"\n[b.c]\nx = null'


@pytest.mark.parametrize(
    "overrides",
    [
        ["--a.x", "5"],
        ["--a.x=5"],
        ["--a.x", "two words"],
        ["--a.x", '"5"'],
        ["--a.x", "[1"],
        ["--a.x=a=b"],
        ["--a.x", "-1"],
        ["--b.c.x", '["k", null]'],
        ["--b.c.x", "a", "--b.y=null", "--a.new", "1.5"],
        ["--a.x", "1", "--a.x", "2"],
        ["--b.y", "${b.c.x}", "--b.c.x=[2]"],
    ],
)
def test_overrides_are_applied_as_by_spacy(
    tmp_path: Path, overrides: list[str]
) -> None:
    values = read(tmp_path, BASE, *overrides)
    parsed = parse_config_overrides(list(overrides), env_var=None)
    path = tmp_path / "run.cfg"
    assert values == load_config(path, overrides=parsed, interpolate=True)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text().filter(lambda text: "${" not in text),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
NAMES = st.from_regex(r"[a-z_@][a-zA-Z0-9_]{0,5}", fullmatch=True)
SECTIONS = st.dictionaries(NAMES, st.dictionaries(NAMES, JSON, max_size=4), max_size=4)


@given(SECTIONS)
def test_configs_written_by_confection_round_trip(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("config")
    assert read(folder, Config(values).to_str()) == values


def test_overrides_can_replace_and_add_sections(tmp_path: Path) -> None:
    values = read(tmp_path, BASE, "--b.c", "null", "--d.e.f", "1")
    assert values["b"]["c"] is None
    assert values["d"] == {"e": {"f": 1}}


def test_environment_variables_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPACY_CONFIG_OVERRIDES", "--a.x=7")
    assert read(tmp_path, "[a]\nx = 1\ny = $HOME") == {"a": {"x": 1, "y": "$HOME"}}


def test_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeff[a]\nx = 1") == {"a": {"x": 1}}


def test_unreadable_files(tmp_path: Path) -> None:
    latin1 = tmp_path / "latin1.cfg"
    latin1.write_bytes(b'[a]\nx = "\xe4"')
    for path, part in (
        (tmp_path / "none.cfg", "No such file"),
        (tmp_path, "directory"),
        (latin1, "expected UTF-8"),
    ):
        with pytest.raises(ConfigError) as caught:
            read_config(path)
        assert str(path) in str(caught.value)
        assert part in str(caught.value)


WRONG: list[tuple[str, list[str]]] = [
    # Syntax
    ("x = 1", ["[section]", "line: 1", "x = 1"]),
    ("[a]\nx\n\n[b]\nnothing", ["line 2", "line 5", "key = value"]),
    ("[a]\nx = 1\n[b]\nx = 1\nx = 2", ["line 5", "'x' in section 'b' already exists"]),
    ("[a]\nx = 1\n[a]\ny = 2", ["line 3", "section 'a' already exists"]),
    ("[a]\nb = 1\n[a.b]\nx = 1", ["a -> b", "conflicting values"]),
    ("[DEFAULT]\nx = 1\n[a]\ny = 2", ["without a top-level section", "x"]),
    # Values that confection would read as strings
    ("[a]\nx =", ["a.x = ''", "write null"]),
    ("[a]\nx = 1 # why", ["a.x = '1 # why'", "line of its own"]),
    ('[a]\nx = "b" # why', ["a.x", "line of its own"]),
    ("[a]\nx = word ; why", ["a.x", "line of its own"]),
    ("[a]\nx = 'b'", ["a.x", "'b'", "double quotes"]),
    ('[a]\nx = "b', ["a.x", '"b', "double quotes"]),
    ("[a]\nx = [1, 2", ["a.x", "[1, 2", "close all brackets"]),
    ("[a]\nx = 1\n  y = 2", ["a.x", "indent"]),
    # Variables
    ("[a]\nx = ${a.long_name}\nlong_nam = 1", ["'x' in section 'a'", "a.long_name"]),
    ("[a]\nx = ${x}\ny = 1", ["'x' in section 'a'", "${x}"]),
    ('[a]\nx = "${b.c}"', ["'x' in section 'a'", "b.c"]),
    ("[a]\nx = 1\ny = ${a.x.z}", ["'y' in section 'a'", "a.x.z"]),
    ('[a]\nx = "${a.y"\ny = 1', ["bad interpolation", "${a.y"]),
    ('[a]\nx = null\ny = "${a.x}/b"', ["a.y", "a.x = null", "--a.x VALUE"]),
    ("[a]\nx = 1\n[a.b]\ny = ${a.b}", ["Circular reference"]),
    ("[a]\nx = ${a.x}", ["Recursion", "'x' in section 'a'"]),
    ('[a]\nx = ["${b.y}"]\n[b]\ny = ${a.x}', ["Recursion", "'x' in section 'a'"]),
]


@pytest.mark.parametrize(("text", "parts"), WRONG)
def test_invalid_files(tmp_path: Path, text: str, parts: list[str]) -> None:
    (problem,) = problems(tmp_path, text)
    for part in ("run.cfg: " if "VALUE" not in parts[-1] else "", *parts):
        assert part in problem


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["--a.x"], ["--a.x has no value"]),
        (["--a.x", "--b.y=1"], ["--a.x has no value"]),
        (["--a.x="], ["--a.x has no value"]),
        (["a.x"], ["a.x: not an option", "--section.key"]),
        (["-a.x", "1"], ["-a.x is not an option"]),
        (["--a", "1"], ["--a is not an option"]),
        (["--a..x", "1"], ["--a..x is not an option"]),
        (["--a.x", *"1234567"], ["2 and 5 more: not an option", "glob in quotes"]),
        (["--a.x.y", "1"], ["a -> x", "conflicting values"]),
        (["--a.x", "${c.d}"], ["'x' in section 'a'", "c.d"]),
        (["--paths.x", "1"], ["--paths.x is not used by the config"]),
    ],
)
def test_invalid_overrides(
    tmp_path: Path, overrides: list[str], parts: list[str]
) -> None:
    (problem,) = problems(tmp_path, BASE, *overrides)
    for part in parts:
        assert part in problem


def test_unused_paths_are_refused(tmp_path: Path) -> None:
    text = "[a]\nx = ${paths.x}\n[paths]\ny = 1"
    config = read(tmp_path, text, "--paths.x=1", "--paths.y=2")
    assert config["paths"] == {"x": 1, "y": 2}
    (problem,) = problems(tmp_path, text, "--paths.x=1", "--paths.yy=2")
    assert "--paths.yy is not used by the config; did you mean y?" in problem


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    text = "[a]\nx =\ny = 'b'\nz = 1 # why"
    assert len(problems(tmp_path, text, "--a.x", "--c", "--d=2")) == 6
