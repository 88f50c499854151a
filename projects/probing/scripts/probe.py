"""Linear probes: what one layer, or a learned mix of all of them, tells."""

from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from wasabi import msg

from spacy_elmo import ScalarMix

MIX = "mix"


class Examples(NamedTuple):
    """layers: (n_layers, n, width), of any float type. labels: (n,), int64; -1 for one
    that training does not have, which is never right."""

    layers: Tensor
    labels: Tensor


class Probe(nn.Module):
    """Multinomial logistic regression on a learned mix of layers, each of whose values
    is first brought to mean 0 and variance 1 over the training examples: the weights of
    the mix can be compared. With a single layer, on that.

    layers: of the training examples, (n_layers, n, width).
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
        """(n_layers, n, width) -> (n, n_classes)."""
        return self.output(self.mix((layers.float() - self.mean) / self.deviation))

    def weights(self) -> List[float]:
        """The mix's s, which sum to 1."""
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
    """AdamW, with a learning rate that falls to 0 over the epochs.

    seed: of the order of the examples; all weights begin at 0.
    l2: weight decay of the regression's weights.
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
def is_right(probe: Probe, examples: Examples, batch_size: int = 8192) -> np.ndarray:
    """Whether the most probable class is the label, (n,), bool."""
    parts = examples.layers.split(batch_size, dim=1)
    found = torch.cat([probe(part).argmax(dim=1) for part in parts])
    right: np.ndarray = (found == examples.labels).numpy()
    return right


def probe_layers(
    train: Examples, test: Examples, *, n_classes: int, seeds: int, **settings: Any
) -> Tuple[Dict[str, np.ndarray], Dict[str, List[Dict[str, Any]]]]:
    """Fit probes to each layer and to the mix of all.

    seeds: how many probes of each.
    settings: of `fit`.
    RETURNS: by "0", "1", ... and "mix": the share of the probes that are right on each
        test example, (n,); and of each probe its accuracy and its mix's weights.
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
