"""One process or many: under torchrun each has its own lanes of the text, and all have
the same weights."""

import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Callable, Iterator, List, Sequence, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

_FAILED = -(1 << 40)


@dataclass(frozen=True)
class Group:
    """This process among all.

    rank: 0 writes the files. size: processes. device: what this one computes on.
    """

    rank: int
    size: int
    device: torch.device

    @classmethod
    def join(cls, gpu_id: int = -1) -> "Group":
        """The group that torchrun started, or this process alone.

        gpu_id: the GPU of a single process; under torchrun, any from 0 says that each
            process has the one of its local rank. -1: CPU.

        Raises ValueError for a GPU that PyTorch does not see.
        """
        size = int(os.environ.get("WORLD_SIZE", 1))
        rank = int(os.environ.get("RANK", 0))
        device = torch.device("cpu")
        if gpu_id >= 0:
            number = int(os.environ.get("LOCAL_RANK", gpu_id))
            seen = torch.cuda.device_count()
            if number >= seen:
                raise ValueError(
                    f"gpu_id: expected one of the {seen} GPUs that PyTorch sees, found "
                    f"{number}. Use --gpu-id -1 for the CPU, start fewer processes, or "
                    "install a PyTorch with CUDA."
                )
            device = torch.device("cuda", number)
            torch.cuda.set_device(device)
        if size > 1 and not dist.is_initialized():
            # The group becomes a default argument of this module's functions where it
            # is first imported later, as optimizers do: then `leave` would not end
            # gloo's threads, and one of them can abort a process that is at its end.
            from torch.distributed.nn import functional  # noqa: F401

            # The others wait while the first prepares the text.
            backend = "gloo" if gpu_id < 0 else "nccl"
            dist.init_process_group(backend, timeout=timedelta(days=1))
        return cls(rank, size, device)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def own(self, n_lanes: int, n_parts: int = 1) -> slice:
        """This process's lanes, which it will split into n_parts.

        Raises ValueError where the lanes cannot be dealt evenly.
        """
        if n_lanes % (self.size * n_parts):
            raise ValueError(
                f"training.batch_size: expected a multiple of {self.size} processes "
                f"times accumulate_gradient ({n_parts}), found {n_lanes}. Start "
                "another number of processes, or change one of the two."
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
        """(2, own lanes, ...) of each process -> (2, all lanes, ...)."""
        if self.size == 1:
            return tensor
        parts: List[Tensor] = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts, dim=1)

    def first_then_others(self, load: Callable[[], T]) -> T:
        """load() in the first process, then, when all files are there, in the others.

        Where it fails in the first one, the others fail too.
        """
        if self.size == 1:
            return load()
        if self.is_first:
            with self.failing_together():
                result = load()
            self.tell(0)
            return result
        self.tell(0)
        return load()

    @contextmanager
    def failing_together(self) -> Iterator[None]:
        """In the first process: an error also ends the others' wait in `tell`."""
        try:
            yield
        except Exception:
            if self.size > 1:
                self._broadcast(_FAILED)
            raise

    def tell(self, number: int) -> int:
        """The first process's number, in all.

        Raises ValueError in the others where the first one has failed.
        """
        if self.size == 1:
            return number
        told = self._broadcast(number)
        if told == _FAILED:
            raise ValueError("The first process has failed; its error says why.")
        return told

    def _broadcast(self, number: int) -> int:
        message = torch.tensor([number], device=self.device)
        dist.broadcast(message, src=0)
        return int(message.item())

    def leave(self) -> None:
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()
