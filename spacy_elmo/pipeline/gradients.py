"""Gradients of an unfrozen biLM's layers, gathered from all the heads that listen."""

from typing import Any, Callable, Dict, List, Optional, Sequence

from spacy.tokens import Doc
from thinc.types import Floats3d


class LayerGradients:
    """The sum of what the heads send back for one batch, and the one backward pass.

    docs, layers, backprop: of the biLM's forward pass.
    n_listeners: answers to wait for. Heads whose component is frozen never answer, nor
        do those that learn nothing from a batch, so `finish` can be called before.
    losses, name: where the sum of the squared gradients is added.
    """

    def __init__(
        self,
        docs: Sequence[Doc],
        layers: Sequence[Floats3d],
        backprop: Callable[[List[Floats3d]], Any],
        n_listeners: int,
        losses: Dict[str, float],
        name: str,
    ) -> None:
        self._docs = list(docs)
        self._layers = list(layers)
        self._backprop: Optional[Callable[[List[Floats3d]], Any]] = backprop
        self._sums: Dict[int, Floats3d] = {}
        self._waiting = n_listeners
        self._losses = losses
        self._name = name
        self._then: Optional[Callable[[], Any]] = None

    @property
    def is_unanswered(self) -> bool:
        return self._backprop is not None and not self._sums

    def then(self, function: Callable[[], Any]) -> None:
        """What to call after the backward pass, once."""
        self._then = function

    def add(self, gradients: Dict[int, Floats3d]) -> None:
        """Take one listener's gradients, by the doc's id. Raises ValueError where the
        backward pass has been run."""
        if self._backprop is None:
            raise ValueError(
                f"{self._name!r}: expected the gradients of all listeners before the "
                "biLM's own backward pass, found one that came later. Call "
                "finish_update of the component after those of its listeners."
            )
        for key, gradient in gradients.items():
            if key in self._sums:
                self._sums[key] = self._sums[key] + gradient
            else:
                self._sums[key] = gradient
        self._waiting -= 1
        if self._waiting <= 0:
            self.finish()

    def finish(self) -> None:
        """Run the backward pass over what has come in, if anything has; once."""
        if self._backprop is None or not self._sums:
            return
        backprop, self._backprop = self._backprop, None
        gradients: List[Floats3d] = []
        squares = 0.0
        for doc, layers in zip(self._docs, self._layers):
            gradient = self._sums.get(id(doc))
            gradient = layers * 0 if gradient is None else gradient
            gradients.append(gradient)
            squares = squares + _square(gradient)
        backprop(gradients)
        self._losses[self._name] += float(squares)
        # The component keeps this until the next batch.
        self._docs, self._layers, self._sums = [], [], {}
        then, self._then = self._then, None
        if then is not None:
            then()


def _square(gradient: Any) -> Any:
    """On the device, so that the host need not wait for each doc."""
    return (gradient * gradient).sum()
