"""The project pretrain: shipped weights and their card."""

from __future__ import annotations

import json
import lzma
import runpy
from pathlib import Path

import pytest
from helpers import runs
from helpers.pretrain_project import PROJECT
from helpers.project_copies import copy_project, good, run, script

from spacy_elmo import load_bilm

TABLES = """\
# Results

## Heads

| a | b |
| - | - |

## Tails

Some words.

| c |

| d |
"""


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """Copy of the project with a short training run."""
    project = copy_project(PROJECT, tmp_path)
    texts = runs.make_texts(tmp_path / "texts")
    output = runs.run(texts, tmp_path / "run", training={"max_steps": 12})
    (project / "training").mkdir()
    output.rename(project / "training" / "english")
    (project / "assets").mkdir()
    for name in ("dev.txt.xz", "test.tokens.xz"):
        with lzma.open(project / "assets" / name, "wt", encoding="utf8") as file:
            file.write((texts / "dev.txt").read_text(encoding="utf8"))
    return project


@pytest.mark.slow
def test_shipped_weights_are_the_last_model_rounded(trained: Path) -> None:
    texts = ("assets/dev.txt.xz", "assets/test.tokens.xz")
    command = ("scripts/ship.py", "training/english", "weights", "english.json")
    good(run(trained, *command, *texts))
    exact = load_bilm(trained / "training" / "english" / "model-last").state_dict()
    for name, tensor in load_bilm(trained / "weights").state_dict().items():
        assert tensor.equal(exact[name].half().float()), name
    found = json.loads((trained / "english.json").read_text(encoding="utf8"))
    assert found["weights"]["options"]["lstm"]["dim"] == 16
    size = (trained / "weights" / "model.safetensors").stat().st_size
    assert found["weights"]["bytes"] == size
    assert found["weights"]["bytes_output_layer"] == 0
    dev, test = (found["perplexities"][Path(text).name] for text in texts)
    # The model's own tokenizer splits at whitespace as well, so both give the same
    # words.
    assert dev == test
    logged = runs.log(trained / "training" / "english", "dev")[-1]
    assert dev["mean"] == pytest.approx(logged["perplexity"], rel=0.01)
    assert dev["mean"] != logged["perplexity"]


def test_card_of_the_weights(trained: Path) -> None:
    script(trained, "describe", "training/english", "configs/english.cfg", "one.json")
    training = json.loads((trained / "one.json").read_text(encoding="utf8"))
    assert training["settings"] == "english.cfg"
    assert training["steps"] == 12
    assert training["words"] == 12 * 4 * 5
    model = trained / "training" / "english" / "model-last"
    options = json.loads((model / "options.json").read_text(encoding="utf8"))
    dev = {
        "n_words": 1234,
        "oov_rate": 0.025,
        "forward": 20,
        "backward": 30,
        "mean": 25,
        "n_vocabulary": 3456,
    }
    for name, content in (
        ("two.json", {**training, "settings": "two.cfg", "words": 2_000_000}),
        (
            "english.json",
            {
                "weights": {
                    "bytes": 1_500_000,
                    "bytes_output_layer": 2_500_000,
                    "options": options,
                },
                "perplexities": {"dev.txt.xz": dev},
            },
        ),
    ):
        (trained / name).write_text(json.dumps(content), encoding="utf8")
    (trained / "tables.md").write_text(TABLES, encoding="utf8")
    command = ("card", "english.json", "card.md", "tables.md:2", "--note", "Slowly.")
    shown = script(
        trained, *command, "--training", "one.json", "--training", "two.json"
    )
    assert "card.md" in shown
    card = (trained / "card.md").read_text(encoding="utf8")
    assert "8 filters\nof widths 1 to 2, 1 highway layer, 2 LSTM layers of 16" in card
    assert "has 16\ndimensions. 1.5 MB in float16" in card
    assert "| dev.txt.xz | 1,234 | 2.5% | 20.0 | 30.0 | 25.0 |" in card
    assert "\n2.0 million tokens" in card
    assert "words their probabilities, has\n2.5 MB more" in card
    assert "Trained in 2 parts" in card
    assert "softmax over 3,456 words" in card
    rows = [line for line in card.splitlines() if line.startswith("| english.cfg |")]
    assert [row.split(" | ")[1:3] for row in rows] == [["12", "0.0"]]
    assert "\n| two.cfg | 12 | 2.0 |" in card
    assert "\n\nSlowly.\n\n[wikipedia]" in card
    first, second = "### Heads\n\n| a | b |\n| - | - |\n", "### Tails\n\n| c |\n"
    assert f"{first}\n{second}\n## Limits" in card
    command = ("card", "english.json", "small.md", "--training", "one.json")
    script(trained, *command, "--size", "sm")
    small = (trained / "small.md").read_text(encoding="utf8")
    assert small.startswith("# en, small")
    assert "The output layer does not ship" in small
    assert "Trained in one part" in small


def test_missing_tables_are_reported(tmp_path: Path) -> None:
    tables = runpy.run_path(str(PROJECT / "scripts" / "card.py"))["first_tables"]
    assert len(tables(TABLES, 3)) == 3
    with pytest.raises(ValueError, match="Expected 4 tables, found 3"):
        tables(TABLES, 4)
