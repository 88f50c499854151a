"""Build the pipeline that `spacy package` packs, with its licenses."""

from pathlib import Path
from statistics import mean
from typing import Annotated

import spacy
import srsly
import typer
from languages import LANGUAGES, find_language
from variants import WITH_ELMO, Run
from wasabi import msg

from spacy_elmo import load_bilm


def main(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(LANGUAGES)}")],
    weights: Annotated[Path, typer.Argument(help="Folder of the biLM", exists=True)],
    training: Annotated[Path, typer.Argument(help="Folder of the trainings")],
    results: Annotated[Path, typer.Argument(help="Folder of the results")],
    target: Annotated[Path, typer.Argument(help="Folder of the pipeline to write")],
) -> None:
    """Take the pipeline of the task whose corpus may be used for that. Without one, the
    pipeline consists of the biLM alone."""
    language = find_language(name)
    sources = [{"name": language.text, "license": language.license}]
    if language.packaged is None:
        nlp = spacy.blank(language.code)
        nlp.add_pipe("elmo").set_bilm(load_bilm(weights))  # type: ignore[attr-defined]
    else:
        run = select_run(language.packaged, results)
        nlp = spacy.load(training / "heads" / f"{run.task}-{run.name}" / "model-best")
        task = language.tasks[run.task]
        sources.append({"name": task.title, "license": task.license})
    nlp.meta["description"] = f"ELMo for {language.title}"
    nlp.meta["license"] = sources[-1]["license"]
    nlp.meta["sources"] = sources
    target.mkdir(parents=True, exist_ok=True)
    nlp.to_disk(target)
    msg.good(f"{target}: {', '.join(nlp.pipe_names)}")


def select_run(task: str, results: Path) -> Run:
    """Select the variant with ELMo that is best on the development set. Exits if none
    is trained."""
    path = results / f"{task}.json"
    found = srsly.read_json(path) if path.is_file() else {}
    runs = [Run(task, variant) for variant in WITH_ELMO]
    runs = [run for run in runs if run.name in found]
    if not runs:
        msg.fail(f"{path}: expected a head with ELMo", "Run the command heads.")
        raise typer.Exit(1)
    return max(runs, key=lambda run: mean(found[run.name]["dev"].values()))


if __name__ == "__main__":
    typer.run(main)
