"""Perplexities are exact and count every target once, however the text is divided."""

from __future__ import annotations

import math
import tempfile
import threading
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Sequence

import pytest
import torch
from helpers.language_models import (
    SOFTMAXES,
    Text,
    make_model,
    make_shards,
    make_text,
    random_sentences,
)
from helpers.slow_lm import SlowLM
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from spacy_elmo.pretraining.distributed import Group
from spacy_elmo.pretraining.evaluation import evaluate, prefix
from spacy_elmo.pretraining.language_model import LanguageModel
from spacy_elmo.scoring.perplexity import Perplexities
from spacy_elmo.text.vocabulary import BEGIN, END, UNKNOWN, Vocabulary

ALONE = Group(0, 1, torch.device("cpu"))
UNROLL_STEPS = 32
SENTENCES = random_sentences(700, n_types=40)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Text:
    """A text of six lanes, which read some ids twice."""
    folder = tmp_path_factory.mktemp("long")
    return make_text(folder, SENTENCES, shard_tokens=1000, max_size=25)


def run(
    text: Text,
    model: LanguageModel,
    n_words: int | None = None,
    group: Group = ALONE,
    dtype: torch.dtype = torch.float32,
) -> Perplexities:
    return evaluate(
        model,
        text.shards,
        text.table,
        text.vocabulary,
        group=group,
        n_words=n_words,
        dtype=dtype,
    )


def words_for(n_ids: int) -> list[list[str]]:
    """Sentences with this number of ids, including their ends."""
    words = [word for sentence in SENTENCES for word in sentence]
    sentences = []
    while n_ids:
        length = min(1 + len(sentences) % 6, n_ids - 1)
        length += n_ids - length - 1 == 1
        sentences.append(words[:length])
        del words[:length]
        n_ids -= length + 1
    return sentences


