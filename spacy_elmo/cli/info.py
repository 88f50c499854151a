"""python -m spacy elmo info: what a biLM, or a pipeline with one, is made of."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Dict, List, Tuple

import typer
from wasabi import msg

from ._util import errors_as_messages, split_pair

if TYPE_CHECKING:
    from spacy.language import Language

    from ..bilm import BiLM

Row = Tuple[str, Any]


def info_cli(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Weights (folder, zip, OPTIONS.json,WEIGHTS.hdf5), or a spaCy "
            "pipeline (folder or installed package)",
        ),
    ],
) -> None:
    """
    Print the sizes, options and format of a biLM; for a trained pipeline also the mix
    (s and gamma) that each head has learned.
    """
    from spacy.util import is_package

    with errors_as_messages():
        is_pipeline = (Path(model) / "meta.json").is_file() and (
            Path(model) / "config.cfg"
        ).is_file()
        if is_pipeline or (not Path(model).exists() and is_package(model)):
            _print_pipeline(_load(model, is_pipeline))
            return
        _print_weights(split_pair(model))


def _load(model: str, is_folder: bool) -> "Language":
    """A pipeline.

    Raises ValueError for an installed package that is none, and where a package that
    the pipeline needs is not installed.
    """
    from spacy.util import load_model

    from ..text.tokenizers import is_unrelated_package

    if not is_folder and is_unrelated_package(model):
        raise ValueError(
            f"{model}: expected weights, or a spaCy pipeline (a folder or an installed "
            "package), found what is installed but no pipeline's module, as "
            "en_core_web_sm is. Name a path or another package."
        )
    try:
        # As a Path: spaCy takes a string for a package of that name, if there is one.
        return load_model(Path(model) if is_folder else model)
    except ImportError as error:
        raise ValueError(
            f"{model}: expected a pipeline whose packages are installed, found one "
            f"that lacks one: {error}"
        ) from error


def _print_weights(paths: List[str]) -> None:
    from ..formats import load_bilm, published, recognise

    if len(paths) == 2:
        name, by = published.NAME, "two paths given"
    else:
        name, by = recognise(paths[0])
    msg.divider(", ".join(paths))
    msg.table([("format", name), ("recognised by", by), *describe(load_bilm(*paths))])


def _print_pipeline(nlp: "Language") -> None:
    from ..layers.mix import learned_mix

    for name, bilm in _bilms(nlp):
        msg.divider(f"biLM of {name!r}")
        msg.table(describe(bilm))
    rows = []
    for name, mix in _mixes(nlp):
        settings = mix.attrs["settings"]
        kind = settings.mix if isinstance(settings.mix, str) else "given"
        try:
            weights, gamma = learned_mix(mix)
        except ValueError:
            rows.append((name, kind, "not initialised", ""))
            continue
        shown = "  ".join(f"{weight:.4f}" for weight in weights)
        rows.append((name, kind, shown, f"{gamma:.4f}"))
    if rows:
        msg.divider("Mix of the layers in each head")
        msg.table(
            rows,
            header=("component", "mix", "s (layer 0, 1, ...)", "gamma"),
            divider=True,
        )
    else:
        msg.info("No component of this pipeline mixes the layers of a biLM.")


def describe(bilm: "BiLM") -> List[Row]:
    """Sizes and options as rows of a table."""
    from ..bilm.backends.cpu.lstm import describe

    config = bilm.config
    parts: Dict[str, int] = {"characters": 0, "LSTMs": 0}
    for name, parameter in bilm.named_parameters():
        part = "characters" if name.startswith("character_encoder") else "LSTMs"
        parts[part] += parameter.numel()
    split = ", ".join(f"{name} {number:,}" for name, number in parts.items())
    filters = " ".join(f"{width}:{number}" for width, number in config.filters)
    return [
        ("parameters", f"{bilm.n_parameters:,} ({split})"),
        ("layers", f"{config.n_layers} + 1, each {config.width} wide"),
        ("LSTM", f"{config.dim}, projected to {config.projection_dim}"),
        ("its steps, on a CPU", describe(config.dim, config.projection_dim)),
        ("clips", f"cell {config.cell_clip}, projection {config.proj_clip}"),
        ("skip connections", config.use_skip_connections),
        ("characters", f"{config.characters}, {config.n_characters} ids"),
        ("a word", f"at most {config.max_characters_per_token} ids"),
        ("character width", config.char_dim),
        ("filters", f"{filters} ({config.n_filters}), {config.activation}"),
        ("highways", config.n_highway),
        ("word embedding", f"{config.n_words} x {config.word_dim}"),
    ]


def _bilms(nlp: "Language") -> List[Tuple[str, "BiLM"]]:
    return [
        (name, node.shims[0].bilm)
        for name, node in _nodes(nlp)
        if node.name == "bilm" and node.shims[0].bilm is not None
    ]


def _mixes(nlp: "Language") -> List[Tuple[str, Any]]:
    return [(name, node) for name, node in _nodes(nlp) if node.name == "elmo_mix"]


def _nodes(nlp: "Language") -> List[Tuple[str, Any]]:
    from thinc.api import Model

    nodes = []
    for name, pipe in nlp.components:
        model = getattr(pipe, "model", None)
        if isinstance(model, Model):
            nodes += [(name, node) for node in model.walk()]
    return nodes
