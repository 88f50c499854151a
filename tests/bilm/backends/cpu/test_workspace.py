"""Memory that is reused, and only when nobody refers to it any more."""

from __future__ import annotations

import sys
from threading import Thread

import pytest
import torch

from spacy_elmo.bilm.backends.cpu.gemm import linear
from spacy_elmo.bilm.backends.cpu.instructions import InstructionSet
from spacy_elmo.bilm.backends.cpu.workspace import Workspace

MB = 1 << 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n", [3, 1000])
def test_shape_dtype_and_alignment(n: int, dtype: torch.dtype) -> None:
    tensor = Workspace().empty(n, 2, 513, dtype=dtype)
    assert tensor.shape == (n, 2, 513)
    assert tensor.dtype == dtype
    assert tensor.is_contiguous()
    assert tensor.data_ptr() % 64 == 0
    assert tensor.fill_(3).eq(3).all()


def test_memory_is_reused_once_nobody_refers_to_it() -> None:
    workspace = Workspace()
    tensor = workspace.empty(MB)
    address, view = tensor.data_ptr(), tensor[5:].numpy()
    del tensor
    assert workspace.n_free_bytes == 0
    other = workspace.empty(MB)
    assert other.data_ptr() != address
    del view
    assert workspace.n_free_bytes == 4 * MB
    assert workspace.empty(MB - 100).data_ptr() == address


def test_memory_is_bounded_by_what_was_used_at_a_time() -> None:
    workspace = Workspace()
    tensors = [workspace.empty(MB) for _ in range(4)]
    del tensors
    assert workspace.n_free_bytes == 16 * MB
    large = workspace.empty(3 * MB)
    assert large.nbytes + workspace.n_free_bytes <= 1.25 * 16 * MB


def test_autograd_keeps_what_the_backward_pass_needs(
    instruction_set: InstructionSet,
) -> None:
    """Two steps in flight do not share memory, and later steps allocate nothing."""
    workspace = Workspace()
    torch.manual_seed(0)
    weight = torch.randn(600, 600, requires_grad=True)
    inputs = torch.randn(2, 500, 600)

    def gradients(workspace: Workspace | None) -> list[torch.Tensor]:
        losses = []
        for rows in inputs:
            hidden = linear(rows, weight, None, torch.float32, workspace)
            outputs = linear(hidden.sin(), weight, None, torch.float32, workspace)
            losses.append(outputs.square().sum())
        return [torch.autograd.grad(loss, weight)[0].clone() for loss in losses]

    expected = gradients(None)
    n_bytes = []
    for _ in range(3):
        assert all(map(torch.equal, gradients(workspace), expected))
        n_bytes.append(workspace.n_free_bytes)
    assert n_bytes[1:] == n_bytes[:1] * 2


def test_threads_do_not_share_memory_in_use() -> None:
    workspace, faults = Workspace(), []

    def work(number: int) -> None:
        for _ in range(200):
            tensor = workspace.empty(MB // 2).fill_(number)
            if not tensor.eq(number).all():
                faults.append(number)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not faults
