"""One training step: the forward and backward pass, the exchange of gradients between
processes, and the read-out of the result without waiting for the device."""

import math
from collections import deque
from typing import Deque, Iterator, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor
from torch.autograd import graph

from ..bilm.lstm import LSTMState
from ..bilm.softmax import SampledSoftmax
from .data.batches import Batch
from .data.lanes import Lanes, Window
from .distributed import Group
from .gradient_clipping import Clipped
from .language_model import LanguageModel, SampledRows, State
from .sections import TrainingSettings

_RESULT_LAG = 4
"""Maximum number of steps by which the host runs ahead of a GPU."""

_MOST_IGNORED = 100
"""Number of steps in a row whose gradients are ignored before a run gives up."""


class TrainingError(ValueError):
    """A run that cannot continue; the message says why and what to do."""


class StepOutput(NamedTuple):
    """Output of the forward and backward pass of a step, on the device.

    losses (Tensor): Loss of the forward and backward LM in nats per word, averaged
        over the lanes of all processes, of shape (2,).
    lane_losses (Tensor): Loss of each lane of this process, summed over the window, of
        shape (2, B).
    stop_requests (Tensor): Number of processes that were asked to stop, of shape (1,).
    rows (Optional[SampledRows]): Rows of a sampled softmax, with their gradients.
    state (State): LSTM state after the window.
    teacher_loss (Optional[Tensor]): Mean distance between the layers and the teacher's,
        over both directions and the lanes of all processes, of shape (1,). None without
        a teacher.
    """

    losses: Tensor
    lane_losses: Tensor
    stop_requests: Tensor
    rows: Optional[SampledRows]
    state: State
    teacher_loss: Optional[Tensor] = None


class StepResult(NamedTuple):
    """The figures of one step, on the host.

    step (int): Number of the step, counted from 0.
    window (Window): Text of the step.
    rate (float): Learning rate.
    forward_loss (float): Nats per word, over the lanes of all processes.
    backward_loss (float): The same for the backward LM.
    grad_norm (float): Norm of the gradient before clipping.
    stop_requests (float): Number of processes that were asked to stop.
    lane_losses (Tensor): Loss of each lane of this process, summed over the window, of
        shape (2, B).
    is_ignored (bool): Whether the gradient had exploded and was ignored.
    teacher_loss (Optional[float]): Mean distance between the layers and the teacher's.
        None without a teacher.
    """

    step: int
    window: Window
    rate: float
    forward_loss: float
    backward_loss: float
    grad_norm: float
    stop_requests: float
    lane_losses: Tensor
    is_ignored: bool = False
    teacher_loss: Optional[float] = None


def compute_gradient(
    model: LanguageModel,
    parts: List[Batch],
    state: State,
    training: TrainingSettings,
    dtype: torch.dtype,
    *,
    stop_requested: bool = False,
) -> StepOutput:
    """Run the forward and backward pass over this process's lanes. The gradient is that
    of the loss summed over the window and averaged over all lanes and both directions,
    plus the distance to the teacher's layers times `training.teacher_weight`.

    parts (List[Batch]): The lanes of this process, split into batches that are computed
        one after another.
    state (State): LSTM state at the start of the window.
    dtype (torch.dtype): Type of the operands of matrix products.
    stop_requested (bool): Whether this process was asked to stop.
    RETURNS (StepOutput): Output of this process alone; see `sum_over_processes`.
    """
    rows = None
    if isinstance(model.softmax, SampledSoftmax) and parts[0].sample is not None:
        rows = SampledRows(model.softmax, parts[0].sample)
    sums, distances, states, first = [], [], [], 0
    for part in parts:
        last = first + part.inputs.shape[2]
        before = [LSTMState(*(t[:, first:last] for t in layer)) for layer in state]
        losses = model(part, before, rows=rows, dropout=training.dropout, dtype=dtype)
        total = losses.words.sum()
        if losses.teacher is not None:
            total = total + training.teacher_weight * losses.teacher.sum()
            distances.append(losses.teacher.detach().sum())
        (total / (2 * training.batch_size)).backward()
        sums.append(losses.words.detach().sum(dim=1))
        states.append(losses.state)
        first = last
    lane_losses = torch.cat(sums, dim=1)
    n_words = training.batch_size * training.unroll_steps
    return StepOutput(
        losses=lane_losses.sum(dim=1) / n_words,
        lane_losses=lane_losses,
        stop_requests=lane_losses.new_full((1,), float(stop_requested)),
        rows=rows,
        state=states[0] if len(states) == 1 else _concatenate(states),
        teacher_loss=torch.stack(distances).sum(0, keepdim=True) / (2 * n_words)
        if distances
        else None,
    )


