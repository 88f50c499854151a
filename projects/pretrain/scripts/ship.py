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

from spacy_elmo.files import write_json

TOKENIZED = ["--tokenizer", "whitespace", "--sentences", "lines"]
"""Options for texts that are tokenized already: WikiText's, by their suffix."""


def main(
    run: Annotated[Path, typer.Argument(help="Output folder of the pretraining")],
    weights: Annotated[Path, typer.Argument(help="Folder for the rounded weights")],
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    texts: Annotated[List[Path], typer.Argument(help="Held-out texts")],
    output_layer: Annotated[bool, typer.Option(help="Ship the output layer")] = False,
) -> None:
    model = run / "model-last"
    options = ["--dtype", "float16", "--force"]
    options += ["--output-layer"] if output_layer else []
    elmo("convert", str(model), str(weights), *options)
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
                "bytes_output_layer": (
                    (weights / "softmax.safetensors").stat().st_size
                    if output_layer
                    else 0
                ),
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
        options = TOKENIZED if ".tokens" in text.suffixes else []
        elmo("evaluate", str(model), str(text), "--output", str(output), *options)
        return dict(json.loads(output.read_text("utf8")))


def elmo(*arguments: str) -> None:
    """Run a command of spacy-elmo."""
    subprocess.run([sys.executable, "-m", "spacy", "elmo", *arguments], check=True)


if __name__ == "__main__":
    typer.run(main)
