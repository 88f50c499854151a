"""Write the card of the English weights that ship, from the results of the projects."""

import json
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any, Dict, List

import typer
from wasabi import msg

INTRODUCTIONS = {
    "md": """# en: the English biLM of spacy-elmo

`nlp.add_pipe("elmo")` loads these weights in English and multi-language pipelines, and
so does `spacy_elmo.BundledWeights.v1` in configs. They were trained by the commands
`english`, `english-more` and `english-second` of `projects/pretrain`, whose command
`card` writes this card.""",
    "sm": """# en, small: the fast English biLM of spacy-elmo

`spacy_elmo.load_bundled("sm")` loads these weights, and so does
`spacy_elmo.BundledWeights.v1` with `size = "sm"` in configs. They were trained by the
command `english-small` of `projects/pretrain`, whose command `card-small` writes this
card: besides predicting words, the network learned to match the layers of the
[large one](../md/README.md).""",
}
OUTPUT_LAYERS = {
    "md": """The output layer, which gives words their probabilities, has
{megabytes:.1f} MB more, and is read when it is first needed.""",
    "sm": """The output layer does not ship: use the large biLM for the
probabilities of words.""",
}
COMPARISONS = {
    "md": """the biLM of the paper is nine times as large, and
  was trained on 800 million words. If scores matter most, adapt this one to your own
  text (`configs/adapt.cfg`) or train a larger one.""",
    "sm": """made for speed. If scores matter most, use
  the large biLM, or distill one from your own (`configs/pretrain_distill.cfg`).""",
}

CARD = """{introduction}

## What it is

A bidirectional language model over characters (Peters et al. 2018): {filters} filters
of widths 1 to {widest}, {n_highway} highway layer, {lstm_layers} of {dim}
cells in each direction, projected to {projection}. Each layer of a token has {width}
dimensions. {megabytes:.1f} MB in float16; computed in float32.
{output_layer}

## Training data

{words:.1f} million tokens, sentence boundaries included, of two texts, both cased, one
sentence per line, tokenized by spaCy's rules for English:

* English Wikipedia: 58,950 articles as of July 2019, 48.9 million tokens
  ([chinapedia/wikipedia.abstract.en][wikipedia], revision 4f3e897d), by Wikipedia's
  contributors under CC BY-SA 3.0 and the GFDL.
* 79 English novels from 1719 to 1922, 10.5 million tokens
  ([LitBank][novels], revision 3e50db0f), public domain in the United States. The novels
  of LitBank's test set are not among them.

The weights are licensed under CC BY-SA 3.0.

Trained in {parts}, in bfloat16, with these settings of
`{configs}`:

| settings | steps | million tokens | hours | words/s, median | on |
| --- | ---: | ---: | ---: | ---: | --- |
{trainings}
{note}
[wikipedia]: https://github.com/chinapedia/wikipedia.abstract.en
[novels]: https://github.com/dbamman/litbank

## Perplexities

Perplexities of the rounded weights, with the full softmax over {vocabulary:,} words.
Words outside the vocabulary count as one word, `<UNK>`.

| text | words | out of vocabulary | forward | backward | mean |
| --- | ---: | ---: | ---: | ---: | ---: |
{perplexities}

WikiText-103 is tokenized by other rules (`@-@`, `<unk>`): do not compare its figures
with models that were trained on it.

{downstream}## Limits

* One language and two registers, encyclopedic prose and old novels, with almost no
  social media.
* Small, and trained on little text: {comparison}
* The vectors reflect what Wikipedia and the novels say about people and groups, and
  whom they leave out.
"""

DOWNSTREAM = """## Scores of heads and probes

For details, see `results` in `projects/ner_tagging` and `projects/probing`.

"""


def main(
    figures: Annotated[Path, typer.Argument(help="JSON of ship.py")],
    target: Annotated[Path, typer.Argument(help="README.md to write")],
    results: Annotated[
        List[str],
        typer.Argument(help="FILE:N, the first N tables of another project's results"),
    ] = [],  # noqa: B006
    training: Annotated[
        List[Path], typer.Option(help="JSON files of describe.py, in order")
    ] = [],  # noqa: B006
    note: Annotated[str, typer.Option(help="Note on the training")] = "",
    size: Annotated[str, typer.Option(help="Size of the weights: md or sm")] = "md",
) -> None:
    found: Dict[str, Any] = json.loads(figures.read_text("utf8"))
    tables = []
    for result in results:
        path, _, number = result.rpartition(":")
        if not (path and number.isdecimal()):
            raise typer.BadParameter(f"Expected FILE:N, found {result}")
        tables += first_tables(Path(path).read_text("utf8"), int(number))
    if not training:
        raise typer.BadParameter("Expected at least one --training, found none")
    trainings = [json.loads(path.read_text("utf8")) for path in training]
    text = card(found, trainings, "".join(tables), note, size)
    target.write_text(text, "utf8")
    msg.good(str(target))


def first_tables(text: str, n: int) -> List[str]:
    """Get the first tables of a Markdown text, each with its heading.

    RAISES: ValueError if there are fewer tables.
    """
    tables: List[str] = []
    heading, rows = "", 0
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        rows = rows + 1 if line.startswith("|") else 0
        if rows == 1 and len(tables) == n:
            break
        if rows == 1:
            tables.append(f"### {heading}\n\n")
        if rows:
            tables[-1] += line + "\n"
    if len(tables) < n:
        raise ValueError(f"Expected {n} tables, found {len(tables)}.")
    return [table + "\n" for table in tables]


def card(
    found: Dict[str, Any],
    trainings: List[Dict[str, Any]],
    downstream: str = "",
    note: str = "",
    size: str = "md",
) -> str:
    options = found["weights"]["options"]
    characters, lstm = options["char_cnn"], options["lstm"]
    widths = [width for width, _ in characters["filters"]]
    n_layers = lstm["n_layers"]
    output_megabytes = found["weights"]["bytes_output_layer"] / 1e6
    return CARD.format(
        introduction=INTRODUCTIONS[size],
        filters=sum(number for _, number in characters["filters"]),
        widest=max(widths),
        n_highway=characters["n_highway"],
        lstm_layers=f"{n_layers} LSTM layer{'s' if n_layers > 1 else ''}",
        dim=lstm["dim"],
        projection=lstm["projection_dim"],
        width=2 * lstm["projection_dim"],
        megabytes=found["weights"]["bytes"] / 1e6,
        output_layer=OUTPUT_LAYERS[size].format(megabytes=output_megabytes),
        words=sum(training["words"] for training in trainings) / 1e6,
        parts=f"{len(trainings)} parts" if len(trainings) > 1 else "one part",
        configs="projects/pretrain/configs" if size == "md" else "configs",
        comparison=COMPARISONS[size],
        vocabulary=next(iter(found["perplexities"].values()))["n_vocabulary"],
        trainings="\n".join(
            f"| {one['settings']} | {one['steps']:,} | {one['words'] / 1e6:.1f} | "
            f"{one['hours']:.1f} | {one['words_per_second']:,.0f} | {one['machine']} |"
            for one in trainings
        ),
        note="\n" + fill(note, 80) + "\n" if note else "",
        perplexities="\n".join(
            f"| {name} | {text['n_words']:,} | {text['oov_rate']:.1%} | "
            f"{text['forward']:.1f} | {text['backward']:.1f} | {text['mean']:.1f} |"
            for name, text in found["perplexities"].items()
        ),
        downstream=DOWNSTREAM + downstream if downstream else "",
    )


if __name__ == "__main__":
    typer.run(main)
