"""Text and reference runs that the tests of pretraining share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest
from helpers import runs


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train.txt, of 10 steps per epoch, and dev.txt. Tests must not change them."""
    return runs.make_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="session")
def reference(
    texts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Gives the output folder of an undisturbed run with these settings, which trains
    only once for all tests. Tests must not change it."""
    finished: dict[str, Path] = {}

    def run(**sections: Any) -> Path:
        key = json.dumps(sections, sort_keys=True)
        if key not in finished:
            output = tmp_path_factory.mktemp("reference")
            finished[key] = runs.run(texts, output, **sections)
        return finished[key]

    return run


@pytest.fixture(scope="session")
def plain(reference: Callable[..., Path]) -> Path:
    """A finished run with the settings of `runs.SETTINGS`."""
    return reference()
