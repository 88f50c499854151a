"""ELMo for spaCy: `nlp.add_pipe("elmo")`. The README says how to start."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, List

if TYPE_CHECKING:
    from .bilm import BiLM, BiLMConfig, ScalarMix
    from .formats import load_bilm, save_bilm
    from .formats.bundled import load_bundled
    from .visual.render import render

__version__ = "0.2.0.dev0"

# Every `python -m spacy` command imports this package for its entry points: PyTorch is
# imported when a name that needs it is asked for.
_ROOMS = {
    "BiLM": "bilm",
    "BiLMConfig": "bilm",
    "ScalarMix": "bilm",
    "load_bilm": "formats",
    "load_bundled": "formats.bundled",
    "render": "visual.render",
    "save_bilm": "formats",
}

__all__ = [
    "BiLM",
    "BiLMConfig",
    "ScalarMix",
    "load_bilm",
    "load_bundled",
    "render",
    "save_bilm",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return getattr(import_module(f".{_ROOMS[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> List[str]:
    return [*globals(), *_ROOMS]
