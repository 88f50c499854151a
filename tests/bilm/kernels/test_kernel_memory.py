"""Memory of large arrays is used again, and only when nobody has it any more."""

from __future__ import annotations

from threading import Thread

import pytest
import torch
from kernel_lstms import lstms, start

from spacy_elmo.bilm import kernels
from spacy_elmo.bilm.kernels import memory
from spacy_elmo.bilm.kernels.memory import Pool, empty, release
from spacy_elmo.bilm.lstm import run_side_by_side

MB = 1 << 20


@pytest.fixture(autouse=True)
def pool(monkeypatch: pytest.MonkeyPatch) -> Pool:
    own = Pool()
    monkeypatch.setattr(memory, "_pool", own)
    return own


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int16])
@pytest.mark.parametrize("n", [3, 1000])
def test_shapes_and_dtypes(n: int, dtype: torch.dtype) -> None:
    """Small or large."""
    found = empty(n, 2, 513, dtype=dtype)
    assert found.shape == (n, 2, 513)
    assert found.dtype == dtype
    assert found.is_contiguous()
    assert found.data_ptr() % 64 == 0
    assert found.fill_(3).eq(3).all()


def test_memory_is_used_again_once_nobody_has_it() -> None:
    one = empty(MB)
    address, view = one.data_ptr(), one[5:].numpy()
    del one
    other = empty(MB)
    assert other.data_ptr() != address
    del view
    assert empty(MB - 100).data_ptr() == address
    assert empty(MB).data_ptr() == address


def test_a_block_of_twice_the_size_is_too_large(pool: Pool) -> None:
    one = empty(4 * MB)
    address = one.data_ptr()
    del one
    assert pool.n_free_bytes == 16 * MB
    assert empty(MB).data_ptr() != address
    assert empty(3 * MB).data_ptr() == address


def test_the_block_that_fits_best() -> None:
    arrays = [empty(size * MB // 4) for size in (16, 9, 12)]
    addresses = [array.data_ptr() for array in arrays]
    del arrays
    assert empty(8 * MB // 4).data_ptr() == addresses[1]
    assert empty(10 * MB // 4).data_ptr() == addresses[2]


def test_no_more_is_kept_than_was_in_use(pool: Pool) -> None:
    """With the present ones a quarter more than there ever were at once; what was given
    back first goes first."""
    arrays = [empty(MB) for _ in range(4)]
    del arrays[2:]
    assert pool.n_free_bytes == 8 * MB
    first = arrays.pop(0)
    address = first.data_ptr()
    del first
    assert pool.n_free_bytes == 12 * MB
    large = empty(5 * MB // 2)  # 14 MB are in use, 20 MB at most in all
    assert pool.n_free_bytes == 4 * MB
    assert empty(MB).data_ptr() == address
    del large


def test_released(pool: Pool) -> None:
    one, other = empty(MB).fill_(1), empty(MB)
    del other
    assert pool.n_free_bytes == 4 * MB
    release()
    assert pool.n_free_bytes == 0
    assert one.eq(1).all()
    del one
    assert pool.n_free_bytes == 4 * MB


def test_threads() -> None:
    """None has what another one uses."""
    wrong = []

    def work(number: int) -> None:
        for step in range(200):
            mine = empty(MB // 4 + step).fill_(number)
            if not mine.eq(number).all():
                wrong.append(number)

    threads = [Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(kernels.why_absent() is not None, reason="no kernels here")
def test_a_step_of_training_uses_that_of_the_step_before(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what comes out of it stays as it is."""
    monkeypatch.setattr(memory, "_LARGE", 1)
    layers = lstms((3.0, 3.0))
    weights = [weight for layer in layers for weight in layer.parameters()]
    kept, in_use = [], []
    for _ in range(3):
        inputs, hidden, cell = start([32] * 9)
        outputs = run_side_by_side(layers, inputs, [32] * 9, hidden, cell)[1]
        kept.append(torch.autograd.grad(outputs.square().sum(), weights))
        del outputs
        in_use.append(pool._in_use + pool.n_free_bytes)
    for gradients in kept[1:]:
        assert all(map(torch.equal, gradients, kept[0]))
    of_gradients = sum(w.numel() * 4 for w in weights)
    assert in_use[2] <= in_use[0] + 3 * of_gradients
    left = pool.n_free_bytes
    del kept, gradients
    with torch.no_grad():
        run_side_by_side(layers, inputs, [32] * 9, hidden, cell)
    assert pool.n_free_bytes < left / 2
