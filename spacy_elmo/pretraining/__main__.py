"""python -m spacy_elmo.pretraining CONFIG OUTPUT: `elmo pretrain` without spaCy, for
shards that were made elsewhere or text that stands between blanks."""

import typer

from .command import EXTRA, pretrain_cli

app = typer.Typer(add_completion=False)
app.command(context_settings=EXTRA)(pretrain_cli)

if __name__ == "__main__":
    app(prog_name="python -m spacy_elmo.pretraining")
