"""Runs of the project pretrain: killed and resumed, packaged, compared."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import spacy
from helpers import runs
from helpers.pretrain_project import PROJECT, ROOT, write_config
from helpers.project_copies import copy_project, good, run, script

from spacy_elmo import load_bilm

pytestmark = pytest.mark.slow


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Copy of the project with shards of a small text, and settings for a short run."""
    project = copy_project(PROJECT, tmp_path)
    runs.make_texts(project / "corpus" / "text")
    for name in ("train", "dev"):
        script(project, "shard", f"corpus/{name}", f"corpus/text/{name}.txt")
    script(project, "vocabulary", "corpus/train", "corpus/dev", "corpus/vocabulary.txt")
    write_config(ROOT / "configs" / "pretrain_tiny.cfg", project / "pretrain_own.cfg")
    return project


# pretrain, evaluate, convert, package


def start_pretrain(project: Path) -> subprocess.Popen[str]:
    """Start pretraining in its own process group, to be killed with its children."""
    command = ("-m", "spacy", "project", "run", "pretrain", ".")
    variables = ("--vars.configs", ".", "--vars.size", "own", "--vars.name", "mine")
    return subprocess.Popen(
        [sys.executable, *command, *variables],
        cwd=project,
        env=runs.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf8",
        start_new_session=True,
    )


