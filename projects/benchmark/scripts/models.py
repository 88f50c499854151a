"""Weights, and how much of the text is to go through them."""

from pathlib import Path
from typing import List, NamedTuple, Sequence

HELP = "Folders of weights; FOLDER:N for N of the sentences, evenly spread (0: all)"


class Model(NamedTuple):
    folder: Path
    n_sentences: int

    @property
    def name(self) -> str:
        return self.folder.name


def parse_models(texts: Sequence[str]) -> List[Model]:
    """Of a command line.

    Raises ValueError where two folders have one name: results are told by it.
    """
    models = []
    for text in texts:
        folder, _, number = text.rpartition(":")
        if folder and number.isdecimal():
            models.append(Model(Path(folder), int(number)))
        else:
            models.append(Model(Path(text), 0))
    names = [model.name for model in models]
    if len(set(names)) != len(names):
        raise ValueError(f"Expected folders with different names, found {names}.")
    return models
