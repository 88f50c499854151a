"""The README and docs: their files, and a folder in which their examples can run."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import spacy

from helpers.pipelines import write_corpus
from spacy_elmo import BiLM, save_bilm

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROJECT_READMES = sorted((ROOT / "projects").glob("*/README.md"))

SHORT_RUN = {
    "dim": 16,
    "projection_dim": 8,
    "filters": "[[1, 4], [2, 4]]",
    "n_process": 1,
    "min_count": 1,
    "max_epochs": 0,
    "max_steps": 2,
    "n_samples": 5,
    "batch_size": 4,
    "unroll_steps": 5,
    "eval_frequency": 2,
    "checkpoint_frequency": 2,
}
"""Settings that make training with any of the configs a matter of seconds."""

SENTENCES = "We sat on the bank .\nThe bank gave her a loan .\nHe robbed the bank .\n"
TREE = """\
1\tShe\tshe\tPRON\tPRP\tNumber=Sing\t2\tnsubj\t_\t_
2\tsat\tsit\tVERB\tVBD\tTense=Past\t0\troot\t_\t_

"""
CONLL = "Ann NNP I-NP I-PER\nsang VBD I-VP O\n"


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def write_examples(folder: Path, bilm: BiLM) -> Path:
    """Write the files that the examples name: configs, weights, texts and corpora."""
    (folder / "configs").mkdir(parents=True)
    for path in (ROOT / "configs").glob("*.cfg"):
        text = path.read_text(encoding="utf8")
        for key, value in SHORT_RUN.items():
            text = re.sub(rf"(?m)^{key} = .*", f"{key} = {value}", text)
        (folder / "configs" / path.name).write_text(text, encoding="utf8")
    save_bilm(bilm, folder / "weights")
    save_bilm(bilm, folder, format="hdf5")
    (folder / "text").mkdir()
    with gzip.open(folder / "text" / "a.txt.gz", "wt", encoding="utf8") as file:
        file.write(SENTENCES * 20)
    for name in ("text.txt", "held_out.txt", "other.txt"):
        (folder / name).write_text(SENTENCES, encoding="utf8")
    for name in ("train", "dev", "test"):
        (folder / f"{name}.conllu").write_text(TREE, encoding="utf8")
        write_corpus(folder / f"{name}.spacy")
        write_corpus(folder / f"entities_{name}.spacy")
    (folder / "eng.testb").write_text(CONLL, encoding="utf8")
    pair = {"sentence_good": "He robbed the bank .", "sentence_bad": "Robbed he bank ."}
    (folder / "pairs.jsonl").write_text(json.dumps(pair), encoding="utf8")
    nlp = spacy.blank("en")
    nlp.add_pipe("elmo").set_bilm(bilm)  # type: ignore[attr-defined]
    nlp.to_disk(folder / "trained_pipeline")
    return folder
