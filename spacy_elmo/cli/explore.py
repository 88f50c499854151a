"""python -m spacy elmo explore."""

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, List, Optional, Tuple

import typer
from wasabi import msg

from ._util import (
    TEXT_HELP,
    WEIGHTS_HELP,
    GPUOption,
    SentencesOption,
    TextFieldOption,
    TokenizerOption,
    choose_tokenization,
    command,
    load_pipeline,
    read_text,
    weights_paths,
)

if TYPE_CHECKING:
    from spacy.language import Language

    from ..text.tokenization import Tokenization
    from ..visual.explore.explorer import Model

EXTRA = (
    "expected FastAPI and uvicorn, found no package {}. Install them: "
    "pip install 'spacy-elmo[explore]'."
)
SHIPPED_WEIGHTS = "the English weights that ship with spacy-elmo"
NO_OUTPUT_LAYER = (
    "surprisal needs an output layer, found none in {}. Choose a model-best that elmo "
    "pretrain wrote, with --model."
)
NO_SCORES = (
    "surprisal needs an elmo component with score = true, found none in {}. Choose "
    "another pipeline, or a model-best that elmo pretrain wrote, with --model."
)
NO_PIPELINE = (
    "expected a trained pipeline, found weights: {}. Choose a pipeline, a folder or a "
    "package, with --model."
)


def explore_cli(
    text: Annotated[
        Optional[List[str]],
        typer.Argument(
            metavar="TEXT",
            help=f"{TEXT_HELP}. Default: short sentences with ambiguous words",
        ),
    ] = None,
    model: Annotated[
        Optional[str],
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help=f"{WEIGHTS_HELP}. Or a spaCy pipeline: a folder or a package name. "
            "Default: the English weights that ship with spacy-elmo",
        ),
    ] = None,
    tokenizer: TokenizerOption = None,
    sentences: SentencesOption = None,
    text_field: TextFieldOption = "text",
    max_words: Annotated[
        int, typer.Option("--max-words", help="Maximum words of TEXT to keep in memory")
    ] = 1_000_000,
    host: Annotated[
        str,
        typer.Option("--host", help="Address to serve; 0.0.0.0 for other machines too"),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", help="Port to serve; 0 for any that is free")
    ] = 8000,
    gpu_id: GPUOption = -1,
) -> None:
    """
    Explore a model in the browser.

    Serves pages on localhost that show the surprisal of words, compare a word in two
    sentences, and find the senses and neighbors of a word in a text. For a trained
    pipeline, they also show the mixes that its heads have learned.
    """
    with command():
        _check_extra()
        from ..bilm.device import select_device
        from ..visual.explore import server
        from ..visual.explore.app import create_app
        from ..visual.explore.corpus import SHIPPED, Corpus
        from ..visual.explore.explorer import Explorer

        # Before anything slow is loaded, because the port may be in use.
        with server.listen(host, port) as listener:
            loaded, tokenization, nlp = _load(model, tokenizer, sentences, text_field)
            tokenize = tokenization.make_tokenizer(nlp)
            (loaded.scorer or loaded.bilm).to(select_device(gpu_id))
            with read_text(text or [str(SHIPPED)], tokenization, tokenize) as stream:
                name = " ".join(text) if text else "ambiguous words"
                corpus = Corpus(stream, name, max_words, is_shipped=not text)
            explorer = Explorer(loaded, corpus, tokenize)
            app = create_app(explorer, server.host_names(host))
            msg.good(f"Serving on {server.address_of(listener)}")
            msg.text("Press Ctrl+C to stop")
            sys.stdout.flush()  # before it runs for hours, if this is a pipe
            server.serve(app, listener)


def _check_extra() -> None:
    """RAISES: ValueError if the packages of the extra are not installed."""
    for package in ("fastapi", "uvicorn"):
        if find_spec(package) is None:
            raise ValueError(EXTRA.format(package))


def _load(
    model: Optional[str],
    tokenizer: Optional[str],
    sentences: Optional[str],
    text_field: str,
) -> Tuple["Model", "Tokenization", Optional["Language"]]:
    """Load weights or a pipeline, and choose how text is tokenized. The pipeline is
    returned if it is the tokenizer."""
    from ..text.tokenization import Tokenization

    nlp = None if model is None else load_pipeline(model)
    if nlp is None or model is None:
        paths = weights_paths(model)
        loaded = _load_weights(paths, ",".join(paths) if model else SHIPPED_WEIGHTS)
        return (
            loaded,
            choose_tokenization(paths, tokenizer, sentences, text_field),
            None,
        )
    tokenization = Tokenization(
        tokenizer or model, sentences or "lines", text_field=text_field
    )
    return _from_pipeline(model, nlp), tokenization, None if tokenizer else nlp


def _load_weights(paths: List[str], name: str) -> "Model":
    """Load weights, with their output layer if they have one.

    name (str): Name to show.
    """
    from ..formats import load_bilm
    from ..formats.output_layer import has_output_layer
    from ..scoring.scorer import Scorer
    from ..text.tokenization import weights_folder
    from ..visual.explore.explorer import Model

    no_mixes = NO_PIPELINE.format(name)
    if has_output_layer(weights_folder(paths[0])):
        scorer = Scorer.load(paths[0])
        return Model(name, scorer.bilm, scorer, no_mixes=no_mixes)
    no_scorer = NO_OUTPUT_LAYER.format(name)
    return Model(name, load_bilm(*paths), no_scorer=no_scorer, no_mixes=no_mixes)


def _from_pipeline(name: str, nlp: "Language") -> "Model":
    """The biLM of a pipeline, with its output layer if there is one, and the mixes of
    the heads.

    RAISES: ValueError if the pipeline has no biLM.
    """
    from ..pipeline.elmo import Elmo
    from ..pipeline.head_mixes import find_bilms, find_mixes
    from ..visual.explore.explorer import Model

    bilms = [bilm for _, bilm in find_bilms(nlp)]
    if not bilms:
        raise ValueError(
            f"{name}: expected a pipeline with a biLM, found "
            f"{', '.join(nlp.component_names) or 'no components'}."
        )
    mixes = find_mixes(nlp)
    no_mixes = "" if mixes else f"no component of {name} mixes layers."
    elmos = [pipe for _, pipe in nlp.components if isinstance(pipe, Elmo)]
    scorer = elmos[0].scorer if elmos else None
    bilm = bilms[0] if scorer is None else scorer.bilm
    return Model(name, bilm, scorer, NO_SCORES.format(name), mixes, no_mixes)
