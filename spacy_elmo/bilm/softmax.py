"""The output layer of the language model, shared by both directions: what word stands
at a place. Word ids are ranks: 0 is the most frequent word.

Each variant gives the training loss of its own (`forward`) and the exact negative log
likelihood that held-out perplexity needs (`nll`).
"""

import math
from typing import List, NamedTuple, Optional, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .precision import linear
from .sampled_loss import sampled_loss

_EVALUATED_AT_ONCE = 1 << 26
"""Logits in memory at once when likelihoods are exact: 256 MB in float32."""


class FullSoftmax(nn.Module):
    """-log p(word) over the whole vocabulary.

    n_words: in the vocabulary. width: of the LSTM's output, projection_dim.
    """

    def __init__(self, n_words: int, width: int) -> None:
        super().__init__()
        if n_words < 2:
            raise ValueError(f"n_words: expected at least 2, found {n_words}.")
        self.weight = nn.Parameter(torch.empty(n_words, width))
        # A column, so that its gradient can be one of rows too.
        self.bias = nn.Parameter(torch.zeros(n_words, 1))
        nn.init.normal_(self.weight, std=width**-0.5)

    @property
    def n_words(self) -> int:
        return self.weight.shape[0]

    @torch.no_grad()
    def start_from(self, counts: np.ndarray) -> None:
        """Let the biases tell how frequent words are: what rows that are seldom
        sampled would take many steps to learn.

        counts: of the words in the training text, (n_words,).
        """
        often = torch.as_tensor(counts, dtype=torch.float64) + 1
        self.bias.copy_(torch.log(often / often.sum())[:, None])

    def forward(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """hidden: (n, width). targets: word ids, (n,). RETURNS: the loss, (n,)."""
        logits = linear(hidden, self.weight, self.bias[:, 0], hidden.dtype)
        return F.cross_entropy(logits.float(), targets, reduction="none")

    @torch.no_grad()
    def nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The exact -log p of the targets, in natural units, with bounded memory.

        hidden: (n, width). targets: (n,). RETURNS: (n,) float32.
        """
        rows = max(1, _EVALUATED_AT_ONCE // self.n_words)
        parts = zip(hidden.split(rows), targets.split(rows))
        losses = [FullSoftmax.forward(self, h, t) for h, t in parts]
        return torch.cat(losses) if losses else hidden.new_zeros(0)


class Draw(NamedTuple):
    """Sampled words.

    words: their ids, each once, rising, (n_samples,), on the CPU.
    n_tries: draws that it took, those that came again counted.
    """

    words: Tensor
    n_tries: int


class SampledSoftmax(FullSoftmax):
    """-log p(word) estimated from the target and a few sampled words (Józefowicz et al.
    2016, section 3.1; Bengio and Senécal 2008).

    Words are drawn with a chance that falls with their rank, log-uniform, which is
    right for ids sorted by frequency alone, until there are n_samples different ones.
    All targets of a batch share them. A word's logit, the target's too, is lowered by
    the log of its chance to be among them; a target that is drawn counts once. With
    all words drawn the loss is the full softmax's.

    The gradient is sparse: a step costs the rows that it touches, whatever the size of
    the vocabulary.

    n_samples: different words that are drawn for a batch, at most n_words.
    """

    def __init__(self, n_words: int, width: int, n_samples: int) -> None:
        super().__init__(n_words, width)
        if not 1 <= n_samples <= n_words:
            raise ValueError(
                f"n_samples: expected at least 1 and at most the {n_words} words of "
                f"the vocabulary, found {n_samples}. For a vocabulary this small the "
                "full softmax is as fast."
            )
        self.n_samples = n_samples

    def log_expected_count(self, words: Tensor, n_tries: int) -> Tensor:
        """The log of each word's chance to be among a draw's words, in float32; 0
        where a draw has all words, however many tries they took."""
        if self.n_samples == self.n_words:
            return torch.zeros(words.shape, device=words.device)
        ranks = words.double()
        chance = torch.log1p(1 / (ranks + 1)) / math.log(self.n_words + 1)
        return torch.log(-torch.expm1(n_tries * torch.log1p(-chance))).float()

    def sample(self, generator: Optional[torch.Generator] = None) -> Draw:
        """Draw words, on the CPU: training knows which rows a step touches without a
        look at the device.

        generator: a CPU one; the same on each process of a group draws the same words.
            None: PyTorch's own.
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
            if len(tries) > _MOST_TRIES * self.n_samples:
                # The last ranks would take for ever: they come in by themselves.
                rest = np.setdiff1d(np.arange(self.n_words), words)
                chosen = np.append(words, rest[: self.n_samples - len(words)])
                return Draw(torch.from_numpy(np.sort(chosen)), len(tries))
        last = np.sort(first)[self.n_samples - 1]
        return Draw(torch.from_numpy(words[first <= last]), int(last) + 1)

    def forward(
        self, hidden: Tensor, targets: Tensor, draw: Optional[Draw] = None
    ) -> Tensor:
        """hidden: (n, width). targets: word ids, (n,).

        draw: of `sample`; None: drawn now.
        RETURNS: the loss, (n,) float32. It is no likelihood: only its gradient is near
            to that of one.
        """
        draw = draw or self.sample()
        drawn = draw.words.to(targets.device)
        ids = torch.cat([targets, drawn])
        rows = F.embedding(ids, self.weight, sparse=True)
        bias = F.embedding(ids, self.bias, sparse=True)[:, 0]
        bias = bias - self.log_expected_count(ids, draw.n_tries)
        place = torch.searchsorted(drawn, targets).clamp_(max=len(drawn) - 1)
        columns = torch.where(drawn[place] == targets, place + 1, 0)
        n = len(targets)
        return sampled_loss(hidden, rows[:n], bias[:n], rows[n:], bias[n:], columns)


_MOST_TRIES = 64
"""Draws a sampled word, after which the rarest words are no longer waited for."""


class AdaptiveSoftmax(nn.Module):
    """The exact likelihood by clusters of frequency (Grave et al. 2017):
    torch.nn.AdaptiveLogSoftmaxWithLoss.

    n_words, width: as of `FullSoftmax`.
    cutoffs: ranks at which a new cluster begins. div_value: by how much each further
        cluster's vectors are narrower.

    Raises ValueError where a cluster has no words, or vectors of width 0.
    """

    def __init__(
        self,
        n_words: int,
        width: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
    ) -> None:
        super().__init__()
        kept: List[int] = [cutoff for cutoff in cutoffs if cutoff < n_words]
        if not kept or sorted(set(kept)) != kept or kept[0] < 1:
            raise ValueError(
                "cutoffs: expected rising ranks of which at least one is under the "
                f"{n_words} words, found {list(cutoffs)}."
            )
        for number in range(1, len(kept) + 1):
            if width // div_value**number < 1:
                raise ValueError(
                    "cutoffs and div_value: expected clusters whose vectors have a "
                    f"width of at least 1, found {width} / {div_value}^{number}, which "
                    f"is less, in cluster {number} of the cutoffs {kept}. Take fewer "
                    f"cutoffs, a lower div_value, or a width over {width}."
                )
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(
            width, n_words, kept, div_value=div_value, head_bias=True
        )

    @property
    def n_words(self) -> int:
        return self.softmax.n_classes

    def forward(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """hidden: (n, width). targets: (n,). RETURNS: -log p, (n,)."""
        return -self.softmax(hidden, targets).output

    @torch.no_grad()
    def nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The same: this loss is exact."""
        loss: Tensor = self(hidden, targets)
        return loss
