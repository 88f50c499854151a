"""Options and fixtures for all tests: published weights, corpora, a tiny model."""

import copy
import os
from pathlib import Path

import pytest
import torch

from spacy_elmo import BiLM, BiLMConfig, save_bilm

ROOT = Path(__file__).parent.parent
SHARED = "SPACY_ELMO_SHARED"

# On busy cores, several threads are many times slower than one for tiny models.
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shared",
        default=os.environ.get(SHARED, str(ROOT.parent / "shared")),
        help=f"folder with fixtures/ and data/ (default: ${SHARED} or ../shared)",
    )


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest) -> Path:
    """Folder of published weights and corpora, which we may not distribute."""
    folder = Path(request.config.getoption("--shared"))
    if not (folder / "fixtures").is_dir():
        pytest.skip(f"no published weights in {folder}: set --shared")
    return folder


@pytest.fixture(scope="session")
def tiny_config() -> BiLMConfig:
    return BiLMConfig(
        char_dim=4,
        filters=((1, 4), (2, 8), (3, 8)),
        n_highway=1,
        dim=24,
        projection_dim=8,
        n_layers=2,
    )


@pytest.fixture(scope="session")
def tiny_bilm(tiny_config: BiLMConfig) -> BiLM:
    """biLM with random weights, large enough to separate words and to reach the
    clips."""
    torch.manual_seed(1)
    model = BiLM(tiny_config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    return model


@pytest.fixture(scope="session")
def weights(tiny_bilm: BiLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the weights of the tiny biLM."""
    folder = tmp_path_factory.mktemp("weights")
    save_bilm(tiny_bilm, folder)
    return folder


@pytest.fixture
def bilm(tiny_bilm: BiLM) -> BiLM:
    """Copy of the tiny biLM that a test may train."""
    return copy.deepcopy(tiny_bilm)
