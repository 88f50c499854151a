"""The tensors of a checkpoint, and back."""

from typing import Callable, Dict

from torch import Tensor

from ..bilm.lstm import LSTMState
from .distributed import Group
from .language_model import LanguageModel, State
from .optimizers import Optimizer
from .weight_average import WeightAverage


def take_snapshot(
    model: LanguageModel,
    optimizer: Optimizer,
    average: WeightAverage,
    state: State,
    group: Group,
) -> Dict[str, Tensor]:
    """All of a checkpoint; each process must ask, for the lanes come from all."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for name, value in optimizer.state_dict().items():
        tensors[f"optimizer.{name}"] = value
    for name, value in average.state_dict().items():
        tensors[f"average.{name}"] = value
    for number, layer in enumerate(state):
        tensors[f"state.{number}.hidden"] = group.gather_lanes(layer.hidden)
        tensors[f"state.{number}.cell"] = group.gather_lanes(layer.cell)
    return tensors


def restore(
    tensors: Dict[str, Tensor],
    model: LanguageModel,
    optimizer: Optimizer,
    average: WeightAverage,
    own: slice,
    say: Callable[[str], None],
) -> State:
    """The inverse of `take_snapshot`, for any number of processes.

    say: told if averaging was switched on or off.
    """

    def under(prefix: str) -> Dict[str, Tensor]:
        length = len(prefix)
        return {n[length:]: t for n, t in tensors.items() if n.startswith(prefix)}

    model.load_state_dict(under("model."))
    optimizer.load_state_dict(under("optimizer."))
    note = average.load_state_dict(under("average."))
    if note:
        say(note)
    return [
        LSTMState(
            *(
                tensors[f"state.{number}.{name}"][:, own].clone().to(model.device)
                for name in ("hidden", "cell")
            )
        )
        for number in range(model.bilm.config.n_layers)
    ]
