"""What tests of the kernels share."""

from __future__ import annotations

import pytest

from spacy_elmo.bilm.backends.cpu import available


@pytest.fixture(params=[8, 16], ids=["AVX2", "AVX-512"])
def lanes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Each set of instructions that this processor has."""
    if available.why_absent() is not None:
        pytest.skip(f"no kernels here: {available.why_absent()}")
    if request.param > available.lanes():
        pytest.skip(f"this processor's vectors have {available.lanes()} floats")
    monkeypatch.setattr(available, "lanes", lambda: request.param)
    return int(request.param)
