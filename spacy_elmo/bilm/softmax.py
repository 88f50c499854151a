"""The output layer of the language model, shared by both directions. Word ids are
frequency ranks: 0 is the most frequent word.

Each variant has its training loss (`forward`; of a sampled softmax, `sampled_loss`) and
the exact distribution (`prepare`), which held-out perplexity and the scores of words
need.
"""

import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Union

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .backends import Backend, PreparedSoftmax, TargetScores, select_backend
from .backends.torch_softmax import entropy

_MAX_LOGITS = 1 << 24
"""Logits of an adaptive softmax in memory at a time: 64 MiB in float32."""

_MAX_TRIES = 64
"""Maximum number of tries per requested sample. After that, the remaining samples are
the most frequent words not drawn yet."""


class FullSoftmax(nn.Module):
    """-log p(word) over the whole vocabulary.

    n_words (int): Size of the vocabulary.
    width (int): Width of the LSTM's output, projection_dim.
    """

    def __init__(self, n_words: int, width: int) -> None:
        super().__init__()
        if n_words < 2:
            raise ValueError(f"n_words: expected at least 2, found {n_words}.")
        self.weight = nn.Parameter(torch.empty(n_words, width))
        # A column, so that a word's weights and bias are both a row.
        self.bias = nn.Parameter(torch.zeros(n_words, 1))
        nn.init.normal_(self.weight, std=width**-0.5)

    @property
    def n_words(self) -> int:
        return self.weight.shape[0]

    @property
    def width(self) -> int:
        return self.weight.shape[1]

    @torch.no_grad()
    def start_from(self, counts: np.ndarray) -> None:
        """Initialize the biases with the log frequencies of the words, which rows that
        are rarely sampled would take many steps to learn.

        counts (ndarray): Counts of the words in the training text, (n_words,).
        """
        smoothed = torch.as_tensor(counts, dtype=torch.float64) + 1
        self.bias.copy_(torch.log(smoothed / smoothed.sum())[:, None])

    def forward(
        self, hidden: Tensor, targets: Tensor, backend: Optional[Backend] = None
    ) -> Tensor:
        """Compute the loss, as a sampled softmax whose sample is the whole vocabulary.

        hidden (Tensor): (n, width).
        targets (Tensor): Word ids, (n,).
        backend (Optional[Backend]): Computes the logits. By default in the dtype of the
            weights.
        RETURNS (Tensor): -log p of each target, (n,).
        """
        if backend is None:
            dtype = self.weight.dtype
            backend = select_backend(hidden.device, dtype, state_dtype=dtype)
        no_logits = hidden.new_zeros(len(hidden))
        return backend.sampled_loss(
            hidden, no_logits, self.weight, self.bias[:, 0], targets + 1
        )

    def prepare(self, dtype: Optional[torch.dtype] = None) -> PreparedSoftmax:
        """Pack the present weights for exact scores.

        dtype (Optional[torch.dtype]): Dtype of the matrix products, float32 or
            bfloat16. None for the dtype of the weights.
        RETURNS (PreparedSoftmax): Valid as long as the weights do not change.
        """
        weight, bias = self.weight.detach(), self.bias.detach()[:, 0]
        backend = select_backend(
            weight.device, dtype or weight.dtype, state_dtype=weight.dtype
        )
        return backend.prepare_softmax(weight, bias)


class Draw(NamedTuple):
    """Sampled words.

    words (Tensor): Distinct word ids in increasing order, (n_samples,), on the CPU.
    n_tries (int): Samples that were drawn to get them, repetitions included.
    """

    words: Tensor
    n_tries: int


