"""The teacher, and the distance between its layers and the network's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.language_models import (
    CONFIG,
    Text,
    make_model,
    make_text,
    random_sentences,
)

from spacy_elmo.pretraining.data.batches import Batches
from spacy_elmo.pretraining.data.lanes import Lanes
from spacy_elmo.pretraining.data.noise import Noise
from spacy_elmo.pretraining.distillation import LayerMatch, Teacher
from spacy_elmo.pretraining.language_model import LanguageModel
from spacy_elmo.pretraining.sections import NoiseSettings

N_LANES, UNROLL_STEPS = 3, 5
WIDE = CONFIG.replace(dim=9, projection_dim=8)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Text:
    return make_text(tmp_path_factory.mktemp("text"), random_sentences(40))


def make_batches(text: Text, noise: NoiseSettings | None = None) -> Batches:
    return Batches(
        Lanes(text.shards, N_LANES, UNROLL_STEPS),
        slice(0, N_LANES),
        text.table,
        text.vocabulary,
        noise=noise
        and Noise(noise, text.shards.types(), text.shards.counts, text.characters),
        with_clean=True,
    )


def make_teacher(text: Text) -> Teacher:
    """A teacher in float32, wider than the network."""
    bilm = make_model(9, config=WIDE, seed=1).bilm.requires_grad_(False)
    teacher = Teacher(bilm, text.shards.types())
    teacher.dtype = torch.float32
    return teacher


def make_student(text: Text) -> LanguageModel:
    model = make_model(len(text.vocabulary))
    return LanguageModel(model.bilm, model.softmax, make_teacher(text))


def test_the_teacher_reads_as_a_language_model_does(text: Text) -> None:
    """Both directions, over windows whose state carries over."""
    teacher, batches = make_teacher(text), make_batches(text)
    model = LanguageModel(teacher.bilm, make_model(9, config=WIDE).softmax)
    state = expected_state = model.zero_state(N_LANES)
    for step in range(3):
        (batch,) = batches[step]
        assert batch.clean is not None
        layers, state = teacher.read(batch.clean, state)
        top, expected_state = model.contextualize(batch, expected_state)
        assert len(layers) == 3
        torch.testing.assert_close(layers[-1], top.detach().flatten(1, 2))
    for found, expected in zip(state, expected_state):
        torch.testing.assert_close(found.hidden, expected.hidden)
        torch.testing.assert_close(found.cell, expected.cell)


def test_captured_steps_have_the_states_of_the_network_alone(
    text: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU replays them with new states, which are copied over the captured ones."""
    model = make_student(text)

    def capture(
        stack: Any, arguments: tuple[torch.Tensor, ...], **settings: Any
    ) -> Any:
        def replay(*tensors: torch.Tensor) -> Any:
            assert [t.shape for t in tensors] == [a.shape for a in arguments]
            return stack(*tensors)

        return replay

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", capture)
    (batch,) = make_batches(text)[0]
    expected = model(batch, model.zero_state(N_LANES))
    model.capture(UNROLL_STEPS, N_LANES)
    found = model(batch, model.zero_state(N_LANES))
    torch.testing.assert_close(found.teacher, expected.teacher)


def test_the_teacher_reads_text_without_noise(text: Text) -> None:
    noise = NoiseSettings(misspelled=0.5, upper_case=1.0)
    (noisy,), (plain,) = make_batches(text, noise)[0], make_batches(text)[0]
    assert not torch.equal(noisy.char_ids[noisy.inputs], plain.char_ids[plain.inputs])
    assert noisy.clean is not None
    types = noisy.clean.types[noisy.clean.inputs.numpy()]
    ids = noisy.window.tokens.transpose(0, 2, 1)[:, :-1].copy()
    ids[1][ids[1] == 0] = len(text.shards.types()) + 1
    np.testing.assert_array_equal(types, ids)


@pytest.mark.parametrize("direction", [0, 1])
def test_a_direction_only_matches_the_same_direction(
    text: Text, direction: int
) -> None:
    model = make_student(text)
    (batch,) = make_batches(text)[0]
    losses = model(batch, model.zero_state(N_LANES))
    losses.teacher[direction].sum().backward()
    gradients = {n: p.grad for n, p in model.named_parameters()}
    own, other = ("forward", "backward")[:: 1 - 2 * direction]
    for part in ("bilm", "match"):
        for name, gradient in gradients.items():
            has_gradient = gradient is not None and bool(gradient.any())
            if name.startswith(f"{part}.{own}_layers") and "weight" in name:
                assert has_gradient, name
            if name.startswith(f"{part}.{other}_layers"):
                assert not has_gradient, name


def test_a_word_only_matches_what_was_read_so_far(text: Text) -> None:
    """In the reading order of each direction."""
    model = make_student(text)
    (batch,) = make_batches(text)[0]
    before = model(batch, model.zero_state(N_LANES)).teacher
    assert batch.clean is not None
    for inputs in (batch.inputs, batch.clean.inputs):
        inputs[:, -1] = inputs[:, -1].roll(1, dims=-1)
    after = model(batch, model.zero_state(N_LANES)).teacher
    torch.testing.assert_close(after[:, :-1], before[:, :-1])
    assert not torch.allclose(after[:, -1], before[:, -1])


@pytest.mark.parametrize(
    ("n_layers", "n_targets", "sources"),
    [(1, 2, [0, 1, 1]), (2, 2, [0, 1, 2]), (3, 2, [0, 2, 3]), (2, 1, [0, 2])],
)
def test_layers_of_networks_of_other_depths(
    n_layers: int, n_targets: int, sources: list[int]
) -> None:
    """The top layer always matches the top layer."""
    match = LayerMatch(
        CONFIG.replace(n_layers=n_layers), WIDE.replace(n_layers=n_targets)
    )
    assert match.sources == sources
    assert len(match.projections) == n_targets + 1


def test_distance(text: Text) -> None:
    """The definition, value by value; 1 for a projection that knows nothing."""
    model = make_student(text)
    assert model.match is not None
    layers = [torch.randn(2, 4, CONFIG.projection_dim) for _ in range(3)]
    targets = [3 + 5 * torch.randn(2, 4, WIDE.projection_dim) for _ in range(3)]
    backend = model.bilm.backend()
    found = model.match(layers, targets, backend).detach()
    for direction in range(2):
        for row in range(4):
            errors = []
            for layer, target, pair in zip(layers, targets, model.match.projections):
                goal = target[direction, row]
                goal = (goal - goal.mean()) / goal.std(correction=0)
                guess = pair[direction](layer[direction, row])
                errors.append(((guess - goal) ** 2).mean().item())
            expected = sum(errors) / len(errors)
            assert float(found[direction, row]) == pytest.approx(expected, rel=1e-4)
    with torch.no_grad():
        for parameter in model.match.parameters():
            parameter.zero_()
    nothing = model.match(layers, targets, backend)
    torch.testing.assert_close(nothing, torch.ones(2, 4), atol=1e-4, rtol=0)


def test_batches_have_clean_text_only_if_asked(text: Text) -> None:
    lanes = Lanes(text.shards, N_LANES, UNROLL_STEPS)
    own = slice(0, N_LANES)
    (batch,) = Batches(lanes, own, text.table, text.vocabulary)[0]
    assert batch.clean is None
