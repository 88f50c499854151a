"""Tokenize a language's raw text, and cut it to several sizes."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated, Iterator, List

import spacy
import typer
from languages import ALL, LANGUAGES, find_language
from wasabi import msg

from spacy_elmo.files import replace_folder
from spacy_elmo.text.files import CorpusError, find_files, read_chunks


def main(
    language: Annotated[str, typer.Argument(help=f"One of {', '.join(LANGUAGES)}")],
    source: Annotated[Path, typer.Argument(help="Folder of the raw text")],
    target: Annotated[Path, typer.Argument(help="Folder to write")],
    sizes: Annotated[str, typer.Argument(help="Millions of words, such as 1,3")],
) -> None:
    """Write train-all.txt, its first million words as train-1.txt and so on, valid.txt
    and test.txt: a sentence per line, its words separated by spaces, and an empty line
    between documents. train.jsonl has the same words for `spacy pretrain`."""
    code = find_language(language).code
    try:
        with replace_folder(target) as folder:
            for part in ("valid", "test"):
                lines = tokenized_lines(code, str(source / f"*.{part}.txt"))
                text = "".join(f"{' '.join(words)}\n" for words in lines)
                (folder / f"{part}.txt").write_text(text, encoding="utf8")
            lines = tokenized_lines(code, str(source / "*.train-?.txt"))
            n_words = write_sizes(lines, folder, sizes.split(","))
    except CorpusError as error:
        msg.fail(str(error), "Run the project's command assets or local-assets.")
        raise typer.Exit(1) from error
    msg.good(f"{target}: {n_words:,} words for training")


def tokenized_lines(code: str, pattern: str) -> Iterator[List[str]]:
    """Yield the words of each line, or none for an empty line.

    code (str): Language of the tokenizer.
    pattern (str): Glob of the text files.
    """
    nlp = spacy.blank(code)
    for chunk in read_chunks(find_files([pattern])):
        for line in chunk.lines:
            yield [token.text for token in nlp.make_doc(line) if not token.is_space]


def write_sizes(lines: Iterator[List[str]], folder: Path, sizes: List[str]) -> int:
    """Write the lines to one file per size, and all of them.

    sizes (List[str]): Maximum numbers of words, in millions.
    RETURNS (int): The number of words in all.
    """
    n_words = 0
    with ExitStack() as stack:

        def create(name: str) -> IO[str]:
            return stack.enter_context((folder / name).open("w", encoding="utf8"))

        files = {float(size): create(f"train-{size}.txt") for size in sizes}
        files[float("inf")] = create(f"train-{ALL}.txt")
        jsonl = create("train.jsonl")
        for words in lines:
            n_words += len(words)
            for millions, file in files.items():
                if n_words <= 1e6 * millions:
                    file.write(f"{' '.join(words)}\n")
            if words:
                jsonl.write(json.dumps({"text": " ".join(words)}) + "\n")
    return n_words


if __name__ == "__main__":
    typer.run(main)
