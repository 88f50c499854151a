"""Words in their sentences -> all layers of a frozen biLM."""

from pathlib import Path
from typing import List, Sequence, Tuple

import torch
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from spacy_elmo import BiLM, load_bilm
from spacy_elmo.embedding.encoding import encode_stream

Span = Tuple[int, int]
"""First word and end."""


def load(weights: Path, gpu_id: int) -> BiLM:
    """A biLM on the CPU (-1) or on a GPU."""
    return load_bilm(weights).to("cpu" if gpu_id < 0 else f"cuda:{gpu_id}")


def embed(
    bilm: BiLM, sentences: Sequence[List[str]], spans: Sequence[Sequence[Span]]
) -> Tensor:
    """The mean vector of each span of words, layer by layer, in the order of the spans.
    Sentences without a span are passed over.

    spans: of each sentence.
    RETURNS: (n_layers + 1, n_spans, width), float16.

    Raises ValueError where a number is not one or is beyond float16.
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
            "weights those of a training that went wrong?"
        )
    return result
