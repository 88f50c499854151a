"""The project ner_tagging: scores in several precisions."""

from __future__ import annotations

from pathlib import Path

import pytest
import srsly
from helpers.ner_tagging_project import ROOT, importable, write_assets
from spacy.training.initialize import init_nlp

from spacy_elmo import BiLM, save_bilm
from spacy_elmo.bilm.backends import CPUBackend

scripts = pytest.fixture(autouse=True)(importable)
NEEDS_INT8 = pytest.mark.skipif(
    CPUBackend.why_no_int8() is not None, reason=f"{CPUBackend.why_no_int8()}"
)


@NEEDS_INT8
def test_a_pipeline_is_scored_in_each_precision(
    tmp_path: Path, tiny_bilm: BiLM
) -> None:
    from precisions import PRECISIONS, main
    from variants import Budget, Paths, make_config

    write_assets(tmp_path)
    save_bilm(tiny_bilm, tmp_path / "elmo")
    folder = tmp_path / "ner-c-0"
    folder.mkdir()
    unused = tmp_path / "unused"
    paths = Paths(
        ROOT / "configs", tmp_path, tmp_path / "elmo", *[unused] * 3, unused / "log"
    )
    nlp = init_nlp(make_config("ner", "c", 0, paths, Budget(1, 1, 1)))
    nlp.to_disk(folder / "model-best")
    main(tmp_path / "out.json", [folder])
    found = srsly.read_json(tmp_path / "out.json")
    assert found["test"].keys() == {"ner-c-0"}
    assert list(found["test"]["ner-c-0"]) == list(PRECISIONS)
    for scores in found["test"]["ner-c-0"].values():
        assert scores.keys() == {"ents_p", "ents_r", "ents_f"}


@NEEDS_INT8
def test_a_folder_of_no_training_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from precisions import main

    with pytest.raises(SystemExit):
        main(tmp_path / "out.json", [tmp_path])
    assert "expected TASK-VARIANT-SEED" in capsys.readouterr().out
