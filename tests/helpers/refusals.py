"""What every refused weight file has in common, for the tests of the formats."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator

import pytest

from spacy_elmo.formats import WeightsError


@contextmanager
def refused(*parts: Any) -> Iterator[None]:
    """The block must raise a WeightsError that says what was expected, what was found,
    and each of `parts`: the file, the key, the values."""
    with pytest.raises(WeightsError) as caught:
        yield
    message = str(caught.value)
    assert "expected" in message.lower(), message
    for part in ("found", *parts):
        assert str(part) in message, f"{part!r} is not in: {message}"
