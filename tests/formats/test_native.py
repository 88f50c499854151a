"""Our own format: exact, atomic, without pickle."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.refusals import refused
from safetensors.torch import load, save

from spacy_elmo import BiLM, BiLMConfig, load_bilm, save_bilm
from spacy_elmo.formats import native, options, published

SENTENCES = [["She", "naïve", "", "日本語"], ["<bos>", "bank"]]


@pytest.fixture
def stored(tiny_bilm: BiLM, tmp_path: Path) -> Path:
    save_bilm(tiny_bilm, tmp_path / "model")
    return tmp_path / "model" / "model.safetensors"


def check_same(one: BiLM, other: BiLM) -> None:
    assert one.config == other.config
    assert one.state_dict().keys() == other.state_dict().keys()
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    for ours, theirs in zip(one.encode(SENTENCES), other.encode(SENTENCES)):
        # Some products depend on the memory alignment of a weight.
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def description_of(path: Path) -> dict[str, Any]:
    """Read options and vocabularies from the header."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])["__metadata__"]
    assert header.keys() == {native.HEADER}
    return json.loads(header[native.HEADER])


def describe(path: Path, description: str) -> None:
    """Write other options and vocabularies to the header."""
    path.write_bytes(save(load(path.read_bytes()), {native.HEADER: description}))


def change(path: Path, name: str, tensor: torch.Tensor | None) -> None:
    """Replace a tensor, or remove it if `tensor` is None."""
    state, description = load(path.read_bytes()), description_of(path)
    state.pop(name, None)
    if tensor is not None:
        state[name] = tensor
    path.write_bytes(save(state, {native.HEADER: json.dumps(description)}))


def test_round_trip(tiny_bilm: BiLM, stored: Path) -> None:
    check_same(load_bilm(stored.parent), tiny_bilm)
    check_same(load_bilm(stored), tiny_bilm)
    check_same(load_bilm(str(stored.parent)), tiny_bilm)


def test_round_trip_with_vocabularies(vocabulary_bilm: BiLM, tmp_path: Path) -> None:
    save_bilm(vocabulary_bilm, tmp_path / "model")
    again = load_bilm(tmp_path / "model")
    check_same(again, vocabulary_bilm)
    stored = vocabulary_bilm.characters.vocabularies()
    assert again.characters.vocabularies() == stored


def test_bytes(vocabulary_bilm: BiLM) -> None:
    check_same(native.from_bytes(native.to_bytes(vocabulary_bilm)), vocabulary_bilm)


def test_bytes_are_deterministic(vocabulary_bilm: BiLM) -> None:
    assert native.to_bytes(vocabulary_bilm) == native.to_bytes(vocabulary_bilm)


def test_float16(tiny_bilm: BiLM, tmp_path: Path) -> None:
    for dtype in ("float32", "float16"):
        save_bilm(tiny_bilm, tmp_path / dtype, dtype=dtype)
    half, single = (
        (tmp_path / dtype / "model.safetensors").stat().st_size
        for dtype in ("float16", "float32")
    )
    assert single - half == pytest.approx(2 * tiny_bilm.n_parameters, rel=0.01)
    again = load_bilm(tmp_path / "float16")
    for name, parameter in tiny_bilm.named_parameters():
        stored = again.get_parameter(name)
        assert stored.dtype == torch.float32
        assert torch.equal(stored, parameter.half().float()), name
    save_bilm(again, tmp_path / "again", dtype="float16")
    check_same(load_bilm(tmp_path / "again"), again)


@pytest.fixture
def stored_int8(tiny_bilm: BiLM, tmp_path: Path) -> Path:
    save_bilm(tiny_bilm, tmp_path / "int8", dtype="int8")
    return tmp_path / "int8" / "model.safetensors"


def test_int8(vocabulary_bilm: BiLM, tmp_path: Path) -> None:
    """Biases and characters are exact; a weight differs by half a scale at most."""
    save_bilm(vocabulary_bilm, tmp_path / "int8", dtype="int8")
    again = load_bilm(tmp_path / "int8")
    for name, parameter in vocabulary_bilm.named_parameters():
        loaded, exact = again.get_parameter(name).detach(), parameter.detach()
        assert loaded.dtype == torch.float32
        if exact.dim() == 1 or name == native.EXACT_IN_INT8:
            assert torch.equal(loaded, exact), name
            continue
        errors = (loaded - exact).flatten(1).abs().amax(dim=1)
        steps = exact.flatten(1).abs().amax(dim=1) / 127
        assert errors.max() > 0, name
        assert (errors <= 0.501 * steps).all(), name
    save_bilm(again, tmp_path / "again", dtype="int8")
    check_same(load_bilm(tmp_path / "again"), again)


