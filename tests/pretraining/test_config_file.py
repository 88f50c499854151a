"""The config of `elmo pretrain`: read as spaCy reads it, and refused with reasons."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from confection import Config
from helpers.corpora import corpus_refused
from hypothesis import given
from hypothesis import strategies as st
from spacy.cli._util import parse_config_overrides
from spacy.util import load_config

from spacy_elmo.pretraining.config_file import ConfigError, read_config

ROOT = Path(__file__).parent.parent.parent


def read(folder: Path, text: str, *overrides: str) -> dict[str, Any]:
    return read_config(write(folder, text), overrides).values


def write(folder: Path, text: str) -> Path:
    path = folder / "run.cfg"
    path.write_text(text, encoding="utf8")
    return path


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, *overrides)
    return caught.value.problems


AS_SPACY = [
    '[a]\nx = 1\ny = 1.5\nz = "text"\nu = null\nv = true\nw = ["a", 2]\nk = {"a": [1]}',
    "[a]\nx = True\ny = False\nz = None",
    "[a]\nx = hello\ny = two words\nz = data/*.txt\nu: 3",
    '[a]\n# why\nx = 1\n; why\ny = "a # b ; c"\n\n[b]\nz = 2',
    "[a]\nx = [1,\n  2,\n  # why\n  3]\ny = 4",
    "[a]\nX = 1\nx = 2",
    '[a]\nx = 1\n[a.b]\n@y = 2\n[a.b.c]\nz = "ä"',
    "[a]\nx = 1e-8\ny = -3",
    # References.
    '[a]\nx = 3\n[b]\ny = ${a.x}\nz = "n${a.x}"\nu = "${a.x}"\nv = ["${a.x}", 1]',
    '[a]\nx = "t"\n[b]\ny = ${a.x}\nz = "${a.x}/${a.x}/u"\nw = {"k": "${a.x}"}',
    "[a]\nx = t\n[b]\ny = ${a.x}/u",
    "[a]\nx = null\n[b]\ny = ${a.x}",
    "[a]\nx = ${b.x}\n[b]\nx = ${c.x}\n[c]\nx = [1, true]",
    "[a]\nx = 1\n[a.b]\nx = 2\n[c]\ny = ${a.b.x}\nz = ${a.b}\nu = ${a}",
    '[a]\nx = true\ny = "$$5"\nz = "n ${a.x}"',
]


@pytest.mark.parametrize("text", AS_SPACY)
def test_as_spacy_reads_it(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    expected = load_config(path, interpolate=True)
    # 1, 1.0 and True are equal: compare what they are too.
    assert json.dumps(read_config(path).values) == json.dumps(expected)


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
def test_what_spacy_writes_comes_back(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("config")
    assert read(folder, Config(values).to_str()) == values


BASE = '[a]\nx = 1\n[b]\ny = ${a.x}\nz = "n${a.x}"\n[b.c]\nx = null'


@pytest.mark.parametrize(
    "overrides",
    [
        ["--a.x", "5"],
        ["--a.x=5"],
        ["--a.x", "word"],
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
def test_overrides_as_spacy_takes_them(tmp_path: Path, overrides: list[str]) -> None:
    path = write(tmp_path, BASE)
    as_spacy = parse_config_overrides(list(overrides), env_var=None)
    expected = load_config(path, overrides=as_spacy, interpolate=True)
    assert read_config(path, overrides).values == expected


def test_an_override_of_the_whole_and_of_a_new_section(tmp_path: Path) -> None:
    values = read(tmp_path, BASE, "--b.c", "null", "--d.e.f", "1")
    assert values["b"]["c"] is None
    assert values["d"] == {"e": {"f": 1}}


def test_the_environment_has_no_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPACY_CONFIG_OVERRIDES", "--a.x=7")
    assert read(tmp_path, "[a]\nx = 1\ny = $HOME") == {"a": {"x": 1, "y": "$HOME"}}


def test_a_remark_behind_a_value_is_refused_since_spacy_takes_it_for_text() -> None:
    text = "[a]\nx = 1 # why"
    assert Config().from_str(text)["a"]["x"] == "1 # why"


def test_default_is_a_section_as_any(tmp_path: Path) -> None:
    assert read(tmp_path, "[DEFAULT]\nx = 1\n[a]\ny = 2") == {
        "DEFAULT": {"x": 1},
        "a": {"y": 2},
    }


def test_a_byte_order_mark(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeff[a]\nx = 1") == {"a": {"x": 1}}


def test_a_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.cfg", tmp_path):
        with corpus_refused(path, "config file", kind=ConfigError):
            read_config(path)


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "run.cfg"
    path.write_bytes(b'[a]\nx = "\xe4"')
    with corpus_refused(path, "UTF-8", kind=ConfigError):
        read_config(path)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("x = 1", ["line 1", "[section]", "x = 1"]),
        ("[a]\nx\n\n[b]\nnothing", ["line 2", "line 5", "key = value"]),
        ("[a]\nx = 1\n[b]\nx = 1\nx = 2", ["line 5", "[b] x", "once"]),
        ("[a]\nx = 1\n[a]\ny = 2", ["line 3", "[a]", "once"]),
        ("[a]\nx =", ["[a] x", "nothing", "null"]),
        ("[a]\nx = 1 # why", ["[a] x", "1 # why", "line of its own"]),
        ('[a]\nx = "b" # why', ["[a] x", "line of its own"]),
        ("[a]\nx = word ; why", ["[a] x", "line of its own"]),
        ("[a]\nx = 'b'", ["[a] x", "'b'", "double quotes"]),
        ('[a]\nx = "b', ["[a] x", '"b', "double quotes"]),
        ("[a]\nx = [1, 2", ["[a] x", "[1, 2", "close"]),
        ("[a]\nx = [1, ${a.y}]\ny = 2", ["[a] x", "${a.y}"]),
        ("[a]\nx = 1\n  y = 2", ["[a] x", "indented"]),
        ("[a]\nb = 1\n[a.b]\nx = 1", ["[a] b", "both", "[a.b]"]),
    ],
)
def test_syntax(tmp_path: Path, text: str, parts: list[str]) -> None:
    with corpus_refused(tmp_path / "run.cfg", *parts, kind=ConfigError):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[a]\nx = ${a.long_name}\nlong_nam = 1", ["[a] x = ${a.long_name}", "a.long"]),
        ("[a]\nx = ${x}\ny = 1", ["[a] x", "${section.key}", "${x}"]),
        ("[a]\nx = ${a}", ["[a] x", "${a}"]),
        ('[a]\nx = "${b.c}"', ["[a] x", "${b.c}"]),
        ("[a]\nx = 1\ny = ${a.x.z}", ["[a] y", "${a.x.z}"]),
        ('[a]\nx = "${a.y"\ny = 1', ["[a] x", "${ without its end"]),
        ('[a]\nx = null\ny = "${a.x}/b"', ["[a] y", "null", "--a.x"]),
        ('[a]\nx = [1]\ny = "${a.x}/b"', ["[a] y", "[1]", "--a.x"]),
        ('[a]\nx = {"k": 1}\ny = "${a.x}"', ["[a] y", '{"k": 1}', "--a.x"]),
        ("[a]\nx = ${a.x}", ["[a] x", "circle a.x -> a.x"]),
        ('[a]\nx = ["${b.y}"]\n[b]\ny = ${a.x}', ["circle a.x -> b.y -> a.x"]),
        ("[a]\nx = 1\n[a.b]\ny = ${a.b}", ["circle a.b -> a.b.y -> a.b"]),
    ],
)
def test_references(tmp_path: Path, text: str, parts: list[str]) -> None:
    with corpus_refused(tmp_path / "run.cfg", *parts, kind=ConfigError):
        read(tmp_path, text)
    assert len(problems(tmp_path, text)) == 1


def test_a_value_that_is_broken_elsewhere_is_reported_once(tmp_path: Path) -> None:
    text = '[a]\nx = ${b.y}\nz = "t${a.x}"\n[b]\ny = ${c.none}'
    (problem,) = problems(tmp_path, text)
    assert "[b] y" in problem
    text = '[a.b]\nx = ${c.none}\n[b]\ny = "t${a.b}"'
    assert len(problems(tmp_path, text)) == 2


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["--a.x"], ["--a.x", "none"]),
        (["--a.x", "--b.y=1"], ["--a.x", "none"]),
        (["--a.x="], ["--a.x", "none"]),
        (["a.x", "1"], ["a.x", "--section.key"]),
        (["-a.x", "1"], ["-a.x", "--section.key"]),
        (["--a", "1"], ["--a", "--section.key"]),
        (["--a..x", "1"], ["--a..x", "--section.key"]),
        (["--a.x.y", "1"], ["--a.x.y", "[a.x]"]),
        (["--a.x", "${c.d}"], ["--a.x", "${c.d}"]),
    ],
)
def test_wrong_overrides(
    tmp_path: Path, overrides: list[str], parts: list[str]
) -> None:
    with corpus_refused(*parts, kind=ConfigError):
        read(tmp_path, BASE, *overrides)


def test_an_unknown_option_takes_its_value_along(tmp_path: Path) -> None:
    assert len(problems(tmp_path, BASE, "--a", "1", "--b", "--c=2")) == 3


def test_all_problems_at_once(tmp_path: Path) -> None:
    text = "[a]\nx =\ny = 'b'\nz = 1 # why"
    found = problems(tmp_path, text, "--a.x", "--c")
    assert len(found) == 5
    error = ConfigError(found)
    assert str(error).split("\n") == found


def test_unused_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, "[a]\nx = ${p.x}\n[p]\ny = 1")
    options = ["--p.x=1", "--p.y=2", "--p.z=3", "--p.z=4"]
    config = read_config(path, options)
    assert config.unused == ("p.z",)
    assert config.values["p"] == {"x": 1, "y": 2, "z": 4}


def test_where_a_value_was_set(tmp_path: Path) -> None:
    path = write(tmp_path, "[a]\nx = 1\ny = ${a.x}\nz = 1\n[a.b]\n")
    config = read_config(path, ["--a.z=2", "--c.d=3"])
    assert config.where("a.x") == f"{path}, [a] x"
    assert config.where("a.y") == f"{path}, [a] y = ${{a.x}}"
    assert config.where("a.z") == "--a.z"
    assert config.where("a.b") == f"{path}, [a.b]"
    assert config.where("a.b.c") == f"{path}, [a.b] c"
    assert config.where("c") == "--c.d"
    assert config.where("e") == f"{path}, [e]"


BLOCKED = """
import sys
for name in ("spacy", "thinc", "confection", "srsly", "catalogue", "wasabi", "cupy"):
    sys.modules[name] = None
from spacy_elmo.pretraining.settings import PretrainSettings
settings = PretrainSettings.from_file(sys.argv[1], ["--paths.train", "text"])
print(settings.corpus.train, settings.bilm.dim)
"""


def test_without_spacy(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", BLOCKED, str(ROOT / "configs/pretrain_tiny.cfg")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "('text',) 256\n"
