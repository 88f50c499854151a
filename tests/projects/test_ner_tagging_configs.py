"""Configs of the project ner_tagging."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.ner_tagging_project import ROOT, importable, write_assets
from spacy.training.initialize import init_nlp
from spacy.util import load_model_from_config
from thinc.api import Config

scripts = pytest.fixture(autouse=True)(importable)

HEADS = {"tagging": ("tagger", "morphologizer"), "ner": ("ner",)}
BOTH = pytest.mark.parametrize("task", HEADS)


def _config(task: str, variant: str, **budget: Any) -> Config:
    from variants import Budget, Paths, make_config

    paths = Paths(
        configs=ROOT / "configs",
        corpora=Path("."),
        weights=Path("weights/elmo"),
        equal_time=Path("weights/equal_time"),
        pretrained=Path("weights/cnn.bin"),
        frozen=Path("training/c/model-best"),
        log=Path("training/log.jsonl"),
    )
    settings = {"max_steps": None, "eval_frequency": None, "unfrozen_steps": 7}
    return make_config(task, variant, 3, paths, Budget(**{**settings, **budget}))


def _features(task: str, variant: str, head: int = 0) -> dict[str, Any]:
    config = _config(task, variant)
    return config["components"][HEADS[task][head]]["model"]["tok2vec"]


@BOTH
@pytest.mark.parametrize("variant", ["a", "b", "c", "d", "e", "f", "g", "i", "j"])
def test_pipelines_can_be_created(task: str, variant: str) -> None:
    nlp = load_model_from_config(_config(task, variant))
    first = "tok2vec" if variant in "ab" else "elmo"
    assert nlp.pipe_names == [first, *HEADS[task]]


@BOTH
def test_variants_share_heads_corpora_and_training(task: str) -> None:
    base = _config(task, "c")
    for variant in "abdefgij":
        config = _config(task, variant)
        assert config["training"] == base["training"]
        assert config["corpora"] == base["corpora"]
        assert config["system"] == {**base["system"], "seed": 3}
        for head in HEADS[task]:
            mine, its = config["components"][head], base["components"][head]
            assert {**mine, "model": {**mine["model"], "tok2vec": None}} == {
                **its,
                "model": {**its["model"], "tok2vec": None},
            }


@BOTH
def test_variants_differ_from_c_in_one_point(task: str) -> None:
    for head in range(len(HEADS[task])):
        base = _features(task, "c", head)
        elmo = base["elmo"]
        assert base["embed"] is None
        assert base["output_elmo"] is None
        assert elmo["mix"] == "learned"
        expected = {
            "e": {**base, "elmo": {**elmo, "mix": "top"}},
            "f": {**base, "elmo": {**elmo, "mix": "mean"}},
            "g": {**base, "output_elmo": elmo},
        }
        for variant, features in expected.items():
            assert _features(task, variant, head) == features
        beside = _features(task, "d", head)
        assert beside["embed"]["@architectures"] == "spacy.MultiHashEmbed.v2"
        assert {**beside, "embed": None} == base


def test_pretrained_cnn_has_the_same_config() -> None:
    plain, pretrained = _config("ner", "a"), _config("ner", "b")
    assert plain["initialize"]["init_tok2vec"] is None
    assert pretrained["initialize"]["init_tok2vec"] == "weights/cnn.bin"
    pretrained["initialize"]["init_tok2vec"] = None
    assert pretrained.pop("pretraining")["component"] == "tok2vec"
    assert plain == pretrained


def test_pretrained_weights_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_assets(tmp_path)
    monkeypatch.chdir(tmp_path)
    cnn = init_nlp(_config("ner", "a")).get_pipe("tok2vec").model
    for node in cnn.walk():
        for name in node.param_names:
            node.set_param(name, node.get_param(name) + 1)
    Path("weights").mkdir()
    Path("weights/cnn.bin").write_bytes(cnn.to_bytes())
    found = init_nlp(_config("ner", "b")).get_pipe("tok2vec").model
    assert found.to_bytes() == cnn.to_bytes()


@BOTH
def test_unfrozen_bilm_continues_with_the_heads(task: str) -> None:
    base, config = _config(task, "c"), _config(task, "h")
    assert config["components"]["elmo"] == {
        **base["components"]["elmo"],
        "frozen": False,
    }
    for head in HEADS[task]:
        assert config["components"][head] == {"source": "training/c/model-best"}
    assert config["training"]["max_steps"] == 7


def test_budget() -> None:
    recipe = _config("ner", "c")["training"]
    given = _config("ner", "c", max_steps=5, eval_frequency=2)["training"]
    assert (given["max_steps"], given["eval_frequency"]) == (5, 2)
    assert recipe["max_steps"] > 100
    assert _config("ner", "a")["system"]["seed"] == 3


def test_corpora() -> None:
    corpora = _config("conll2003", "c")["corpora"]
    assert corpora["test"] == {
        "@readers": "spacy_elmo.Conll2003Corpus.v1",
        "path": "eng.testb",
    }
    assert list(corpora) == ["train", "dev", "test"]
    assert _config("tagging", "a")["corpora"]["dev"]["gold_preproc"] is True


@BOTH
@pytest.mark.parametrize(("variant", "like"), [("i", "c"), ("j", "d")])
def test_equal_time_variants_differ_in_the_bilm_only(
    task: str, variant: str, like: str
) -> None:
    config, base = _config(task, variant), _config(task, like)
    assert config["paths"]["elmo"] == "weights/equal_time"
    config["paths"]["elmo"] = base["paths"]["elmo"]
    assert config == base
