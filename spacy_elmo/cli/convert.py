"""python -m spacy elmo convert."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, List, Optional, Tuple

import typer
from wasabi import msg

from ._util import WEIGHTS_HELP, ForceOption, command, load_pipeline, split_pair

if TYPE_CHECKING:
    from ..bilm import BiLM


class Format(str, Enum):
    safetensors = "safetensors"
    hdf5 = "hdf5"


class DType(str, Enum):
    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


def convert_cli(
    source: Annotated[str, typer.Argument(metavar="IN", help=WEIGHTS_HELP)],
    target: Annotated[
        str,
        typer.Argument(
            metavar="OUT", help="Output folder, or OPTIONS.json,WEIGHTS.hdf5"
        ),
    ],
    to: Annotated[
        Format, typer.Option("--to", "-t", help="Format of the output folder")
    ] = Format.safetensors,
    dtype: Annotated[
        DType, typer.Option("--dtype", "-d", help="Data type of safetensors weights")
    ] = DType.float32,
    output_layer: Annotated[
        bool,
        typer.Option(
            "--output-layer",
            "-o",
            help="Also convert the output layer, which gives words their "
            "probabilities. Stored in float16 unless --dtype is float32",
        ),
    ] = False,
    force: ForceOption = False,
) -> None:
    """
    Convert weights between formats.

    Reads HDF5 weights as published (bilm-tf, AllenNLP), NLPL archives, ELMoForManyLangs
    folders, spacy-elmo's own folders, and spaCy pipelines with a biLM.
    Writes spacy-elmo's own format (safetensors) or HDF5 with options.json. A folder in
    spacy-elmo's format also stores how the training text was tokenized, if known.
    Writing HDF5 needs h5py: pip install 'spacy-elmo[hdf5]'.
    """
    from ..formats import load_bilm, published
    from ..formats.output_layer import check_output_layer
    from ..text.tokenization import weights_folder

    with command():
        outputs, folder = _output_paths(target, to)
        paths = split_pair(source)
        if len(outputs) == 2:
            _check_published(target, dtype, output_layer)
        _check_free(outputs, force)
        if output_layer:
            check_output_layer(weights_folder(paths[0]))
        bilm = _bilm_of_pipeline(source) or load_bilm(*paths)
        if folder is None:
            published.write(bilm, *outputs)
        elif output_layer:
            _write_language_model(bilm, paths[0], folder, dtype)
        else:
            _write_weights(bilm, paths[0], folder, to, dtype)
        msg.good(f"Converted {source}", ", ".join(map(str, outputs)))


def _check_published(target: str, dtype: DType, output_layer: bool) -> None:
    """RAISES: ValueError if the published format cannot store what is wanted."""
    if dtype is not DType.float32:
        raise ValueError(
            "--dtype: expected float32, the only one that the published format has, "
            f"found {dtype.value}."
        )
    if output_layer:
        raise ValueError(
            "--output-layer: expected an output folder in spacy-elmo's own format, "
            f"found {target}. The published format has no output layer."
        )


def _check_free(outputs: List[Path], force: bool) -> None:
    """RAISES: FileExistsError if a file would be overwritten without `force`."""
    for path in outputs:
        is_empty_folder = path.is_dir() and not any(path.iterdir())
        if path.exists() and not is_empty_folder and not force:
            raise FileExistsError(
                f"{path}: expected a new path, found one that exists. Choose "
                "another, or overwrite it with --force."
            )


def _write_weights(
    bilm: "BiLM", source: str, folder: Path, to: Format, dtype: DType
) -> None:
    """Write the biLM and, in our own format, how its training text was tokenized. The
    output layer of a biLM that is overwritten belonged to other weights."""
    from ..formats import save_bilm
    from ..formats.output_layer import remove_output_layer
    from ..text.tokenization import (
        read_tokenization,
        weights_folder,
        write_tokenization,
    )

    tokenization = read_tokenization(source)
    save_bilm(bilm, folder, format=to.value, dtype=dtype.value)
    # A folder converted in place keeps all that pretraining wrote.
    in_place = folder.resolve() == weights_folder(source).resolve()
    if to is Format.safetensors and not in_place:
        remove_output_layer(folder)
        write_tokenization(folder, tokenization)


def _write_language_model(
    bilm: "BiLM", source: str, folder: Path, dtype: DType
) -> None:
    """Write the biLM, its output layer and the description of its training."""
    import torch

    from ..files import write_json
    from ..formats import save_bilm
    from ..formats.output_layer import META, read_output_layer, write_output_layer
    from ..text.tokenization import weights_folder

    stored = read_output_layer(weights_folder(source), bilm.config.projection_dim)
    output_dtype = torch.float32 if dtype is DType.float32 else torch.float16
    save_bilm(bilm, folder, dtype=dtype.value)
    write_output_layer(folder, stored.softmax, stored.vocabulary, output_dtype)
    write_json(folder / META, stored.meta)


def _bilm_of_pipeline(source: str) -> Optional["BiLM"]:
    """The biLM of a spaCy pipeline, a folder or a package. None if it is neither.

    RAISES: ValueError if the pipeline has none, or several.
    """
    nlp = load_pipeline(source)
    if nlp is None:
        return None
    from ..pipeline.head_mixes import find_bilms

    bilms = dict(find_bilms(nlp))
    if len(bilms) != 1:
        raise ValueError(
            f"{source}: expected a pipeline with one biLM, as an elmo component has, "
            f"found {' and '.join(bilms) or 'none'} among its components "
            f"({', '.join(nlp.component_names)})."
        )
    return bilms.popitem()[1]


def _output_paths(target: str, to: Format) -> Tuple[List[Path], Optional[Path]]:
    """The paths to write, two for the published format, and the folder they are in, or
    None if OUT names two files. RAISES: ValueError if both are the same."""
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
            "path twice. Choose another name for one of them."
        )
    return paths, None
