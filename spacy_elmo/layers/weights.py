"""Loaders of weights for [initialize.components.elmo.weights] and for ElmoTok2Vec. What
they return reads no file before the pipeline is initialised, so that a trained pipeline
loads where the files are not."""

from functools import partial
from pathlib import Path
from typing import Callable, Optional

from ..bilm import BiLM
from ..formats import WeightsError, load_bilm

Loader = Callable[[], BiLM]

BUNDLED = Path(__file__).parent.parent / "weights"


def bundled_weights_v1() -> Loader:
    """spacy_elmo.BundledWeights.v1: the English weights that ship with the package."""
    return _load_bundled


def pretrained_weights_v1(path: Optional[Path]) -> Optional[Loader]:
    """spacy_elmo.PretrainedWeights.v1: weights of any format that `load_bilm` knows.

    path: a folder or file; null: as if no loader were named.
    """
    return None if path is None else partial(load_bilm, path)


def allennlp_weights_v1(
    options_file: Optional[Path], weights_file: Optional[Path]
) -> Loader:
    """spacy_elmo.AllenNLPWeights.v1: the published pair.

    options_file: the options.json. weights_file: the HDF5 file.
    """
    return partial(_load_pair, options_file, weights_file)


def default_weights(lang: str) -> Optional[Loader]:
    """For a pipeline of this language that names none: the weights that ship, for
    English and for no language in particular ("xx"), if this version ships any."""
    return _load_bundled if lang in ("en", "xx") and BUNDLED.is_dir() else None


def _load_bundled() -> BiLM:
    if not BUNDLED.is_dir():
        raise WeightsError(
            f"{BUNDLED}: expected the weights that ship with spacy-elmo, found no such "
            "folder: this version ships none. Name your own with "
            "spacy_elmo.PretrainedWeights.v1."
        )
    return load_bilm(BUNDLED)


def _load_pair(options_file: Optional[Path], weights_file: Optional[Path]) -> BiLM:
    if options_file is None or weights_file is None:
        raise WeightsError(
            "[initialize.components.elmo.weights]: expected options_file and "
            f"weights_file, found {options_file} and {weights_file}."
        )
    return load_bilm(options_file, weights_file)
