"""Losses, gradients and states equal a reference implementation, which reads word by
word."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence

import pytest
import torch
from helpers.language_models import (
    CONFIG,
    SOFTMAXES,
    Text,
    make_model,
    make_text,
    manylangs_config,
    random_sentences,
    vocabulary_characters,
)
from helpers.slow_lm import Masks, SlowLM, State
from torch import Tensor

from spacy_elmo.bilm.lstm import LSTMState
from spacy_elmo.bilm.softmax import SampledSoftmax
from spacy_elmo.pretraining.data.batches import Batch, Batches
from spacy_elmo.pretraining.data.lanes import Lanes, Window
from spacy_elmo.pretraining.data.random_streams import NEGATIVES, make_generator
from spacy_elmo.pretraining.language_model import (
    LanguageModel,
    SampledRows,
)
from spacy_elmo.text.vocabulary import BEGIN, END, UNKNOWN

N_LANES, UNROLL_STEPS = 3, 4
DOUBLE = torch.float64

CONFIGS = {
    "projected": CONFIG,
    "plain": CONFIG.replace(dim=5, cell_clip=None, forget_bias=0.5),
    "no skips": CONFIG.replace(n_layers=3, use_skip_connections=False),
    "three layers": CONFIG.replace(n_layers=3, proj_clip=None, activation="tanh"),
    "one layer": CONFIG.replace(n_layers=1, n_highway=2, filters=((2, 2), (3, 3))),
}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Text:
    return make_text(tmp_path_factory.mktemp("text"), random_sentences(20), max_size=16)


@dataclass
class Slow:
    """The reference model on a text."""

    model: SlowLM
    text: Text
    softmax: str

    def zero_states(self) -> list[list[State]]:
        return [[self.model.zero_state()] * N_LANES for _ in range(2)]

    def losses(
        self,
        window: Window,
        states: list[list[State]],
        step: int,
        masks: Sequence[Tensor] = (),
    ) -> tuple[Tensor, list[list[State]]]:
        """Losses, (2, U, B), and the states after the window by direction and lane."""
        types, index = self.text.shards.types(), self.text.vocabulary.index
        after: list[list[State]] = [[], []]
        losses: list[list[Tensor]] = [[], []]
        for direction in range(2):
            boundary = (END, BEGIN)[direction]
            for lane in range(N_LANES):
                ids = window.tokens[direction, lane].tolist()
                words = [types[i - 1] if i else None for i in ids]
                tops, state = self.model.read(
                    direction,
                    words[:-1],
                    states[direction][lane],
                    _masks_of(masks, direction, lane, len(words) - 1),
                )
                after[direction].append(state)
                targets = [index.get(w or boundary, index[UNKNOWN]) for w in words[1:]]
                found = [self._loss(*pair, step) for pair in zip(tops, targets)]
                losses[direction].append(torch.stack(found))
        return torch.stack([torch.stack(part, dim=1) for part in losses]), after

    def _loss(self, hidden: Tensor, target: int, step: int) -> Tensor:
        settings = SOFTMAXES[self.softmax]
        if self.softmax == "sampled":
            layer = SampledSoftmax(len(self.text.vocabulary), 1, settings.n_samples)
            draw = layer.sample(make_generator(0, NEGATIVES, step))
            return self.model.sampled_loss(
                hidden, target, draw.words.tolist(), draw.n_tries
            )
        if self.softmax == "adaptive":
            return self.model.adaptive_loss(hidden, target, settings.cutoffs)
        return self.model.full_loss(hidden, target)


def _masks_of(
    masks: Sequence[Tensor], direction: int, lane: int, n_words: int
) -> list[Masks] | None:
    rows = [word * N_LANES + lane for word in range(n_words)]
    return [[mask[direction, row] for mask in masks] for row in rows] if masks else None


def make_batches(
    text: Text, model: LanguageModel, unroll_steps: int = UNROLL_STEPS
) -> Batches:
    lanes = Lanes(text.shards, N_LANES, unroll_steps)
    sampled = model.softmax if isinstance(model.softmax, SampledSoftmax) else None
    own = slice(0, N_LANES)
    return Batches(lanes, own, text.table, text.vocabulary, sampled)


def run(
    model: LanguageModel, batch: Batch, state: Any, **settings: Any
) -> tuple[Tensor, Any, dict[str, Tensor]]:
    """Losses, state, and the dense gradients of a weighted sum of the losses."""
    rows = None
    if batch.sample is not None:
        assert isinstance(model.softmax, SampledSoftmax)
        rows = SampledRows(model.softmax, batch.sample)
    model.zero_grad(set_to_none=True)
    losses, state, _ = model(batch, state, rows=rows, **settings)
    weigh(losses).backward()
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    if rows is not None:
        for name, leaf in (("weight", rows.weight), ("bias", rows.bias)):
            assert leaf.grad is not None
            dense = torch.zeros_like(getattr(model.softmax, name))
            found[f"softmax.{name}"] = dense.index_add_(0, rows.ids, leaf.grad)
    return losses.detach(), state, found


def weigh(losses: Tensor) -> Tensor:
    """A sum with a different weight for each loss."""
    shares = torch.linspace(0.5, 1.5, losses.numel(), dtype=losses.dtype)
    return losses.flatten() @ shares


def assert_same_states(state: list[LSTMState], states: list[list[State]]) -> None:
    for number, layer in enumerate(state):
        for direction in range(2):
            for lane in range(N_LANES):
                slow = states[direction][lane]
                near(layer.hidden[direction, lane], slow.hidden[number])
                near(layer.cell[direction, lane], slow.cell[number])


def near(found: Tensor, expected: Tensor) -> None:
    # The full softmax and the sampling probabilities are always float32.
    torch.testing.assert_close(
        found.detach(), expected.detach(), rtol=2e-6, atol=2e-6, check_dtype=False
    )


def check(
    text: Text,
    model: LanguageModel,
    softmax: str,
    dropout: float = 0.0,
) -> None:
    """Two windows, the second from the state of the first."""
    model = model.double()
    slow = Slow(SlowLM(model), text, softmax)
    batches = make_batches(text, model)
    state, states = model.zero_state(N_LANES), slow.zero_states()
    shape = (2, N_LANES * UNROLL_STEPS, model.bilm.config.projection_dim)
    for step in range(2):
        (batch,) = batches[step]
        torch.manual_seed(step)
        masks: list[Tensor] = []
        if dropout:
            masks = [
                (torch.rand(shape, dtype=DOUBLE) >= dropout) / (1 - dropout)
                for _ in range(model.bilm.config.n_layers + 1)
            ]
        torch.manual_seed(step)
        losses, state, found = run(model, batch, state, dropout=dropout, dtype=DOUBLE)
        expected, states = slow.losses(batch.window, states, step, masks)
        near(losses, expected)
        assert_same_states(state, states)
        assert not any(tensor.requires_grad for layer in state for tensor in layer)
        names = list(slow.model.weights)
        gradients = torch.autograd.grad(
            weigh(expected), [slow.model.weights[name] for name in names]
        )
        assert set(found) == set(names)
        for name, gradient in zip(names, gradients):
            assert gradient.any(), name
            near(found[name], gradient)
        # Backpropagation stops at the start of the window.
        states = [[detached(state) for state in lanes] for lanes in states]


def detached(state: State) -> State:
    return State(*([tensor.detach() for tensor in part] for part in state))


@pytest.mark.parametrize("softmax", SOFTMAXES)
@pytest.mark.parametrize("name", CONFIGS)
def test_losses_gradients_and_states(text: Text, softmax: str, name: str) -> None:
    model = make_model(len(text.vocabulary), softmax, config=CONFIGS[name])
    check(text, model, softmax)


def test_clips_are_reached(text: Text) -> None:
    """Otherwise the comparison would not cover them."""
    model = make_model(len(text.vocabulary)).double()
    (batch,) = make_batches(text, model)[0]
    _, state = model.contextualize(batch, model.zero_state(N_LANES), dtype=DOUBLE)
    for layer in state:
        for tensor, clip in ((layer.cell, 0.6), (layer.hidden, 0.4)):
            assert (tensor.abs() == clip).any()
            assert (tensor.abs() < clip).any()


@pytest.mark.parametrize("softmax", SOFTMAXES)
def test_dropout(text: Text, softmax: str) -> None:
    """With the same masks on the input of each layer, which the skip connection adds
    too, and on the output of the top layer."""
    check(text, make_model(len(text.vocabulary), softmax), softmax, dropout=0.3)


@pytest.mark.parametrize("softmax", ["full", "sampled"])
def test_a_model_of_manylangs(tmp_path: Path, softmax: str) -> None:
    sentences = random_sentences(12)
    characters = vocabulary_characters(sorted({w for s in sentences for w in s}))
    text = make_text(tmp_path, sentences, characters=characters)
    config = manylangs_config(characters)
    model = make_model(
        len(text.vocabulary), softmax, config=config, characters=characters
    )
    check(text, model, softmax)


def test_without_dropout_nothing_is_random(text: Text) -> None:
    model = make_model(len(text.vocabulary))
    (batch,) = make_batches(text, model)[0]
    found = []
    for mode in (True, False):
        model.train(mode)
        found.append(model(batch, model.zero_state(N_LANES))[0])
        found.append(model.contextualize(batch, model.zero_state(N_LANES), 0.5)[0])
    assert torch.equal(found[0], found[2])
    # Only the rate matters, not the mode of the model.
    assert not torch.equal(found[1], found[3])


@pytest.mark.parametrize("softmax", SOFTMAXES)
def test_dtypes(text: Text, softmax: str) -> None:
    """Products in float32 and bfloat16, of weights in float32 and float64."""
    model = make_model(len(text.vocabulary), softmax).double()
    (batch,) = make_batches(text, model)[0]
    state = model.zero_state(N_LANES)
    assert state[0].cell.dtype == DOUBLE
    exact, _, gradients = run(model, batch, state, dtype=DOUBLE)
    for weights in (DOUBLE, torch.float32):
        model = model.to(weights)
        state = model.zero_state(N_LANES)
        assert state[0].cell.dtype == weights
        for dtype, error in ((torch.float32, 1e-4), (torch.bfloat16, 0.3)):
            losses, after, found = run(model, batch, state, dtype=dtype)
            assert after[0].hidden.dtype == after[1].cell.dtype == weights
            torch.testing.assert_close(
                losses, exact, rtol=error, atol=error, check_dtype=False
            )
            for name, gradient in found.items():
                assert gradient.dtype == weights
                difference = (gradient - gradients[name]).norm()
                assert difference < error * gradients[name].norm(), name


def test_a_sampled_batch_needs_its_rows(text: Text) -> None:
    model = make_model(len(text.vocabulary), "sampled")
    (batch,) = make_batches(text, model)[0]
    with pytest.raises(ValueError, match=r"rows: expected the sampled rows.*None"):
        model(batch, model.zero_state(N_LANES))
