"""Kill a run with SIGKILL at random moments, and check that its final weights are those
of an undisturbed run, bit for bit."""

import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Dict, List

import typer
from wasabi import msg

from spacy_elmo.files import write_json
from spacy_elmo.pretraining.output.log import read_log

FILES = ("model-last/model.safetensors", "model-last/softmax.safetensors")


def main(
    config: Annotated[Path, typer.Argument(help="Config of the run")],
    text: Annotated[Path, typer.Argument(help="Folder of train.txt and dev.txt")],
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    n_kills: int = 10,
    max_steps: int = 300,
    checkpoint_frequency: int = 10,
    seed: int = 0,
) -> None:
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "spacy", "elmo", "pretrain", str(config)),
            *("OUTPUT", "--quiet"),
            *("--paths.train", str(text / "train.txt")),
            *("--paths.dev", str(text / "dev.txt")),
            *("--corpus.cache", str(Path(folder) / "corpus")),
            *("--training.max_steps", str(max_steps)),
            *("--training.checkpoint_frequency", str(checkpoint_frequency)),
        ]
        alone, killed = Path(folder) / "alone", Path(folder) / "killed"
        start = time.perf_counter()
        subprocess.run(to(command, alone), check=True)
        seconds = time.perf_counter() - start
        kills: List[Dict[str, float]] = []
        while len(kills) < n_kills:
            process = subprocess.Popen(to(command, killed))
            delay = moments.uniform(0, 0.4 * seconds)
            try:
                process.wait(delay)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills.append({"after_seconds": delay, "step": last_step(killed)})
                msg.info(f"kill {len(kills)}: {kills[-1]}")
                continue
            if process.returncode:
                msg.fail(f"The run ended with {process.returncode}", exits=1)
            msg.warn(f"The run ended after {len(kills)} kills")
            break
        subprocess.run(to(command, killed), check=True)
        hashes = {
            name: [digest(run / name) for run in (alone, killed)] for name in FILES
        }
    equal = all(left == right for left, right in hashes.values())
    write_json(target, {"kills": kills, "equal": equal, "hashes": hashes})
    if not equal or len(kills) < n_kills:
        msg.fail(f"{len(kills)} kills, equal: {equal}", exits=1)
    msg.good(f"{len(kills)} kills; the final weights are equal bit for bit")


def to(command: List[str], output: Path) -> List[str]:
    return [str(output) if part == "OUTPUT" else part for part in command]


def last_step(output: Path) -> int:
    """Get the last step in the log."""
    log = output / "log.jsonl"
    steps = [entry.get("step", 0) for entry in read_log(log)] if log.is_file() else []
    return max(steps, default=0)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    typer.run(main)
