"""Compare the compiled LSTM kernels with PyTorch's operations: one layer in both
directions."""

import time
from pathlib import Path
from typing import Annotated, Any, Callable, Dict, List, cast

import torch
import typer
from measuring import our_versions, summarize, summarize_all, write_results
from torch import Tensor
from wasabi import msg

from spacy_elmo.bilm import BiLMConfig
from spacy_elmo.bilm.backends import CPUBackend, LSTMState, TorchBackend
from spacy_elmo.bilm.backends import cpu as kernels
from spacy_elmo.bilm.lstm import ProjectedLSTM

CPU = torch.device("cpu")
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def main(
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    sizes: Annotated[
        List[str], typer.Argument(help="Sizes of the LSTM: DIM/PROJECTION_DIM")
    ],
    n_sequences: int = 32,
    n_steps: int = 20,
    n_rounds: int = 7,
    threads: int = 2,
) -> None:
    """Time a pass over packed sequences of equal length, without and with gradients."""
    absent = kernels.why_absent()
    if absent:
        msg.fail(f"Nothing to compare: no kernels here, {absent}.", exits=1)
    torch.set_num_threads(threads)
    found: Dict[str, Any] = {}
    for size in sizes:
        passes = make_passes(size, n_sequences, n_steps)
        check_agreement(size, {name: one() for name, one in passes.items()})
        rounds = [
            {name: seconds(one) for name, one in passes.items()}
            for _ in range(n_rounds)
        ]
        found[size] = {"seconds": summarize_all(rounds), "gains": gains(rounds)}
        told = {
            name: round(one["median"], 2) for name, one in found[size]["gains"].items()
        }
        msg.info(f"{size}: speedup by kernels: {told}")
    write_results(
        target,
        our_versions(),
        threads,
        n_rounds=n_rounds,
        n_sequences=n_sequences,
        n_steps=n_steps,
        instructions=getattr(kernels.selected(), "name", None),
        sizes=found,
    )


def make_passes(
    size: str, n_sequences: int, n_steps: int
) -> Dict[str, Callable[[], Tensor]]:
    """Create the passes, by "pass precision way". Each returns its output, or the
    gradient of its inputs."""
    dim, width = map(int, size.split("/"))
    torch.manual_seed(0)
    layers = [
        ProjectedLSTM(BiLMConfig(dim=dim, projection_dim=width)) for _ in range(2)
    ]
    inputs = torch.randn(2, n_steps * n_sequences, width)
    state = LSTMState(
        torch.zeros(2, n_sequences, width), torch.zeros(2, n_sequences, dim)
    )
    clips = layers[0].clips
    steps = [n_sequences] * n_steps
    passes: Dict[str, Callable[[], Tensor]] = {}
    for precision, dtype in PRECISIONS.items():
        backends = {
            "kernels": CPUBackend(dtype),
            "operations": TorchBackend(CPU, dtype),
        }
        for way, backend in backends.items():
            run = backend.prepare_lstm([each.weights() for each in layers], clips)

            @torch.no_grad()
            def encode(run: Any = run) -> Tensor:
                return cast(Tensor, run(inputs, steps, state)[0])

            def train(backend: Any = backend) -> Tensor:
                given = inputs.clone().requires_grad_()
                weights = [each.weights() for each in layers]
                outputs, _ = backend.lstm(given, steps, state, weights, clips)
                for layer in layers:
                    layer.zero_grad()
                outputs.sum().backward()
                return cast(Tensor, given.grad)

            passes[f"encode {precision} {way}"] = encode
            passes[f"train {precision} {way}"] = train
    return passes


def check_agreement(size: str, found: Dict[str, Tensor]) -> None:
    """RAISES: ValueError if the kernels and the operations disagree."""
    for name, numbers in found.items():
        other = found[name.replace("kernels", "operations")]
        error = float((numbers - other).norm() / other.norm())
        most = 1e-4 if "float32" in name else 5e-2
        if not error < most:
            raise ValueError(
                f"{size}, {name}: expected the numbers of PyTorch's operations within "
                f"{most:.0e}, found a relative error of {error:.1e}."
            )


def seconds(run: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def gains(rounds: List[Dict[str, float]]) -> Dict[str, Any]:
    """Speedup by the kernels, computed within each round, by "pass precision". About 1
    if they leave the work to PyTorch's operations."""
    return {
        f"{kind} {precision}": summarize(
            [
                one[f"{kind} {precision} operations"]
                / one[f"{kind} {precision} kernels"]
                for one in rounds
            ]
        )
        for kind in ("encode", "train")
        for precision in PRECISIONS
    }


if __name__ == "__main__":
    typer.run(main)
