"""Split WikiText-2 into sentences. The test set and the first 3,000 lines of the
validation set are for training, the rest of the validation set is held out."""

from pathlib import Path
from typing import Annotated, Iterator, List, Sequence

import typer
from wasabi import msg

N_TRAINED_LINES = 3000
ENDS = (".", "!", "?")


def main(
    assets: Annotated[Path, typer.Argument(help="Folder of the two files")],
    target: Annotated[Path, typer.Argument(help="Folder for train.txt and dev.txt")],
) -> None:
    test = read(assets / "wikitext-2.test.tokens")
    valid = read(assets / "wikitext-2.valid.tokens")
    write(target / "train.txt", [*test, *valid[:N_TRAINED_LINES]])
    write(target / "dev.txt", valid[N_TRAINED_LINES:])


def read(path: Path) -> List[str]:
    with path.open(encoding="utf8") as file:
        return list(file)


def sentences(lines: Sequence[str]) -> Iterator[List[str]]:
    """Split lines into sentences, without headings and lines of one word. Yields an
    empty sentence at each heading."""
    for line in lines:
        words = line.split()
        if line.startswith(" = "):
            yield []
        if line.startswith(" = ") or len(words) < 2:
            continue
        sentence: List[str] = []
        for word in words:
            sentence.append(word)
            if word in ENDS:
                yield sentence
                sentence = []
        if sentence:
            yield sentence


def write(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    found = list(sentences(lines))
    text = "".join(" ".join(sentence) + "\n" for sentence in found)
    path.write_text(text, encoding="utf8")
    msg.good(f"{path}: {sum(map(len, found)):,} words")


if __name__ == "__main__":
    typer.run(main)
