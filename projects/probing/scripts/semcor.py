"""Convert SemCor to JSONL: one sentence per line, with words and senses."""

import hashlib
import re
import tarfile
from pathlib import Path
from typing import Annotated, Any, Dict, Iterable, Iterator, List, Optional

import srsly
import typer
from wasabi import msg

FILE = re.compile(r"brown[12v]/tagfiles/br-[a-z]\d\d$")
SENTENCE = re.compile(r"<s snum=(\d+)>(.*?)</s>", re.DOTALL)
TOKEN = re.compile(r"<wf ([^>]*)>(.*)</wf>|<punc>(.*)</punc>")
ATTRIBUTE = re.compile(r"(\w+)=(\S*)")
# Quotes as in current text, which biLMs are trained on
QUOTES = {"``": '"', "''": '"', "`": "'"}
# WordNet's synset types; adjective satellites (5) share their numbering with
# adjectives.
POS = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
# WordNet's lexicographer files, which give the kind of a sense
KINDS = """
all pert all Tops act animal artifact attribute body cognition communication event
feeling food group location motive object person phenomenon plant possession process
quantity relation shape state substance time body change cognition communication
competition consumption contact creation emotion motion perception possession social
stative weather ppl
""".split()  # noqa: SIM905


def main(
    archive: Annotated[
        Path, typer.Argument(help="Tar with SemCor's files", exists=True)
    ],
    output: Annotated[Path, typer.Argument(help="JSONL file to write")],
    expected: Annotated[
        Optional[str],
        typer.Option("--checksum", help="MD5 of all files in the archive"),
    ] = None,
) -> None:
    """Write each sentence with its document and "split": train, dev or test."""
    files = read_archive(archive)
    # GitHub packs the archive on request, so compare its contents.
    found = hashlib.md5(b"".join(files.values()), usedforsecurity=False).hexdigest()
    if not files or expected not in (None, found):
        msg.fail(
            f"{archive}: expected SemCor (MD5 of its files {expected}), found "
            f"{len(files)} files (MD5 {found})",
            "Delete it and download it again.",
        )
        raise typer.Exit(1)
    splits = split_documents(files)
    sentences = [
        {"document": name, "split": splits[name], **sentence}
        for name, content in files.items()
        for sentence in read_sentences(content.decode("utf8"), name)
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    srsly.write_jsonl(output, sentences)
    n_words = sum(len(sentence["words"]) for sentence in sentences)
    msg.good(f"{output}: {len(sentences):,} sentences, {n_words:,} words")
    for split in ("train", "dev", "test"):
        n_documents = list(splits.values()).count(split)
        n = sum(len(s["senses"]) for s in sentences if s["split"] == split)
        msg.info(f"{split}: {n_documents} documents, {n:,} senses")


def read_archive(path: Path) -> Dict[str, bytes]:
    """Read the annotated files, such as "brown1/tagfiles/br-a01", by name."""
    files: Dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            match = FILE.search(member.name)
            content = archive.extractfile(member) if match else None
            if match and content:
                files[match[0]] = content.read()
    return dict(sorted(files.items()))


def split_documents(names: Iterable[str]) -> Dict[str, str]:
    """Assign each document to train, dev or test.

    Among the documents in which all words have senses, sorted by name and so by genre,
    every fifth is for testing and every tenth for development. All others are for
    training, including "brownv", in which only verbs have senses.
    """
    splits = dict.fromkeys(names, "train")
    complete = [name for name in splits if not name.startswith("brownv")]
    complete.sort(key=lambda name: name.rsplit("/", 1)[-1])
    splits.update(dict.fromkeys(complete[::5], "test"))
    splits.update(dict.fromkeys(complete[2::10], "dev"))
    return splits


def read_sentences(text: str, name: str) -> Iterator[Dict[str, Any]]:
    """Read the sentences of a document, with "senses" for each word or phrase (such as
    "took place") that has a sense in WordNet.

    Names annotated as "a person", "a group" or "a place" are left out, because they
    involve no choice of sense, and so is sense 0, which WordNet no longer has.

    RAISES: ValueError for an unknown form of token.
    """
    for number, content in SENTENCE.findall(text):
        words: List[str] = []
        senses: List[Dict[str, Any]] = []
        for line in filter(None, content.split("\n")):
            token = TOKEN.fullmatch(line)
            if not token:
                raise ValueError(
                    f"{name}, sentence {number}: expected <wf ...>...</wf> or "
                    f"<punc>...</punc>, found {line!r}"
                )
            form = token[3] if token[2] is None else token[2]
            begin = len(words)
            parts = [part for part in form.split("_") if part] or [form]
            words += [QUOTES.get(part, part) for part in parts]
            attributes = dict(ATTRIBUTE.findall(token[1] or ""))
            numbers = [n for n in attributes.get("wnsn", "").split(";") if n.strip("0")]
            if numbers and "pn" not in attributes:
                kind, file = attributes["lexsn"].split(":")[:2]
                sense = {
                    "span": [begin, len(words)],
                    "lemma": attributes["lemma"],
                    "pos": POS[kind],
                    "numbers": [int(n) for n in numbers],
                    "kind": KINDS[int(file)],
                }
                senses.append(sense)
        yield {"words": words, "senses": senses}


if __name__ == "__main__":
    typer.run(main)
