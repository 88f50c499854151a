"""`elmo pretrain`, as a command of spaCy's and, where there is no spaCy, by itself:
python -m spacy_elmo.pretraining CONFIG OUTPUT."""

import signal
from pathlib import Path
from typing import Annotated

import typer

EXTRA = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Settings of the command: what it does not know overrides the config."""


def pretrain_cli(
    ctx: typer.Context,
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Config of the run")],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUTPUT", help="Folder of the run; one that is there is resumed"
        ),
    ],
    gpu_id: Annotated[
        int,
        typer.Option(
            "--gpu-id",
            "-g",
            help="GPU, or -1 for the CPU; under torchrun from 0: each process its own",
        ),
    ] = -1,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress on stderr")
    ] = False,
) -> None:
    """
    Train a biLM on raw text. Run the same command again to resume it.

    Settings of the config can be given as --section.key value. Several processes:
    torchrun --nproc-per-node N -m spacy elmo pretrain CONFIG OUTPUT

    Writes OUTPUT/model-best and OUTPUT/model-last, checkpoints, log.jsonl and
    curves.png. Ends with status 0, 1 for an error, 130 after Ctrl-C, 143 after SIGTERM.
    """
    from .settings import PretrainSettings
    from .signals import Interrupted
    from .trainer import pretrain

    try:
        settings = PretrainSettings.from_file(config, ctx.args)
        pretrain(settings, output, gpu_id=gpu_id, show=not quiet)
    except Interrupted as interrupted:
        raise typer.Exit(interrupted.exit_status) from interrupted
    except KeyboardInterrupt as error:  # before training began
        raise typer.Exit(128 + signal.SIGINT) from error
    except (ImportError, OSError, ValueError) as error:
        typer.echo(f"\u2718 {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"\u2714 Trained: {output}", err=True)
