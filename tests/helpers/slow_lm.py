"""A reference implementation of the language model of pretraining: word by word, in
float64, with plain autograd. It shares the weights of the package, but no code."""

from __future__ import annotations

import math
from typing import NamedTuple, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from spacy_elmo.pretraining.language_model import LanguageModel

FORWARD, BACKWARD = 0, 1


class State(NamedTuple):
    """For each layer: the output, (projection_dim,), and the cell, (dim,)."""

    hidden: list[Tensor]
    cell: list[Tensor]


Masks = Sequence[Tensor]
"""Dropout masks of a word: for the input of each layer and the top layer's output."""


class SlowLM:
    """Its `weights` are leaves, by the names of the model's parameters."""

    def __init__(self, model: LanguageModel) -> None:
        self.config = model.bilm.config
        self.characters = model.bilm.characters
        self.weights: dict[str, Tensor] = {
            name: parameter.detach().double().clone().requires_grad_()
            for name, parameter in model.named_parameters()
        }

    def zero_state(self) -> State:
        n_layers, new = (
            self.config.n_layers,
            next(iter(self.weights.values())).new_zeros,
        )
        return State(
            [new(self.config.projection_dim)] * n_layers,
            [new(self.config.dim)] * n_layers,
        )

    def read(
        self,
        direction: int,
        words: Sequence[str | None],
        state: State,
        masks: Sequence[Masks] | None = None,
    ) -> tuple[list[Tensor], State]:
        """Compute the output of the top layer after each word. A word of None is the
        boundary that the direction reads before a sentence."""
        tops = []
        spelled = [word or self.characters.boundaries[direction] for word in words]
        vectors = {word: self.vector(word) for word in set(spelled)}
        for number, word in enumerate(spelled):
            x, state = self._step(
                direction, vectors[word], state, masks[number] if masks else None
            )
            tops.append(x)
        return tops, state

    def vector(self, word: str) -> Tensor:
        """x_k, (projection_dim,)."""
        weights = self._under("bilm.character_encoder")
        embedded = weights["char_embedding.weight"][self.characters([word])[0]]
        features = []
        for i, (width, _) in enumerate(self.config.filters):
            kernel = weights[f"convolutions.{i}.weight"]
            found = [
                (kernel * embedded[first : first + width].t()).sum(dim=(1, 2))
                for first in range(len(embedded) - width + 1)
            ]
            bias = weights[f"convolutions.{i}.bias"]
            features.append(torch.stack(found).max(dim=0).values + bias)
        activation = {"relu": torch.relu, "tanh": torch.tanh}[self.config.activation]
        x = activation(torch.cat(features))
        for k in range(self.config.n_highway):
            g = torch.sigmoid(_affine(weights, f"highways.{k}.gate", x))
            new = torch.relu(_affine(weights, f"highways.{k}.transform", x))
            x = g * new + (1 - g) * x
        if self.config.word_dim:
            number = int(self.characters.word_ids([word])[0])
            x = torch.cat([weights["word_embedding.weight"][number], x])
        if self.config.has_token_projection:
            x = _affine(weights, "projection", x)
        return x

    def _step(
        self, direction: int, x: Tensor, state: State, masks: Masks | None
    ) -> tuple[Tensor, State]:
        hiddens, cells = [], []
        for layer in range(self.config.n_layers):
            x = x * masks[layer] if masks else x
            name = ("forward", "backward")[direction]
            weights = self._under(f"bilm.{name}_layers.{layer}")
            gates = (
                weights["weight_ih"] @ x
                + weights["weight_hh"] @ state.hidden[layer]
                + weights["bias"]
            )
            i, f, g, o = gates.chunk(4)
            kept = torch.sigmoid(f + self.config.forget_bias) * state.cell[layer]
            cell = _clip(torch.sigmoid(i) * torch.tanh(g) + kept, self.config.cell_clip)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            if "weight_hr" in weights:
                hidden = _clip(weights["weight_hr"] @ hidden, self.config.proj_clip)
            hiddens.append(hidden)
            cells.append(cell)
            skips = layer > 0 and self.config.use_skip_connections
            x = hidden + x if skips else hidden
        return x * masks[-1] if masks else x, State(hiddens, cells)

    def full_loss(self, hidden: Tensor, target: int) -> Tensor:
        logits = self.weights["softmax.weight"] @ hidden
        logits = logits + self.weights["softmax.bias"][:, 0]
        return torch.logsumexp(logits, 0) - logits[target]

    def sampled_loss(
        self, hidden: Tensor, target: int, drawn: Sequence[int], n_tries: int
    ) -> Tensor:
        """Softmax over the target and the sampled words, each once, with the log of the
        expected count subtracted from the logits."""
        n_words = len(self.weights["softmax.weight"])
        words = [target, *(word for word in drawn if word != target)]
        logits = []
        for word in words:
            chance = math.log((word + 2) / (word + 1)) / math.log(n_words + 1)
            expected = 1 - (1 - chance) ** n_tries
            logit = self.weights["softmax.weight"][word] @ hidden
            bias = self.weights["softmax.bias"][word, 0]
            logits.append(logit + bias - math.log(expected))
        return -torch.log_softmax(torch.stack(logits), 0)[0]

    def adaptive_loss(
        self, hidden: Tensor, target: int, cutoffs: Sequence[int]
    ) -> Tensor:
        """Adaptive softmax: the head has an entry for each cluster of rare words."""
        weights = self._under("softmax.softmax")
        head = torch.log_softmax(_affine(weights, "head", hidden), 0)
        if target < cutoffs[0]:
            return -head[target]
        cluster = sum(target >= cutoff for cutoff in cutoffs) - 1
        narrow = weights[f"tail.{cluster}.0.weight"] @ hidden
        tail = torch.log_softmax(weights[f"tail.{cluster}.1.weight"] @ narrow, 0)
        return -head[cutoffs[0] + cluster] - tail[target - cutoffs[cluster]]

    def _under(self, prefix: str) -> dict[str, Tensor]:
        start = f"{prefix}."
        return {
            name[len(start) :]: weight
            for name, weight in self.weights.items()
            if name.startswith(start)
        }


def _affine(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _clip(x: Tensor, bound: float | None) -> Tensor:
    return x if bound is None else x.clamp(-bound, bound)
