"""ELMoForManyLangs: parity with the original, and with the published format."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers import manylangs_folder, numpy_bilm

from spacy_elmo import BiLM, load_bilm
from spacy_elmo.formats import manylangs

LENIENT = {"rtol": 1e-5, "atol": 1e-6}
# ASCII words, whose characters are bytes.
SENTENCES = [["She", "sat", "on", "the", "bank", "."], [], [""], ["x" * 80, "Hi"]]


@pytest.fixture(scope="module")
def fixture_folder(shared: Path) -> Path:
    return shared / "fixtures" / "manylangs"


@pytest.fixture(scope="module")
def model(fixture_folder: Path) -> BiLM:
    return load_bilm(fixture_folder)


@pytest.fixture(scope="module")
def sentences(fixture_folder: Path) -> list[list[str]]:
    return json.loads((fixture_folder / "sentences.json").read_bytes())


@pytest.fixture(scope="module")
def expected(fixture_folder: Path) -> dict[str, np.ndarray]:
    with np.load(fixture_folder / "efml.npz") as arrays:
        return dict(arrays)


def test_layers(
    model: BiLM, sentences: list[list[str]], expected: dict[str, np.ndarray]
) -> None:
    together = model.encode(sentences)
    assert len(together) == 5
    for n, layers in enumerate(together):
        np.testing.assert_allclose(layers, expected[f"alone_s{n}"], **LENIENT)
        np.testing.assert_allclose(layers, expected[f"layer-2_s{n}"], **LENIENT)
        mean = layers.mean(axis=0)
        np.testing.assert_allclose(mean, expected[f"layer-1_s{n}"], **LENIENT)
        for k in range(3):
            np.testing.assert_allclose(layers[k], expected[f"layer{k}_s{n}"], **LENIENT)


def test_ids(
    model: BiLM, sentences: list[list[str]], expected: dict[str, np.ndarray]
) -> None:
    """The expected arrays have the sentences longest first."""
    lengths = expected["lens"].tolist()
    rows = sorted(sentences, key=len, reverse=True)
    assert sorted(lengths, reverse=True) == [len(words) + 2 for words in rows]
    found = set()
    for words in sentences:
        tokens = ["<bos>", *words, "<eos>"]
        found.add(
            (
                model.characters(tokens).tobytes(),
                model.characters.word_ids(tokens).tobytes(),
            )
        )
    wanted = {
        (char_ids[:length].tobytes(), word_ids[:length].tobytes())
        for char_ids, word_ids, length in zip(
            expected["char_ids"], expected["word_ids"], lengths
        )
    }
    assert found == wanted


@pytest.mark.parametrize("seed", range(6))
def test_equals_a_published_model_with_the_same_weights(
    tmp_path: Path, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    options = manylangs_folder.random_options(rng)
    weights = numpy_bilm.random_weights(options, rng)
    manylangs_folder.write(tmp_path, options, weights)
    expected, _ = numpy_bilm.encode(options, weights, SENTENCES)
    for found, wanted in zip(load_bilm(tmp_path).encode(SENTENCES), expected):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_word_embedding(many_folder: Path) -> None:
    before = load_bilm(many_folder).encode(SENTENCES)[0]
    rng = np.random.default_rng(1)
    table = rng.normal(size=(4, 3)).astype("f")
    projection = rng.normal(size=(3, 4)).astype("f")
    words = ["<oov>", "<pad>", "bank", "She"]
    manylangs_folder.add_words(many_folder, words, table, projection)
    after = load_bilm(many_folder).encode(SENTENCES)[0]
    share = table[[3, 0, 0, 0, 2, 0]] @ projection
    np.testing.assert_allclose(
        after[0], before[0] + np.concatenate([share, share], axis=1), atol=1e-5
    )


def config_path(folder: Path, path: str) -> None:
    config = folder / "config.json"
    config.write_text(json.dumps({"config_path": path}), encoding="utf8")


@pytest.mark.parametrize(
    "path", ["arch.json", "configs/arch.json", "/nowhere/arch.json", "C:\\x\\arch.json"]
)
def test_architecture_in_the_folder(many_folder: Path, path: str) -> None:
    config_path(many_folder, path)
    assert load_bilm(many_folder).config.dim == 6


@pytest.mark.parametrize("is_relative", [True, False])
def test_architecture_elsewhere(
    many_folder: Path, tmp_path: Path, is_relative: bool
) -> None:
    """Relative paths start at the model's folder, as in ELMoForManyLangs."""
    (tmp_path / "configs").mkdir()
    elsewhere = shutil.move(many_folder / "arch.json", tmp_path / "configs" / "x.json")
    config_path(many_folder, "../configs/x.json" if is_relative else str(elsewhere))
    assert load_bilm(many_folder).config.dim == 6


@pytest.mark.parametrize("name", [manylangs.PUBLISHED_CONFIG, "x.json", "x" * 5000])
def test_published_architecture_is_the_default(
    many_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The real default is too large for a test. It may be wrong if the config does not
    have the name that the published models use, so there is a warning."""
    sizes = manylangs.PUBLISHED_DEFAULT
    assert (sizes["encoder"]["dim"], sizes["encoder"]["projection_dim"]) == (4096, 512)
    assert sizes["token_embedder"]["char_dim"] == 50
    assert sizes["token_embedder"]["word_dim"] == 100
    arch = json.loads((many_folder / "arch.json").read_bytes())
    (many_folder / "arch.json").unlink()
    config_path(many_folder, f"configs/{name}")
    monkeypatch.setattr(manylangs, "PUBLISHED_DEFAULT", arch)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert load_bilm(many_folder).config.dim == 6
    messages = [str(w.message) for w in caught if "config_path" in str(w.message)]
    assert len(messages) == (name != manylangs.PUBLISHED_CONFIG)


@pytest.mark.parametrize("line", ["\u3000\t5", "\t5", "5"])
def test_id_alone_is_the_ideographic_space(many_folder: Path, line: str) -> None:
    path = many_folder / "char.dic"
    text = path.read_text(encoding="utf8")
    path.write_text(f"{text}\n{line}\n", encoding="utf8")
    scheme = load_bilm(many_folder).characters
    assert scheme(["\u3000"])[0, :3].tolist() == [258, 5, 259]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_endings(many_folder: Path, end: str) -> None:
    path = many_folder / "char.dic"
    before = load_bilm(many_folder).characters.vocabularies()
    path.write_bytes(path.read_bytes().replace(b"\n", end.encode()))
    assert load_bilm(many_folder).characters.vocabularies() == before
