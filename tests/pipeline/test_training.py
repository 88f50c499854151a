"""Training: heads learn their mixes, and an unfrozen biLM learns with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.pipelines import (
    CONCAT_TWICE,
    LISTENER,
    blank,
    docs_of,
    examples,
    mixes,
    own_bilm,
    parameters,
    same_numbers,
    spied,
    train,
    trainable,
)
from numpy.testing import assert_array_equal
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from spacy_elmo import BiLM
from spacy_elmo.formats import native
from spacy_elmo.layers.elmo_model import get_bilm

HEADS = {"tagger": LISTENER, "ner": LISTENER}


def _mix(nlp: Language, head: str) -> Any:
    return mixes(nlp.get_pipe(head).model)[0]


def _learned(nlp: Language, head: str) -> tuple[np.ndarray, float]:
    mix = _mix(nlp, head)
    return mix.get_param("scalars").copy(), float(mix.get_param("gamma")[0])


def test_each_head_learns_its_own_mix(weights: Path) -> None:
    nlp = trainable(HEADS, weights)
    for head in HEADS:
        scalars, gamma = _learned(nlp, head)
        assert not scalars.any()
        assert gamma == 1.0
    train(nlp, 5)
    (tagger, tagger_gamma), (ner, ner_gamma) = (_learned(nlp, h) for h in HEADS)
    for scalars, gamma in ((tagger, tagger_gamma), (ner, ner_gamma)):
        assert np.abs(scalars).min() > 0
        assert gamma != 1.0
    assert not np.array_equal(tagger, ner)
    assert tagger_gamma != ner_gamma


def test_frozen_uses_neither_autograd_nor_the_optimizer(
    weights: Path, tiny_bilm: BiLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = trainable(HEADS, weights)
    elmo = nlp.get_pipe("elmo")
    before = native.to_bytes(elmo.bilm)
    shim = elmo.model.layers[0].shims[0]
    updates: list[Any] = []
    for name in ("begin_update", "finish_update"):
        monkeypatch.setattr(shim, name, spied(getattr(shim, name), updates))
    graphs: list[bool] = []
    elmo.bilm.register_forward_hook(lambda m, i, out: graphs.append(out.requires_grad))
    sgd, keys = nlp.create_optimizer(), []

    def spy(key: tuple[int, str], *args: Any, **kwargs: Any) -> Any:
        keys.append(key)
        return sgd(key, *args, **kwargs)

    spy.learn_rate = 0.01  # type: ignore[attr-defined]
    losses: dict[str, float] = {}
    for _ in range(3):
        nlp.update(examples(nlp), sgd=spy, losses=losses)  # type: ignore[arg-type]
    # After the first update, the docs' layers are cached.
    assert graphs == [False]
    assert updates == []
    assert keys
    assert elmo.model.layers[0].id not in {key[0] for key in keys}
    assert shim.id not in {key[0] for key in keys}
    assert all(p.grad is None for p in elmo.bilm.parameters())
    assert native.to_bytes(elmo.bilm) == before
    assert losses["elmo"] == 0.0


def test_unfrozen(weights: Path, tiny_bilm: BiLM) -> None:
    nlp = trainable(HEADS, weights, elmo={"frozen": False})
    history = train(nlp, 4)
    same = same_numbers(nlp.get_pipe("elmo").bilm, tiny_bilm)
    assert not any(same.values()), [name for name, is_same in same.items() if is_same]
    assert history[-1]["elmo"] > 0


@pytest.mark.parametrize("frozen_head", ["tagger", "ner"])
def test_unfrozen_with_one_head_frozen(
    weights: Path, tiny_bilm: BiLM, frozen_head: str
) -> None:
    """The biLM learns from the trained head."""
    nlp = trainable(HEADS, weights, elmo={"frozen": False})
    before = nlp.get_pipe(frozen_head).model.to_bytes()
    history = train(nlp, 4, exclude=[frozen_head])
    assert not any(same_numbers(nlp.get_pipe("elmo").bilm, tiny_bilm).values())
    assert nlp.get_pipe(frozen_head).model.to_bytes() == before
    # Gradients of the last batch are used in the next step.
    assert history[-2]["elmo"] > 0


def test_unfrozen_with_heads_disabled_on_linking(
    weights: Path, tiny_bilm: BiLM
) -> None:
    """`spacy train` disables sourced heads while it initializes the others."""
    nlp = trainable(HEADS, weights, elmo={"frozen": False})
    with nlp.select_pipes(disable=list(HEADS)):
        nlp._link_components()
    assert not nlp.get_pipe("elmo").listeners
    train(nlp, 4)
    assert not any(same_numbers(nlp.get_pipe("elmo").bilm, tiny_bilm).values())


def test_unfrozen_with_a_head_that_skips_a_batch(
    weights: Path, tiny_bilm: BiLM
) -> None:
    """NER sends no gradients if no doc has entity annotation."""
    nlp = trainable(HEADS, weights, elmo={"frozen": False})
    words = ["She", "sat", "on", "the", "bank"]
    annotation = {"words": words, "tags": ["PRP", "VBD", "IN", "DT", "NN"]}
    sgd = nlp.create_optimizer()
    losses: dict[str, float] = {}
    for _ in range(5):
        example = Example.from_dict(Doc(nlp.vocab, words=words), annotation)
        nlp.update([example], sgd=sgd, losses=losses)
    assert losses["elmo"] > 0
    assert not any(same_numbers(nlp.get_pipe("elmo").bilm, tiny_bilm).values())


@pytest.mark.parametrize("words", [[], ["\n"], [" ", "\n\n"]])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("tok2vec", ["listener", "own"])
def test_update_without_words(
    weights: Path, frozen: bool, words: list[str], tok2vec: str
) -> None:
    arch = LISTENER if tok2vec == "listener" else own_bilm(weights, frozen=frozen)
    nlp = trainable({"tagger": arch}, weights, elmo={"frozen": frozen})
    annotation = {"words": words, "tags": ["NN"] * len(words)} if words else {}
    sgd = nlp.create_optimizer()
    before = parameters(nlp.get_pipe("elmo").bilm)
    for _ in range(2):
        example = Example.from_dict(Doc(nlp.vocab, words=words), annotation)
        nlp.update([example], sgd=sgd)
    after = parameters(nlp.get_pipe("elmo").bilm)
    assert all(np.isfinite(array).all() for array in after.values())
    assert before.keys() == after.keys()


@pytest.mark.parametrize("frozen_head", [None, "tagger"])
def test_accumulated_updates_as_in_spacy_train(
    weights: Path, tiny_bilm: BiLM, frozen_head: str | None
) -> None:
    """It accumulates gradients over batches, then finishes all components."""
    nlp = trainable(HEADS, weights, elmo={"frozen": False})
    exclude = [frozen_head] if frozen_head else []
    sgd = nlp.create_optimizer()
    for _ in range(3):
        losses: dict[str, float] = {}
        for part in (slice(0, 2), slice(2, 4)):
            nlp.update(examples(nlp)[part], sgd=False, losses=losses, exclude=exclude)
        for name, proc in nlp.pipeline:
            if name not in exclude:
                proc.finish_update(sgd)
        for parameter in nlp.get_pipe("elmo").bilm.parameters():
            assert parameter.grad is None or not parameter.grad.any()
    assert losses["elmo"] > 0
    assert not any(same_numbers(nlp.get_pipe("elmo").bilm, tiny_bilm).values())


def test_gradients_of_two_heads_add_up(weights: Path, tiny_bilm: BiLM) -> None:
    """Compared with autograd of the sum of both heads' losses."""
    nlp = trainable(
        {"tagger": {**LISTENER, "mix": "top"}, "ner": LISTENER},
        weights,
        elmo={"frozen": False},
    )
    mix = _mix(nlp, "ner")
    mix.set_param("scalars", np.asarray([0.4, -0.3, 1.1], dtype="float32"))
    mix.set_param("gamma", np.asarray([1.3], dtype="float32"))
    elmo = nlp.get_pipe("elmo")
    docs = docs_of(nlp, "the river bank", "", "he sat")
    losses: dict[str, float] = {}
    elmo.update([Example(doc, doc.copy()) for doc in docs], losses=losses)
    rng = np.random.default_rng(0)
    sent = []
    for listener in elmo.listeners:
        outputs, backprop = listener.begin_update(docs)
        d_outputs = [rng.normal(size=o.shape).astype("float32") for o in outputs]
        sent.append(torch.from_numpy(np.concatenate(d_outputs)))
        backprop(d_outputs)
    ours = {name: p.grad.clone() for name, p in elmo.bilm.named_parameters()}
    tiny_bilm.zero_grad()
    layers = tiny_bilm([["the", "river", "bank"], ["he", "sat"]])
    s = torch.softmax(torch.tensor([0.4, -0.3, 1.1]), dim=0)
    mixed = 1.3 * torch.tensordot(s, layers, dims=1)
    total = (layers[-1] * sent[0]).sum() + (mixed * sent[1]).sum()
    gradients = torch.autograd.grad(total, list(tiny_bilm.parameters()))
    for (name, parameter), gradient in zip(tiny_bilm.named_parameters(), gradients):
        assert parameter.grad is None
        torch.testing.assert_close(ours[name], gradient, rtol=1e-3, atol=1e-3)
    assert losses["elmo"] > 0


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("kind", ["listener", "own", "concat twice"])
def test_learning_a_few_sentences(weights: Path, kind: str, frozen: bool) -> None:
    own = own_bilm(weights, frozen=frozen)
    tok2vec = {"listener": LISTENER, "own": own, "concat twice": CONCAT_TWICE}[kind]
    nlp = trainable(
        {"tagger": tok2vec, "ner": tok2vec},
        None if kind == "own" else weights,
        elmo=None if kind == "own" else {"frozen": frozen},
    )
    plain = tok2vec in (LISTENER, own)
    steps, rate = (60, 0.03) if not plain else (300, 0.05) if frozen else (200, 0.02)
    history = train(nlp, steps, rate)
    assert history[-1]["tagger"] < 0.2 * history[0]["tagger"]
    assert history[-1]["ner"] < 0.2 * history[0]["ner"]
    scores = nlp.evaluate(examples(nlp))
    assert scores["tag_acc"] >= 0.95
    assert scores["ents_f"] >= 0.95


