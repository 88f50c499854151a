"""Compare the vectors of a word in several sentences."""

from pathlib import Path
from typing import Annotated, Any

import spacy
import typer
from wasabi import msg

import spacy_elmo

WORD = "bank"
SENTENCES = (
    "They walked along the bank of the river.",
    "The boat was pulled up onto the bank of the lake.",
    "The bank lent him money for a house.",
    "A bank opened an account for her.",
)


def main(
    weights: Annotated[Path, typer.Argument(help="Folder of the weights", exists=True)],
) -> None:
    """Print spaCy's token.similarity() with `elmo` in the pipeline."""
    nlp = spacy.blank("en")
    # The top layer knows most about the sentence. The default is the mean of all
    # layers.
    elmo: Any = nlp.add_pipe("elmo", config={"mix": "top"})
    elmo.set_bilm(spacy_elmo.load_bilm(weights))
    docs = list(nlp.pipe(SENTENCES))
    print(f"\nVectors: {docs[0]._.elmo.layers.shape} (layers, words, width)")
    tokens = [token for doc in docs for token in doc if token.text == WORD]
    rows = [
        (number, *(f"{a.similarity(b):.2f}" for b in tokens), a.doc.text)
        for number, a in enumerate(tokens, start=1)
    ]
    numbers = range(1, len(tokens) + 1)
    msg.table(rows, header=("", *numbers, f'"{WORD}" in'), divider=True, max_col=60)


if __name__ == "__main__":
    typer.run(main)
