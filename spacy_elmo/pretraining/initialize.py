"""The network at the start of a run: random, or from pretrained weights."""

import torch

from ..bilm import BiLM
from ..bilm.softmax import FullSoftmax, make_output_layer
from ..formats import load_bilm
from ..formats.hdf5 import import_h5py
from ..text.vocabulary import Vocabulary
from .data.random_streams import WEIGHTS, make_generator
from .language_model import LanguageModel
from .settings import PretrainSettings, SoftmaxSettings
from .step import TrainingError


def make_bilm(settings: PretrainSettings) -> BiLM:
    """Create or load the network, and seed PyTorch for the output layer.

    RAISES: TrainingError if the weights cannot be exported as configured, ImportError
        if h5py is missing to do so.
    """
    if settings.export.hdf5:
        import_h5py()  # raises now rather than at the first export
    weights = settings.initialize.weights
    generator = make_generator(settings.training.seed, WEIGHTS)
    torch.manual_seed(generator.initial_seed())
    if weights is None:
        assert settings.bilm is not None, "checked by the settings"
        return BiLM(settings.bilm)
    bilm = load_bilm(*weights)
    if settings.export.hdf5 and bilm.config.characters != "bytes":
        raise TrainingError(
            "export.hdf5: expected weights that encode words as bytes, found "
            f"{', '.join(weights)}, which use a vocabulary of characters. The "
            "published format cannot represent them: remove the setting."
        )
    return bilm


def add_output_layer(
    bilm: BiLM, vocabulary: Vocabulary, settings: SoftmaxSettings
) -> LanguageModel:
    """Create the output layer of a network.

    vocabulary (Vocabulary): The words that it predicts.
    """
    softmax = make_output_layer(
        len(vocabulary), bilm.config.projection_dim, **settings.to_dict()
    )
    if isinstance(softmax, FullSoftmax):
        softmax.start_from(vocabulary.counts)
    return LanguageModel(bilm, softmax)
