"""The biLM in a Thinc model: sentences of words -> layers, and its place for weights
that are loaded later."""

import os
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import (
    Any,
    Callable,
    ContextManager,
    Iterator,
    List,
    Mapping,
    Tuple,
    cast,
)

import torch
from thinc.api import ArgsKwargs, Model, Optimizer, PyTorchShim, Shim
from thinc.layers import pytorchwrapper
from thinc.types import Floats3d, FloatsXd
from thinc.util import torch2xp, xp2torch
from torch import nn

from ..bilm import BiLM
from ..bilm.model import DEFAULT_WORD_CACHE_MB
from ..formats import native

Sentences = List[List[str]]

# In a forked child (a worker of nlp.pipe(n_process=...)) PyTorch's pool of threads is
# gone, and waiting for it would never end. With one thread it is not asked for.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))

NO_WEIGHTS = """\
The biLM has no weights yet. There are three ways to give it some:
  - in the config: [initialize.components.elmo.weights] (for ElmoTok2Vec: its own block
    [... .weights]) with @callbacks = "spacy_elmo.PretrainedWeights.v1" and a path that
    is not null (with this project's configs: --paths.elmo PATH), then nlp.initialize()
    or `spacy train`;
  - in Python: nlp.get_pipe("elmo").set_bilm(spacy_elmo.load_bilm(path));
  - a pipeline that has some: spacy.load(path), or nlp.add_pipe("elmo", source=nlp2).
A component among the [training] frozen_components is not initialised: leave it out of
them; its own setting frozen = true keeps the biLM as it is."""


class NoWeights(nn.Module):
    """Stands where the biLM will be: the sizes come with the weights."""

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        raise ValueError(NO_WEIGHTS)


class BiLMShim(PyTorchShim):
    """PyTorchShim around a biLM, whose caches follow the weights."""

    word_cache_mb: float = DEFAULT_WORD_CACHE_MB

    def predict(self, inputs: ArgsKwargs) -> torch.Tensor:
        """As Thinc's, which first sets all modules to evaluation, then all back, and
        always enters autocast: no module of a biLM has a mode, and for a short text
        both take long."""
        autocast: ContextManager = nullcontext()
        if self._mixed_precision or torch.is_autocast_enabled("cuda"):
            autocast = torch.autocast("cuda", enabled=self._mixed_precision)
        with torch.no_grad(), autocast:
            return cast(torch.Tensor, self._model(*inputs.args, **inputs.kwargs))

    def finish_update(self, optimizer: Optimizer) -> None:
        super().finish_update(optimizer)
        # Thinc writes through memory shared with NumPy, where PyTorch does not see it;
        # where there is no gradient, as of a frozen biLM, it writes nothing.
        self._clear_cache(
            any(parameter.grad is not None for parameter in self._model.parameters())
        )

    @contextmanager
    def use_params(self, params: Mapping[Any, FloatsXd]) -> Iterator[None]:
        """Have other weights for a while, as the optimizer's averages.

        params: by (the shim's id, parameter's name), as optimizers name them. (Thinc's
            own method looks for other names, and finds none.)
        """
        backup: List[Tuple[nn.Parameter, torch.Tensor]] = []
        try:
            for name, parameter in self._model.named_parameters():
                if (self.id, name) in params:
                    backup.append((parameter, parameter.data))
                    parameter.data = xp2torch(
                        params[self.id, name], device=parameter.device
                    )
            self._clear_cache(bool(backup))
            yield
        finally:
            for parameter, data in backup:
                parameter.data = data
            self._clear_cache(bool(backup))

    def copy(self) -> "BiLMShim":
        copied: BiLMShim = super().copy()
        # By its id an optimizer knows a shim's weights: the copy has its own from here.
        with Shim.global_id_lock:
            Shim.global_id += 1
            copied.id = Shim.global_id
        return copied

    def _clear_cache(self, is_changed: bool) -> None:
        if is_changed and isinstance(self._model, BiLM):
            self._model.clear_cache()

    def from_bytes(self, bytes_data: bytes) -> "BiLMShim":
        super().from_bytes(bytes_data)
        return self.adopt(self._model)

    def adopt(self, module: nn.Module) -> "BiLMShim":
        """Take over a biLM, on the device that this is on."""
        self._model = module.to(self.device)
        if isinstance(module, BiLM):
            module.word_cache_mb = self.word_cache_mb
        return self


def torch_bilm(
    batch_tokens: int, precision: str, word_cache_mb: float
) -> Model[Sentences, Floats3d]:
    """A biLM without weights, wrapped: sentences -> (n_layers + 1, n_words, width).

    batch_tokens, precision: as in `BiLM.encode`. word_cache_mb: of the `BiLM`.
    """
    shim = BiLMShim(
        NoWeights(), serialize_model=_serialize, deserialize_model=_deserialize
    )
    shim.word_cache_mb = word_cache_mb
    return Model(
        "bilm",
        pytorchwrapper.forward,
        attrs={
            "convert_inputs": partial(
                _convert_inputs, batch_tokens=batch_tokens, precision=precision
            ),
            "convert_outputs": _convert_outputs,
        },
        shims=[shim],
        dims={"nI": None, "nO": None},
    )


def get_bilm(model: Model[Sentences, Floats3d]) -> BiLM:
    """The biLM of a wrapper. Raises ValueError where it has no weights yet."""
    bilm = _shim(model)._model
    if not isinstance(bilm, BiLM):
        raise ValueError(NO_WEIGHTS)
    return bilm


def has_bilm(model: Model[Sentences, Floats3d]) -> bool:
    return isinstance(_shim(model)._model, BiLM)


def set_bilm(model: Model[Sentences, Floats3d], bilm: BiLM) -> None:
    """Put a biLM into a wrapper, on the device that the wrapper is on."""
    _shim(model).adopt(bilm)


def _shim(model: Model) -> BiLMShim:
    shim = model.shims[0]
    assert isinstance(shim, BiLMShim)
    return shim


def _convert_inputs(
    model: Model,
    sentences: Sentences,
    is_train: bool,
    *,
    batch_tokens: int,
    precision: str,
) -> Tuple[ArgsKwargs, Callable[[ArgsKwargs], List[None]]]:
    inputs = ArgsKwargs(args=(sentences, batch_tokens, precision), kwargs={})
    return inputs, lambda gradients: []


def _convert_outputs(
    model: Model, inputs_outputs: Tuple[Sentences, torch.Tensor], is_train: bool
) -> Tuple[Floats3d, Callable[[Floats3d], ArgsKwargs]]:
    _, layers = inputs_outputs

    def to_torch(d_layers: Floats3d) -> ArgsKwargs:
        gradient = xp2torch(d_layers, device=layers.device)
        return ArgsKwargs(args=((layers,),), kwargs={"grad_tensors": gradient})

    return torch2xp(layers), to_torch  # type: ignore[return-value]


def _serialize(module: nn.Module) -> bytes:
    return native.to_bytes(module) if isinstance(module, BiLM) else b""


def _deserialize(module: nn.Module, data: bytes, device: torch.device) -> nn.Module:
    return native.from_bytes(data).to(device) if data else NoWeights()
