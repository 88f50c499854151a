"""Write the card of a language's biLM from its figures and the heads' scores."""

from pathlib import Path
from typing import Annotated, Any, Dict

import srsly
import typer
from languages import LANGUAGES, Language, find_language
from results import Results, select, spread
from variants import BASELINE, VARIANTS, WITH_ELMO
from wasabi import msg

from spacy_elmo.files import write_bytes

CARD = """# {name}: a biLM of {title}

A bidirectional language model over characters (Peters et al. 2018), trained by
[projects/languages](../..) with `configs/pretrain_own.cfg`. To use it in a config:

```ini
[initialize.components.elmo.weights]
@callbacks = "spacy_elmo.PretrainedWeights.v1"
path = "projects/languages/weights/{name}"
```

| | |
| --- | --- |
| Text | {text} |
| License of the text and the weights | {license} |
| Size | {n_layers} LSTM layers of {dim} cells, {width} values per token and layer |
| File | {megabytes:.1f} MB in float16 |
| Training | {steps:,} steps, {words:.1f} million words, {epochs:.1f} passes |
| Time | {hours:.1f} hours at {speed:,.0f} words/s (median), {machine} |

## Perplexities

Full softmax over the training vocabulary. Words outside it count as one word, `<UNK>`.

| Text | Words | Out of vocabulary | Forward | Backward | Mean |
| --- | ---: | ---: | ---: | ---: | ---: |
{perplexities}
## Scores

{scores}"""

SCORES = """Test scores of heads on these weights, means over the seeds; see [all
results](../../results/README.md).

"""


def main(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(LANGUAGES)}")],
    results: Annotated[Path, typer.Argument(help="Folder of results", exists=True)],
    target: Annotated[Path, typer.Argument(help="README.md to write")],
) -> None:
    """Read NAME-weights.json and NAME-training.json, and the results of the tasks that
    have been measured."""
    language = find_language(name)
    weights = srsly.read_json(results / f"{name}-weights.json")
    training = srsly.read_json(results / f"{name}-training.json")
    tasks = {
        task: list(srsly.read_json(results / f"{task}.json").values())
        for task in language.tasks
        if (results / f"{task}.json").is_file()
    }
    text = card(name, language, weights, training, tasks)
    write_bytes(target, text.encode("utf8"))
    msg.good(str(target))


def card(
    name: str,
    language: Language,
    weights: Dict[str, Any],
    training: Dict[str, Any],
    tasks: Dict[str, Results],
) -> str:
    options = weights["weights"]["options"]["lstm"]
    return CARD.format(
        name=name,
        title=language.title,
        text=language.text,
        license=language.license,
        n_layers=options["n_layers"],
        dim=options["dim"],
        width=2 * options["projection_dim"],
        megabytes=weights["weights"]["bytes"] / 1e6,
        steps=training["steps"],
        words=training["words"] / 1e6,
        epochs=training["epochs"],
        hours=training["hours"],
        speed=training["words_per_second"],
        machine=training["machine"],
        perplexities="".join(
            f"| {text} | {each['n_words']:,} | {each['oov_rate']:.1%} | "
            f"{each['forward']:.1f} | {each['backward']:.1f} | {each['mean']:.1f} |\n"
            for text, each in weights["perplexities"].items()
        ),
        scores=render_scores(language, tasks),
    )


def render_scores(language: Language, tasks: Dict[str, Results]) -> str:
    """Render a row per metric: spaCy's CNN and the heads with ELMo."""
    if not tasks:
        return "Not measured yet.\n"
    variants = (BASELINE, *WITH_ELMO)
    head = " | ".join(VARIANTS[variant] for variant in variants)
    lines = [f"| | {head} |", "| --- | " + " | ".join(["---:"] * len(variants)) + " |"]
    for name, results in tasks.items():
        task = language.tasks[name]
        for metric, title in task.metrics.items():
            runs = [select(results, variant) for variant in variants]
            means = [f"{spread(r, metric).mean:.1f}" if r else "" for r in runs]
            cells = " | ".join(means)
            lines.append(f"| {task.title} ({task.license}): {title} | {cells} |")
    return SCORES + "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
