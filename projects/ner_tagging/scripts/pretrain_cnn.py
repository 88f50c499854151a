"""Pretrain spaCy's CNN with `spacy pretrain` on raw text for a given time."""

import json
import os
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Dict, Iterable, Iterator, List, Optional

import typer
from spacy.cli._util import setup_gpu
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training.batchers import configure_minibatch_by_words
from spacy.training.pretrain import pretrain
from spacy.util import registry
from thinc.api import Config
from variants import PRETRAINED, cnn_config
from wasabi import msg

from spacy_elmo.files import write_json
from spacy_elmo.text.files import CorpusError, find_files, read_chunks

BATCHES_A_SAVE = 500
READER, BATCHER = "ner_tagging.RawText.v1", "ner_tagging.TimedBatches.v1"


class TimeIsUp(Exception):
    """Raised when the time is up."""


class Progress:
    """Time and words of a pretraining run, stored in a file next to its weights.

    For a run that was killed, words count up to the weights that it saved last.
    """

    def __init__(self, file: Path) -> None:
        known = json.loads(file.read_text("utf8")) if file.is_file() else {}
        self.file = file
        self.words: int = known.get("words", 0)
        self._before: float = known.get("seconds", 0.0)
        self._start: Optional[float] = None

    def start(self) -> None:
        if self._start is None:
            self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        now = time.monotonic()
        return self._before + now - (now if self._start is None else self._start)

    def save(self) -> None:
        write_json(self.file, {"seconds": self.seconds, "words": self.words})


def main(
    text: Annotated[str, typer.Argument(help="Glob of raw text files")],
    target: Annotated[Path, typer.Argument(help="Weights to write (.bin)")],
    summary: Annotated[Path, typer.Argument(help="JSON file to write")],
    minutes: Annotated[float, typer.Option(help="Training time")],
    folder: Annotated[Path, typer.Option(help="Working folder")],
    variants: Annotated[str, typer.Option(help="Has no effect without b")] = PRETRAINED,
    seed: Annotated[int, typer.Option(help="Seed of weights and dropout")] = 0,
    gpu_id: Annotated[int, typer.Option(help="-1: CPU")] = -1,
) -> None:
    """Train spaCy's default CNN on its characters objective, as set up by `spacy init
    config --pretraining`, and keep the last weights when the time is up. Run again to
    resume."""
    progress = Progress(folder / "progress.json")
    if PRETRAINED not in variants.split(","):
        return
    if target.is_file() and progress.seconds >= 60 * minutes:
        msg.info(f"{target} is there already")
        return
    try:
        files = find_files([text])
    except CorpusError as error:
        msg.fail(
            str(error),
            "Name raw text with --vars.raw_text GLOB, or leave b out of vars.variants.",
        )
        raise typer.Exit(1) from error
    setup_gpu(gpu_id)
    folder.mkdir(parents=True, exist_ok=True)
    batches = partial(timed_batches, progress, 60 * minutes)
    registry.readers(READER, func=lambda: partial(read_text, files))
    registry.batchers(BATCHER, func=lambda: batches)
    saved = sorted(folder.glob("model*.temp.bin"), key=os.path.getmtime)
    try:
        pretrain(
            make_config(seed),
            folder,
            resume_path=saved[-1] if saved else None,
            epoch_resume=epoch(saved[-1]) if saved else None,
            use_gpu=gpu_id,
            silent=False,
        )
    except TimeIsUp:
        target.parent.mkdir(parents=True, exist_ok=True)
        progress.save()
        os.replace(folder / "model-last.bin", target)
        write_json(summary, summarize(progress, files, seed))
        msg.good(f"{target}: {progress.words:,} words in {minutes} minutes")


def make_config(seed: int) -> Config:
    """Create the config. The heads do not matter: only their CNN is trained."""
    config = cnn_config(("tagger",))
    config["system"]["seed"] = seed
    config["corpora"]["pretrain"] = {"@readers": READER}
    config["pretraining"]["batcher"] = {"@batchers": BATCHER}
    config["pretraining"]["n_save_every"] = BATCHES_A_SAVE
    return config.interpolate()


def read_text(files: List[Path], nlp: Language) -> Iterator[Doc]:
    """Read the lines that spaCy's own corpus of raw text would use."""
    for chunk in read_chunks(files):
        for line in chunk.lines:
            doc = nlp.make_doc(line)
            if 5 <= len(doc) < 500:
                yield doc


def timed_batches(
    progress: Progress, budget: float, docs: Iterable[Doc]
) -> Iterator[List[Doc]]:
    """Yield batches of spaCy's default size.

    RAISES: TimeIsUp when the budget is spent.
    """
    progress.start()
    make_batches = configure_minibatch_by_words(
        size=3000, tolerance=0.2, discard_oversize=False
    )
    for number, batch in enumerate(make_batches(docs)):
        if number % BATCHES_A_SAVE == 1:  # spaCy saved the weights after the last
            progress.save()
        if progress.seconds >= budget:
            raise TimeIsUp
        progress.words += sum(map(len, batch))
        yield batch


def epoch(weights: Path) -> int:
    return int(weights.name[len("model") : -len(".temp.bin")])


def summarize(progress: Progress, files: List[Path], seed: int) -> Dict[str, Any]:
    return {
        "minutes": round(progress.seconds / 60, 1),
        "words": progress.words,
        "files": [file.name for file in files],
        "seed": seed,
        "spacy": version("spacy"),
    }


if __name__ == "__main__":
    typer.run(main)
