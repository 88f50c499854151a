"""One step: forward, backward, and the exchange between processes."""

from typing import List, Optional, Tuple

import torch
from torch import Tensor
from torch.autograd import graph

from ..bilm.lstm import LSTMState
from ..bilm.softmax import SampledSoftmax
from .data.batches import DROPOUT, Batch, generator_of
from .distributed import Group
from .language_model import LanguageModel, SampledRows, State
from .progress import TrainingError
from .settings import TrainingSettings


def compute_gradient(
    model: LanguageModel,
    parts: List[Batch],
    state: State,
    training: TrainingSettings,
    dtype: torch.dtype,
    step: int,
    group: Group,
    *,
    stop: bool = False,
) -> Tuple[Tensor, Tensor, Optional[SampledRows], State]:
    """Forward and backward; afterwards all processes have the whole batch's gradient:
    that of the window's summed loss, averaged over lanes and directions.

    RETURNS: the losses of both directions, nats a word, 0 and how many processes were
        asked to end, (4,); this process's lanes' sums; the output layer's rows; the
        state after the window.
    """
    if training.dropout:
        generator = generator_of(training.seed, DROPOUT, step, group.rank)
        torch.manual_seed(generator.initial_seed())
    rows = None
    if isinstance(model.softmax, SampledSoftmax) and parts[0].sample is not None:
        rows = SampledRows(model.softmax, parts[0].sample)
    sums, states, first = [], [], 0
    for part in parts:
        n_lanes = part.inputs.shape[2]
        of_part = [
            LSTMState(*(t[:, first : first + n_lanes] for t in layer))
            for layer in state
        ]
        losses, after = model(
            part, of_part, rows=rows, dropout=training.dropout, dtype=dtype
        )
        (losses.sum() / (2 * training.batch_size)).backward()
        sums.append(losses.detach().sum(dim=1))
        states.append(after)
        first += n_lanes
    lane_losses = torch.cat(sums, dim=1)
    numbers = lane_losses.new_zeros(4)
    numbers[:2] = lane_losses.sum(dim=1)
    numbers[:2] /= training.batch_size * training.unroll_steps
    numbers[3] = float(stop)
    leaves = [*model.parameters(), *([rows.weight, rows.bias] if rows else [])]
    # A cluster of rare words may have no target here, but one in another process. Zeros
    # in one process too: the optimizer would leave the cluster out, momentum and all.
    for leaf in leaves:
        if leaf.requires_grad and leaf.grad is None and not _is_sampled(leaf, model):
            leaf.grad = torch.zeros_like(leaf)
    gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
    group.add_up([*gradients, numbers])
    if len(states) > 1:
        states = [[_join(layer) for layer in zip(*states)]]
    return numbers, lane_losses, rows, states[0]


def _is_sampled(leaf: Tensor, model: LanguageModel) -> bool:
    """Whether the gradient comes by rows, which are leaves of their own."""
    softmax = model.softmax
    sampled = isinstance(softmax, SampledSoftmax)
    return sampled and any(leaf is parameter for parameter in softmax.parameters())


def _join(parts: Tuple[LSTMState, ...]) -> LSTMState:
    return LSTMState(*(torch.cat(tensors, dim=1) for tensors in zip(*parts)))


def freeze(model: LanguageModel, frozen: bool) -> None:
    """While the output layer is trained alone, the biLM has no gradient."""
    for parameter in model.bilm.parameters():
        parameter.requires_grad_(not frozen)


def record_steps(
    model: LanguageModel, training: TrainingSettings, n_lanes: int, dtype: torch.dtype
) -> Optional[str]:
    """Record the LSTMs' pass as a CUDA graph for windows of this process's lanes.

    RETURNS: why there is none, if the settings do not allow it.

    Raises TrainingError where the GPU cannot.
    """
    if training.accumulate_gradient > 1:
        # Replayed twice before a step, a graph would write over its own gradients.
        return (
            "No CUDA graph of the steps, which are slower without one: "
            f"training.accumulate_gradient is {training.accumulate_gradient}, not 1."
        )
    try:
        model.record(training.unroll_steps, n_lanes, training.dropout, dtype)
    except torch.cuda.OutOfMemoryError:
        raise  # a smaller batch would do
    except RuntimeError as error:
        # What a broken record leaves behind is no state to train in.
        raise TrainingError(
            "training.cuda_graph: expected a GPU that records a step as a CUDA graph, "
            f"found: {error}. Run it again with --training.cuda_graph false."
        ) from error
    # It was recorded on a stream of its own, for which newer versions of PyTorch wait,
    # and warn, in each way back.
    silence = getattr(graph, "set_warn_on_accumulate_grad_stream_mismatch", None)
    if silence is not None:
        silence(False)
    return None
