"""A pretrained language model as a folder: what `load_bilm` reads, and beside it the
output layer, its vocabulary and how the text was tokenised, so that the perplexity of
any text can be told."""

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
"""Subfolder of the published pair."""


class PretrainedModel(NamedTuple):
    """meta: "tokenizer", "sentences", "step", "words", "held_out"."""

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
    """Write the folder, in the place of an earlier one in one step.

    softmax: what the output layer was made by. hdf5: the published pair as well.
    """
    with replace_folder(folder) as beside:
        save_bilm(model.bilm, beside)
        state = model.softmax.state_dict()
        tensors = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
        with replace_file(beside / SOFTMAX) as path:
            try:
                save_file(tensors, str(path))
            except SafetensorError as error:
                # Its writer has an error of its own for a full disk.
                raise OSError(f"{path}: {error}") from error
        vocabulary.write(beside / VOCABULARY)
        write_json(beside / META, {"softmax": softmax.to_dict(), **meta})
        if hdf5:
            published.write(
                model.bilm,
                beside / HDF5 / options.FILE_NAME,
                beside / HDF5 / published.WEIGHTS,
            )


def read_model(folder: Union[str, Path]) -> PretrainedModel:
    """Load what `write_model` wrote.

    Raises WeightsError where the folder has no output layer, as published weights have
    none, or where a file is damaged.
    """
    folder = Path(folder)
    missing = [
        name for name in (SOFTMAX, VOCABULARY, META) if not (folder / name).is_file()
    ]
    if missing:
        raise WeightsError(
            f"{folder}: expected a model-best or model-last that pretraining wrote, "
            f"found no {', '.join(missing)} in it. Weights without their output layer "
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
            f"wrote them, found others ({error}). Train again, or copy the folder anew."
        ) from error
    return PretrainedModel(LanguageModel(bilm, softmax), vocabulary, meta)
