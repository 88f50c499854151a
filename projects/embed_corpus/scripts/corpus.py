"""Convert text to a Parquet corpus with one row per document."""

from itertools import islice
from pathlib import Path
from typing import Annotated, Iterator, List

import pyarrow as pa
import pyarrow.parquet as pq
import typer
from wasabi import msg

from spacy_elmo.cli._util import command
from spacy_elmo.files import replace_file
from spacy_elmo.text.files import find_files, read_chunks


def main(
    text: Annotated[
        str, typer.Argument(help="Text or JSON lines: a file, a folder, a quoted glob")
    ],
    target: Annotated[Path, typer.Argument(help="Parquet file to write")],
    documents: Annotated[
        int, typer.Option(help="Documents per row group", min=1)
    ] = 1000,
) -> None:
    """Write the documents of TEXT to the column "text" of TARGET. In plain text, empty
    lines separate documents."""
    schema = pa.schema([("text", pa.string())])
    n_documents = 0
    stream = read_texts(text)
    with (
        command(),
        replace_file(target) as path,
        pq.ParquetWriter(path, schema) as writer,
    ):
        while texts := list(islice(stream, documents)):
            writer.write_table(pa.table([texts], schema=schema))
            n_documents += len(texts)
    msg.good(f"{target}: {n_documents:,} documents")


def read_texts(text: str) -> Iterator[str]:
    """Yield the documents of text files, with a newline between lines."""
    lines: List[str] = []
    for chunk in read_chunks(find_files([text])):
        for line in chunk.lines:
            if line:
                lines.append(line)
            elif lines:
                yield "\n".join(lines)
                lines = []


if __name__ == "__main__":
    typer.run(main)
