"""bilm-tf's comparison: the same text, model, number of batches and negatives, by its
published optimizer and by AdamW. Perplexities are those of the full softmax."""

import json
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Dict, List

import numpy
import torch
import typer
from wasabi import msg

from spacy_elmo.formats.files import write_json
from spacy_elmo.pretraining.reporting import read_log

BILM_TF = {"perplexity": 216.0, "words_per_second": 5660.0}
"""Measured with bilm-tf on two cores, on this text, at these settings."""

VARIANTS: Dict[str, List[str]] = {
    "adagrad": [],
    "adamw": [
        *("--training.optimizer.name", "adamw"),
        *("--training.optimizer.learn_rate", "0.005"),
        *("--training.schedule.name", "linear"),
        *("--training.schedule.warmup_steps", "30"),
    ],
}


def main(
    config: Annotated[Path, typer.Argument(help="Config of the comparison")],
    text: Annotated[Path, typer.Argument(help="Folder of train.txt and dev.txt")],
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    n_runs: Annotated[int, typer.Option(help="Runs of each variant, by seed")] = 3,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # bilm-tf shuffles the sentences of its training text when it loads them.
        lines = (text / "train.txt").read_text(encoding="utf8").splitlines()
        lines = [line for line in lines if line]
        random.Random(0).shuffle(lines)
        train = Path(folder) / "train.txt"
        train.write_text("\n".join(lines) + "\n", encoding="utf8")
        results: Dict[str, Any] = {}
        for name, overrides in VARIANTS.items():
            runs = []
            for seed in range(n_runs):
                output = Path(folder) / f"{name}-{seed}"
                # In alternation with the machine's own limit.
                peak = matrix_peak()
                run = train_once(
                    config,
                    output,
                    [
                        *("--paths.train", str(train)),
                        *("--paths.dev", str(text / "dev.txt")),
                        *("--training.seed", str(seed)),
                        *overrides,
                    ],
                )
                runs.append({**run, "matrix_peak_gflops": peak})
                msg.info(f"{name}, seed {seed}: {run}")
            results[name] = {**summary(runs), "runs": runs, "overrides": overrides}
    write_json(
        target,
        {
            "bilm_tf": BILM_TF,
            "results": results,
            "threads": torch.get_num_threads(),
            "machine": platform.processor() or platform.machine(),
            "versions": {"torch": torch.__version__, "numpy": numpy.__version__},
        },
    )
    msg.good(str(target))
    print(json.dumps({name: summary(r["runs"]) for name, r in results.items()}))


def train_once(config: Path, output: Path, overrides: List[str]) -> Dict[str, float]:
    """One training in a process of its own."""
    command = ["-m", "spacy", "elmo", "pretrain", str(config), str(output), "--quiet"]
    start = time.perf_counter()
    subprocess.run([sys.executable, *command, *overrides], check=True)
    seconds = time.perf_counter() - start
    log = read_log(output / "log.jsonl")
    speeds = [entry["words_per_second"] for entry in log if entry["type"] == "train"]
    held_out = [entry for entry in log if entry["type"] == "dev"][-1]
    return {
        "perplexity": held_out["perplexity"],
        "forward_perplexity": held_out["forward_perplexity"],
        "backward_perplexity": held_out["backward_perplexity"],
        "words_per_second": statistics.median(speeds),
        "seconds": seconds,
    }


def summary(runs: List[Dict[str, float]]) -> Dict[str, float]:
    """Medians, and ratios to bilm-tf."""
    perplexity = statistics.median(run["perplexity"] for run in runs)
    speed = statistics.median(run["words_per_second"] for run in runs)
    return {
        "perplexity": perplexity,
        "words_per_second": speed,
        "speed_ratio": speed / BILM_TF["words_per_second"],
    }


def matrix_peak(size: int = 1024, n_runs: int = 20) -> float:
    """GFLOP/s of float32 products in this minute."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    times = []
    for _ in range(n_runs):
        start = time.perf_counter()
        torch.mm(left, right)
        times.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(times) / 1e9


if __name__ == "__main__":
    typer.run(main)
