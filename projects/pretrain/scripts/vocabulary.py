"""Count and cut the vocabulary of the output layer."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from spacy_elmo.pretraining.data.corpus import load_vocabulary
from spacy_elmo.pretraining.data.shards import Shards
from spacy_elmo.pretraining.sections import VocabularySettings


def main(
    train: Annotated[Path, typer.Argument(help="Shards to count in")],
    dev: Annotated[Path, typer.Argument(help="Held-out shards")],
    target: Annotated[Path, typer.Argument(help="File to write")],
    min_count: int = 1,
    max_size: int = 100_000,
) -> None:
    try:
        settings = VocabularySettings(min_count=min_count, max_size=max_size)
        texts = {name: Shards(name) for name in (train, dev)}
        vocabulary = load_vocabulary(texts[train], settings)
    except (OSError, ValueError) as error:
        msg.fail(str(error), exits=1)
    vocabulary.write(target)
    msg.good(f"{target}: {len(vocabulary):,} words")
    for name, shards in texts.items():
        known = vocabulary.coverage(shards.types(), shards.counts)
        msg.info(f"{name}: {known.oov_rate:.2%} of {known.n_words:,} words unknown")


if __name__ == "__main__":
    typer.run(main)
