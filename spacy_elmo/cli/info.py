"""python -m spacy elmo info."""

from typing import TYPE_CHECKING, Annotated, Any, List, Optional, Tuple

import typer
from wasabi import msg

from ._util import WEIGHTS_HELP, command, load_pipeline, weights_paths

if TYPE_CHECKING:
    from spacy.language import Language

    from ..bilm import BiLM


def info_cli(
    model: Annotated[
        Optional[str],
        typer.Argument(
            metavar="MODEL",
            help=f"{WEIGHTS_HELP}. Or a spaCy pipeline: a folder or a package name. "
            "Default: the English weights that ship with spacy-elmo",
        ),
    ] = None,
) -> None:
    """
    Describe weights or a pipeline.

    Prints the format, sizes and options of a biLM, whether it has an output layer and,
    for a trained pipeline, the layer weights (s) and the scale (gamma) that each head
    has learned.
    """
    with command():
        nlp = None if model is None else load_pipeline(model)
        if nlp is not None:
            _print_pipeline(nlp)
        else:
            _print_weights(weights_paths(model))


def _print_weights(paths: List[str]) -> None:
    from ..formats import load_bilm, published, recognize

    if len(paths) == 2:
        name, evidence = published.NAME, "two paths"
    else:
        name, evidence = recognize(paths[0])
    bilm = load_bilm(*paths)
    msg.divider(", ".join(paths))
    msg.table(
        [
            ("format", name),
            ("recognized by", evidence),
            *describe(bilm),
            ("output layer", _describe_output_layer(paths)),
        ]
    )


def _describe_output_layer(paths: List[str]) -> str:
    """Whether the weights give probabilities of words."""
    from ..formats.output_layer import VOCABULARY, has_output_layer
    from ..text.tokenization import weights_folder
    from ..text.vocabulary import Vocabulary

    folder = weights_folder(paths[0])
    if len(paths) == 2 or not has_output_layer(folder):
        return "none, so no probabilities of words"
    return f"{len(Vocabulary.read(folder / VOCABULARY)):,} words"


def _print_pipeline(nlp: "Language") -> None:
    from ..pipeline.elmo import Elmo
    from ..pipeline.head_mixes import find_bilms, find_mixes

    for name, bilm in find_bilms(nlp):
        msg.divider(f"biLM of {name!r}")
        sizes = describe(bilm)
        component = nlp.get_pipe(name)
        if isinstance(component, Elmo):
            scorer = component.scorer
            n_words = f"{len(scorer.words):,} words" if scorer else "none"
            sizes.append(("output layer", n_words))
        msg.table(sizes)
    rows = []
    for name, kind, weights, gamma in find_mixes(nlp):
        if weights is None:
            rows.append((name, kind, "not initialized", ""))
        else:
            shown = "  ".join(f"{weight:.4f}" for weight in weights)
            rows.append((name, kind, shown, f"{gamma:.4f}"))
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
