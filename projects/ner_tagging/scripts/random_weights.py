"""Make random biLM weights, so that the project runs where there are no others."""

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Dict

import typer
from wasabi import msg


class Size(str, Enum):
    tiny = "tiny"
    small = "small"


TINY: Dict[str, Any] = {
    "filters": ((1, 32), (2, 32), (3, 64), (4, 128)),
    "n_highway": 1,
    "dim": 256,
    "projection_dim": 64,
}


def main(
    out: Annotated[
        Path,
        typer.Argument(help='Folder to write; its name must begin with "random".'),
    ],
    size: Annotated[
        Size, typer.Option(help='"small" is a published size, "tiny" is for trials.')
    ] = Size.tiny,
    seed: Annotated[int, typer.Option(help="Seed of the random numbers.")] = 0,
) -> None:
    """Write a biLM with RANDOM weights, unless OUT is there already.

    Random weights know nothing: no text was ever read. They show that everything
    runs, and scores made with them say nothing about ELMo.
    """
    if out.exists():
        msg.info(f"{out} is there already and is left as it is")
        return
    if not out.name.startswith("random"):
        msg.fail(
            f"No weights at {out}",
            "Give the path of trained weights, or, to have random ones made, a path "
            'whose last part begins with "random".',
        )
        raise typer.Exit(1)

    import torch

    from spacy_elmo import BiLM, BiLMConfig, save_bilm

    torch.manual_seed(seed)
    config = BiLMConfig(**TINY) if size is Size.tiny else BiLMConfig.preset(size.value)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_bilm(BiLM(config), out)
    msg.warn(f"{out}: RANDOM weights ({size.value}, seed {seed}): they know nothing")


if __name__ == "__main__":
    typer.run(main)
