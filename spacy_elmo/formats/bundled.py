"""The English weights that ship with the package."""

from pathlib import Path

from ..bilm import BiLM
from . import load_bilm
from .checks import WeightsError

_WEIGHTS = Path(__file__).parent.parent / "weights"
BUNDLED = {"md": _WEIGHTS / "md", "sm": _WEIGHTS / "sm"}
"""Folders by size. A distribution may leave them out."""


def bundled_folder(size: str = "md") -> Path:
    """Get the folder of the English weights that ship.

    size (str): "md", or "sm" for the small, fast ones, which have no output layer.
    RAISES: ValueError if the size is unknown, WeightsError (a ValueError) if no such
        weights ship with this version.
    """
    if size not in BUNDLED:
        raise ValueError(f"size: expected {' or '.join(BUNDLED)}, found {size!r}.")
    folder = BUNDLED[size]
    if not folder.is_dir():
        others = [name for name, other in BUNDLED.items() if other.is_dir()]
        raise WeightsError(
            f"{folder}: expected weights that ship with spacy-elmo, found no such "
            f"folder: this version ships {' and '.join(others) or 'none'}. Name your "
            "own: --model WEIGHTS on the command line, load_bilm(PATH) in Python, "
            "spacy_elmo.PretrainedWeights.v1 in a config, --vars.weights PATH in a "
            "project."
        )
    return folder


def load_bundled(size: str = "md") -> BiLM:
    """Load the English weights that ship.

    size (str): "md", or "sm" for the small, fast ones.
    RETURNS (BiLM): The model, on the CPU, as float32.
    RAISES: As `bundled_folder` does.
    """
    return load_bilm(bundled_folder(size))