def sum_over_processes(model: LanguageModel, output: StepOutput, group: Group) -> None:
    """Replace each gradient and figure of a step by its sum over all processes."""
    rows = output.rows
    parameters: List[Tensor] = list(model.parameters())
    if rows is not None:
        # Only the sampled rows of the softmax, which are leaves, have a gradient.
        dense = {id(parameter) for parameter in model.softmax.parameters()}
        parameters = [p for p in parameters if id(p) not in dense]
        parameters += [rows.weight, rows.bias]
    # A cluster of rare words may have no target in this process but one in another. A
    # single process needs the zeros too: without a gradient the optimizer would skip
    # the cluster, momentum and all.
    for parameter in parameters:
        if parameter.requires_grad and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [p.grad for p in parameters if p.grad is not None]
    figures = [output.losses, output.stop_requests]
    if output.teacher_loss is not None:
        figures.append(output.teacher_loss)
    group.add_up([*gradients, *figures])


def reset_state(state: State, condition: Tensor) -> State:
    """Set the LSTM state to zero if a condition, a scalar, is true. The host does not
    wait for a GPU."""
    return [
        LSTMState(*(tensor.masked_fill(condition, 0.0) for tensor in layer))
        for layer in state
    ]


def _concatenate(states: List[State]) -> State:
    """Join the states of a step's parts, each (2, B_part, ...), along the lanes."""
    return [
        LSTMState(*(torch.cat(tensors, dim=1) for tensors in zip(*layers)))
        for layers in zip(*states)
    ]


class ResultQueue:
    """Copies the figures of each step to the host asynchronously. On a GPU they are
    read a few steps later, so that the host never waits inside a step.

    device (torch.device): Where steps are computed.
    """

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self._pending: Deque[
            Tuple[int, Window, float, Tensor, Tensor, Optional[torch.cuda.Event]]
        ] = deque()

    def put(
        self,
        step: int,
        window: Window,
        rate: float,
        output: StepOutput,
        clipped: Clipped,
    ) -> None:
        """Start copying the figures of a step."""
        norm, is_ignored = clipped
        gradient = torch.stack([norm, is_ignored.to(norm.dtype)])
        figures = torch.cat([output.losses, gradient, output.stop_requests])
        if output.teacher_loss is not None:
            figures = torch.cat([figures, output.teacher_loss])
        lane_losses = output.lane_losses
        event = None
        if self.on_gpu:
            figures, lane_losses = _to_host(figures), _to_host(lane_losses)
            event = torch.cuda.Event()
            event.record()
        self._pending.append((step, window, rate, figures, lane_losses, event))

    def pop(self, *, wait: bool = False) -> Iterator[StepResult]:
        """The results that have arrived, in order.

        wait (bool): Whether to wait for all of them.
        """
        lag = _RESULT_LAG if self.on_gpu and not wait else 0
        while len(self._pending) > lag:
            step, window, rate, figures, lane_losses, event = self._pending.popleft()
            if event is not None:
                event.synchronize()
            forward, backward, norm, ignored, stop_requests, *teacher = figures.tolist()
            yield StepResult(
                step,
                window,
                rate,
                forward,
                backward,
                norm,
                stop_requests,
                lane_losses,
                bool(ignored),
                *teacher,
            )


