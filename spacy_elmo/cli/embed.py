"""python -m spacy elmo embed: the vectors of each word of a text, as a file."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from ._text import (
    BatchTokensOption,
    GPUOption,
    ModelOption,
    Precision,
    PrecisionOption,
    SentencesOption,
    TokenizerOption,
    load_model,
    reading,
    tokenization,
    weights_paths,
)
from ._util import errors_as_messages


def embed_cli(
    text: Annotated[
        str,
        typer.Argument(
            metavar="IN", help="File, folder or glob (.txt, .jsonl, compressed)"
        ),
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="HDF5 file to write (.hdf5, .h5)")
    ],
    model: ModelOption = None,
    layers: Annotated[
        str,
        typer.Option(
            "--layers",
            "-l",
            help="all, top, mean, or one by its number, 0 for the words by themselves",
        ),
    ] = "all",
    half: Annotated[
        bool, typer.Option("--half", "-H", help="Write float16, in half the space")
    ] = False,
    forget_sentences: Annotated[
        bool,
        typer.Option(
            "--forget-sentences",
            help="Without sentence_to_index, whose memory grows with the text",
        ),
    ] = False,
    tokenizer: TokenizerOption = None,
    sentences: SentencesOption = None,
    precision: PrecisionOption = Precision.float32,
    batch_tokens: BatchTokensOption = 4096,
    gpu_id: GPUOption = -1,
    force: Annotated[
        bool, typer.Option("--force", "-F", help="Write over what is there")
    ] = False,
) -> None:
    """
    Write the vectors of each word of a text to an HDF5 file, as AllenNLP's elmo command
    did.

    The sentences are the datasets "0", "1", ... (empty lines are none): (layers, words,
    width), or (words, width) for one layer, with the words as JSON in the attribute
    "words". "sentence_to_index" is JSON of each sentence and its number.
    """
    from ..embedding.encoding import ALL, MEAN, TOP, check_layer, encode_stream
    from ..embedding.vector_file import check_target, write_vectors

    with errors_as_messages():
        check_target(output, force)
        paths = weights_paths(model)
        how = tokenization(paths, tokenizer, sentences)
        bilm = load_model(paths, gpu_id)
        check_layer(layers, bilm, (ALL, TOP, MEAN))
        with reading([text], how) as stream:
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
        f"{how.tokenizer}, sentences: {how.sentences})",
        str(output),
    )
