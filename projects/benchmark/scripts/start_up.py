"""Print, as JSON, how long a fresh process takes until the component has run."""

import json
import time

import typer


def main(weights: str) -> None:
    """Print the seconds of each step, in order."""
    marks = [time.perf_counter()]
    # Any pipeline with PyTorch imports these.
    import spacy
    import spacy.training
    import thinc.api  # noqa: F401
    import torch  # noqa: F401

    marks.append(time.perf_counter())
    import spacy_elmo
    import spacy_elmo.formats
    import spacy_elmo.pipeline.elmo

    marks.append(time.perf_counter())
    nlp = spacy.blank("en")
    marks.append(time.perf_counter())
    elmo = nlp.add_pipe("elmo")
    elmo.set_bilm(spacy_elmo.load_bilm(weights))  # type: ignore[attr-defined]
    marks.append(time.perf_counter())
    nlp("She sat on the bank of the river.")
    marks.append(time.perf_counter())
    names = ("import_others", "import_spacy_elmo", "blank", "add_and_load", "first_doc")
    steps = zip(names, zip(marks, marks[1:]))
    print(json.dumps({name: end - start for name, (start, end) in steps}))


if __name__ == "__main__":
    typer.run(main)