def test_size_of_int8(tmp_path: Path) -> None:
    filters = ((1, 16), (3, 112))
    model, sizes = BiLM(BiLMConfig(dim=512, projection_dim=128, filters=filters)), {}
    for dtype in ("float16", "int8"):
        save_bilm(model, tmp_path / dtype, dtype=dtype)
        sizes[dtype] = (tmp_path / dtype / "model.safetensors").stat().st_size
    assert sizes["int8"] == pytest.approx(sizes["float16"] / 2, rel=0.06)


WEIGHT = "forward_layers.0.weight_ih"


@pytest.mark.parametrize(
    ("name", "tensor", "parts"),
    [
        (WEIGHT, torch.ones(96, 9, dtype=torch.int8), [(96, 8), (96, 9)]),
        (WEIGHT, torch.full((96, 8), -128, dtype=torch.int8), ["-127 to 127", "-128"]),
        (WEIGHT, torch.ones(96, 8, dtype=torch.int16), ["also", f"{WEIGHT}.maxima"]),
        (f"{WEIGHT}.maxima", None, [f"no {WEIGHT}.maxima"]),
        (f"{WEIGHT}.maxima", torch.ones(96), [(96, 1), (96,)]),
        (f"{WEIGHT}.maxima", torch.ones(96, 2), [(96, 1), (96, 2)]),
        (f"{WEIGHT}.maxima", torch.ones(96, 1, dtype=torch.int32), ["floats"]),
        (f"{WEIGHT}.maxima", torch.full((96, 1), -0.5), ["at least 0", -0.5]),
        (f"{WEIGHT}.maxima", torch.full((96, 1), np.nan), ["finite", "96 of 96"]),
        (f"{WEIGHT}.maxima", torch.full((96, 1), 1e39, dtype=torch.double), ["finite"]),
        ("forward_layers.0.bias", torch.ones(96, dtype=torch.int8), ["floats"]),
        ("forward_layers.0.bias.maxima", torch.ones(96, 1), ["found also"]),
    ],
)
def test_damaged_int8(
    stored_int8: Path, name: str, tensor: torch.Tensor | None, parts: list[Any]
) -> None:
    change(stored_int8, name, tensor)
    with refused(stored_int8, name.removesuffix(native.MAXIMA), *parts):
        load_bilm(stored_int8.parent)


def test_files(tiny_bilm: BiLM, vocabulary_bilm: BiLM, tmp_path: Path) -> None:
    save_bilm(vocabulary_bilm, tmp_path / "ours")
    save_bilm(tiny_bilm, tmp_path / "published", format="hdf5")
    files = {path.name for path in (tmp_path / "ours").iterdir()}
    assert files == {"model.safetensors", "options.json"}
    files = {path.name for path in (tmp_path / "published").iterdir()}
    assert files == {"weights.hdf5", "options.json"}
    stored = json.loads((tmp_path / "ours" / "options.json").read_bytes())
    assert options.from_dict(stored) == vocabulary_bilm.config
    description = description_of(tmp_path / "ours" / "model.safetensors")
    assert description["options"] == stored
    hdf5 = (tmp_path / "published" / "weights.hdf5").read_bytes()
    assert hdf5.startswith(b"\x89HDF")


def test_safetensors_file_alone(tiny_bilm: BiLM, stored: Path) -> None:
    (stored.parent / "options.json").unlink()
    check_same(load_bilm(stored.parent), tiny_bilm)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.01, 0.5, 0.999])
def test_truncated(stored: Path, part: float) -> None:
    data = stored.read_bytes()
    stored.write_bytes(data[: int(len(data) * part)])
    with refused(stored, "safetensors"):
        load_bilm(stored.parent)


@pytest.mark.parametrize(
    "content", [b"<html>404</html>" * 9, b"\x02" + b"\0" * 7 + b"[]", b"\0" * 40]
)
def test_not_safetensors(stored: Path, content: bytes) -> None:
    stored.write_bytes(content)
    with refused(stored, "safetensors"):
        load_bilm(stored.parent)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_foreign_header(stored: Path, metadata: dict[str, str] | None) -> None:
    stored.write_bytes(save({"bert.weight": torch.zeros(2)}, metadata))
    found = "found one whose header has " + ("format" if metadata else "no entries")
    with refused(stored, "written by spacy-elmo", found):
        load_bilm(stored.parent)


@pytest.mark.parametrize(
    "description", ["{", "{}", "[]", "null", '"text"', "[" * 100_000]
)
def test_damaged_header(stored: Path, description: str) -> None:
    describe(stored, description)
    with refused(stored):
        load_bilm(stored.parent)


@pytest.mark.parametrize("options", [None, [], {}, {"lstm": {}}])
def test_damaged_options_in_the_header(stored: Path, options: Any) -> None:
    describe(stored, json.dumps({**description_of(stored), "options": options}))
    with refused(stored):
        load_bilm(stored.parent)


