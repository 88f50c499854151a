"""Score trained pipelines with the biLM computed in each precision."""

import json
from pathlib import Path
from typing import Annotated, Any, Dict, List

import spacy
import typer
from train import PACKAGES, score
from variants import TASKS
from wasabi import msg

from spacy_elmo.bilm.backends import CPUBackend, cpu
from spacy_elmo.files import write_json

PRECISIONS = ("float32", "bfloat16", "int8")


def main(
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    trainings: Annotated[
        List[Path],
        typer.Argument(help="Folders of trainings, TASK-VARIANT-SEED", exists=True),
    ],
) -> None:
    """Score each training's best pipeline on the test set, on the CPU."""
    why_not = CPUBackend.why_no_int8()
    if why_not is not None:
        msg.fail(f"Nothing to compare: no int8 here, {why_not}.", exits=1)
    spacy.require_cpu()
    found: Dict[str, Any] = {}
    for folder in trainings:
        task = folder.name.partition("-")[0]
        if task not in TASKS:
            msg.fail(
                f"{folder}: expected TASK-VARIANT-SEED with a task of "
                f"{', '.join(TASKS)}.",
                exits=1,
            )
        found[folder.name] = {
            precision: score_in(folder, task, precision) for precision in PRECISIONS
        }
        msg.info(f"{folder.name}: {json.dumps(found[folder.name])}")
    instructions = cpu.selected()
    write_json(
        target,
        {
            "instructions": instructions and instructions.name,
            "versions": {
                name: spacy.util.get_package_version(name) for name in PACKAGES
            },
            "test": found,
        },
    )
    msg.good(str(target))


def score_in(folder: Path, task: str, precision: str) -> Dict[str, float]:
    """Scores on the test set, in percent."""
    setting = {"components.elmo.model.precision": precision}
    nlp = spacy.load(folder / "model-best", config=setting)
    scores: Dict[str, float] = score(nlp, nlp.config, task)["test"]
    return scores


if __name__ == "__main__":
    typer.run(main)
