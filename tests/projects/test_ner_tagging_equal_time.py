"""The project ner_tagging: a biLM pretrained for a given time."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import srsly
import typer
from helpers import runs
from helpers.ner_tagging_project import ROOT, importable
from helpers.pretrain_project import write_config

from spacy_elmo import load_bilm

scripts = pytest.fixture(autouse=True)(importable)

MINUTES = 2 / 60
WARMUP = 3


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with texts and the config of a run without an end."""
    runs.make_texts(tmp_path)
    config = tmp_path / "tiny.cfg"
    write_config(ROOT / "configs" / "pretrain_tiny.cfg", config)
    changes = {"warmup_steps": WARMUP, "log_frequency": 1}
    text = config.read_text(encoding="utf8")
    for key, value in changes.items():
        text = re.sub(rf"(?m)^{key} = .*", f"{key} = {value}", text)
    config.write_text(text, encoding="utf8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _pretrain(work: Path, minutes: float = MINUTES, variants: str = "a,i") -> None:
    from pretrain_elmo import main

    main(
        work / "tiny.cfg",
        str(work / "train*.txt"),
        str(work / "dev.txt"),
        work / "weights",
        work / "summary.json",
        minutes,
        work / "run",
        variants,
    )


def test_nothing_is_trained_for_other_variants(work: Path) -> None:
    _pretrain(work, variants="a,b,c")
    assert not (work / "run").exists()


def test_run_is_stopped_after_the_given_time(tmp_path: Path) -> None:
    """A training that would sleep for a minute, and ends with 143 on SIGTERM."""
    from pretrain_elmo import run, seconds

    log = tmp_path / "log.jsonl"
    code = (
        "import signal, sys, time; from pathlib import Path\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        'row = \'{"type": "train", "step": 1, "seconds": 5}\\n\'\n'
        "Path(sys.argv[1]).write_text(row)\n"
        "time.sleep(60)\n"
    )
    run([sys.executable, "-c", code, log], log, until=1)
    assert seconds(log) == 5
    with pytest.raises(typer.Exit):
        run([sys.executable, "-c", "raise SystemExit(3)"], log)


@pytest.mark.slow
def test_rate_is_constant_for_most_of_the_time_and_then_decays(work: Path) -> None:
    _pretrain(work)
    log = runs.log(work / "run", "train")
    start = srsly.read_json(work / "run" / "plan.json")["decay_from"]
    rates = {line["step"]: line["learn_rate"] for line in log}
    full = max(rates.values())
    before = [rate for step, rate in rates.items() if WARMUP < step <= start]
    after = [rate for step, rate in rates.items() if step > start + 1]
    assert before == [full] * len(before)
    assert after == sorted(after, reverse=True)
    assert full > after[0] > after[-1]
    assert after[-1] == pytest.approx(full / (log[-1]["step"] - start))
    summary = srsly.read_json(work / "summary.json")
    assert summary["steps"] == round(start / 0.8) == log[-1]["step"]
    assert summary["words"] == log[-1]["words"]
    assert summary["files"] == ["train.txt"]
    assert summary["perplexity"]["mean"] > 1
    ours = load_bilm(work / "weights").state_dict()
    for name, value in load_bilm(work / "run" / "model-last").state_dict().items():
        assert np.array_equal(value, ours[name])
    # A complete run is left alone, and one of other minutes is refused.
    _pretrain(work)
    assert runs.log(work / "run", "train") == log
    with pytest.raises(typer.Exit):
        _pretrain(work, minutes=1)


def test_missing_raw_text_is_reported(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "dev.txt").unlink()
    with pytest.raises(typer.Exit):
        _pretrain(work)
    shown = capsys.readouterr()
    assert "--vars.raw_dev" in shown.out + shown.err
