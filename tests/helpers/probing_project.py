"""Scripts of the project probing, and small corpora in the formats that it reads."""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any, Iterator

import pytest
import srsly

from helpers.project_copies import import_from

PROJECT = Path(__file__).parents[2] / "projects" / "probing"
DESCRIPTION: dict[str, Any] = srsly.read_yaml(PROJECT / "project.yml")
COMMANDS: dict[str, dict[str, Any]] = {
    command["name"]: command for command in DESCRIPTION["commands"]
}

TREES = """\
# sent_id = 1
1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tdo\tdo\tAUX\tVBP\t_\t0\troot\t_\t_
2\tn't\tnot\tPART\tRB\t_\t1\tadvmod\t_\t_
2.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t_\t_

# sent_id = 2
1\tRome\tRome\tPROPN\tNNP\t_\t0\troot\t_\t_
2\tsings\tsing\tVERB\tVBZ\t_\t1\tdep\t_\t_

"""
SENTENCE = """\
<s snum={number}>
<punc>``</punc>
<wf cmd=done rdf=group pos=NNP lemma=group wnsn=1 lexsn=1:03:00:: pn=group>The_Jury</wf>
<wf cmd=done pos=VB lemma=take_place wnsn=1 lexsn=2:30:00::>took_place</wf>
<wf cmd=ignore pos=IN>at</wf>
<wf cmd=done pos=NN lemma=bank wnsn={sense} lexsn=1:{file}:00::>bank</wf>
<wf cmd=done pos=NN lemma={word} wnsn=2;1 lexsn=1:06:00::>{word}</wf>
<wf cmd=done pos=VB lemma=be wnsn=0 lexsn=2:42:00::>is</wf>
<wf cmd=done pos=JJ lemma=late wnsn=1 lexsn=5:00:00:new:00>late</wf>
<punc>.</punc>
</s>
"""
WORDS = ("spring", "home", "fish", "line", "case", "cell", "note", "ring")


def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fixture that makes the scripts importable."""
    yield from import_from(PROJECT / "scripts", monkeypatch)


def semcor_text(number: int) -> str:
    """Create a document of two sentences, with "bank" in one of two senses and another
    word."""
    values = {"sense": number % 2 + 1, "file": 17 - 3 * (number % 2)}
    return "".join(
        SENTENCE.format(number=n, word=WORDS[(number + n) % len(WORDS)], **values)
        for n in (1, 2)
    )


def write_semcor(path: Path, n_documents: int = 16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for number in range(n_documents):
            content = semcor_text(number).encode("utf8")
            member = tarfile.TarInfo(f"x/data/brown1/tagfiles/br-a{number:02}")
            member.size = len(content)
            archive.addfile(member, BytesIO(content))


def write_wic(folder: Path, n: int = 16) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    words = [WORDS[number % len(WORDS)] for number in range(n)]
    columns = {
        "examples": [f"{word}\t1\tthe {word} of it" for word in words],
        "definitions": [f"something like {word}s" for word in words],
        "hypernyms": ["time_of_year\tseason"] * n,
        "labels": ["T" if number % 3 else "F" for number in range(n)],
    }
    for name in ("train", "dev"):
        for part, lines in columns.items():
            text = "".join(f"{line}\n" for line in lines)
            (folder / f"{name}_{part}.txt").write_text(text, encoding="utf8")


def write_assets(project: Path) -> None:
    assets = project / "assets"
    (assets / "ewt").mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        path = assets / "ewt" / f"en_ewt-ud-{split}.conllu"
        path.write_text(TREES * 3, encoding="utf8")
    write_semcor(assets / "semcor3.0.tar")
    write_wic(assets / "wic")
