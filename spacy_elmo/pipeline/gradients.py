"""Gradients of an unfrozen biLM's layers, accumulated over all listening heads."""

from typing import Any, Callable, Dict, List, Optional, Sequence

from spacy.tokens import Doc
from thinc.types import Floats3d


class LayerGradients:
    """Sums the gradients that the heads send for one batch, then runs the biLM's
    backward pass once.

    docs (Sequence[Doc]): The batch.
    layers (Sequence[Floats3d]): The biLM's output.
    backprop (Callable): The biLM's backward pass.
    n_listeners (int): Number of answers to wait for. Heads of frozen components never
        answer, nor do heads that learn nothing from a batch, so `finish` may be called
        earlier.
    losses (Dict[str, float]): The sum of the squared gradients is added to the entry
        `name`.
    name (str): The component's name.
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
        self._n_waiting = n_listeners
        self._losses = losses
        self._name = name
        self._callback: Optional[Callable[[], Any]] = None

    @property
    def is_unanswered(self) -> bool:
        return self._backprop is not None and not self._sums

    def on_finish(self, callback: Callable[[], Any]) -> None:
        """Set a function to be called once, after the backward pass."""
        self._callback = callback

    def add(self, gradients: Dict[int, Floats3d]) -> None:
        """Add one listener's gradients, by the doc's id.

        RAISES: ValueError if the backward pass has already run.
        """
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
        self._n_waiting -= 1
        if self._n_waiting <= 0:
            self.finish()

    def finish(self) -> None:
        """Run the backward pass over the gradients received so far, if there are any
        and it has not run yet."""
        if self._backprop is None or not self._sums:
            return
        backprop, self._backprop = self._backprop, None
        gradients: List[Floats3d] = []
        loss: Any = 0.0
        for doc, layers in zip(self._docs, self._layers):
            gradient = self._sums.get(id(doc))
            gradient = layers * 0 if gradient is None else gradient
            gradients.append(gradient)
            # Summed on the device, so that the host need not wait for each doc.
            loss = loss + (gradient * gradient).sum()  # type: ignore[call-overload]
        backprop(gradients)
        self._losses[self._name] += float(loss)
        # The component holds this object until the next batch.
        self._docs, self._layers, self._sums = [], [], {}
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()
