"""Train floret vectors on tokenized text."""

from pathlib import Path
from typing import Annotated

import floret
import typer
from wasabi import msg


def main(
    text: Annotated[Path, typer.Argument(help="Tokenized text", exists=True)],
    target: Annotated[Path, typer.Argument(help="Table of vectors to write")],
    dim: Annotated[int, typer.Option(help="Width of the vectors")] = 200,
    rows: Annotated[int, typer.Option(help="Rows of the table")] = 50000,
    epochs: Annotated[int, typer.Option(help="Passes over the text")] = 10,
) -> None:
    """Train skip-gram vectors, which suit small corpora better than CBOW, over words
    and their parts of 3 to 5 characters, and write them for `spacy init vectors`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    model = floret.train_unsupervised(
        str(text),
        model="skipgram",
        mode="floret",
        hashCount=2,
        bucket=rows,
        dim=dim,
        minn=3,
        maxn=5,
        minCount=3,
        epoch=epochs,
        thread=1,  # more would make the result depend on chance
        verbose=1,
    )
    model.save_floret_vectors(str(target))
    msg.good(f"{target}: {rows:,} rows of {dim}")


if __name__ == "__main__":
    typer.run(main)
