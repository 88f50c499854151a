"""Compare pretraining with bilm-tf: the same text, vocabulary, model, batch size and
number of negatives, with bilm-tf's optimizer and with AdamW. Perplexities use the full
softmax."""

import json
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Dict, List, NamedTuple

import numpy
import torch
import typer
from wasabi import msg

from spacy_elmo.files import write_json
from spacy_elmo.pretraining.output.log import read_log
from spacy_elmo.pretraining.settings import PretrainSettings

PEER = "bilm_tf"
WORKER = Path(__file__).with_name("bilm_tf_worker.py")


class Variant(NamedTuple):
    """Variant of our training: the share of bilm-tf's batches, and settings."""

    share: float
    overrides: List[str]


# Chosen among four rates by the perplexity on the same held-out text.
ADAMW = [
    *("--training.optimizer.name", "adamw"),
    *("--training.optimizer.learn_rate", "0.012"),
    *("--training.schedule.name", "linear"),
    *("--training.schedule.warmup_steps", "30"),
]
BFLOAT16 = ["--training.precision", "bfloat16"]
VARIANTS = {
    "adagrad": Variant(1.0, []),
    "adamw": Variant(1.0, ADAMW),
    "adamw_bfloat16": Variant(1.0, [*ADAMW, *BFLOAT16]),
    "adamw_bfloat16_half": Variant(0.5, [*ADAMW, *BFLOAT16]),
}


