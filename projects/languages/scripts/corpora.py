"""Convert a language's annotated corpora to spaCy's format, a Doc per sentence."""

import random
from pathlib import Path
from typing import Annotated, Iterator, List, Tuple

import spacy
import typer
from languages import LANGUAGES, Task, find_language
from spacy.tokens import Doc, DocBin
from spacy.training.converters import conllu_to_docs
from spacy.vocab import Vocab
from wasabi import msg

from spacy_elmo.files import write_bytes

HELD_OUT = 10
"""One training sentence in this many is held out if there is no development file."""


def main(
    language: Annotated[str, typer.Argument(help=f"One of {', '.join(LANGUAGES)}")],
    source: Annotated[Path, typer.Argument(help="Folder of the tasks' folders")],
    target: Annotated[Path, typer.Argument(help="Folder to write")],
) -> None:
    """Write train.spacy, dev.spacy and test.spacy for each task. The training sentences
    are shuffled, so that the first hundred are a sample of them all."""
    for name, task in find_language(language).tasks.items():
        train, dev, test = read_parts(task, source / name)
        for part, docs in (("train", train), ("dev", dev), ("test", test)):
            bin_ = DocBin(docs=docs, store_user_data=True)
            write_bytes(target / name / f"{part}.spacy", bin_.to_bytes())
        counts = " / ".join(f"{len(docs):,}" for docs in (train, dev, test))
        msg.good(f"{target / name}: {counts} sentences")


def read_parts(task: Task, folder: Path) -> Tuple[List[Doc], List[Doc], List[Doc]]:
    """Read the training, development and test sentences of a task."""
    train_file, dev_file, test_file = task.files
    train = list(read_docs(task, folder / train_file))
    random.Random(0).shuffle(train)
    if dev_file is None:
        n_dev = len(train) // HELD_OUT
        dev, train = train[:n_dev], train[n_dev:]
    else:
        dev = list(read_docs(task, folder / dev_file))
    return train, dev, list(read_docs(task, folder / test_file))


def read_docs(task: Task, path: Path) -> Iterator[Doc]:
    """Read a file in the task's format. Exits if there is none."""
    if not path.is_file():
        msg.fail(
            f"Expected {path}, found no such file",
            "Run the project's command assets or local-assets.",
        )
        raise typer.Exit(1)
    if task.format == "conllu":
        return iter(conllu_to_docs(path.read_text("utf8"), n_sents=1, no_print=True))
    if task.format == "entities":
        return read_entities(path)
    return read_upos(path)


def read_entities(path: Path) -> Iterator[Doc]:
    # MasakhaNER mixes IOB1 and IOB2.
    make_reader = spacy.registry.readers.get("spacy_elmo.ConllCorpus.v1")
    reader = make_reader(path, scheme="IOB", columns=["TEXT", "NER"])
    for example in reader(spacy.blank("xx")):
        yield example.reference


def read_upos(path: Path) -> Iterator[Doc]:
    """Read MasakhaPOS: a word and its tag per line, empty lines between sentences."""
    vocab = Vocab()
    for sentence in path.read_text("utf8").strip().split("\n\n"):
        words, tags = zip(*(line.split() for line in sentence.splitlines()))
        yield Doc(vocab, words=list(words), pos=list(tags))


if __name__ == "__main__":
    typer.run(main)
