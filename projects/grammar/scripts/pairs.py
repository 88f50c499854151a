"""Compare the probabilities of the sentences of each pair of BLiMP."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Dict, Iterator

import srsly
import typer
from tqdm import tqdm
from wasabi import msg

from spacy_elmo.files import write_json
from spacy_elmo.formats.bundled import bundled_folder
from spacy_elmo.formats.output_layer import META, hash_model
from spacy_elmo.pretraining.distributed import Group
from spacy_elmo.scoring.minimal_pairs import Pair, score_pairs
from spacy_elmo.scoring.scorer import Scorer
from spacy_elmo.text.tokenization import read_tokenization


def main(
    weights: Annotated[str, typer.Argument(help="A model-best; null: what ships")],
    pairs: Annotated[Path, typer.Argument(help="JSON lines, from blimp.py")],
    output: Annotated[Path, typer.Argument(help="JSON to write")],
    n_pairs: Annotated[int, typer.Option("--pairs", help="Pairs per paradigm")] = 1000,
    gpu_id: Annotated[int, typer.Option(help="GPU ID or -1 for CPU")] = -1,
) -> None:
    """Write the accuracies of each paradigm."""
    folder = find_weights(weights)
    scorer = load_scorer(folder, gpu_id)
    result = score(scorer, folder, pairs, n_pairs)
    write_json(output, {"model": describe(folder, scorer), **result})
    msg.good(str(output))


def find_weights(weights: str) -> Path:
    return bundled_folder() if weights == "null" else Path(weights)


def load_scorer(folder: Path, gpu_id: int) -> Scorer:
    try:
        return Scorer.load(folder).to(Group.join(gpu_id).device)
    except (OSError, ValueError) as error:
        typer.echo(f"\u2718 {error}", err=True)
        raise typer.Exit(1) from error


def describe(folder: Path, scorer: Scorer) -> Dict[str, Any]:
    """What identifies the weights, and how long they were trained."""
    meta = json.loads((folder / META).read_text(encoding="utf8"))
    return {
        "hash": hash_model(folder),
        "parameters": scorer.bilm.n_parameters,
        "vocabulary": len(scorer.words),
        **{key: meta.get(key) for key in ("step", "words", "held_out")},
    }


def score(scorer: Scorer, folder: Path, path: Path, n_pairs: int) -> Dict[str, Any]:
    """Score the first pairs of each paradigm.

    folder (Path): Weights that store the tokenization of their training text.
    RETURNS (Dict[str, Any]): "overall" and "paradigms", by UID: accuracies of each
        direction, ties, and the field and phenomenon.
    """
    records = list(first_records(path, n_pairs))
    tokenization = read_tokenization(folder)
    assert tokenization is not None
    tokenize = tokenization._replace(sentences="lines").make_tokenizer()
    with tqdm(total=len(records), disable=not sys.stderr.isatty()) as bar:
        results = score_pairs(
            scorer,
            [Pair(r["sentence_good"], r["sentence_bad"], r["UID"]) for r in records],
            lambda texts: tokenize(texts).sentences(),
            progress=bar.update,
        ).to_json()
    phenomena = {
        record["UID"]: {key: record[key] for key in ("field", "linguistics_term")}
        for record in records
    }
    paradigms = {
        name: {**phenomena[name], **group} for name, group in results["groups"].items()
    }
    return {"overall": results["overall"], "paradigms": paradigms}


def first_records(path: Path, n_pairs: int) -> Iterator[Dict[str, str]]:
    """The first pairs of each paradigm."""
    counts: Counter[str] = Counter()
    for record in srsly.read_jsonl(path):
        counts[record["UID"]] += 1
        if counts[record["UID"]] <= n_pairs:
            yield record


if __name__ == "__main__":
    typer.run(main)
