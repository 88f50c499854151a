"""The mix of the layers in a head: layers of each doc -> one vector a token."""

from dataclasses import dataclass
from typing import (
    Any,
    Callable,
    List,
    Optional,
    Sequence,
    Tuple,
    Union,
    cast,
)

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


@dataclass(frozen=True)
class MixSettings:
    """What the config says of a mix. In an object of its own, which Thinc does not
    store: the config that loads a model is in force, not the one that it was saved
    with."""

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
    """γ Σ_j s_j h_kj of each token (Peters et al. 2018, eq. 1).

    mix: "learned" (s and γ are trained), "mean", "top" (the last layer alone), or the
        weights s themselves, one a layer.
    layer_norm: normalise each layer of each token first.
    dropout: rate on the result in training; None: the head's own.
    l2: λ of λ‖w‖², s = softmax(w), which draws the learned s towards the mean.
    width: of a token's layer, where it is known before the weights are.

    Raises ValueError for an unknown mix or a rate outside [0, 1).
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
            # Whether the gradient of the layers is wanted: not of a frozen biLM.
            "backprop_layers": True,
            "dropout_rate": 0.0,  # spaCy sets what has this name
        },
    )


def mix_weights(mix: Mix, n_layers: int) -> np.ndarray:
    """The weights s of a mix that is not learned, (n_layers,) float32.

    n_layers: of the biLM, + 1.

    Raises ValueError where a list has not that many weights.
    """
    if isinstance(mix, str):
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


def learned_mix(model: Model) -> Tuple[Floats1d, float]:
    """The s, which sum up to 1, and the γ that a mix has learned or was given.

    Raises ValueError where the model has not seen a layer yet.
    """
    settings: MixSettings = model.attrs["settings"]
    is_known = model.has_param("scalars") or not settings.is_learned
    if not model.has_dim("nL") or not is_known:
        raise ValueError(
            "expected a head that was initialised, found one whose mix does not know "
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
        _set_sizes(model, *X[0].shape)
    if model.attrs["settings"].is_learned and model.has_dim("nL"):
        model.set_param("scalars", model.ops.alloc1f(model.get_dim("nL")))
        model.set_param("gamma", model.ops.asarray1f([1.0]))


def forward(
    model: Model[List[Floats3d], List[Floats2d]], X: Sequence[Floats3d], is_train: bool
) -> Tuple[List[Floats2d], Callable[[List[Floats2d]], List[Floats3d]]]:
    if not X:
        return [], lambda d_outputs: []
    xp = model.ops.xp
    _set_sizes(model, *X[0].shape)
    ends = np.cumsum([layers.shape[1] for layers in X])[:-1].tolist()
    settings: MixSettings = model.attrs["settings"]
    is_learned, layer_norm = settings.is_learned, settings.layer_norm
    together = xp.concatenate([model.ops.asarray(layers) for layers in X], axis=1)
    layers = xp2torch(
        together,
        requires_grad=is_train and model.attrs["backprop_layers"],
        device=_device(together),
    )
    scalars, gamma = _parameters(model, is_learned and is_train, layers.device)
    rate = settings.dropout
    if rate is None:
        rate = model.attrs["dropout_rate"]
    with torch.set_grad_enabled(is_train):
        if is_learned:
            mixed = scalar_mix(layers, scalars, gamma, layer_norm=layer_norm)
        else:
            mixed = mix_layers(layers, scalars, layer_norm=layer_norm)
        mixed = F.dropout(mixed, rate, training=is_train)

    def backprop(d_outputs: List[Floats2d]) -> List[Floats3d]:
        wanted = [t for t in (scalars, gamma, layers) if t.requires_grad]
        if not wanted:
            return []
        d_mixed = xp2torch(xp.concatenate(d_outputs), device=mixed.device)
        gradients = list(torch.autograd.grad(mixed, wanted, d_mixed))
        if is_learned:
            d_scalars = gradients.pop(0) + 2 * settings.l2 * scalars.detach()
            model.inc_grad("scalars", cast(Floats1d, torch2xp(d_scalars)))
            model.inc_grad("gamma", cast(Floats1d, torch2xp(gradients.pop(0))))
        if not gradients:
            return []
        return cast(List[Floats3d], xp.split(torch2xp(gradients[0]), ends, axis=1))

    return xp.split(torch2xp(mixed), ends), backprop


def _parameters(
    model: Model, requires_grad: bool, device: torch.device
) -> Tuple[torch.Tensor, torch.Tensor]:
    settings: MixSettings = model.attrs["settings"]
    if settings.is_learned:
        return (
            xp2torch(model.get_param("scalars"), requires_grad, device),
            xp2torch(model.get_param("gamma"), requires_grad, device),
        )
    weights = mix_weights(settings.mix, model.get_dim("nL"))
    return torch.from_numpy(weights).to(device), torch.ones(1, device=device)


def _device(array: Any) -> torch.device:
    """Where the array lies: Thinc would take the device of the current context, which
    need not be the model's."""
    number = getattr(getattr(array, "device", None), "id", None)  # CuPy's alone has one
    return torch.device("cpu" if number is None else f"cuda:{number}")


def _set_sizes(model: Model, n_layers: int, n_tokens: int, width: int) -> None:
    for dim, found in (("nL", n_layers), ("nI", width), ("nO", width)):
        if not model.has_dim(dim):
            model.set_dim(dim, found)
        elif model.get_dim(dim) != found:
            what = "layers" if dim == "nL" else "values a token and layer"
            raise ValueError(
                f"ELMo: expected {model.get_dim(dim)} {what}, found {found}. The biLM "
                "is not the one that this head was built or trained with (in a config: "
                "check `width`): load that one, or train the head again."
            )
