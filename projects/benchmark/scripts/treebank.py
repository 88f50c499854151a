"""The table's work: the sentences of UD English EWT, in batches.

Only the standard library: peers' environments read this module too.
"""

from pathlib import Path
from typing import List, Sequence, Union

Sentence = List[str]

BATCH_SIZE = 32


def read_sentences(path: Union[str, Path], n_sentences: int = 0) -> List[Sentence]:
    """The words of each sentence of a CoNLL-U file. A word that is written as a part of
    another (`don't`: `do`, `n't`) is one of its own, as the treebank has it.

    n_sentences: so many, evenly spread over the file, so that their lengths are as in
        the whole; 0: all.
    """
    sentences: List[Sentence] = []
    words: Sentence = []
    with open(path, encoding="utf8") as lines:
        for line in lines:
            fields = line.rstrip("\n").split("\t")
            # Lines 3-4 (a token of several words) and 3.1 (an empty node) are no words.
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
    """Sentences of about one length together, the longest first, as every system has
    them at its best.

    n_batches: so many, evenly spread; 0: all.
    """
    longest_first = sorted(sentences, key=len, reverse=True)
    starts = range(0, len(longest_first), size)
    batches = [longest_first[start : start + size] for start in starts]
    return spread(batches, n_batches)


def warming(batches: List[List[Sentence]]) -> List[List[Sentence]]:
    """The largest batch, and one of the usual size."""
    return [batches[0], batches[len(batches) // 2]]


def spread(items: List, n_items: int) -> List:
    """So many of the items, at even distances; all where 0 or more than there are."""
    if not 0 < n_items < len(items):
        return items
    return [items[number * len(items) // n_items] for number in range(n_items)]


def count_words(sentences: Sequence[Sentence]) -> int:
    return sum(len(sentence) for sentence in sentences)
