"""`python -m spacy_elmo.pretraining CONFIG OUTPUT`: the command `elmo pretrain` for
machines without spaCy, which need ready shards or whitespace-tokenized text."""

import typer

from .command import EXTRA, pretrain_cli

app = typer.Typer(add_completion=False)
app.command(context_settings=EXTRA)(pretrain_cli)

if __name__ == "__main__":
    app(prog_name="python -m spacy_elmo.pretraining")
