"""python -m spacy elmo embed."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from helpers.commands import assert_refused, complete, invoke
from helpers.full_disks import small_disk
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

from spacy_elmo import BiLM
from spacy_elmo.formats.bundled import BUNDLED

SENTENCES = [["She", "sat", "on", "the", "bank", "."], ["Rain", "!"]]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    lines = [" ".join(sentence) + "\n" for sentence in SENTENCES]
    path.write_text("\n".join(lines), encoding="utf8")
    return path


def embed(*arguments: object) -> Result:
    return invoke("embed", *arguments)


def vectors(text: Path, target: Path, *options: object) -> dict[str, np.ndarray]:
    """The vectors that the command writes, without the index."""
    complete("embed", text, target, *options)
    with h5py.File(target, "r") as file:
        return {key: file[key][...] for key in file if key != "sentence_to_index"}


def test_all_layers(text: Path, weights: Path, tiny_bilm: BiLM, tmp_path: Path) -> None:
    target = tmp_path / "out" / "vectors.hdf5"
    found = vectors(text, target, "--model", weights)
    assert sorted(found) == ["0", "1"]
    for number, expected in enumerate(tiny_bilm.encode(SENTENCES)):
        assert found[str(number)].shape == (3, len(SENTENCES[number]), 16)
        np.testing.assert_allclose(found[str(number)], expected, rtol=1e-5, atol=1e-5)
    with h5py.File(target, "r") as file:
        index = json.loads(file["sentence_to_index"][0])
        assert json.loads(file["0"].attrs["words"]) == SENTENCES[0]
    assert index == {"She sat on the bank .": "0", "Rain !": "1"}


@pytest.mark.parametrize(("layers", "index"), [("top", 2), ("1", 1), ("0", 0)])
def test_one_layer(
    text: Path, weights: Path, tiny_bilm: BiLM, tmp_path: Path, layers: str, index: int
) -> None:
    found = vectors(text, tmp_path / "v.h5", "--model", weights, "--layers", layers)
    for key, expected in zip("01", tiny_bilm.encode(SENTENCES)):
        np.testing.assert_allclose(found[key], expected[index], rtol=1e-5, atol=1e-5)


def test_parquet(text: Path, weights: Path, tiny_bilm: BiLM, tmp_path: Path) -> None:
    expected = [layers[[0, 2]] for layers in tiny_bilm.encode(SENTENCES)]
    complete("embed", text, tmp_path / "v", "-m", weights, "--layers", "0,2", "-c")
    table = pq.read_table(tmp_path / "v")
    assert table["words"].to_pylist() == SENTENCES
    assert table["document"].to_pylist() == [0, 1]
    for i, name in enumerate(("layer_0", "layer_2")):
        for found, layers in zip(table[name].to_pylist(), expected):
            np.testing.assert_allclose(found, layers[i], rtol=1e-5, atol=1e-5)
    for options in ((), ("--layers", "0,2", "-c")):
        again = embed(text, tmp_path / "v", "-m", weights, *options)
        assert_refused(again, "one that is complete", "--force")
    complete("embed", text, tmp_path / "v", "-m", weights, "--force", "-l", "top")
    assert "vectors" in pq.read_table(tmp_path / "v").column_names
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    result = embed(text, tmp_path / "mine", "-m", weights, "--force")
    assert_refused(result, "other files")


def test_a_mix_to_numpy(
    text: Path, weights: Path, tiny_bilm: BiLM, tmp_path: Path
) -> None:
    complete("embed", text, tmp_path / "v.npz", "-m", weights, "--mix", "0.5,0,2")
    layers = np.concatenate(tiny_bilm.encode(SENTENCES), axis=1)
    with np.load(tmp_path / "v.npz") as arrays:
        expected = 0.5 * layers[0] + 2 * layers[2]
        np.testing.assert_allclose(arrays["vectors"], expected, rtol=1e-5, atol=1e-4)


def test_text_that_is_tokenized(weights: Path, tiny_bilm: BiLM, tmp_path: Path) -> None:
    rows = ["1\tShe", "2-3\tcannot", "2\tcan", "3\tnot", "3.1\tsit", "", "1\tRain", ""]
    lines = [row + "\t_" * 8 if row else row for row in rows]
    conllu = tmp_path / "a.conllu"
    conllu.write_text("\n".join(["# newdoc id = a", *lines]), encoding="utf8")
    docs = DocBin(docs=[Doc(Vocab(), words=["She", "can", "not"]), Doc(Vocab())])
    docs.to_disk(tmp_path / "a.spacy")
    (expected, _) = tiny_bilm.encode([["She", "can", "not"], ["Rain"]])
    for name, sizes in (("a.conllu", [3, 1]), ("a.spacy", [3])):
        target = tmp_path / f"{name}.h5"
        found = vectors(tmp_path / name, target, "-m", weights)
        assert [found[key].shape[1] for key in sorted(found)] == sizes
        np.testing.assert_allclose(found["0"], expected, rtol=1e-5, atol=1e-5)
        options = ("-m", weights, "--tokenizer", "en")
        assert_refused(embed(tmp_path / name, tmp_path / "o", *options), "--tokenizer")
    conllu.write_text("1 She\n", encoding="utf8")
    assert_refused(embed(conllu, tmp_path / "o", "-m", weights), "line 1", "10 columns")


def test_compressed_conllu(weights: Path, tmp_path: Path) -> None:
    row = "1\ta\n".replace("\n", "\t_" * 8 + "\n")
    with gzip.open(tmp_path / "a.conllu.gz", "wt", encoding="utf8") as file:
        file.write(row * 1500)
    complete("embed", tmp_path / "a.conllu.gz", tmp_path / "v.npz", "-m", weights)
    with np.load(tmp_path / "v.npz") as arrays:
        assert arrays["lengths"].tolist() == [750, 750]
    for name in ("a_b\ta", "\ta"):
        path = tmp_path / "b.conllu"
        path.write_text(row + row.replace("1\ta", name), encoding="utf8")
        refused = embed(path, tmp_path / "b.npz", "-m", weights)
        assert_refused(refused, f"{path}, line 2", "the first one a number")
    packed = tmp_path / "a.spacy.gz"
    packed.touch()
    assert_refused(embed(packed, tmp_path / "b.npz", "-m", weights), packed, "Unpack")


def test_damaged_docs(weights: Path, tmp_path: Path) -> None:
    docs = DocBin(docs=[Doc(Vocab(), words=["She", "can"])])
    docs.tokens[0][0, 0] += 1  # an unknown hash
    docs.to_disk(tmp_path / "a.spacy")
    refused = embed(tmp_path / "a.spacy", tmp_path / "v.npz", "-m", weights)
    assert_refused(refused, tmp_path / "a.spacy", "cannot be read", "E018")


def test_json_lines_without_extension_and_with_another_field(
    weights: Path, tiny_bilm: BiLM, tmp_path: Path
) -> None:
    text = tmp_path / "wiki_00"
    text.write_text('{"id": 1, "content": "Rain !"}\n', encoding="utf8")
    assert_refused(
        embed(text, tmp_path / "v.h5", "-m", weights), '"text"', "text-field"
    )
    options = ("-m", weights, "--text-field", "content")
    found = vectors(text, tmp_path / "v.h5", *options)
    (expected,) = tiny_bilm.encode([["Rain", "!"]])
    np.testing.assert_allclose(found["0"], expected, rtol=1e-5, atol=1e-5)


def test_the_mean_as_float16(
    text: Path, weights: Path, tiny_bilm: BiLM, tmp_path: Path
) -> None:
    options = ("--layers", "mean", "--half", "--forget-sentences")
    found = vectors(text, tmp_path / "v.h5", "--model", weights, *options)
    assert found["0"].dtype == np.float16
    expected = tiny_bilm.encode(SENTENCES)[0].mean(axis=0)
    np.testing.assert_allclose(found["0"], expected, atol=1e-2)
    with h5py.File(tmp_path / "v.h5", "r") as file:
        assert sorted(file) == ["0", "1"]


def test_precision(text: Path, weights: Path, tmp_path: Path) -> None:
    exact = vectors(text, tmp_path / "32.h5", "--model", weights)
    options = ("--precision", "bfloat16", "--batch-tokens", 8)
    rounded = vectors(text, tmp_path / "16.h5", "--model", weights, *options)
    assert not np.array_equal(exact["0"], rounded["0"])
    np.testing.assert_allclose(exact["0"], rounded["0"], rtol=0.05, atol=0.5)


def test_the_tokenizer_of_the_training_text_is_the_default(
    tmp_path: Path, weights: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Isn't it?\n", encoding="utf8")

    def n_words(model: Path, *options: str) -> int:
        found = vectors(text, tmp_path / "v.h5", "-m", model, "--force", *options)
        return found["0"].shape[1]

    assert n_words(weights) == 2
    assert n_words(weights, "--tokenizer", "en") == 4
    trained = tmp_path / "trained"
    shutil.copytree(weights, trained)
    meta = {"tokenizer": "en", "sentences": "split"}
    (trained / "pretraining.json").write_text(json.dumps(meta), encoding="utf8")
    assert n_words(trained) == 4
    assert n_words(trained / "model.safetensors") == 4
    assert n_words(trained, "--tokenizer", "whitespace") == 2
    shown = embed(text, tmp_path / "w.h5", "-m", trained).output
    assert "tokenizer: en, sentences: split" in shown


def test_no_weights_ship(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUNDLED, "md", tmp_path / "none")
    result = embed(text, tmp_path / "v.h5")
    assert_refused(result, "weights that ship", "this version ships", "--model WEIGHTS")


def test_overwrite_only_with_force(text: Path, weights: Path, tmp_path: Path) -> None:
    target = tmp_path / "v.h5"
    target.write_bytes(b"mine")
    assert_refused(embed(text, target, "-m", weights), target, "--force")
    assert target.read_bytes() == b"mine"
    assert vectors(text, target, "-m", weights, "--force")


def test_invalid_arguments(
    text: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "v.h5"

    def check(*parts: object, text: Path = text, **options: Any) -> None:
        arguments = [
            part
            for name, value in options.items()
            for part in (f"--{name.replace('_', '-')}", value)
        ]
        assert_refused(embed(text, target, "-m", weights, *arguments), *parts)
        assert not target.exists()

    check("layer: expected all, top, mean, 0, 1, 2, or", layers="both")
    check("mix: expected 3 weights", mix="1,2")
    check("--mix: expected it without --layers", mix="1,2,3", layers="top")
    check("found none", text=tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("\n", encoding="utf8")
    check("no words", text=tmp_path / "empty.txt")
    check("tokenizer: expected", "'no_such'", tokenizer="no_such")
    check("tokenizer: expected", "'spacy'", "not a pipeline", tokenizer="spacy")
    monkeypatch.setitem(sys.modules, "sudachipy", None)
    check("tokenizer: expected", "'ja'", "pip install spacy[ja]", tokenizer="ja")
    check("batch_tokens: expected", batch_tokens=0)
    check("GPUs that PyTorch sees", gpu_id=99)
    assert_refused(
        embed(text, tmp_path / "v.txt", "-m", weights), ".hdf5 or .h5", ".npz"
    )
    assert_refused(embed(text, target, "-m", tmp_path / "nowhere"), "nowhere")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.txt", "text.txt"]


def test_an_interrupt_says_how_to_resume(
    text: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("spacy_elmo.embedding.output.write_vectors", interrupt)
        result = embed(text, tmp_path / "v.npz", "-m", weights)
    assert result.exit_code == 130
    assert "Stopped after 0 sentences. Run the same command again" in result.stderr
    complete("embed", text, tmp_path / "v.npz", "-m", weights)


def test_output_without_utf8(text: Path, weights: Path, tmp_path: Path) -> None:
    target = tmp_path / "\u0395.h5"
    lines = complete("embed", text, target, "--model", weights, charset="ascii")
    assert any("2 sentences, 8 words" in line for line in lines)
    assert target.is_file()


@pytest.mark.parametrize(
    ("name", "kilobytes"), [("v", 1000), ("v.h5", 2000), ("v.npz", 2000)]
)
def test_a_full_disk(weights: Path, tmp_path: Path, name: str, kilobytes: int) -> None:
    """Parquet runs out of space in its first part, the other formats when joined."""
    text = tmp_path / "text.txt"
    text.write_text("a few words\n" * 3000, encoding="utf8")
    with small_disk(tmp_path / "disk", kilobytes) as disk:
        result = embed(text, disk / name, "-m", weights)
        assert_refused(result, "No space left", disk / name, "Free some space")
        assert not (disk / name).is_file()
        assert not list(disk.rglob("*.part"))
