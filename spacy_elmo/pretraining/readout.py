"""Losses from the device to the host without a wait: they are read some steps later."""

from collections import deque
from typing import Any, Deque, Iterator, NamedTuple, Tuple

import torch
from torch import Tensor

from .data.lanes import Window

_LAG_ON_DEVICE = 4
"""Steps by which the host may be ahead of the device."""


class StepResult(NamedTuple):
    """What a step gave.

    step: counted from 0. window: its text. rate: learning rate.
    forward_loss, backward_loss: nats a word, over the lanes of all processes.
    grad_norm: before clipping. stop: processes that were asked to end.
    lane_losses: sums over the window of this process's lanes, (2, B).
    """

    step: int
    window: Window
    rate: float
    forward_loss: float
    backward_loss: float
    grad_norm: float
    stop: float
    lane_losses: Tensor


class ReadOut:
    """A queue of steps whose numbers are on their way.

    device: where they come from. On a CPU they are there at once.
    """

    def __init__(self, device: torch.device) -> None:
        self.on_device = device.type == "cuda"
        self._waiting: Deque[Tuple[int, Window, float, Tensor, Tensor, Any]] = deque()

    def put(
        self, step: int, window: Window, rate: float, numbers: Tensor, lanes: Tensor
    ) -> None:
        """numbers: forward loss, backward loss, norm and stop, (4,). lanes: (2, B)."""
        event = None
        if self.on_device:
            numbers, lanes = self._copy(numbers), self._copy(lanes)
            event = torch.cuda.Event()
            event.record()
        self._waiting.append((step, window, rate, numbers, lanes, event))

    def ready(self, *, all_of_them: bool = False) -> Iterator[StepResult]:
        """The steps that have been there long enough, in their order."""
        lag = _LAG_ON_DEVICE if self.on_device and not all_of_them else 0
        while len(self._waiting) > lag:
            step, window, rate, numbers, lanes, event = self._waiting.popleft()
            if event is not None:
                event.synchronize()
            forward, backward, norm, stop = numbers.tolist()
            yield StepResult(step, window, rate, forward, backward, norm, stop, lanes)

    @staticmethod
    def _copy(tensor: Tensor) -> Tensor:
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)
