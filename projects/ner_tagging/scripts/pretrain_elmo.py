"""Pretrain a biLM on the raw text of (b), for the same time as its CNN."""

import math
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Dict, List, NoReturn, Optional

import srsly
import typer
from variants import EQUAL_TIME
from wasabi import msg

from spacy_elmo import load_bilm, save_bilm
from spacy_elmo.files import write_json
from spacy_elmo.pretraining.output.checkpoints import load_newest
from spacy_elmo.pretraining.output.log import read_log
from spacy_elmo.text.files import CorpusError, find_files

DECAY = 0.2
"""Share of the time in which the learning rate decays to 0."""

ENDED_BY_SIGTERM = 128 + signal.SIGTERM

ENDLESS = 10**7
"""Number of steps that is never reached: time ends the first part."""


def main(
    config: Annotated[
        Path, typer.Argument(help="Config of the pretraining", exists=True)
    ],
    text: Annotated[str, typer.Argument(help="Glob of raw text files")],
    held_out: Annotated[str, typer.Argument(help="Held-out text")],
    target: Annotated[Path, typer.Argument(help="Folder of the weights to write")],
    summary: Annotated[Path, typer.Argument(help="JSON file to write")],
    minutes: Annotated[float, typer.Option(help="Training time")],
    folder: Annotated[Path, typer.Option(help="Folder of the run")],
    variants: Annotated[str, typer.Option(help="Has no effect without i or j")] = "i,j",
    gpu_id: Annotated[int, typer.Option(help="-1: CPU")] = -1,
) -> None:
    """Train at the full rate for most of the time, and decay the rate in the rest. The
    preparation of the text does not count. Run again to resume."""
    if not set(EQUAL_TIME) & set(variants.split(",")):
        return
    try:
        files = find_files([text])
        find_files([held_out])
    except CorpusError as error:
        fail(
            str(error),
            "Name raw text with --vars.raw_text GLOB --vars.raw_dev FILE, or leave i "
            "and j out of vars.variants.",
        )
    command = [sys.executable, "-m", "spacy", "elmo", "pretrain", config, folder]
    command += ["--gpu-id", gpu_id, "--quiet", "--paths.train", text]
    command += ["--paths.dev", held_out]
    plan = folder / "plan.json"
    if not plan.is_file():
        until = 60 * minutes * (1 - DECAY)
        run([*command, *course(ENDLESS, 1)], folder / "log.jsonl", until)
        checkpoint = load_newest(folder / "checkpoints", msg.warn)
        if checkpoint is None:
            fail(f"{folder}: expected a checkpoint, found none", "Allow more minutes.")
        write_json(plan, {"minutes": minutes, "decay_from": checkpoint.step})
    known = srsly.read_json(plan)
    if not math.isclose(known["minutes"], minutes, rel_tol=1e-6):
        fail(
            f"{folder}: expected a run of {minutes} minutes, found one of "
            f"{known['minutes']}",
            "Remove the folder to start over.",
        )
    n_steps = max(1, round(known["decay_from"] * DECAY / (1 - DECAY)))
    steps = course(known["decay_from"] + n_steps, n_steps)
    run([*command, *steps], folder / "log.jsonl")
    save_bilm(load_bilm(folder / "model-last"), target)
    found = summarize(folder, files)
    write_json(summary, found)
    msg.good(f"{target}: {found['words']:,} words in {found['minutes']} minutes")


def course(max_steps: int, decay_steps: int) -> List[Any]:
    """Create the options of the schedule, whose end may be moved on resume."""
    schedule = "--training.schedule"
    return [
        *("--training.max_steps", max_steps),
        *(f"{schedule}.name", "warmup_stable_decay"),
        *(f"{schedule}.decay_steps", decay_steps),
    ]


def run(command: List[Any], log: Path, until: Optional[float] = None) -> None:
    """Run the training to its end, or for a number of seconds.

    command (List[Any]): The command.
    log (Path): Log of the training.
    until (Optional[float]): Seconds of training, over all runs; None: to its end.
    """
    with subprocess.Popen([str(part) for part in command]) as process:
        try:
            while process.poll() is None:
                if until is not None and seconds(log) >= until:
                    break
                time.sleep(1)
        except Exception:
            process.terminate()
            raise
        stopped = process.poll() is None
        if stopped:
            # On SIGTERM, it writes a checkpoint and exits.
            process.terminate()
    if process.returncode != (ENDED_BY_SIGTERM if stopped else 0):
        fail(f"The pretraining ended with status {process.returncode}", "See above.")


def seconds(log: Path) -> float:
    """Sum the seconds of training over all runs in the folder."""
    if not log.is_file():
        return 0.0
    times = (entry["seconds"] for entry in read_log(log) if entry["type"] == "train")
    return max(times, default=0.0)


def summarize(folder: Path, files: List[Path]) -> Dict[str, Any]:
    known = srsly.read_json(folder / "model-last" / "pretraining.json")
    return {
        "minutes": round(seconds(folder / "log.jsonl") / 60, 1),
        "words": known["words"],
        "steps": known["step"],
        "perplexity": known["held_out"],
        "files": [file.name for file in files],
        "spacy_elmo": version("spacy-elmo"),
    }


def fail(title: str, text: str) -> NoReturn:
    msg.fail(title, text)
    raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