def main(
    config: Annotated[Path, typer.Argument(help="Config of the comparison")],
    text: Annotated[Path, typer.Argument(help="Folder of train.txt and dev.txt")],
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    peer: Annotated[
        Path, typer.Option(help="Python of bilm-tf's environment", dir_okay=False)
    ],
    n_runs: Annotated[
        int, typer.Option(help="Number of runs per variant, one per seed")
    ] = 3,
) -> None:
    """Train all variants and bilm-tf in alternation, and write their figures."""
    if not peer.is_file():
        msg.fail(
            f"{peer}: expected the Python of bilm-tf's environment, found no such file",
            "Create it with the project's command environment.",
            exits=1,
        )
    runs: Dict[str, List[Dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for part in ("train.txt", "dev.txt"):
            lines = (text / part).read_text(encoding="utf8").splitlines()
            lines = [line for line in lines if line]
            if part == "train.txt":
                # bilm-tf shuffles the sentences of its training text.
                random.Random(0).shuffle(lines)
            (folder / part).write_text("\n".join(lines) + "\n", encoding="utf8")
        settings = PretrainSettings.from_file(config, texts(folder))
        # In alternation, each with the machine's matrix peak at that moment.
        for seed in range(n_runs):
            for name, variant in VARIANTS.items():
                peak = matrix_peak()
                steps = round(variant.share * settings.training.max_steps)
                options = {"--training.seed": seed, "--training.max_steps": steps}
                overrides = [str(part) for pair in options.items() for part in pair]
                run = train_once(
                    config,
                    folder / f"{name}-{seed}",
                    [*texts(folder), *overrides, *variant.overrides],
                )
                runs.setdefault(name, []).append({**run, "matrix_peak_gflops": peak})
                msg.info(f"{name}, seed {seed}: {run}")
            vocabulary = folder / "vocabulary.txt"
            write_vocabulary(vocabulary, folder / f"adagrad-{seed}" / "model-last")
            work = work_of(settings, folder, vocabulary, seed)
            peak = matrix_peak()
            run = train_peer(peer, work, folder / "work.json")
            runs.setdefault(PEER, []).append({**run, "matrix_peak_gflops": peak})
            msg.info(f"{PEER}, seed {seed}: {run}")
    shares = {name: variant.share for name, variant in VARIANTS.items()}
    summaries = {
        name: summary(of_variant, runs[PEER], shares.get(name, 1.0))
        for name, of_variant in runs.items()
    }
    results = {name: {**summaries[name], "runs": runs[name]} for name in runs}
    write_json(
        target,
        {
            "results": results,
            "variants": {name: each._asdict() for name, each in VARIANTS.items()},
            "threads": torch.get_num_threads(),
            "machine": processor(),
            "versions": {
                "torch": torch.__version__,
                "numpy": numpy.__version__,
                **versions_of(peer, "bilm", "tensorflow"),
            },
        },
    )
    msg.good(str(target))
    print(json.dumps(summaries))


def processor() -> str:
    """Get the processor's name on Linux, or else its architecture."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf8")
    except OSError:
        info = ""
    names = re.findall(r"^model name\s*: (.*)$", info, re.MULTILINE)
    return names[0] if names else platform.processor() or platform.machine()


def texts(folder: Path) -> List[str]:
    return [
        *("--paths.train", str(folder / "train.txt")),
        *("--paths.dev", str(folder / "dev.txt")),
    ]


def write_vocabulary(target: Path, model: Path) -> None:
    """Write our vocabulary in bilm-tf's format, without the counts."""
    lines = (model / "vocabulary.txt").read_text(encoding="utf8").splitlines()
    words = "".join(line.split("\t")[0] + "\n" for line in lines)
    target.write_text(words, encoding="utf8")


def work_of(
    settings: PretrainSettings, folder: Path, vocabulary: Path, seed: int
) -> Dict[str, Any]:
    """Translate the config to bilm-tf's options."""
    bilm, training = settings.bilm, settings.training
    assert bilm is not None, "no weights to start from"
    options = {
        "bidirectional": True,
        "char_cnn": {
            "activation": bilm.activation,
            "embedding": {"dim": bilm.char_dim},
            "filters": bilm.filters,
            "max_characters_per_token": bilm.max_characters_per_token,
            # One less than in its weights, which add 0 for padding.
            "n_characters": 261,
            "n_highway": bilm.n_highway,
        },
        "lstm": {
            "cell_clip": bilm.cell_clip,
            "dim": bilm.dim,
            "n_layers": bilm.n_layers,
            "proj_clip": bilm.proj_clip,
            "projection_dim": bilm.projection_dim,
            "use_skip_connections": bilm.use_skip_connections,
        },
        "all_clip_norm_val": training.optimizer.grad_clip,
        "batch_size": training.batch_size,
        "dropout": training.dropout,
        "learning_rate": training.optimizer.learn_rate,
        "n_epochs": 1,
        "n_negative_samples_batch": settings.softmax.n_samples,
        "unroll_steps": training.unroll_steps,
    }
    return {
        "options": options,
        "n_batches": training.max_steps,
        "log_frequency": training.log_frequency,
        "seed": seed,
        "vocabulary": str(vocabulary),
        "train": str(folder / "train.txt"),
        "dev": str(folder / "dev.txt"),
    }


def train_peer(peer: Path, work: Dict[str, Any], file: Path) -> Dict[str, float]:
    write_json(file, work)
    command = [str(peer), str(WORKER), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join(done.stderr.splitlines()[-20:])
        msg.fail(f"bilm-tf ended with status {done.returncode}", tail, exits=1)
    found: Dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def versions_of(peer: Path, *names: str) -> Dict[str, str]:
    program = (
        "import json, sys; from importlib.metadata import version; "
        "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
    )
    command = [str(peer), "-c", program, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: Dict[str, str] = json.loads(done.stdout)
    return found


def train_once(config: Path, output: Path, overrides: List[str]) -> Dict[str, float]:
    """Run one training in its own process, and read its figures."""
    command = ["-m", "spacy", "elmo", "pretrain", str(config), str(output), "--quiet"]
    start = time.perf_counter()
    subprocess.run([sys.executable, *command, *overrides], check=True)
    seconds = time.perf_counter() - start
    log = read_log(output / "log.jsonl")
    speeds = [entry["words_per_second"] for entry in log if entry["type"] == "train"]
    held_out = [entry for entry in log if entry["type"] == "dev"][-1]
    return {
        "steps": held_out["step"],
        "perplexity": held_out["perplexity"],
        "forward_perplexity": held_out["forward_perplexity"],
        "backward_perplexity": held_out["backward_perplexity"],
        "words_per_second": statistics.median(speeds),
        "seconds": seconds,
    }


def summary(
    runs: List[Dict[str, float]], of_peer: List[Dict[str, float]], share: float
) -> Dict[str, float]:
    """Compute medians and ratios to bilm-tf: to its best perplexity, because some of
    its runs diverge, and to the time of all of its batches.

    runs (List[Dict[str, float]]): Runs of one variant.
    of_peer (List[Dict[str, float]]): bilm-tf's runs.
    share (float): Share of bilm-tf's batches in the runs.
    RETURNS (Dict[str, float]): The medians and ratios.
    """
    perplexity = statistics.median(run["perplexity"] for run in runs)
    speed = statistics.median(run["words_per_second"] for run in runs)
    their_speed = statistics.median(run["words_per_second"] for run in of_peer)
    return {
        "perplexity": perplexity,
        "words_per_second": speed,
        "perplexity_ratio": perplexity / min(run["perplexity"] for run in of_peer),
        "speed_ratio": speed / their_speed,
        "time_ratio": share * their_speed / speed,
    }


def matrix_peak(size: int = 1024, n_runs: int = 20) -> float:
    """Measure GFLOP/s of float32 matrix products at this moment."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    times = []
    for _ in range(n_runs):
        start = time.perf_counter()
        torch.mm(left, right)
        times.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(times) / 1e9


if __name__ == "__main__":
    typer.run(main)
