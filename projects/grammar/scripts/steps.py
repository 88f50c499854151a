"""Score the checkpoints of a training."""

from pathlib import Path
from typing import Annotated, Any, Dict, List

import srsly
import typer
from pairs import load_scorer, score
from safetensors.torch import load_file
from wasabi import msg

from spacy_elmo.files import write_json
from spacy_elmo.pretraining.output.checkpoints import TENSORS
from spacy_elmo.scoring.minimal_pairs import DIRECTIONS
from spacy_elmo.scoring.scorer import Scorer


def main(
    run: Annotated[Path, typer.Argument(help="Output folder of the training")],
    pairs: Annotated[Path, typer.Argument(help="JSON lines, from blimp.py")],
    output: Annotated[Path, typer.Argument(help="JSON to write or continue")],
    n_pairs: Annotated[int, typer.Option("--pairs", help="Pairs per paradigm")] = 1000,
    gpu_id: Annotated[int, typer.Option(help="GPU ID or -1 for CPU")] = -1,
) -> None:
    """Score each checkpoint that OUTPUT does not contain yet. The sizes and the
    vocabulary are those of the training's model-best."""
    results: List[Dict[str, Any]] = srsly.read_json(output) if output.exists() else []
    scored = {(result["step"], result["n_pairs"]) for result in results}
    folder = run / "model-best"
    scorer = load_scorer(folder, gpu_id)
    checkpoints = sorted((run / "checkpoints").glob("step-*[0-9]"))
    if not checkpoints:
        msg.fail(f"{run}: expected checkpoints of a training, found none", exits=1)
    for checkpoint in checkpoints:
        step = int(checkpoint.name.rpartition("-")[2])
        if (step, n_pairs) in scored:
            continue
        load_checkpoint(scorer, checkpoint)
        overall = score(scorer, folder, pairs, n_pairs)["overall"]
        accuracy = overall["accuracy"]
        results.append({"step": step, "n_pairs": n_pairs, "accuracy": accuracy})
        results.sort(key=lambda result: result["step"])
        write_json(output, results)
    msg.table(
        [
            (f"{r['step']:,}", *(f"{100 * r['accuracy'][d]:.1f}" for d in DIRECTIONS))
            for r in results
            if r["n_pairs"] == n_pairs
        ],
        header=("step", *DIRECTIONS),
        aligns=tuple("rrrr"),
        divider=True,
    )


def load_checkpoint(scorer: Scorer, checkpoint: Path) -> None:
    """Load the weights of a checkpoint: their moving average, if it has one, as
    model-best has."""
    tensors = load_file(checkpoint / TENSORS)
    has_average = any(name.startswith("average.") for name in tensors)
    for name, module in (("bilm", scorer.bilm), ("softmax", scorer.output_layer)):
        prefix = f"{'average' if has_average else 'model'}.{name}."
        module.load_state_dict(
            {
                key.removeprefix(prefix): tensor
                for key, tensor in tensors.items()
                if key.startswith(prefix)
            }
        )


if __name__ == "__main__":
    typer.run(main)