def kill_after_a_checkpoint(process: subprocess.Popen[str], output: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        if list(output.glob("checkpoints/step-*[0-9]")):
            break
        time.sleep(0.02)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    shown = process.communicate()
    assert process.returncode == -signal.SIGKILL, shown


def test_killed_run_is_resumed(tiny: Path) -> None:
    output = tiny / "training" / "mine"
    kill_after_a_checkpoint(start_pretrain(tiny), output)
    assert not (output / "model-last").exists()
    process = start_pretrain(tiny)
    status, shown = runs.finish(process)
    assert status == 0, shown
    assert len(runs.log(output, "resume")) == 1
    assert runs.log(output, "train")[-1]["step"] == 300
    steps = [line["step"] for line in runs.log(output, "train")]
    assert steps == list(range(5, 301, 5))
    # A complete run is skipped.
    status, shown = runs.finish(start_pretrain(tiny))
    assert status == 0, shown
    assert "Skipping 'pretrain': nothing changed" in shown
    # The underlying command gives the same result.
    options: list[object] = [
        "--paths.train",
        "corpus/train",
        "--paths.dev",
        "corpus/dev",
    ]
    options += ["--vocabulary.path", "corpus/vocabulary.txt"]
    options += ["--vocabulary.min_count", 1, "--vocabulary.max_size", "null"]
    options += ["--corpus.tokenizer", "whitespace"]
    good(run(tiny, *runs.COMMAND, "pretrain_own.cfg", "alone", *options))
    runs.assert_same(output, tiny / "alone")


def test_package_can_be_installed(tiny: Path, tmp_path: Path) -> None:
    """pip installs the archive, which is a pipeline with vectors."""
    variables = ("--vars.configs", ".", "--vars.size", "own", "--vars.version", "1.2.3")
    for name in ("pretrain", "evaluate", "convert", "package"):
        command = ("-m", "spacy", "project", "run", name, ".", *variables)
        good(run(tiny, *command))
    dev = runs.log(tiny / "training" / "own", "dev")
    best = min(line["perplexity"] for line in dev)
    figures = json.loads((tiny / "metrics" / "own.json").read_text(encoding="utf8"))
    # The presets evaluate more words than this text has.
    assert figures["mean"] == pytest.approx(best, rel=1e-5)
    (archive,) = tiny.glob("packages/*/dist/*.tar.gz")
    assert archive.name == "en_elmo_own-1.2.3.tar.gz"
    target = tmp_path / "installed"
    pip = ("-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index")
    good(run(tmp_path, *pip, "--target", target, archive))
    (folder,) = target.glob("en_elmo_own/en_elmo_own-1.2.3")
    nlp = spacy.load(folder)
    assert any(r.startswith("spacy-elmo>=") for r in nlp.meta["requirements"])
    doc = nlp("Ann sees the Anns .")
    bilm = load_bilm(tiny / "weights" / "own")
    (layers,) = bilm.encode([[token.text for token in doc]])
    assert doc.vector.any()
    assert abs(doc._.elmo.layers - layers).max() < 1e-5
    by_name = "import spacy; assert spacy.load('en_elmo_own')('A b').vector.any()"
    good(run(tmp_path, "-c", by_name, PYTHONPATH=str(target)))


# compare.py, kill.py


PEER = """
import json, sys
from pathlib import Path

if sys.argv[1] == "-c":
    print(json.dumps({name: "1.2" for name in sys.argv[3:]}))
else:
    worker, work = sys.argv[1:]
    assert Path(worker).name == "bilm_tf_worker.py"
    work = json.loads(Path(work).read_text(encoding="utf8"))
    found = {"perplexity": 5.0, "words_per_second": 100.0, "work": work}
    for name in ("vocabulary", "train", "dev"):
        found[name] = Path(work[name]).read_text(encoding="utf8").split("\\n")
    print("something else")
    print(json.dumps(found))
"""
"""Fake bilm-tf that reports its arguments."""

COMPARE = ("scripts/compare.py", "own.cfg", "corpus/text", "results/own.json")


def test_comparison(tiny: Path) -> None:
    write_config(PROJECT / "configs" / "bilm_tf.cfg", tiny / "own.cfg")
    (tiny / "peer.py").write_text(PEER, encoding="utf8")
    peer = tiny / "peer"
    peer.write_text(f'#!/bin/sh\nexec "{sys.executable}" peer.py "$@"\n')
    peer.chmod(0o755)
    good(run(tiny, *COMPARE, "--n-runs", 2, "--peer", peer))
    found = json.loads((tiny / "results" / "own.json").read_text(encoding="utf8"))
    ours = {"adagrad": 1, "adamw": 1, "adamw_bfloat16": 1, "adamw_bfloat16_half": 0.5}
    assert set(found["results"]) == {*ours, "bilm_tf"}
    assert found["versions"]["bilm"] == "1.2"
    for name, share in ours.items():
        result = found["results"][name]
        assert found["variants"][name]["share"] == share
        assert result["time_ratio"] == pytest.approx(share / result["speed_ratio"])
        assert [each["steps"] for each in result["runs"]] == [300 * share] * 2
        assert 1 < result["perplexity"] < 20
        assert result["perplexity_ratio"] == pytest.approx(result["perplexity"] / 5)
        assert result["speed_ratio"] == pytest.approx(result["words_per_second"] / 100)
    theirs = found["results"]["bilm_tf"]["runs"]
    assert [each["work"]["seed"] for each in theirs] == [0, 1]
    work = theirs[0]["work"]
    assert work["n_batches"] == 300
    assert work["options"]["lstm"]["dim"] == 16
    assert work["options"]["char_cnn"]["filters"] == [[1, 4], [2, 4]]
    assert {"<S>", "</S>", "<UNK>", "Ann"} <= set(theirs[0]["vocabulary"])
    for part in ("train", "dev"):
        text = (tiny / "corpus" / "text" / f"{part}.txt").read_text(encoding="utf8")
        given = theirs[0][part]
        assert given[-1] == ""
        assert sorted(given[:-1]) == sorted(line for line in text.split("\n") if line)


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "project's command environment"), ("exit 3", "ended with status 3")],
)
def test_comparison_needs_its_peer(tiny: Path, text: str | None, message: str) -> None:
    write_config(PROJECT / "configs" / "bilm_tf.cfg", tiny / "own.cfg")
    peer = tiny / "peer"
    if text is not None:
        peer.write_text(f"#!/bin/sh\n{text}\n")
        peer.chmod(0o755)
    done = run(tiny, *COMPARE, "--n-runs", 1, "--peer", peer)
    assert done.returncode == 1
    assert message in done.stdout + done.stderr
    assert not (tiny / "results" / "own.json").exists()


def test_kills(tiny: Path) -> None:
    write_config(PROJECT / "configs" / "bilm_tf.cfg", tiny / "own.cfg")
    command = ("scripts/kill.py", "own.cfg", "corpus/text", "results/own.json")
    good(run(tiny, *command, "--n-kills", 2, "--max-steps", 300))
    found = json.loads((tiny / "results" / "own.json").read_text(encoding="utf8"))
    assert found["equal"] is True
    assert len(found["kills"]) == 2
