"""Create the sets on which inputs are compared: annotated words, and the test sets in
lower case, in capitals and with misspellings.

Each line of a set is a sentence: "words", "spans" (start and end of what needs a
vector), and "labels", one per span.
"""

import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Optional,
    Sequence,
    Set,
    Tuple,
)

import spacy
import srsly
import typer
from probing import read_pairs
from spacy.training.converters import conllu_to_docs
from treebank import spread
from wasabi import msg

Row = Dict[str, Any]
Label = Tuple[str, str]
"""A lemma and the kind of a sense of it."""

VARIANTS = ("", "-lower", "-capitals", "-misspelt")
"""Suffixes of the test sets' names."""

MIN_LETTERS = 3
"""Shorter words are not misspelt."""


def main(
    treebank: Annotated[Path, typer.Argument(help="CoNLL-U file to train on")],
    assets: Annotated[Path, typer.Argument(help="Folder of the other assets")],
    semcor: Annotated[Path, typer.Argument(help="SemCor (.jsonl)", exists=True)],
    target: Annotated[Path, typer.Argument(help="Folder to write")],
    n_train: Annotated[
        int, typer.Option(help="Training sentences of tags and of entities; 0: all")
    ] = 0,
    n_test: Annotated[int, typer.Option(help="Test sentences of each; 0: all")] = 0,
    n_pairs: Annotated[int, typer.Option(help="Words with definitions; 0: all")] = 0,
    min_kind: Annotated[
        int, typer.Option(help="Minimum training occurrences of a noun's kind")
    ] = 10,
    max_kind: Annotated[int, typer.Option(help="Number of them to use")] = 10,
) -> None:
    """Write TARGET/upos-*, ner-*, senses-* and wic.jsonl. Fewer sentences than all are
    evenly spaced."""
    wnut = assets / "wnut17"
    sets: Dict[str, List[Row]] = {
        "upos-train": spread(tags(treebank), n_train),
        "upos-test": spread(tags(assets / "en_ewt-ud-test.conllu"), n_test),
        "ner-train": spread(entities(wnut / "wnut17train.conll"), n_train),
        "ner-test": spread(entities(wnut / "emerging.test.annotated"), n_test),
        "wic": definitions(assets / "wic", n_pairs),
    }
    nouns = senses(srsly.read_jsonl(semcor), min_kind, max_kind)
    for name, rows in nouns.items():
        sets[name] = rows if name == "senses-train" else spread(rows, n_test)
    for name in ("upos-test", "ner-test"):
        rows = sets[name]
        sets[f"{name}-lower"] = respelt(rows, str.lower)
        sets[f"{name}-capitals"] = respelt(rows, str.upper)
        sets[f"{name}-misspelt"] = misspelt(rows)
    target.mkdir(parents=True, exist_ok=True)
    for name, rows in sets.items():
        srsly.write_jsonl(target / f"{name}.jsonl", rows)
        words, spans = (
            sum(len(row[key]) for row in rows) for key in ("words", "spans")
        )
        msg.info(f"{name}: {len(rows):,} sentences, {words:,} words, {spans:,} vectors")
    msg.good(str(target))


def every_word(words: Sequence[str], labels: Sequence[str]) -> Row:
    spans = [[place, place + 1] for place in range(len(words))]
    return {"words": list(words), "spans": spans, "labels": list(labels)}


def tags(path: Path) -> List[Row]:
    """Read words with universal tags from a CoNLL-U file."""
    docs = conllu_to_docs(path.read_text(encoding="utf8"), n_sents=1, no_print=True)
    return [
        every_word([token.text for token in doc], [token.pos_ for token in doc])
        for doc in docs
    ]


def entities(path: Path) -> List[Row]:
    """Read words with IOB tags of entities."""
    reader = spacy.registry.readers.get("spacy_elmo.ConllCorpus.v1")(path)
    docs = [example.reference for example in reader(spacy.blank("en"))]
    return [
        every_word(
            [token.text for token in doc],
            [
                f"{token.ent_iob_}-{token.ent_type_}" if token.ent_type_ else "O"
                for token in doc
            ],
        )
        for doc in docs
    ]


