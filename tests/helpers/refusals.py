"""What all errors about weight files have in common."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator

import pytest

from spacy_elmo.formats import WeightsError


@contextmanager
def refused(*parts: Any) -> Iterator[None]:
    """Check that the block raises a WeightsError that contains the words "expected" and
    "found" and each of `parts`: file, key, values."""
    with pytest.raises(WeightsError) as caught:
        yield
    message = str(caught.value)
    assert "expected" in message.lower(), message
    for part in ("found", *parts):
        assert str(part) in message, f"{part!r} is not in: {message}"
