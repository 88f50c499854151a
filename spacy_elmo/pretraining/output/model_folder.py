"""Folders with a pretrained language model: what `load_bilm` reads, plus what
perplexity needs: the output layer, its vocabulary and the tokenization of the text."""

import json
from pathlib import Path
from typing import Any, Dict, NamedTuple, Union

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ...files import replace_file, replace_folder, write_json
from ...formats import load_bilm, options, published, save_bilm
from ...formats.checks import WeightsError
from ...text.tokenization import PRETRAINING_META
from ..data.vocabulary import Vocabulary
from ..language_model import LanguageModel, make_softmax
from ..settings import SoftmaxSettings

SOFTMAX, VOCABULARY, META = "softmax.safetensors", "vocabulary.txt", PRETRAINING_META
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
        state = model.softmax.state_dict()
        tensors = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
        with replace_file(part / SOFTMAX) as path:
            try:
                save_file(tensors, str(path))
            except SafetensorError as error:
                # safetensors has its own error for a full disk.
                raise OSError(f"{path}: {error}") from error
        vocabulary.write(part / VOCABULARY)
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
    missing = [
        name for name in (SOFTMAX, VOCABULARY, META) if not (folder / name).is_file()
    ]
    if missing:
        raise WeightsError(
            f"{folder}: expected a model-best or model-last that pretraining wrote, "
            f"found no {', '.join(missing)} in it. Weights without an output layer "
            "have no perplexity."
        )
    bilm = load_bilm(folder)
    try:
        vocabulary = Vocabulary.read(folder / VOCABULARY)
        meta = json.loads((folder / META).read_text(encoding="utf8"))
        names = SoftmaxSettings.model_fields
        settings = SoftmaxSettings(**{name: meta["softmax"][name] for name in names})
        softmax = make_softmax(settings, len(vocabulary), bilm.config.projection_dim)
        softmax.load_state_dict(load_file(folder / SOFTMAX))
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"{folder}: expected {META}, {VOCABULARY} and {SOFTMAX} as pretraining "
            f"wrote them, found others ({error}). Copy or train it again."
        ) from error
    return PretrainedModel(LanguageModel(bilm, softmax), vocabulary, meta)
