"""The biLM as a Thinc layer: sentences of words -> layers. Its weights come later."""

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
    Optional,
    Tuple,
    cast,
)

import torch
from thinc.api import ArgsKwargs, Model, Optimizer, PyTorchShim, Shim
from thinc.types import Floats3d, FloatsXd
from thinc.util import torch2xp, xp2torch
from torch import nn

from ..bilm import BiLM
from ..bilm.model import NOT_FINITE
from ..formats import WeightsError, native

Sentences = List[List[str]]

# PyTorch's thread pool does not survive a fork, so a worker of nlp.pipe(n_process=...)
# would wait for it forever. With one thread, the pool is not used.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))

_DAMAGE = (AttributeError, KeyError, RecursionError, TypeError, ValueError)
"""Errors that Thinc raises for bytes that no shim wrote."""

NO_WEIGHTS = """\
The biLM has no weights yet. There are three ways to provide them:
  - in the config: [initialize.components.elmo.weights] (for ElmoTok2Vec: its own block
    [... .weights]) with @callbacks = "spacy_elmo.PretrainedWeights.v1" and a path that
    is not null (with this project's configs: --paths.elmo PATH), then nlp.initialize()
    or `spacy train`;
  - in Python: nlp.get_pipe("elmo").set_bilm(spacy_elmo.load_bilm(path));
  - from a pipeline that has weights: spacy.load(path), or
    nlp.add_pipe("elmo", source=nlp2).
Components listed in [training] frozen_components are not initialized: remove this one
from the list; its own setting frozen = true keeps the biLM unchanged."""


class NoWeights(nn.Module):
    """Placeholder for the biLM, whose sizes come with the weights."""

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        raise ValueError(NO_WEIGHTS)


def build_torch_bilm(
    batch_tokens: int, precision: str, word_cache_mb: float
) -> Model[Sentences, Floats3d]:
    """Build a layer around a biLM that has no weights yet.

    batch_tokens (int): As in `BiLM.encode`.
    precision (str): As in `BiLM.encode`.
    word_cache_mb (float): As in `BiLM`.
    RETURNS (Model[List[List[str]], Floats3d]): Maps sentences to layers of shape
        (n_layers + 1, n_words, width).
    """
    return Model(
        "bilm",
        partial(forward, batch_tokens=batch_tokens, precision=precision),
        shims=[BiLMShim(word_cache_mb)],
        dims={"nI": None, "nO": None},
    )


def forward(
    model: Model[Sentences, Floats3d],
    sentences: Sentences,
    is_train: bool,
    *,
    batch_tokens: int,
    precision: str,
) -> Tuple[Floats3d, Callable[[Floats3d], Sentences]]:
    inputs = ArgsKwargs(args=(sentences, batch_tokens, precision), kwargs={})
    layers, torch_backprop = model.shims[0](inputs, is_train)

    def backprop(d_layers: Floats3d) -> Sentences:
        gradient = xp2torch(d_layers, device=layers.device)
        torch_backprop(ArgsKwargs(args=((layers,),), kwargs={"grad_tensors": gradient}))
        return []

    return cast(Floats3d, torch2xp(layers)), backprop


class BiLMShim(PyTorchShim):
    """PyTorchShim around a biLM, whose caches are cleared when the weights change.

    word_cache_mb (float): Applied to every biLM that is put in.
    source (Optional[Callable]): An attribute: the loader of the biLM, if there was one.
    """

    def __init__(self, word_cache_mb: float) -> None:
        super().__init__(
            NoWeights(), serialize_model=_serialize, deserialize_model=_deserialize
        )
        self.word_cache_mb = word_cache_mb
        self.source: Optional[Callable[[], BiLM]] = None

    @property
    def bilm(self) -> Optional[BiLM]:
        """The biLM, on this shim's device; None if there are no weights yet."""
        return self._model if isinstance(self._model, BiLM) else None

    @bilm.setter
    def bilm(self, bilm: BiLM) -> None:
        self._model = bilm.to(self.device)
        bilm.word_cache_mb = self.word_cache_mb

    def predict(self, inputs: ArgsKwargs) -> torch.Tensor:
        """Run the biLM without gradients.

        Thinc's own method also switches every module to evaluation mode and back, and
        always enters autocast. A biLM has no such modes, and both take a noticeable
        share of the time for a short text.
        """
        autocast: ContextManager = nullcontext()
        if self._mixed_precision or torch.is_autocast_enabled("cuda"):
            autocast = torch.autocast("cuda", enabled=self._mixed_precision)
        with torch.no_grad(), autocast:
            layers = cast(torch.Tensor, self._model(*inputs.args, **inputs.kwargs))
        # On a GPU the check would wait for the result.
        if not layers.is_cuda and not torch.isfinite(layers).all():
            raise ValueError(NOT_FINITE)
        return layers

    def finish_update(self, optimizer: Optimizer) -> None:
        super().finish_update(optimizer)
        # Thinc writes through memory shared with NumPy, which PyTorch does not notice.
        # It skips parameters without a gradient, such as a frozen biLM's.
        self._clear_cache(any(p.grad is not None for p in self._model.parameters()))

    @contextmanager
    def use_params(self, params: Mapping[Any, FloatsXd]) -> Iterator[None]:
        """Temporarily use other weights, such as the optimizer's averages.

        params (Mapping): Arrays by (shim id, parameter name), as optimizers name them.
            (Thinc's own method looks for other names and finds none.)
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
        # Optimizers identify a shim's weights by its id, so the copy needs a new one.
        with Shim.global_id_lock:
            Shim.global_id += 1
            copied.id = Shim.global_id
        return copied

    def from_bytes(self, bytes_data: bytes) -> "BiLMShim":
        try:
            super().from_bytes(bytes_data)
        except WeightsError:
            raise
        except _DAMAGE as error:
            raise WeightsError(
                "the stored biLM: expected the bytes of a pipeline, found others "
                f"({error!r}). The pipeline is damaged: copy or train it again."
            ) from error
        self.source = None
        if self.bilm is not None:
            self.bilm.word_cache_mb = self.word_cache_mb
        return self

    def _clear_cache(self, weights_changed: bool) -> None:
        if weights_changed and self.bilm is not None:
            self.bilm.clear_cache()


def _serialize(module: nn.Module) -> bytes:
    return native.to_bytes(module) if isinstance(module, BiLM) else b""


def _deserialize(module: nn.Module, data: bytes, device: torch.device) -> nn.Module:
    return native.from_bytes(data).to(device) if data else NoWeights()
