"""An ELMoForManyLangs folder with the weights of a published model, for the tests.

Its characters are the 128 of ASCII, each with the row of its byte: for words of
ASCII the two formats must give the same vectors.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator

import numpy as np
import torch
from torch import Tensor

from helpers import numpy_bilm

Pickled = Dict[str, Tensor]

# Published rows: 256 bytes, then begin and end of sentence, begin and end of word, and
# padding. The two word markers are swapped in lookups, hence also here.
SPECIAL = {"<bos>": 256, "<eos>": 257, "<eow>": 258, "<bow>": 259, "<pad>": 260}


def random_options(rng: np.random.Generator) -> numpy_bilm.Options:
    """Published options that an ELMoForManyLangs model can have: with both projections
    and skip connections."""
    while True:
        options = numpy_bilm.random_options(rng)
        lstm, cnn = options["lstm"], options["char_cnn"]
        n_filters = sum(number for _, number in cnn["filters"])
        if lstm["projection_dim"] not in (lstm["dim"], n_filters):
            lstm["use_skip_connections"] = True
            return options


def write(
    folder: Path, options: numpy_bilm.Options, weights: numpy_bilm.Weights
) -> None:
    """A model without a word embedding."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", {"config_path": "configs/arch.json"})
    write_json(folder / "arch.json", architecture(options))
    write_dictionary(folder / "char.dic", characters())
    torch.save(embedder(options, weights), folder / "token_embedder.pkl")
    torch.save(encoder(options, weights), folder / "encoder.pkl")


def add_words(
    folder: Path, words: list[str], table: np.ndarray, projection: np.ndarray
) -> None:
    """Give the folder's model a word embedding.

    table: (len(words), word_dim). projection: (word_dim, projection_dim).
    """
    arch = json.loads((folder / "arch.json").read_text(encoding="utf8"))
    arch["token_embedder"]["word_dim"] = table.shape[1]
    write_json(folder / "arch.json", arch)
    write_dictionary(folder / "word.dic", {word: n for n, word in enumerate(words)})
    with changed_pickle(folder / "token_embedder.pkl") as state:
        state.update(tensors({"word_emb_layer.embedding.weight": table}))
        both = [torch.from_numpy(projection.T), state["projection.weight"]]
        state["projection.weight"] = torch.cat(both, dim=1)


@contextmanager
def changed_pickle(path: Path) -> Iterator[Pickled]:
    state = torch.load(path, weights_only=True)
    yield state
    torch.save(state, path)


def architecture(options: numpy_bilm.Options) -> dict[str, Any]:
    lstm, cnn = options["lstm"], options["char_cnn"]
    sizes = ("projection_dim", "cell_clip", "proj_clip", "dim", "n_layers")
    shared = ("activation", "filters", "n_highway", "max_characters_per_token")
    return {
        "encoder": {"name": "elmo", **{key: lstm[key] for key in sizes}},
        "token_embedder": {
            "name": "cnn",
            **{key: cnn[key] for key in shared},
            "char_dim": cnn["embedding"]["dim"],
            "word_dim": 0,
        },
    }


def characters() -> dict[str, int]:
    # White space would be stripped from its line; only printable ASCII is used.
    ascii_ids = {chr(byte): byte for byte in range(33, 127)}
    return {**ascii_ids, "<oov>": 0, **SPECIAL}


def embedder(options: numpy_bilm.Options, weights: numpy_bilm.Weights) -> Pickled:
    state = {"char_emb_layer.embedding.weight": weights["char_embed"]}
    for i in range(len(options["char_cnn"]["filters"])):
        kernel = weights[f"CNN/W_cnn_{i}"][0].transpose(2, 1, 0)
        state[f"convolutions.{i}.weight"] = kernel
        state[f"convolutions.{i}.bias"] = weights[f"CNN/b_cnn_{i}"]
    for k in range(options["char_cnn"]["n_highway"]):
        for part, theirs in (("weight", "W"), ("bias", "b")):
            new = weights[f"CNN_high_{k}/{theirs}_transform"].T
            # Their gate multiplies the input: one minus the published one.
            gate = -weights[f"CNN_high_{k}/{theirs}_carry"].T
            state[f"highways._layers.{k}.{part}"] = np.concatenate([new, gate])
    state["projection.weight"] = weights["CNN_proj/W_proj"].T
    state["projection.bias"] = weights["CNN_proj/b_proj"]
    return tensors(state)


def encoder(options: numpy_bilm.Options, weights: numpy_bilm.Weights) -> Pickled:
    lstm, state = options["lstm"], {}
    for number, direction in enumerate(("forward", "backward")):
        for layer in range(lstm["n_layers"]):
            theirs = f"RNN_{number}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            name = f"{direction}_layer_{layer}"
            rows = gates(weights[f"{theirs}/W_0"].T)
            bias = gates(weights[f"{theirs}/B"]).copy()
            bias[lstm["dim"] : 2 * lstm["dim"]] += 1.0
            state[f"{name}.input_linearity.weight"] = rows[:, : lstm["projection_dim"]]
            state[f"{name}.state_linearity.weight"] = rows[:, lstm["projection_dim"] :]
            state[f"{name}.state_linearity.bias"] = bias
            state[f"{name}.state_projection.weight"] = weights[f"{theirs}/W_P_0"].T
    return tensors(state)


def gates(array: np.ndarray) -> np.ndarray:
    """i, j, f, o -> i, f, g, o."""
    i, g, f, o = np.split(array, 4)
    return np.concatenate([i, f, g, o])


def tensors(arrays: dict[str, np.ndarray]) -> Pickled:
    return {key: torch.from_numpy(array.copy()) for key, array in arrays.items()}


def write_dictionary(path: Path, entries: dict[str, int]) -> None:
    lines = [f"{token}\t{number}\n" for token, number in entries.items()]
    path.write_text("".join(lines), encoding="utf8")


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf8")
