"""Write the steps, words and time of a training, from its log, as JSON."""

import os
import platform
import statistics
from pathlib import Path
from typing import Annotated, Any, Dict

import torch
import typer
from wasabi import msg

from spacy_elmo.files import write_json
from spacy_elmo.pretraining.output.log import read_log


def main(
    run: Annotated[Path, typer.Argument(help="Output folder of the pretraining")],
    config: Annotated[Path, typer.Argument(help="Config of the pretraining")],
    target: Annotated[Path, typer.Argument(help="JSON to write")],
) -> None:
    write_json(target, {"settings": config.name, **training(run)})
    msg.good(str(target))


def training(run: Path) -> Dict[str, Any]:
    log = read_log(run / "log.jsonl")
    steps = [entry for entry in log if entry["type"] == "train"]
    return {
        "steps": steps[-1]["step"],
        "words": steps[-1]["words"],
        "epochs": steps[-1]["epoch"],
        "hours": steps[-1]["seconds"] / 3600,
        "words_per_second": statistics.median(s["words_per_second"] for s in steps),
        "texts": [entry["message"] for entry in log if entry["type"] == "message"][:2],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    typer.run(main)
