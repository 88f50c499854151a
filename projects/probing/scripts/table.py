"""Write the results as Markdown tables, with the figures of the paper."""

from pathlib import Path
from typing import Annotated, Any, Dict, List, Sequence

import typer
from results import read
from wasabi import msg

from spacy_elmo.files import write_bytes

Result = Dict[str, Any]

# Peters et al. (2018), tables 5 and 6: first and second layer of the biLM
PAPER: Dict[str, Dict[str, Any]] = {
    "upos": {"title": "Penn Treebank tags", "1": 97.3, "2": 96.8},
    "wsd": {"title": "senses of all words", "1": 67.4, "2": 69.0},
}
CONTEXT = 8
"""Number of words shown on each side."""

NOTES = """\
Percent, with 95 % intervals by bootstrap over sentences (tags), documents (SemCor) or
words (WiC-TSV, nouns). Layer 0 has context-free vectors, from the characters of a word.
Separation of kinds: as "separation" below, by WordNet's kinds of nouns (object, group,
...); each noun counts once. The paper uses other corpora: compare its layers with each
other, not with ours.
"""
WORD_NOTES = """\
Each occurrence is compared with those in other documents. Nearest: how often the
nearest one has the same sense. Separation: of pairs of an occurrence with the same
sense and one with another sense, how often the former is nearer; 50 is chance.
"""


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of the results", exists=True)],
    output: Annotated[Path, typer.Argument(help="Markdown file to write")],
) -> None:
    """Tabulate the results of upos.py, wsd.py, wic.py, nouns.py and word.py."""
    tasks, words = read(folder)
    model = [*tasks.values(), *words][0]["model"]
    parts = [
        "# What the layers know\n",
        f"A biLM of {model['parameters']:,} weights, {model['layers']} layers of width "
        f"{model['width']} (MD5 {model['md5']}).\n",
    ]
    if tasks:
        parts += [NOTES, scores(tasks), "![Scores by layer](layers.png)\n"]
        parts += ["## Which layer is better?\n", differences(tasks)]
    if learned(tasks):
        parts += ["## Learned mixes\n", mixes(tasks)]
        parts += ["![Weights of the mixes](mixes.png)\n"]
    for result in words:
        parts += word_section(result)
    text = "\n".join(parts)
    write_bytes(output, text.encode("utf8"))
    print(text)
    msg.good(str(output))


def scores(tasks: Dict[str, Result]) -> str:
    names = layer_names(list(tasks.values()))
    rows = []
    for task, result in tasks.items():
        layers = result["layers"]
        cells = [show(layers[name]) if name in layers else "" for name in names]
        baselines = (
            f"{name}: {100 * v:.1f}" for name, v in result["baselines"].items()
        )
        rows.append([result["title"], *cells, "; ".join(baselines)])
        if task in PAPER:
            paper = PAPER[task]
            cells = [f"{paper[name]}" if name in paper else "" for name in names]
            rows.append([f"*the paper: {paper['title']}*", *cells, ""])
    return markdown(["", *map(heading, names), "without vectors"], rows)


def differences(tasks: Dict[str, Result]) -> str:
    rows = []
    for task, result in tasks.items():
        for pair, found in result["differences"].items():
            one, other = pair.split(" - ")
            paper = PAPER.get(task, {})
            known = one in paper and other in paper
            cell = f"{paper[one] - paper[other]:+.1f}" if known else ""
            row = [result["title"], f"{heading(one)} - {heading(other)}"]
            rows.append([*row, show(found, "+.1f"), cell, verdict(found, one, other)])
    return markdown(["", "", "ours", "the paper", "better"], rows)


def verdict(found: Dict[str, Any], one: str, other: str) -> str:
    low, high = found["interval"]
    if low <= 0 <= high:
        return "undecided"
    return heading(one if low > 0 else other)


def mixes(tasks: Dict[str, Result]) -> str:
    rows = [
        [result["title"], *(f"{weight:.2f}" for weight in result["mix"])]
        for result in learned(tasks)
    ]
    n_layers = max(len(result["mix"]) for result in learned(tasks))
    return markdown(["", *(f"layer {layer}" for layer in range(n_layers))], rows)


def learned(tasks: Dict[str, Result]) -> List[Result]:
    """Select the results with a learned mix."""
    return [result for result in tasks.values() if "mix" in result]


def word_section(result: Result) -> List[str]:
    word = result["word"]
    senses = ", ".join(f"{n} {sense}" for sense, n in result["n"].items())
    names = list(result["nearest"]["layers"])
    rows = [
        [score, *(show(result[score]["layers"][name]) for name in names)]
        for score in ("nearest", "separation")
    ]
    static = ", ".join(result["static"])
    neighbors = [["static", f"**{word}**", static]]
    for query in result["in_context"]:
        shown = [f"{c['sense'] or '?'}: {context(c)}" for c in query["neighbors"]]
        neighbors.append([query["sense"], context(query), "<br>".join(shown)])
    return [
        f"## {result['title']}\n",
        f"{senses}; in {result['documents']} documents.\n",
        WORD_NOTES,
        markdown(["", *map(heading, names)], rows),
        f"![Occurrences by sense](word-{word}.png)\n",
        "The nearest words by their characters, and the nearest occurrences to the "
        "most\ntypical one of each sense, by the top layer (`?`: unknown sense):\n",
        markdown(["", "source", "nearest neighbors"], neighbors),
    ]


def context(use: Dict[str, Any]) -> str:
    """Format a word, in bold, with some words on each side."""
    words, place = use["words"], use["position"]
    before, after = words[:place], words[place + 1 :]
    parts = [*before[-CONTEXT:], f"**{words[place]}**", *after[:CONTEXT]]
    if len(before) > CONTEXT:
        parts.insert(0, "…")
    if len(after) > CONTEXT:
        parts.append("…")
    return " ".join(parts).replace("|", "\\|")


def layer_names(results: Sequence[Result]) -> List[str]:
    """List all layers of the model, and the mix last."""
    return max((list(result["layers"]) for result in results), key=len)


def heading(name: str) -> str:
    return f"layer {name}" if name.isdigit() else name


def show(found: Dict[str, Any], style: str = ".1f") -> str:
    mean, low, high = (100 * v for v in (found["mean"], *found["interval"]))
    return f"{mean:{style}} ({low:{style}} to {high:{style}})"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    typer.run(main)
