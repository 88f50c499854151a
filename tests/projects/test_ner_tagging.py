"""The project ner_tagging: assets, trainings, and a short run of the whole project."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import srsly
import typer
from helpers.ner_tagging_project import (
    PROJECT,
    ROOT,
    importable,
    write_assets,
    write_results,
)
from helpers.pretrain_project import write_config
from helpers.project_copies import copy_project, run, script

from spacy_elmo import load_bilm, load_bundled, save_bilm

scripts = pytest.fixture(autouse=True)(importable)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Copy of the project as in a fresh clone, without our results."""
    return copy_project(PROJECT, tmp_path, "results")


@pytest.fixture
def corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with fake files of the corpora."""
    write_assets(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _settings(weights: Path, **changes: Any) -> dict[str, Any]:
    return {
        "configs": str(ROOT / "configs"),
        "weights": str(weights),
        "equal_time": "weights/equal_time",
        "pretrained": "weights/cnn.bin",
        "trainings": "training",
        "results": "results",
        "conll2003": "conll2003",
        "unfrozen_steps": 3,
        "max_steps": 3,
        "eval_frequency": 1,
        "gpu_id": -1,
        **changes,
    }


def _shown(capsys: pytest.CaptureFixture[str]) -> str:
    output = capsys.readouterr()
    return " ".join((output.out + output.err).split())


# local_assets.py


@pytest.mark.slow
def test_corpora_match_their_checksums(project: Path, shared: Path) -> None:
    script(project, "local_assets", shared / "data" / "eval")
    found: dict[str, int] = {}
    for path in sorted((project / "assets" / "ewt").glob("*.conllu")):
        lines = path.read_text(encoding="utf8").split("\n")
        found[path.name] = sum(line.startswith("# sent_id") for line in lines)
    assert found == {
        "en_ewt-ud-dev.conllu": 2001,
        "en_ewt-ud-test.conllu": 2077,
        "en_ewt-ud-train.conllu": 12544,
    }
    reader = spacy.registry.readers.get("spacy_elmo.Conll2003Corpus.v1")
    counts = {}
    for path in (project / "assets" / "wnut17").iterdir():
        docs = [example.reference for example in reader(path)(spacy.blank("en"))]
        counts[path.name] = (len(docs), sum(len(doc.ents) for doc in docs))
    assert counts == {
        "wnut17train.conll": (3394, 1975),
        "emerging.dev.conll": (1009, 836),
        "emerging.test.annotated": (1287, 1079),
    }


# train.py


def test_training_and_its_unfrozen_continuation(corpora: Path, weights: Path) -> None:
    from train import main

    settings = corpora / "settings.json"
    srsly.write_json(settings, _settings(weights))
    for variant in ("c", "h"):
        main("ner", variant, 1, settings)
    first, second = (
        srsly.read_json(corpora / "results" / f"ner-{variant}-1.json")
        for variant in ("c", "h")
    )
    assert first["steps"] == second["steps"] == 3
    assert set(first["test"]) == set(first["dev"]) == {"ents_p", "ents_r", "ents_f"}
    assert first["words_per_second"] > 0
    assert first["seconds"] >= 0.1
    assert first["inputs"] != second["inputs"]
    (mix,) = first["mixes"]["ner"]
    assert sum(mix["weights"]) == pytest.approx(1, abs=1e-3)
    assert not (corpora / "training" / "ner-c-1" / "model-last").exists()
    start = load_bilm(weights).state_dict()
    frozen, unfrozen = (
        spacy.load(corpora / "training" / f"ner-{variant}-1" / "model-best")
        for variant in ("c", "h")
    )
    for name, value in frozen.get_pipe("elmo").bilm.state_dict().items():
        assert np.array_equal(value, start[name])
    log = (corpora / "training" / "ner-h-1" / "log.jsonl").read_text(encoding="utf8")
    assert json.loads(log.splitlines()[-1])["losses"]["elmo"] > 0
    assert not unfrozen.get_pipe("elmo").frozen


def test_hash_depends_on_config_and_weights(corpora: Path, weights: Path) -> None:
    from train import Settings

    base = Settings(_settings(weights))
    longer = Settings(_settings(weights, max_steps=4))
    assert base.inputs("ner", "c", 0) == base.inputs("ner", "c", 0)
    others = {
        base.inputs("ner", "c", 0),
        base.inputs("ner", "c", 1),
        base.inputs("ner", "d", 0),
        base.inputs("ner", "h", 0),
        longer.inputs("ner", "c", 0),
        longer.inputs("ner", "h", 0),
    }
    assert len(others) == 6
    copy = shutil.copytree(weights, corpora / "copy")
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    values = _settings(weights)
    changed = Settings(values)
    changed.weights = changed.equal_time = Path(copy)
    changed.values = values
    assert changed.inputs("ner", "a", 0) == base.inputs("ner", "a", 0)
    assert changed.inputs("ner", "c", 0) != base.inputs("ner", "c", 0)


def test_committed_results_belong_to_the_configs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the project would repeat these trainings. The hashes of the others
    depend on spaCy's own configs or on weights that are not committed."""
    from train import Settings

    save_bilm(load_bundled(), tmp_path / "weights" / "elmo")
    monkeypatch.chdir(tmp_path)
    budget = {"unfrozen_steps": 300, "max_steps": None, "eval_frequency": None}
    settings = Settings(_settings(Path("weights/elmo"), **budget))
    for task in ("tagging", "ner"):
        result = srsly.read_json(PROJECT / "results" / f"{task}-c-0.json")
        assert result["inputs"] == settings.inputs(task, "c", 0), result


