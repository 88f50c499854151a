"""The network at the start of a run: random, or from pretrained weights; and the
teacher whose layers it learns to match."""

from typing import Dict, Optional, Sequence

import torch

from ..bilm import BiLM
from ..bilm.softmax import FullSoftmax, make_output_layer
from ..files import PathLike, hash_files
from ..formats import load_bilm, native
from ..formats.bundled import bundled_folder
from ..formats.hdf5 import import_h5py
from ..text.vocabulary import Vocabulary
from .data.random_streams import WEIGHTS, make_generator
from .distillation import Teacher
from .language_model import LanguageModel
from .sections import InitializeSettings, SoftmaxSettings
from .settings import PretrainSettings
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


def load_teacher(settings: InitializeSettings) -> Optional[BiLM]:
    """Load the teacher, or return None if there is none.

    RAISES: WeightsError if there are no such weights, or if they are damaged.
    """
    if settings.teacher is None:
        return None
    return load_bilm(*_teacher_paths(settings)).requires_grad_(False)


def hash_weights(settings: InitializeSettings) -> Dict[str, str]:
    """Hash the initial weights and the teacher, which must be unchanged when a run is
    resumed.

    RETURNS (Dict[str, str]): The hashes by the name of the setting; {} without weights.
    """
    paths = {
        "initialize.weights": settings.weights or (),
        "initialize.teacher": _teacher_paths(settings),
    }
    return {name: hash_files(files) for name, files in paths.items() if files}


def _teacher_paths(settings: InitializeSettings) -> Sequence[PathLike]:
    if settings.teacher == ("bundled",):
        return [bundled_folder() / native.WEIGHTS]  # and not its card
    return settings.teacher or ()


def add_output_layer(
    bilm: BiLM,
    vocabulary: Vocabulary,
    settings: SoftmaxSettings,
    teacher: Optional[Teacher] = None,
) -> LanguageModel:
    """Create the output layer of a network.

    vocabulary (Vocabulary): The words that it predicts.
    teacher (Optional[Teacher]): Trained biLM whose layers the network learns to match.
    """
    softmax = make_output_layer(
        len(vocabulary), bilm.config.projection_dim, **settings.to_dict()
    )
    if isinstance(softmax, FullSoftmax):
        softmax.start_from(vocabulary.counts)
    return LanguageModel(bilm, softmax, teacher)
