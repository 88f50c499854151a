"""python -m spacy elmo embed."""

from pathlib import Path
from typing import Annotated, Optional

import typer
from wasabi import msg

from ._input import Input, InputArgument
from ._util import (
    LAYER_HELP,
    BatchTokensOption,
    ForceOption,
    GPUOption,
    ModelOption,
    Precision,
    PrecisionOption,
    SentencesOption,
    TextFieldOption,
    TokenizerOption,
    command,
    load_model,
    progress_bar,
    resumable,
    weights_paths,
)

LayersOption = Annotated[
    str,
    typer.Option(
        "--layers", "-l", help=f"all, {LAYER_HELP}; or several numbers, as in 0,2"
    ),
]
MixOption = Annotated[
    Optional[str],
    typer.Option(
        "--mix", help="Write the weighted sum of the layers: weights as in 0.2,0.3,0.5"
    ),
]
HalfOption = Annotated[
    bool, typer.Option("--half", "-H", help="Write float16 instead of float32")
]
CompressOption = Annotated[
    bool,
    typer.Option(
        "--compress", "-c", help="Compress: Zstandard in Parquet, else deflate"
    ),
]
ForgetSentencesOption = Annotated[
    bool,
    typer.Option(
        "--forget-sentences",
        help="Omit sentence_to_index from HDF5; it is held in memory",
    ),
]


OutputArgument = Annotated[
    Path,
    typer.Argument(
        metavar="OUT",
        help="Output folder for Parquet files, or a file ending in .hdf5, .h5 "
        "(HDF5) or .npz (NumPy)",
    ),
]


def embed_cli(
    text: InputArgument,
    output: OutputArgument,
    model: ModelOption = None,
    layers: LayersOption = "all",
    mix: MixOption = None,
    half: HalfOption = False,
    compress: CompressOption = False,
    forget_sentences: ForgetSentencesOption = False,
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
    from ..embedding.output import open_vectors, write_vectors
    from ..embedding.vector_formats import is_dataset
    from ..files import hash_files

    with command():
        is_dataset(output)  # raises before the weights are loaded
        paths = weights_paths(model)
        if forget_sentences and output.suffix.lower() not in (".h5", ".hdf5"):
            raise ValueError(
                "--forget-sentences: expected an HDF5 file, the only one that has "
                f"sentence_to_index, found {output}. Remove the option."
            )
        source = Input(text, paths, tokenizer, sentences, text_field)
        bilm = load_model(paths, gpu_id)
        columns = select_columns(layers, mix, bilm.config.n_layers + 1)
        dtype = "float16" if half else "float32"
        settings = {
            "weights": hash_files(paths),
            "tokenizer": source.tokenizer,
            "columns": {name: row.tolist() for name, row in columns.items()},
            "dtype": dtype,
            "compress": compress,
            "precision": precision.value,
        }
        with (
            open_vectors(output, settings, force=force) as parts,
            progress_bar(source.unit) as progress,
            resumable(parts),
        ):
            written = write_vectors(
                parts,
                output,
                bilm,
                source.read(progress),
                columns,
                dtype=dtype,
                compress=compress,
                index=not forget_sentences,
                batch_tokens=batch_tokens,
                precision=precision.value,
            )
        is_rest = written.n_sentences < parts.n_items
        msg.good(
            f"{'In this run: ' if is_rest else ''}"
            f"{written.n_sentences:,} sentences, {written.n_words:,} words "
            f"({source.tokenization.describe()})",
            str(output),
        )
