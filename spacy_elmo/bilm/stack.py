"""Both directions through all LSTM layers."""

from typing import List, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .backends import LSTMState, RunLSTM


def run_stack(
    layers: Sequence[RunLSTM],
    inputs: Tensor,
    batch_sizes: Sequence[int],
    states: Sequence[LSTMState],
    *,
    skip_connections: bool,
    dropout: float = 0.0,
) -> Tuple[List[Tensor], List[LSTMState]]:
    """Run the forward and the backward LM through all layers. The two never mix: index
    0 of the first dimension is the forward LM, index 1 the backward LM.

    layers (Sequence[RunLSTM]): The LSTMs of each layer, bound to their weights.
    inputs (Tensor): Packed word vectors, (2, n_rows, projection_dim).
    batch_sizes (Sequence[int]): Number of running sequences at each step.
    states (Sequence[LSTMState]): Initial state of each layer, longest sequence first.
    skip_connections (bool): Whether to add a layer's input to its output, from the
        second layer on (Peters et al. 2018, section 3.4).
    dropout (float): Dropout rate on the input of each layer, in training.
    RETURNS (Tuple[List[Tensor], List[LSTMState]]): Output of each layer, in the shape
        of the inputs, and the state of each layer after the last steps.
    """
    outputs: List[Tensor] = []
    final_states: List[LSTMState] = []
    for number, (run, state) in enumerate(zip(layers, states)):
        if dropout:
            inputs = apply_dropout(inputs, dropout)
        hidden, final_state = run(inputs, batch_sizes, state)
        if number and skip_connections:
            hidden = hidden + inputs
        outputs.append(hidden)
        final_states.append(final_state)
        inputs = hidden
    return outputs, final_states


def apply_dropout(inputs: Tensor, rate: float) -> Tensor:
    """Zero a share of the values and scale up the rest.

    rate (float): Share of values to drop; 0 to return the inputs as they are.
    """
    if not rate:
        return inputs
    if inputs.is_cuda:
        return F.dropout(inputs, rate)
    # On a CPU, PyTorch's Bernoulli sampling takes twice as long as uniform sampling.
    is_kept = torch.rand_like(inputs).ge_(rate)
    return inputs * is_kept.div_(1 - rate)
