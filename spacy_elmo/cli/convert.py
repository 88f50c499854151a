"""python -m spacy elmo convert: from one weight format to another."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from ._util import errors_as_messages, split_pair


class Format(str, Enum):
    safetensors = "safetensors"
    hdf5 = "hdf5"


class DType(str, Enum):
    float32 = "float32"
    float16 = "float16"


def convert_cli(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            help="Weights of any known format: a folder, an NLPL zip, or "
            "OPTIONS.json,WEIGHTS.hdf5",
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="OUT",
            help="Folder to write, or OPTIONS.json,WEIGHTS.hdf5 for the published pair",
        ),
    ],
    to: Annotated[
        Format, typer.Option("--to", "-t", help="Format to write into a folder")
    ] = Format.safetensors,
    dtype: Annotated[
        DType, typer.Option("--dtype", "-d", help="Number format of the safetensors")
    ] = DType.float32,
    force: Annotated[
        bool, typer.Option("--force", "-F", help="Write over what is there")
    ] = False,
) -> None:
    """
    Convert a biLM from one weight format to another.

    Reads the published HDF5 pair (bilm-tf, AllenNLP), NLPL archives,
    ELMoForManyLangs folders and spacy-elmo's own; writes spacy-elmo's own
    (safetensors) or the published pair.
    """
    from ..formats import load_bilm, published, save_bilm

    with errors_as_messages():
        pair = [Path(part) for part in split_pair(target)]
        if len(pair) == 1 and to is Format.hdf5:
            pair = [pair[0] / published.OPTIONS, pair[0] / published.WEIGHTS]
        if len(pair) == 2 and dtype is not DType.float32:
            raise ValueError(
                f"--dtype: expected float32, which is what the published format holds, "
                f"found {dtype.value}."
            )
        for path in pair:
            if not force and path.exists() and not (path.is_dir() and _is_empty(path)):
                raise FileExistsError(
                    f"{path}: expected a path that is free, found something there. "
                    "Name another, or write over it with --force."
                )
        bilm = load_bilm(*split_pair(source))
        if len(pair) == 2:
            published.write(bilm, pair[0], pair[1])
        else:
            save_bilm(bilm, pair[0], dtype=dtype.value)
    msg.good(f"Converted {source}", ", ".join(map(str, pair)))


def _is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())