def test_resume_training(weights: Path, tmp_path: Path) -> None:
    nlp = trainable(HEADS, weights)
    train(nlp, 10)
    nlp.to_disk(tmp_path)
    other = blank(HEADS).from_disk(tmp_path)
    sgd = other.resume_training()
    before = _learned(other, "tagger")[0]
    assert_array_equal(before, _learned(nlp, "tagger")[0])
    losses = other.update(examples(other), sgd=sgd)
    assert losses["tagger"] < 18
    assert not np.array_equal(_learned(other, "tagger")[0], before)


def test_dropout_of_the_update(weights: Path) -> None:
    nlp = trainable({"tagger": LISTENER, "ner": {**LISTENER, "dropout": 0.4}}, weights)
    nlp.update(examples(nlp), drop=0.3)
    assert _mix(nlp, "tagger").attrs["dropout_rate"] == 0.3
    assert _mix(nlp, "ner").attrs["settings"].dropout == 0.4


def test_update_without_listeners(weights: Path, tiny_bilm: BiLM) -> None:
    nlp = trainable({}, weights, elmo={"frozen": False})
    losses = nlp.update(examples(nlp), sgd=nlp.create_optimizer())
    assert losses == {"elmo": 0.0}
    assert all(same_numbers(nlp.get_pipe("elmo").bilm, tiny_bilm).values())


def test_elmo_tok2vec_has_its_own_bilm(weights: Path) -> None:
    own = own_bilm(weights, frozen=False)
    nlp = trainable({"tagger": own, "ner": own}, elmo=None)
    train(nlp, 2, exclude=["ner"])
    tagger, ner = (
        get_bilm(node)
        for head in ("tagger", "ner")
        for node in nlp.get_pipe(head).model.walk()
        if node.name == "elmo_model"
    )
    assert not any(same_numbers(tagger, ner).values())
