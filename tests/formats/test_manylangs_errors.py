"""Damaged ELMoForManyLangs folders, and pickles that must not run."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
import torch
from helpers.manylangs_folder import changed_pickle
from helpers.refusals import refused

from spacy_elmo import load_bilm
from spacy_elmo.formats import WeightsError

PICKLES = ["encoder.pkl", "token_embedder.pkl"]


class Code:
    """Creates a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (self.folder,)


def pickled(content: Any, *, zipped: bool) -> bytes:
    if not zipped:
        return pickle.dumps(content, protocol=2)
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


@pytest.mark.parametrize("name", PICKLES)
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("in_state", [True, False])
def test_code_in_a_pickle_does_not_run(
    many_folder: Path, tmp_path: Path, name: str, zipped: bool, in_state: bool
) -> None:
    trace = tmp_path / "trace"
    content: Any = Code(trace)
    if in_state:
        content = {**torch.load(many_folder / name), "more": content}
    data = pickled(content, zipped=zipped)
    (many_folder / name).write_bytes(data)
    with refused(many_folder / name, "nothing but tensors", "not read"):
        load_bilm(many_folder)
    assert not trace.exists()


def test_pickled_code_runs_if_loaded_by_pickle(tmp_path: Path) -> None:
    pickle.loads(pickled(Code(tmp_path / "trace"), zipped=False))
    assert (tmp_path / "trace").is_dir()


@pytest.mark.parametrize("name", PICKLES)
@pytest.mark.parametrize("part", [0.0, 0.001, 0.1, 0.5, 0.99])
def test_truncated_pickle(many_folder: Path, name: str, part: float) -> None:
    path = many_folder / name
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with refused(path, "damaged"):
        load_bilm(many_folder)


def test_truncated_anywhere(many_folder: Path) -> None:
    """In PyTorch's legacy format, which the published models have."""
    path = many_folder / "encoder.pkl"
    state = torch.load(path)
    torch.save(state, path, _use_new_zipfile_serialization=False)
    load_bilm(many_folder)
    data = path.read_bytes()
    messages = []
    for size in [*range(0, 120, 3), *range(120, len(data), 211), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(WeightsError) as caught:
            load_bilm(many_folder)
        messages.append(str(caught.value))
    assert all(str(path) in message for message in messages)


@pytest.mark.parametrize("content", [b"<html>404</html>", b"\x80\x02.", b"\0" * 99])
def test_not_a_pickle(many_folder: Path, content: bytes) -> None:
    (many_folder / "encoder.pkl").write_bytes(content)
    with refused(many_folder / "encoder.pkl"):
        load_bilm(many_folder)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([1, 2], "list"),
        ({"a": 1}, ""),
        (torch.zeros(2), "Tensor"),
        ({"a": torch.zeros(2).to_sparse()}, "dense"),
    ],
)
def test_not_a_state_dict(many_folder: Path, content: Any, found: str) -> None:
    torch.save(content, many_folder / "encoder.pkl")
    with refused(many_folder / "encoder.pkl", "state dict", found):
        load_bilm(many_folder)


KEYS = pytest.mark.parametrize(
    ("name", "key"),
    [
        ("encoder.pkl", "backward_layer_1.state_linearity.bias"),
        ("encoder.pkl", "forward_layer_0.input_linearity.weight"),
        ("encoder.pkl", "forward_layer_1.state_projection.weight"),
        ("token_embedder.pkl", "char_emb_layer.embedding.weight"),
        ("token_embedder.pkl", "convolutions.1.weight"),
        ("token_embedder.pkl", "highways._layers.0.bias"),
        ("token_embedder.pkl", "projection.weight"),
    ],
)


@KEYS
def test_missing_key(many_folder: Path, name: str, key: str) -> None:
    with changed_pickle(many_folder / name) as state:
        del state[key]
    with refused(many_folder / name, f"found no {key}"):
        load_bilm(many_folder)


@pytest.mark.parametrize("name", PICKLES)
def test_unknown_key(many_folder: Path, name: str) -> None:
    with changed_pickle(many_folder / name) as state:
        state["forward_layer_2.state_linearity.bias"] = torch.zeros(3)
    with refused(many_folder / name, "forward_layer_2.state_linearity.bias"):
        load_bilm(many_folder)


@KEYS
def test_wrong_shape(many_folder: Path, name: str, key: str) -> None:
    """The error names the file and the key in it."""
    with changed_pickle(many_folder / name) as state:
        expected = tuple(state[key].shape)
        state[key] = torch.cat([state[key], state[key]])
        found = tuple(state[key].shape)
    with refused(many_folder / name, key, expected, found):
        load_bilm(many_folder)


@KEYS
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity(many_folder: Path, name: str, key: str, value: float) -> None:
    with changed_pickle(many_folder / name) as state:
        state[key].view(-1)[0] = value
        size = state[key].numel()
    with refused(many_folder / name, key, "finite", f"1 of {size}"):
        load_bilm(many_folder)


@pytest.mark.parametrize(
    "line", ["abc", "a\tb", "a\t1\t2", "a\t-1", "a\t1.5", "a 7", "a\t"]
)
def test_malformed_line_of_a_vocabulary(many_folder: Path, line: str) -> None:
    path = many_folder / "char.dic"
    lines = path.read_text(encoding="utf8").splitlines()
    path.write_text("\n".join([*lines[:4], line, *lines[4:]]), encoding="utf8")
    with refused(path, "line 5", "token<TAB>id", repr(line)):
        load_bilm(many_folder)


