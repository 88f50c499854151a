"""The text of the benchmark: sentences of UD English EWT, in batches.

Uses the standard library only, since the peers' environments import it as well.
"""

from pathlib import Path
from typing import List, Sequence, Union

Sentence = List[str]

BATCH_SIZE = 32


def read_sentences(path: Union[str, Path], n_sentences: int = 0) -> List[Sentence]:
    """Read the syntactic words of each sentence of a CoNLL-U file (`don't` is `do` and
    `n't`).

    path (Union[str, Path]): The file.
    n_sentences (int): Number of sentences, evenly spaced, so that they are
        representative in length; 0: all.
    RETURNS (List[Sentence]): The words of each sentence.
    """
    sentences: List[Sentence] = []
    words: Sentence = []
    with open(path, encoding="utf8") as lines:
        for line in lines:
            fields = line.rstrip("\n").split("\t")
            # Skip lines 3-4 (a token of several words) and 3.1 (an empty node).
            if fields[0].isdecimal():
                words.append(fields[1])
            elif not line.strip() and words:
                sentences.append(words)
                words = []
    if words:
        sentences.append(words)
    return spread(sentences, n_sentences)


def in_batches(
    sentences: Sequence[Sentence], size: int = BATCH_SIZE, n_batches: int = 0
) -> List[List[Sentence]]:
    """Batch sentences by length, longest first, which suits every system.

    sentences (Sequence[Sentence]): The sentences.
    size (int): Sentences per batch.
    n_batches (int): Number of batches, evenly spaced; 0: all.
    RETURNS (List[List[Sentence]]): The batches.
    """
    longest_first = sorted(sentences, key=len, reverse=True)
    starts = range(0, len(longest_first), size)
    batches = [longest_first[start : start + size] for start in starts]
    return spread(batches, n_batches)


def warming(batches: List[List[Sentence]]) -> List[List[Sentence]]:
    """Select the largest batch and one of median length."""
    return [batches[0], batches[len(batches) // 2]]


def spread(items: List, n_items: int) -> List:
    """Select `n_items` evenly spaced items; all if 0, or if there are fewer."""
    if not 0 < n_items < len(items):
        return items
    return [items[number * len(items) // n_items] for number in range(n_items)]


def count_words(sentences: Sequence[Sentence]) -> int:
    return sum(len(sentence) for sentence in sentences)