def check_finite(result: StepResult, lanes: Lanes, own_lanes: slice) -> None:
    """Check the losses and the gradient of a step.

    lanes (Lanes): The text, which the message quotes.
    own_lanes (slice): The lanes of this process.
    RAISES: TrainingError if one is NaN or infinite, unless the gradient was ignored.
    """
    norm = 0.0 if result.is_ignored else result.grad_norm
    figures = (result.forward_loss, result.backward_loss, norm)
    if all(math.isfinite(figure) for figure in figures):
        return
    bad = torch.nonzero(~torch.isfinite(result.lane_losses))
    where = "the gradient alone; each loss of this process is finite"
    if len(bad):
        direction, lane = bad[0].tolist()
        place = int(result.window.starts[direction, own_lanes.start + lane])
        first = place if direction == 0 else place - lanes.unroll_steps + 1
        name = ("forward", "backward")[direction]
        text = lanes.describe(first % lanes.n_ids, lanes.unroll_steps)
        where = f"lane {own_lanes.start + lane}, {name} LM, from {text}"
    raise TrainingError(
        f"step {result.step + 1} (batch {result.window.step} of epoch "
        f"{result.window.epoch}): expected finite losses and gradients, found "
        f"forward {result.forward_loss}, backward {result.backward_loss}, gradient "
        f"norm {result.grad_norm}: {where}. The last checkpoint is from before. Use a "
        "new output folder with a lower learning rate or grad_clip, or with float32."
    )


def check_diverged(result: StepResult, n_ignored: int) -> None:
    """Check that not all gradients are ignored.

    n_ignored (int): Number of steps in a row whose gradients were ignored.
    RAISES: TrainingError if there are too many.
    """
    if n_ignored < _MOST_IGNORED:
        return
    raise TrainingError(
        f"step {result.step + 1}: expected gradients about as long as usual, found "
        f"{n_ignored} in a row that training.optimizer.grad_skip ignores, the last of "
        f"norm {result.grad_norm:.3g}. The training has diverged. Use a new output "
        "folder with a lower training.optimizer.learn_rate. To keep what this run has "
        "learned, if it had held-out text, set initialize.weights to its model-best "
        "and remove the section bilm."
    )


def _to_host(tensor: Tensor) -> Tensor:
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)


def capture_steps(
    model: LanguageModel, training: TrainingSettings, n_lanes: int, dtype: torch.dtype
) -> List[str]:
    """Capture the forward and backward pass of the LSTMs as CUDA graphs, for windows of
    this process's lanes.

    n_lanes (int): Number of lanes of this process.
    RETURNS (List[str]): Why there is no graph, if the settings ask for one but do not
        allow it.
    RAISES: TrainingError if the GPU cannot capture it.
    """
    if not training.cuda_graph:
        return []
    if training.accumulate_gradient > 1:
        # Replayed twice before an update, a graph would overwrite its own gradients.
        return [
            "Steps are slower because they are not captured as a CUDA graph, which "
            f"needs training.accumulate_gradient = 1; it is "
            f"{training.accumulate_gradient}."
        ]
    try:
        model.capture(training.unroll_steps, n_lanes, training.dropout, dtype)
    except torch.cuda.OutOfMemoryError:
        raise  # A smaller batch would help.
    except RuntimeError as error:
        # A capture that broke off leaves a state in which nothing can be trained.
        raise TrainingError(
            "training.cuda_graph: expected a GPU that captures a step as a CUDA graph, "
            f"found: {error}. Run it again with --training.cuda_graph false."
        ) from error
    # Capturing uses a separate stream. Newer versions of PyTorch wait for it, and warn,
    # in every backward pass.
    silence = getattr(graph, "set_warn_on_accumulate_grad_stream_mismatch", None)
    if silence is not None:
        silence(False)
    return []
