"""python -m spacy elmo embed."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Callable, Dict, Iterator, Optional

import typer
from wasabi import msg

from ._docs import read_docs
from ._util import (
    LAYER_HELP,
    TEXT_HELP,
    BatchTokensOption,
    ForceOption,
    GPUOption,
    ModelOption,
    Precision,
    PrecisionOption,
    SentencesOption,
    TextFieldOption,
    TokenizerOption,
    choose_tokenization,
    command,
    load_model,
    progress_bar,
    weights_paths,
)

if TYPE_CHECKING:
    from ..parts import Parts
    from ..text.documents import DocumentSentence
    from ..text.tokenization import Tokenization

MAX_WORDS = 1024
"""Maximum length of a sentence of a text. Longer ones are text whose boundaries were
missed, and are split, which bounds memory."""

DOCS, CONLLU = ".spacy", ".conllu"


def embed_cli(
    text: Annotated[
        str,
        typer.Argument(
            metavar="IN", help=f"{TEXT_HELP}. Or a .conllu file, or docs (.spacy)"
        ),
    ],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="Output folder for Parquet files, or a file ending in .hdf5, .h5 "
            "(HDF5) or .npz (NumPy)",
        ),
    ],
    model: ModelOption = None,
    layers: Annotated[
        str,
        typer.Option(
            "--layers", "-l", help=f"all, {LAYER_HELP}; or several numbers, as in 0,2"
        ),
    ] = "all",
    mix: Annotated[
        Optional[str],
        typer.Option(
            "--mix", help="Weights of the layers, as in 0.2,0.3,0.5, for their sum"
        ),
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", "-H", help="Write float16 instead of float32")
    ] = False,
    compress: Annotated[
        bool,
        typer.Option(
            "--compress", "-c", help="Compress: Zstandard in Parquet, else deflate"
        ),
    ] = False,
    forget_sentences: Annotated[
        bool,
        typer.Option(
            "--forget-sentences",
            help="Omit sentence_to_index from HDF5; it is held in memory",
        ),
    ] = False,
    tokenizer: TokenizerOption = None,
    sentences: SentencesOption = None,
    text_field: TextFieldOption = "text",
    precision: PrecisionOption = Precision.float32,
    batch_tokens: BatchTokensOption = 4096,
    gpu_id: GPUOption = -1,
    force: ForceOption = False,
) -> None:
    """
    Write the vectors of a corpus to Parquet, HDF5 or NumPy files.

    OUT is a folder of Parquet files with one row per sentence, unless its name ends in
    .hdf5 or .h5 (the layout of AllenNLP's elmo command) or .npz. The order of the
    sentences is kept, and memory does not grow with the corpus.

    If the command is interrupted, run it again to resume.
    """
    from ..embedding.columns import select_columns
    from ..embedding.corpus import hash_weights, write_parts
    from ..embedding.vector_file import is_dataset

    with command():
        dataset = is_dataset(output)
        paths = weights_paths(model)
        suffix = Path(text).suffix.lower()
        is_tokenized = suffix in (DOCS, CONLLU)
        if is_tokenized and (tokenizer or sentences):
            raise ValueError(
                f"{text}: expected no --tokenizer and no --sentences, because the text "
                "is tokenized already. Remove them."
            )
        if forget_sentences and output.suffix.lower() not in (".h5", ".hdf5"):
            raise ValueError(
                "--forget-sentences: expected an HDF5 file, the only one that has "
                f"sentence_to_index, found {output}. Remove the option."
            )
        tokenization = choose_tokenization(paths, tokenizer, sentences, text_field)
        bilm = load_model(paths, gpu_id)
        columns = select_columns(layers, mix, bilm.config.n_layers + 1)
        dtype = "float16" if half else "float32"
        settings = {
            "weights": hash_weights(paths),
            "tokenizer": None if is_tokenized else tokenization.tokenizer,
            "columns": {name: row.tolist() for name, row in columns.items()},
            "dtype": dtype,
            "compress": compress,
            "precision": precision.value,
        }
        unit = {DOCS: "docs", CONLLU: "files"}.get(suffix, "B")
        with (
            _open_output(output, dataset, settings, force) as parts,
            progress_bar(unit) as progress,
        ):
            if parts.n_items:
                msg.info(f"Resuming after {parts.n_items:,} sentences")
            written = write_parts(
                parts,
                bilm,
                _read_input(text, suffix, tokenization, progress),
                columns,
                dtype=dtype,
                parquet=dataset,
                compress=compress,
                batch_tokens=batch_tokens,
                precision=precision.value,
            )
            _finish(parts, output, dataset, compress, index=not forget_sentences)
        msg.good(
            f"{written.n_sentences:,} sentences, {written.n_words:,} words (tokenizer: "
            f"{tokenization.tokenizer}, sentences: {tokenization.sentences})",
            str(output),
        )


@contextmanager
def _open_output(
    output: Path, dataset: bool, settings: Dict[str, Any], force: bool
) -> Iterator["Parts[DocumentSentence]"]:
    from ..embedding.corpus import identify
    from ..embedding.vector_file import PARQUET_SUFFIX
    from ..parts import open_dataset, open_parts

    if dataset:
        with open_dataset(
            output, settings, identify, PARQUET_SUFFIX, force=force
        ) as parts:
            yield parts
    else:
        with open_parts(output, settings, identify, force=force) as parts:
            yield parts


def _finish(
    parts: "Parts[DocumentSentence]",
    output: Path,
    dataset: bool,
    compress: bool,
    index: bool,
) -> None:
    from ..embedding.vector_file import NUMPY_SUFFIX, join_hdf5, join_numpy

    if dataset:
        parts.finish()
        return
    with parts.join(output) as path:
        if output.suffix.lower() == NUMPY_SUFFIX:
            join_numpy(path, parts.paths, compress=compress)
        else:
            join_hdf5(path, parts.paths, compress=compress, index=index)


def _read_input(
    text: str,
    suffix: str,
    tokenization: "Tokenization",
    progress: Callable[[int, int], None],
) -> Iterator["DocumentSentence"]:
    from ..text.conllu import read_conllu
    from ..text.documents import read_documents
    from ..text.files import find_files

    if suffix == DOCS:
        return read_docs(Path(text), progress)
    if suffix == CONLLU:
        return read_conllu(find_files([text]), progress)
    return read_documents(tokenization, [text], max_words=MAX_WORDS, progress=progress)
