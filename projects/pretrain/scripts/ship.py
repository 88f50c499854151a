"""Round a trained biLM to float16 for shipping, and write its sizes and the
perplexities of the rounded weights as JSON."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any, Dict, List

import typer
from wasabi import msg

from spacy_elmo import load_bilm, save_bilm
from spacy_elmo.files import write_json

TOKENIZED = ["--tokenizer", "whitespace", "--sentences", "lines"]
"""Options for texts that are tokenized already: WikiText's, by their suffix."""


def main(
    run: Annotated[Path, typer.Argument(help="Output folder of the pretraining")],
    weights: Annotated[Path, typer.Argument(help="Folder for the rounded weights")],
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    texts: Annotated[List[Path], typer.Argument(help="Held-out texts")],
) -> None:
    model = run / "model-last"
    save_bilm(load_bilm(model), weights, dtype="float16")
    with tempfile.TemporaryDirectory() as folder:
        rounded = Path(folder) / "model"
        shutil.copytree(model, rounded)
        for path in weights.glob("*.safetensors"):
            shutil.copy(path, rounded)
        perplexities = {text.name: evaluate(rounded, text) for text in texts}
    write_json(
        target,
        {
            "weights": {
                "bytes": (weights / "model.safetensors").stat().st_size,
                "options": json.loads((weights / "options.json").read_text("utf8")),
            },
            "perplexities": perplexities,
        },
    )
    msg.good(str(target))


def evaluate(model: Path, text: Path) -> Dict[str, Any]:
    """Get the figures of `elmo evaluate`."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "figures.json"
        command = ["-m", "spacy", "elmo", "evaluate", str(model), str(text)]
        command += ["--output", str(output)]
        command += TOKENIZED if ".tokens" in text.suffixes else []
        subprocess.run([sys.executable, *command], check=True)
        return dict(json.loads(output.read_text("utf8")))


if __name__ == "__main__":
    typer.run(main)
