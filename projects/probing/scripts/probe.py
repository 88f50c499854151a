"""Linear probes on one layer or on a learned mix of all layers."""

from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from wasabi import msg

from spacy_elmo import ScalarMix

MIX = "mix"


class Examples(NamedTuple):
    """Examples of a probe.

    layers (Tensor): Vectors of shape (n_layers, n, width), of any float type.
    labels (Tensor): Labels of shape (n,), int64; -1 for a label that is not in the
        training examples, and never predicted.
    """

    layers: Tensor
    labels: Tensor


class Probe(nn.Module):
    """Multinomial logistic regression on a learned mix of layers.

    Each value of a layer is normalized to mean 0 and variance 1 over the training
    examples, which makes the weights of the mix comparable.

    layers (Tensor): Layers of the training examples, of shape (n_layers, n, width).
    n_classes (int): Number of classes.
    """

    def __init__(self, layers: Tensor, n_classes: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.deviation: Tensor
        moments = [torch.std_mean(layer.float(), dim=0) for layer in layers]
        deviations, means = (torch.stack(some)[:, None] for some in zip(*moments))
        self.register_buffer("mean", means)
        self.register_buffer("deviation", deviations.clamp_min(1e-6))
        self.mix = ScalarMix(len(layers))
        self.output = nn.Linear(layers.shape[-1], n_classes)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, layers: Tensor) -> Tensor:
        """Compute scores of shape (n, n_classes) from layers of shape (n_layers, n,
        width)."""
        return self.output(self.mix((layers.float() - self.mean) / self.deviation))

    def weights(self) -> List[float]:
        """Get the layer weights of the mix, which sum to 1."""
        shares: List[float] = torch.softmax(self.mix.scalars.detach(), dim=0).tolist()
        return shares


def fit(
    train: Examples,
    *,
    n_classes: int,
    seed: int,
    n_epochs: int,
    batch_size: int = 512,
    learn_rate: float = 0.01,
    l2: float = 0.0,
) -> Probe:
    """Fit a probe with AdamW and a learning rate that decays linearly to 0.

    train (Examples): The training examples.
    n_classes (int): Number of classes.
    seed (int): Seed of the order of examples; all weights start at 0.
    n_epochs (int): Number of epochs.
    batch_size (int): Examples per batch.
    learn_rate (float): Initial learning rate.
    l2 (float): Weight decay of the regression's weights.
    RETURNS (Probe): The fitted probe.
    """
    generator = torch.Generator().manual_seed(seed)
    probe = Probe(train.layers, n_classes)
    others = [probe.output.bias, *probe.mix.parameters()]
    groups = [
        {"params": [probe.output.weight], "weight_decay": l2},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=learn_rate)
    n = len(train.labels)
    n_steps = n_epochs * -(-n // batch_size)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, n_steps)
    for _ in range(n_epochs):
        for rows in torch.randperm(n, generator=generator).split(batch_size):
            loss = F.cross_entropy(probe(train.layers[:, rows]), train.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return probe


@torch.no_grad()
def predict(probe: Probe, layers: Tensor, batch_size: int = 8192) -> Tensor:
    """Predict the class of each of n examples, int64 of shape (n,), from layers of
    shape (n_layers, n, width)."""
    parts = layers.split(batch_size, dim=1)
    return torch.cat([probe(part).argmax(dim=1) for part in parts])


def is_right(probe: Probe, examples: Examples) -> np.ndarray:
    """Check whether the most probable class is the label; bool of shape (n,)."""
    right: np.ndarray = (predict(probe, examples.layers) == examples.labels).numpy()
    return right


def probe_layers(
    train: Examples, test: Examples, *, n_classes: int, seeds: int, **settings: Any
) -> Tuple[Dict[str, np.ndarray], Dict[str, List[Dict[str, Any]]]]:
    """Fit probes to each layer and to the mix of all layers.

    train (Examples): The training examples.
    test (Examples): The test examples.
    n_classes (int): Number of classes.
    seeds (int): Number of probes each.
    settings (Any): Further arguments of `fit`.
    RETURNS (Tuple[Dict[str, np.ndarray], Dict[str, List[Dict[str, Any]]]]): By "0",
        "1", ... and "mix": the share of probes that are right on each test example, of
        shape (n,); and the accuracy and layer weights of each probe.
    """
    n_layers = len(train.layers)
    slices = {str(layer): slice(layer, layer + 1) for layer in range(n_layers)}
    right: Dict[str, np.ndarray] = {}
    runs: Dict[str, List[Dict[str, Any]]] = {}
    for name, chosen in {**slices, MIX: slice(None)}.items():
        some = train._replace(layers=train.layers[chosen])
        others = test._replace(layers=test.layers[chosen])
        found = []
        for seed in range(seeds):
            probe = fit(some, n_classes=n_classes, seed=seed, **settings)
            found.append(is_right(probe, others))
            accuracy = float(found[-1].mean())
            run = {"seed": seed, "accuracy": accuracy, "weights": probe.weights()}
            runs.setdefault(name, []).append(run)
            msg.info(f"layer {name}, seed {seed}: {accuracy:.2%}")
        right[name] = np.mean(found, axis=0)
    return right, runs
