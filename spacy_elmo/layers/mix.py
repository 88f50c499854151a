"""The mix of a head: layers of each doc -> one vector per token."""

from dataclasses import dataclass
from typing import Any, Callable, List, Optional, Sequence, Tuple, Union, cast

import numpy as np
import torch
from thinc.api import Model
from thinc.types import Floats1d, Floats2d, Floats3d
from thinc.util import torch2xp, xp2torch
from torch.nn import functional as F

from ..bilm.scalar_mix import mix_layers, scalar_mix

Mix = Union[str, List[float]]

LEARNED = "learned"
NAMED_MIXES = ("mean", "top")

UNKNOWN_MIX = (
    "mix: expected {}, or a list with one weight per layer, found {!r}. (Learned mixes "
    "belong to the heads: spacy_elmo.ElmoListener.v1.)"
)


@dataclass(frozen=True)
class MixSettings:
    """Settings of a mix. Wrapped in an object because Thinc serializes plain attrs, and
    they would override the config on load."""

    mix: Mix
    layer_norm: bool
    dropout: Optional[float]
    l2: float

    @property
    def is_learned(self) -> bool:
        return self.mix == LEARNED


def elmo_mix(
    mix: Mix = LEARNED,
    *,
    layer_norm: bool = False,
    dropout: Optional[float] = None,
    l2: float = 0.0,
    width: Optional[int] = None,
) -> Model[List[Floats3d], List[Floats2d]]:
    """Build γ Σ_j s_j h_kj (Peters et al. 2018, eq. 1).

    mix (Union[str, List[float]]): "learned" (s and γ are trained), "mean", "top" (only
        the last layer), or the weights s, one per layer.
    layer_norm (bool): Whether to normalize each layer of each token first.
    dropout (Optional[float]): Dropout rate on the result in training. Defaults to the
        head's rate.
    l2 (float): λ of λ‖w‖², s = softmax(w), which pulls the learned s towards the mean.
    width (Optional[int]): Width of a layer, if it is known before the weights are.
    RETURNS (Model[List[Floats3d], List[Floats2d]]): Maps layers of shape
        (n_layers + 1, n_tokens, width) to vectors of shape (n_tokens, width).
    RAISES: ValueError if the mix is unknown or a rate is out of range.
    """
    if isinstance(mix, str) and mix not in (LEARNED, *NAMED_MIXES):
        raise ValueError(
            f"mix: expected {LEARNED}, {', '.join(NAMED_MIXES)} or a list of weights, "
            f"found {mix!r}."
        )
    if dropout is not None and not 0 <= dropout < 1:
        raise ValueError(f"dropout: expected a rate in [0, 1), found {dropout}.")
    if l2 < 0:
        raise ValueError(f"l2: expected 0 or more, found {l2}.")
    settings = MixSettings(mix, layer_norm, dropout, l2)
    return Model(
        "elmo_mix",
        forward,
        init=init,
        params={"scalars": None, "gamma": None} if settings.is_learned else {},
        dims={"nL": None, "nI": width, "nO": width},
        attrs={
            "settings": settings,
            # Whether gradients of the layers are needed: not for a frozen biLM.
            "backprop_layers": True,
            "dropout_rate": 0.0,  # set by spaCy, which looks for this name
        },
    )


def mix_weights(mix: Mix, n_layers: int) -> np.ndarray:
    """Compute the weights s of a mix that is not learned.

    mix (Union[str, List[float]]): "mean", "top", or the weights.
    n_layers (int): Number of layers, including the context-independent one.
    RETURNS (ndarray): float32 array of shape (n_layers,).
    RAISES: ValueError if the name is unknown, or a list has another length.
    """
    if isinstance(mix, str):
        check_named_mix(mix)
        weights = np.zeros(n_layers, dtype=np.float32)
        weights[...] = 1 / n_layers if mix == "mean" else 0
        if mix == "top":
            weights[-1] = 1
        return weights
    if len(mix) != n_layers:
        raise ValueError(
            f"mix: expected {n_layers} weights, one for the words' own vectors and one "
            f"for each of the biLM's layers, found {len(mix)}."
        )
    return np.asarray(mix, dtype=np.float32)


def check_named_mix(mix: Mix) -> None:
    """RAISES: ValueError if the mix has a name other than "mean" and "top"."""
    if isinstance(mix, str) and mix not in NAMED_MIXES:
        raise ValueError(UNKNOWN_MIX.format(", ".join(NAMED_MIXES), mix))