# compare.py


def test_plan_starts_with_the_first_seed(capsys: pytest.CaptureFixture[str]) -> None:
    from compare import Run, make_plan

    plan = make_plan(["tagging", "ner"], ["a", "c"], ["0", "1"])
    assert plan[:4] == [
        Run("tagging", "a", 0),
        Run("tagging", "c", 0),
        Run("ner", "a", 0),
        Run("ner", "c", 0),
    ]
    assert len(plan) == 8
    for wrong, message in (
        ((["parsing"], ["a"], ["0"]), "found parsing"),
        ((["ner"], ["x"], ["0"]), "found x"),
        ((["ner"], ["a"], ["-1"]), "found -1"),
    ):
        with pytest.raises(typer.Exit):
            make_plan(*wrong)
        assert message in _shown(capsys)


def test_missing_and_outdated_results_are_pending(corpora: Path, weights: Path) -> None:
    from compare import Run, is_done
    from train import Settings

    settings = Settings(_settings(weights))
    run = Run("ner", "c", 0)
    assert not is_done(run, settings)
    write_results(corpora / "results", {("ner", "c"): [50.0]})
    assert not is_done(run, settings)
    path = corpora / "results" / "ner-c-0.json"
    result = {**srsly.read_json(path), "inputs": settings.inputs(*run)}
    srsly.write_json(path, result)
    assert is_done(run, settings)
    assert not is_done(run, Settings(_settings(weights, max_steps=4)))


def test_unfrozen_training_comes_after_the_one_it_continues(
    corpora: Path, weights: Path
) -> None:
    from compare import Run, in_order, with_first
    from train import Settings

    settings = Settings(_settings(weights))
    unfrozen, frozen = Run("ner", "h", 0), Run("ner", "c", 0)
    runs = with_first([unfrozen, Run("ner", "a", 0)], settings)
    assert frozen in runs
    assert with_first([unfrozen, frozen], settings).count(frozen) == 1
    assert in_order(runs)[1] == [unfrozen]
    model = corpora / "training" / "ner-c-0" / "model-best"
    model.mkdir(parents=True)
    (model / "meta.json").write_text("{}", encoding="utf8")
    assert with_first([unfrozen], settings) == [unfrozen]


@pytest.mark.parametrize(
    ("task", "variant", "message"),
    [
        ("ner", "c", "model.safetensors, found no such file"),
        ("ner", "b", "leave b out"),
        ("ner", "j", "leave i and j out"),
        ("conll2003", "a", "--vars.conll2003"),
        ("tagging", "a", "en_ewt-ud-train.spacy"),
    ],
)
def test_missing_inputs_are_reported_first(
    corpora: Path,
    capsys: pytest.CaptureFixture[str],
    task: str,
    variant: str,
    message: str,
) -> None:
    from compare import check_inputs, make_plan

    plan = make_plan([task], [variant], ["0"])
    with pytest.raises(typer.Exit):
        check_inputs(plan, _settings(corpora / "nowhere"))
    assert message in _shown(capsys)


# pretrain_cnn.py


def test_pretraining_of_the_cnn_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pretrain_cnn

    text = tmp_path / "text.txt"
    text.write_text("She sat on the river bank .\nToo short\n" * 50, encoding="utf8")
    target, summary = tmp_path / "cnn.bin", tmp_path / "cnn.json"
    folder = tmp_path / "work"

    def run(seconds: float, variants: str = "a,b") -> None:
        minutes = seconds / 60
        pretrain_cnn.main(str(text), target, summary, minutes, folder, variants)

    run(1, "a,c")
    assert not folder.exists()
    monkeypatch.setattr(pretrain_cnn, "BATCHES_A_SAVE", 1)
    run(1)
    before, known = target.read_bytes(), srsly.read_json(summary)
    assert known["words"] >= 350
    assert known["files"] == ["text.txt"]
    run(1)
    assert target.read_bytes() == before
    run(2)
    assert target.read_bytes() != before
    assert srsly.read_json(summary)["words"] > known["words"]
    nlp = spacy.blank("en")
    nlp.add_pipe("tok2vec", config={"model": _cnn()})
    nlp.initialize()
    nlp.get_pipe("tok2vec").model.from_bytes(target.read_bytes())


