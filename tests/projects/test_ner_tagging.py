"""The project ner_tagging: its scripts, and the whole of it on corpora made here."""

import lzma
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict

import pytest
import spacy
import srsly
from spacy.tokens import DocBin

PROJECT = Path(__file__).parents[2] / "projects" / "ner_tagging"

TEXTS = """\
Ann\tB-person
Lee\tI-person
sings\tO
\t
In\tO
Rome\tB-location
.\tO
"""

TREES = """\
1\tAnn\tAnn\tPROPN\tNNP\tNumber=Sing\t2\tnsubj\t_\t_
2\tsings\tsing\tVERB\tVBZ\tTense=Pres\t0\troot\t_\t_

1\tThey\tthey\tPRON\tPRP\tNumber=Plur\t2\tnsubj\t_\t_
2\tsing\tsing\tVERB\tVBP\tTense=Pres\t0\troot\t_\t_
3\t.\t.\tPUNCT\t.\t_\t2\tpunct\t_\t_

"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project as a fresh clone has it."""
    ignored = [
        line.strip("/\n") for line in (PROJECT / ".gitignore").open(encoding="utf8")
    ]
    copy = tmp_path / "ner_tagging"
    shutil.copytree(PROJECT, copy, ignore=shutil.ignore_patterns(*ignored))
    return copy


def run(project: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        encoding="utf8",
        check=False,
    )


def lay_assets(project: Path) -> None:
    for asset in srsly.read_yaml(project / "project.yml")["assets"]:
        path = project / asset["dest"]
        path.parent.mkdir(parents=True, exist_ok=True)
        content = TREES if path.suffix == ".conllu" else TEXTS
        path.write_text(content * 4, encoding="utf8")


def test_wnut17_is_converted_with_its_tokens_and_entities(project: Path) -> None:
    (project / "in.conll").write_text(TEXTS, encoding="utf8")
    result = run(project, "scripts/convert_wnut17.py", "in.conll", "out.spacy")
    assert result.returncode == 0, result.stdout + result.stderr
    docs = list(
        DocBin().from_disk(project / "out.spacy").get_docs(spacy.blank("en").vocab)
    )
    assert [[t.text for t in doc] for doc in docs] == [
        ["Ann", "Lee", "sings"],
        ["In", "Rome", "."],
    ]
    entities = [[(e.text, e.label_) for e in doc.ents] for doc in docs]
    assert entities == [[("Ann Lee", "person")], [("Rome", "location")]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Ann B-person", "expected 2 fields"),
        ("Ann\tB-animal", "expected O, or B- or I-"),
        ("Ann\tI-person", "continues no entity"),
    ],
)
def test_a_line_that_cannot_be_parsed_fails(
    project: Path, line: str, message: str
) -> None:
    (project / "in.conll").write_text(f"In\tO\n{line}\n", encoding="utf8")
    result = run(project, "scripts/convert_wnut17.py", "in.conll", "out.spacy")
    output = " ".join((result.stdout + result.stderr).split())
    assert result.returncode == 1
    assert "line 2" in output
    assert message in output
    assert not (project / "out.spacy").exists()


def test_assets_are_laid_in_place_only_with_their_checksums(
    project: Path, tmp_path: Path
) -> None:
    """Packed files of the right names, whose contents are not the corpora."""
    local = tmp_path / "local"
    local.mkdir()
    for asset in srsly.read_yaml(project / "project.yml")["assets"]:
        with lzma.open(local / (Path(asset["dest"]).name + ".xz"), "wt") as file:
            file.write("something else")
    result = run(project, "scripts/local_assets.py", str(local))
    assert result.returncode == 1
    assert "6 of 6 assets are not in place" in result.stdout + result.stderr
    assert not list(project.glob("assets/*/*"))


def test_the_corpora_are_those_of_the_checksums(project: Path, shared: Path) -> None:
    result = run(project, "scripts/local_assets.py", str(shared / "data" / "eval"))
    assert result.returncode == 0, result.stdout + result.stderr
    found: Dict[str, int] = {}
    for path in sorted((project / "assets" / "ewt").glob("*.conllu")):
        lines = path.read_text(encoding="utf8").split("\n")
        found[path.name] = sum(line.startswith("# sent_id") for line in lines)
    assert found == {
        "en_ewt-ud-dev.conllu": 2001,
        "en_ewt-ud-test.conllu": 2077,
        "en_ewt-ud-train.conllu": 12544,
    }


def test_random_weights_are_made_only_under_a_name_that_says_so(project: Path) -> None:
    refused = run(project, "scripts/random_weights.py", "weights/english")
    assert refused.returncode == 1
    assert not (project / "weights").exists()
    made = run(project, "scripts/random_weights.py", "weights/random-tiny")
    assert made.returncode == 0, made.stdout + made.stderr
    names = {path.name for path in (project / "weights/random-tiny").iterdir()}
    assert names == {"model.safetensors", "options.json"}


@pytest.mark.slow
def test_the_whole_project_runs_and_is_skipped_when_run_again(project: Path) -> None:
    lay_assets(project)
    arguments = ["--vars.max_steps", "2", "--vars.eval_frequency", "1"]
    command = ["-m", "spacy", "project", "run", "all", ".", *arguments]
    first = run(project, *command)
    assert first.returncode == 0, first.stdout + first.stderr
    table = (project / "results.md").read_text(encoding="utf8")
    assert table.count("| ELMo + CNN |") == 2
    assert "The ELMo weights in use are random" in table
    again = run(project, *command)
    assert again.returncode == 0
    assert "Skipping 'train-ner-elmo'" in again.stdout + again.stderr
