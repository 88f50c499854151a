"""Other ways to run the same LSTMs, in plain PyTorch."""

from typing import List, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from spacy_elmo.bilm import BiLM
from spacy_elmo.bilm.lstm import ProjectedLSTM


@torch.no_grad()
def step_by_step(layer: ProjectedLSTM, inputs: Tensor, sizes: Sequence[int]) -> Tensor:
    """As AllenNLP steps: the inputs' products of all steps at once, then a handful of
    small operations a step, one direction after the other.

    inputs: packed as `sizes` says, (R, P), in the dtype of the weights.
    """
    if layer.weight_hr is None:
        raise ValueError("Expected an LSTM with a projection.")
    products = nn.functional.linear(inputs, layer.weight_ih, layer.bias)
    hidden = inputs.new_zeros(sizes[0], layer.weight_hh.shape[1])
    cell = inputs.new_zeros(sizes[0], layer.dim)
    outputs = []
    for rows in products.split(list(sizes)):
        hidden, cell = hidden[: len(rows)], cell[: len(rows)]
        gates = rows + nn.functional.linear(hidden, layer.weight_hh)
        i, f, g, o = gates.chunk(4, dim=1)
        i, f, g = torch.sigmoid(i), torch.sigmoid(f + layer.forget_bias), torch.tanh(g)
        cell = i * g + f * cell
        if layer.clips.cell is not None:
            cell = cell.clamp(-layer.clips.cell, layer.clips.cell)
        hidden = nn.functional.linear(
            torch.sigmoid(o) * torch.tanh(cell), layer.weight_hr
        )
        if layer.clips.projection is not None:
            hidden = hidden.clamp(-layer.clips.projection, layer.clips.projection)
        outputs.append(hidden)
    return torch.cat(outputs)


def stepped_layers(bilm: BiLM, dtype: torch.dtype) -> List[List[ProjectedLSTM]]:
    """The biLM's LSTMs with weights in this dtype."""
    pairs = bilm.layer_pairs
    return [[copy_of(layer, bilm).to(dtype) for layer in pair] for pair in pairs]


def copy_of(layer: ProjectedLSTM, bilm: BiLM) -> ProjectedLSTM:
    made = ProjectedLSTM(bilm.config).to(bilm.device)
    made.load_state_dict(layer.state_dict())
    return made


def library_lstms(bilm: BiLM, dtype: torch.dtype) -> List[List[nn.LSTM]]:
    """torch.nn.LSTM of the same sizes, on a GPU cuDNN's: it knows no bounds."""
    config = bilm.config
    width = config.projection_dim
    return [
        [
            nn.LSTM(width, config.dim, proj_size=width).to(bilm.device, dtype)
            for _ in range(2)
        ]
        for _ in range(config.n_layers)
    ]


@torch.no_grad()
def run_library(lstms: List[List[nn.LSTM]], inputs: Tensor, sizes: Tensor) -> Tensor:
    """inputs: of both directions, (2, R, P). sizes: on the host. RETURNS: the top
    layer."""
    for number, pair in enumerate(lstms):
        outputs = torch.stack(
            [
                lstm(PackedSequence(rows, sizes))[0].data
                for lstm, rows in zip(pair, inputs)
            ]
        )
        inputs = outputs + inputs if number else outputs
    return inputs


def run_stepped(
    layers: List[List[ProjectedLSTM]], inputs: Tensor, sizes: Sequence[int]
) -> Tensor:
    """The same, step by step."""
    for number, pair in enumerate(layers):
        outputs = torch.stack(
            [step_by_step(layer, rows, sizes) for layer, rows in zip(pair, inputs)]
        )
        inputs = outputs + inputs if number else outputs
    return inputs