def _cnn() -> dict[str, Any]:
    from variants import cnn_config

    return cnn_config(("tagger",)).interpolate()["components"]["tok2vec"]["model"]


def test_missing_raw_text_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pretrain_cnn import main

    with pytest.raises(typer.Exit):
        main(str(tmp_path / "*.txt"), tmp_path / "a", tmp_path / "b", 1.0, tmp_path)
    assert "--vars.raw_text" in _shown(capsys)


# The whole project


@pytest.mark.slow
def test_whole_project_runs_and_resumes(project: Path, weights: Path) -> None:
    write_assets(project)
    text = project / "text.txt"
    text.write_text("She sat on the river bank .\n" * 100, encoding="utf8")
    write_config(ROOT / "configs" / "pretrain_tiny.cfg", project / "tiny.cfg")
    settings = {
        "configs": str(ROOT / "configs"),
        "weights": str(weights),
        "raw_text": str(text),
        "raw_dev": str(text),
        "bilm_config": "tiny.cfg",
        "pretrain_minutes": "0.02",
        "seeds": "0",
        "max_steps": "2",
        "eval_frequency": "1",
        "unfrozen_steps": "2",
        "results": "trial",
    }
    options = []
    for key, value in settings.items():
        options += [f"--vars.{key}", value]
    command = ["-m", "spacy", "project", "run", "all", ".", *options]
    first = run(project, *command)
    assert first.returncode == 0, first.stdout + first.stderr
    table = (project / "trial" / "README.md").read_text(encoding="utf8")
    assert table.count("| (h) | c, then the biLM unfrozen | 1 |") == 2
    assert "minutes of spacy elmo pretrain" in table
    assert (project / "trial" / "mixes.png").is_file()
    again = run(project, *command)
    assert again.returncode == 0
    assert "20 trainings, 0 of them to do" in again.stdout


# recipes.py


def test_all_recipes_make_configs(corpora: Path) -> None:
    from recipes import make_recipe

    recipes = srsly.read_json(PROJECT / "configs" / "recipes_ner.json")
    made = [
        make_recipe("ner", recipe, 1, ROOT / "configs", Path("weights"), corpora)
        for recipe in recipes
    ]
    texts = {config.to_str() for config in made}
    assert len(texts) == len(recipes) - 1  # the last two differ in their corpus
    encoders = [c["components"]["ner"]["model"]["tok2vec"]["encode"] for c in made]
    (lstm,) = (encoder for encoder in encoders if "LSTM" in encoder["@architectures"])
    assert "window_size" not in lstm
    assert made[-1]["corpora"]["train"]["path"] == f"{corpora.as_posix()}/train.conll"


def test_sentences_without_an_entity_are_dropped() -> None:
    from recipes import drop_empty

    sentences = ["He\tO\nleft\tO", "Ann\tB-person\nleft\tO", "It\tO\nrained\tO"]
    text = "\n\n".join(sentences) + "\n\t\n"
    assert drop_empty(text, 0) == f"{sentences[1]}\n"
    assert drop_empty(text, 1).split("\n\n")[:3] == [*sentences[:2], sentences[2]]
    many = drop_empty("\n\n".join(sentences * 200), 0.4)
    assert many.count("Ann") == 200
    assert 100 < many.count("He") + many.count("It") < 220


def test_each_recipe_is_trained_once(project: Path, weights: Path) -> None:
    write_assets(project)
    recipe = {
        "title": "short",
        "variant": "c",
        "config": {"training": {"max_steps": 2, "eval_frequency": 1}},
    }
    srsly.write_json(project / "recipes.json", [recipe])
    command = ["ner", "0,1", "recipes.json", "results.json", "--weights", str(weights)]
    options = ["--configs", str(ROOT / "configs"), "--trainings", "training"]
    script(project, "recipes", *command, *options)
    found = srsly.read_json(project / "results.json")
    assert list(found["short"]) == ["0", "1"]
    assert set(found["short"]["0"]["test"]) == {"ents_p", "ents_r", "ents_f"}
    found["short"]["1"] = "done"
    srsly.write_json(project / "results.json", found)
    script(project, "recipes", *command, *options)
    assert srsly.read_json(project / "results.json") == found
