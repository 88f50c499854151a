"""The project ner_tagging: heads over biLMs of several sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import srsly
import typer
from helpers.ner_tagging_project import (
    ROOT,
    importable,
    write_assets,
    write_results,
)

from spacy_elmo import BiLM, BiLMConfig, save_bilm

scripts = pytest.fixture(autouse=True)(importable)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_assets(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _pretrain(
    work: Path, name: str, config: BiLMConfig, perplexity: float | None
) -> BiLM:
    """Write the output of a pretraining run."""
    bilm = BiLM(config)
    folder = work / "sizes" / name / "model-last"
    save_bilm(bilm, folder)
    held_out = None if perplexity is None else {"mean": perplexity}
    meta = {"words": 1000, "held_out": held_out}
    srsly.write_json(folder / "pretraining.json", meta)
    return bilm


def _main(work: Path) -> None:
    from sizes import main

    main(
        Path("sizes"),
        "ner",
        "3",
        work / "out" / "sizes.json",
        configs=ROOT / "configs",
        folder=work / "training",
        max_steps="2",
        eval_frequency="1",
    )


@pytest.mark.slow
def test_each_size_has_its_weights_and_scores(
    work: Path, tiny_config: BiLMConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    small = _pretrain(work, "small", tiny_config, 20.4)
    wide = _pretrain(work, "wide", replace(tiny_config, dim=64), None)
    _main(work)
    found = srsly.read_json(work / "out" / "sizes.json")
    assert found["seeds"] == ["3"]
    assert list(found["sizes"]) == ["small", "wide"]
    for name, bilm, perplexity in (("small", small, 20.4), ("wide", wide, None)):
        size = found["sizes"][name]
        assert size["megabytes"] == round(2 * bilm.n_parameters / 1e6, 1)
        assert size["perplexity"] == perplexity
        assert size["words"] == 1000
        own = work / "training" / name
        run = srsly.read_json(own / "results" / "ner-c-3.json")
        assert size["scores"]["ner"]["ents_f"] == [run["dev"]["ents_f"]]
        config = (own / "trainings" / "ner-c-3" / "config.cfg").read_text("utf8")
        assert f"training/{name}/weights" in config
    shown = capsys.readouterr().out
    assert "| biLM | MB in float16 | perplexity | dev P | dev R | dev F1 |" in shown
    assert "| small | 0.0 | 20 |" in shown


def test_missing_pretraining_is_reported(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        _main(work)
    output = capsys.readouterr()
    shown = " ".join((output.out + output.err).split())
    assert "Run the command sizes of projects/pretrain" in shown


def test_scores_are_gathered(tmp_path: Path) -> None:
    from sizes import gather, table

    scores = {("ner", "c"): [20.0, 30.0], ("ner", "a"): [50.0]}
    found = gather(write_results(tmp_path, scores), "ner")
    assert found["ents_f"] == [21.0, 31.0]
    assert found["words_per_second"] == [1000, 1000]
    size = {"megabytes": 1.5, "perplexity": 20.4, "scores": {"ner": found}}
    text = table({"small": size, "wide": {**size, "perplexity": None}}, ["ner"])
    assert "| biLM | MB in float16 | perplexity | dev P | dev R | dev F1 |" in text
    assert "| small | 1.5 | 20 | 26.00 | 26.00 | 26.00 |" in text
    assert "| wide | 1.5 |  | 26.00 |" in text
