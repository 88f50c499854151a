"""Gather what the project measured into one Markdown table."""

from pathlib import Path
from typing import Annotated, Any, Callable, Dict, List, Tuple

import srsly
import typer
from wasabi import msg

CORPORA = {"tagging": "UD English EWT", "ner": "WNUT-17"}
MODELS = {"cnn": "CNN", "elmo": "ELMo + CNN"}
NOTES = """\
Scores in percent on the test sets, with the given tokens; words/s while evaluating;
training time of the whole command, start and evaluation on the dev set included.
"""
RANDOM = """\
The ELMo weights in use are random: they know nothing, and the scores say nothing about
ELMo.
"""


def percent(value: float) -> str:
    return f"{100 * value:.2f}"


def minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"


COLUMNS: Tuple[Tuple[str, str, Callable[[float], str]], ...] = (
    ("TAG", "tag_acc", percent),
    ("UPOS", "pos_acc", percent),
    ("MORPH", "morph_acc", percent),
    ("F1", "ents_f", percent),
    ("words/s", "speed", "{:,.0f}".format),
    ("training time", "seconds", minutes),
)


def main(
    metrics: Annotated[
        Path, typer.Argument(help="Folder of metrics.", exists=True, file_okay=False)
    ],
    output: Annotated[Path, typer.Argument(help="Markdown file to write.")],
) -> None:
    """Write a table of METRICS/CORPUS_MODEL.json (from `spacy evaluate`) and
    METRICS/training/CORPUS_MODEL.json (from timed.py), one row each."""
    names = [f"{corpus}_{model}" for corpus in CORPORA for model in MODELS]
    runs = {name: read_run(metrics, name) for name in names}
    runs = {name: run for name, run in runs.items() if run}
    if not runs:
        msg.fail(f"No metrics in {metrics}", f"Looked for {', '.join(names)} (.json).")
        raise typer.Exit(1)
    text = render(runs)
    output.write_text(text, encoding="utf8")
    print(text)
    msg.good(f"Saved to {output}")


def read_run(metrics: Path, name: str) -> Dict[str, Any]:
    """All that is known of a run; nothing where it was not evaluated."""
    scores, training = metrics / f"{name}.json", metrics / "training" / f"{name}.json"
    if not scores.exists():
        return {}
    known = srsly.read_json(training) if training.exists() else {}
    return {**srsly.read_json(scores), **known}


def render(runs: Dict[str, Dict[str, Any]]) -> str:
    head = ["corpus", "model", *(title for title, _, _ in COLUMNS)]
    rows = [head, ["---", "---", *("---:" for _ in COLUMNS)]]
    rows += [render_row(name, run) for name, run in runs.items()]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    commands = {name: run["command"] for name, run in runs.items() if "command" in run}
    parts = ["# Results\n", table + "\n", NOTES]
    if any(has_random_weights(command) for command in commands.values()):
        parts.append(RANDOM)
    parts += [f"{name}:\n\n    {' '.join(cmd)}\n" for name, cmd in commands.items()]
    return "\n".join(parts)


def render_row(name: str, run: Dict[str, Any]) -> List[str]:
    corpus, model = name.split("_")
    cells = [CORPORA[corpus], MODELS[model]]
    for _, key, show in COLUMNS:
        value = run.get(key)
        cells.append("" if value is None else show(value))
    return cells


def has_random_weights(command: List[str]) -> bool:
    """Whether the weights' name is one that only random_weights.py gives."""
    if "--paths.elmo" not in command:
        return False
    path = Path(command[command.index("--paths.elmo") + 1])
    return path.name.startswith("random")


if __name__ == "__main__":
    typer.run(main)
