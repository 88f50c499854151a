"""Minimal pairs: does the language model prefer the grammatical sentence?

The method of BLiMP (Warstadt et al. 2020): a pair counts as correct if the acceptable
sentence has the higher log-probability.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Sequence,
    Tuple,
)

from ..text.files import read_lines
from .scorer import Scorer, portions

DIRECTIONS = ("forward", "backward", "both")
_PAIRS_PER_PORTION = 1000
_TIE = 1e-5
"""Largest difference, in nats, that counts as a tie. float32 resolves no smaller."""


class Pair(NamedTuple):
    """A minimal pair.

    good (str): The acceptable sentence.
    bad (str): The unacceptable sentence.
    group (str): Name of the phenomenon, such as a paradigm of BLiMP; may be empty.
    """

    good: str
    bad: str
    group: str


def _zero_each() -> Dict[str, int]:
    return dict.fromkeys(DIRECTIONS, 0)


@dataclass
class Accuracy:
    """Results of a set of pairs.

    n_pairs (int): Number of pairs.
    n_correct (Dict[str, int]): Pairs whose acceptable sentence is more probable, by
        direction: "forward", "backward", and "both" for the sum of the two.
    n_ties (Dict[str, int]): Pairs of equal probability, by direction. They count as
        wrong.
    n_unknown (int): Pairs with a word that is not in the vocabulary.
    """

    n_pairs: int = 0
    n_correct: Dict[str, int] = field(default_factory=_zero_each)
    n_ties: Dict[str, int] = field(default_factory=_zero_each)
    n_unknown: int = 0

    def add(self, differences: Dict[str, float], *, is_known: bool = True) -> None:
        """Count a pair.

        differences (Dict[str, float]): log p(good) - log p(bad), by direction.
        is_known (bool): Whether all words are in the vocabulary.
        """
        self.n_pairs += 1
        self.n_unknown += not is_known
        for direction, difference in differences.items():
            self.n_correct[direction] += difference > _TIE
            self.n_ties[direction] += abs(difference) <= _TIE

    def accuracy(self, direction: str) -> float:
        """Share of correct pairs, in [0, 1]."""
        return self.n_correct[direction] / self.n_pairs if self.n_pairs else 0.0

    def to_json(self) -> Dict[str, Any]:
        """The counts, the accuracy by direction, and the share of pairs with a word
        that is not in the vocabulary."""
        return {
            "n_pairs": self.n_pairs,
            "accuracy": {d: self.accuracy(d) for d in DIRECTIONS},
            "n_ties": dict(self.n_ties),
            "unknown_rate": self.n_unknown / self.n_pairs if self.n_pairs else 0.0,
        }


@dataclass
class PairResults:
    """Results of all pairs, and of each group in order of appearance."""

    overall: Accuracy = field(default_factory=Accuracy)
    groups: Dict[str, Accuracy] = field(default_factory=lambda: defaultdict(Accuracy))

    def to_json(self) -> Dict[str, Any]:
        """Nested dictionaries of plain numbers."""
        groups = {name: accuracy.to_json() for name, accuracy in self.groups.items()}
        return {"overall": self.overall.to_json(), "groups": groups}


def read_pairs(
    path: Path,
    *,
    good: str = "sentence_good",
    bad: str = "sentence_bad",
    group: str = "UID",
) -> Iterator[Pair]:
    """Read pairs from JSON lines, in BLiMP's form by default.

    path (Path): The file, compressed or not.
    good (str): Key of the acceptable sentence.
    bad (str): Key of the unacceptable sentence.
    group (str): Key of the phenomenon. Optional in each line.
    YIELDS (Pair): One per line. Blank lines are skipped.
    RAISES: ValueError, with the line's number, if a line is not a JSON object with
        both sentences; OSError if the file cannot be opened.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            sentences = [record[key] for key in (good, bad)]
            "".join(map(str, sentences)).encode("utf8")  # no lone surrogates
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{path}, line {number}: expected a JSON object, found {line[:60]!r} "
                f"({error}). Write one object per line."
            ) from error
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}: expected a JSON object with {good!r} and "
                f"{bad!r}, found {line[:60]!r}. Name the keys of the two sentences."
            ) from error
        if not all(isinstance(text, str) and text.strip() for text in sentences):
            raise ValueError(
                f"{path}, line {number}: expected {good!r} and {bad!r} to be strings "
                f"with words, found {sentences!r}."
            )
        yield Pair(sentences[0], sentences[1], str(record.get(group, "")))


def score_pairs(
    scorer: Scorer,
    pairs: Iterable[Pair],
    tokenize: Callable[[Sequence[str]], Iterable[List[str]]],
    *,
    progress: Callable[[int], object] = lambda n_pairs: None,
    **settings: Any,
) -> PairResults:
    """Compare the log-probabilities of the two sentences of each pair.

    scorer (Scorer): The language model.
    pairs (Iterable[Pair]): Pairs; a portion of them is in memory at a time.
    tokenize (Callable): Splits sentences into words, as the training text was.
    progress (Callable): Called with the number of pairs scored since the last call.
    **settings: Passed to `Scorer.log_probs`.
    RETURNS (PairResults): Accuracy overall and by group.
    """
    results = PairResults()
    for portion in portions(pairs, _PAIRS_PER_PORTION):
        texts = [" ".join(text.split()) for pair in portion for text in pair[:2]]
        sentences = list(tokenize(texts))
        scores = scorer.log_probs(sentences, **settings)
        for pair, good, bad in zip(portion, scores[::2], scores[1::2]):
            forward = good.forward_total - bad.forward_total
            backward = good.backward_total - bad.backward_total
            differences = dict(zip(DIRECTIONS, (forward, backward, forward + backward)))
            is_known = bool(good.known.all() and bad.known.all())
            results.overall.add(differences, is_known=is_known)
            results.groups[pair.group].add(differences, is_known=is_known)
        progress(len(portion))
    return results


def table_rows(results: PairResults) -> List[Tuple[str, ...]]:
    """Rows of (group, number of pairs, accuracies in percent, ties) for a table."""
    named = [*results.groups.items(), ("all", results.overall)]
    return [
        (
            name or "-",
            f"{accuracy.n_pairs:,}",
            *(f"{100 * accuracy.accuracy(d):.1f}" for d in DIRECTIONS),
            str(max(accuracy.n_ties.values())),
        )
        for name, accuracy in named
    ]
