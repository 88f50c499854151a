"""spacy_elmo.ElmoTok2Vec.v1: a biLM inside the head, without a shared component."""

from functools import partial
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from .elmo_model import DocLayers, frozen_layers, set_bilm
from .mix import LEARNED, Mix, elmo_mix
from .weight_loaders import Loader

ARCHITECTURE = "spacy_elmo.ElmoTok2Vec.v1"
LISTENER_ARCHITECTURE = "spacy_elmo.ElmoListener.v1"


def build_elmo_tok2vec_v1(
    model: Model[List[Doc], DocLayers],
    weights: Optional[Loader] = None,
    frozen: bool = True,
    mix: Mix = LEARNED,
    layer_norm: bool = False,
    dropout: Optional[float] = None,
    l2: float = 0.0,
    width: Optional[int] = None,
) -> Model[List[Doc], List[Floats2d]]:
    """Build a layer that contains a biLM and mixes its layers.

    model (Model[List[Doc], List[Floats3d]]): spacy_elmo.ElmoModel.v1.
    weights (Optional[Loader]): Loader that is called when the head is initialized. None
        if the weights come with a trained pipeline.
    frozen (bool): Whether the biLM stays unchanged while the head is trained.
    mix (Union[str, List[float]]): As in spacy_elmo.ElmoListener.v1.
    layer_norm (bool): As in spacy_elmo.ElmoListener.v1.
    dropout (Optional[float]): As in spacy_elmo.ElmoListener.v1.
    l2 (float): As in spacy_elmo.ElmoListener.v1.
    width (Optional[int]): As in spacy_elmo.ElmoListener.v1.
    RETURNS (Model[List[Doc], List[Floats2d]]): Maps docs to vectors of shape
        (n_tokens, width).
    """
    head_mix = elmo_mix(mix, layer_norm=layer_norm, dropout=dropout, l2=l2, width=width)
    tok2vec = _tok2vec(model, head_mix, frozen)
    tok2vec.attrs["weights"] = weights
    return tok2vec


def _tok2vec(
    model: Model[List[Doc], DocLayers], mix: Model, frozen: bool
) -> Model[List[Doc], List[Floats2d]]:
    return Model(
        "elmo_tok2vec",
        partial(forward, frozen=frozen),
        init=init,
        layers=[model, mix],
        dims={"nO": mix.maybe_get_dim("nO")},
    )


def init(
    model: Model[List[Doc], List[Floats2d]],
    X: Optional[List[Doc]] = None,
    Y: Optional[List[Floats2d]] = None,
) -> None:
    bilm, mix = model.layers
    weights: Optional[Loader] = model.attrs.get("weights")
    if weights is not None:
        set_bilm(bilm, weights())
    if X:
        mix.initialize(X=bilm.predict(X))
        model.set_dim("nO", mix.get_dim("nO"))


def forward(
    model: Model[List[Doc], List[Floats2d]],
    docs: Sequence[Doc],
    is_train: bool,
    *,
    frozen: bool,
) -> Tuple[List[Floats2d], Callable[[List[Floats2d]], List[Doc]]]:
    bilm, mix = model.layers
    backprop_bilm: Optional[Callable[[DocLayers], List[Doc]]] = None
    if frozen:
        layers = frozen_layers(bilm, docs, is_train)
    else:
        layers, backprop_bilm = bilm(docs, is_train)
    mix.attrs["backprop_layers"] = is_train and not frozen
    outputs, backprop_mix = mix(layers, is_train)

    def backprop(d_outputs: List[Floats2d]) -> List[Doc]:
        d_layers = backprop_mix(d_outputs)
        return backprop_bilm(d_layers) if backprop_bilm else []

    return outputs, backprop


def replace_listener(model: Model, listener: Model, component: Any) -> Model:
    """Build the layer that replaces a listener in nlp.replace_listeners.

    model (Model): The head's own copy of the component's model.
    listener (Model): The listener, whose mix is kept.
    component (Elmo): The component.
    """
    return _tok2vec(model, listener.layers[0], component.frozen)


def replace_listener_config(
    elmo_config: Mapping[str, Any], tok2vec_config: Mapping[str, Any], *, frozen: bool
) -> Dict[str, Any]:
    """Build the config of the layer that `replace_listener` returns.

    elmo_config (Mapping): Config of the component's model.
    tok2vec_config (Mapping): Config of the head's tok2vec, which contains the listener.
    frozen (bool): The component's setting.
    RAISES: ValueError if there are two listeners with different settings.
    """
    listeners = list(_listener_configs(tok2vec_config))
    if any(config != listeners[0] for config in listeners):
        raise ValueError(
            "replace_listeners: expected one listener in the head, or several with the "
            f"same settings, found {listeners}. spaCy does not say which of them it "
            "replaces: give them the same settings."
        )
    dropped = ("@architectures", "upstream")
    settings = {k: value for k, value in listeners[0].items() if k not in dropped}
    return {
        "@architectures": ARCHITECTURE,
        "model": dict(elmo_config),
        "weights": None,
        "frozen": frozen,
        **settings,
    }


def _listener_configs(config: Any) -> List[Mapping[str, Any]]:
    if not isinstance(config, Mapping):
        return []
    if config.get("@architectures") == LISTENER_ARCHITECTURE:
        return [config]
    return [inner for value in config.values() for inner in _listener_configs(value)]
