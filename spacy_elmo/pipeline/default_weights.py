"""What an elmo component reads where nobody has given it weights."""

import weakref
from typing import Any, Optional, Tuple

from spacy.language import Language
from spacy.util import registry

from ..layers.weights import Loader, bundled_weights_v1, default_weights


class DefaultWeights:
    """The weights that ship, in a pipeline of their language whose config names no
    others: those are loaded by nlp.initialize() alone, which leaves out components that
    are frozen.

    nlp: the pipeline. name: the component's.
    """

    def __init__(self, nlp: Language, name: str) -> None:
        self._nlp = weakref.ref(nlp)
        self._name = name
        self._default = default_weights(nlp.lang or "")

    def __call__(self) -> Optional[Loader]:
        """A loader; None where there is none to be had."""
        nlp = self._nlp()
        if self._default is None or nlp is None:
            return self._default
        named = named_loader(nlp, self._name)
        others = named is not None and named is not bundled_weights_v1()
        return None if others else self._default

    def __reduce__(self) -> Tuple[Any, ...]:
        """A pipeline goes nowhere with a component: it is asked now."""
        return _Found, (self(),)


class _Found:
    def __init__(self, loader: Optional[Loader]) -> None:
        self._loader = loader

    def __call__(self) -> Optional[Loader]:
        return self._loader


def named_loader(nlp: Language, name: str) -> Optional[Loader]:
    """That of [initialize.components.NAME.weights]; None: there is none, or its path is
    null."""
    config = nlp.config.interpolate()
    block = config["initialize"]["components"].get(name, {}).get("weights")
    if not block:
        return None
    loader: Optional[Loader] = registry.resolve({"weights": block})["weights"]
    return loader
