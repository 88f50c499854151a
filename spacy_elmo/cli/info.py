"""python -m spacy elmo info."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, List, Tuple

import typer
from wasabi import msg

from ._util import WEIGHTS_HELP, command, split_pair

if TYPE_CHECKING:
    from spacy.language import Language

    from ..bilm import BiLM


def info_cli(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help=f"{WEIGHTS_HELP}. Or a spaCy pipeline: a folder or a package name",
        ),
    ],
) -> None:
    """
    Describe weights or a pipeline.

    Prints the format, sizes and options of a biLM and, for a trained pipeline, the
    layer weights (s) and the scale (gamma) that each head has learned.
    """
    from spacy.util import is_package

    with command():
        path = Path(model)
        is_folder = all((path / name).is_file() for name in ("meta.json", "config.cfg"))
        if is_folder or (not path.exists() and is_package(model)):
            _print_pipeline(_load_pipeline(model, is_folder))
        else:
            _print_weights(split_pair(model))


def _load_pipeline(model: str, is_folder: bool) -> "Language":
    """Load a pipeline. RAISES: ValueError if a package it needs is not installed, or if
    the name is that of a package which is not a pipeline."""
    from spacy.util import load_model

    from ..text.tokenizers import is_unrelated_package

    if not is_folder and is_unrelated_package(model):
        raise ValueError(
            f"{model}: expected weights, or a spaCy pipeline (a folder or a package), "
            "found an installed package that is not a pipeline. Give another path or "
            "package."
        )
    try:
        # If this were a string, a package of the same name would win over the folder.
        return load_model(Path(model) if is_folder else model)
    except ImportError as error:
        raise ValueError(
            f"{model}: expected a pipeline whose packages are installed, found one "
            f"that needs a missing package: {error}"
        ) from error


def _print_weights(paths: List[str]) -> None:
    from ..formats import load_bilm, published, recognise

    if len(paths) == 2:
        name, evidence = published.NAME, "two paths"
    else:
        name, evidence = recognise(paths[0])
    bilm = load_bilm(*paths)
    msg.divider(", ".join(paths))
    msg.table([("format", name), ("recognised by", evidence), *describe(bilm)])


def _print_pipeline(nlp: "Language") -> None:
    from thinc.api import Model

    from ..layers.mix import learned_mix

    rows = []
    for name, pipe in nlp.components:
        model = getattr(pipe, "model", None)
        for node in model.walk() if isinstance(model, Model) else ():
            if node.name == "bilm":
                bilm = getattr(node.shims[0], "bilm", None)
                if bilm is not None:
                    msg.divider(f"biLM of {name!r}")
                    msg.table(describe(bilm))
            elif node.name == "elmo_mix":
                mix = node.attrs["settings"].mix
                kind = mix if isinstance(mix, str) else "given"
                try:
                    s, gamma = learned_mix(node)
                except ValueError:
                    rows.append((name, kind, "not initialised", ""))
                    continue
                weights = "  ".join(f"{weight:.4f}" for weight in s)
                rows.append((name, kind, weights, f"{gamma:.4f}"))
    if not rows:
        msg.info("No component of this pipeline mixes the layers of a biLM.")
        return
    header = ("component", "mix", "s (layer 0, 1, ...)", "gamma")
    msg.divider("Mix of layers in each head")
    msg.table(rows, header=header, divider=True)


def describe(bilm: "BiLM") -> List[Tuple[str, Any]]:
    """The sizes and options of a biLM, as rows of a table."""
    config = bilm.config
    n_encoder = sum(p.numel() for p in bilm.character_encoder.parameters())
    filters = " ".join(f"{width}:{number}" for width, number in config.filters)
    return [
        (
            "parameters",
            f"{bilm.n_parameters:,} (characters {n_encoder:,}, "
            f"LSTMs {bilm.n_parameters - n_encoder:,})",
        ),
        ("layers", f"{config.n_layers} + 1, of width {config.width}"),
        ("LSTM", f"{config.dim}, projected to {config.projection_dim}"),
        ("computed by", bilm.backend().name),
        ("clips", f"cell {config.cell_clip}, projection {config.proj_clip}"),
        ("skip connections", config.use_skip_connections),
        ("characters", f"{config.characters}, {config.n_characters} ids"),
        ("longest word", f"{config.max_characters_per_token} ids"),
        ("character width", config.char_dim),
        ("filters", f"{filters} ({config.n_filters}), {config.activation}"),
        ("highways", config.n_highway),
        ("word embedding", f"{config.n_words} x {config.word_dim}"),
    ]
