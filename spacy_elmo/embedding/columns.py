"""Which vectors to write: layers, or mixes of them."""

from typing import Dict, List, Optional

import numpy as np

from .encoding import ALL, MEAN, TOP

VECTORS = "vectors"

Columns = Dict[str, np.ndarray]
"""The weight of each layer, of shape (n_layers + 1,), by the name of the column."""


def select_columns(layers: str, mix: Optional[str], n: int) -> Columns:
    """Select what to write.

    layers (str): "all", "top", "mean", or numbers of layers, separated by commas.
    mix (Optional[str]): Weights of the layers, separated by commas, instead.
    n (int): Number of layers, the context-free one included.
    RETURNS (Columns): A column layer_0, layer_1, ... for each of several layers, or
        "vectors" for one layer or mix.
    RAISES: ValueError if there is no such layer, or another number of weights, or if
        both are given.
    """
    if mix is not None:
        if layers != ALL:
            raise ValueError(
                f"--mix: expected it without --layers, found --layers {layers}: a mix "
                "is computed from all layers. Remove one of the options."
            )
        return {VECTORS: _parse_mix(mix, n)}
    if layers == MEAN:
        return {VECTORS: np.full(n, 1 / n, dtype=np.float32)}
    names = [str(number) for number in range(n)]
    chosen: List[str] = {ALL: names, TOP: names[-1:]}.get(layers, layers.split(","))
    if not set(chosen) <= set(names) or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"layer: expected {ALL}, {TOP}, {MEAN}, {', '.join(names)}, or several "
            f"numbers separated by commas, found {layers!r}."
        )
    rows = np.eye(n, dtype=np.float32)
    if len(chosen) == 1:
        return {VECTORS: rows[int(chosen[0])]}
    return {f"layer_{name}": rows[int(name)] for name in chosen}


def _parse_mix(mix: str, n: int) -> np.ndarray:
    try:
        weights = np.asarray([float(part) for part in mix.split(",")], dtype=np.float32)
    except ValueError:
        weights = np.zeros(0, dtype=np.float32)
    if len(weights) != n or not np.isfinite(weights).all():
        raise ValueError(
            f"mix: expected {n} weights separated by commas, one per layer, found "
            f"{mix!r}."
        )
    return weights


def mix_layers(layers: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute a column.

    layers (ndarray): All layers, of shape (n_layers + 1, n_words, width).
    weights (ndarray): The weight of each layer.
    RETURNS (ndarray): The weighted sum, of shape (n_words, width).
    """
    (numbers,) = np.nonzero(weights)
    if len(numbers) == 1 and weights[numbers[0]] == 1:
        return layers[numbers[0]]
    mixed: np.ndarray = np.einsum("l,lnw->nw", weights, layers)
    return mixed
