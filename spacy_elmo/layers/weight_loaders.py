"""Weight loaders for [initialize.components.elmo.weights] and for ElmoTok2Vec, and the
default weights.

A loader reads no file until it is called, at initialization, so that a trained pipeline
loads on machines without the files.
"""

import warnings
import weakref
from functools import partial
from pathlib import Path
from typing import Any, Callable, Literal, Optional, Tuple

from spacy.language import Language
from spacy.util import registry

from ..bilm import BiLM
from ..formats import WeightsError, load_bilm
from ..formats.bundled import BUNDLED, bundled_folder
from ..formats.output_layer import StoredOutputLayer, read_output_layer
from ..text.tokenization import weights_folder

Loader = Callable[[], BiLM]

ENGLISH_WEIGHTS = (
    "{name!r} uses the English weights that ship with spacy-elmo, in a pipeline of the "
    'language "xx". For other weights, name them in '
    "[initialize.components.{name}.weights] (--paths.elmo in our configs), or call "
    "set_bilm. To use the English ones without this warning, name "
    "spacy_elmo.BundledWeights.v1 there."
)


def bundled_weights_v1(size: Literal["md", "sm"] = "md") -> Loader:
    """spacy_elmo.BundledWeights.v1: the English weights that ship with the package.

    size (str): "md", or "sm" for the small, fast ones, which have no output layer.
    """
    return BundledWeights(size)


def pretrained_weights_v1(path: Optional[Path]) -> Optional[Loader]:
    """spacy_elmo.PretrainedWeights.v1: weights in any format that `load_bilm` knows.

    path (Optional[Path]): Folder or file. None has the same effect as no loader.
    """
    return None if path is None else PretrainedWeights(path)


def allennlp_weights_v1(
    options_file: Optional[Path], weights_file: Optional[Path]
) -> Loader:
    """spacy_elmo.AllenNLPWeights.v1: the published pair.

    options_file (Optional[Path]): The options.json.
    weights_file (Optional[Path]): The HDF5 file.
    """
    return partial(_load_pair, options_file, weights_file)


class PretrainedWeights:
    """Loads a biLM when it is called, and its output layer on request.

    path (Path): Folder or file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self) -> BiLM:
        return load_bilm(self.path)

    def output_layer(self, width: int) -> StoredOutputLayer:
        """Read the output layer that was trained with the biLM.

        width (int): The biLM's projection_dim.
        RAISES: WeightsError if the weights have none, or if it is damaged.
        """
        return read_output_layer(weights_folder(self.path), width)


class BundledWeights:
    """Loads the weights that ship with the package, as `PretrainedWeights` does.

    size (str): "md" or "sm".
    """

    def __init__(self, size: str = "md") -> None:
        self.size = size

    def __call__(self) -> BiLM:
        return load_bilm(bundled_folder(self.size))

    def output_layer(self, width: int) -> StoredOutputLayer:
        return read_output_layer(bundled_folder(self.size), width)


def _load_pair(options_file: Optional[Path], weights_file: Optional[Path]) -> BiLM:
    if options_file is None or weights_file is None:
        raise WeightsError(
            "[initialize.components.elmo.weights]: expected options_file and "
            f"weights_file, found {options_file} and {weights_file}."
        )
    return load_bilm(options_file, weights_file)


class DefaultWeights:
    """Finds weights for a component without any: the English weights that ship with
    the package, if the pipeline is English or of no particular language
    ("xx") and its config names no others. The config may choose their size.

    Weights named in the config are loaded only by nlp.initialize(), which skips frozen
    components; they must not be replaced silently.

    nlp (Language): The pipeline.
    name (str): The component's name.
    """

    def __init__(self, nlp: Language, name: str) -> None:
        self._nlp = weakref.ref(nlp)
        self._name = name
        self._lang = nlp.lang

    def __call__(self) -> Optional[Loader]:
        """Find the weights. Warns if a pipeline of no particular language gets English
        ones that its config does not name."""
        loader, is_named = self._find()
        if loader is not None and self._lang == "xx" and not is_named:
            warnings.warn(ENGLISH_WEIGHTS.format(name=self._name), stacklevel=2)
        return loader

    def _find(self) -> Tuple[Optional[Loader], bool]:
        """RETURNS (Tuple[Optional[Loader], bool]): The weights, and whether the config
        names them."""
        if self._lang not in ("en", "xx"):
            return None, False
        named = self._named_in_config()
        if named is not None and not isinstance(named, BundledWeights):
            return None, True
        loader = named or BundledWeights()
        return (loader if BUNDLED[loader.size].is_dir() else None), named is not None

    def _named_in_config(self) -> Optional[Loader]:
        nlp = self._nlp()
        if nlp is None:
            return None
        components = nlp.config.interpolate()["initialize"]["components"]
        block = components.get(self._name, {}).get("weights")
        loader: Optional[Loader] = None
        if block:
            loader = registry.resolve({"weights": block})["weights"]
        return loader

    def __reduce__(self) -> Tuple[Any, ...]:
        """Copy and pickle the answer: the pipeline does not travel with a component."""
        return partial, (_identity, self._find()[0])


def _identity(loader: Optional[Loader]) -> Optional[Loader]:
    return loader
