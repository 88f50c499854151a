"""Distillation: besides predicting words, the network learns to match the layers of a
trained biLM, its teacher (Hinton et al. 2015; Romero et al. 2015).

The forward half of each teacher layer is predicted from the forward half of a layer of
the network, by a linear projection, and the backward half from the backward half, so
that no direction learns from words that it has not read. The targets are normalized
for each word, which puts all layers on the same scale (Baevski et al. 2022). The
projections are not exported.
"""

from typing import List, NamedTuple, Sequence, Tuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..bilm import BiLM, BiLMConfig
from ..bilm.backends import Backend, CPUBackend, LSTMState, select_backend
from ..bilm.precision import resolve_precision
from ..bilm.stack import run_stack
from .data.batches import CleanText


class TeacherLayers(NamedTuple):
    """A teacher's layers for a window, with R = U * B rows for each direction.

    layers (List[Tensor]): The word vectors and the output of each LSTM layer, each of
        shape (2, R, projection_dim).
    state (List[LSTMState]): LSTM state after the window.
    """

    layers: List[Tensor]
    state: List[LSTMState]


class Teacher:
    """A trained biLM that reads the same windows as the network, without noise.

    bilm (BiLM): The trained biLM. It is not changed.
    types (Sequence[str]): Words of the training text; `types[i - 1]` is the type i.
    """

    def __init__(self, bilm: BiLM, types: Sequence[str]) -> None:
        self.bilm = bilm
        begin, end = bilm.characters.boundaries
        self.words = [begin, *types, end]
        self.dtype = resolve_precision("auto", bilm.device)
        # The last bits of PyTorch's products depend on the rest of the batch, so cached
        # vectors would differ after resuming.
        if not isinstance(select_backend(bilm.device, self.dtype), CPUBackend):
            bilm.word_cache_mb = 0

    @torch.no_grad()
    def read(self, text: CleanText, state: Sequence[LSTMState]) -> TeacherLayers:
        """Compute the layers of a window.

        text (CleanText): The words of the window.
        state (Sequence[LSTMState]): LSTM state at the start of the window.
        """
        words = [self.words[number] for number in text.types.tolist()]
        vectors = self.bilm.encode_words(words, self.dtype)
        inputs = F.embedding(text.inputs.flatten(1), vectors)
        _, n_steps, n_lanes = text.inputs.shape
        outputs, after = run_stack(
            self.bilm.operations(self.dtype).lstms,
            inputs,
            [n_lanes] * n_steps,
            state,
            skip_connections=self.bilm.config.use_skip_connections,
        )
        return TeacherLayers([inputs, *outputs], after)


class LayerMatch(nn.Module):
    """Learned projections from the network's layers to its teacher's, and the distance
    that remains.

    The word vectors match the teacher's. Of L layers, layer ceil(j * L / M) matches
    layer j of the teacher's M, so that the top layer matches the top layer.

    network (BiLMConfig): Sizes of the network.
    teacher (BiLMConfig): Sizes of the teacher.
    """

    def __init__(self, network: BiLMConfig, teacher: BiLMConfig) -> None:
        super().__init__()
        n_layers, n_targets = network.n_layers, teacher.n_layers
        self.sources = [-(-j * n_layers // n_targets) for j in range(n_targets + 1)]
        widths = network.projection_dim, teacher.projection_dim
        self.words = nn.Linear(*widths)
        self.forward_layers = nn.ModuleList(
            nn.Linear(*widths) for _ in range(n_targets)
        )
        self.backward_layers = nn.ModuleList(
            nn.Linear(*widths) for _ in range(n_targets)
        )

    @property
    def projections(self) -> List[Tuple[nn.Linear, nn.Linear]]:
        """The projections of the forward and the backward LM to each target."""
        forward = self.words, *self.forward_layers
        backward = self.words, *self.backward_layers
        pairs = zip(forward, backward)
        return [(cast(nn.Linear, one), cast(nn.Linear, two)) for one, two in pairs]

    def forward(
        self, layers: Sequence[Tensor], targets: Sequence[Tensor], backend: Backend
    ) -> Tensor:
        """Compute the mean squared error of the projected layers. Predicting the mean
        of a target's values, which carries no information, gives an error of 1.

        layers (Sequence[Tensor]): The network's word vectors and LSTM layers, each of
            shape (2, n_rows, projection_dim).
        targets (Sequence[Tensor]): The teacher's, in the same form.
        backend (Backend): Computes the projections.
        RETURNS (Tensor): Mean error over the values of all layers, (2, n_rows).
        """
        errors: List[Tensor] = []
        for source, target, pair in zip(self.sources, targets, self.projections):
            goals = F.layer_norm(target, target.shape[-1:])
            found = [
                backend.linear(rows, projection.weight, projection.bias)
                for rows, projection in zip(layers[source], pair)
            ]
            errors.append((torch.stack(found) - goals).square().mean(dim=-1))
        return torch.stack(errors).mean(dim=0)