class SampledSoftmax(FullSoftmax):
    """-log p(word), estimated from the target and a few sampled words (Józefowicz et
    al. 2016, section 3.1; Bengio and Senécal 2008).

    Words are sampled from a log-uniform distribution over their ranks until there are
    `n_samples` distinct ones, which all targets of a batch share. Each logit, the
    target's included, is lowered by the log of the word's expected count among the
    samples. A target that was sampled counts once. If all words are sampled, the loss
    equals the full softmax.

    `sampled_loss` computes the loss from the rows of these words alone, so the cost of
    a step does not depend on the size of the vocabulary.

    n_words (int): Size of the vocabulary.
    width (int): Width of the LSTM's output, projection_dim.
    n_samples (int): Number of distinct words sampled per batch, at most `n_words`.
    """

    def __init__(self, n_words: int, width: int, n_samples: int) -> None:
        super().__init__(n_words, width)
        if not 1 <= n_samples <= n_words:
            raise ValueError(
                f"n_samples: expected at least 1 and at most the {n_words} words of "
                f"the vocabulary, found {n_samples}. Lower n_samples, or use the "
                "full softmax, which is as fast for a small vocabulary."
            )
        self.n_samples = n_samples

    def log_expected_count(self, words: Tensor, n_tries: int) -> Tensor:
        """Compute the log of the probability that each word is among the samples.

        words (Tensor): Word ids.
        n_tries (int): See `Draw`.
        RETURNS (Tensor): float32, in the shape of `words`; 0 if all words are sampled,
            however many tries that took.
        """
        if self.n_samples == self.n_words:
            return torch.zeros(words.shape, device=words.device)
        ranks = words.double()
        chance = torch.log1p(1 / (ranks + 1)) / math.log(self.n_words + 1)
        return torch.log(-torch.expm1(n_tries * torch.log1p(-chance))).float()

    def sample(self, generator: Optional[torch.Generator] = None) -> Draw:
        """Sample words on the CPU, so that training knows the rows that a step touches
        without waiting for the device.

        generator (Optional[torch.Generator]): A CPU generator; generators in the same
            state give all processes the same words. None for PyTorch's default.
        """
        tries = np.zeros(0, dtype=np.int64)
        while True:
            uniform = torch.rand(
                4 * self.n_samples, dtype=torch.float64, generator=generator
            )
            ranks = torch.exp(uniform * math.log(self.n_words + 1)).long() - 1
            tries = np.append(tries, ranks.clamp_(0, self.n_words - 1).numpy())
            words, first = np.unique(tries, return_index=True)
            if len(words) >= self.n_samples:
                break
            if len(tries) > _MAX_TRIES * self.n_samples:
                # The rarest ranks would take forever.
                rest = np.setdiff1d(np.arange(self.n_words), words)
                added = rest[: self.n_samples - len(words)]
                words = np.sort(np.append(words, added))
                return Draw(torch.from_numpy(words), len(tries))
        last = np.sort(first)[self.n_samples - 1]
        return Draw(torch.from_numpy(words[first <= last]), int(last) + 1)


def sampled_loss(
    backend: Backend,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    true: Tensor,
    sampled: Tensor,
    columns: Tensor,
) -> Tensor:
    """Compute the loss of a sampled softmax from the rows that it touches.

    backend (Backend): Computes the logits of the samples.
    hidden (Tensor): (n, width).
    weight (Tensor): Softmax weights of targets and samples, (n_rows, width).
    bias (Tensor): Their biases, lowered by the log expected counts, (n_rows, 1).
    true (Tensor): Row of each target, (n,).
    sampled (Tensor): Row of each sample, (n_samples,).
    columns (Tensor): Position, from 1, of each target among the samples, or 0 if it
        was not sampled, (n,).
    RETURNS (Tensor): Loss per target, (n,).
    """
    true_logits = (hidden * F.embedding(true, weight)).sum(dim=1)
    true_logits = true_logits + F.embedding(true, bias)[:, 0]
    return backend.sampled_loss(
        hidden,
        true_logits,
        F.embedding(sampled, weight),
        F.embedding(sampled, bias)[:, 0],
        columns,
    )


