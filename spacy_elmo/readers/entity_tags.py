"""Per-word entity tags (IOB1, IOB2, BIOES or BILUO) -> entity spans."""

import re
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

IOB1, IOB2, IOB, BIOES, BILUO = "IOB1", "IOB2", "IOB", "BIOES", "BILUO"
PREFIXES = {
    IOB1: ("I", "B"),
    IOB2: ("B", "I"),
    IOB: ("B", "I"),
    BIOES: ("B", "I", "E", "S"),
    BILUO: ("B", "I", "L", "U"),
}
"""Prefixes of each scheme. IOB is what IOB1 and IOB2 allow together, as conlleval reads
it: B- starts an entity, and so does I- unless it continues one of its type."""

ALIASES = {"BIO": IOB2, "IOBES": BIOES, "BIOUL": BILUO}
LAST = {BIOES: "E", BILUO: "L"}
"""Prefix of the last word of an entity of more than one."""

_TAG = re.compile(r"O|[BIELSU]-.+")


class Entity(NamedTuple):
    """An entity span. `end` is exclusive, as in spaCy."""

    start: int
    end: int
    label: str


class TagError(ValueError):
    """A tag that its scheme does not allow, or not in this position.

    index (int): Index of the word in its sentence.
    """

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


class MixedTagsError(ValueError):
    """A corpus with tags that only IOB1 allows and tags that only IOB2 allows.

    iob1 (Tuple[int, int]): Index of the sentence, and of the word in it, of the first
        tag that only IOB1 allows.
    iob2 (Tuple[int, int]): The same for IOB2.
    """

    def __init__(self, iob1: Tuple[int, int], iob2: Tuple[int, int]) -> None:
        super().__init__(f"expected tags of one scheme, found {IOB1} and {IOB2}")
        self.iob1, self.iob2 = iob1, iob2


def is_tag(text: str) -> bool:
    """Check whether a text is an entity tag of any scheme."""
    return _TAG.fullmatch(text) is not None


def find_scheme(sentences: Iterable[Sequence[str]]) -> str:
    """Detect the tagging scheme of a corpus.

    It is BIOES if there is any E- or S- tag, BILUO if there is any L- or U- tag, and
    IOB1 if any entity starts with I-, as in CoNLL-2003, where B- is reserved for
    entities that follow another of their type. Otherwise it is IOB2.

    sentences (Iterable[Sequence[str]]): The tags of each sentence.
    RETURNS (str): The scheme.
    RAISES: MixedTagsError if, in IOB tags, some entities start with I- and others with
        a B- that IOB1 does not allow.
    """
    starts: Dict[str, Tuple[int, int]] = {}
    for number, tags in enumerate(sentences):
        for index, (previous, tag) in enumerate(zip(["O", *tags], tags)):
            prefix, label = tag[:2], tag[2:]
            if prefix in ("E-", "S-"):
                return BIOES
            if prefix in ("L-", "U-"):
                return BILUO
            if prefix in ("I-", "B-") and previous[2:] != label:
                starts.setdefault(prefix, (number, index))
    if len(starts) == 2:
        raise MixedTagsError(iob1=starts["I-"], iob2=starts["B-"])
    return IOB1 if "I-" in starts else IOB2


def read_entities(tags: Sequence[str], scheme: str) -> List[Entity]:
    """Convert the tags of a sentence to entity spans.

    tags (Sequence[str]): One tag per word.
    scheme (str): "IOB1", "IOB2", "IOB", "BIOES" or "BILUO".
    RETURNS (List[Entity]): The entities, in order.
    RAISES: TagError if the scheme does not allow a tag, or not in its position.
    """
    entities: List[Entity] = []
    open_entity: Optional[Tuple[int, str]] = None
    for index, tag in enumerate([*tags, "O"]):
        prefix, label = _split(tag, scheme, index)
        open_label = open_entity[1] if open_entity else None
        continues = prefix in "IEL" and label == open_label
        if open_entity and not continues:
            if scheme in LAST:
                raise TagError(
                    index - 1,
                    f"expected {LAST[scheme]}-{open_label} next ({scheme}), found "
                    f"{tag}",
                )
            entities.append(Entity(open_entity[0], index, open_entity[1]))
            open_entity = None
        if prefix != "O" and not continues:
            _check_start(prefix, label, index, scheme, entities)
            open_entity = index, label
        if open_entity and prefix in "ELSU":
            entities.append(Entity(open_entity[0], index + 1, label))
            open_entity = None
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
    """Check whether a tag may start an entity after the preceding entities."""
    follows_same_type = bool(entities) and entities[-1][1:] == (index, label)
    if prefix in "IEL" and scheme not in (IOB1, IOB):
        raise TagError(
            index,
            f"expected {prefix}-{label} inside an entity of its type ({scheme}), found "
            "it at the start of one",
        )
    if prefix == "B" and scheme == IOB1 and not follows_same_type:
        raise TagError(
            index,
            f"expected B-{label} right after another entity of its type ({scheme}), "
            "found it elsewhere",
        )
