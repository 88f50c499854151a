"""Runs a pretraining: joins the other processes, locks the output folder, trains."""

from contextlib import nullcontext
from pathlib import Path
from typing import Sequence

import torch

from ..lock import lock_folder
from .callback import Callback
from .distributed import Group
from .settings import PretrainSettings
from .step import TrainingError
from .trainer import Trainer

OUT_OF_MEMORY = """\
training: expected batches that fit into the GPU's memory, found: {error}
Use a new output folder and raise training.accumulate_gradient, which computes a batch
in parts with the same gradient, or lower training.batch_size. The run in this folder
can be resumed on a GPU with more memory."""


def pretrain(
    settings: PretrainSettings,
    output: Path,
    *,
    gpu_id: int = -1,
    show: bool = True,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Train a biLM, or resume a run that stopped early.

    settings (PretrainSettings): Settings of the run.
    output (Path): Folder of the run. A run that is in it is resumed.
    gpu_id (int): GPU, or -1 for the CPU. Under torchrun, any GPU means that each
        process uses its own.
    show (bool): Show progress on stderr.
    callbacks (Sequence[Callback]): Hooks into the run.
    RAISES: Interrupted after SIGTERM or Ctrl-C; TrainingError if a loss is not finite,
        the training diverged, the GPU's memory is too small, or the folder holds a
        different run; CorpusError if the text cannot be read; OSError if the final
        checkpoint or model cannot be written.
    """
    group = Group.join(gpu_id)
    gpus = [group.device] if group.device.type == "cuda" else []
    try:
        with (
            lock_folder(Path(output)) if group.is_first else nullcontext(),
            torch.random.fork_rng(gpus),
        ):
            Trainer(settings, output, group=group, show=show, callbacks=callbacks).run()
    except torch.cuda.OutOfMemoryError as error:
        raise TrainingError(OUT_OF_MEMORY.format(error=error)) from error
    finally:
        group.leave()
