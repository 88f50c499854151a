"""python -m spacy elmo pairs."""

from pathlib import Path
from typing import Annotated, Optional

import typer
from wasabi import msg

from ._util import (
    BatchTokensOption,
    GPUOption,
    Precision,
    PrecisionOption,
    TokenizerOption,
    check_not_input,
    choose_tokenization,
    command,
    progress_bar,
)


def pairs_cli(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="model-best or model-last of a training"),
    ],
    pairs: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="JSON lines, one pair of sentences per line, compressed or not",
        ),
    ],
    good: Annotated[
        str, typer.Option("--good", help="Key of the acceptable sentence")
    ] = "sentence_good",
    bad: Annotated[
        str, typer.Option("--bad", help="Key of the unacceptable sentence")
    ] = "sentence_bad",
    group: Annotated[
        str, typer.Option("--group", help="Key of the phenomenon, for a row of its own")
    ] = "UID",
    output: Annotated[
        Optional[Path], typer.Option("--output", "-o", help="Output JSON file")
    ] = None,
    tokenizer: TokenizerOption = None,
    precision: PrecisionOption = Precision.float32,
    batch_tokens: BatchTokensOption = 4096,
    gpu_id: GPUOption = -1,
) -> None:
    """
    Test which sentence of a minimal pair is more probable, as in BLiMP: accuracy by the
    forward model, the backward model, and the sum of both. Ties count as wrong.
    """
    from ..bilm.device import select_device
    from ..files import write_json
    from ..scoring.minimal_pairs import DIRECTIONS, read_pairs, score_pairs, table_rows
    from ..scoring.scorer import Scorer

    with command():
        check_not_input(output, [str(pairs)])
        scorer = Scorer.load(model)
        scorer.to(select_device(gpu_id))
        tokenization = choose_tokenization([str(model)], tokenizer, "lines")
        tokenizer_of_lines = tokenization.make_tokenizer()
        with progress_bar(" pairs") as progress:
            results = score_pairs(
                scorer,
                read_pairs(pairs, good=good, bad=bad, group=group),
                lambda texts: tokenizer_of_lines(texts).sentences(),
                progress=progress,
                batch_tokens=batch_tokens,
                precision=precision.value,
            )
        if not results.overall.n_pairs:
            raise ValueError(f"{pairs}: expected pairs of sentences, found none.")
        if output is not None:
            write_json(output, results.to_json())
        msg.divider(f"{model}")
        msg.table(
            table_rows(results),
            header=("group", "pairs", *DIRECTIONS, "ties"),
            aligns=("l", *"rrrrr"),
            divider=True,
        )
