"""Process groups: under torchrun every process trains on its own lanes of the text, and
all processes hold the same weights."""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Callable, List, Sequence, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ..bilm.device import select_device

T = TypeVar("T")


@dataclass
class Group:
    """This process among all processes of a run.

    rank (int): Number of this process. Rank 0, the first process, writes the files.
    size (int): Number of processes.
    device (torch.device): Device of this process.
    control (Any): PyTorch's process group for messages, with a timeout of a day: the
        first process may take hours to prepare the text. Gradients use the default
        group, whose timeout is short. None for a single process.
    """

    rank: int
    size: int
    device: torch.device
    control: Any = None

    @classmethod
    def join(cls, gpu_id: int = -1) -> "Group":
        """Join the process group that torchrun started, or make a group of one.

        gpu_id (int): GPU of a single process, or -1 for the CPU. Under torchrun, any
            GPU means that each process uses the GPU of its local rank.
        RAISES: ValueError if PyTorch does not see that GPU.
        """
        size = int(os.environ.get("WORLD_SIZE", 1))
        rank = int(os.environ.get("RANK", 0))
        number = int(os.environ.get("LOCAL_RANK", gpu_id)) if gpu_id >= 0 else -1
        device = select_device(number)
        if size > 1 and not dist.is_initialized():
            # This module binds the default group as a default argument when it is first
            # imported, as optimizers do. Imported after init_process_group, it would
            # keep the group's gloo threads alive past `leave`, and one of them can
            # abort the process while it exits.
            from torch.distributed.nn import functional  # noqa: F401

            if device.type == "cuda":
                dist.init_process_group("nccl", device_id=device)
            else:
                dist.init_process_group("gloo")
        control = None
        if size > 1:
            control = dist.new_group(backend="gloo", timeout=timedelta(days=1))
        return cls(rank, size, device, control)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def own_lanes(self, n_lanes: int, n_parts: int = 1) -> slice:
        """The lanes of this process.

        n_lanes (int): Number of lanes of all processes.
        n_parts (int): Number of equal parts into which each process splits its lanes.
        RAISES: ValueError if the lanes cannot be divided evenly.
        """
        if n_lanes % (self.size * n_parts):
            raise ValueError(
                f"training.batch_size: expected a multiple of {self.size} processes "
                f"times accumulate_gradient ({n_parts}), found {n_lanes}. Change one "
                "of the three."
            )
        share = n_lanes // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in one exchange."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts):
            tensor.copy_(part.view_as(tensor))

    def gather_lanes(self, tensor: Tensor) -> Tensor:
        """Concatenate (2, lanes of a process, ...) over all processes, by rank."""
        if self.size == 1:
            return tensor
        parts: List[Tensor] = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts, dim=1)

    def from_first(self, compute: Callable[[], T]) -> T:
        """Call `compute` in the first process and return its result in all of them.

        RAISES: In the first process, whatever `compute` raises; then ValueError in all
            the others, which would otherwise wait forever.
        """
        if self.size == 1:
            return compute()
        message: List[Any] = [False, None]
        if self.is_first:
            try:
                message = [True, compute()]
            except Exception:
                dist.broadcast_object_list(message, src=0, group=self.control)
                raise
        dist.broadcast_object_list(message, src=0, group=self.control)
        succeeded, result = message
        if not succeeded:
            raise ValueError("The first process has failed; its error says why.")
        return result

    def first_then_others(self, load: Callable[[], T]) -> T:
        """Call `load` in the first process and, once it has written its files, in the
        others.

        RAISES: ValueError in the other processes if `load` fails in the first one.
        """
        loaded: List[T] = []
        self.from_first(lambda: loaded.append(load()))
        return loaded[0] if loaded else load()

    def leave(self) -> None:
        if self.size > 1 and dist.is_initialized():
            self.control = None  # its threads end with the last reference
            dist.destroy_process_group()
