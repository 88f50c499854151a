"""Tokenize text into a folder of shards."""

import shutil
import sys
from pathlib import Path
from typing import Annotated, List

import typer
from wasabi import msg

from spacy_elmo.pretraining.data.corpus import load_shards
from spacy_elmo.pretraining.sections import CorpusSettings


def main(
    target: Annotated[Path, typer.Argument(help="Folder of the shards")],
    text: Annotated[List[str], typer.Argument(help="Files, folders or globs")],
    tokenizer: str = "whitespace",
    sentences: str = "lines",
    n_process: int = 1,
) -> None:
    cache = target.parent / "cache"
    try:
        settings = CorpusSettings.from_dict(
            {
                "train": text,
                "tokenizer": tokenizer,
                "sentences": sentences,
                "n_process": n_process,
            }
        )
        shards = load_shards(
            text, settings, cache, name=target.name, show=sys.stderr.isatty()
        )
    except (OSError, ValueError) as error:
        msg.fail(str(error), exits=1)
    shutil.rmtree(target, ignore_errors=True)
    meta = shards.meta
    if cache in shards.folder.parents:
        shutil.move(shards.folder, target)
    else:
        shutil.copytree(shards.folder, target)
    msg.good(
        f"{target}: {meta['n_tokens']:,} words, {meta['n_sentences']:,} sentences, "
        f"{meta['n_documents']:,} documents, {meta['n_types']:,} types"
    )


if __name__ == "__main__":
    typer.run(main)