@pytest.mark.parametrize(
    "vocabularies",
    [None, [], {}, {"characters": 3, "words": []}, {"characters": [1], "words": [1]}],
)
def test_damaged_vocabularies_in_the_header(
    vocabulary_bilm: BiLM, stored: Path, vocabularies: Any
) -> None:
    save_bilm(vocabulary_bilm, stored.parent)
    description = {**description_of(stored), "vocabularies": vocabularies}
    describe(stored, json.dumps(description))
    with refused(stored):
        load_bilm(stored.parent)


@pytest.mark.parametrize("number", [-1, 10**6, None, "3", True])
def test_vocabulary_ids_out_of_range(
    vocabulary_bilm: BiLM, stored: Path, number: Any
) -> None:
    save_bilm(vocabulary_bilm, stored.parent)
    description = description_of(stored)
    description["vocabularies"]["characters"][0][1] = number
    describe(stored, json.dumps(description))
    with refused(stored, "expected an id from 0 to", repr(number)):
        load_bilm(stored.parent)


@pytest.mark.parametrize(
    ("section", "name", "value", "found"),
    [
        ("lstm", "n_layers", 1_000_000, "1000000 LSTM layers"),
        ("char_cnn", "n_characters", 260, "char_cnn.n_characters"),
    ],
)
def test_option_that_does_not_fit_the_weights(
    stored: Path, section: str, name: str, value: int, found: str
) -> None:
    """Refused at once, before memory is allocated."""
    description = description_of(stored)
    description["options"][section][name] = value
    describe(stored, json.dumps(description))
    with refused(stored, found, str(value)):
        load_bilm(stored.parent)


def test_number_too_large_for_float32(stored: Path) -> None:
    change(
        stored, "forward_layers.0.bias", torch.full((96,), 1e300, dtype=torch.float64)
    )
    with refused(stored, "forward_layers.0.bias", "finite", "96 of 96"):
        load_bilm(stored.parent)


def test_missing_tensor(stored: Path) -> None:
    change(stored, "forward_layers.0.bias", None)
    with refused(stored, "found no forward_layers.0.bias"):
        load_bilm(stored.parent)


def test_unknown_tensor(stored: Path) -> None:
    change(stored, "forward_layers.2.bias", torch.zeros(3))
    with refused(stored, "found also forward_layers.2.bias"):
        load_bilm(stored.parent)


def test_wrong_shape(stored: Path) -> None:
    change(stored, "backward_layers.1.weight_hr", torch.zeros(8, 25))
    with refused(stored, "backward_layers.1.weight_hr", (8, 24), (8, 25)):
        load_bilm(stored.parent)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity(stored: Path, value: float) -> None:
    change(stored, "forward_layers.0.bias", torch.full((96,), value))
    with refused(stored, "forward_layers.0.bias", "finite", "96 of 96"):
        load_bilm(stored.parent)


@pytest.mark.parametrize(
    ("value", "dtype"), [(np.nan, "float32"), (np.inf, "float32"), (1e6, "float16")]
)
def test_weights_that_are_not_finite_are_not_written(
    tiny_config: BiLMConfig, tmp_path: Path, value: float, dtype: str
) -> None:
    model = BiLM(tiny_config)
    with torch.no_grad():
        model.forward_layers[1].bias[0] = value
    with refused("forward_layers.1.bias", "finite", dtype):
        save_bilm(model, tmp_path, dtype=dtype)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", ["safetensors", "hdf5"])
@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_failed_write_keeps_the_old_files(
    tiny_config: BiLMConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    format: str,
    fails: str,
) -> None:
    save_bilm(BiLM(tiny_config), tmp_path, format=format)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*args: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, fails, fail)
    with pytest.raises(OSError, match="No space left"):
        save_bilm(BiLM(tiny_config), tmp_path, format=format)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after == before


def test_interrupted_write_keeps_the_old_files(
    tiny_config: BiLMConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_bilm(BiLM(tiny_config), tmp_path, format="hdf5")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    original = published.entries

    def some_entries(config: BiLMConfig) -> Any:
        yield from list(original(config))[:5]
        raise KeyboardInterrupt

    monkeypatch.setattr(published, "entries", some_entries)
    with pytest.raises(KeyboardInterrupt):
        save_bilm(BiLM(tiny_config), tmp_path, format="hdf5")
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after == before


@pytest.mark.parametrize(
    ("section", "name"), [("lstm", "dim"), ("char_cnn", "n_highway")]
)
def test_absurd_sizes_fail_at_once(stored: Path, section: str, name: str) -> None:
    description = description_of(stored)
    description["options"][section][name] = 2**31 - 1
    describe(stored, json.dumps(description))
    with refused(stored):
        load_bilm(stored.parent)


def test_header_larger_than_the_file(stored: Path) -> None:
    stored.write_bytes((2**40).to_bytes(8, "little") + stored.read_bytes()[8:])
    with refused(stored, "truncated"):
        load_bilm(stored.parent)