def senses(
    sentences: Iterable[Row], min_kind: int, max_kind: int
) -> Dict[str, List[Row]]:
    """Select the nouns of SemCor that name two kinds of things, such as an object and a
    group, in the training documents. Labels are pairs of a lemma and a kind."""
    rows: Dict[str, List[Row]] = {"train": [], "dev": [], "test": []}
    for sentence in sentences:
        nouns = [sense for sense in sentence["senses"] if sense["pos"] == "n"]
        rows[sentence["split"]].append(
            {
                "words": sentence["words"],
                "spans": [sense["span"] for sense in nouns],
                "labels": [(sense["lemma"], sense["kind"]) for sense in nouns],
            }
        )
    counts = Counter(label for row in rows["train"] for label in row["labels"])
    kinds: Dict[str, Set[Label]] = defaultdict(set)
    for label, number in counts.items():
        if number >= min_kind:
            kinds[label[0]].add(label)
    wanted = {label for some in kinds.values() if len(some) > 1 for label in some}
    random.Random(0).shuffle(rows["train"])
    return {
        "senses-train": select(rows["train"], wanted, max_kind),
        "senses-dev": select(rows["dev"], wanted),
        "senses-test": select(rows["test"], wanted),
    }


def select(
    rows: Iterable[Row], wanted: Set[Label], limit: Optional[int] = None
) -> List[Row]:
    """Keep the first spans with each of the wanted labels, and the sentences that have
    any.

    limit (Optional[int]): Maximum number of spans per label; None: all.
    """
    selected = []
    counts: Counter[Label] = Counter()
    for row in rows:
        spans, labels = [], []
        for span, label in zip(row["spans"], row["labels"]):
            counts[label] += 1
            if label in wanted and (limit is None or counts[label] <= limit):
                spans.append(span)
                labels.append(label)
        if spans:
            selected.append({"words": row["words"], "spans": spans, "labels": labels})
    return selected


def definitions(folder: Path, n_pairs: int) -> List[Row]:
    """Read WiC-TSV as two rows per pair: a word in its sentence, and its definition
    after the word, as in a dictionary."""
    rows = []
    pairs = [*read_pairs(folder, "train"), *read_pairs(folder, "dev")]
    for pair in spread(pairs, n_pairs):
        words = [pair.word, ":", *pair.definition]
        place = [pair.position, pair.position + 1]
        label = [pair.word, pair.label]
        rows += [
            {"words": pair.sentence, "spans": [place], "labels": [label]},
            {"words": words, "spans": [[2, len(words)]], "labels": [label]},
        ]
    return rows


def respelt(rows: Iterable[Row], change: Callable[[str], str]) -> List[Row]:
    return [{**row, "words": [change(word) for word in row["words"]]} for row in rows]


def misspelt(rows: Sequence[Row], seed: int = 0) -> List[Row]:
    """Misspell one word in ten, among those with at least MIN_LETTERS characters, all
    letters. "misspelt" has their places."""
    generator = random.Random(seed)
    places = [
        (number, place)
        for number, row in enumerate(rows)
        for place, word in enumerate(row["words"])
        if len(word) >= MIN_LETTERS and word.isalpha()
    ]
    n_words = sum(len(row["words"]) for row in rows)
    sampled = generator.sample(places, min(n_words // 10, len(places)))
    changed = [{**row, "words": list(row["words"]), "misspelt": []} for row in rows]
    for number, place in sorted(sampled):
        words = changed[number]["words"]
        words[place] = misspell(words[place], generator)
        changed[number]["misspelt"].append(place)
    return changed


def misspell(word: str, generator: random.Random) -> str:
    """Drop, double or replace a letter after the first, or swap two."""
    while True:
        place = generator.randrange(1, len(word))
        before, letter, after = word[:place], word[place], word[place + 1 :]
        new = generator.choice(
            [
                before + after,
                before + 2 * letter + after,
                before + generator.choice("abcdefghijklmnopqrstuvwxyz") + after,
                before[:-1] + letter + before[-1] + after,
            ]
        )
        if new != word:
            return new


if __name__ == "__main__":
    typer.run(main)
