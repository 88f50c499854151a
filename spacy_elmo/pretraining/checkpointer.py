"""Saves and resumes a run: which tensors a checkpoint holds, and which process writes
it. Its files are in `output.checkpoints`."""

from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

from torch import Tensor

from ..bilm.lstm import LSTMState
from .distributed import Group
from .gradient_clipping import GradientClipper
from .language_model import LanguageModel, State
from .optimizers import Optimizer
from .output import checkpoints
from .progress import Progress
from .step import TrainingError
from .weight_average import WeightAverage


class Checkpointer:
    """Saves and loads the checkpoints of a run.

    folder (Path): Folder of all checkpoints.
    model (LanguageModel): The model.
    optimizer (Optimizer): Its optimizer.
    average (WeightAverage): The average of its weights.
    clipper (GradientClipper): What bounds its gradients.
    group (Group): The processes that train together.
    own_lanes (slice): The lanes of this process.
    """

    def __init__(
        self,
        folder: Path,
        model: LanguageModel,
        optimizer: Optimizer,
        average: WeightAverage,
        clipper: GradientClipper,
        *,
        group: Group,
        own_lanes: slice,
    ) -> None:
        self.folder = folder
        self.model, self.optimizer, self.average = model, optimizer, average
        self.clipper = clipper
        self.group, self.own_lanes = group, own_lanes

    def tensors(self, state: State) -> Dict[str, Tensor]:
        """Collect all tensors of a checkpoint. Every process must call this, because
        the LSTM state is gathered from all of them.

        state (State): LSTM state of this process's lanes.
        """
        tensors = {}
        for section, part in (
            ("model", self.model),
            ("optimizer", self.optimizer),
            ("average", self.average),
            ("clipper", self.clipper),
        ):
            for name, value in part.state_dict().items():
                tensors[f"{section}.{name}"] = value
        for number, layer in enumerate(state):
            tensors[f"state.{number}.hidden"] = self.group.gather_lanes(layer.hidden)
            tensors[f"state.{number}.cell"] = self.group.gather_lanes(layer.cell)
        return tensors

    def save(
        self, tensors: Dict[str, Tensor], progress: Progress, *, keep: int
    ) -> Path:
        """Write a checkpoint, and remove old checkpoints. Called by the first process.

        keep (int): Number of newest checkpoints to keep. The best model's checkpoint
            is kept, too.
        RETURNS (Path): The folder of the checkpoint.
        RAISES: OSError if it cannot be written.
        """
        path = checkpoints.save(self.folder, progress.step, tensors, progress.to_meta())
        checkpoints.prune(self.folder, keep, progress.best_step)
        return path

    def resume(
        self, progress: Progress, say: Callable[[str], None]
    ) -> Optional[Tuple[Progress, State]]:
        """Load the newest checkpoint, which the first process chooses.

        progress (Progress): Progress of a new run with the present settings.
        say (Callable[[str], None]): Called with messages for the user.
        RETURNS (Optional[Tuple[Progress, State]]): The progress, and the LSTM state of
            this process's lanes; None if there is no checkpoint.
        RAISES: TrainingError if the checkpoint is of a different run.
        """
        newest: List[checkpoints.Checkpoint] = []

        def choose() -> Optional[int]:
            checkpoint = checkpoints.load_newest(self.folder, say)
            newest.extend([checkpoint] if checkpoint else [])
            return checkpoint and checkpoint.step

        step = self.group.from_first(choose)
        if step is None:
            return None
        checkpoint = newest[0] if newest else checkpoints.load_step(self.folder, step)
        try:
            progress = progress.resumed(checkpoint)
            return progress, self._load(checkpoint.tensors, say)
        except (AttributeError, KeyError, TypeError, RuntimeError) as error:
            raise TrainingError(
                f"{self.folder}: expected checkpoints of this run, found step {step} "
                f"with other contents ({error!r}). Restore a copy, or name another "
                "output folder to start over."
            ) from error

    def _load(self, tensors: Dict[str, Tensor], say: Callable[[str], None]) -> State:
        """Load what `tensors` collected, with any number of processes."""

        def section(prefix: str) -> Dict[str, Tensor]:
            names = [name for name in tensors if name.startswith(prefix)]
            return {name[len(prefix) :]: tensors[name] for name in names}

        self.model.load_state_dict(section("model."))
        self.optimizer.load_state_dict(section("optimizer."))
        note = self.average.load_state_dict(section("average."))
        if note:
            say(note)
        self.clipper.load_state_dict(section("clipper."))

        def own(name: str) -> Tensor:
            lanes = tensors[f"state.{name}"][:, self.own_lanes]
            return lanes.clone().to(self.model.device)

        return [
            LSTMState(own(f"{number}.hidden"), own(f"{number}.cell"))
            for number in range(len(self.model.zero_state(1)))
        ]
