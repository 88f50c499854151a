"""Measure words per second on a GPU: the LSTMs, compared with plain PyTorch and the
device's matrix peak, `encode`, and pretraining.

Needs PyTorch and spacy_elmo, no peer and no spaCy.
"""

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Callable, Dict, List, Sequence

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from spacy_elmo.bilm import BiLM, BiLMConfig
from spacy_elmo.bilm.lstm import Packing, ProjectedLSTM

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SHORTEST, LONGEST = 8, 40
"""Range of sequence lengths, in words."""

N_TYPES, ZIPF = 200_000, 1.1
"""Number of types of the generated text, and the exponent of their distribution."""


def main(
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    sizes: Annotated[List[str], typer.Argument(help="small, medium, original")],
    device: Annotated[str, typer.Option(help="cuda, or cpu to try it")] = "cuda",
    batch_size: Annotated[int, typer.Option(help="Sequences per batch")] = 256,
    n_rounds: int = 5,
    n_steps: Annotated[int, typer.Option(help="Steps of pretraining; 0: none")] = 300,
    lanes: Annotated[int, typer.Option(help="Batch size of pretraining")] = 256,
    negatives: Annotated[int, typer.Option(help="Negatives of pretraining")] = 8192,
    n_words: Annotated[
        int, typer.Option(help="Words of the generated text")
    ] = 4_000_000,
    peak_size: Annotated[
        int, typer.Option(help="Size of the matrices that measure the peak")
    ] = 8192,
) -> None:
    """Use random weights and random text, which speed does not depend on."""
    if device != "cpu" and not torch.cuda.is_available():
        raise typer.BadParameter("Expected a GPU that PyTorch sees, found none.")
    found: Dict[str, Any] = {}
    for size in sizes:
        torch.manual_seed(0)
        bilm = BiLM(BiLMConfig.preset(size)).eval().to(device)
        found[size] = {
            dtype: inference(bilm, dtype, batch_size, n_rounds, peak_size)
            for dtype in DTYPES
        }
        config = bilm.config
        del bilm  # frees its GPU memory
        if n_steps:
            found[size]["pretraining"] = pretraining(
                config, size, device, n_steps, lanes, negatives, n_words
            )
        print(size, json.dumps(found[size]), flush=True)
    name = torch.cuda.get_device_name() if device != "cpu" else platform.processor()
    record = {
        "device": name,
        "versions": {"torch": version("torch"), "python": platform.python_version()},
        "batch_size": batch_size,
        "lengths": [SHORTEST, LONGEST],
        "n_rounds": n_rounds,
        "lanes": lanes,
        "negatives": negatives,
        "sizes": found,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(record, indent=2) + "\n", encoding="utf8")


def inference(
    bilm: BiLM, precision: str, batch_size: int, n_rounds: int, peak_size: int
) -> Dict[str, Any]:
    """Measure words per second of all ways, in alternation, and the share of the matrix
    peak that our LSTMs reach."""
    dtype = DTYPES[precision]
    lengths = np.random.RandomState(0).randint(SHORTEST, LONGEST + 1, batch_size)
    packing = Packing.from_lengths(lengths.tolist(), torch.device("cpu"))
    rows = int(lengths.sum())
    vectors = torch.randn(rows, bilm.config.projection_dim, device=bilm.device)
    order = [packing.forward.to(bilm.device), packing.backward.to(bilm.device)]
    packed = torch.stack([vectors[each] for each in order]).to(dtype)
    sizes, sizes_there = packing.batch_sizes, torch.tensor(packing.batch_sizes)
    stepped, library = stepped_layers(bilm, dtype), library_lstms(bilm, dtype)
    words = [f"w{number}" for number in range(5000)]
    sentences = [words[length : 2 * length] for length in lengths.tolist()]

    @torch.no_grad()
    def ours() -> torch.Tensor:
        return bilm.contextualize(vectors, lengths.tolist(), dtype=dtype)[0]

    check(ours(), run_stepped(stepped, packed, sizes), order, dtype)
    ways: Dict[str, Callable[[], Any]] = {
        "ours": ours,
        "step by step": lambda: run_stepped(stepped, packed, sizes),
        "nn.LSTM, no clips": lambda: run_library(library, packed, sizes_there),
        "encode": lambda: bilm.encode(sentences, rows + 2 * batch_size, precision),
    }
    seconds: Dict[str, List[float]] = {name: [] for name in (*ways, "peak")}
    left, right = (
        torch.randn(peak_size, peak_size, device=bilm.device).to(dtype) for _ in "ab"
    )
    ways["peak"] = lambda: left @ right
    for way in ways.values():
        clock(way, bilm.device)
    for _ in range(n_rounds):
        for name, way in ways.items():
            seconds[name].append(clock(way, bilm.device))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    peak = 2 * peak_size**3 / medians.pop("peak")
    return {
        "words_per_second": {name: rows / time for name, time in medians.items()},
        "spreads": {name: [min(t), max(t)] for name, t in seconds.items()},
        "peak_tflops": peak / 1e12,
        "share_of_peak": rows * lstm_flop(bilm.config) / medians["ours"] / peak,
    }


