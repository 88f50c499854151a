"""Generate a corpus of entities from templates and names, which the sets do not
share."""

import random
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Dict, List, NamedTuple, Sequence, Tuple

import spacy
import srsly
import typer
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from wasabi import msg

SETS = ("train", "dev", "test")
SHARES = (0.6, 0.15, 0.25)
SLOT = re.compile(r"\{(\w+)\}")
# An article before a slot, which becomes "an" if a vowel follows
ARTICLE = re.compile(r"\b([Aa])$")

Grammar = Dict[str, Any]


class Text(NamedTuple):
    """A text with the start, end (in characters) and label of each entity."""

    text: str
    entities: List[Tuple[int, int, str]]


def main(
    grammar: Annotated[
        Path, typer.Argument(help="YAML of templates and names", exists=True)
    ],
    target: Annotated[Path, typer.Argument(help="Folder for the .spacy files")],
    n_train: Annotated[int, typer.Option(help="Training sentences")] = 600,
    n_dev: Annotated[int, typer.Option(help="Development sentences")] = 150,
    n_test: Annotated[int, typer.Option(help="Test sentences")] = 300,
    seed: Annotated[int, typer.Option(help="Random seed")] = 0,
) -> None:
    """Write train.spacy, dev.spacy and test.spacy.

    The sets share no name and no template, so a model that memorizes names or sentences
    finds nothing in the test set.
    """
    rng = random.Random(seed)
    parts = split(srsly.read_yaml(grammar), rng)
    nlp = spacy.blank("en")
    target.mkdir(parents=True, exist_ok=True)
    for name, size in zip(SETS, (n_train, n_dev, n_test)):
        texts = make_texts(parts[name], size, rng)
        docs = [make_doc(text, nlp) for text in texts]
        DocBin(docs=docs).to_disk(target / f"{name}.spacy")
        msg.good(
            f"{target / name}.spacy: {len(docs)} sentences, "
            f"{sum(len(doc.ents) for doc in docs)} entities from "
            f"{len(parts[name]['templates'])} templates",
            texts[0].text,
        )


def split(grammar: Grammar, rng: random.Random) -> Dict[str, Grammar]:
    """Distribute the templates and names over the sets, which share the fillers."""
    templates = deal(grammar["templates"], rng)
    # A name in several lists goes to a single set; each set gets its share of such
    # names.
    count = Counter(name for names in grammar["names"].values() for name in names)
    shared = deal(sorted(name for name in count if count[name] > 1), rng)
    others = deal(sorted(name for name in count if count[name] == 1), rng)
    parts: Dict[str, Grammar] = {}
    for part in SETS:
        mine = {*shared[part], *others[part]}
        parts[part] = {
            "templates": templates[part],
            "fillers": grammar["fillers"],
            "names": {
                kind: [name for name in found if name in mine or kind == "item"]
                for kind, found in grammar["names"].items()
            },
        }
    return parts


def deal(entries: Sequence[str], rng: random.Random) -> Dict[str, List[str]]:
    """Distribute entries over the sets, by their shares."""
    shuffled = list(entries)
    rng.shuffle(shuffled)
    n_train, n_dev = (round(share * len(shuffled)) for share in SHARES[:2])
    return {
        "train": shuffled[:n_train],
        "dev": shuffled[n_train : n_train + n_dev],
        "test": shuffled[n_train + n_dev :],
    }


def make_texts(grammar: Grammar, size: int, rng: random.Random) -> List[Text]:
    """Generate distinct texts.

    RAISES: ValueError if the grammar does not have enough.
    """
    found: Dict[str, Text] = {}
    for _ in range(20 * size):
        text = fill(rng.choice(grammar["templates"]), grammar, rng)
        found.setdefault(text.text, text)
        if len(found) == size:
            return list(found.values())
    raise ValueError(
        f"expected a grammar with {size} different sentences, found {len(found)}. Ask "
        "for fewer, or write more templates and names."
    )


def fill(template: str, grammar: Grammar, rng: random.Random) -> Text:
    """Fill all slots of a template."""
    text, end = "", 0
    entities: List[Tuple[int, int, str]] = []
    for slot in SLOT.finditer(template):
        text += template[end : slot.start()]
        end = slot.end()
        value = choose(slot[1], grammar, rng)
        if value[0] in "AEIOUaeiou":
            text = ARTICLE.sub(r"\1n", text.rstrip()) + text[len(text.rstrip()) :]
        if slot[1].isupper():
            entities.append((len(text), len(text) + len(value), slot[1]))
        text += value
    text += template[end:]
    return Text(text[0].upper() + text[1:], entities)


def choose(slot: str, grammar: Grammar, rng: random.Random) -> str:
    names = grammar["names"]
    if slot == "PERSON":
        first = rng.choice(names["first"])
        return first if rng.random() < 0.5 else f"{first} {rng.choice(names['last'])}"
    if slot == "PLACE":
        return str(rng.choice(names["place"]))
    if slot == "PRODUCT":
        return f"{rng.choice(names['brand'])} {rng.choice(names['item'])}"
    return str(rng.choice(grammar["fillers"][slot]))


def make_doc(text: Text, nlp: Language) -> Doc:
    """Create a doc with entities.

    RAISES: ValueError if an entity is not aligned with tokens.
    """
    doc = nlp.make_doc(text.text)
    spans = [doc.char_span(start, end, label) for start, end, label in text.entities]
    if None in spans:
        raise ValueError(f"expected entities of whole tokens, found {text}")
    doc.ents = spans  # type: ignore[assignment]
    return doc


if __name__ == "__main__":
    typer.run(main)
