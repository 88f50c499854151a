"""python -m spacy elmo evaluate."""

import sys
import tempfile
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, List, Optional

import typer
from wasabi import msg

from ._util import (
    TEXT_HELP,
    GPUOption,
    SentencesOption,
    TextFieldOption,
    TokenizerOption,
    check_not_input,
    choose_tokenization,
    command,
    read_text,
)

if TYPE_CHECKING:
    from ..pretraining.distributed import Group
    from ..pretraining.output.model_folder import PretrainedModel
    from ..scoring.perplexity import Perplexities
    from ..text.tokenization import Tokenization


class Context(str, Enum):
    text = "text"
    sentence = "sentence"


def evaluate_cli(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="model-best or model-last of a run"),
    ],
    text: Annotated[List[str], typer.Argument(metavar="TEXT", help=TEXT_HELP)],
    tokenizer: TokenizerOption = None,
    sentences: SentencesOption = None,
    text_field: TextFieldOption = "text",
    output: Annotated[
        Optional[Path], typer.Option("--output", "-o", help="Output JSON file")
    ] = None,
    context: Annotated[
        Context,
        typer.Option(
            "--context",
            "-c",
            help="text: state carries over between sentences, as in training. "
            "sentence: each sentence is scored by itself, as by Scorer and elmo pairs",
        ),
    ] = Context.text,
    n_process: Annotated[
        int, typer.Option("--n-process", "-n", help="Number of tokenizer processes")
    ] = 1,
    gpu_id: GPUOption = -1,
) -> None:
    """
    Compute the perplexity of a text.

    Prints the forward, backward and mean perplexity over the whole vocabulary, and the
    share of words outside of it.
    """
    from ..bilm.device import select_device
    from ..files import write_json
    from ..pretraining.distributed import Group
    from ..pretraining.output.model_folder import read_model

    with command():
        check_not_input(output, text)
        trained = read_model(model)
        group = Group(0, 1, select_device(gpu_id))
        trained.model.to(group.device)
        tokenization = choose_tokenization(
            [str(model)], tokenizer, sentences, text_field
        )
        if context is Context.sentence:
            result = _score_sentences(trained, text, tokenization)
        else:
            result = _evaluate_text(trained, text, tokenization, group, n_process)
        n_vocabulary = len(trained.vocabulary)
        if output is not None:
            write_json(output, {**result.to_json(), "n_vocabulary": n_vocabulary})
        msg.divider(f"{model}")
        msg.table(
            [
                ("forward perplexity", f"{result.forward:,.2f}"),
                ("backward perplexity", f"{result.backward:,.2f}"),
                ("mean perplexity", f"{result.mean:,.2f}"),
                ("words", f"{result.n_words:,}"),
                ("vocabulary", f"{n_vocabulary:,} words"),
                ("out of vocabulary", f"{result.oov_rate:.2%} of the words"),
            ]
        )


def _evaluate_text(
    trained: "PretrainedModel",
    text: List[str],
    tokenization: "Tokenization",
    group: "Group",
    n_process: int,
) -> "Perplexities":
    from ..pretraining.data.corpus import load_text
    from ..pretraining.evaluation import evaluate
    from ..pretraining.sections import CorpusSettings

    settings = CorpusSettings.from_dict(
        {
            "train": text,
            "n_process": n_process,
            "text_field": tokenization.text_field,
            **tokenization.to_json(),
        }
    )
    with tempfile.TemporaryDirectory() as cache:
        loaded_text = load_text(
            text,
            settings,
            Path(cache),
            trained.model.bilm.characters,
            name="text",
            show=sys.stderr.isatty(),
        )
        result = evaluate(
            trained.model,
            loaded_text.shards,
            loaded_text.table,
            trained.vocabulary,
            group=group,
        )
        del loaded_text  # unmap its files, which are about to be removed
    return result


def _score_sentences(
    trained: "PretrainedModel", text: List[str], tokenization: "Tokenization"
) -> "Perplexities":
    from ..scoring.scorer import Scorer, perplexity

    model = trained.model
    scorer = Scorer(model.bilm, model.softmax, trained.vocabulary.words)
    with read_text(text, tokenization) as stream:
        return perplexity(scorer.log_probs_stream(stream))
