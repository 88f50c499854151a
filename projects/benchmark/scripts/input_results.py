"""Results of the comparison of inputs: one file per part, with the scores by input.

A part that is run again keeps the scores that were made with the same weights, sets and
settings.
"""

import hashlib
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Sequence, Set, Tuple

import srsly
from measuring import machine, write_results
from wasabi import msg

Scores = Dict[str, Any]
Identities = Mapping[str, Mapping[str, Any]]

TEST = {
    "as it is": "",
    "lower case": "-lower",
    "capitals": "-capitals",
    "misspelt": "-misspelt",
}
"""Suffix of the set, by the form of a test set's text."""


def update(
    target: Path,
    sets: Sequence[Path],
    identities: Identities,
    score: Callable[[str], Scores],
    **settings: Any,
) -> None:
    """Score the inputs that are not in the results yet, and write after each.

    target (Path): JSON of the results.
    sets (Sequence[Path]): The sets that the scores depend on.
    identities (Identities): "weights" (their SHA-256) and "versions", by input.
    score (Callable[[str], Scores]): Scores an input.
    settings (Any): What else the scores depend on.
    """
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sets)).hexdigest()
    settings = {**settings, "sets": digest}
    old = srsly.read_json(target) if target.is_file() else {}
    same = old["inputs"] if old.get("settings") == settings else {}
    found: Dict[str, Scores] = {
        name: same[name]
        for name, identity in identities.items()
        if same.get(name, {}).get("weights", "") == identity["weights"]
    }
    for name, identity in identities.items():
        if name in found:
            continue
        found[name] = {
            "weights": identity["weights"],
            "versions": identity["versions"],
            "processor": machine()["processor"],
            **score(name),
        }
        msg.info(f"{target.stem}, {name}: {found[name]}")
        ordered = {name: found[name] for name in identities if name in found}
        write_results(target, {}, 1, settings=settings, inputs=ordered)


Entity = Tuple[int, int, str]


def entities(tags: Sequence[str]) -> Set[Entity]:
    """Get the entities of a sentence from IOB tags. I- after another tag begins one."""
    found: Set[Entity] = set()
    begin, kind = 0, ""
    for place, tag in enumerate([*tags, "O"]):
        mark, _, name = tag.partition("-")
        if kind and (mark != "I" or name != kind):
            found.add((begin, place, kind))
            kind = ""
        if mark != "O" and not kind:
            begin, kind = place, name
    return found


def f1(predicted: Sequence[Set[Entity]], gold: Sequence[Set[Entity]]) -> float:
    """Compute the F1 of entities with exact ends and types."""
    right = sum(len(one & other) for one, other in zip(predicted, gold))
    total = sum(map(len, predicted)) + sum(map(len, gold))
    return 2 * right / total if total else 0.0
