"""The learned mix of a biLM's layers: γ Σ_j s_j h_kj (Peters et al. 2018, eq. 1)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def mix_layers(layers: Tensor, weights: Tensor, *, layer_norm: bool = False) -> Tensor:
    """Compute Σ_j s_j h_kj.

    layers (Tensor): (n_layers, ..., width).
    weights (Tensor): The s_j, (n_layers,).
    layer_norm (bool): Whether to normalize each layer of each word to mean 0 and
        variance 1 over its width first. (The published modules normalized over all
        words of a batch, so that a word's vector depended on its neighbors.)
    RETURNS (Tensor): (..., width).
    """
    if layer_norm:
        layers = F.layer_norm(layers, layers.shape[-1:])
    return torch.tensordot(weights, layers, dims=1)


def scalar_mix(
    layers: Tensor, scalars: Tensor, gamma: Tensor, *, layer_norm: bool = False
) -> Tensor:
    """Compute γ Σ_j s_j h_kj with s = softmax(scalars).

    layers (Tensor): (n_layers, ..., width).
    scalars (Tensor): (n_layers,).
    gamma (Tensor): (1,).
    layer_norm (bool): See `mix_layers`.
    RETURNS (Tensor): (..., width).
    """
    weights = torch.softmax(scalars, dim=0)
    return gamma * mix_layers(layers, weights, layer_norm=layer_norm)


class ScalarMix(nn.Module):
    """The mix as a module, for heads written in PyTorch.

    n_layers (int): Number of layers to mix; for a biLM, its LSTM layers + 1.
    layer_norm (bool): See `mix_layers`.
    """

    def __init__(self, n_layers: int, *, layer_norm: bool = False) -> None:
        super().__init__()
        self.layer_norm = layer_norm
        self.scalars = nn.Parameter(torch.zeros(n_layers))
        self.gamma = nn.Parameter(torch.ones(1))

    def forward(self, layers: Tensor) -> Tensor:
        """Mix layers (n_layers, ..., width) to (..., width)."""
        return scalar_mix(layers, self.scalars, self.gamma, layer_norm=self.layer_norm)
