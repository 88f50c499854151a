"""Entity tags in each scheme -> spans."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_elmo.readers.entity_tags import (
    BILUO,
    BIOES,
    IOB,
    IOB1,
    IOB2,
    MixedTagsError,
    TagError,
    find_scheme,
    read_entities,
)

# The entities of a sentence, in order: number of words before, length, type.
PLANS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from(["PER", "LOC"])),
    max_size=5,
)


def to_tags(plan: list[tuple[int, int, str]], scheme: str) -> list[str]:
    tags: list[str] = []
    for n_before, length, label in plan:
        tags += ["O"] * n_before
        if scheme == IOB1:
            first = "B" if tags and tags[-1][2:] == label else "I"
            prefixes = [first] + ["I"] * (length - 1)
        elif scheme == IOB2:
            prefixes = ["B"] + ["I"] * (length - 1)
        else:
            last, single = "ES" if scheme == BIOES else "LU"
            inside = ["B"] + ["I"] * (length - 2) + [last]
            prefixes = [single] if length == 1 else inside
        tags += [f"{prefix}-{label}" for prefix in prefixes]
    return tags


def to_spans(plan: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    spans, end = [], 0
    for n_before, length, label in plan:
        start = end + n_before
        end = start + length
        spans.append((start, end, label))
    return spans


@pytest.mark.parametrize("scheme", [IOB1, IOB2, BIOES, BILUO])
@given(plan=PLANS)
def test_round_trip(scheme: str, plan: list[tuple[int, int, str]]) -> None:
    assert read_entities(to_tags(plan, scheme), scheme) == to_spans(plan)


@pytest.mark.parametrize("scheme", [IOB1, IOB2])
@given(plan=PLANS)
def test_iob_reads_both_of_its_schemes(
    plan: list[tuple[int, int, str]], scheme: str
) -> None:
    assert read_entities(to_tags(plan, scheme), IOB) == to_spans(plan)


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (["O", "I-PER", "B-PER"], IOB1),
        (["I-LOC", "I-PER"], IOB1),
        (["O", "B-PER", "I-PER"], IOB2),
        (["O", "O"], IOB2),
        (["B-PER", "B-PER"], IOB2),
        (["B-PER", "E-PER"], BIOES),
        (["S-PER", "O"], BIOES),
        (["B-PER", "L-PER"], BILUO),
        (["U-PER", "O"], BILUO),
    ],
)
def test_find_scheme(tags: list[str], scheme: str) -> None:
    assert find_scheme([["O"], tags]) == scheme


def test_tags_of_two_schemes() -> None:
    sentences = [["O"], ["B-PER", "O", "I-PER"], ["I-LOC"], ["O", "B-LOC"]]
    for mixed in (sentences, sentences[::-1]):
        with pytest.raises(MixedTagsError, match="one scheme") as error:
            find_scheme(mixed)
        places = [(mixed[i][j][0], j) for i, j in (error.value.iob1, error.value.iob2)]
        assert [prefix for prefix, _ in places] == ["I", "B"]
    assert (error.value.iob1, error.value.iob2) == ((1, 0), (0, 1))
    assert find_scheme([*sentences, ["S-PER"]]) == BIOES


@pytest.mark.parametrize(
    ("tags", "scheme", "index", "message"),
    [
        (["O", "PER"], IOB2, 1, "expected O, B-TYPE, I-TYPE"),
        (["B-"], IOB2, 0, "found 'B-'"),
        (["S-PER"], IOB1, 0, "expected O, I-TYPE, B-TYPE"),
        (["O", "I-PER"], IOB2, 1, "at the start of one"),
        (["B-LOC", "I-PER"], IOB2, 1, "at the start of one"),
        (["O", "B-PER"], IOB1, 1, "right after another"),
        (["I-LOC", "B-PER"], IOB1, 1, "right after another"),
        (["I-PER", "O", "B-PER"], IOB1, 2, "right after another"),
        (["B-PER", "O"], BIOES, 0, "expected E-PER next"),
        (["B-PER", "I-PER"], BIOES, 1, "expected E-PER next"),
        (["B-PER", "S-PER"], BIOES, 0, "expected E-PER next"),
        (["S-PER", "E-PER"], BIOES, 1, "at the start of one"),
        (["B-PER", "O"], BILUO, 0, "expected L-PER next"),
        (["U-PER", "E-PER"], BILUO, 1, "expected O, B-TYPE, I-TYPE, L-TYPE"),
        (["E-PER"], IOB, 0, "expected O, B-TYPE, I-TYPE"),
    ],
)
def test_invalid_tags(tags: list[str], scheme: str, index: int, message: str) -> None:
    with pytest.raises(TagError, match=message) as error:
        read_entities(tags, scheme)
    assert error.value.index == index