class AdaptiveSoftmax(nn.Module):
    """The exact likelihood from frequency clusters (Grave et al. 2017), as
    torch.nn.AdaptiveLogSoftmaxWithLoss.

    n_words (int): Size of the vocabulary.
    width (int): Width of the LSTM's output, projection_dim.
    cutoffs (Sequence[int]): First rank of each cluster after the head.
    div_value (float): Factor by which the vectors get narrower from cluster to
        cluster.
    RAISES: ValueError if a cluster has no words or vectors of width 0.
    """

    def __init__(
        self,
        n_words: int,
        width: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
    ) -> None:
        super().__init__()
        valid: List[int] = [cutoff for cutoff in cutoffs if cutoff < n_words]
        if not valid or sorted(set(valid)) != valid or valid[0] < 1:
            raise ValueError(
                "cutoffs: expected increasing ranks, at least one of them less than "
                f"n_words ({n_words}), found {list(cutoffs)}."
            )
        for number in range(1, len(valid) + 1):
            if width // div_value**number < 1:
                raise ValueError(
                    "cutoffs and div_value: expected clusters whose vectors have a "
                    f"width of at least 1, found {width} / {div_value}^{number}, which "
                    f"is less, in cluster {number} of the cutoffs {valid}. Use fewer "
                    f"cutoffs, a lower div_value, or a width over {width}."
                )
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(
            width, n_words, valid, div_value=div_value, head_bias=True
        )

    @property
    def n_words(self) -> int:
        return self.softmax.n_classes

    @property
    def width(self) -> int:
        return self.softmax.in_features

    def forward(
        self, hidden: Tensor, targets: Tensor, backend: Optional[Backend] = None
    ) -> Tensor:
        """Compute -log p of each target, (n,), from hidden (n, width). PyTorch computes
        it, whatever the backend."""
        return -self.softmax(hidden, targets).output

    def prepare(self, dtype: Optional[torch.dtype] = None) -> "PreparedAdaptive":
        """Return the exact scores, always computed in the dtype of the weights."""
        return PreparedAdaptive(self.softmax)


class PreparedAdaptive:
    """Exact scores of an adaptive softmax.

    softmax (AdaptiveLogSoftmaxWithLoss): The layer, whose weights are not copied.
    """

    def __init__(self, softmax: nn.AdaptiveLogSoftmaxWithLoss) -> None:
        self._softmax = softmax

    @torch.no_grad()
    def nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Compute `PreparedSoftmax.nll`, by the targets' clusters alone."""
        return -self._softmax(hidden, targets).output

    @torch.no_grad()
    def score(self, hidden: Tensor, targets: Tensor) -> TargetScores:
        """Compute `PreparedSoftmax.score`, a few rows at a time."""
        scores = TargetScores(*hidden.new_empty(2, len(hidden)))
        n_rows = max(1, _MAX_LOGITS // self._softmax.n_classes)
        for start in range(0, len(hidden), n_rows):
            part = slice(start, start + n_rows)
            log_probs = self._softmax.log_prob(hidden[part])
            scores.log_probs[part] = log_probs.gather(1, targets[part, None])[:, 0]
            scores.entropies[part] = entropy(log_probs)
        return scores


OutputLayer = Union[FullSoftmax, SampledSoftmax, AdaptiveSoftmax]


def output_layer_settings(layer: OutputLayer) -> Dict[str, Any]:
    """Return the settings with which `make_output_layer` makes such a layer."""
    settings: Dict[str, Any] = {
        "type": "full",
        "n_samples": 1,
        "cutoffs": [],
        "div_value": 4.0,
    }
    if isinstance(layer, SampledSoftmax):
        settings.update(type="sampled", n_samples=layer.n_samples)
    elif isinstance(layer, AdaptiveSoftmax):
        cutoffs = [int(cutoff) for cutoff in layer.softmax.cutoffs[:-1]]
        settings.update(
            type="adaptive", cutoffs=cutoffs, div_value=layer.softmax.div_value
        )
    return settings


def make_output_layer(
    n_words: int,
    width: int,
    *,
    type: str,
    n_samples: int,
    cutoffs: Sequence[int],
    div_value: float,
) -> OutputLayer:
    """Create an output layer with random weights.

    n_words (int): Size of the vocabulary.
    width (int): Width of the top LSTM layer, projection_dim.
    type (str): "sampled", "full" or "adaptive".
    n_samples (int): For `SampledSoftmax`.
    cutoffs (Sequence[int]): For `AdaptiveSoftmax`.
    div_value (float): For `AdaptiveSoftmax`.
    RAISES: ValueError if the type is unknown.
    """
    if type == "sampled":
        return SampledSoftmax(n_words, width, n_samples)
    if type == "adaptive":
        return AdaptiveSoftmax(n_words, width, cutoffs, div_value)
    if type == "full":
        return FullSoftmax(n_words, width)
    raise ValueError(f"type: expected sampled, full or adaptive, found {type!r}.")
