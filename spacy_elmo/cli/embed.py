"""python -m spacy elmo embed."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

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
    read_text,
    weights_paths,
)


def embed_cli(
    text: Annotated[str, typer.Argument(metavar="IN", help=TEXT_HELP)],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="Output file (.hdf5 or .h5)")
    ],
    model: ModelOption = None,
    layers: Annotated[
        str, typer.Option("--layers", "-l", help=f"all, {LAYER_HELP}")
    ] = "all",
    half: Annotated[
        bool, typer.Option("--half", "-H", help="Write float16 instead of float32")
    ] = False,
    forget_sentences: Annotated[
        bool,
        typer.Option(
            "--forget-sentences",
            help="Omit sentence_to_index, which is held in memory until the end",
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
    Write the vectors of a text to an HDF5 file.

    The layout is the one of AllenNLP's elmo command: each sentence is a dataset ("0",
    "1", ...; empty lines are skipped) of shape (layers, words, width), or (words,
    width) for a single layer. Its attribute "words" is a JSON list. The dataset
    "sentence_to_index" is JSON that maps each sentence to its number.
    """
    from ..embedding.encoding import ALL, MEAN, TOP, check_layer, encode_stream
    from ..embedding.vector_file import check_target, write_vectors

    with command():
        check_target(output, force)
        paths = weights_paths(model)
        tokenization = choose_tokenization(paths, tokenizer, sentences, text_field)
        bilm = load_model(paths, gpu_id)
        check_layer(layers, bilm, (ALL, TOP, MEAN))
        with read_text([text], tokenization) as stream:
            written = write_vectors(
                output,
                encode_stream(
                    bilm, stream, batch_tokens=batch_tokens, precision=precision.value
                ),
                layer=layers,
                dtype="float16" if half else "float32",
                index=not forget_sentences,
            )
        msg.good(
            f"{written.n_sentences:,} sentences, {written.n_words:,} words (tokenizer: "
            f"{tokenization.tokenizer}, sentences: {tokenization.sentences})",
            str(output),
        )
