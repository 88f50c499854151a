"""The network, in plain PyTorch, independent of spaCy, Thinc and file formats."""

from .characters import ByteCharacters, Characters, VocabularyCharacters
from .config import BiLMConfig
from .model import BiLM
from .scalar_mix import ScalarMix, mix_layers, scalar_mix

__all__ = [
    "BiLM",
    "BiLMConfig",
    "ByteCharacters",
    "Characters",
    "ScalarMix",
    "VocabularyCharacters",
    "mix_layers",
    "scalar_mix",
]