def check(
    layers: torch.Tensor,
    top: torch.Tensor,
    order: List[torch.Tensor],
    dtype: torch.dtype,
) -> None:
    """RAISES: ValueError unless both top layers agree."""
    width = top.shape[2]
    parts = (layers[-1, :, :width], layers[-1, :, width:])
    ours = torch.stack([part[rows] for part, rows in zip(parts, order)])
    cosine = torch.cosine_similarity(ours.flatten(), top.float().flatten(), 0)
    least = 0.99999 if dtype == torch.float32 else 0.99
    if not cosine > least:
        raise ValueError(f"Expected one top layer, found a cosine of {cosine:.5f}.")


def clock(way: Callable[[], Any], device: torch.device) -> float:
    """Time a call, including the GPU work that it launches."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    way()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def lstm_flop(config: BiLMConfig) -> float:
    """FLOP per word in the forward pass: four gates from input and state, and the
    projection."""
    return 2.0 * 2 * config.n_layers * 9 * config.dim * config.projection_dim


def step_flop(config: BiLMConfig, negatives: int) -> float:
    """FLOP per word in pretraining: forward and backward pass of the LSTMs and the
    output layer. The character CNN, whose cost depends on word lengths, is left out."""
    softmax = 2.0 * 2 * config.projection_dim * negatives
    return 3 * (lstm_flop(config) + softmax)


def pretraining(
    config: BiLMConfig,
    size: str,
    device: str,
    n_steps: int,
    lanes: int,
    negatives: int,
    n_words: int,
) -> Dict[str, float]:
    """Run pretraining on generated text, without spaCy. Speed is the median of the
    second half of the log."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "train.txt").write_text(generate_text(n_words), encoding="utf8")
        settings = {
            "corpus.train": folder / "train.txt",
            "corpus.tokenizer": "whitespace",
            "vocabulary.min_count": 1,
            "bilm.preset": size,
            "softmax.n_samples": negatives,
            "training.max_steps": n_steps,
            "training.batch_size": lanes,
            "training.eval_frequency": 0,
            "training.log_frequency": max(1, n_steps // 20),
            "training.precision": "bfloat16",
        }
        sections: Dict[str, List[str]] = {}
        for key, value in settings.items():
            section, _, name = key.partition(".")
            shown = json.dumps(value, default=str)
            sections.setdefault(section, []).append(f"{name} = {shown}")
        text = "\n".join(
            f"[{section}]\n" + "\n".join(lines) for section, lines in sections.items()
        )
        (folder / "config.cfg").write_text(text + "\n", encoding="utf8")
        command = [sys.executable, "-m", "spacy_elmo.pretraining"]
        number = "-1" if device == "cpu" else "0"
        arguments = [str(folder / "config.cfg"), str(folder / "out"), "--quiet"]
        subprocess.run([*command, *arguments, "--gpu-id", number], check=True)
        log = (folder / "out" / "log.jsonl").read_text("utf8").splitlines()
    rows = [row for row in map(json.loads, log) if row["type"] == "train"]
    speeds = [row["words_per_second"] for row in rows[len(rows) // 2 :]]
    speed = statistics.median(speeds)
    return {
        "words_per_second": speed,
        "flop_per_word": step_flop(config, negatives),
        "tflops": speed * step_flop(config, negatives) / 1e12,
    }


def generate_text(n_words: int) -> str:
    """Generate words with a Zipf distribution, twenty per line."""
    random = np.random.RandomState(0)
    numbers = np.minimum(random.zipf(ZIPF, n_words), N_TYPES)
    spelling = [f"{number:x}" for number in range(N_TYPES + 1)]
    words = [spelling[number] for number in numbers.tolist()]
    lines = (" ".join(words[n : n + 20]) for n in range(0, n_words, 20))
    return "\n".join(lines) + "\n"


# Other ways to run the same LSTMs, in plain PyTorch


@torch.no_grad()
def step_by_step(layer: ProjectedLSTM, inputs: Tensor, sizes: Sequence[int]) -> Tensor:
    """Run one direction as AllenNLP does: one product of the inputs for all steps, then
    a handful of small operations per step.

    layer (ProjectedLSTM): The LSTM.
    inputs (Tensor): Packed inputs of shape (R, P), in the dtype of the weights.
    sizes (Sequence[int]): Batch size of each step.
    RETURNS (Tensor): Packed outputs of shape (R, P).
    """
    if layer.weight_hr is None:
        raise ValueError("Expected an LSTM with a projection.")
    products = nn.functional.linear(inputs, layer.weight_ih, layer.bias)
    hidden = inputs.new_zeros(sizes[0], layer.weight_hh.shape[1])
    cell = inputs.new_zeros(sizes[0], layer.dim)
    outputs = []
    for rows in products.split(list(sizes)):
        hidden, cell = hidden[: len(rows)], cell[: len(rows)]
        gates = rows + nn.functional.linear(hidden, layer.weight_hh)
        i, f, g, o = gates.chunk(4, dim=1)
        i, f, g = torch.sigmoid(i), torch.sigmoid(f + layer.forget_bias), torch.tanh(g)
        cell = i * g + f * cell
        if layer.clips.cell is not None:
            cell = cell.clamp(-layer.clips.cell, layer.clips.cell)
        hidden = nn.functional.linear(
            torch.sigmoid(o) * torch.tanh(cell), layer.weight_hr
        )
        if layer.clips.projection is not None:
            hidden = hidden.clamp(-layer.clips.projection, layer.clips.projection)
        outputs.append(hidden)
    return torch.cat(outputs)


def stepped_layers(bilm: BiLM, dtype: torch.dtype) -> List[List[ProjectedLSTM]]:
    """Copy the biLM's LSTMs, with weights in this dtype."""
    pairs = bilm.layer_pairs
    return [[copy_of(layer, bilm).to(dtype) for layer in pair] for pair in pairs]


def copy_of(layer: ProjectedLSTM, bilm: BiLM) -> ProjectedLSTM:
    made = ProjectedLSTM(bilm.config).to(bilm.device)
    made.load_state_dict(layer.state_dict())
    return made


def library_lstms(bilm: BiLM, dtype: torch.dtype) -> List[List[nn.LSTM]]:
    """Create torch.nn.LSTM of the same sizes (cuDNN's on a GPU), which has no clips."""
    config = bilm.config
    width = config.projection_dim
    return [
        [
            nn.LSTM(width, config.dim, proj_size=width).to(bilm.device, dtype)
            for _ in range(2)
        ]
        for _ in range(config.n_layers)
    ]


@torch.no_grad()
def run_library(lstms: List[List[nn.LSTM]], inputs: Tensor, sizes: Tensor) -> Tensor:
    """Run all layers of torch.nn.LSTM.

    lstms (List[List[nn.LSTM]]): Two directions per layer.
    inputs (Tensor): Packed inputs of both directions, of shape (2, R, P).
    sizes (Tensor): Batch size of each step, on the CPU.
    RETURNS (Tensor): The top layer, of shape (2, R, P).
    """
    for number, pair in enumerate(lstms):
        outputs = torch.stack(
            [
                lstm(PackedSequence(rows, sizes))[0].data
                for lstm, rows in zip(pair, inputs)
            ]
        )
        inputs = outputs + inputs if number else outputs
    return inputs


def run_stepped(
    layers: List[List[ProjectedLSTM]], inputs: Tensor, sizes: Sequence[int]
) -> Tensor:
    """Run all layers step by step; like `run_library`."""
    for number, pair in enumerate(layers):
        outputs = torch.stack(
            [step_by_step(layer, rows, sizes) for layer, rows in zip(pair, inputs)]
        )
        inputs = outputs + inputs if number else outputs
    return inputs


if __name__ == "__main__":
    typer.run(main)
