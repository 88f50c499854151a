"""The published ELMo biLM, word by word in float64: a slow oracle for the tests.

It shares no code with the package, and favors the formula over speed everywhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import h5py
import numpy as np

Weights = Dict[str, np.ndarray]
Options = Dict[str, Any]
# (direction, layer) -> (cell, hidden); one such dict per stream.
StreamState = Dict[Tuple[int, int], Tuple[np.ndarray, np.ndarray]]
State = List[StreamState]

SENTENCE_BEGIN, SENTENCE_END, WORD_BEGIN, WORD_END, PADDING = range(256, 261)
BOUNDARIES = {"<S>": SENTENCE_BEGIN, "</S>": SENTENCE_END}
N_CHARACTERS = 261
FORWARD, BACKWARD = 0, 1
ACTIVATIONS: Dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0.0),
    "tanh": np.tanh,
}


OPTIONS: Options = {
    "lstm": {
        "dim": 6,
        "projection_dim": 4,
        "n_layers": 2,
        "cell_clip": 3,
        "proj_clip": 3,
        "use_skip_connections": True,
    },
    "char_cnn": {
        "embedding": {"dim": 3},
        "filters": [[1, 2], [2, 3]],
        "n_highway": 1,
        "n_characters": 261,
        "max_characters_per_token": 12,
        "activation": "relu",
    },
}
"""Contents of an options.json."""


def random_options(rng: np.random.Generator) -> Options:
    """Small, valid `options.json` contents, varied in every published respect."""
    projection_dim = int(rng.integers(2, 7))
    projected = rng.random() < 0.6
    dim = projection_dim + (int(rng.integers(1, 7)) if projected else 0)
    filters = _random_filters(rng)
    if rng.random() < 0.3:
        filters = _resize_filters(filters, projection_dim)
    widest = max(width for width, _ in filters)
    return {
        "lstm": {
            "dim": dim,
            "projection_dim": projection_dim,
            "n_layers": int(rng.integers(1, 5)),
            "cell_clip": _random_clip(rng),
            "proj_clip": _random_clip(rng),
            "use_skip_connections": bool(rng.random() < 0.5),
        },
        "char_cnn": {
            "embedding": {"dim": int(rng.integers(1, 6))},
            "filters": filters,
            "n_highway": int(rng.integers(0, 4)),
            "activation": str(rng.choice(sorted(ACTIVATIONS))),
            "n_characters": int(rng.integers(261, 263)),
            "max_characters_per_token": int(rng.integers(max(5, widest), 51)),
        },
    }


def random_weights(
    options: Options, rng: np.random.Generator, scale: float = 0.5
) -> Weights:
    """Normal float32 weights of standard deviation `scale`, shaped by `options`."""
    return {
        key: rng.normal(scale=scale, size=shape).astype(np.float32)
        for key, shape in _shapes(options).items()
    }


def character_ids(word: str, max_characters: int) -> list[int]:
    """The `max_characters` ids of a word, or of the boundary "<S>" or "</S>"."""
    if word in BOUNDARIES:
        inner = [BOUNDARIES[word]]
    else:
        # "ignore" drops lone surrogates, which have no UTF-8 encoding.
        inner = list(word.encode("utf-8", "ignore")[: max_characters - 2])
    symbols = [WORD_BEGIN, *inner, WORD_END]
    symbols += [PADDING] * (max_characters - len(symbols))
    return [symbol + 1 for symbol in symbols]


def encode(
    options: Options,
    weights: Weights,
    sentences: list[list[str]],
    state: Optional[State] = None,
) -> tuple[list[np.ndarray], State]:
    """All layers of each sentence, and the state to continue its stream from.

    Layers are float64 `(n_layers + 1, n_words, 2 * projection_dim)`. Sentence i
    starts from `state[i]`, which is left unchanged; no state means zeros. Raises
    ValueError if there are not as many states as sentences.
    """
    weights = {key: array.astype(np.float64) for key, array in weights.items()}
    if state is None:
        state = [_zero_state(options) for _ in sentences]
    if len(state) != len(sentences):
        raise ValueError(f"{len(sentences)} sentences, but {len(state)} states")
    layers, final_state = [], []
    for words, stream in zip(sentences, state):
        sentence_layers, final = _encode_sentence(options, weights, words, stream)
        layers.append(sentence_layers)
        final_state.append(final)
    return layers, final_state


def write_published(folder: str | Path, options: Options, weights: Weights) -> None:
    """Write `options.json` and `weights.hdf5` into `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "options.json").write_text(json.dumps(options), encoding="utf-8")
    with h5py.File(folder / "weights.hdf5", "w") as file:
        for key, array in weights.items():
            file.create_dataset(key, data=array)


def _encode_sentence(
    options: Options, weights: Weights, words: list[str], stream: StreamState
) -> tuple[np.ndarray, StreamState]:
    lstm = options["lstm"]
    tokens = [
        _encode_characters(options, weights, word) for word in ["<S>", *words, "</S>"]
    ]
    layers = np.zeros((lstm["n_layers"] + 1, len(tokens), 2, lstm["projection_dim"]))
    final: StreamState = {}
    for direction in (FORWARD, BACKWARD):
        order = list(range(len(tokens)))
        if direction == BACKWARD:
            order.reverse()
        layers[0, :, direction] = tokens
        for layer in range(lstm["n_layers"]):
            cell, hidden = stream[direction, layer]
            for k in order:
                x = layers[layer, k, direction]
                cell, hidden = _lstm_step(
                    options, weights, direction, layer, x, cell, hidden
                )
                skip = lstm["use_skip_connections"] and layer >= 1
                layers[layer + 1, k, direction] = hidden + x if skip else hidden
            final[direction, layer] = cell, hidden
    joined = np.concatenate([layers[:, :, FORWARD], layers[:, :, BACKWARD]], axis=-1)
    return joined[:, 1:-1], final


def _encode_characters(options: Options, weights: Weights, word: str) -> np.ndarray:
    cnn = options["char_cnn"]
    ids = character_ids(word, cnn["max_characters_per_token"])
    embedded = np.stack([weights["char_embed"][i - 1] for i in ids])
    features = []
    for i in range(len(cnn["filters"])):
        kernel, bias = weights[f"CNN/W_cnn_{i}"][0], weights[f"CNN/b_cnn_{i}"]
        pooled = _convolve(embedded, kernel, bias).max(axis=0)
        features.append(ACTIVATIONS[cnn["activation"]](pooled))
    x = np.concatenate(features)
    for k in range(cnn["n_highway"]):
        x = _highway(weights, k, x)
    if "CNN_proj/W_proj" in weights:
        x = x @ weights["CNN_proj/W_proj"] + weights["CNN_proj/b_proj"]
    return x


def _convolve(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    width = len(kernel)
    return np.stack(
        [
            sum(x[start + offset] @ kernel[offset] for offset in range(width)) + bias
            for start in range(len(x) - width + 1)
        ]
    )


def _highway(weights: Weights, k: int, x: np.ndarray) -> np.ndarray:
    name = f"CNN_high_{k}"
    # The published "carry" weights belong to the transform gate.
    gate = _sigmoid(x @ weights[f"{name}/W_carry"] + weights[f"{name}/b_carry"])
    new = x @ weights[f"{name}/W_transform"] + weights[f"{name}/b_transform"]
    return gate * np.maximum(new, 0.0) + (1.0 - gate) * x


def _lstm_step(
    options: Options,
    weights: Weights,
    direction: int,
    layer: int,
    x: np.ndarray,
    cell: np.ndarray,
    hidden: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    lstm = options["lstm"]
    name = _cell_name(direction, layer)
    gates = np.concatenate([x, hidden]) @ weights[f"{name}/W_0"] + weights[f"{name}/B"]
    i, j, f, o = np.split(gates, 4)
    cell = _sigmoid(i) * np.tanh(j) + _sigmoid(f + 1.0) * cell
    cell = _clip(cell, lstm["cell_clip"])
    hidden = _sigmoid(o) * np.tanh(cell)
    if f"{name}/W_P_0" in weights:
        hidden = _clip(hidden @ weights[f"{name}/W_P_0"], lstm["proj_clip"])
    return cell, hidden


def _sigmoid(x: np.ndarray) -> np.ndarray:
    # Through tanh, because exp(-x) overflows for very negative x.
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _clip(x: np.ndarray, limit: Optional[float]) -> np.ndarray:
    return np.clip(x, -limit, limit) if limit else x


def _zero_state(options: Options) -> StreamState:
    lstm = options["lstm"]
    return {
        (direction, layer): (np.zeros(lstm["dim"]), np.zeros(lstm["projection_dim"]))
        for direction in (FORWARD, BACKWARD)
        for layer in range(lstm["n_layers"])
    }


def _cell_name(direction: int, layer: int) -> str:
    return f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"


def _shapes(options: Options) -> dict[str, tuple[int, ...]]:
    lstm, cnn = options["lstm"], options["char_cnn"]
    dim, projection_dim = lstm["dim"], lstm["projection_dim"]
    char_dim = cnn["embedding"]["dim"]
    n_filters = sum(number for _, number in cnn["filters"])
    shapes: dict[str, tuple[int, ...]] = {"char_embed": (N_CHARACTERS, char_dim)}
    for i, (width, number) in enumerate(cnn["filters"]):
        shapes[f"CNN/W_cnn_{i}"] = (1, width, char_dim, number)
        shapes[f"CNN/b_cnn_{i}"] = (number,)
    for k in range(cnn["n_highway"]):
        for part in ("transform", "carry"):
            shapes[f"CNN_high_{k}/W_{part}"] = (n_filters, n_filters)
            shapes[f"CNN_high_{k}/b_{part}"] = (n_filters,)
    if n_filters != projection_dim:
        shapes["CNN_proj/W_proj"] = (n_filters, projection_dim)
        shapes["CNN_proj/b_proj"] = (projection_dim,)
    for direction in (FORWARD, BACKWARD):
        for layer in range(lstm["n_layers"]):
            name = _cell_name(direction, layer)
            shapes[f"{name}/W_0"] = (2 * projection_dim, 4 * dim)
            shapes[f"{name}/B"] = (4 * dim,)
            if projection_dim < dim:
                shapes[f"{name}/W_P_0"] = (dim, projection_dim)
    return shapes


def _random_filters(rng: np.random.Generator) -> list[list[int]]:
    return [
        [int(rng.integers(1, 8)), int(rng.integers(1, 6))]
        for _ in range(rng.integers(1, 5))
    ]


def _resize_filters(filters: list[list[int]], total: int) -> list[list[int]]:
    """Filters of the same widths that number `total` in all."""
    widths = [width for width, _ in filters][:total]
    numbers = [total // len(widths)] * len(widths)
    numbers[0] += total % len(widths)
    return [[width, number] for width, number in zip(widths, numbers)]


def _random_clip(rng: np.random.Generator) -> Optional[float]:
    kind = rng.integers(4)
    if kind == 0:
        return None
    return 0 if kind == 1 else round(float(rng.uniform(0.2, 2.0)), 2)
