"""The biLMs of a pipeline, and the mixes that its heads have learned."""

from typing import Iterator, List, NamedTuple, Optional, Tuple

from spacy.language import Language
from thinc.api import Model
from thinc.types import Floats1d

from ..bilm import BiLM
from ..layers.mix import learned_mix


class HeadMix(NamedTuple):
    """A mix γ Σ_j s_j h_kj of a component.

    component (str): The component's name.
    kind (str): "learned", "mean", "top", or "given" for a list of weights.
    weights (Optional[Floats1d]): The weights s, of shape (n_layers + 1,); None if the
        component is not initialized.
    gamma (Optional[float]): The scale γ.
    """

    component: str
    kind: str
    weights: Optional[Floats1d]
    gamma: Optional[float]


def find_mixes(nlp: Language) -> List[HeadMix]:
    """Find the mixes of all components, in the order of the pipeline."""
    found = []
    for name, node in _nodes(nlp):
        if node.name != "elmo_mix":
            continue
        mix = node.attrs["settings"].mix
        kind = mix if isinstance(mix, str) else "given"
        try:
            weights, gamma = learned_mix(node)
        except ValueError:
            found.append(HeadMix(name, kind, None, None))
            continue
        found.append(HeadMix(name, kind, weights, gamma))
    return found


def find_bilms(nlp: Language) -> List[Tuple[str, BiLM]]:
    """Find the biLMs of a pipeline, each with the name of its component."""
    shims = [(name, node.shims[0]) for name, node in _nodes(nlp) if node.name == "bilm"]
    bilms = [(name, getattr(shim, "bilm", None)) for name, shim in shims]
    return [(name, bilm) for name, bilm in bilms if bilm is not None]


def _nodes(nlp: Language) -> Iterator[Tuple[str, Model]]:
    for name, pipe in nlp.components:
        model = getattr(pipe, "model", None)
        for node in model.walk() if isinstance(model, Model) else ():
            yield name, node
