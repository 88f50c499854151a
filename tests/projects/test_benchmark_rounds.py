"""Rounds of the benchmark with fake systems: their tasks, and the results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import srsly
from helpers.benchmark_project import SCRIPTS, importable

scripts = pytest.fixture(autouse=True)(importable)

N_WORDS = 3
TREES = "1\tIt\n2\tworks\n\n1\tYes\n"

# A pass takes one second in ours, two in AllenNLP, four in simple_elmo.
SYSTEM = f"""\
import sys
sys.path.insert(0, {str(SCRIPTS)!r})
from protocol import serve

name = sys.argv[1]
seconds = {{"spacy_elmo": 1, "allennlp": 2, "simple_elmo": 4}}[name]
asked = []

def load(weights, text, n_sentences=0, n_batches=0, trainable=False):
    # A single batch has one word more.
    words = (n_sentences or {N_WORDS}) + (n_batches == 1)
    return {{
        "words": words, "sentences": 2, "parameters": 5,
        "native_bfloat16": True, "versions": {{name: "1.2"}},
    }}

def warm_up(precision="float32"):
    asked.append(precision)

def measure(precision="float32"):
    # Directly after a warm-up of the same kind.
    assert asked[-1] == precision
    asked.clear()
    gain = 2 if precision == "bfloat16" else 1
    return {{"seconds": seconds / gain, "id_seconds": seconds}}

def peak(precision="float32", is_packed=False):
    return 200 if is_packed else 100

def lstms(precision):
    return {{"seconds": 2, "gflop": 300, "rows": 32}}

tasks = {{f.__name__: f for f in (load, warm_up, peak, lstms)}}
names = "encode encode_cached encode_batches encode_cold encode_warm train"
tasks.update(dict.fromkeys(names.split(), measure))
serve({{**tasks, "warm_up_training": warm_up}})
"""


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A treebank. Replaces all systems by fakes."""
    import measuring

    worker = tmp_path / "system.py"
    worker.write_text(SYSTEM, encoding="utf8")

    def start(team: Any, system: str) -> Any:
        return team.start(system, sys.executable, str(worker), system)

    monkeypatch.setattr(measuring, "start", start)
    path = tmp_path / "text.conllu"
    path.write_text(TREES, encoding="utf8")
    return path


def test_rounds_of_inference(text: Path, tmp_path: Path) -> None:
    from compare import PASSES, inference
    from table import section

    target = tmp_path / "inference.json"
    inference(text, target, ["w/small", "w/original:7"], n_rounds=2, threads=1)
    found = srsly.read_json(target)
    assert (found["n_rounds"], found["threads"], found["batch_size"]) == (2, 1, 32)
    assert found["versions"]["allennlp"] == {"allennlp": "1.2"}
    small, original = (found["sizes"][name] for name in ("small", "original"))
    assert (small["words"], original["words"]) == (N_WORDS, 7)
    speeds = {name: one["rounds"] for name, one in small["words_per_second"].items()}
    assert speeds == {
        **{f"{name} float32": [3.0, 3.0] for name in PASSES},
        **{f"{name} bfloat16": [6.0, 6.0] for name in PASSES},
        "allennlp": [1.5, 1.5],
        "allennlp from words": [0.75, 0.75],
        "allennlp cached": [1.5, 1.5],
        "simple_elmo": [0.75, 0.75],
    }
    assert small["ratios"]["simple_elmo"]["batches float32"]["median"] == 4.0
    assert small["bfloat16_to_float32"]["batches"]["median"] == 2.0
    assert small["lstms"]["float32 share of packed peak"]["median"] == 0.75
    assert small["peak_gflops"]["bfloat16 packed"]["median"] == 200
    told = section({"inference": found})
    assert "| float32, batches of 32 : AllenNLP | 2.0 × | 2.0 × |" in told
    assert "75% (small), 75% (original)" in told


def test_rounds_of_training(text: Path, tmp_path: Path) -> None:
    from compare import training

    target = tmp_path / "training.json"
    training(text, target, ["w/small"], n_rounds=2, threads=1)
    found = srsly.read_json(target)
    small = found["sizes"]["small"]
    assert small["words_per_second"]["allennlp"]["rounds"] == [1.5, 1.5]
    ratios = small["ratios"]["allennlp"]
    assert {name: one["median"] for name, one in ratios.items()} == {
        "float32": 2.0,
        "bfloat16": 4.0,
    }
    assert small["peak_gflops"]["float32"]["median"] == 100


def test_different_word_counts_are_refused(text: Path) -> None:
    from measuring import Model, start_all
    from protocol import Team

    options = {"allennlp": {"n_batches": 1}}
    with Team(1) as team, pytest.raises(ValueError, match="as many words in all"):
        start_all(team, ("spacy_elmo", "allennlp"), Model(text, 0), text, options)
