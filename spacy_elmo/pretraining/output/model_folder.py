"""Folders with a pretrained language model: what `load_bilm` reads, plus what
perplexity needs: the output layer, its vocabulary and the tokenization of the text."""

from pathlib import Path
from typing import Any, Dict, NamedTuple, Union

from ...files import replace_folder, write_json
from ...formats import load_bilm, options, published, save_bilm
from ...formats.output_layer import (
    META,
    check_output_layer,
    read_output_layer,
    write_output_layer,
)
from ...text.vocabulary import Vocabulary
from ..language_model import LanguageModel
from ..sections import SoftmaxSettings

HDF5 = "hdf5"
"""Subfolder with the same weights in the published format."""


class PretrainedModel(NamedTuple):
    """What `read_model` returns.

    model (LanguageModel): The network with its output layer.
    vocabulary (Vocabulary): Words of the output layer.
    meta (Dict[str, Any]): "tokenizer", "sentences", "step", "words" and "held_out".
    """

    model: LanguageModel
    vocabulary: Vocabulary
    meta: Dict[str, Any]


def write_model(
    folder: Path,
    model: LanguageModel,
    vocabulary: Vocabulary,
    softmax: SoftmaxSettings,
    meta: Dict[str, Any],
    *,
    hdf5: bool = False,
) -> None:
    """Write a model folder, replacing an earlier one atomically.

    softmax (SoftmaxSettings): Settings of the output layer.
    meta (Dict[str, Any]): Description of the model, as JSON can represent it.
    hdf5 (bool): Write the weights in the published format, too.
    RAISES: OSError if the disk is full or cannot be written.
    """
    with replace_folder(folder) as part:
        save_bilm(model.bilm, part)
        write_output_layer(part, model.softmax, vocabulary)
        write_json(part / META, {"softmax": softmax.to_dict(), **meta})
        if hdf5:
            published.write(
                model.bilm,
                part / HDF5 / options.FILE_NAME,
                part / HDF5 / published.WEIGHTS,
            )


def read_model(folder: Union[str, Path]) -> PretrainedModel:
    """Read a folder that `write_model` wrote.

    RAISES: WeightsError if a file is damaged, or if the folder has no output layer, as
        is the case for published weights.
    """
    folder = Path(folder)
    check_output_layer(folder)
    bilm = load_bilm(folder)
    stored = read_output_layer(folder, bilm.config.projection_dim)
    model = LanguageModel(bilm, stored.softmax)
    return PretrainedModel(model, stored.vocabulary, stored.meta)
