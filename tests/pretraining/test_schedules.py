"""The learning rate over time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_elmo.pretraining.schedules import (
    check_length,
    course,
    learn_rate,
    total_steps,
)
from spacy_elmo.pretraining.sections import ScheduleSettings
from spacy_elmo.pretraining.settings import PretrainSettings


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (ScheduleSettings(name="constant"), {0: 2, 50: 2, 100: 2}),
        (
            ScheduleSettings(name="constant", warmup_steps=4),
            {0: 0.5, 1: 1, 3: 2, 4: 2, 100: 2},
        ),
        (ScheduleSettings(name="linear"), {0: 2, 25: 1.5, 50: 1, 100: 0}),
        (
            ScheduleSettings(name="linear", warmup_steps=20),
            {0: 0.1, 19: 2, 20: 2, 60: 1, 100: 0},
        ),
        (
            ScheduleSettings(name="linear", warmup_steps=0, final_factor=0.5),
            {0: 2, 50: 1.5, 100: 1},
        ),
        (
            ScheduleSettings(name="linear", warmup_steps=0, final_factor=1.0),
            {0: 2, 50: 2, 100: 2},
        ),
        (ScheduleSettings(name="cosine"), {0: 2, 50: 1, 100: 0}),
        (ScheduleSettings(name="cosine", warmup_steps=1), {0: 2, 1: 2, 100: 0}),
        (
            ScheduleSettings(name="cosine", warmup_steps=0, final_factor=0.1),
            {0: 2, 25: 0.2 + 1.8 * (2 + math.sqrt(2)) / 4, 50: 1.1, 100: 0.2},
        ),
        (
            ScheduleSettings(
                name="warmup_stable_decay",
                warmup_steps=4,
                final_factor=0.0,
                decay_steps=20,
            ),
            {0: 0.5, 3: 2, 4: 2, 80: 2, 85: 1.5, 90: 1, 99: 0.1, 100: 0},
        ),
        (
            ScheduleSettings(
                name="warmup_stable_decay",
                warmup_steps=0,
                final_factor=0.5,
                decay_steps=20,
            ),
            {0: 2, 80: 2, 90: 1.5, 100: 1},
        ),
        # A warm-up or a decay that is longer than the run.
        (
            ScheduleSettings(name="linear", warmup_steps=200),
            {0: 0.01, 99: 1, 100: 1.01},
        ),
        (ScheduleSettings(name="cosine", warmup_steps=100), {99: 2, 100: 2}),
        (
            ScheduleSettings(
                name="warmup_stable_decay",
                warmup_steps=0,
                final_factor=0.0,
                decay_steps=200,
            ),
            {0: 1, 100: 0},
        ),
    ],
)
def test_schedules(schedule: ScheduleSettings, expected: dict[int, float]) -> None:
    for step, rate in expected.items():
        found = learn_rate(2.0, schedule, step, 100)
        assert found == pytest.approx(rate, abs=1e-12), step


@given(
    name=st.sampled_from(["constant", "linear", "cosine", "warmup_stable_decay"]),
    warmup=st.integers(0, 30),
    decay=st.integers(1, 10),
    total=st.integers(1, 40),
)
def test_a_rate_rises_then_falls(
    name: str, warmup: int, decay: int, total: int
) -> None:
    more = {"decay_steps": decay} if name == "warmup_stable_decay" else {}
    schedule = ScheduleSettings(name=name, warmup_steps=warmup, **more)
    rates = [learn_rate(1.0, schedule, step, total) for step in range(total + 10)]
    assert all(0 <= rate <= 1 for rate in rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    if warmup < total - decay:
        assert max(rates) == rates[min(warmup, len(rates) - 1)]


def test_the_first_bound_ends_a_run() -> None:
    assert total_steps(10, 0, 4) == 10
    assert total_steps(0, 3, 4) == 12
    assert total_steps(10, 3, 4) == 10
    assert total_steps(13, 3, 4) == 12


@pytest.mark.parametrize(
    ("total", "softmax", "reported"),
    [(30, 0, ""), (31, 1, ""), (30, 1, "softmax_steps = 1 and"), (29, 0, "29 steps")],
)
def test_a_run_shorter_than_its_schedule(
    total: int, softmax: int, reported: str
) -> None:
    schedule = ScheduleSettings(
        name="warmup_stable_decay", warmup_steps=20, decay_steps=10
    )
    warning = check_length(schedule, total, softmax)
    if reported:
        assert reported in warning
        assert "warmup_steps = 20 and [training.schedule] decay_steps = 10" in warning
    else:
        assert warning is None


def test_a_run_that_ends_in_the_warm_up() -> None:
    schedule = ScheduleSettings(name="linear", warmup_steps=20)
    assert "warmup_steps = 20, but" in check_length(schedule, 19)
    assert check_length(schedule, 20) is None


def test_the_course_of_a_run() -> None:
    """As its log has it: the rate falls to the end of the second epoch; the steps of
    the output layer alone have the full one."""
    settings = PretrainSettings.from_dict(
        {
            "corpus": {"train": "a.txt"},
            "training": {"max_epochs": 2, "schedule": {"name": "linear"}},
            "initialize": {"weights": "w", "softmax_steps": 2},
        }
    ).to_dict()
    assert course(settings, 4, 5) == pytest.approx([1, 1, 1, 7 / 8])