@torch.no_grad()
def slow_nll(
    text: Text, model: LanguageModel, softmax: str, n_lanes: int = 1
) -> tuple[Tensor, Tensor]:
    """Loss of each id as a target of the forward and the backward LM, in any order."""
    slow, index, tokens = SlowLM(model), text.vocabulary.index, text.tokens
    n_ids = len(tokens)
    window = min(UNROLL_STEPS, n_ids)
    # A lane's last window continues in the next lane, or at the start of the text.
    length = -(-n_ids // (n_lanes * window)) * window
    starts = [lane * n_ids // n_lanes for lane in range(n_lanes + 1)]
    losses: tuple[list[Tensor], list[Tensor]] = ([], [])
    for start, end in pairwise(starts):
        # Only the lane's own ids count: the first that the forward LM reads, and the
        # last that the backward LM reads.
        forward = range(start - 1, end)
        backward = range(start + length - 1, start - 2, -1)
        for direction, places in enumerate((forward, backward)):
            words = [tokens[place % n_ids] for place in places]
            tops, _ = slow.read(direction, words[:-1], slow.zero_state())
            boundary = (END, BEGIN)[direction]
            counted = slice(start - end, None)
            for top, word in zip(tops[counted], words[counted]):
                target = index.get(word or boundary, index[UNKNOWN])
                if softmax == "adaptive":
                    cutoffs = SOFTMAXES[softmax].cutoffs
                    losses[direction].append(slow.adaptive_loss(top, target, cutoffs))
                else:
                    losses[direction].append(slow.full_loss(top, target))
    return torch.stack(losses[0]), torch.stack(losses[1])


@pytest.mark.parametrize("softmax", SOFTMAXES)
@pytest.mark.parametrize("n_ids", [2, 7, 32, 33, 96, 150])
def test_equals_the_reference(tmp_path: Path, n_ids: int, softmax: str) -> None:
    """Exact with any type of softmax."""
    text = make_text(tmp_path, words_for(n_ids), shard_tokens=40)
    assert len(text.ids) == n_ids
    # The smallest text has one word and the special tokens.
    text.vocabulary = Vocabulary.from_counts(
        [*text.shards.types()[::2], *(f"other{i}" for i in range(20))],
        torch.arange(50, 50 - 20 - len(text.shards.types()[::2]), -1).numpy(),
        10,
    )
    model = make_model(len(text.vocabulary), softmax)
    forward, backward = slow_nll(text, model, softmax)
    found = run(text, model)
    assert found.forward == pytest.approx(math.exp(forward.mean()), rel=1e-5)
    assert found.backward == pytest.approx(math.exp(backward.mean()), rel=1e-5)
    mean = float(torch.cat([forward, backward]).mean())
    assert found.mean == pytest.approx(math.exp(mean), rel=1e-5)
    words = [token for token in text.tokens if token is not None]
    unknown = [word for word in words if word not in text.vocabulary.index]
    assert found.n_words == len(words)
    assert found.oov_rate == len(unknown) / len(words)


def uniform_model(n_words: int) -> LanguageModel:
    model = make_model(n_words)
    torch.nn.init.zeros_(model.softmax.weight)
    torch.nn.init.zeros_(model.softmax.bias)
    return model


def unigram_model(n_words: int) -> LanguageModel:
    """A model whose likelihoods depend only on the target."""
    model = uniform_model(n_words)
    torch.manual_seed(5)
    torch.nn.init.normal_(model.softmax.bias, std=2.0)
    return model


def unigram_perplexity(text: Text, n_ids: int, boundary: str) -> float:
    """The expected perplexity of `unigram_model`, from the counts of the words."""
    model, index = unigram_model(len(text.vocabulary)), text.vocabulary.index
    nll = -torch.log_softmax(model.softmax.bias.detach().double()[:, 0], 0)
    counts = Counter(token or boundary for token in text.tokens[:n_ids])
    total = sum(
        count * float(nll[index.get(word, index[UNKNOWN])])
        for word, count in counts.items()
    )
    return math.exp(total / n_ids)


@pytest.mark.parametrize("n_ids", [31, 511, 1023, 1024, 1025, 1600, 2048, 2600])
def test_every_target_counts_once(tmp_path: Path, n_ids: int) -> None:
    """With one lane and with several, of equal and of different lengths."""
    text = make_text(tmp_path, words_for(n_ids), shard_tokens=700)
    found = run(text, unigram_model(len(text.vocabulary)))
    for perplexity, boundary in ((found.forward, END), (found.backward, BEGIN)):
        expected = unigram_perplexity(text, n_ids, boundary)
        assert perplexity == pytest.approx(expected, rel=1e-6)
    assert found.forward != pytest.approx(found.backward, rel=1e-3)
    assert found.mean == pytest.approx(math.sqrt(found.forward * found.backward))


def test_lanes_are_read_from_both_ends(tmp_path: Path) -> None:
    text = make_text(tmp_path, words_for(1030), shard_tokens=700)
    model = make_model(len(text.vocabulary))
    found = run(text, model)
    forward, backward = slow_nll(text, model, "full", n_lanes=2)
    assert len(forward) == len(backward) == 1030
    assert found.forward == pytest.approx(math.exp(forward.mean()), rel=1e-6)
    assert found.backward == pytest.approx(math.exp(backward.mean()), rel=1e-6)


class Exchange:
    """Sums over threads, as gloo does over processes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size)
        self.given: list[list[Tensor]] = [[] for _ in range(size)]

    def add_up(self, rank: int, tensors: Sequence[Tensor]) -> None:
        self.given[rank] = [tensor.clone() for tensor in tensors]
        self.barrier.wait(60)
        for tensor, *parts in zip(tensors, *self.given):
            tensor.copy_(torch.stack(parts).sum(dim=0))


class ThreadGroup(Group):
    exchange: Exchange

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        self.exchange.add_up(self.rank, tensors)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_processes_share_the_lanes(long: Text, size: int) -> None:
    """Even if there are more processes than lanes."""
    model = make_model(len(long.vocabulary))
    expected = run(long, model)
    exchange = Exchange(size)
    found: dict[int, Perplexities] = {}

    def work(rank: int) -> None:
        group = ThreadGroup(rank, size, torch.device("cpu"))
        object.__setattr__(group, "exchange", exchange)
        found[rank] = run(long, model, group=group)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == size
    for perplexities in found.values():
        assert perplexities == pytest.approx(expected, rel=1e-6)
    counts = [int(given[0][2]) for given in exchange.given]
    assert sum(counts) == len(long.ids)
    assert counts.count(0) == max(0, size - 6)


@pytest.mark.parametrize("n_words", [1, 40, 1500])
def test_only_the_first_words(long: Text, tmp_path: Path, n_words: int) -> None:
    """As if the text ended there."""
    n_ids = prefix(long.shards, n_words)
    n_sentences = long.ids[:n_ids].count(0)
    part = make_text(tmp_path, SENTENCES[:n_sentences])
    part.vocabulary = long.vocabulary
    model = make_model(len(long.vocabulary))
    found = run(long, model, n_words)
    assert found == pytest.approx(run(part, model), rel=1e-6)
    assert found.n_words == sum(map(len, SENTENCES[:n_sentences]))
    assert found.n_words < run(long, model).n_words
    assert run(long, model, 10**6) == run(long, model)


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    n_words=st.integers(1, 120),
    shard_tokens=st.sampled_from([1, 7, 1000]),
)
@example(lengths=[5, 5], n_words=6, shard_tokens=1)
def test_a_prefix_ends_with_a_sentence(
    lengths: list[int], n_words: int, shard_tokens: int
) -> None:
    """The last one that ends within the limit, but at least one, in any shard."""
    sentences = [["w"] * length for length in lengths]
    with tempfile.TemporaryDirectory() as folder:
        shards = make_shards(Path(folder), sentences, shard_tokens)
        found = prefix(shards, n_words)
        assert prefix(shards, None) == shards.n_ids
    ends = [sum(lengths[: n + 1]) + n + 1 for n in range(len(lengths))]
    assert found == max([end for end in ends if end <= n_words], default=ends[0])


def test_a_text_of_unknown_words(long: Text) -> None:
    """They count as <UNK>."""
    other = Vocabulary([UNKNOWN, BEGIN, END, "other"], [4, 3, 2, 1])
    model = uniform_model(4)
    found = evaluate(model, long.shards, long.table, other, group=ALONE)
    assert found.oov_rate == 1.0
    assert found.forward == pytest.approx(4, rel=1e-6)


def test_dtypes(long: Text) -> None:
    model = make_model(len(long.vocabulary))
    exact, rough = run(long, model), run(long, model, dtype=torch.bfloat16)
    assert rough != exact
    assert rough == pytest.approx(exact, rel=0.02)
    assert run(long, model.double(), dtype=torch.float64) == pytest.approx(
        exact, rel=1e-5
    )


def test_evaluation_changes_nothing(long: Text) -> None:
    model = make_model(len(long.vocabulary), "sampled")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first = run(long, model)
    # The random state is unchanged.
    assert torch.equal(torch.rand(1), expected)
    assert run(long, model) == first
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_infinite_perplexity(long: Text) -> None:
    model = uniform_model(len(long.vocabulary))
    with torch.no_grad():
        model.softmax.bias[0] = 1e5
    found = run(long, model)
    assert found.forward == found.backward == found.mean == math.inf