def learned_mix(model: Model) -> Tuple[Floats1d, float]:
    """Get the weights s and the scale γ of a mix, learned or given.

    RETURNS (Tuple[Floats1d, float]): The weights, of shape (n_layers,), and γ. Learned
        weights sum to 1.
    RAISES: ValueError if the mix does not know the number of layers yet.
    """
    settings: MixSettings = model.attrs["settings"]
    is_initialized = model.has_param("scalars") or not settings.is_learned
    if not model.has_dim("nL") or not is_initialized:
        raise ValueError(
            "expected a head that was initialized, found one whose mix does not know "
            "the number of layers yet: call nlp.initialize() first."
        )
    if not settings.is_learned:
        return cast(Floats1d, mix_weights(settings.mix, model.get_dim("nL"))), 1.0
    scalars = model.ops.to_numpy(model.get_param("scalars"))
    exponentials = np.exp(scalars - scalars.max())
    gamma = model.ops.to_numpy(model.get_param("gamma"))
    return exponentials / exponentials.sum(), float(gamma[0])


def init(
    model: Model[List[Floats3d], List[Floats2d]],
    X: Optional[List[Floats3d]] = None,
    Y: Optional[List[Floats2d]] = None,
) -> None:
    if X:
        _set_dims(model, X[0])
    if model.attrs["settings"].is_learned and model.has_dim("nL"):
        model.set_param("scalars", model.ops.alloc1f(model.get_dim("nL")))
        model.set_param("gamma", model.ops.asarray1f([1.0]))


def forward(
    model: Model[List[Floats3d], List[Floats2d]], X: Sequence[Floats3d], is_train: bool
) -> Tuple[List[Floats2d], Callable[[List[Floats2d]], List[Floats3d]]]:
    if not X:
        return [], lambda d_outputs: []
    xp = model.ops.xp
    _set_dims(model, X[0])
    settings: MixSettings = model.attrs["settings"]
    rate = settings.dropout
    if rate is None:
        rate = model.attrs["dropout_rate"]
    ends = np.cumsum([layers.shape[1] for layers in X])[:-1].tolist()
    joined = xp.concatenate([model.ops.asarray(layers) for layers in X], axis=1)
    device = _device(joined)
    layers = xp2torch(joined, is_train and model.attrs["backprop_layers"], device)
    with torch.set_grad_enabled(is_train):
        if settings.is_learned:
            scalars = xp2torch(model.get_param("scalars"), is_train, device)
            gamma = xp2torch(model.get_param("gamma"), is_train, device)
            mixed = scalar_mix(layers, scalars, gamma, layer_norm=settings.layer_norm)
        else:
            weights = mix_weights(settings.mix, model.get_dim("nL"))
            scalars = torch.from_numpy(weights).to(device)
            mixed = mix_layers(layers, scalars, layer_norm=settings.layer_norm)
        mixed = F.dropout(mixed, rate, training=is_train)

    def backprop(d_outputs: List[Floats2d]) -> List[Floats3d]:
        if not mixed.requires_grad:
            return []
        inputs = [layers] if layers.requires_grad else []
        if settings.is_learned:
            inputs += [scalars, gamma]
        d_mixed = xp2torch(xp.concatenate(d_outputs), device=mixed.device)
        gradients = list(torch.autograd.grad(mixed, inputs, d_mixed))
        if settings.is_learned:
            model.inc_grad("gamma", cast(Floats1d, torch2xp(gradients.pop())))
            d_scalars = gradients.pop() + 2 * settings.l2 * scalars.detach()
            model.inc_grad("scalars", cast(Floats1d, torch2xp(d_scalars)))
        if not gradients:
            return []
        return cast(List[Floats3d], xp.split(torch2xp(gradients[0]), ends, axis=1))

    return xp.split(torch2xp(mixed), ends), backprop


def _device(array: Any) -> torch.device:
    """Get the device of an array. Thinc would use the current context's, which may not
    be the model's."""
    number = getattr(getattr(array, "device", None), "id", None)  # only CuPy has one
    return torch.device("cpu" if number is None else f"cuda:{number}")


def _set_dims(model: Model, layers: Floats3d) -> None:
    n_layers, _, width = layers.shape
    for dim, size in (("nL", n_layers), ("nI", width), ("nO", width)):
        if not model.has_dim(dim):
            model.set_dim(dim, size)
        elif model.get_dim(dim) != size:
            what = "layers" if dim == "nL" else "values per token and layer"
            raise ValueError(
                f"ELMo: expected {model.get_dim(dim)} {what}, found {size}. The biLM "
                "is not the one that this head was built or trained with (in a config: "
                "check `width`): load that one, or train the head again."
            )
