"""Whether heads are trained on docs that are cut as those will be that they are used
on: a word's vectors are those of its sentence."""

import warnings
from typing import Sequence

from spacy.attrs import SENT_START
from spacy.tokens import Doc

OTHER_BOUNDARIES = """\
{name!r}: expected docs that are cut alike in training and in use, found training docs
without sentence boundaries and others with them. The heads learn from vectors that they
will not get. Name the component that sets the boundaries among the [training]
annotating_components, and, if it does not learn, among the frozen_components."""


class Boundaries:
    """Of the docs of training, beside those of prediction, as evaluation is."""

    def __init__(self) -> None:
        self._are_missing = False
        self._is_told = False

    def trained(self, docs: Sequence[Doc]) -> None:
        if not self._are_missing:
            self._are_missing = any(
                len(doc) > 1 and not doc.has_annotation("SENT_START") for doc in docs
            )

    def check(self, docs: Sequence[Doc], name: str) -> None:
        """Warns, once, where the others have boundaries within.

        name: of the component.
        """
        if not self._are_missing or self._is_told:
            return
        if any(_n_sentences(doc) > 1 for doc in docs):
            self._is_told = True
            text = OTHER_BOUNDARIES.format(name=name)
            warnings.warn(text, UserWarning, stacklevel=3)


def _n_sentences(doc: Doc) -> int:
    if not doc.has_annotation("SENT_START"):
        return 0
    return int((doc.to_array([SENT_START]) == 1).sum())
