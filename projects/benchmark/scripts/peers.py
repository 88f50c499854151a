"""The systems that are compared, each a worker in its environment."""

import sys
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence

from environments import MARK, python_of
from models import Model
from protocol import Team, Worker
from wasabi import msg

PROJECT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = PROJECT / "environments"

OURS = "spacy_elmo"
ALLENNLP = "allennlp"
SIMPLE_ELMO = "simple_elmo"
SYSTEMS = (OURS, ALLENNLP, SIMPLE_ELMO)


def start(team: Team, system: str) -> Worker:
    """A system's worker, by its name. Ends the program where its environment is not
    there."""
    if system == OURS:
        return team.start(system, sys.executable, "our_worker.py")
    folder = ENVIRONMENTS / system
    if not (folder / MARK).is_file():
        msg.fail(
            f"No environment at environments/{system}",
            "Make it by `python -m spacy project run environments`.",
            exits=1,
        )
    return team.start(system, python_of(folder), f"{system}_worker.py")


def start_all(
    team: Team,
    systems: Sequence[str],
    model: Model,
    text: Path,
    options: Optional[Mapping[str, Mapping[str, Any]]] = None,
) -> Dict[str, Any]:
    """Start the systems and let each read the weights and the text.

    options: of a system's `load`, beside those of all.
    RETURNS: by system, what it found and in which versions.
    Raises ValueError where they did not find the same number of words.
    """
    found = {
        system: start(team, system).ask(
            "load",
            weights=str(model.folder),
            text=str(text),
            n_sentences=model.n_sentences,
            **(options or {}).get(system, {}),
        )
        for system in systems
    }
    if len({answer["words"] for answer in found.values()}) != 1:
        raise ValueError(f"Expected as many words in all systems, found {found}.")
    return found


def versions_of(found: Mapping[str, Any]) -> Dict[str, Any]:
    return {system: answer["versions"] for system, answer in found.items()}
