"""Exponential moving average of the weights, which is evaluated and exported in place
of the weights of the last step."""

import math
from contextlib import contextmanager
from typing import Dict, Iterator, Mapping, Optional

import torch
from torch import Tensor

from ..bilm.softmax import SampledSoftmax
from .language_model import LanguageModel, SampledRows

_ROWS = ("softmax.weight", "softmax.bias")
_ROW_LOG_DECAY, _LOG_DECAY, _N_UPDATES = "row_log_decay", "log_decay", "n_updates"


class WeightAverage:
    """An average of a language model's weights, updated after each step:
    `average = decay * average + (1 - decay) * weight`.

    The decay of update n is `min(decay, (1 + n) / (10 + n))`, so that the random first
    weights are forgotten quickly. The average does not influence training.

    A sampled softmax changes few of its rows in a step, and only these are updated. The
    average of an untouched row moves toward a weight that stays the same, so n skipped
    updates are one exact update with the product of their decays.

    model (LanguageModel): The model to average.
    decay (Optional[float]): Share of the average that an update keeps, in [0, 1). None
        or 0 keeps no average: updates do nothing and the weights stay in place.
    """

    def __init__(self, model: LanguageModel, decay: Optional[float]) -> None:
        self.decay = decay or 0.0
        self.weights = dict(model.named_parameters()) if self.decay else {}
        self.is_sampled = isinstance(model.softmax, SampledSoftmax)
        self.average: Dict[str, Tensor] = {}
        self._n_updates = 0
        # Log of the product of all decays, and its value when a row was last updated.
        self._log_decay = 0.0
        n_rows = len(self.weights[_ROWS[0]]) if self.decay and self.is_sampled else 0
        self._row_log_decay = torch.zeros(
            n_rows, 1, dtype=torch.float64, device=model.device
        )
        self._start()

    @torch.no_grad()
    def update(self, rows: Optional[SampledRows]) -> None:
        """Update the average after an optimizer step.

        rows (Optional[SampledRows]): The step's rows of a sampled softmax, with the
            weights from before the step.
        """
        if not self.decay:
            return
        decay = min(self.decay, (1 + self._n_updates) / (10 + self._n_updates))
        dense = [name for name in self.weights if not self._has_rows(name)]
        torch._foreach_lerp_(
            [self.average[name] for name in dense],
            [self.weights[name] for name in dense],
            1 - decay,
        )
        log_decay = self._log_decay + math.log(decay)
        if self.is_sampled and rows is not None:
            ids = rows.ids
            skipped = torch.exp(self._log_decay - self._row_log_decay[ids]).float()
            for name, before in zip(_ROWS, (rows.weight, rows.bias)):
                # index_select and index_copy_ are several times faster than [ids].
                average = self.average[name].index_select(0, ids)
                torch.lerp(before, average, skipped, out=average)
                average.lerp_(self.weights[name].index_select(0, ids), 1 - decay)
                self.average[name].index_copy_(0, ids, average)
            self._row_log_decay[ids] = log_decay
        self._log_decay = log_decay
        self._n_updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Replace the model's weights by their average until the block ends, then put
        the weights back, bit for bit."""
        before = {
            name: weight.detach().clone() for name, weight in self.weights.items()
        }
        try:
            for name in self.weights:
                self._copy(name, self._up_to_date(name))
            yield
        finally:
            for name, weight in before.items():
                self._copy(name, weight)

    def state_dict(self) -> Dict[str, Tensor]:
        """Collect the tensors for a checkpoint: none if there is no average."""
        if not self.decay:
            return {}
        return {
            **self.average,
            _ROW_LOG_DECAY: self._row_log_decay,
            _LOG_DECAY: torch.tensor(self._log_decay, dtype=torch.float64),
            _N_UPDATES: torch.tensor(self._n_updates),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Optional[str]:
        """Continue from a checkpoint, after its weights have been loaded.

        state (Mapping[str, Tensor]): From `state_dict`, with any decay. If empty, the
            average starts from the model's current weights.
        RETURNS (Optional[str]): Message for the user if averaging was switched on or
            off.
        RAISES: KeyError if a tensor is missing.
        """
        if not self.decay:
            return _SWITCHED_OFF if state else None
        self._start()
        if not state:
            return _SWITCHED_ON
        for name, average in self.average.items():
            average.copy_(state[name])
        self._row_log_decay.copy_(state[_ROW_LOG_DECAY])
        self._log_decay = float(state[_LOG_DECAY])
        self._n_updates = int(state[_N_UPDATES])
        return None

    def _start(self) -> None:
        self.average = {name: w.detach().clone() for name, w in self.weights.items()}
        self._n_updates, self._log_decay = 0, 0.0
        self._row_log_decay.zero_()

    def _has_rows(self, name: str) -> bool:
        return self.is_sampled and name in _ROWS

    @torch.no_grad()
    def _up_to_date(self, name: str) -> Tensor:
        if not self._has_rows(name):
            return self.average[name]
        skipped = torch.exp(self._log_decay - self._row_log_decay).float()
        return torch.lerp(self.weights[name].detach(), self.average[name], skipped)

    @torch.no_grad()
    def _copy(self, name: str, values: Tensor) -> None:
        # In place: captured CUDA graphs read the parameters' own memory.
        self.weights[name].copy_(values)


_SWITCHED_ON = (
    "training.ema_decay: this run had no weight average so far. It starts from the "
    "current weights."
)
_SWITCHED_OFF = (
    "training.ema_decay: the weight average is dropped. From here on, the weights "
    "themselves are evaluated and exported."
)
