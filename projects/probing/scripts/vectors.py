"""All layers of a frozen biLM for spans of words."""

from pathlib import Path
from typing import List, Sequence, Tuple

import torch
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from spacy_elmo import BiLM, load_bilm
from spacy_elmo.embedding.encoding import encode_stream

Span = Tuple[int, int]
"""Start and end of a span of words; the end is exclusive."""


def load(weights: Path, gpu_id: int) -> BiLM:
    """Load a biLM to the CPU (-1) or a GPU."""
    return load_bilm(weights).to("cpu" if gpu_id < 0 else f"cuda:{gpu_id}")


def embed(
    bilm: BiLM, sentences: Sequence[List[str]], spans: Sequence[Sequence[Span]]
) -> Tensor:
    """Compute the mean vector of each span in each layer. Skips sentences without
    spans.

    bilm (BiLM): The biLM.
    sentences (Sequence[List[str]]): Tokenized sentences.
    spans (Sequence[Sequence[Span]]): Spans of each sentence.
    RETURNS (Tensor): float16 of shape (n_layers + 1, n_spans, width), in order.
    RAISES: ValueError if a value is NaN or exceeds float16.
    """
    chosen = [(words, some) for words, some in zip(sentences, spans) if some]
    n_spans = sum(len(some) for _, some in chosen)
    shape = (bilm.config.n_layers + 1, n_spans, bilm.config.width)
    result = torch.empty(shape, dtype=torch.float16)
    stream = encode_stream(bilm, (words for words, _ in chosen))
    row = 0
    for (_, layers), (_, some) in tqdm(
        zip(stream, chosen), total=len(chosen), unit=" sentences", disable=None
    ):
        found = torch.from_numpy(layers)
        for begin, end in some:
            result[:, row] = found[:, begin:end].mean(dim=1)
            row += 1
    if not torch.isfinite(result).all():
        raise ValueError(
            "expected vectors within float16, found larger ones or NaN. Are the "
            "weights from a training run that diverged?"
        )
    return result
