"""The project languages: text, corpora, configs, and a run of the whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import spacy
import srsly
from helpers.languages_project import (
    PROJECT,
    ROOT,
    copy_languages,
    importable,
    write_config,
)
from helpers.project_copies import call, good, refused, run, script
from spacy.tokens import DocBin
from spacy.util import load_config

from spacy_elmo import load_bilm

scripts = pytest.fixture(autouse=True)(importable)
project = pytest.fixture(copy_languages)


def docs(project: Path, language: str, task: str, part: str) -> list[Any]:
    path = project / "corpus" / language / task / f"{part}.spacy"
    return list(DocBin().from_disk(path).get_docs(spacy.blank("xx").vocab))


# Text and corpora


def test_text_is_tokenized_and_cut(project: Path) -> None:
    source = project / "assets" / "se" / "text"
    for name in ("se.train-0.txt", "se.train-1.txt"):
        (source / name).write_text("Buorre beaivi!\n\nMana  dal.\n", encoding="utf8")
    script(project, "text", "se", source, "corpus", "0.000003,0.000008")
    folder = project / "corpus"
    assert (folder / "train-0.000003.txt").read_text("utf8") == "Buorre beaivi !\n\n"
    assert (folder / "train-0.000008.txt").read_text("utf8") == (
        "Buorre beaivi !\n\nMana dal .\n\n"
    )
    everything = (folder / "train-all.txt").read_text("utf8")
    assert everything == "Buorre beaivi !\n\nMana dal .\n\n" * 2
    lines = (folder / "train.jsonl").read_text("utf8").splitlines()
    assert json.loads(lines[0]) == {"text": "Buorre beaivi !"}
    assert len(lines) == 4
    assert "Áhčči oidná beatnaga .\n" in (folder / "valid.txt").read_text("utf8")


def test_missing_text_is_refused(project: Path) -> None:
    shutil.rmtree(project / "assets")
    message = refused(project, "text", "se", "assets/se/text", "corpus", "1")
    assert "local-assets" in message
    assert not (project / "corpus").exists()
    assert "local-assets" in refused(project, "corpora", "se", "assets/se", "corpus")


def test_unknown_language_is_refused(project: Path) -> None:
    message = refused(project, "text", "xy", "assets/xy/text", "corpus", "1")
    assert "expected one of rw, se, la, en, found 'xy'" in message
    assert "docs/your-own-language.md" in message


def test_corpora_are_converted(project: Path) -> None:
    for language in ("rw", "se"):
        source, target = f"assets/{language}", f"corpus/{language}"
        script(project, "corpora", language, source, target)
    first, second = docs(project, "rw", "masakhaner", "test")[:2]
    assert [token.text for token in first] == ["Kigali", "ni", "umurwa"]
    # "#" is a word, and the tags are a mixture of IOB1 and IOB2.
    assert [token.text for token in second] == ["#", "Miss", "Nimwiza"]
    entities = [
        (span.text, span.label_) for doc in (first, second) for span in doc.ents
    ]
    assert entities == [("Kigali", "LOC"), ("Nimwiza", "PER")]
    tags = [[t.pos_ for t in doc] for doc in docs(project, "rw", "masakhapos", "dev")]
    assert tags[:2] == [["PROPN", "AUX"], ["SYM", "NOUN"]]
    # Without a development file, a tenth of the training sentences is held out.
    n_train, n_dev = (len(docs(project, "se", "giella", p)) for p in ("train", "dev"))
    assert (n_train, n_dev) == (36, 4)
    noun = docs(project, "se", "giella", "test")[0][0]
    assert (noun.pos_, str(noun.morph)) == ("NOUN", "Case=Nom|Number=Sing")


@pytest.mark.parametrize(("language", "code"), [("en", "en"), ("rw", "xx")])
def test_vectors_belong_to_the_language(
    project: Path, tmp_path: Path, language: str, code: str
) -> None:
    """spaCy refuses vectors of another language."""
    text, target = tmp_path / "text.txt", tmp_path / "new" / "vectors"
    text.write_text("She sat on the river bank .\n" * 50, encoding="utf8")
    sizes = ("--dim", 4, "--rows", 60, "--epochs", 1)
    script(project, "vectors", language, text, target, *sizes)
    nlp = spacy.load(target)
    assert nlp.lang == code
    assert nlp.vocab.vectors.shape == (60, 4)
    assert nlp.vocab["unseen"].has_vector


def test_only_the_assets_of_the_language_are_copied(project: Path) -> None:
    shutil.move(project / "assets", project / "local")
    arguments = ("local_assets", "local", "--below", "assets/rw")
    assert "expected 2cc6337910e86b0d0fa7d90535833764" in refused(project, *arguments)
    assert "none" in refused(project, *arguments[:3], "assets/xy")


@pytest.mark.slow
def test_corpora_match_their_checksums(project: Path, shared: Path) -> None:
    shutil.rmtree(project / "assets")
    for language in ("rw", "se", "la", "en"):
        below = f"assets/{language}"
        script(project, "local_assets", shared / "data", "--below", below)
        script(project, "corpora", language, below, f"corpus/{language}")
    counts = {
        task: [len(docs(project, language, task, part)) for part in ("train", "test")]
        for language, task in (
            ("rw", "masakhaner"),
            ("rw", "masakhapos"),
            ("se", "giella"),
            ("la", "udante"),
            ("la", "perseus"),
            ("la", "circse"),
            ("en", "litbank"),
        )
    }
    assert counts == {
        "masakhaner": [7825, 2235],
        "masakhapos": [757, 604],
        "giella": [2032, 865],
        "udante": [926, 421],
        "perseus": [1201, 939],
        "circse": [762, 832],
        "litbank": [6815, 768],
    }


# Trainings


def settings(project: Path) -> Any:
    from variants import Settings

    return Settings(
        "xx",
        ROOT / "configs",
        project / "corpus",
        project / "training",
        project / "weights",
        20,
    )


@pytest.mark.parametrize("name", ["masakhaner", "masakhapos", "giella"])
def test_configs_differ_in_the_input_alone(project: Path, name: str) -> None:
    from languages import LANGUAGES
    from variants import VARIANTS, Run, make_config

    tasks = {**LANGUAGES["rw"].tasks, **LANGUAGES["se"].tasks}
    configs = {
        variant: make_config(tasks[name], Run(name, variant, seed=2), settings(project))
        for variant in VARIANTS
    }
    head = tasks[name].head
    for config in configs.values():
        assert config["training"] == configs["cnn"]["training"]
        assert config["corpora"] == configs["cnn"]["corpora"]
        assert config["system"]["seed"] == 2
        component = dict(config["components"][head])
        assert {**component, "model": {**component["model"], "tok2vec": None}} == {
            **configs["elmo"]["components"][head],
            "model": {**configs["elmo"]["components"][head]["model"], "tok2vec": None},
        }
    inputs = {
        variant: config["components"][head]["model"]["tok2vec"]
        for variant, config in configs.items()
    }
    assert inputs["elmo"]["embed"] is None
    assert (
        inputs["elmo-embed"]["embed"]["rows"]
        == (configs["cnn"]["components"]["tok2vec"]["model"]["embed"]["rows"])
    )
    embed = configs["vectors"]["components"]["tok2vec"]["model"]["embed"]
    assert embed["include_static_vectors"]
    vectors = configs["vectors"]["initialize"]["vectors"]
    assert vectors == f"{project.as_posix()}/training/vectors-all"
    init = configs["pretrained"]["initialize"]["init_tok2vec"]
    assert init == f"{project.as_posix()}/training/cnn/model-last.bin"


def test_scores_that_select_the_best_step() -> None:
    from languages import LANGUAGES
    from variants import Run, make_config

    for language in LANGUAGES.values():
        for name, task in language.tasks.items():
            config = make_config(task, Run(name, "elmo"), settings(Path(".")))
            weights = config["training"]["score_weights"]
            used = {metric for metric, weight in weights.items() if weight}
            assert used == set(task.metrics)


def test_learning_curves_are_planned(project: Path) -> None:
    from heads import plan_curves
    from languages import LANGUAGES
    from variants import make_config

    language = LANGUAGES["la"]
    plan = plan_curves(language, [0, 1], ["1", "3"], [100])
    assert len(plan) == len(set(plan)) == 2 * (2 * 3 + 5)
    assert {run.task for run in plan} == {"udante"}
    less_text = next(run for run in plan if run.variant == "elmo" and run.text == "3")
    config = make_config(language.tasks["udante"], less_text, settings(project))
    assert config["paths"]["elmo"].endswith("training/bilm-3/model-best")
    fewer = next(run for run in plan if run.sentences)
    config = make_config(language.tasks["udante"], fewer, settings(project))
    assert config["corpora"]["train"]["limit"] == 100
    assert config["corpora"]["dev"]["limit"] == 0


def test_inputs_are_checked_before_the_first_training(project: Path) -> None:
    arguments = ["rw", "0", "--configs", ROOT / "configs", "--corpora", "corpus"]
    arguments += ["--training", "training", "--weights", "weights"]
    arguments += ["--results", "results"]
    script(project, "corpora", "rw", "assets/rw", "corpus")
    message = refused(project, "heads", *arguments)
    # The CNN comes first in the plan, and lacks nothing.
    assert "masakhaner vectors-all-all-0: expected training/vectors-all" in message
    assert not (project / "training").exists()
    message = refused(project, "heads", *arguments, "--variants", "elmo")
    assert "masakhaner elmo-all-all-0: expected weights/model.safetensors" in message
    options = *arguments, "--variants", "elmo,bert"
    message = " ".join(call(project, "heads", *options).output.split())
    assert "--variants: expected cnn, vectors, pretrained" in message
    assert "found bert" in message
    message = call(project, "heads", "rw", "0,b", *arguments[2:]).output
    assert "expected integers such as 0,1,2, found 0,b" in " ".join(message.split())


def test_recipes_are_compared_on_the_development_set(
    project: Path, weights: Path
) -> None:
    script(project, "corpora", "rw", "assets/rw", "corpus")
    recipes = [
        {
            "variant": "elmo-embed",
            "title": "normalized",
            "model": {"tok2vec.elmo.layer_norm": True},
            "training": {"dropout": 0.3},
        },
        {"variant": "elmo", "title": "unknown", "model": {"tok2vec.elmo.norm": True}},
    ]
    srsly.write_json(project / "recipes.json", recipes[:1])
    arguments = ["rw", "recipes.json", "results.json", "--configs", ROOT / "configs"]
    arguments += ["--corpora", "corpus", "--training", "training"]
    arguments += ["--weights", weights, "--max-steps", 2]
    script(project, "recipes", *arguments)
    results = srsly.read_json(project / "results.json")
    assert results["normalized"]["steps"] == 2
    assert set(results["normalized"]["dev"]) == {"ents_f"}
    assert "test" not in results["normalized"]
    config = load_config(project / "training" / "recipes" / "0" / "config.cfg")
    assert config["components"]["ner"]["model"]["tok2vec"]["elmo"]["layer_norm"]
    assert config["training"]["dropout"] == 0.3
    srsly.write_json(project / "recipes.json", recipes)
    result = call(project, "recipes", *arguments)
    assert "tok2vec.elmo.norm" in str(result.exception)


def test_all_recipes_make_configs() -> None:
    from languages import LANGUAGES
    from recipes import change
    from variants import Run, make_config

    task = LANGUAGES["rw"].tasks["masakhaner"]
    for recipe in srsly.read_json(PROJECT / "configs" / "recipes.json"):
        run = Run("masakhaner", recipe["variant"])
        config = make_config(task, run, settings(Path(".")))
        change(config["components"]["ner"]["model"], recipe.get("model", {}))
        change(config["training"], recipe.get("training", {}))


def test_pipelines_for_measuring_only_are_not_packaged() -> None:
    from languages import LANGUAGES, NON_COMMERCIAL

    for language in LANGUAGES.values():
        if language.packaged is not None:
            assert NON_COMMERCIAL not in language.tasks[language.packaged].license
    restricted = [
        name
        for language in LANGUAGES.values()
        for name, task in language.tasks.items()
        if NON_COMMERCIAL in task.license
    ]
    assert restricted == ["masakhaner", "masakhapos", "udante", "perseus"]


# The whole


@pytest.mark.slow
def test_whole_project_runs(project: Path) -> None:
    pretrain = ROOT / "projects" / "pretrain" / "scripts"
    shutil.copytree(pretrain, project.parent / "pretrain" / "scripts")
    write_config(project / "tiny.cfg")
    command = ["-m", "spacy", "project", "run", "all", ".", "--vars.lang", "se"]
    command += ["--vars.config", "tiny.cfg", "--vars.configs", str(ROOT / "configs")]
    command += ["--vars.seeds", "0", "--vars.max_steps", "5", "--vars.cnn_epochs", "1"]
    output = good(run(project, *command, OMP_NUM_THREADS="1"))
    assert "xx_elmo_se: elmo, morphologizer" in output
    found = srsly.read_json(project / "results" / "giella.json")
    assert sorted(found) == [
        f"{variant}-all-all-0"
        for variant in ("cnn", "elmo", "elmo-embed", "pretrained", "vectors")
    ]
    assert all(0 <= run["test"]["pos_acc"] <= 100 for run in found.values())
    assert found["pretrained-all-all-0"]["passes"] == 1
    card = (project / "weights" / "se" / "README.md").read_text("utf8")
    assert "GiellaLT" in card
    assert "| train" not in card
    assert load_bilm(project / "weights" / "se").config.projection_dim == 8
    meta = srsly.read_json(project / "training" / "se" / "pipeline" / "meta.json")
    assert meta["license"] == "CC BY-SA 4.0"
    # Trainings that are done are not repeated.
    again = run(project, *[*command[:4], "heads", *command[5:]])
    assert "elmo-all-all-0" not in good(again)
    assert srsly.read_json(project / "results" / "giella.json") == found
