"""Learning rate schedules."""

import math
from typing import Any, List, Mapping, Optional

from .sections import ScheduleSettings


def learn_rate(
    base: float,
    schedule: ScheduleSettings,
    step: int,
    total_steps: int,
    softmax_steps: int = 0,
) -> float:
    """Compute the learning rate of a step.

    base (float): Configured learning rate, which is reached after the warmup.
    schedule (ScheduleSettings): Shape of the schedule.
    step (int): Number of the step, counted from 0.
    total_steps (int): Number of steps of the run.
    softmax_steps (int): Number of steps at the start that train the output layer alone,
        at the full rate. The warmup follows them.
    RETURNS (float): The learning rate.
    """
    if step < softmax_steps:
        return base
    step, total_steps = step - softmax_steps, total_steps - softmax_steps
    if step < schedule.warmup_steps:
        return base * (step + 1) / schedule.warmup_steps
    if schedule.name == "constant":
        return base
    length = max(1, total_steps - schedule.warmup_steps)
    done = min(1.0, (step - schedule.warmup_steps) / length)
    if schedule.name == "linear":
        share = 1 - done
    elif schedule.name == "cosine":
        share = (1 + math.cos(math.pi * done)) / 2
    else:
        share = min(1.0, max(0, total_steps - step) / schedule.decay_steps)
    return base * (schedule.final_factor + (1 - schedule.final_factor) * share)


def check_length(
    schedule: ScheduleSettings, total_steps: int, softmax_steps: int = 0
) -> Optional[str]:
    """Check that a run is long enough for its schedule.

    schedule (ScheduleSettings): Shape of the schedule.
    total_steps (int): Number of steps of the run.
    softmax_steps (int): Number of steps at the start that train the output layer alone.
    RETURNS (Optional[str]): A warning if the run would never reach, or never hold, the
        configured learning rate.
    """
    parts = {
        "[initialize] softmax_steps": softmax_steps,
        "[training.schedule] warmup_steps": schedule.warmup_steps,
        "[training.schedule] decay_steps": schedule.decay_steps,
    }
    needed = sum(parts.values())
    if needed <= total_steps:
        return None
    names = [f"{name} = {steps}" for name, steps in parts.items() if steps]
    return (
        f"The schedule is longer than the run, so the learning rate stays too low: "
        f"{' and '.join(names)}, but training ends after {total_steps} steps. Lower "
        f"{'them' if len(names) > 1 else 'it'}, or train for longer."
    )


def total_steps(max_steps: int, max_epochs: int, steps_per_epoch: int) -> int:
    """The number of steps of a run: the first of two bounds, of which 0 is none."""
    bounds = [max_steps, max_epochs * steps_per_epoch]
    return min(bound for bound in bounds if bound)


def course(
    settings: Mapping[str, Any], n_steps: int, steps_per_epoch: int
) -> List[float]:
    """The learning rates of a run's first steps, relative to the configured one.

    settings (Mapping[str, Any]): Settings of the run, from `PretrainSettings.to_dict`.
    n_steps (int): Number of steps.
    steps_per_epoch (int): Number of steps of an epoch.
    """
    training = settings["training"]
    schedule = ScheduleSettings(**training["schedule"])
    end = total_steps(training["max_steps"], training["max_epochs"], steps_per_epoch)
    softmax_steps = settings["initialize"]["softmax_steps"]
    return [
        learn_rate(1.0, schedule, step, end, softmax_steps) for step in range(n_steps)
    ]
