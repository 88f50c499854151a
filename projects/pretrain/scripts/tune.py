"""Compare short trainings of one config with changes, by perplexity after the same
number of words and by speed. All runs go to one JSON file."""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Dict, List

import torch
import typer
from wasabi import msg

from spacy_elmo.files import write_json
from spacy_elmo.pretraining.output.log import read_log


def main(
    config: Annotated[Path, typer.Argument(help="Config of a pretraining")],
    variants: Annotated[
        Path, typer.Argument(help='JSON: name -> overrides, {"a.b": value}')
    ],
    output: Annotated[Path, typer.Argument(help="Folder for the trainings")],
    target: Annotated[Path, typer.Argument(help="JSON to write")],
) -> None:
    """Complete trainings are not repeated."""
    chosen: Dict[str, Dict[str, Any]] = json.loads(variants.read_text("utf8"))
    results: Dict[str, Any] = {}
    for name, overrides in chosen.items():
        options: List[str] = []
        for key, value in overrides.items():
            text = value if isinstance(value, str) else json.dumps(value)
            options += [f"--{key}", text]
        folder = output / name
        command = ["-m", "spacy", "elmo", "pretrain", str(config), str(folder)]
        subprocess.run([sys.executable, *command, "--quiet", *options], check=True)
        results[name] = {"overrides": overrides, **summary(folder)}
        write_json(target, {"threads": torch.get_num_threads(), "runs": results})
        msg.info(f"{name}: {results[name]}")
    msg.good(str(target))


def summary(folder: Path) -> Dict[str, Any]:
    """Read the final figures from the log of a training."""
    log = read_log(folder / "log.jsonl")
    trained = [entry for entry in log if entry["type"] == "train"]
    held_out = [entry for entry in log if entry["type"] == "dev"][-1]
    return {
        "words": trained[-1]["words"],
        "words_per_second": statistics.median(
            entry["words_per_second"] for entry in trained
        ),
        "loss": trained[-1]["loss"],
        "perplexity": held_out["perplexity"],
        "forward_perplexity": held_out["forward_perplexity"],
        "backward_perplexity": held_out["backward_perplexity"],
        "oov_rate": held_out["oov_rate"],
    }


if __name__ == "__main__":
    typer.run(main)
