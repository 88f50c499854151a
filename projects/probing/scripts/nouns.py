"""Does context separate the senses of a noun, without learning? All nouns of SemCor
that name two kinds of things, each compared with itself in other documents."""

import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any, Dict, Iterable, List, Tuple

import numpy as np
import srsly
import typer
from results import describe, figures, save
from vectors import embed, load
from wasabi import msg
from word import Uses, compare, frequent, unit

from spacy_elmo.embedding.neighbors import Occurrence


def main(
    corpus: Annotated[Path, typer.Argument(help="SemCor (.jsonl)", exists=True)],
    weights: Annotated[Path, typer.Argument(help="Folder of the weights")],
    output: Annotated[Path, typer.Argument(help="JSON file to write")],
    min_count: Annotated[
        int, typer.Option(help="Minimum number of occurrences of a kind")
    ] = 5,
    gpu_id: Annotated[int, typer.Option(help="-1: CPU")] = -1,
) -> None:
    """Compute the separation of word.py by WordNet's kinds of nouns. Each noun counts
    once."""
    start = time.perf_counter()
    nouns = find_nouns(srsly.read_jsonl(corpus), min_count)
    if not nouns:
        msg.fail(
            f"{corpus}: expected nouns of two kinds, each in two documents and "
            f"{min_count} times, found none",
            "Give more text, or a lower --min-count.",
        )
        raise typer.Exit(1)
    bilm = load(weights, gpu_id)
    rows = []
    for uses in nouns.values():
        layers = embed(
            bilm,
            [list(use.words) for use in uses.occurrences],
            [[(use.position, use.position + 1)] for use in uses.occurrences],
        )
        found = [
            compare(unit(layer.float().numpy()), uses.senses, uses.documents)
            for layer in layers
        ]
        rows.append([scores["separation"].mean() for scores in found])
    result = {
        "title": "Separation of a noun's kinds, SemCor",
        "model": describe(bilm, weights),
        "n": {
            "nouns": len(nouns),
            "occurrences": sum(len(uses.occurrences) for uses in nouns.values()),
        },
        "baselines": {"chance": 0.5},
        **figures(
            {str(layer): column for layer, column in enumerate(np.asarray(rows).T)},
            list(nouns),
        ),
    }
    save(output, result, start)


def find_nouns(sentences: Iterable[Dict[str, Any]], min_count: int) -> Dict[str, Uses]:
    """Find the occurrences of nouns with two kinds that are frequent enough and
    occur in two documents, by lowercase form."""
    found: Dict[str, List[Tuple[Occurrence, str, str]]] = defaultdict(list)
    for number, sentence in enumerate(sentences):
        words = tuple(sentence["words"])
        for sense in sentence["senses"]:
            begin, end = sense["span"]
            if sense["pos"] == "n" and end == begin + 1:
                use = Occurrence(number, begin, words)
                form = words[begin].lower()
                found[form].append((use, sense["kind"], sentence["document"]))
    nouns = {}
    for form, uses in sorted(found.items()):
        kept = frequent(uses, min_count)
        if len(kept) > 1:
            parts = zip(*(use for use in uses if use[1] in kept))
            occurrences, kinds, names = map(list, parts)
            nouns[form] = Uses(occurrences, np.asarray(kinds), names)
    return nouns


if __name__ == "__main__":
    typer.run(main)
