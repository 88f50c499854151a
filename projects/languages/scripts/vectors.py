"""Train floret vectors on tokenized text, for spaCy."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import floret
import spacy
import typer
from languages import LANGUAGES, find_language
from spacy.training.initialize import convert_vectors
from wasabi import msg


def main(
    language: Annotated[str, typer.Argument(help=f"One of {', '.join(LANGUAGES)}")],
    text: Annotated[Path, typer.Argument(help="Tokenized text", exists=True)],
    target: Annotated[Path, typer.Argument(help="Folder of the pipeline to write")],
    dim: Annotated[int, typer.Option(help="Width of the vectors")] = 200,
    rows: Annotated[int, typer.Option(help="Rows of the table")] = 50000,
    epochs: Annotated[int, typer.Option(help="Passes over the text")] = 10,
) -> None:
    """Train skip-gram vectors, which suit small corpora better than CBOW, over words
    and their parts of 3 to 5 characters, and store them in an empty pipeline."""
    nlp = spacy.blank(find_language(language).code)
    target.mkdir(parents=True, exist_ok=True)  # before hours of training
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
    with TemporaryDirectory() as folder:
        table = Path(folder) / "vectors.floret"
        model.save_floret_vectors(str(table))
        convert_vectors(nlp, table, truncate=0, prune=-1, mode="floret")
    nlp.to_disk(target)
    msg.good(f"{target}: {rows:,} rows of {dim}")


if __name__ == "__main__":
    typer.run(main)
