"""The configs for `spacy train`: complete, valid, and trainable."""

from __future__ import annotations

from pathlib import Path

import pytest
import spacy
from helpers.pipelines import examples, spacy_command, write_corpus
from spacy.training import Corpus
from spacy.util import load_config, load_model_from_config

from spacy_elmo import load_bilm
from spacy_elmo.formats.bundled import BUNDLED

ROOT = Path(__file__).parent.parent.parent
CONFIGS = sorted(
    path
    for folder in (ROOT / "configs", ROOT / "projects")
    for path in folder.rglob("*.cfg")
    if {"[nlp]", "[training]"} <= set(path.read_text(encoding="utf8").split("\n"))
    and not {"assets", "training"} & set(path.parts)
)
OURS = [path for path in CONFIGS if path.parent == ROOT / "configs"]


def _each(paths: list[Path]) -> pytest.MarkDecorator:
    names = [str(path.relative_to(ROOT)) for path in paths]
    return pytest.mark.parametrize("path", paths, ids=names)


def test_configs_are_found() -> None:
    assert len(OURS) >= 3


def _overrides(path: Path, tmp_path: Path, weights: Path) -> list[str]:
    corpus = write_corpus(tmp_path / "corpus.spacy")
    arguments = ["--paths.train", str(corpus), "--paths.dev", str(corpus)]
    if "[components.elmo]" in path.read_text(encoding="utf8"):
        arguments += ["--paths.elmo", str(weights)]
    return arguments


@_each(OURS)
def test_fill_config_changes_nothing(path: Path, tmp_path: Path) -> None:
    """Except for comments and the order of sections."""
    filled = tmp_path / "filled.cfg"
    result = spacy_command("init", "fill-config", path, filled)
    assert result.exit_code == 0, (result.output, result.exception)
    assert load_config(filled, interpolate=False) == load_config(
        path, interpolate=False
    )


@_each(OURS)
def test_debug_config(path: Path, tmp_path: Path, weights: Path) -> None:
    overrides = _overrides(path, tmp_path, weights)
    result = spacy_command("debug", "config", path, *overrides)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "Config is valid" in result.output


@_each(CONFIGS)
def test_a_short_training(path: Path, tmp_path: Path, weights: Path) -> None:
    overrides = _overrides(path, tmp_path, weights)
    overrides += ["--training.max_steps", "2", "--training.eval_frequency", "1"]
    result = spacy_command("train", path, "--output", tmp_path / "out", *overrides)
    assert result.exit_code == 0, (result.output, result.exception)
    nlp = spacy.load(tmp_path / "out" / "model-last")
    assert nlp.pipe_names == load_config(path)["nlp"]["pipeline"]
    doc = nlp("She sat on the river bank .")
    if nlp.has_pipe("elmo"):
        assert doc._.elmo.layers.shape == (3, 7, 16)
    annotated = [doc.has_annotation("TAG"), doc.has_annotation("ENT_IOB")]
    assert any([*annotated, doc.cats, "sc" in doc.spans])
    # Training can be resumed.
    nlp.resume_training()
    assert nlp.update(examples(nlp))


@_each(OURS)
def test_learning_rate_follows_max_steps(
    path: Path, tmp_path: Path, weights: Path
) -> None:
    overrides = [*_overrides(path, tmp_path, weights), "--training.max_steps", "3"]
    result = spacy_command("train", path, "--output", tmp_path / "out", *overrides)
    assert result.exit_code == 0, (result.output, result.exception)
    saved = load_config(tmp_path / "out" / "model-last" / "config.cfg")
    schedule = saved["training"]["optimizer"]["learn_rate"]
    if isinstance(schedule, dict):
        assert schedule["total_steps"] == 3


