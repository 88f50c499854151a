"""Memory of large arrays is used again, and only when nobody has it any more."""

from __future__ import annotations

import gc
import os
import sys
from threading import Thread

import pytest
import torch
from helpers.kernel_lstms import lstms, run_side_by_side, start

from spacy_elmo.bilm.backends import cpu as kernels
from spacy_elmo.bilm.backends.cpu import workspace as memory
from spacy_elmo.bilm.backends.cpu.workspace import Pool, empty, release

MB = 1 << 20


@pytest.fixture(autouse=True)
def pool(monkeypatch: pytest.MonkeyPatch) -> Pool:
    gc.collect()  # a biLM of another test that ends now empties the pool
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


def test_memory_is_used_again_once_nobody_has_it(pool: Pool) -> None:
    one = empty(MB)
    address, view = one.data_ptr(), one[5:].numpy()
    del one
    other = empty(MB)
    assert other.data_ptr() != address
    del view
    assert pool.n_free_bytes == 4 * MB
    again = empty(MB - 100)
    assert again.data_ptr() == address
    assert pool.n_free_bytes == 0


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


def test_room_is_made_for_an_array_that_fits_nowhere(pool: Pool) -> None:
    arrays = [empty(MB) for _ in range(5)]
    del arrays
    assert pool.n_free_bytes == 20 * MB
    large = empty(5 * MB)
    assert pool.n_free_bytes == 4 * MB
    assert large.nbytes == 20 * MB


def test_released(pool: Pool) -> None:
    one, other = empty(MB).fill_(1), empty(MB)
    del other
    assert pool.n_free_bytes == 4 * MB
    release()
    assert pool.n_free_bytes == 0
    assert one.eq(1).all()
    del one
    assert pool.n_free_bytes == 0
    assert len(empty(MB)) == MB
    assert pool.n_free_bytes == 4 * MB


def test_released_by_who_has_the_lock(pool: Pool) -> None:
    """As a finalizer may, at any place of the program."""
    one = empty(MB)
    del one
    with pool._lock:
        release()
    assert pool.n_free_bytes == 4 * MB
    release()
    assert pool.n_free_bytes == 0


def test_threads() -> None:
    """None has what another one uses."""
    wrong = []

    def work(number: int) -> None:
        for _ in range(2000):
            mine = own.empty(8)
            mine.fill(number)
            if not (mine == number).all():
                wrong.append(number)

    own = Pool()
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
    assert not wrong
    # A thread has one array when it asks for the next.
    assert own.n_free_bytes <= 1.25 * 4 * 2 * 8
    assert own._in_use == 0


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
        n_free = pool.n_free_bytes
        in_use.append(pool._in_use + n_free)
    for gradients in kept[1:]:
        assert all(map(torch.equal, gradients, kept[0]))
    of_gradients = sum(w.numel() * 4 for w in weights)
    assert in_use[2] <= in_use[0] + 3 * of_gradients
    assert pool.n_free_bytes > 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process(pool: Pool) -> None:
    """It waits for no lock, whoever had it."""
    one = empty(MB).fill_(1)
    with pool._lock:
        child = os.fork()
        if not child:
            is_right = empty(MB).fill_(2).eq(2).all() and one.eq(1).all()
            os._exit(0 if is_right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