def test_vocabulary_that_is_not_utf8(many_folder: Path) -> None:
    (many_folder / "char.dic").write_bytes("é\t1\n".encode("latin1"))
    with refused(many_folder / "char.dic", "UTF-8"):
        load_bilm(many_folder)


def test_empty_vocabulary(many_folder: Path) -> None:
    (many_folder / "char.dic").write_bytes(b"\n\n")
    with refused(many_folder / "char.dic", "token<TAB>id"):
        load_bilm(many_folder)


@pytest.mark.parametrize("token", ["<bow>", "<oov>", "<bos>"])
def test_vocabulary_without_a_special_entry(many_folder: Path, token: str) -> None:
    path = many_folder / "char.dic"
    path.write_text(path.read_text(encoding="utf8").replace(f"{token}\t", "é\t"))
    with refused(many_folder, token, "character vocabulary"):
        load_bilm(many_folder)


@pytest.mark.parametrize("name", ["char.dic", "config.json"])
def test_missing_file(many_folder: Path, name: str) -> None:
    (many_folder / name).unlink()
    with refused(many_folder / name, "no such file"):
        load_bilm(many_folder)


def change_architecture(folder: Path, section: str, key: str, value: Any) -> None:
    arch = json.loads((folder / "arch.json").read_bytes())
    arch[section][key] = value
    if value is None:
        del arch[section][key]
    (folder / "arch.json").write_text(json.dumps(arch), encoding="utf8")


def test_missing_word_vocabulary(many_folder: Path) -> None:
    change_architecture(many_folder, "token_embedder", "word_dim", 3)
    with refused(many_folder / "word.dic", "vocabulary"):
        load_bilm(many_folder)


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("encoder", "name", "lstm", ("encoder.name", "'elmo'", "'lstm'")),
        ("token_embedder", "name", "lstm", ("token_embedder.name", "'cnn'", "'lstm'")),
        ("encoder", "dim", None, ("encoder.dim",)),
        ("token_embedder", "filters", None, ("token_embedder.filters",)),
        ("encoder", "n_layers", 0, ("n_layers", "at least 1", "found 0")),
        ("encoder", "projection_dim", 7, ("projection_dim", "found 7")),
        ("token_embedder", "filters", [3], ("filters", "[3]")),
        ("token_embedder", "activation", "gelu", ("activation", "'gelu'")),
    ],
)
def test_wrong_architecture(
    many_folder: Path, section: str, key: str, value: Any, message: tuple[str, ...]
) -> None:
    change_architecture(many_folder, section, key, value)
    with refused(many_folder / "arch.json", *message):
        load_bilm(many_folder)


def test_projections_to_the_same_width(many_folder: Path) -> None:
    """Their models have them, ours do not."""
    arch = json.loads((many_folder / "arch.json").read_text(encoding="utf8"))
    width = arch["encoder"]["dim"]
    change_architecture(many_folder, "encoder", "projection_dim", width)
    with refused(many_folder / "arch.json", "encoder.dim", f"found {width}"):
        load_bilm(many_folder)


@pytest.mark.parametrize("name", ["config.json", "arch.json"])
@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe\x00"])
def test_config_must_be_a_json_object(
    many_folder: Path, name: str, content: bytes
) -> None:
    (many_folder / name).write_bytes(content)
    with refused(many_folder / name, "JSON"):
        load_bilm(many_folder)


def test_compressed_pickle(many_folder: Path) -> None:
    """PyTorch would decompress it whatever its size."""
    path = many_folder / "encoder.pkl"
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
        file.writestr("encoder/data/99", bytes(1_000_000))
    with refused(path, "compressed"):
        load_bilm(many_folder)


@pytest.mark.parametrize("kind", ["meta", "expanded"])
def test_tensors_without_stored_numbers(many_folder: Path, kind: str) -> None:
    path = many_folder / "encoder.pkl"
    with changed_pickle(path) as state:
        key = next(iter(state))
        shape = state[key].shape
        tensor = torch.zeros(1).expand(shape)
        state[key] = tensor if kind == "expanded" else tensor.to("meta")
    with refused(path, "dense tensors"):
        load_bilm(many_folder)


def test_keys_that_are_not_strings(many_folder: Path) -> None:
    path = many_folder / "encoder.pkl"
    with changed_pickle(path) as state:
        state[3] = torch.zeros(1)
    with refused(path, "also 3"):
        load_bilm(many_folder)


def test_number_of_layers_without_tensors(many_folder: Path) -> None:
    change_architecture(many_folder, "encoder", "n_layers", 2**31 - 1)
    with refused(many_folder / "arch.json", "2147483647 LSTM layers"):
        load_bilm(many_folder)


def test_id_that_is_no_number_for_python(many_folder: Path) -> None:
    path = many_folder / "char.dic"
    with path.open("a", encoding="utf8") as file:
        file.write(f"\na\t{'9' * 5000}\n")
    with refused(path, "token<TAB>id"):
        load_bilm(many_folder)