def test_conll_files_with_ner_cfg(tmp_path: Path, weights: Path) -> None:
    """With the sections that are commented out in place of the others."""
    text = (ROOT / "configs" / "ner.cfg").read_text(encoding="utf8")
    before, rest = text.split("# [corpora.train]\n")
    block, rest = rest.split("\n\n[corpora.train]\n")
    _, after = rest.split("[training.optimizer]\n")
    lines = [line.removeprefix("#").removeprefix(" ") for line in block.split("\n")]
    config, corpus = tmp_path / "ner.cfg", tmp_path / "train.conll"
    config.write_text(
        "\n".join([before, "[corpora.train]", *lines, "[training.optimizer]", after]),
        encoding="utf8",
    )
    corpus.write_text("# id 1\n1 Ann B-PER\n2 sang O\n", encoding="utf8")
    overrides = _overrides(config, tmp_path, weights)[4:]
    overrides += ["--paths.train", str(corpus), "--paths.dev", str(corpus)]
    overrides += ["--corpora.train.columns", '["_", "TEXT", "NER"]']
    overrides += ["--training.max_steps", "2", "--training.eval_frequency", "1"]
    result = spacy_command("train", config, "--output", tmp_path / "out", *overrides)
    assert result.exit_code == 0, (result.output, result.exception)
    nlp = spacy.load(tmp_path / "out" / "model-last")
    assert nlp.get_pipe("ner").labels == ("PER",)
    assert nlp.config.interpolate()["corpora"]["dev"]["columns"] == ["_", "TEXT", "NER"]


@_each(OURS)
def test_initialized_from_python(path: Path, tmp_path: Path, weights: Path) -> None:
    """`nlp.initialize` creates an optimizer from the config."""
    config = load_config(path, {"paths.elmo": str(weights)}, interpolate=False)
    nlp = load_model_from_config(config)
    gold_preproc = config["corpora"]["train"]["gold_preproc"]
    reader = Corpus(write_corpus(tmp_path / "a.spacy"), gold_preproc=gold_preproc)
    corpus = list(reader(nlp))
    nlp.initialize(lambda: corpus)
    assert nlp.update(corpus)
    nlp.to_disk(tmp_path / "pipeline")
    spacy.load(tmp_path / "pipeline").resume_training()


def test_textcat_learns_and_accepts_empty_docs(tmp_path: Path, weights: Path) -> None:
    path = ROOT / "configs" / "textcat.cfg"
    overrides = [*_overrides(path, tmp_path, weights), "--training.max_steps", "120"]
    result = spacy_command("train", path, "--output", tmp_path / "out", *overrides)
    assert result.exit_code == 0, (result.output, result.exception)
    nlp = spacy.load(tmp_path / "out" / "model-last")
    _, empty, last = nlp.pipe(["They bank in Rome .", "", "He left Paris with Ann Lee"])
    assert last.cats["NAME"] > 0.9
    assert sum(empty.cats.values()) == pytest.approx(1)


def test_frozen_components_do_not_get_default_weights(
    tmp_path: Path, weights: Path
) -> None:
    """spaCy does not initialize them, so the weights in the config are not loaded."""
    path = ROOT / "configs" / "ner.cfg"
    overrides = _overrides(path, tmp_path, weights)
    overrides += ["--training.frozen_components", '["elmo"]']
    result = spacy_command("train", path, "--output", tmp_path / "out", *overrides)
    assert result.exit_code != 0
    assert "no weights yet" in str(result.exception)
    assert "frozen_components" in str(result.exception)


@pytest.mark.parametrize("lang", ["en", "de"])
def test_null_path_means_default_weights(
    lang: str, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUNDLED, "md", weights)
    overrides = _overrides(ROOT / "configs" / "ner.cfg", tmp_path, weights)[:4]
    overrides += ["--nlp.lang", lang, "--training.max_steps", "1"]
    config, out = ROOT / "configs" / "ner.cfg", tmp_path / "out"
    result = spacy_command("train", config, "--output", out, *overrides)
    if lang == "en":
        assert result.exit_code == 0, (result.output, result.exception)
        bilm = spacy.load(out / "model-last").get_pipe("elmo").bilm
        assert bilm.config == load_bilm(weights).config
    else:
        assert result.exit_code != 0
        assert "no weights yet" in str(result.exception)
        assert "--paths.elmo" in str(result.exception)
