"""The tags of entities in columns of text: IOB1, IOB2, BIOES -> spans."""

from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

IOB1, IOB2, BIOES = "IOB1", "IOB2", "BIOES"
PREFIXES = {IOB1: ("I", "B"), IOB2: ("B", "I"), BIOES: ("B", "I", "E", "S")}


class Entity(NamedTuple):
    """Of the words from start to end, that one not included."""

    start: int
    end: int
    label: str


class TagError(ValueError):
    """A tag that its scheme does not have, or does not have there.

    index: of the word in its sentence.
    """

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


class MixedTagsError(ValueError):
    """Tags that are in no one scheme: some begin entities as only IOB1 has it, others
    as only IOB2 has it.

    iob1, iob2: where the first of each stands: the sentence, the word in it.
    """

    def __init__(self, iob1: Tuple[int, int], iob2: Tuple[int, int]) -> None:
        super().__init__(f"expected tags of one scheme, found {IOB1} and {IOB2}")
        self.iob1, self.iob2 = iob1, iob2


def find_scheme(sentences: Iterable[Sequence[str]]) -> str:
    """The scheme that the tags of a corpus are written in.

    BIOES, if there is an E- or S-. IOB1, if an I- begins an entity: as in CoNLL-2003,
    where B- is left to entities that follow another of their type. Else IOB2.

    Raises MixedTagsError where, without BIOES, an I- begins an entity and so does a B-
    that IOB1 forbids.
    """
    starts: Dict[str, Tuple[int, int]] = {}
    for number, tags in enumerate(sentences):
        for index, (before, tag) in enumerate(zip(["O", *tags], tags)):
            prefix, label = tag[:2], tag[2:]
            if prefix in ("E-", "S-"):
                return BIOES
            if prefix in ("I-", "B-") and before[2:] != label:
                starts.setdefault(prefix, (number, index))
    if len(starts) == 2:
        raise MixedTagsError(iob1=starts["I-"], iob2=starts["B-"])
    return IOB1 if "I-" in starts else IOB2


def read_entities(tags: Sequence[str], scheme: str) -> List[Entity]:
    """The entities of one sentence, from the tags of its words.

    Raises TagError for a tag that the scheme does not have, or does not have there.
    """
    entities: List[Entity] = []
    started: Optional[Tuple[int, str]] = None
    for index, tag in enumerate([*tags, "O"]):
        prefix, label = _split(tag, scheme, index)
        continues = prefix in "IE" and started is not None and started[1] == label
        if started and not continues:
            if scheme == BIOES:
                raise TagError(
                    index - 1, f"expected E-{started[1]} next ({scheme}), found {tag}"
                )
            entities.append(Entity(started[0], index, started[1]))
            started = None
        if prefix != "O" and not continues:
            _check_start(prefix, label, index, scheme, entities)
            started = index, label
        if started and prefix in "ES":
            entities.append(Entity(started[0], index + 1, label))
            started = None
    return entities


def _split(tag: str, scheme: str, index: int) -> Tuple[str, str]:
    prefix, _, label = tag.partition("-")
    if tag != "O" and (prefix not in PREFIXES[scheme] or not label):
        prefixes = ", ".join(f"{prefix}-TYPE" for prefix in PREFIXES[scheme])
        raise TagError(index, f"expected O, {prefixes} ({scheme}), found {tag!r}")
    return prefix, label


def _check_start(
    prefix: str, label: str, index: int, scheme: str, entities: List[Entity]
) -> None:
    """Whether an entity may begin so, after those before it."""
    follows_its_like = bool(entities) and entities[-1][1:] == (index, label)
    if prefix in "IE" and scheme != IOB1:
        raise TagError(
            index,
            f"expected {prefix}-{label} inside an entity of its type ({scheme}), found "
            "it where none has begun",
        )
    if prefix == "B" and scheme == IOB1 and not follows_its_like:
        raise TagError(
            index,
            f"expected B-{label} right after another entity of its type ({scheme}), "
            "found it after something else",
        )
