"""The command `python -m spacy elmo pretrain`, which also runs without spaCy, as
`python -m spacy_elmo.pretraining`."""

import signal
from pathlib import Path
from typing import Annotated

import typer

EXTRA = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Context settings of the command, which passes unknown options on to the config."""


def pretrain_cli(
    ctx: typer.Context,
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Config file")],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUTPUT", help="Output folder. A run that it contains is resumed"
        ),
    ],
    gpu_id: Annotated[
        int,
        typer.Option(
            "--gpu-id",
            "-g",
            help="GPU ID, or -1 for CPU. With torchrun, 0 for one GPU per process",
        ),
    ] = -1,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Hide the progress bar")
    ] = False,
) -> None:
    """
    Train a biLM on raw text. To resume training, run the same command again.

    Settings of the config can be overridden with --section.key value. To train with
    several processes, use torchrun --nproc-per-node N -m spacy elmo pretrain ...

    Writes OUTPUT/model-best, OUTPUT/model-last, checkpoints, log.jsonl and curves.png.
    Exits with status 0, 1 after an error, 130 after Ctrl-C, or 143 after SIGTERM.
    """
    from .pretrain import pretrain
    from .settings import PretrainSettings
    from .signals import Interrupted

    try:
        settings = PretrainSettings.from_file(config, ctx.args)
        pretrain(settings, output, gpu_id=gpu_id, show=not quiet)
    except Interrupted as interrupted:
        if quiet:
            typer.echo(interrupted, err=True)
        raise typer.Exit(interrupted.exit_status) from interrupted
    except KeyboardInterrupt as error:  # before training began
        raise typer.Exit(128 + signal.SIGINT) from error
    except (ImportError, OSError, ValueError) as error:
        typer.echo(f"\u2718 {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"\u2714 Trained: {output}", err=True)
