"""python -m spacy elmo convert: from one weight format to another."""

from enum import Enum
from pathlib import Path
from typing import Annotated, List, Optional, Tuple

import typer
from wasabi import msg

from ._text import known_tokenization
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
    (safetensors) or the published pair. A folder of our own keeps how the training
    text was tokenised.
    """
    from ..formats import load_bilm, published, save_bilm
    from ..text.tokenization import weights_folder, write_tokenization

    with errors_as_messages():
        written, folder = _targets(target, to)
        is_published = len(written) == 2
        if is_published and dtype is not DType.float32:
            raise ValueError(
                f"--dtype: expected float32, which is what the published format holds, "
                f"found {dtype.value}."
            )
        for path in written:
            if not force and path.exists() and not (path.is_dir() and _is_empty(path)):
                raise FileExistsError(
                    f"{path}: expected a path that is free, found something there. "
                    "Name another, or write over it with --force."
                )
        paths = split_pair(source)
        bilm = load_bilm(*paths)
        if folder is None:
            published.write(bilm, *written)
        else:
            known = known_tokenization(paths)
            save_bilm(bilm, folder, format=to.value, dtype=dtype.value)
            in_place = folder.resolve() == weights_folder(paths[0]).resolve()
            # In place, what pretraining wrote stays true, and `evaluate` needs it.
            if not is_published and not in_place:
                write_tokenization(folder, known)
    msg.good(f"Converted {source}", ", ".join(map(str, written)))


def _targets(target: str, to: Format) -> Tuple[List[Path], Optional[Path]]:
    """What is to be written, the published pair or a folder of ours; and the folder,
    None where the pair's own paths are given.

    Raises ValueError for a pair that is one path twice.
    """
    from ..formats import options, published

    paths = [Path(part) for part in split_pair(target)]
    if len(paths) == 1:
        folder = paths[0]
        if to is Format.hdf5:
            paths = [folder / options.FILE_NAME, folder / published.WEIGHTS]
        return paths, folder
    if paths[0].resolve() == paths[1].resolve():
        raise ValueError(
            f"{target}: expected two paths (options.json,weights.hdf5), found the same "
            "one twice. Name another file for one of them."
        )
    return paths, None


def _is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())
